"""Receivers that look like others: which are the same, and what each is called with."""

from __future__ import annotations

import functools
import gc
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from signalpost import Signal
from signalpost.errors import PayloadError


class Owner:
    def note(self, kind: str, sender: Any = None, *, extra: str = "") -> str:
        return kind + extra

    one = functools.partialmethod(note, "one")
    other = functools.partialmethod(note, "other")
    longer = functools.partialmethod(note, "one", extra=", longer")
    longest = functools.partialmethod(note, "one", extra=", longest")

    @functools.singledispatchmethod
    def dispatched(self, sender: Any) -> str:
        return "dispatched"

    @staticmethod
    def receive(sender: Any) -> str:
        return "static"


class Heir(Owner): ...


def values_sent(signal: Signal, sender: Any = None) -> list[Any]:
    return [value for _, value in signal.send(sender)]


def test_static_method_is_disconnected_as_it_was_connected() -> None:
    signal, method = Signal(), vars(Owner)["receive"]
    assert signal.connect(method) is method
    signal.connect(Owner.receive)
    assert values_sent(signal) == ["static"]
    assert signal.disconnect(method)
    assert not signal.receivers


def test_bound_callable_is_equal_in_each_send() -> None:
    signal, owner = Signal(), Owner()
    signal.connect(owner.one, sender="a")
    signal.connect(owner.one, sender="b")
    signal.connect(owner.other, sender="c")
    found = [next(signal.receivers_for(sender)) for sender in "abc"]
    assert found[0] == found[1] != found[2]
    assert len({*found}) == 2


def test_bound_callable_is_not_equal_to_a_method_of_its_instance() -> None:
    signal, owner = Signal(), Owner()
    signal.connect(owner.one)
    assert next(signal.receivers_for(None)) != owner.note


def test_bound_callable_has_the_name_of_its_function() -> None:
    signal, owner = Signal(), Owner()
    signal.connect(owner.one)
    signal.connect(owner.dispatched)
    one, other = signal.connections
    assert one.name.endswith(".Owner.note")
    assert other.name.endswith(".Owner.dispatched")


def test_bound_callable_has_no_other_attributes_of_its_function() -> None:
    signal, owner = Signal(), Owner()
    signal.connect(owner.one)
    assert not hasattr(next(signal.receivers_for(None)), "__wrapped__")


def test_partial_methods_of_one_function_are_several_receivers() -> None:
    signal, owner = Signal(), Owner()
    for receiver in (owner.one, owner.other, owner.longer, owner.longest):
        signal.connect(receiver)
    assert values_sent(signal) == ["one", "other", "one, longer", "one, longest"]
    assert signal.disconnect(owner.longer)
    assert signal.disconnect(owner.other)
    assert values_sent(signal) == ["one", "one, longest"]


@pytest.mark.parametrize("name", ["one", "dispatched"])
def test_bound_callable_of_a_base_class_lives_with_its_instance(name: str) -> None:
    signal, heir = Signal(), Heir()
    signal.connect(getattr(heir, name))
    gc.collect()
    assert values_sent(signal) == [name]
    assert signal.disconnect(getattr(heir, name))
    assert not signal.receivers


def test_partial_method_that_is_not_bound_takes_its_sender_as_the_instance() -> None:
    signal, receiver = Signal(), Owner.one
    signal.connect(receiver)
    assert values_sent(signal, Owner()) == ["one"]
    assert signal.disconnect(receiver)
    assert not signal.disconnect(receiver)


def test_partial_that_claims_to_be_bound_keeps_its_identity() -> None:
    signal, owner = Signal(), Owner()
    receiver: Any = functools.partial(owner.note, "mine")
    receiver.__self__ = owner
    signal.connect(receiver)
    assert values_sent(signal) == ["mine"]
    del receiver
    gc.collect()
    assert not signal.receivers


def test_dispatched_method_that_the_class_has_lost_is_a_plain_receiver() -> None:
    class Shop:
        def receive(self, sender: Any) -> str:
            return "received"

        dispatched = functools.singledispatchmethod(receive)

    signal, shop = Signal(), Shop()
    receiver = shop.dispatched
    signal.connect(receiver)
    assert values_sent(signal) == ["received"]
    assert signal.disconnect(receiver)
    assert not signal.receivers


def test_function_named_as_those_of_dispatched_methods_is_a_plain_receiver() -> None:
    def _method(sender: Any) -> str:
        return f"received by {obj}"

    obj, signal = "shop", Signal()
    signal.connect(_method)
    assert values_sent(signal) == ["received by shop"]
    assert signal.disconnect(_method)


def test_function_that_claims_to_wrap_itself_is_called() -> None:
    def receive(sender: Any) -> str:
        return "received"

    signal = Signal()
    itself: Any = receive
    itself.__wrapped__ = receive
    signal.connect(receive)
    assert values_sent(signal) == ["received"]
    decorated = signal.muted()(receive)
    assert decorated("app") == "received"


def test_function_with_the_mark_of_newer_pythons_is_async(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def receive(sender: Any) -> None: ...

    def receive_plainly(sender: Any) -> None: ...

    mark = object()
    monkeypatch.setattr(inspect, "_is_coroutine_mark", mark, raising=False)
    marked: list[Any] = [receive, receive_plainly]
    marked[0]._is_coroutine_marker = mark
    marked[1]._is_coroutine_marker = object()
    signal = Signal()
    decorate: Callable[[Any], Any] = signal.muted()
    assert inspect.iscoroutinefunction(decorate(functools.partial(receive)))
    assert not inspect.iscoroutinefunction(decorate(receive_plainly))


def test_receiver_without_a_signature_gets_the_whole_payload() -> None:
    signal, orders = Signal(payload=("order", "price")), dict[str, Any]()
    with pytest.raises(ValueError, match="no signature"):
        inspect.signature(orders.update)
    signal.connect(orders.update, weak=False)
    signal.send({"shop": 1}, order=7, price=3)
    assert orders == {"shop": 1, "order": 7, "price": 3}


def test_receiver_whose_instance_has_a_name_of_the_payload_is_refused() -> None:
    class Shop:
        def receive(order, sender: Any) -> None: ...  # noqa: N805  # as a user may

        def receive_by_position(order, /, sender: Any) -> str:  # noqa: N805
            return "received"

    signal, shop = Signal(payload=("order",)), Shop()
    with pytest.raises(PayloadError, match="'order' twice"):
        signal.connect(shop.receive)
    signal.connect(shop.receive_by_position)
    assert [value for _, value in signal.send("app", order=7)] == ["received"]


def test_place_of_code_without_lines_is_its_file() -> None:
    code = compile("signal.connect(receive)", "generated.py", "exec")
    signal = Signal()

    def receive(sender: Any) -> None: ...

    exec(code.replace(co_linetable=b""), {"signal": signal, "receive": receive})
    (info,) = signal.connections
    assert info.connected_at == "generated.py"
