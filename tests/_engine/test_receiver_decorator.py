"""Connecting the function beneath a decorator to one signal or to several."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from signalpost import Namespace
from signalpost import receiver
from signalpost import Signal
from signalpost.errors import PayloadError
from signalpost.errors import ReceiverError


class Base: ...


class Derived(Base): ...


def test_one_signal_is_received() -> None:
    signal = Signal()

    @receiver(signal)
    def receive(sender: Any) -> str:
        return "received"

    assert signal.send() == [(receive, "received")]


@pytest.mark.parametrize("collection", [list, tuple, set, iter])
def test_several_signals_are_received(collection: Any) -> None:
    signals = [Signal() for _ in range(3)]

    @receiver(collection(signals))
    def receive(sender: Any) -> str:
        return "received"

    assert [signal.send() for signal in signals] == [[(receive, "received")]] * 3


def test_one_decorator_may_decorate_several_functions() -> None:
    signals = [Signal(), Signal()]
    connect = receiver(iter(signals))

    @connect
    def first(sender: Any) -> None: ...

    @connect
    def second(sender: Any) -> None: ...

    for signal in signals:
        assert [found for found, _ in signal.send()] == [first, second]


def test_decorators_may_be_stacked() -> None:
    opened, closed = Signal(), Signal()

    @receiver(opened)
    @receiver(closed, sender="app")
    def receive(sender: Any) -> None: ...

    assert list(opened.receivers_for("api")) == [receive]
    assert list(closed.receivers_for("app")) == [receive]
    assert list(closed.receivers_for("api")) == []


def test_function_stays_what_it_is() -> None:
    def receive(sender: Any) -> None: ...

    assert receiver(Signal())(receive) is receive


def test_options_go_to_every_signal() -> None:
    signals = [Signal(), Signal()]

    @receiver(signals, sender="app", once=True, priority=2, dispatch_uid="uid")
    def receive(sender: Any) -> None: ...

    for signal in signals:
        (connection,) = signal.connections
        assert connection.sender == "app"
        assert connection.weak
        assert connection.once
        assert connection.priority == 2
        assert connection.dispatch_uid == "uid"


def test_one_call_is_one_call_of_each_signal() -> None:
    opened, closed = Signal(), Signal()
    calls: list[Any] = []

    @receiver([opened, closed], once=True)
    def receive(sender: Any) -> None:
        calls.append(sender)

    for sender in ("first", "second"):
        opened.send(sender)
        closed.send(sender)
    assert calls == ["first", "first"]


def test_subclasses_of_a_sender_are_received() -> None:
    signal = Signal()

    @receiver(signal, sender=Base, subclasses=True)
    def receive(sender: Any) -> None: ...

    assert signal.send(Derived) == [(receive, None)]


def test_receiver_is_held_weakly_by_default() -> None:
    def connect_two() -> None:
        @receiver(signal)
        def weak(sender: Any) -> str:
            return "weak"

        @receiver(signal, weak=False)
        def strong(sender: Any) -> str:
            return "strong"

    signal = Signal()
    connect_two()
    gc.collect()
    assert [value for _, value in signal.send()] == ["strong"]


@pytest.mark.parametrize("wrong", ["signal", ["signal"], Namespace({"x": Signal()}), 7])
def test_something_else_than_signals_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError):
        receiver(wrong)


def test_refusal_shows_what_came() -> None:
    with pytest.raises(TypeError, match=r"takes a signal or several, got 'opened'"):
        receiver([Signal(), "opened"])  # type: ignore[list-item]  # wrong on purpose


def test_call_without_a_signal_is_refused() -> None:
    with pytest.raises(TypeError):

        @receiver  # type: ignore[arg-type]  # wrong on purpose
        def receive(sender: Any) -> None: ...


def test_something_else_than_a_callable_is_refused() -> None:
    signal = Signal()
    with pytest.raises(ReceiverError, match="must be callable"):
        receiver(signal)(7)  # type: ignore[type-var]  # wrong on purpose
    assert not signal.receivers


def test_options_that_do_not_fit_are_refused() -> None:
    signals = [Signal(), Signal()]

    def receive(sender: Any) -> None: ...

    with pytest.raises(ReceiverError, match="takes a class"):
        receiver(signals, sender="app", subclasses=True)(receive)
    assert not any(signal.receivers for signal in signals)


def test_misfit_is_connected_to_none_of_several() -> None:
    opened, closed = Signal(payload=("door",)), Signal(payload=("window",))

    def receive(sender: Any, door: str) -> None: ...

    with pytest.raises(PayloadError, match="door"):
        receiver([opened, closed])(receive)
    assert not opened.receivers
    assert not closed.receivers


def test_number_in_place_of_signals_is_named() -> None:
    wrong: Any = 5
    with pytest.raises(TypeError, match="takes a signal or several, got 5"):
        receiver(wrong)
