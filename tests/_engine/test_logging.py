"""Logging handlers that raise, or that send signals themselves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import pytest

from signalpost import NamedSignal
from signalpost import observe
from signalpost import Signal
from signalpost import SignalMiddleware
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import request_started
from signalpost.testing import capture

LOG = logging.getLogger("signalpost")
MANY = 500
"""More calls than any depth of recursion takes; exponentially many are more."""


class Handler(logging.Handler):
    """Does something with each record, and does not catch what that raises."""

    def __init__(self, work: Callable[[logging.LogRecord], object]) -> None:
        super().__init__()
        self.calls = 0
        self._work = work

    def emit(self, record: logging.LogRecord) -> None:
        self.calls += 1
        if self.calls > MANY:
            pytest.fail("the handler is called again and again")
        self._work(record)


@pytest.fixture
def handled() -> Iterator[Callable[[logging.Handler], None]]:
    """Let a handler get what signalpost logs."""
    added: list[logging.Handler] = []

    def add(handler: logging.Handler) -> None:
        LOG.addHandler(handler)
        added.append(handler)

    yield add
    for handler in added:
        LOG.removeHandler(handler)


@pytest.fixture
def handled_by_root() -> Iterator[Callable[[logging.Handler], None]]:
    """Let a handler get everything that is logged."""
    root, added = logging.getLogger(), list[logging.Handler]()

    def add(handler: logging.Handler) -> None:
        root.addHandler(handler)
        added.append(handler)

    yield add
    for handler in added:
        root.removeHandler(handler)


def fail(sender: Any, **payload: Any) -> None:
    raise LookupError("no such order")


def succeed(sender: Any, **payload: Any) -> str:
    return "done"


def full_disk(record: logging.LogRecord) -> None:
    raise OSError(28, "No space left on device")


def test_handler_that_raises_does_not_stop_other_receivers(handled: Any) -> None:
    handler, signal = Handler(full_disk), Signal()
    handled(handler)
    signal.connect(fail)
    signal.connect(succeed)
    failed, passed = signal.send_robust()
    assert isinstance(failed.exception, LookupError)
    assert passed.value == "done"
    assert handler.calls == 1


def test_handler_that_raises_does_not_stop_async_receivers(handled: Any) -> None:
    async def fail_later(sender: Any) -> None:
        raise LookupError

    handled(Handler(full_disk))
    signal = Signal()
    signal.connect(fail_later)
    signal.connect(succeed)
    for together in (None, asyncio.gather):
        failed, passed = asyncio.run(signal.send_robust_async(_gather=together))
        assert isinstance(failed.exception, LookupError)
        assert passed.value == "done"


def test_filter_that_raises_does_not_stop_other_receivers() -> None:
    def refuse(record: logging.LogRecord) -> bool:
        raise ValueError

    signal = Signal()
    signal.connect(fail)
    signal.connect(succeed)
    logger = logging.getLogger("signalpost.signals")
    logger.addFilter(refuse)
    try:
        assert [outcome.failed for outcome in signal.send_robust()] == [True, False]
    finally:
        logger.removeFilter(refuse)


def test_handler_that_raises_after_an_observer_failed_does_not_harm_the_send(
    handled: Any,
) -> None:
    def observer(delivery: Any) -> None:
        raise LookupError

    handled(Handler(full_disk))
    signal = Signal()
    signal.connect(succeed)
    with observe(observer, signal):
        assert signal.send() == [(succeed, "done")]


def hello(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def test_handler_that_raises_does_not_harm_the_response(handled: Any) -> None:
    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        statuses.append(status)

    handled(Handler(full_disk))
    app, statuses = SignalMiddleware(hello), list[str]()
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/"}
    with request_started.connected_to(fail), capture(exchange_closed) as sent:
        body: Any = app(environ, start_response)
        assert b"".join(body) == b"hello"
        body.close()
    assert statuses == ["200 OK"]
    assert len(sent) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_interruption_within_a_handler_goes_through(
    error: type[BaseException], handled: Any
) -> None:
    def interrupt(record: logging.LogRecord) -> None:
        raise error

    handled(Handler(interrupt))
    signal = Signal()
    signal.connect(fail)
    with pytest.raises(error):
        signal.send_robust()


def log_something(sender: Any, **payload: Any) -> None:
    logging.getLogger("signalpost.tests").error("a record was logged")


@pytest.mark.parametrize("receiver", [fail, log_something])
def test_handler_that_sends_what_logs_ends(
    receiver: Callable[..., None], handled_by_root: Any
) -> None:
    logged = NamedSignal("record-logged")
    handler = Handler(lambda record: logged.send_robust("log", record=record))
    handled_by_root(handler)
    logged.connect(receiver)
    logged.send_robust("app")
    assert 0 < handler.calls <= MANY


@pytest.mark.parametrize("count", [2, 3])
def test_handler_that_sends_to_several_receivers_that_fail_ends(
    count: int, handled_by_root: Any
) -> None:
    logged, kept = NamedSignal("record-logged"), list[Any]()
    handler = Handler(lambda record: logged.send_robust("log", record=record))
    handled_by_root(handler)
    for number in range(count):
        receiver = make_failing(number)
        kept.append(receiver)
        logged.connect(receiver)
    outcomes = logged.send_robust("app")
    assert [outcome.failed for outcome in outcomes] == [True] * count
    assert 0 < handler.calls <= MANY


def make_failing(number: int) -> Callable[..., None]:
    def receiver(sender: Any, **payload: Any) -> None:
        raise LookupError(number)

    return receiver


def test_two_signals_whose_failures_send_each_other_end(
    handled_by_root: Any,
) -> None:
    one, two = NamedSignal("one"), NamedSignal("two")

    def pass_on(record: logging.LogRecord) -> None:
        one.send_robust("log")
        two.send_robust("log")

    handler = Handler(pass_on)
    handled_by_root(handler)
    one.connect(fail)
    two.connect(fail)
    one.send_robust("app")
    assert 0 < handler.calls <= MANY


def test_receiver_of_what_is_logged_gets_it(handled_by_root: Any) -> None:
    def keep(sender: Any, record: logging.LogRecord) -> None:
        messages.append(record.getMessage())

    logged, placed = NamedSignal("record-logged"), NamedSignal("order-placed")
    messages: list[str] = []
    handled_by_root(Handler(lambda record: logged.send_robust("log", record=record)))
    logged.connect(keep)
    placed.connect(fail)
    placed.send_robust("app")
    placed.send_robust("app")
    assert len(messages) == 2
    assert "order-placed" in messages[0]


def test_failure_is_logged_after_one_within_a_handler(
    handled: Any, caplog: pytest.LogCaptureFixture
) -> None:
    handled(Handler(full_disk))
    signal = NamedSignal("order-placed")
    signal.connect(fail)
    for _ in range(3):
        signal.send_robust()
    # What raises above comes after pytest's handler or before it; one is enough.
    LOG.handlers[-1].setLevel(logging.CRITICAL + 1)
    caplog.clear()
    signal.send_robust()
    assert len(caplog.records) == 1


def test_handler_that_sends_what_an_async_receiver_logs_ends(
    handled_by_root: Any,
) -> None:
    async def fail_later(sender: Any, **payload: Any) -> None:
        raise LookupError

    logged, placed = NamedSignal("record-logged"), NamedSignal("order-placed")
    handler = Handler(lambda record: logged.send_robust("log", record=record))
    handled_by_root(handler)
    logged.connect(fail)
    placed.connect(fail_later)
    (outcome,) = asyncio.run(placed.send_robust_async("app"))
    assert outcome.failed
    assert 0 < handler.calls <= MANY
