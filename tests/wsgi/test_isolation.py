from __future__ import annotations

import typing as t
from collections.abc import Iterator

import pytest

from signalpost import SignalMiddleware
from signalpost.exchange import Exchange
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import exchange_opened
from signalpost.lifecycle import EXCHANGE_SIGNALS
from signalpost.lifecycle import got_request_exception
from signalpost.lifecycle import request_started
from signalpost.testing import capture
from tests.wsgi.serving import exchange_of
from tests.wsgi.serving import hello
from tests.wsgi.serving import Server
from tests.wsgi.serving import TEXT

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIEnvironment


@pytest.mark.parametrize("signal", EXCHANGE_SIGNALS, ids=lambda one: one.name)
def test_a_raising_receiver_changes_nothing(
    signal: t.Any, caplog: pytest.LogCaptureFixture
) -> None:
    def harmful(sender: object, **_: object) -> None:
        raise LookupError("harm")

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        yield b"one"
        if signal is got_request_exception:
            raise ValueError

    middleware = SignalMiddleware(app)
    server = Server()
    with signal.connected_to(harmful), capture(exchange_closed) as sent:
        try:
            server.serve(middleware)
        except ValueError:
            assert signal is got_request_exception
    assert server.status == "200 OK"
    assert exchange_of(sent).body_bytes == 3
    assert middleware.receiver_failures == 1
    assert "harmful" in caplog.text
    assert signal.name in caplog.text
    assert "LookupError: harm" in caplog.text


def test_strict_lets_a_receivers_exception_through() -> None:
    def harmful(sender: object, **_: object) -> None:
        raise LookupError("harm")

    with (
        request_started.connected_to(harmful),
        capture(exchange_closed) as sent,
        pytest.raises(LookupError),
    ):
        Server().serve(SignalMiddleware(hello, strict=True))
    assert len(sent) == 1


def test_an_async_receiver_fails_alone() -> None:
    async def late(sender: object, **_: object) -> None: ...

    middleware = SignalMiddleware(hello)
    with exchange_closed.connected_to(late), capture(exchange_closed) as sent:
        assert Server().serve(middleware) == b"hello"
    assert len(sent) == 1
    assert middleware.receiver_failures == 1


def test_receivers_keep_what_they_need_on_the_exchange() -> None:
    def begin(sender: object, exchange: Exchange) -> None:
        exchange.state["shop.cart"] = 3

    seen: list[object] = []

    def end(sender: object, exchange: Exchange) -> None:
        seen.append(exchange.state["shop.cart"])

    with exchange_opened.connected_to(begin), exchange_closed.connected_to(end):
        Server().serve(SignalMiddleware(hello))
    assert seen == [3]
