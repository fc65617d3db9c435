"""Receivers that run before others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from signalpost import ANY
from signalpost import Signal
from signalpost.errors import ReceiverError


def giving(name: str) -> Callable[[Any], str]:
    """Return a receiver that returns a name."""

    def receiver(sender: Any) -> str:
        return name

    return receiver


def names_sent(signal: Signal, sender: Any = None) -> list[str]:
    return [value for _, value in signal.send(sender)]


def test_higher_priority_runs_first() -> None:
    signal = Signal()
    for name, priority in (("low", -1), ("usual", 0), ("high", 1), ("highest", 9)):
        signal.connect(giving(name), weak=False, priority=priority)
    assert names_sent(signal) == ["highest", "high", "usual", "low"]


def test_equal_priorities_keep_connection_order() -> None:
    signal = Signal()
    for name, priority in (("1", 5), ("2", 0), ("3", 5), ("4", 0), ("5", 5)):
        signal.connect(giving(name), weak=False, priority=priority)
    assert names_sent(signal) == ["1", "3", "5", "2", "4"]


def test_priority_holds_over_any_and_sender_connections_together() -> None:
    signal = Signal()
    signal.connect(giving("any"), weak=False)
    signal.connect(giving("sender"), "app", weak=False, priority=1)
    signal.connect(giving("any first"), weak=False, priority=2)
    assert names_sent(signal, "app") == ["any first", "sender", "any"]
    assert names_sent(signal, "api") == ["any first", "any"]


def test_higher_of_two_priorities_decides_for_an_overlap() -> None:
    signal = Signal()
    twice = signal.connect(giving("twice"), weak=False)
    signal.connect(giving("other"), weak=False)
    signal.connect(twice, "app", priority=1)
    assert names_sent(signal, "app") == ["twice", "other"]
    assert names_sent(signal, "api") == ["twice", "other"]
    signal.connect(giving("early"), weak=False, priority=1)
    assert names_sent(signal, "app") == ["twice", "early", "other"]
    assert names_sent(signal, "api") == ["early", "twice", "other"]


def test_connecting_again_keeps_the_priority() -> None:
    signal = Signal()
    first = signal.connect(giving("first"), weak=False, priority=1)
    second = signal.connect(giving("second"), weak=False)
    signal.connect(first)
    signal.connect(second, priority=2)
    assert names_sent(signal) == ["first", "second"]


def test_connecting_after_a_disconnect_takes_the_new_priority() -> None:
    signal = Signal()
    first = giving("first")
    signal.connect(first, weak=False, priority=1)
    signal.connect(giving("second"), weak=False)
    signal.disconnect(first)
    signal.connect(first, weak=False, priority=-1)
    assert names_sent(signal) == ["second", "first"]


def test_receivers_for_yields_the_order_of_delivery() -> None:
    signal = Signal()
    late = signal.connect(giving("late"), weak=False)
    early = signal.connect(giving("early"), weak=False, priority=1)
    assert list(signal.receivers_for(ANY)) == [early, late]


def test_every_way_of_sending_keeps_to_priorities() -> None:
    signal = Signal()
    signal.connect(giving("late"), weak=False)
    signal.connect(giving("early"), weak=False, priority=1)
    robust = asyncio.run(signal.send_robust_async())
    assert names_sent(signal) == ["early", "late"]
    assert [value for _, value in signal.send_robust()] == ["early", "late"]
    assert [value for _, value in asyncio.run(signal.send_async())] == ["early", "late"]
    assert [outcome.value for outcome in robust] == ["early", "late"]


def test_decorated_receivers_have_priorities() -> None:
    signal = Signal()

    @signal.connect_via("app")
    def late(sender: str) -> str:
        return "late"

    @signal.connect_via("app", priority=3)
    def early(sender: str) -> str:
        return "early"

    assert names_sent(signal, "app") == ["early", "late"]


@pytest.mark.parametrize("priority", ["high", 1.5, [1]])
def test_priority_that_is_no_int_is_refused(priority: Any) -> None:
    signal = Signal()
    receiver = giving("never connected")
    with pytest.raises(ReceiverError, match="priority must be an int") as refusal:
        signal.connect(receiver, priority=priority)
    assert refusal.value.receiver is receiver
    assert not signal.receivers


def test_receivers_with_priorities_may_die() -> None:
    signal = Signal()
    dying = giving("dying")
    signal.connect(dying, priority=1)
    signal.connect(giving("left"), weak=False)
    del dying
    assert names_sent(signal) == ["left"]
