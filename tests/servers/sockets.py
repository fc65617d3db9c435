"""Applications that take a connection over for a WebSocket, and send back its text.

``bare`` and ``recorded`` are the same; the latter has a receiver.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import typing as t
from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec

import flask

from signalpost import SignalMiddleware
from signalpost.exchange import Exchange
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import exchange_opened
from signalpost.lifecycle import got_request_exception
from signalpost.receivers.response_times import response_times

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIEnvironment

PATHS = ("/of-flask-sock", "/of-simple-websocket")
SECONDS_TO_WAIT = 5

_Times: t.TypeAlias = tuple[float | None, float | None]
_records: list[tuple[str, str, str | None, _Times | None]] = []
_has_grown = threading.Condition()


def _note(
    what: str, path: str, more: str | None = None, times: _Times | None = None
) -> None:
    with _has_grown:
        _records.append((what, path, more, times))
        _has_grown.notify_all()


def _closed_of(path: str) -> int:
    return sum(one[:2] == ("closed", path) for one in _records)


def _send_back(connection: t.Any) -> None:
    try:
        while True:
            connection.send(connection.receive())
    finally:
        # It answers the client's close after it has passed it on.
        connection.thread.join(SECONDS_TO_WAIT)


def simple(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Take the connection over without Flask."""
    package = import_module("simple_websocket")
    connection = package.Server(environ)
    with contextlib.suppress(package.ConnectionClosed):
        _send_back(connection)
    if connection.mode == "gunicorn":
        raise StopIteration
    return []


def new_app() -> flask.Flask:
    """Return an application with a WebSocket, and a page that shows what was sent."""
    app = flask.Flask(__name__)
    import_module("flask_sock").Sock(app).route(PATHS[0])(_send_back)

    @app.get("/records/<int:closed>/<path>")
    def records(closed: int, path: str) -> str:
        """Answer once so many exchanges of a path are closed, or after a while."""
        with _has_grown:
            _has_grown.wait_for(
                lambda: _closed_of(f"/{path}") >= closed, SECONDS_TO_WAIT
            )
            return json.dumps([one for one in _records if one[1] == f"/{path}"])

    return app


def _keep_opened(app: object, exchange: Exchange) -> None:
    _note("opened", exchange.path)


def _keep_closed(app: object, exchange: Exchange) -> None:
    _note("closed", exchange.path, exchange.outcome, response_times(exchange))


def _keep_exception(app: object, exception: BaseException, exchange: Exchange) -> None:
    _note("exception", exchange.path, type(exception).__name__)


class Both:
    """Flask's application, together with the one without Flask."""

    def __init__(self, flask_app: t.Any, simple_app: t.Any) -> None:
        self._flask_app = flask_app
        self._simple_app = simple_app

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        is_simple = environ["PATH_INFO"] == PATHS[1]
        app = self._simple_app if is_simple else self._flask_app
        return t.cast("Iterable[bytes]", app(environ, start_response))


if find_spec("flask_sock") is not None:
    bare = Both(new_app(), simple)
    _recorded_app = new_app()
    Signalpost(_recorded_app)
    recorded = Both(_recorded_app, SignalMiddleware(simple))
    # In a server only: the tests import this module to know its paths.
    _has_receivers = "SOCKETS_ARE_RECORDED" in os.environ
    for _sender in (_recorded_app, simple) if _has_receivers else ():
        exchange_opened.connect(_keep_opened, sender=_sender)
        exchange_closed.connect(_keep_closed, sender=_sender)
        got_request_exception.connect(_keep_exception, sender=_sender)
