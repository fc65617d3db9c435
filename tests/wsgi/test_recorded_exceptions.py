"""Exceptions that a framework answers by itself, as Django does."""

from __future__ import annotations

import typing as t
from collections.abc import Callable
from collections.abc import Iterable

import pytest

from signalpost import SignalMiddleware
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import got_request_exception
from signalpost.testing import capture
from signalpost.wsgi.exceptions import record_exception
from tests.wsgi.serving import environ_of
from tests.wsgi.serving import exchange_of
from tests.wsgi.serving import Server
from tests.wsgi.serving import TEXT

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

View = Callable[["WSGIEnvironment"], object]


def answering(view: View, *, lets_through: bool = False) -> WSGIApplication:
    """Return the application of a framework that answers the errors of its view."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            view(environ)
        except Exception as error:
            record_exception(environ, error)
            if lets_through:
                raise
            start_response("500 Internal Server Error", TEXT)
            return [b"sorry"]
        raise AssertionError("the view has not failed")

    return app


def fail(environ: WSGIEnvironment) -> None:
    raise LookupError("no mugs")


def test_an_answered_exception_is_sent_with_its_exchange() -> None:
    app = SignalMiddleware(answering(fail))
    with capture(got_request_exception, exchange_closed) as sent:
        assert Server().serve(app) == b"sorry"
    failed, closed = sent
    assert failed["where"] == "view"
    assert failed["exchange"] is closed["exchange"]
    assert closed["exchange"].exception is failed["exception"]
    assert (closed["exchange"].status, closed["exchange"].outcome) == (500, "complete")


def test_an_exception_that_leaves_after_it_was_recorded_is_sent_once() -> None:
    app = SignalMiddleware(answering(fail, lets_through=True))
    with capture(got_request_exception) as sent, pytest.raises(LookupError):
        Server().serve(app)
    assert len(sent) == 1


def test_an_answered_disconnect_of_the_client_is_no_failure() -> None:
    class Input:
        def read(self) -> bytes:
            raise ConnectionResetError

    def upload(environ: WSGIEnvironment) -> None:
        try:
            environ["wsgi.input"].read()
        except OSError as error:
            raise ValueError("unreadable") from error

    app = SignalMiddleware(answering(upload))
    with capture(got_request_exception, exchange_closed) as sent:
        Server().serve(app, **{"wsgi.input": Input()})
    exchange = exchange_of(sent)
    assert len(sent) == 1
    assert (exchange.status, exchange.outcome, exchange.exception) == (
        None,
        "aborted",
        None,
    )


def test_nothing_is_recorded_without_an_open_exchange() -> None:
    environ = environ_of()
    with capture(got_request_exception) as sent:
        record_exception(environ, LookupError())
        with capture(exchange_closed):
            for _ in SignalMiddleware(answering(fail))(environ, lambda *_: print):
                pass
        record_exception(environ, LookupError())
    assert [type(one["exception"]) for one in sent] == [LookupError]
