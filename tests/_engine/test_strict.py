"""Receivers whose exceptions go through isolated sends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from signalpost import receiver
from signalpost import Signal
from signalpost import SignalMiddleware
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import exchange_opened
from signalpost.lifecycle import request_started
from signalpost.testing import capture

TOGETHER = pytest.mark.parametrize(
    "together", [None, asyncio.gather], ids=["in turn", "at once"]
)


class Log:
    """A receiver that keeps who sent."""

    def __init__(self) -> None:
        self.senders: list[Any] = []

    def receive(self, sender: Any, **payload: Any) -> None:
        self.senders.append(sender)


def refuse(sender: Any, **payload: Any) -> None:
    raise PermissionError("not today")


async def refuse_later(sender: Any, **payload: Any) -> None:
    raise PermissionError("not today")


def fail(sender: Any, **payload: Any) -> None:
    raise LookupError("no such order")


def test_strict_receiver_goes_through_send_robust() -> None:
    signal, before, after = Signal(), Log(), Log()
    signal.connect(before.receive)
    signal.connect(refuse, strict=True)
    signal.connect(after.receive)
    with pytest.raises(PermissionError, match="not today") as raised:
        signal.send_robust("app")
    assert "refuse" in raised.value.__notes__[0]
    assert (before.senders, after.senders) == (["app"], [])


@pytest.mark.parametrize("function", [refuse, refuse_later])
def test_strict_receiver_goes_through_send_robust_async(function: Any) -> None:
    signal, before, after = Signal(), Log(), Log()
    signal.connect(before.receive)
    signal.connect(function, strict=True)
    signal.connect(after.receive)
    with pytest.raises(PermissionError, match="not today"):
        asyncio.run(signal.send_robust_async("app"))
    assert (before.senders, after.senders) == (["app"], [])


@pytest.mark.parametrize("function", [refuse, refuse_later])
def test_strict_receiver_goes_through_what_runs_at_once(function: Any) -> None:
    signal = Signal()
    signal.connect(function, strict=True)
    with pytest.raises(PermissionError, match="not today"):
        asyncio.run(signal.send_robust_async("app", _gather=asyncio.gather))


def test_others_stay_isolated_beside_a_strict_receiver() -> None:
    signal, log = Signal(), Log()
    signal.connect(fail)
    signal.connect(log.receive, strict=True)
    failed, passed = signal.send_robust("app")
    assert isinstance(failed.exception, LookupError)
    assert not passed.failed
    assert log.senders == ["app"]


def test_failures_before_a_strict_one_are_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    signal = Signal()
    signal.connect(fail)
    signal.connect(refuse, strict=True)
    with pytest.raises(PermissionError):
        signal.send_robust("app")
    assert len(caplog.records) == 1
    assert "fail" in caplog.text


@TOGETHER
def test_strict_receiver_that_does_not_raise_is_as_any_other(together: Any) -> None:
    async def give(sender: Any) -> str:
        return "given"

    signal = Signal()
    signal.connect(give, strict=True)
    sent = asyncio.run(signal.send_robust_async("app", _gather=together))
    assert [(outcome.value, outcome.failed) for outcome in sent] == [("given", False)]


def test_strict_receiver_changes_nothing_for_send() -> None:
    signal, after = Signal(), Log()
    signal.connect(refuse, strict=True)
    signal.connect(after.receive)
    with pytest.raises(PermissionError):
        signal.send("app")
    assert after.senders == []


def test_strict_receiver_is_strict_for_its_sender_only() -> None:
    signal = Signal()
    signal.connect(refuse, sender="app", strict=True)
    assert signal.send_robust("api") == []
    with pytest.raises(PermissionError):
        signal.send_robust("app")


@pytest.mark.parametrize("is_any_strict", [True, False])
def test_strict_for_any_or_for_the_sender_is_strict(is_any_strict: bool) -> None:
    signal = Signal()
    signal.connect(refuse, strict=is_any_strict)
    signal.connect(refuse, sender="app", strict=not is_any_strict)
    with pytest.raises(PermissionError):
        signal.send_robust("app")


def test_strict_receiver_of_a_declared_payload_goes_through() -> None:
    def refuse_order(sender: Any, order: int) -> None:
        raise PermissionError(order)

    signal = Signal(payload=("order", "total"))
    signal.connect(refuse_order, strict=True, priority=1)
    with pytest.raises(PermissionError, match="7"):
        signal.send_robust("app", order=7, total=1)


def test_strict_receiver_that_is_called_once_has_been_called() -> None:
    signal = Signal()
    signal.connect(refuse, strict=True, once=True)
    with pytest.raises(PermissionError):
        signal.send_robust("app")
    assert signal.send_robust("app") == []


def test_predicate_of_a_strict_receiver_is_strict() -> None:
    signal, log = Signal(), Log()
    signal.connect(log.receive, strict=True, when=refuse)
    with pytest.raises(PermissionError):
        signal.send_robust("app")


def test_wrapper_of_a_strict_receiver_is_strict() -> None:
    def refuse_to_wrap(function: Any) -> Any:
        raise PermissionError("no loop")

    signal = Signal()
    signal.connect(refuse_later, strict=True)
    with pytest.raises(PermissionError, match="no loop"):
        signal.send_robust("app", _async_wrapper=refuse_to_wrap)


def decorate_connect(signal: Signal) -> Any:
    return signal.connect(strict=True)


def decorate_via(signal: Signal) -> Any:
    return signal.connect_via("app", strict=True)


def decorate_receiver(signal: Signal) -> Any:
    return receiver([signal], strict=True)


@pytest.mark.parametrize(
    "decorate", [decorate_connect, decorate_via, decorate_receiver]
)
def test_every_decorator_takes_strict(decorate: Callable[[Signal], Any]) -> None:
    signal = Signal()
    decorate(signal)(refuse)
    with pytest.raises(PermissionError):
        signal.send_robust("app")


def hello(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def start_response(status: str, headers: Any, exc_info: Any = None) -> Any: ...


@pytest.mark.parametrize("sender", [None, hello], ids=["any", "sender"])
@pytest.mark.parametrize("signal", [exchange_opened, request_started])
def test_strict_receiver_goes_through_the_middleware(signal: Any, sender: Any) -> None:
    options = {} if sender is None else {"sender": sender}
    signal.connect(refuse, strict=True, **options)
    try:
        with capture(exchange_closed) as sent, pytest.raises(PermissionError):
            SignalMiddleware(hello)({"REQUEST_METHOD": "GET"}, start_response)
    finally:
        signal.disconnect(refuse)
    assert len(sent) == 1


def test_other_receivers_stay_isolated_in_the_middleware() -> None:
    log = Log()
    request_started.connect(log.receive, strict=True)
    with request_started.connected_to(fail):
        body: Any = SignalMiddleware(hello)({"REQUEST_METHOD": "GET"}, start_response)
        assert b"".join(body) == b"hello"
        body.close()
    assert log.senders == [hello]
