"""Receivers that set the fields of an exchange to what these never are."""

from __future__ import annotations

import typing as t
from collections.abc import Callable

import flask
import pytest

from signalpost import SignalMiddleware
from signalpost.exchange import Exchange
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import exchange_opened
from signalpost.lifecycle import got_request_exception
from signalpost.lifecycle import request_finished
from signalpost.lifecycle import request_started
from signalpost.testing import capture
from tests.integrations.serving import response_of
from tests.integrations.shop import new_shop
from tests.wsgi.serving import exchange_of
from tests.wsgi.serving import Server


class Hostile:
    """An object that does nothing without raising."""

    __hash__: t.ClassVar[None]  # type: ignore[assignment]

    def __getattribute__(self, name: str) -> t.Any:
        raise RuntimeError(name)

    def __bool__(self) -> bool:
        raise RuntimeError

    def __eq__(self, other: object) -> bool:
        raise RuntimeError


VALUES: dict[str, Callable[[], object]] = {
    "text": lambda: "x",
    "object": object,
    "hostile": Hostile,  # made in the test, as pytest looks at values
    "number": lambda: -1,
    "list": list,
}


@pytest.mark.parametrize("value_of", VALUES.values(), ids=VALUES.keys())
@pytest.mark.parametrize("field", ["outer", "sender", "route", "status"])
@pytest.mark.parametrize("signal", [exchange_opened, request_started])
@pytest.mark.parametrize("path", ["/items/3", "/no-such-page", "/error"])
def test_the_client_and_the_close_do_not_notice(
    path: str, signal: t.Any, field: str, value_of: Callable[[], object]
) -> None:
    app = new_shop()
    app.config["PROPAGATE_EXCEPTIONS"] = False
    Signalpost(app)
    plain = Server()
    plain.serve(app, path=path)

    def spoil(sender: object, exchange: Exchange, **extra: object) -> None:
        setattr(exchange, field, value_of())

    server = Server()
    with (
        signal.connected_to(spoil, app),
        capture(exchange_closed, request_finished, sender=app) as sent,
    ):
        server.serve(app, path=path)
    assert response_of(server) == response_of(plain)
    assert [one.signal for one in sent] == [request_finished, exchange_closed]


def test_the_record_stays_whole_if_the_sender_is_set() -> None:
    app = flask.Flask(__name__)
    app.config["PROPAGATE_EXCEPTIONS"] = False

    @app.get("/fail")
    def fail() -> t.NoReturn:
        raise ValueError

    Signalpost(app)

    def spoil(sender: object, exchange: Exchange) -> None:
        exchange.sender = "x"
        exchange.state["key"] = 1

    with (
        exchange_opened.connected_to(spoil, app),
        capture(got_request_exception, exchange_closed, sender=app) as sent,
    ):
        Server().serve(SignalMiddleware(app), path="/fail")
    exchange = exchange_of(sent)
    assert [one["exchange"] for one in sent] == [exchange] * 2
    assert type(exchange.exception) is ValueError
    assert (exchange.route, exchange.state) == ("/fail", {"key": 1})
