"""Receivers that are called only when a predicate is true."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from signalpost import Delivery
from signalpost import observe
from signalpost import receiver
from signalpost import Signal
from signalpost.testing import capture


class Log:
    """A receiver that keeps who sent."""

    def __init__(self) -> None:
        self.senders: list[Any] = []

    def receive(self, sender: Any, **payload: Any) -> None:
        self.senders.append(sender)

    async def receive_later(self, sender: Any, **payload: Any) -> None:
        self.senders.append(sender)


def is_large(sender: Any, total: int, **payload: Any) -> bool:
    return total > 100


def never(sender: Any, **payload: Any) -> bool:
    return False


def always(sender: Any, **payload: Any) -> bool:
    return True


def test_receiver_is_called_when_its_predicate_is_true() -> None:
    signal, log = Signal(), Log()
    signal.connect(log.receive, when=is_large)
    for number, total in enumerate((100, 101, 7)):
        signal.send(number, total=total, order=1)
    assert log.senders == [1]


@pytest.mark.parametrize("answer", [0, "", None, [], 1, "no", object()], ids=repr)
def test_answer_counts_by_its_truth(answer: Any) -> None:
    signal, log = Signal(), Log()
    signal.connect(log.receive, when=lambda sender: answer)
    signal.send("a")
    assert log.senders == (["a"] if answer else [])


def test_result_of_a_receiver_that_is_not_called_is_left_out() -> None:
    signal, log = Signal(), Log()
    signal.connect(log.receive, when=never)
    assert signal.send("a") == []
    assert signal.send_robust("a") == []
    assert asyncio.run(signal.send_async("a")) == []
    assert asyncio.run(signal.send_robust_async("a")) == []


@pytest.mark.parametrize("together", [None, asyncio.gather], ids=["in turn", "at once"])
def test_async_sends_ask_the_predicate(together: Any) -> None:
    async def send() -> None:
        for total in (1, 101):
            await signal.send_async(total, _gather=together, total=total)
            await signal.send_robust_async(total, _gather=together, total=total)

    signal, log = Signal(), Log()
    signal.connect(log.receive_later, when=is_large)
    asyncio.run(send())
    assert log.senders == [101, 101]


def test_predicate_gets_sender_and_payload() -> None:
    def keep(sender: Any, **payload: Any) -> bool:
        asked.append((sender, payload))
        return False

    signal, log, asked = Signal(), Log(), list[Any]()
    signal.connect(log.receive, when=keep)
    signal.send("a", order=7, total=1)
    assert asked == [("a", {"order": 7, "total": 1})]


def test_predicate_names_only_what_it_reads_of_a_declared_payload() -> None:
    def is_lamp(sender: Any, article: str) -> bool:
        return article == "lamp"

    def is_by_shop(sender: Any) -> bool:
        return bool(sender == "shop")

    signal, lamps, shops = Signal(payload=("article", "total")), Log(), Log()
    signal.connect(lamps.receive, when=is_lamp)
    signal.connect(shops.receive, when=is_by_shop)
    signal.send("shop", article="chair", total=1)
    signal.send("fair", article="lamp", total=1)
    assert (lamps.senders, shops.senders) == (["fair"], ["shop"])


def test_predicate_that_asks_for_what_is_not_sent_is_refused() -> None:
    signal, log = Signal(payload=("article",)), Log()
    with pytest.raises(TypeError, match="'total'"):
        signal.connect(log.receive, when=is_large)
    assert not signal.receivers


@pytest.mark.parametrize("wrong", [True, "total > 100", 7])
def test_predicate_that_cannot_be_called_is_refused(wrong: Any) -> None:
    signal, log = Signal(), Log()
    with pytest.raises(TypeError, match="when"):
        signal.connect(log.receive, when=wrong)
    assert not signal.receivers


def test_async_predicate_is_refused() -> None:
    async def is_open(sender: Any) -> bool:
        return False

    signal, log = Signal(), Log()
    with pytest.raises(TypeError, match="when"):
        signal.connect(log.receive, when=is_open)
    assert not signal.receivers


def test_one_call_is_not_used_up_while_the_predicate_is_false() -> None:
    signal, log = Signal(), Log()
    signal.connect(log.receive, once=True, when=is_large)
    for number, total in enumerate((1, 101, 102)):
        signal.send(number, total=total)
    assert log.senders == [1]
    assert not signal.receivers


def test_one_call_of_several_threads_is_one_with_a_predicate() -> None:
    def send() -> None:
        start.wait(30)
        for signal in signals:
            signal.send("a")

    signals, start = [Signal() for _ in range(100)], threading.Barrier(4)
    logs = [Log() for _ in signals]
    for signal, log in zip(signals, logs, strict=True):
        signal.connect(log.receive, once=True, when=always)
    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [log.senders for log in logs] == [["a"]] * len(signals)


def refuse(sender: Any, **payload: Any) -> bool:
    raise LookupError("no such order")


def test_predicate_that_raises_counts_as_its_receiver() -> None:
    signal, log, later = Signal(), Log(), Log()
    signal.connect(log.receive, when=refuse)
    signal.connect(later.receive)
    with pytest.raises(LookupError) as failure:
        signal.send("a")
    assert "receive" in failure.value.__notes__[0]
    failed, _ = signal.send_robust("b")
    assert failed.receiver == log.receive
    assert isinstance(failed.exception, LookupError)
    assert (log.senders, later.senders) == ([], ["b"])


@pytest.mark.parametrize("together", [None, asyncio.gather], ids=["in turn", "at once"])
def test_predicate_that_raises_counts_as_its_async_receiver(together: Any) -> None:
    signal, log, later = Signal(), Log(), Log()
    signal.connect(log.receive_later, when=refuse)
    signal.connect(later.receive_later)
    with pytest.raises(LookupError):
        asyncio.run(signal.send_async("a", _gather=together))
    later.senders.clear()
    failed, _ = asyncio.run(signal.send_robust_async("b", _gather=together))
    assert failed.receiver == log.receive_later
    assert failed.failed
    assert (log.senders, later.senders) == ([], ["b"])


def test_failure_of_a_predicate_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    signal, log = Signal(), Log()
    signal.connect(log.receive, when=refuse)
    signal.send_robust("a")
    (record,) = caplog.records
    assert "receive" in record.getMessage()


def test_predicate_that_raises_uses_up_one_call_or_none() -> None:
    signal, log = Signal(), Log()
    signal.connect(log.receive, once=True, when=refuse)
    with pytest.raises(LookupError):
        signal.send("a")
    assert log.senders == []
    assert len(signal.connections) <= 1


def test_receiver_that_is_not_called_is_not_observed() -> None:
    signal, log, seen = Signal(), Log(), list[Delivery]()
    signal.connect(log.receive, when=is_large)
    with observe(seen.append, signal):
        signal.send("a", total=1)
        signal.send("b", total=101)
    assert [delivery.sender for delivery in seen] == ["b"]


def test_predicate_is_asked_when_the_turn_of_its_receiver_comes() -> None:
    def open_shop(sender: Any) -> None:
        is_open.append(True)

    signal, log, is_open = Signal(), Log(), list[bool]()
    signal.connect(open_shop)
    signal.connect(log.receive, when=lambda sender: bool(is_open))
    signal.send("a")
    assert log.senders == ["a"]


def test_connecting_without_a_predicate_removes_it() -> None:
    signal, log = Signal(), Log()
    signal.connect(log.receive, when=never)
    signal.connect(log.receive)
    signal.send("a")
    assert log.senders == ["a"]


def test_connecting_with_a_predicate_does_not_narrow() -> None:
    signal, log = Signal(), Log()
    signal.connect(log.receive)
    signal.connect(log.receive, when=never)
    signal.send("a")
    assert log.senders == ["a"]


def test_one_of_two_predicates_is_enough() -> None:
    def is_small(sender: Any, total: int) -> bool:
        return total < 10

    signal, log = Signal(), Log()
    signal.connect(log.receive, when=is_large)
    signal.connect(log.receive, when=is_small)
    for total in (1, 50, 101):
        signal.send(total, total=total)
    assert log.senders == [1, 101]
    assert len(signal.connections) == 1


def test_the_same_predicate_twice_is_one() -> None:
    def count(sender: Any) -> bool:
        asked.append(sender)
        return False

    signal, log, asked = Signal(), Log(), list[Any]()
    signal.connect(log.receive, when=count)
    signal.connect(log.receive, when=count)
    signal.send("a")
    assert asked == ["a"]


@pytest.mark.parametrize(
    ("of_any", "of_sender", "received"),
    [
        (never, None, ["a"]),
        (None, never, ["a"]),
        (never, always, ["a"]),
        (always, never, ["a"]),
        (never, never, []),
    ],
)
def test_connection_to_any_and_one_to_a_sender_are_called_if_either_is_true(
    of_any: Any, of_sender: Any, received: list[str]
) -> None:
    signal, log = Signal(), Log()
    signal.connect(log.receive, when=of_any)
    signal.connect(log.receive, sender="a", when=of_sender)
    signal.send("a")
    assert log.senders == received


def test_predicate_keeps_its_own_sender_with_one_call() -> None:
    signal, log = Signal(), Log()
    signal.connect(log.receive, once=True, when=never)
    signal.connect(log.receive, sender="a", once=True)
    signal.send("a")
    signal.send("a")
    assert log.senders == ["a"]


def test_predicate_is_gone_with_its_connection() -> None:
    signal, log = Signal(), Log()
    signal.connect(log.receive, when=never)
    signal.disconnect(log.receive)
    signal.connect(log.receive)
    signal.send("a")
    assert log.senders == ["a"]


def decorate_connect(signal: Signal) -> Any:
    return signal.connect(when=is_large)


def decorate_via(signal: Signal) -> Any:
    return signal.connect_via("a", when=is_large)


def decorate_receiver(signal: Signal) -> Any:
    return receiver([signal], when=is_large)


@pytest.mark.parametrize(
    "decorate", [decorate_connect, decorate_via, decorate_receiver]
)
def test_every_decorator_takes_a_predicate(decorate: Callable[[Signal], Any]) -> None:
    signal, totals = Signal(), list[int]()

    @decorate(signal)  # type: ignore[untyped-decorator, unused-ignore]
    def note(sender: Any, total: int) -> None:
        totals.append(total)

    signal.send("a", total=1)
    signal.send("a", total=101)
    assert totals == [101]


def test_captured_sends_do_not_ask_the_predicates_of_others() -> None:
    signal, log = Signal(), Log()
    signal.connect(log.receive, when=never)
    with capture(signal) as sent:
        signal.send("a")
    assert len(sent) == 1
    assert log.senders == []


def test_refused_async_receiver_is_refused_whatever_the_predicate() -> None:
    signal, log = Signal(), Log()
    signal.connect(log.receive_later, when=never)
    with pytest.raises(RuntimeError):
        signal.send("a")
