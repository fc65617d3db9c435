"""The exchange of Flask's current request, and the request of an exchange."""

from __future__ import annotations

import inspect
import typing as t
from traceback import walk_tb
from types import CodeType
from types import FunctionType

import flask

from ..._current import context_exchange
from ...exchange import Exchange
from ...exchange import EXCHANGE_KEY

__all__ = [
    "CALL_CODES",
    "current_request",
    "exchange_of",
    "find_request",
    "is_of",
    "request_left_by",
]


def exchange_of(app: flask.Flask) -> Exchange:
    """Return the exchange of the current request.

    If the first receiver was connected in the middle of the request, or a test
    dispatches it without the WSGI application, there is none; a record is then begun.
    """
    request = current_request()
    environ = request.environ
    exchange = environ.get(EXCHANGE_KEY)
    called = context_exchange.get()
    if called is not exchange and is_of(called, app) and called.environ is environ:
        # A request that the view has made with this environment is open still.
        exchange = called
    if not is_of(exchange, app):
        # Not put into the environ, as nothing would take it out again.
        kept: dict[str, t.Any] = request.__dict__
        exchange = kept.get(EXCHANGE_KEY)
        if exchange is None:
            exchange = kept[EXCHANGE_KEY] = Exchange(environ, app)
    # Soon Flask drops its request. It is given, as the exchange's own environment has
    # none if Flask got a copy of it.
    if exchange._route is None:
        exchange._read_route(request)
    return exchange


def is_of(exchange: object, app: flask.Flask) -> t.TypeGuard[Exchange]:
    """Return whether something is an exchange of an application, and open."""
    # Not by its sender, which a receiver may set.
    return isinstance(exchange, Exchange) and exchange._sender is app


def current_request() -> flask.Request:
    """Return the request behind Flask's proxy."""
    proxy: t.Any = flask.request
    request: flask.Request = proxy._get_current_object()  # public
    return request


def find_request(exchange: Exchange) -> flask.Request | None:
    """Return the current request, if it is the exchange's.

    Flask's environment may be a copy of the middleware's, with the same exchange.
    """
    if not flask.has_request_context():
        return None
    request = current_request()
    return request if request.environ.get(EXCHANGE_KEY) is exchange else None


def request_left_by(error: BaseException, exchange: Exchange) -> flask.Request | None:
    """Return the exchange's request that Flask worked on when it raised an exception.

    Flask has already dropped it; the frame of Flask's call in the traceback has not.
    """
    for frame, _ in walk_tb(error.__traceback__):
        if frame.f_code in CALL_CODES:
            context = frame.f_locals.get("ctx")
            request: flask.Request | None = getattr(context, "request", None)
            if request is None or request.environ.get(EXCHANGE_KEY) is exchange:
                return request
    return None


# Another package may have replaced it by a wrapper.
CALL_CODES: tuple[CodeType, ...] = tuple(
    function.__code__
    for function in [inspect.unwrap(flask.Flask.wsgi_app)]
    if isinstance(function, FunctionType)
)
"""The code of Flask's ``wsgi_app``."""
