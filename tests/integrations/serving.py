"""A server that sees a request through, and what was sent meanwhile."""

from __future__ import annotations

import contextlib
import typing as t
from contextlib import AbstractContextManager

import flask
import pytest
from flask import signals as flasks

from signalpost import NamedSignal
from signalpost.exchange import Exchange
from signalpost.integrations.flask import Signalpost
from signalpost.integrations.flask import State
from signalpost.lifecycle import appcontext_popped
from signalpost.lifecycle import appcontext_pushed
from signalpost.lifecycle import appcontext_tearing_down
from signalpost.lifecycle import before_render_template
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import exchange_opened
from signalpost.lifecycle import got_request_exception
from signalpost.lifecycle import message_flashed
from signalpost.lifecycle import request_finished
from signalpost.lifecycle import request_started
from signalpost.lifecycle import request_tearing_down
from signalpost.lifecycle import template_rendered
from signalpost.testing import capture
from signalpost.testing import Sent
from tests.integrations.shop import Course
from tests.integrations.shop import new_shop
from tests.wsgi.serving import exchange_of
from tests.wsgi.serving import Server

FLASKS = (
    appcontext_popped,
    appcontext_pushed,
    appcontext_tearing_down,
    before_render_template,
    got_request_exception,
    message_flashed,
    request_finished,
    request_started,
    request_tearing_down,
    template_rendered,
)
ALL = (exchange_opened, *FLASKS, exchange_closed)


def theirs(signal: NamedSignal) -> t.Any:
    """Return Flask's signal of the same name."""
    return getattr(flasks, signal.name.replace("-", "_"))


def visit(app: flask.Flask, course: Course, method: str = "GET") -> Server:
    """Serve a request to its end, whatever comes out of it."""
    server = Server()
    with expected(course):
        server.serve(app, path=course.path, method=method)
    return server


def response_of(server: Server) -> tuple[str, list[tuple[str, str]], bytes]:
    """Return a response without its cookies, which hold the second of signing."""
    headers = [header for header in server.headers if header[0] != "Set-Cookie"]
    return server.status, headers, server.written


def expected(course: Course) -> AbstractContextManager[object]:
    if course.raises is None:
        return contextlib.nullcontext()
    return pytest.raises(course.raises)


def contexts() -> str:
    """Return the active contexts: r for the request's, a for the application's."""
    return "".join(
        letter if is_there else "-"
        for letter, is_there in (
            ("r", flask.has_request_context()),
            ("a", flask.has_app_context()),
        )
    )


def sent_of(sent: list[Sent], signal: object) -> list[Sent]:
    return [one for one in sent if one.signal is signal]


def state_of(app: flask.Flask) -> State:
    return t.cast("State", app.extensions["signalpost"])


def exchange_for(course: Course, method: str = "GET") -> Exchange:
    """Return the exchange of a request when only its close has receivers."""
    app = new_shop(course.prepare)
    Signalpost(app)
    with capture(exchange_closed, sender=app) as sent:
        visit(app, course, method)
    assert len(sent) == 1
    return exchange_of(sent)
