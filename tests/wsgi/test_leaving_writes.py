"""The record of a client that disconnects while the application calls ``write``."""

from __future__ import annotations

import gc
import typing as t
import weakref
from collections.abc import Callable
from collections.abc import Iterable
from contextlib import suppress

import pytest
from waitress.channel import ClientDisconnected

from signalpost import SignalMiddleware
from signalpost.exchange import Exchange
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import EXCHANGE_SIGNALS
from signalpost.testing import capture
from signalpost.testing import Sent
from tests.wsgi.serving import environ_of
from tests.wsgi.serving import exchange_of
from tests.wsgi.serving import names
from tests.wsgi.serving import TEXT

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

LEAVING = [BrokenPipeError, ConnectionResetError, OSError, ClientDisconnected]


def serve(app: WSGIApplication, raised: type[Exception]) -> None:
    """Serve as a server whose client leaves after the first five bytes."""
    written: list[bytes] = []

    def write(data: bytes) -> None:
        if written:
            raise raised
        written.append(data)

    body = app(environ_of(), lambda *_: write)
    for chunk in body:
        write(chunk)
    close: Callable[[], object] = getattr(body, "close", lambda: None)
    close()


def outcome_of(sent: list[Sent]) -> tuple[object, ...]:
    exchange = exchange_of(sent)
    return exchange.outcome, exchange.exception, exchange.status, exchange.body_bytes


def careless(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    write = start_response("200 OK", TEXT)
    write(b"first")
    write(b"second")
    return []


def careful(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    with suppress(Exception):
        careless(environ, start_response)
    return []


@pytest.mark.parametrize("raised", LEAVING)
def test_a_write_that_fails_is_no_failure_of_the_application(
    raised: type[Exception],
) -> None:
    with capture(*EXCHANGE_SIGNALS) as sent, pytest.raises(raised):
        serve(SignalMiddleware(careless), raised)
    assert "got-request-exception" not in names(sent)
    assert outcome_of(sent) == ("aborted", None, 200, 5)


@pytest.mark.parametrize("raised", LEAVING)
def test_a_write_that_fails_is_seen_if_the_application_handles_it(
    raised: type[Exception],
) -> None:
    with capture(*EXCHANGE_SIGNALS) as sent:
        serve(SignalMiddleware(careful), raised)
    assert outcome_of(sent) == ("aborted", None, 200, 5)


def test_an_application_that_fails_after_a_write_has_failed() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        careful(environ, start_response)
        raise LookupError

    with capture(exchange_closed) as sent, pytest.raises(LookupError):
        serve(SignalMiddleware(app), BrokenPipeError)
    assert outcome_of(sent)[0] == "error"


@pytest.mark.parametrize("raised", [ConnectionResetError, OSError])
def test_a_connection_of_the_application_that_fails_is_a_failure(
    raised: type[Exception],
) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", TEXT)(b"first")
        raise raised

    with capture(exchange_closed) as sent, pytest.raises(raised):
        serve(SignalMiddleware(app), BrokenPipeError)
    assert outcome_of(sent)[0] == "error"


def test_wrong_data_is_a_failure_of_the_application() -> None:
    with capture(exchange_closed) as sent, pytest.raises(TypeError):
        serve(SignalMiddleware(careless), TypeError)
    assert outcome_of(sent)[0] == "error"


def test_an_exception_of_a_write_keeps_no_exchange() -> None:
    kept: list[BaseException] = []
    exchanges: list[weakref.ref[Exchange]] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", TEXT)
        write(b"first")
        try:
            write(b"second")
        except OSError as error:
            kept.append(error)
        return []

    def keep(sender: object, *, exchange: Exchange) -> None:
        exchanges.append(weakref.ref(exchange))

    with exchange_closed.connected_to(keep):
        serve(SignalMiddleware(app), BrokenPipeError)
    gc.collect()
    assert [one() for one in exchanges] == [None]
    assert kept
