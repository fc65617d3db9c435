from __future__ import annotations

from collections.abc import Callable
from typing import Any

from signalpost import ANY
from signalpost import Signal


def named(name: str, calls: list[str]) -> Callable[[Any], None]:
    def receiver(sender: Any) -> None:
        calls.append(name)

    return receiver


def test_receivers_run_in_connection_order() -> None:
    signal = Signal()
    calls: list[int] = []
    receivers = [lambda _, place=place: calls.append(place) for place in range(50)]
    for receiver in receivers:
        signal.connect(receiver)
    signal.send()
    assert calls == list(range(50))


def test_connections_to_any_and_to_a_sender_share_one_order() -> None:
    signal = Signal()
    calls: list[str] = []
    for name in ("1 sender", "2 any", "3 sender", "4 any"):
        sender = "app" if name.endswith("sender") else ANY
        signal.connect(named(name, calls), sender, weak=False)
    signal.send("app")
    assert calls == ["1 sender", "2 any", "3 sender", "4 any"]


def test_receiver_runs_once_a_send() -> None:
    signal = Signal()
    calls: list[str] = []
    receiver = named("once", calls)
    signal.connect(receiver)
    signal.connect(receiver, sender="app")
    signal.connect(receiver)
    signal.send("app")
    assert calls == ["once"]


def test_first_matching_connection_decides_the_place() -> None:
    signal = Signal()
    calls: list[str] = []
    twice, other = named("twice", calls), named("other", calls)
    signal.connect(twice, sender="app")
    signal.connect(other)
    signal.connect(twice)
    signal.send("app")
    assert calls == ["twice", "other"]


def test_reconnecting_keeps_the_place() -> None:
    signal = Signal()
    calls: list[str] = []
    first, second = named("first", calls), named("second", calls)
    signal.connect(first)
    signal.connect(second)
    signal.connect(first, weak=False)
    signal.send()
    assert calls == ["first", "second"]


def test_connecting_after_a_disconnect_goes_last() -> None:
    signal = Signal()
    calls: list[str] = []
    first, second = named("first", calls), named("second", calls)
    signal.connect(first)
    signal.connect(second)
    signal.disconnect(first)
    signal.connect(first)
    signal.send()
    assert calls == ["second", "first"]


def test_results_are_in_the_order_of_delivery() -> None:
    signal = Signal()
    first = signal.connect(lambda sender: 1, sender="app", weak=False)
    second = signal.connect(lambda sender: 2, weak=False)
    assert signal.send("app") == [(first, 1), (second, 2)]


def test_receivers_for_yields_the_order_of_delivery() -> None:
    signal = Signal()
    calls: list[str] = []
    late, early = named("late", calls), named("early", calls)
    signal.connect(early, sender="app")
    signal.connect(late)
    assert list(signal.receivers_for("app")) == [early, late]
    assert list(signal.receivers_for("other")) == [late]
