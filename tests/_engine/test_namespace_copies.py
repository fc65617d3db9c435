"""Namespaces that are copied, subclassed or pickled."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from signalpost import NamedSignal
from signalpost import Namespace
from signalpost import observe
from signalpost.errors import PayloadError

COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": lambda namespace: namespace.copy(),
    "copy.copy": copy.copy,
}
EACH = pytest.mark.parametrize("kind", COPIES)


class Shop(Namespace):
    """A namespace with a title, that forgets about ours."""

    def __init__(self, title: str) -> None:
        self.title = title


def receive(sender: Any, signal: NamedSignal | None = None) -> str:
    return "alone" if signal is None else signal.name


def values_sent(signal: NamedSignal) -> list[Any]:
    return [value for _, value in signal.send()]


@EACH
def test_copy_is_a_namespace_with_the_same_signals(kind: str) -> None:
    namespace = Namespace()
    opened = namespace.signal("opened")
    copied = COPIES[kind](namespace)
    assert isinstance(copied, Namespace)
    assert copied is not namespace
    assert [*copied.items()] == [("opened", opened)]


@EACH
def test_signals_of_a_copy_come_to_it_alone(kind: str) -> None:
    namespace = Namespace()
    copied = COPIES[kind](namespace)
    in_copy, in_original = copied.signal("opened"), namespace.signal("opened")
    assert in_copy is not in_original
    copied.signal("closed")
    del namespace["opened"]
    assert sorted(copied) == ["closed", "opened"]
    assert not namespace


@EACH
def test_receivers_of_the_namespace_stay_with_the_original(kind: str) -> None:
    namespace = Namespace()
    namespace.connect(receive)
    copied = COPIES[kind](namespace)
    assert values_sent(copied.signal("opened")) == []
    assert values_sent(namespace.signal("opened")) == ["opened"]
    assert not copied.disconnect(receive)
    assert namespace.disconnect(receive)


@EACH
def test_receivers_of_the_copy_stay_with_the_copy(kind: str) -> None:
    namespace = Namespace()
    opened = namespace.signal("opened")
    copied = COPIES[kind](namespace)
    copied.connect(receive)
    assert values_sent(opened) == ["opened"]  # a signal of both
    assert values_sent(namespace.signal("closed")) == []
    assert values_sent(copied.signal("closed")) == ["closed"]


@EACH
def test_receivers_of_a_signal_are_those_of_the_copys_signal(kind: str) -> None:
    namespace = Namespace()
    namespace.signal("opened").connect(receive)
    assert values_sent(COPIES[kind](namespace).signal("opened")) == ["alone"]


@EACH
def test_observers_stay_with_the_original(kind: str) -> None:
    namespace, seen = Namespace(), list[Any]()
    with observe(seen.append, namespace):
        copied = COPIES[kind](namespace)
        copied.signal("opened").connect(receive)
        copied.signal("opened").send()
    assert seen == []


@EACH
def test_copy_does_not_keep_the_original_alive(kind: str) -> None:
    namespace = Shop("lamps")
    copied = COPIES[kind](namespace)
    reference = weakref.ref(namespace)
    del namespace
    gc.collect()
    assert reference() is None
    copied.signal("opened")


@EACH
def test_copy_of_a_subclass_is_one_of_it(kind: str) -> None:
    namespace = Shop("lamps")
    copied = COPIES[kind](namespace)
    assert type(copied) is Shop
    assert copied.title == "lamps"
    copied.connect(receive)
    assert values_sent(copied.signal("opened")) == ["opened"]
    assert values_sent(namespace.signal("opened")) == []


@EACH
def test_copy_may_be_copied(kind: str) -> None:
    namespace = Namespace()
    namespace.signal("opened")
    copied = COPIES[kind](COPIES[kind](namespace))
    assert copied == namespace


def test_subclass_need_not_call_our_init() -> None:
    shop = Shop("lamps")
    shop.connect(receive)
    with observe(lambda delivery: seen.append(delivery.signal), shop):
        seen: list[Any] = []
        opened = shop.signal("opened", "Sent when it opens.", payload=())
        assert values_sent(opened) == ["opened"]
    assert seen == [opened]
    assert shop.disconnect(receive)
    assert values_sent(opened) == []


def test_subclass_may_put_signals_in_before_anything_else() -> None:
    class Ready(Namespace):
        def __init__(self) -> None:
            self["opened"] = NamedSignal("opened")
            self.update(closed=NamedSignal("closed"))
            self.setdefault("moved", NamedSignal("moved"))
            self.signal("sold")

    ready = Ready()
    assert sorted(ready) == ["closed", "moved", "opened", "sold"]
    ready.connect(receive)
    assert values_sent(ready["opened"]) == ["opened"]


def test_subclass_may_call_our_init_late() -> None:
    class Late(Namespace):
        def __init__(self) -> None:
            self.connect(receive)
            super().__init__(opened=NamedSignal("opened"))

    late = Late()
    assert values_sent(late.signal("closed")) == ["closed"]


def test_subclass_may_have_attributes_of_its_own() -> None:
    class Slotted(Namespace):
        __slots__ = ("title",)

        def __init__(self) -> None:
            self.title = "lamps"

    slotted = Slotted()
    slotted.connect(receive)
    assert values_sent(slotted.signal("opened")) == ["opened"]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("namespace", [Namespace(), Shop("lamps")], ids=["own", "sub"])
@pytest.mark.parametrize("is_empty", [True, False], ids=["empty", "full"])
def test_namespace_is_not_pickled(
    namespace: Namespace, protocol: int, is_empty: bool
) -> None:
    if not is_empty:
        namespace.signal("opened")
    with pytest.raises(TypeError, match=type(namespace).__name__):
        pickle.dumps(namespace, protocol)


def test_namespace_with_signals_is_not_copied_deeply() -> None:
    namespace = Namespace()
    namespace.signal("opened")
    with pytest.raises(TypeError, match="cop"):
        copy.deepcopy(namespace)


def test_declaration_in_the_copy_is_one_in_the_original() -> None:
    namespace = Namespace()
    namespace.signal("opened", payload=("door",))
    copied = namespace.copy()
    with pytest.raises(PayloadError):
        copied.signal("opened", payload=("window",))
