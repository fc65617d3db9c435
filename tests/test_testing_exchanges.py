"""Finished exchanges and failures, with any WSGI application."""

from __future__ import annotations

import unittest
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

from signalpost import SignalMiddleware
from signalpost.lifecycle import exchange_closed
from signalpost.testing import finished_exchanges
from signalpost.testing import request_failures


def shop(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [])
    return [b"mugs"]


def broken(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    raise LookupError("no mugs")


def broken_stream(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [])
    yield b"mugs"
    raise LookupError("no more mugs")


def start(app: Any, path: str = "/") -> Any:
    """Return the body, which is still to be closed."""
    environ: dict[str, Any] = {"PATH_INFO": path}
    setup_testing_defaults(environ)
    return app(environ, lambda status, headers, exc_info=None: None)


def visit(app: Any, path: str = "/") -> None:
    body = start(app, path)
    # Without any receiver it is the application's own, which is a list.
    with ExitStack() as stack:
        if hasattr(body, "close"):
            stack.callback(body.close)
        list(body)


def test_exchanges_are_recorded_in_the_order_of_their_close() -> None:
    app = SignalMiddleware(shop)
    with finished_exchanges() as exchanges:
        first = start(app, "/first")
        visit(app, "/second")
        assert [one.path for one in exchanges] == ["/second"]
        first.close()
    assert [one.path for one in exchanges] == ["/second", "/first"]
    assert [one.outcome for one in exchanges] == ["complete", "aborted"]


def test_exchange_is_recorded_before_a_receiver_raises() -> None:
    def fail(sender: object) -> None:
        raise LookupError

    app = SignalMiddleware(shop, strict=True)
    with (
        exchange_closed.connected_to(fail),
        finished_exchanges() as exchanges,
        pytest.raises(LookupError),
    ):
        visit(app)
    assert len(exchanges) == 1


def test_exchanges_of_another_application_are_left_out() -> None:
    app, other = SignalMiddleware(shop), SignalMiddleware(broken_stream)
    with finished_exchanges(sender=shop) as exchanges:
        visit(app)
        start(other).close()
    assert len(exchanges) == 1


def test_nothing_is_recorded_after_the_block() -> None:
    app = SignalMiddleware(shop)
    before = exchange_closed.connections
    with finished_exchanges() as exchanges, request_failures() as failures:
        pass
    visit(app)
    assert exchanges == []
    assert failures == []
    assert exchange_closed.connections == before


def test_failure_has_exception_place_and_exchange() -> None:
    app = SignalMiddleware(broken)
    with request_failures() as failures, pytest.raises(LookupError):
        visit(app, "/mugs")
    (failure,) = failures
    assert failure.exception.args == ("no mugs",)
    assert failure.where == "call"
    assert failure.exchange.path == "/mugs"


def test_failure_of_a_streamed_body_is_recorded() -> None:
    app = SignalMiddleware(broken_stream)
    with request_failures() as failures, pytest.raises(LookupError):
        visit(app)
    assert [one.where for one in failures] == ["iteration"]


def test_failures_of_another_application_are_left_out() -> None:
    app = SignalMiddleware(broken)
    with request_failures(sender=shop) as failures, pytest.raises(LookupError):
        visit(app)
    assert failures == []


def test_decorated_function_records_each_call() -> None:
    block = finished_exchanges()

    @block
    def work() -> None:
        visit(SignalMiddleware(shop))

    work()
    with block as exchanges:
        work()
    assert len(exchanges) == 1


class ShopTest(unittest.TestCase):
    """As a user of unittest writes it."""

    def setUp(self) -> None:
        self.exchanges = self.enterContext(finished_exchanges())
        self.failures = self.enterContext(request_failures())

    def test_unittest_has_the_same(self) -> None:
        visit(SignalMiddleware(shop))
        assert [one.status for one in self.exchanges] == [200]
        assert self.failures == []
