"""Receivers that are connected for one call."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from signalpost import ANY
from signalpost import Signal
from signalpost.errors import AsyncReceiverError

SENDING_THREADS = 8
PATIENCE_SECONDS = 30.0


class Log:
    """A receiver that keeps who sent, and can die."""

    def __init__(self) -> None:
        self.senders: list[Any] = []

    def receive(self, sender: Any, **extra: Any) -> None:
        self.senders.append(sender)

    async def receive_later(self, sender: Any, **extra: Any) -> None:
        self.senders.append(sender)


@pytest.fixture
def busy_threads() -> Iterator[None]:
    """Let threads change places all the time."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


def test_receiver_is_called_once() -> None:
    signal, log = Signal(), Log()
    signal.connect(log.receive, once=True)
    for sender in ("first", "second"):
        signal.send(sender)
    assert log.senders == ["first"]
    assert not signal.receivers


def test_others_still_receive() -> None:
    signal, log, other = Signal(), Log(), Log()
    signal.connect(log.receive, once=True)
    signal.connect(other.receive)
    signal.send("first")
    signal.send("second")
    assert log.senders == ["first"]
    assert other.senders == ["first", "second"]


def test_receiver_waits_for_its_own_sender() -> None:
    signal, log = Signal(), Log()
    signal.connect(log.receive, sender="app", once=True)
    for sender in ("api", "app", "app"):
        signal.send(sender)
    assert log.senders == ["app"]


def test_receiver_is_disconnected_before_its_call() -> None:
    def receiver(sender: Any) -> bool:
        return signal.has_receivers_for(ANY)

    signal = Signal()
    signal.connect(receiver, once=True)
    assert signal.send() == [(receiver, False)]


def test_receiver_may_connect_itself_again() -> None:
    def receiver(sender: Any) -> None:
        calls.append(sender)
        signal.connect(receiver, once=True)

    signal = Signal()
    calls: list[Any] = []
    signal.connect(receiver, once=True)
    for sender in (1, 2, 3):
        signal.send(sender)
    assert calls == [1, 2, 3]


def test_receiver_that_sends_the_same_signal_is_not_called_within_itself() -> None:
    def receiver(sender: int) -> None:
        calls.append(sender)
        signal.send(sender + 1)

    signal = Signal()
    calls: list[int] = []
    signal.connect(receiver, once=True)
    signal.send(1)
    assert calls == [1]


def test_send_within_a_send_takes_the_call_of_the_outer_one() -> None:
    def first(sender: str) -> None:
        if sender == "outer":
            signal.send("inner")

    signal, log = Signal(), Log()
    signal.connect(first)
    signal.connect(log.receive, once=True)
    signal.send("outer")
    assert log.senders == ["inner"]


def test_raising_counts_as_the_call() -> None:
    def fail(sender: Any) -> None:
        raise LookupError

    signal = Signal()
    signal.connect(fail, once=True)
    with pytest.raises(LookupError):
        signal.send()
    assert signal.send() == []


def test_receiver_after_one_that_raises_keeps_its_call() -> None:
    def fail(sender: Any) -> None:
        raise LookupError

    signal, log = Signal(), Log()
    signal.connect(fail)
    signal.connect(log.receive, once=True)
    with pytest.raises(LookupError):
        signal.send("first")
    signal.disconnect(fail)
    signal.send("second")
    assert log.senders == ["second"]


def test_muted_send_does_not_use_up_the_call() -> None:
    signal, log = Signal(), Log()
    signal.connect(log.receive, once=True)
    with signal.muted():
        signal.send("muted")
    signal.send("received")
    assert log.senders == ["received"]


def test_refused_send_does_not_use_up_the_call() -> None:
    signal, log = Signal(), Log()
    signal.connect(log.receive_later, once=True)
    with pytest.raises(AsyncReceiverError):
        signal.send("refused")
    asyncio.run(signal.send_async("received"))
    assert log.senders == ["received"]


def test_looking_does_not_use_up_the_call() -> None:
    signal, log = Signal(), Log()
    signal.connect(log.receive, once=True)
    assert signal.has_receivers_for("app")
    assert list(signal.receivers_for("app")) == [log.receive]
    assert signal.receivers
    assert len(signal.connections) == 1
    signal.send("received")
    assert log.senders == ["received"]


def test_connecting_without_once_makes_it_stay() -> None:
    signal, log = Signal(), Log()
    signal.connect(log.receive, once=True)
    signal.connect(log.receive)
    signal.send("first")
    signal.send("second")
    assert log.senders == ["first", "second"]


def test_connecting_without_once_and_strongly_makes_it_stay_and_strong() -> None:
    signal, log = Signal(), Log()
    senders = log.senders
    signal.connect(log.receive, once=True)
    signal.connect(log.receive, weak=False)
    del log
    gc.collect()
    signal.send("first")
    signal.send("second")
    assert senders == ["first", "second"]


def test_connecting_once_what_is_connected_changes_nothing() -> None:
    signal, log = Signal(), Log()
    signal.connect(log.receive)
    signal.connect(log.receive, once=True)
    signal.send("first")
    signal.send("second")
    assert log.senders == ["first", "second"]


def test_connecting_once_twice_is_one_call() -> None:
    signal, log = Signal(), Log()
    signal.connect(log.receive, once=True)
    signal.connect(log.receive, once=True)
    signal.send("first")
    signal.send("second")
    assert log.senders == ["first"]


def test_undone_connect_leaves_one_call() -> None:
    def refuse(signal: Any, **extra: Any) -> None:
        raise LookupError

    signal, log = Signal(), Log()
    signal.connect(log.receive, once=True)
    signal.receiver_connected.connect(refuse)
    with pytest.raises(LookupError):
        signal.connect(log.receive)
    signal.send("first")
    signal.send("second")
    assert log.senders == ["first"]


def test_block_leaves_one_call_to_a_receiver_that_had_one() -> None:
    signal, log = Signal(), Log()
    signal.connect(log.receive, once=True)
    with signal.connected_to(log.receive):
        pass
    signal.send("first")
    signal.send("second")
    assert log.senders == ["first"]


def test_connecting_once_within_a_block_is_one_call_after_it() -> None:
    signal, log = Signal(), Log()
    with signal.connected_to(log.receive):
        signal.connect(log.receive, once=True)
    signal.send("first")
    signal.send("second")
    assert len(log.senders) <= 1
    assert not signal.receivers


def test_one_call_to_any_and_one_to_a_sender_are_used_up_together() -> None:
    signal, log = Signal(), Log()
    signal.connect(log.receive, once=True)
    signal.connect(log.receive, sender="app", once=True)
    for sender in ("app", "app", "api"):
        signal.send(sender)
    assert log.senders == ["app"]
    assert not signal.receivers


def test_one_call_to_any_leaves_that_to_another_sender() -> None:
    signal, log = Signal(), Log()
    signal.connect(log.receive, once=True)
    signal.connect(log.receive, sender="app", once=True)
    for sender in ("api", "api", "app", "app"):
        signal.send(sender)
    assert log.senders == ["api", "app"]


def test_connection_that_stays_outlives_one_call_to_any() -> None:
    signal, log = Signal(), Log()
    signal.connect(log.receive, once=True)
    signal.connect(log.receive, sender="app")
    for sender in ("app", "app", "api"):
        signal.send(sender)
    assert log.senders == ["app", "app"]


def test_receiver_held_weakly_may_die_before_its_call() -> None:
    signal, log = Signal(), Log()
    signal.connect(log.receive, once=True)
    del log
    gc.collect()
    assert signal.send() == []
    assert not signal.receivers


def test_receiver_held_strongly_is_let_go_after_its_call() -> None:
    signal, log = Signal(), Log()
    senders = log.senders
    signal.connect(log.receive, weak=False, once=True)
    del log
    gc.collect()
    signal.send("first")
    assert senders == ["first"]
    assert not signal.receivers


def test_priority_decides_the_place_of_one_call() -> None:
    signal = Signal()
    calls: list[str] = []
    signal.connect(lambda sender: calls.append("usual"), weak=False)
    signal.connect(
        lambda sender: calls.append("once"), weak=False, once=True, priority=1
    )
    signal.send()
    signal.send()
    assert calls == ["once", "usual", "usual"]


def test_decorated_receiver_is_called_once() -> None:
    signal = Signal()
    calls: list[str] = []

    @signal.connect_via("app", once=True)
    def receiver(sender: str) -> None:
        calls.append(sender)

    signal.send("app")
    signal.send("app")
    assert calls == ["app"]


def test_disconnected_receiver_is_not_called() -> None:
    signal, log = Signal(), Log()
    signal.connect(log.receive, once=True)
    assert signal.disconnect(log.receive)
    signal.send()
    assert log.senders == []


def test_disconnect_after_the_call_has_nothing_to_do() -> None:
    signal, log = Signal(), Log()
    signal.connect(log.receive, once=True)
    signal.send()
    assert not signal.disconnect(log.receive)


def test_send_robust_calls_once() -> None:
    signal, log = Signal(), Log()
    signal.connect(log.receive, once=True)
    assert len(signal.send_robust("first")) == 1
    assert signal.send_robust("second") == []
    assert log.senders == ["first"]


def test_failure_of_a_robust_send_counts_as_the_call() -> None:
    def fail(sender: Any) -> None:
        raise LookupError

    signal = Signal()
    signal.connect(fail, once=True)
    assert [outcome.failed for outcome in signal.send_robust()] == [True]
    assert signal.send_robust() == []


@pytest.mark.parametrize("together", [None, asyncio.gather], ids=["in turn", "at once"])
def test_send_async_calls_once(together: Any) -> None:
    async def send() -> None:
        await signal.send_async("first", _gather=together)
        await signal.send_async("second", _gather=together)

    signal, log = Signal(), Log()
    signal.connect(log.receive_later, once=True)
    asyncio.run(send())
    assert log.senders == ["first"]
    assert not signal.receivers


@pytest.mark.parametrize("together", [None, asyncio.gather], ids=["in turn", "at once"])
def test_send_robust_async_calls_once(together: Any) -> None:
    async def send() -> None:
        await signal.send_robust_async("first", _gather=together)
        await signal.send_robust_async("second", _gather=together)

    signal, log = Signal(), Log()
    signal.connect(log.receive_later, once=True)
    asyncio.run(send())
    assert log.senders == ["first"]
    assert not signal.receivers


def test_of_two_tasks_that_send_one_calls() -> None:
    async def first(sender: Any) -> None:
        await asyncio.sleep(0)

    async def send() -> None:
        await asyncio.gather(signal.send_async(1), signal.send_async(2))

    signal, log = Signal(), Log()
    signal.connect(first)
    signal.connect(log.receive_later, once=True)
    asyncio.run(send())
    assert len(log.senders) == 1


@pytest.mark.usefixtures("busy_threads")
@pytest.mark.parametrize("is_overlapping", [False, True])
def test_of_many_threads_that_send_one_calls(is_overlapping: bool) -> None:
    def send_all() -> None:
        start.wait(PATIENCE_SECONDS)
        for signal in signals:
            signal.send("app")

    start = threading.Barrier(SENDING_THREADS)
    signals = [Signal() for _ in range(300)]
    logs = [Log() for _ in signals]
    for signal, log in zip(signals, logs, strict=True):
        signal.connect(log.receive, once=True)
        if is_overlapping:
            signal.connect(log.receive, sender="app", once=True)
    threads = [threading.Thread(target=send_all) for _ in range(SENDING_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert [log.senders for log in logs] == [["app"]] * len(signals)
    assert not any(signal.receivers for signal in signals)


@pytest.mark.usefixtures("busy_threads")
def test_connecting_for_good_while_another_thread_sends_is_not_lost() -> None:
    def send_all() -> None:
        start.wait(PATIENCE_SECONDS)
        for signal in signals:
            signal.send("app")

    def connect_all() -> None:
        start.wait(PATIENCE_SECONDS)
        for signal, log in zip(signals, logs, strict=True):
            signal.connect(log.receive)

    start = threading.Barrier(2)
    signals = [Signal() for _ in range(1000)]
    logs = [Log() for _ in signals]
    for signal, log in zip(signals, logs, strict=True):
        signal.connect(log.receive, once=True)
    threads = [threading.Thread(target=work) for work in (send_all, connect_all)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    for signal in signals:
        signal.send("afterwards")
    assert [log.senders[-1] for log in logs] == ["afterwards"] * len(signals)
