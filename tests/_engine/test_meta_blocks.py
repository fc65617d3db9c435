"""Signals about a signal, sent by blocks, by namespaces and with a uid."""

from __future__ import annotations

from typing import Any

import pytest

from signalpost import ANY
from signalpost import Namespace
from signalpost import Signal


class Log:
    """Keeps what it was sent."""

    def __init__(self, signal: Signal) -> None:
        self.connected: list[tuple[Any, dict[str, Any]]] = []
        self.disconnected: list[tuple[Any, dict[str, Any]]] = []
        signal.receiver_connected.connect(self.keep_connected)
        signal.receiver_disconnected.connect(self.keep_disconnected)

    # Their payload has its own sender, so the first is called signal.

    def keep_connected(self, signal: Any, **payload: Any) -> None:
        self.connected.append((signal, payload))

    def keep_disconnected(self, signal: Any, **payload: Any) -> None:
        self.disconnected.append((signal, payload))


def ignore(sender: Any, **payload: Any) -> None: ...


def another(sender: Any, **payload: Any) -> None: ...


def refuse(signal: Any, **payload: Any) -> None:
    raise LookupError("refused")


@pytest.mark.parametrize("sender", [ANY, "app"])
@pytest.mark.parametrize("weak", [True, False])
def test_block_without_a_receiver_sends_its_disconnect_and_its_connect(
    sender: Any, weak: bool
) -> None:
    signal = Signal()
    signal.connect(ignore, sender="app", weak=weak)
    log = Log(signal)
    with signal.disconnected_from(ignore, sender):
        assert log.disconnected == [(signal, {"receiver": ignore, "sender": sender})]
        assert log.connected == []
    payload = {"receiver": ignore, "sender": sender, "weak": weak}
    assert log.connected == [(signal, payload)]
    assert len(log.disconnected) == 1


def test_block_without_a_receiver_that_is_held_once_sends_that_it_is_held() -> None:
    signal = Signal()
    signal.connect(ignore, sender="app", weak=False)
    signal.connect(ignore, sender="api")
    log = Log(signal)
    with signal.disconnected_from(ignore):
        pass
    assert [payload["weak"] for _, payload in log.connected] == [False]


def test_block_without_a_receiver_that_is_not_connected_sends_nothing() -> None:
    signal = Signal()
    signal.connect(another)
    log = Log(signal)
    with signal.disconnected_from(ignore):
        pass
    assert log.connected == log.disconnected == []


def test_block_is_not_open_if_a_receiver_of_its_connect_raises() -> None:
    signal = Signal()
    signal.receiver_connected.connect(refuse)
    block = signal.connected_to(ignore)
    with pytest.raises(LookupError, match="refused"), block:
        pytest.fail("the block is open")
    assert not signal.receivers
    signal.receiver_connected.disconnect(refuse)
    with block:
        assert signal.send() == [(ignore, None)]
    assert not signal.receivers


@pytest.mark.parametrize("options", [{"dispatch_uid": "uid"}, {"replace": True}])
@pytest.mark.parametrize("weak", [True, False])
def test_connect_with_a_uid_is_sent(options: dict[str, Any], weak: bool) -> None:
    signal = Signal()
    log = Log(signal)
    signal.connect(ignore, "app", weak, **options)
    payload = {"receiver": ignore, "sender": "app", "weak": weak}
    assert log.connected == [(signal, payload)]


@pytest.mark.parametrize("options", [{"dispatch_uid": "uid"}, {"replace": True}])
def test_connect_with_a_uid_is_undone_if_a_receiver_of_it_raises(
    options: dict[str, Any],
) -> None:
    signal = Signal()
    signal.receiver_connected.connect(refuse)
    with pytest.raises(LookupError):
        signal.connect(ignore, **options)
    assert not signal.receivers


def test_replacement_is_undone_if_a_receiver_of_it_raises() -> None:
    signal = Signal()
    signal.connect(ignore, dispatch_uid="uid")
    signal.receiver_connected.connect(refuse)
    with pytest.raises(LookupError):
        signal.connect(another, dispatch_uid="uid", replace=True)
    assert signal.send() == [(ignore, None)]
    assert signal.disconnect(dispatch_uid="uid")
    assert not signal.receivers


@pytest.mark.parametrize("sender", [ANY, "app"])
def test_namespace_sends_its_connect_and_its_disconnect(sender: Any) -> None:
    namespace = Namespace()
    signal = namespace.signal("opened")
    log = Log(signal)
    namespace.connect(ignore, sender)
    payload = {"receiver": ignore, "sender": sender, "weak": True}
    assert log.connected == [(signal, payload)]
    namespace.disconnect(ignore, sender)
    assert log.disconnected == [(signal, {"receiver": ignore, "sender": sender})]
    namespace.disconnect(ignore, sender)
    assert len(log.disconnected) == 1


def test_namespace_connects_to_none_if_a_receiver_of_it_raises() -> None:
    namespace = Namespace()
    opened, closed = namespace.signal("opened"), namespace.signal("closed")
    closed.receiver_connected.connect(refuse)
    with pytest.raises(LookupError):
        namespace.connect(ignore)
    assert not opened.receivers
    assert not closed.receivers
    assert not namespace.signal("later").receivers


def test_namespace_stays_connected_if_a_receiver_of_connecting_again_raises() -> None:
    namespace = Namespace()
    opened = namespace.signal("opened")
    namespace.connect(ignore)
    opened.receiver_connected.connect(refuse)
    with pytest.raises(LookupError):
        namespace.connect(ignore)
    assert opened.send() == [(ignore, None)]
    assert namespace.signal("later").send() == [(ignore, None)]
