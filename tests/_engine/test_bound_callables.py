"""Bound callables that are made at each access to them."""

from __future__ import annotations

import asyncio
import functools
import gc
import weakref
from typing import Any

import pytest

from signalpost import ANY
from signalpost import Namespace
from signalpost import Signal
from signalpost.errors import AsyncReceiverError


class Owner:
    """Has bound callables of the standard library's kinds."""

    def __init__(self, calls: list[Any]) -> None:
        self.calls = calls

    def note(self, kind: str, sender: Any, **payload: Any) -> str:
        self.calls.append(sender)
        return kind

    async def note_later(self, kind: str, sender: Any, **payload: Any) -> str:
        self.calls.append(sender)
        return kind

    partial = functools.partialmethod(note, "partial")
    async_partial = functools.partialmethod(note_later, "async partial")
    twice_partial: Any = functools.partialmethod(partial)

    @functools.singledispatchmethod
    def dispatched(self, sender: Any, **payload: Any) -> str:
        self.calls.append(sender)
        return "dispatched"

    @dispatched.register
    def _(self, sender: int, **payload: Any) -> str:
        self.calls.append(sender)
        return "dispatched by int"


class Family:
    calls: list[Any]

    @classmethod
    def note(cls, kind: str, sender: Any, **payload: Any) -> str:
        cls.calls.append(sender)
        return kind

    partial = functools.partialmethod(note, "partial of a class method")


def wrapt_owner(calls: list[Any]) -> Any:
    wrapt = pytest.importorskip("wrapt")

    @wrapt.decorator  # type: ignore[untyped-decorator, unused-ignore]
    def passing(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        return wrapped(*args, **kwargs)

    class Wrapped:
        def __init__(self) -> None:
            self.calls = calls

        @passing  # type: ignore[untyped-decorator, unused-ignore]
        def wrapped(self, sender: Any, **payload: Any) -> str:
            self.calls.append(sender)
            return "wrapped"

    return Wrapped()


NAMES = ["partial", "twice_partial", "dispatched", "wrapped"]
EACH = pytest.mark.parametrize("name", NAMES)


def owner_of(name: str, calls: list[Any]) -> Any:
    return wrapt_owner(calls) if name == "wrapped" else Owner(calls)


def skip_if_access_keeps_alive(name: str) -> None:
    """Skip where an instance lives for ever once its attribute was looked at.

    Some releases of CPython keep what a singledispatchmethod gives in a cache that
    refers to the instance.
    """
    owner = owner_of(name, [])
    getattr(owner, name)
    reference = weakref.ref(owner)
    del owner
    gc.collect()
    if reference() is not None:
        pytest.skip(f"this Python keeps the instance of {name} alive by itself")


@EACH
def test_bound_callable_is_called_as_long_as_its_instance_lives(name: str) -> None:
    skip_if_access_keeps_alive(name)
    signal, calls = Signal(), list[Any]()
    owner = owner_of(name, calls)
    signal.connect(getattr(owner, name))
    gc.collect()
    signal.send("a", order=7)
    assert calls == ["a"]
    del owner
    gc.collect()
    signal.send("b", order=7)
    assert calls == ["a"]
    assert not signal.receivers


@EACH
def test_instance_does_not_live_longer_by_its_connection(name: str) -> None:
    skip_if_access_keeps_alive(name)
    signal = Signal()
    owner = owner_of(name, [])
    signal.connect(getattr(owner, name))
    signal.connect(getattr(owner, name), sender="a")
    signal.send("a")
    reference = weakref.ref(owner)
    del owner
    gc.collect()
    assert reference() is None


@EACH
def test_bound_callable_is_connected_once(name: str) -> None:
    signal, calls = Signal(), list[Any]()
    owner = owner_of(name, calls)
    for _ in range(3):
        signal.connect(getattr(owner, name))
    signal.connect(getattr(owner, name), sender="a")
    signal.send("a")
    assert calls == ["a"]
    assert len(signal.connections) == 2


@EACH
def test_bound_callable_is_disconnected(name: str) -> None:
    signal, calls = Signal(), list[Any]()
    owner = owner_of(name, calls)
    signal.connect(getattr(owner, name))
    assert signal.disconnect(getattr(owner, name))
    assert not signal.disconnect(getattr(owner, name))
    signal.send("a")
    assert calls == []


@EACH
def test_bound_callable_is_disconnected_from_one_sender(name: str) -> None:
    signal, calls = Signal(), list[Any]()
    owner = owner_of(name, calls)
    signal.connect(getattr(owner, name), sender="a")
    signal.connect(getattr(owner, name), sender="b")
    assert signal.disconnect(getattr(owner, name), sender="a")
    signal.send("a")
    signal.send("b")
    assert calls == ["b"]


@EACH
def test_bound_callables_of_two_instances_are_two(name: str) -> None:
    signal, calls = Signal(), list[Any]()
    one, other = owner_of(name, calls), owner_of(name, calls)
    signal.connect(getattr(one, name))
    signal.connect(getattr(other, name))
    assert len(signal.send("a")) == 2
    assert signal.disconnect(getattr(one, name))
    assert len(signal.send("a")) == 1


def test_bound_callables_of_one_instance_are_two() -> None:
    signal, owner = Signal(), Owner([])
    signal.connect(owner.partial)
    signal.connect(owner.dispatched)
    assert signal.disconnect(owner.partial)
    assert [value for _, value in signal.send("a")] == ["dispatched"]


@EACH
def test_strong_bound_callable_outlives_its_instance(name: str) -> None:
    signal, calls = Signal(), list[Any]()
    owner = owner_of(name, calls)
    signal.connect(getattr(owner, name), weak=False)
    del owner
    gc.collect()
    signal.send("a")
    assert calls == ["a"]


@EACH
def test_bound_callable_is_called_once_by_once(name: str) -> None:
    signal, calls = Signal(), list[Any]()
    owner = owner_of(name, calls)
    signal.connect(getattr(owner, name), once=True)
    signal.send("a")
    signal.send("b")
    assert calls == ["a"]


@EACH
def test_block_takes_a_bound_callable(name: str) -> None:
    signal, calls = Signal(), list[Any]()
    owner = owner_of(name, calls)
    with signal.connected_to(getattr(owner, name)):
        signal.send("a")
        with signal.disconnected_from(getattr(owner, name)):
            signal.send("b")
    signal.send("c")
    assert calls == ["a"]
    assert not signal.receivers


@EACH
def test_namespace_takes_a_bound_callable(name: str) -> None:
    namespace, calls = Namespace(), list[Any]()
    owner = owner_of(name, calls)
    namespace.connect(getattr(owner, name))
    namespace.connect(getattr(owner, name))
    gc.collect()
    namespace.signal("opened").send("a")
    assert namespace.disconnect(getattr(owner, name))
    namespace.signal("opened").send("b")
    assert calls == ["a"]


def test_dispatch_is_by_the_sender_of_each_send() -> None:
    signal, owner = Signal(), Owner([])
    signal.connect(owner.dispatched)
    assert [value for _, value in signal.send("a")] == ["dispatched"]
    assert [value for _, value in signal.send(7)] == ["dispatched by int"]


def test_partial_method_reads_a_declared_payload() -> None:
    class Shop:
        def note(self, kind: str, sender: Any, order: int) -> tuple[str, int]:
            return kind, order

        placed = functools.partialmethod(note, "placed")

    signal, shop = Signal(payload=("order", "total")), Shop()
    signal.connect(shop.placed)
    sent = signal.send("a", order=7, total=1)
    assert [value for _, value in sent] == [("placed", 7)]


def test_async_partial_method_is_async() -> None:
    signal, owner = Signal(), Owner([])
    signal.connect(owner.async_partial)
    gc.collect()
    with pytest.raises(AsyncReceiverError):
        signal.send("a")
    sent = asyncio.run(signal.send_async("a"))
    assert [value for _, value in sent] == ["async partial"]


def test_partial_of_a_class_method_lives_with_its_class() -> None:
    signal, Family.calls = Signal(), []
    signal.connect(Family.partial)
    gc.collect()
    signal.send("a")
    assert Family.calls == ["a"]
    assert signal.disconnect(Family.partial)


def test_methods_of_built_in_types_are_disconnected() -> None:
    signal, counts = Signal(), dict[Any, Any]()
    signal.connect(counts.setdefault, weak=False)
    signal.connect(counts.__contains__, weak=False)
    signal.connect(counts.__contains__, weak=False)
    assert len(signal.connections) == 2
    signal.send("a")
    assert counts == {"a": None}
    assert signal.disconnect(counts.__contains__)
    assert signal.disconnect(counts.setdefault)


def test_method_wrapper_is_disconnected() -> None:
    signal, owner = Signal(), Owner([])
    signal.connect(owner.__eq__, weak=False)
    signal.connect(owner.__eq__, weak=False)
    assert len(signal.send("a")) == 1
    assert signal.disconnect(owner.__eq__)
    assert not signal.has_receivers_for(ANY)


def test_partial_of_a_users_own_stays_its_own() -> None:
    owner = Owner([])
    signal = Signal()
    one = functools.partial(owner.note, "one")
    other = functools.partial(owner.note, "other")
    signal.connect(one)
    signal.connect(other)
    assert [value for _, value in signal.send("a")] == ["one", "other"]
    del one
    gc.collect()
    assert [value for _, value in signal.send("a")] == ["other"]
