"""Class senders that include their subclasses."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from signalpost import ANY
from signalpost import Signal
from signalpost.errors import ReceiverError

from .tables import heirs_of


class Base: ...


class Derived(Base): ...


class DerivedAgain(Derived): ...


class Mixin: ...


class DerivedTwice(Mixin, Derived): ...


class Unrelated: ...


def receive(sender: Any) -> str:
    return "received"


def receive_another(sender: Any) -> str:
    return "another"


def values_sent(signal: Signal, sender: Any) -> list[str]:
    return [value for _, value in signal.send(sender)]


@pytest.mark.parametrize("sender", [Base, Derived, DerivedAgain, DerivedTwice])
def test_class_and_subclasses_are_received(sender: type) -> None:
    signal = Signal()
    signal.connect(receive, sender=Base, subclasses=True)
    assert signal.has_receivers_for(sender)
    assert list(signal.receivers_for(sender)) == [receive]
    for _ in range(3):
        assert values_sent(signal, sender) == ["received"]


@pytest.mark.parametrize(
    "sender", [Unrelated, Mixin, object, type, Base(), Derived(), None, "Base", 7, ANY]
)
def test_no_other_sender_is_received(sender: Any) -> None:
    signal = Signal()
    signal.connect(receive, sender=Base, subclasses=True)
    signal.send(Derived)
    for _ in range(3):
        assert values_sent(signal, sender) == []
    assert not signal.has_receivers_for(sender)
    assert list(signal.receivers_for(sender)) == []


def test_subclasses_are_not_received_by_default() -> None:
    signal = Signal()
    signal.connect(receive, sender=Base)
    signal.connect(receive_another, sender=Mixin, subclasses=True)
    assert values_sent(signal, Derived) == []
    assert values_sent(signal, DerivedTwice) == ["another"]
    assert values_sent(signal, Base) == ["received"]


def test_base_class_is_not_received() -> None:
    signal = Signal()
    signal.connect(receive, sender=Derived, subclasses=True)
    assert values_sent(signal, Base) == []


def test_class_made_after_connecting_is_received() -> None:
    signal = Signal()
    signal.connect(receive, sender=Base, subclasses=True)
    assert values_sent(signal, Base) == ["received"]

    class Late(Derived): ...

    assert values_sent(signal, Late) == ["received"]


def test_subclass_that_has_sent_is_received_from_a_later_connection_on() -> None:
    signal = Signal()
    signal.connect(receive_another, sender=Unrelated)
    assert values_sent(signal, Derived) == []
    signal.connect(receive, sender=Base, subclasses=True)
    assert values_sent(signal, Derived) == ["received"]


def test_disconnect_from_the_class_is_one_from_its_subclasses() -> None:
    signal = Signal()
    signal.connect(receive, sender=Base, subclasses=True)
    assert values_sent(signal, DerivedAgain) == ["received"]
    assert signal.disconnect(receive, sender=Base)
    for sender in (Base, Derived, DerivedAgain):
        assert values_sent(signal, sender) == []
        assert not signal.has_receivers_for(sender)


def test_disconnect_from_a_subclass_does_nothing() -> None:
    signal = Signal()
    signal.connect(receive, sender=Base, subclasses=True)
    assert not signal.disconnect(receive, sender=Derived)
    assert values_sent(signal, Derived) == ["received"]


def test_disconnect_from_all_is_one_from_the_class() -> None:
    signal = Signal()
    signal.connect(receive, sender=Base, subclasses=True)
    assert values_sent(signal, Derived) == ["received"]
    assert signal.disconnect(receive)
    assert values_sent(signal, Derived) == []


def test_own_and_inherited_connection_are_one_call() -> None:
    signal = Signal()
    signal.connect(receive, sender=Base, subclasses=True)
    signal.connect(receive, sender=Derived)
    signal.connect(receive, sender=Derived, subclasses=True)
    signal.connect(receive, sender=Mixin, subclasses=True)
    signal.connect(receive)
    assert values_sent(signal, DerivedTwice) == ["received"]
    assert values_sent(signal, Derived) == ["received"]


def test_inherited_connection_outlives_the_own_one() -> None:
    signal = Signal()
    signal.connect(receive, sender=Derived)
    signal.connect(receive, sender=Base, subclasses=True)
    assert values_sent(signal, Derived) == ["received"]
    assert signal.disconnect(receive, sender=Derived)
    assert values_sent(signal, Derived) == ["received"]


def test_own_connection_outlives_the_inherited_one() -> None:
    signal = Signal()
    signal.connect(receive, sender=Derived)
    signal.connect(receive, sender=Base, subclasses=True)
    assert values_sent(signal, Derived) == ["received"]
    assert signal.disconnect(receive, sender=Base)
    assert values_sent(signal, Derived) == ["received"]
    assert values_sent(signal, DerivedAgain) == []


def test_own_connection_made_after_a_send_is_received() -> None:
    signal = Signal()
    signal.connect(receive, sender=Base, subclasses=True)
    assert values_sent(signal, Derived) == ["received"]
    signal.connect(receive_another, sender=Derived)
    assert values_sent(signal, Derived) == ["received", "another"]
    signal.disconnect(receive_another)
    assert values_sent(signal, Derived) == ["received"]


def test_order_is_that_of_connecting_and_of_priority() -> None:
    def number(place: int) -> Any:
        return lambda sender: place

    signal = Signal()
    signal.connect(number(3), sender=Base, weak=False, subclasses=True)
    signal.connect(number(4), sender=Derived, weak=False)
    signal.connect(number(5), weak=False)
    signal.connect(number(6), sender=Derived, weak=False, subclasses=True)
    signal.connect(number(1), sender=Mixin, weak=False, subclasses=True, priority=2)
    signal.connect(number(2), sender=Base, weak=False, subclasses=True, priority=1)
    sent = [value for _, value in signal.send(DerivedTwice)]
    assert sent == [1, 2, 3, 5, 6]
    assert [value for _, value in signal.send(Derived)] == [2, 3, 4, 5, 6]


def test_dead_subclass_leaves_nothing_behind() -> None:
    class Dying(Base): ...

    signal = Signal()
    signal.connect(receive, sender=Base, subclasses=True)
    assert values_sent(signal, Dying) == ["received"]
    reference = weakref.ref(Dying)
    del Dying
    gc.collect()
    assert reference() is None
    assert values_sent(signal, Base) == ["received"]
    assert heirs_of(signal) == 0


def test_class_dies_with_its_connection() -> None:
    class Dying: ...

    class DyingToo(Dying): ...

    signal = Signal()
    signal.connect(receive, sender=Dying, subclasses=True)
    assert values_sent(signal, DyingToo) == ["received"]
    del Dying, DyingToo
    gc.collect()
    assert not signal.receivers
    assert signal.connections == ()


def test_classes_come_and_go_without_being_mixed_up() -> None:
    signal = Signal()
    signal.connect(receive, sender=Base, subclasses=True)
    for number in range(50):
        bases: tuple[type, ...] = (Base,) if number % 2 else ()
        sender = type("Passing", bases, {})
        assert values_sent(signal, sender) == (["received"] if number % 2 else [])
        del sender
        gc.collect(0)


def test_one_call_is_one_for_the_whole_family() -> None:
    signal = Signal()
    signal.connect(receive, sender=Base, once=True, subclasses=True)
    assert values_sent(signal, Derived) == ["received"]
    assert values_sent(signal, Base) == []
    assert values_sent(signal, Derived) == []


@pytest.mark.parametrize("sender", [ANY, Base(), "Base", None])
def test_something_else_than_a_class_is_refused(sender: Any) -> None:
    signal = Signal()
    with pytest.raises(ReceiverError, match="takes a class") as refusal:
        signal.connect(receive, sender=sender, subclasses=True)
    assert refusal.value.receiver is receive
    assert not signal.receivers


def test_decorated_function_receives_subclasses() -> None:
    signal = Signal()

    @signal.connect_via(Base, subclasses=True)
    def receiver(sender: type) -> str:
        return sender.__name__

    assert values_sent(signal, Derived) == ["Derived"]
