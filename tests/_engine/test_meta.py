"""The signals receiver_connected and receiver_disconnected."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from signalpost import ANY
from signalpost import Signal
from signalpost.errors import AsyncReceiverError


class Owner:
    def receive(self, sender: Any) -> None: ...


class Log:
    """Keeps what it was sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[Any, dict[str, Any]]] = []

    # Their payload has its own sender, so the first is called signal.
    def receive(self, signal: Any, **payload: Any) -> None:
        self.sent.append((signal, payload))


def ignore(sender: Any) -> None: ...


def refuse(signal: Any, **extra: Any) -> None:
    raise LookupError("refused")


def test_signals_about_a_signal_are_made_once() -> None:
    signal = Signal()
    assert signal.receiver_connected is signal.receiver_connected
    assert signal.receiver_disconnected is signal.receiver_disconnected
    assert signal.receiver_connected is not Signal().receiver_connected


def test_connect_is_sent_with_exactly_what_was_given() -> None:
    signal = Signal()
    log = Log()
    signal.receiver_connected.connect(log.receive)
    signal.connect(ignore)
    signal.connect(ignore, sender="app", weak=False)
    assert log.sent == [
        (signal, {"receiver": ignore, "sender": ANY, "weak": True}),
        (signal, {"receiver": ignore, "sender": "app", "weak": False}),
    ]


def test_disconnect_is_sent_with_exactly_what_was_given() -> None:
    signal = Signal()
    log = Log()
    signal.receiver_disconnected.connect(log.receive)
    signal.connect(ignore)
    signal.connect(ignore, sender="app")
    signal.disconnect(ignore, sender="app")
    signal.disconnect(ignore)
    assert log.sent == [
        (signal, {"receiver": ignore, "sender": "app"}),
        (signal, {"receiver": ignore, "sender": ANY}),
    ]


def test_disconnect_of_a_stranger_is_not_sent() -> None:
    signal = Signal()
    log = Log()
    signal.receiver_disconnected.connect(log.receive)
    signal.disconnect(ignore)
    signal.connect(ignore, sender="app")
    signal.disconnect(ignore, sender="api")
    signal.disconnect(ignore)
    signal.disconnect(ignore)
    assert len(log.sent) == 1


def test_death_is_not_sent() -> None:
    signal = Signal()
    log = Log()
    signal.receiver_disconnected.connect(log.receive)
    owner = Owner()
    signal.connect(owner.receive)
    signal.connect(ignore, sender=owner)
    del owner
    gc.collect()
    assert not signal.receivers
    assert not log.sent


def test_block_over_an_earlier_connection_sends_no_disconnect() -> None:
    signal = Signal()
    log = Log()
    signal.connect(ignore)
    signal.receiver_disconnected.connect(log.receive)
    with signal.connected_to(ignore):
        pass
    assert not log.sent


def test_block_sends_its_connect_and_its_disconnect() -> None:
    signal = Signal()
    connected, disconnected = Log(), Log()
    signal.receiver_connected.connect(connected.receive)
    signal.receiver_disconnected.connect(disconnected.receive)
    with signal.connected_to(ignore, sender="app"):
        assert [payload["receiver"] for _, payload in connected.sent] == [ignore]
        assert not disconnected.sent
    assert disconnected.sent == [(signal, {"receiver": ignore, "sender": "app"})]


def test_connection_is_undone_if_a_receiver_of_it_raises() -> None:
    signal = Signal()
    signal.receiver_connected.connect(refuse)
    with pytest.raises(LookupError, match="refused"):
        signal.connect(ignore, sender="app", weak=False)
    assert not signal.receivers
    assert not signal.has_receivers_for("app")


def test_connection_is_undone_if_a_receiver_of_it_is_async() -> None:
    async def receiver(signal: Any, **extra: Any) -> None: ...

    signal = Signal()
    signal.receiver_connected.connect(receiver)
    with pytest.raises(AsyncReceiverError):
        signal.connect(ignore)
    assert not signal.receivers


def test_failed_reconnect_leaves_the_earlier_connection() -> None:
    signal = Signal()
    signal.connect(ignore)
    signal.connect(ignore, sender="app")
    signal.receiver_connected.connect(refuse)
    for sender in (ANY, "app", "api"):
        with pytest.raises(LookupError):
            signal.connect(ignore, sender=sender)
    assert signal.send()
    assert signal.send("app")
    assert signal.disconnect(ignore, sender="app")
    assert not signal.disconnect(ignore, sender="api")


def test_failed_reconnect_leaves_a_weak_connection_weak() -> None:
    signal = Signal()
    owner = Owner()
    signal.connect(owner.receive)
    signal.receiver_connected.connect(refuse)
    with pytest.raises(LookupError):
        signal.connect(owner.receive, weak=False)
    watched = weakref.ref(owner)
    del owner
    gc.collect()
    assert watched() is None


def test_receiver_is_connected_when_it_is_sent() -> None:
    def look(signal: Signal, **extra: Any) -> None:
        found.append(signal.has_receivers_for("app"))

    signal = Signal()
    found: list[bool] = []
    signal.receiver_connected.connect(look)
    signal.receiver_disconnected.connect(look)
    signal.connect(ignore, sender="app")
    signal.disconnect(ignore, sender="app")
    assert found == [True, False]
