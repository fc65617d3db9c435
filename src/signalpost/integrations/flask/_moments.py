"""The moments of a request at which Flask sends a signal, and so do we."""

from __future__ import annotations

import typing as t
from collections.abc import Callable
from http import HTTPStatus

import flask
from flask import signals as flasks
from werkzeug.exceptions import HTTPException

from ... import lifecycle
from ...wsgi.leaving import record_client_left
from ._bridges import Moment
from ._requests import current_request
from ._requests import exchange_of

__all__ = ["MOMENTS"]


def _started(app: flask.Flask, _: dict[str, t.Any]) -> dict[str, t.Any]:
    exchange = exchange_of(app)
    # Whether or not it has started before: a receiver may refuse each request that
    # Flask gets, and a middleware may make a second one of an error.
    exchange._is_started = True
    return {"environ": exchange.environ, "exchange": exchange}


def _finished(app: flask.Flask, sent: dict[str, t.Any]) -> dict[str, t.Any]:
    exchange = exchange_of(app)
    exchange._is_finished = True
    return {
        "response": sent["response"],
        "environ": exchange.environ,
        "exchange": exchange,
    }


def _failed(app: flask.Flask, sent: dict[str, t.Any]) -> dict[str, t.Any] | None:
    exchange = exchange_of(app)
    # There may be no start of a response, by which it is known otherwise.
    if exchange._read_route(current_request()):
        exchange._is_started = True
    exception = sent["exception"]
    if (
        exchange.exception is exception
        or record_client_left(exception, exchange)
        or _is_an_answer(app, exception)
    ):
        return None
    exchange.exception = exception
    return {
        "exception": exception,
        "where": "view",
        "environ": exchange.environ,
        "exchange": exchange,
    }


def _is_an_answer(app: flask.Flask, exception: object) -> bool:
    """Return whether an exception is only a response, as that of ``abort(404)``.

    Flask reports none of these. Extensions that answer errors by themselves, such as
    Flask-RESTX, report all that they answer.
    """
    # By the type, because reading __class__ of an exception may raise.
    if not issubclass(type(exception), HTTPException):
        return False
    exception = t.cast("HTTPException", exception)
    if app.trap_http_exception(exception):
        return False
    code = exception.code
    if code is None and exception.response is not None:
        code = exception.response.status_code
    return isinstance(code, int) and code < HTTPStatus.INTERNAL_SERVER_ERROR


def _unchanged(*names: str) -> Callable[..., dict[str, t.Any]]:
    def payload_of(_: flask.Flask, sent: dict[str, t.Any]) -> dict[str, t.Any]:
        return {name: sent.get(name) for name in names}

    return payload_of


MOMENTS: tuple[Moment, ...] = (
    Moment(
        flasks.request_started,
        lifecycle.request_started,
        _started,
    ),
    Moment(
        flasks.before_render_template,
        lifecycle.before_render_template,
        _unchanged("template", "context"),
    ),
    Moment(
        flasks.template_rendered,
        lifecycle.template_rendered,
        _unchanged("template", "context"),
    ),
    Moment(
        flasks.message_flashed,
        lifecycle.message_flashed,
        _unchanged("message", "category"),
    ),
    Moment(
        flasks.got_request_exception,
        lifecycle.got_request_exception,
        _failed,
        # An exchange has its exception, whichever of its signals has receivers.
        also_for=lifecycle.EXCHANGE_SIGNALS,
    ),
    Moment(flasks.request_finished, lifecycle.request_finished, _finished),
    Moment(
        flasks.request_tearing_down,
        lifecycle.request_tearing_down,
        _unchanged("exc"),
    ),
    Moment(flasks.appcontext_pushed, lifecycle.appcontext_pushed, _unchanged()),
    Moment(
        flasks.appcontext_tearing_down,
        lifecycle.appcontext_tearing_down,
        _unchanged("exc"),
    ),
    Moment(flasks.appcontext_popped, lifecycle.appcontext_popped, _unchanged()),
)
"""All of them."""
