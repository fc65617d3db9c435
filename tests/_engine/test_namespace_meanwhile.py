"""Signals that are put into a namespace while others look or connect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from signalpost import Delivery
from signalpost import NamedSignal
from signalpost import Namespace
from signalpost import observe

WAYS: dict[str, Callable[[Namespace, NamedSignal], object]] = {
    "setdefault": lambda namespace, signal: namespace.setdefault("opened", signal),
    "item": lambda namespace, signal: namespace.__setitem__("opened", signal),
    "update": lambda namespace, signal: namespace.update(opened=signal),
}
EACH = pytest.mark.parametrize("way", WAYS)


def receive(sender: Any, **payload: Any) -> str:
    return "received"


def receive_another(sender: Any, **payload: Any) -> str:
    return "another"


@EACH
def test_signal_is_not_found_before_it_has_the_receivers_of_the_namespace(
    way: str,
) -> None:
    def look(_: Any, **payload: Any) -> None:
        found.append("opened" in namespace)

    namespace, signal, found = Namespace(), NamedSignal("opened"), list[bool]()
    namespace.connect(receive)
    signal.receiver_connected.connect(look)
    WAYS[way](namespace, signal)
    assert found[0] is False
    assert len(signal.connections) == 1


@EACH
def test_signal_has_receivers_that_were_connected_meanwhile(way: str) -> None:
    def connect_another(_: Any, **payload: Any) -> None:
        signal.receiver_connected.disconnect(connect_another)
        namespace.connect(receive_another)

    namespace, signal = Namespace(), NamedSignal("opened")
    namespace.connect(receive)
    signal.receiver_connected.connect(connect_another)
    WAYS[way](namespace, signal)
    assert [value for _, value in signal.send()] == ["received", "another"]


@EACH
def test_signal_has_observers_that_began_meanwhile(way: str) -> None:
    def observe_too(_: Any, **payload: Any) -> None:
        signal.receiver_connected.disconnect(observe_too)
        observe(deliveries.append, namespace)

    namespace, signal = Namespace(), NamedSignal("opened")
    deliveries: list[Delivery] = []
    namespace.connect(receive)
    signal.receiver_connected.connect(observe_too)
    WAYS[way](namespace, signal)
    signal.send()
    assert len(deliveries) == 1


def test_signal_that_is_there_stays_with_its_receivers() -> None:
    namespace, other = Namespace(), NamedSignal("other")
    namespace.connect(receive)
    opened = namespace.signal("opened")
    assert namespace.setdefault("opened", other) is opened
    assert not other.receivers
