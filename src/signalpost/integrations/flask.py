"""The Flask extension: an application's course in signals, by one call."""

from __future__ import annotations

import inspect
import logging
import os
import typing as t
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from reprlib import repr as short_repr
from traceback import walk_tb
from types import FunctionType

import flask
from flask import signals as flasks
from werkzeug.exceptions import HTTPException

from .. import lifecycle
from .._current import context_exchange
from .._engine.delivery import AsyncWrapper
from .._engine.interest import generation_of
from .._engine.interest import with_receivers
from .._engine.names import named
from .._engine.serial import Serial
from .._engine.signal import NamedSignal
from ..config import Configuration
from ..config import Enabled
from ..errors import ConfigurationError
from ..errors import ExtensionError
from ..exchange import Exchange
from ..exchange import EXCHANGE_KEY
from ..wsgi.application import is_running
from ..wsgi.finding import unproxied
from ..wsgi.middleware import leave_moments
from ..wsgi.middleware import SignalMiddleware

__all__ = ["Signalpost"]

_NAME = "signalpost"

_log = logging.getLogger("signalpost.exchanges")

# What Flask makes an answer of, wherever it is raised.
_REFUSALS = (HTTPException,)


class Signalpost:
    """Let a Flask application send every signal of :mod:`signalpost.lifecycle`.

    ::

        Signalpost(app)                                  # or, with a factory:
        signalpost = Signalpost()
        signalpost.init_app(app)

    It wraps ``app.wsgi_app`` and hears Flask's own signals as long as somebody hears
    ours. What is connected to ``named("shop")`` hears the application of that
    :attr:`~flask.Flask.name`. Nothing is kept on this object, so one serves any number
    of applications. Async receivers run by :meth:`flask.Flask.ensure_sync`.

    A receiver written for Flask's signals works after a change of its import. If it
    raises an :exc:`~werkzeug.exceptions.HTTPException`, as :func:`~flask.abort` does,
    Flask answers with that, as for its own signal: the view does not run. Any other
    exception is logged, and the request goes on, unless the receiver was connected with
    ``strict=True``. Receivers of ``exchange-opened`` and ``exchange-closed`` refuse
    nothing.

    Configuration, read once in :meth:`init_app`:

    ``SIGNALPOST_STRICT``
        ``True`` lets a receiver's exception through to the application, for tests;
        ``False`` (the default) logs it and goes on.
    ``SIGNALPOST_RECEIVERS``
        The receivers to enable for the application, by name, with their options:
        ``{"latency": {"slow_seconds": 0.5}, "failures": True}``.
    ``SIGNALPOST_AUTO_IMPORT``
        A list of modules to import before: ``["shop.audit"]``.
    ``SIGNALPOST_FORMAT``
        ``"text"``, ``"json"`` or ``"logfmt"``: how what they log is written to standard
        error. Without it, logging is as you have set it up.
    ``SIGNALPOST_ID_HEADERS``
        The headers that may have the id of a request: ``["X-Request-ID"]``; see
        :attr:`Exchange.id <signalpost.exchange.Exchange.id>`.
    ``SIGNALPOST_CONFIG``
        The path of a TOML or INI file that says the like, see
        :mod:`signalpost.config`; relative to ``app.config.root_path``. The keys above
        win over what it says; of receivers, those of the same name.

    :param app: The application, or ``None`` to call :meth:`init_app` later.

    .. versionadded:: 0.1
    """

    def __init__(self, app: flask.Flask | None = None) -> None:
        if app is not None:
            self.init_app(app)

    def init_app(self, app: flask.Flask) -> None:
        """Set an application up, once.

        :param app: The application. Middlewares put around ``app.wsgi_app`` before
            this call are inside the exchange, later ones outside.
        :raises ExtensionError: If ``app`` is no Flask application, or is set up
            already.
        :raises ConfigurationError: If what is to be enabled cannot be.
        """
        if not isinstance(app, flask.Flask):
            raise ExtensionError(
                f"app must be a Flask application, got {short_repr(app)}; for another"
                " WSGI application use signalpost.SignalMiddleware",
                app,
            )
        # The sender is the application itself, not a proxy such as current_app.
        app = unproxied(app)
        if _NAME in app.extensions:
            raise ExtensionError(
                f"{app!r} is set up by Signalpost already; call init_app once for each"
                " application, or Signalpost(app) without init_app",
                app,
            )
        app.config.setdefault("SIGNALPOST_STRICT", False)
        strict = app.config["SIGNALPOST_STRICT"]
        if not isinstance(strict, bool):
            raise ExtensionError(
                f"SIGNALPOST_STRICT must be True or False, got {short_repr(strict)}",
                app,
            )
        # Before anything is changed, as this may fail.
        enabled = _configuration_of(app).load(app)
        # Now, as bridges look for receivers that were connected to the name.
        named(app.name).bind(app)
        middleware = FlaskMiddleware(app.wsgi_app, sender=app, strict=strict)
        bridges = tuple(Bridge(middleware, moment) for moment in _MOMENTS)
        app.wsgi_app = middleware  # type: ignore[method-assign]  # as Flask's docs do
        # Not by app.url_value_preprocessor(), which may be too late for Flask.
        app.url_value_preprocessors[None].append(middleware.check_request)
        app.extensions[_NAME] = State(middleware, bridges, enabled)


class FlaskMiddleware(SignalMiddleware):
    """The middleware for an application whose own signals tell the moments.

    ``request-started`` and ``request-finished`` are sent when Flask says so.
    """

    sender: flask.Flask

    def __init__(self, app: t.Any, *, sender: flask.Flask, strict: bool) -> None:
        leave_moments(sender)
        super().__init__(app, sender=sender, strict=strict)
        # As it is, whatever it is: a middleware may have a wsgi_app as well.
        self.app = app
        # It knows Flask's moments, so it does the work itself.
        self._is_outer_layer = False
        self.find_request = _find_request
        self._is_bypass_logged = False

    def check_request(self, *_: object) -> None:
        """Log, once, that Flask answers requests for which this was not called.

        Flask calls it in each request with the endpoint and values of the URL; of all
        its hooks this one costs the least.
        """
        exchange = _current_request().environ.get(EXCHANGE_KEY)
        if _is_of(exchange, self.sender) or self._is_bypass_logged:
            return
        app = self.sender
        if not self.is_recorded() or not is_running(app, _CALL_CODES):
            return  # a test may call parts of the application by itself
        if is_running(self, (SignalMiddleware.__call__.__code__,)):
            return  # the first receiver was connected in the middle of this request
        self._is_bypass_logged = True
        _log.warning(
            "%r has answered a request that signalpost did not record, as its layer is"
            " no longer in app.wsgi_app, which is %s now; put middlewares around"
            " app.wsgi_app, and call Signalpost(app) after what replaces it",
            app,
            short_repr(app.wsgi_app),
        )

    def forward(self, signal: NamedSignal, payload: dict[str, t.Any]) -> None:
        """Send at a moment of Flask's; receivers are isolated, but may refuse."""
        if signal is not lifecycle.request_finished:
            self._deliver(signal, payload, _REFUSALS)
            return
        exchange = payload["exchange"]
        # The response is not started yet, and it may never be.
        before, exchange.status = exchange.status, payload["response"].status_code
        try:
            self._deliver(signal, payload, _REFUSALS)
        finally:
            exchange.status = before

    def _find_route(self, exchange: Exchange, error: BaseException | None) -> None:
        # When Flask reported an exception or the start, the route was read.
        if exchange.is_started:
            return
        with suppress(Exception):  # of the application's own classes, too
            request = None if error is None else _request_left_by(error, exchange)
            if request is None:
                request = self._matched(exchange)
            # As good as surely: before that comes only what opens a session.
            exchange.is_started = exchange.read_route(request)

    def _matched(self, exchange: Exchange) -> flask.Request | None:
        """Return a request with its route, matched once more."""
        request = self.sender.request_class(exchange.environ, populate_request=False)
        adapter = self.sender.create_url_adapter(request)
        if adapter is None:
            return None
        try:
            request.url_rule, _ = adapter.match(return_rule=True)
        except HTTPException as error:
            request.routing_exception = error
        return request

    def _async_wrapper(self) -> AsyncWrapper | None:
        return self.sender.ensure_sync


@dataclass(frozen=True, slots=True)
class Moment:
    """One of Flask's signals, and ours of the same moment."""

    flask_signal: t.Any
    """Flask's signal."""
    ours: NamedSignal
    """Our signal."""
    payload_of: Callable[[flask.Flask, dict[str, t.Any]], dict[str, t.Any] | None]
    """Makes the payload of ours out of the application and Flask's payload; or
    ``None``, if ours was sent already."""
    heard_by: tuple[NamedSignal, ...] = ()
    """Further signals of ours that depend on hearing Flask's."""


class Bridge:
    """Forwards one signal of Flask's for one application, while ours has receivers.

    :param middleware: The application's.
    :param moment: What is bridged.
    """

    def __init__(self, middleware: FlaskMiddleware, moment: Moment) -> None:
        self._middleware = middleware
        self._moment = moment
        self._wanted_by = (moment.ours, *moment.heard_by)
        # A signal that carries the exchange needs to know what became of it.
        self._also_by = lifecycle.SIGNALS_WITHIN if moment.heard_by else ()
        self._changes = Serial()
        self._generation: object = None
        for signal in (*self._wanted_by, *self._also_by):
            # Weakly: all that belongs to an application goes with it.
            signal.receiver_connected.connect(self._follow, signal)
            signal.receiver_disconnected.connect(self._follow, signal)
        self._follow()

    def _follow(self, *_: object, **__: object) -> None:
        """Connect to Flask's signal, or disconnect, as ours have receivers or not."""
        # One at a time, or an old answer might be acted on after a newer one.
        self._changes.look(self._connect_or_disconnect)

    def _connect_or_disconnect(self) -> None:
        app = self._middleware.sender
        self._generation = _generation.current
        if with_receivers(self._wanted_by, app, self._also_by):
            self._moment.flask_signal.connect(self._forward, app)
        else:
            self._moment.flask_signal.disconnect(self._forward)

    def _forward(self, app: flask.Flask, **sent: t.Any) -> None:
        payload = self._moment.payload_of(app, sent)
        if payload is not None:
            self._middleware.forward(self._moment.ours, payload)
        if self._generation is not _generation.current:
            # The last receiver may have died, and no signal is sent for that.
            self._follow()


_generation = generation_of(lifecycle.catalogue.values())


@dataclass(frozen=True, slots=True)
class State:
    """What the extension keeps for one application, in ``app.extensions``."""

    middleware: FlaskMiddleware
    """What wraps the application."""
    bridges: tuple[Bridge, ...]
    """What hears Flask's signals."""
    enabled: Enabled
    """The receivers that are enabled by name."""


def _configuration_of(app: flask.Flask) -> Configuration:
    """Return what the application's configuration says of receivers."""
    configuration = Configuration.from_mapping({}, "app.config")
    path = app.config.get("SIGNALPOST_CONFIG")
    if path is not None:
        if not isinstance(path, (str, os.PathLike)):
            raise ConfigurationError(
                f'app.config["SIGNALPOST_CONFIG"]: expected a path, got {path!r}',
                "app.config",
                key="SIGNALPOST_CONFIG",
            )
        # As Flask finds its own files of configuration.
        path = os.path.join(app.config.root_path, path)
        try:
            configuration = Configuration.from_file(path)
        except ConfigurationError as error:
            error.add_note('app.config["SIGNALPOST_CONFIG"] names this file')
            raise
    for key, name in _KEYS.items():
        value = app.config.get(key)
        if value is not None:
            over = {"signalpost": {name: value}}
            configuration = configuration.overlaid(
                Configuration.from_mapping(over, f'app.config["{key}"]')
            )
    return configuration


_KEYS = {
    "SIGNALPOST_AUTO_IMPORT": "auto-import",
    "SIGNALPOST_FORMAT": "format",
    "SIGNALPOST_ID_HEADERS": "id-headers",
    "SIGNALPOST_RECEIVERS": "receivers",
}


def _exchange_of(app: flask.Flask) -> Exchange:
    """Return the exchange of the current request.

    There is none if the first receiver was connected in the middle of the request,
    or if a test dispatches it without the WSGI application; then a record is begun.
    """
    request = _current_request()
    environ = request.environ
    exchange = environ.get(EXCHANGE_KEY)
    called = context_exchange.get()
    if called is not exchange and _is_of(called, app) and called.environ is environ:
        # A request that the view has made with this environment is open still.
        exchange = called
    if not _is_of(exchange, app):
        # Not put into the environ, as nobody would take it out again.
        kept: dict[str, t.Any] = request.__dict__
        exchange = kept.get(EXCHANGE_KEY)
        if exchange is None:
            exchange = kept[EXCHANGE_KEY] = Exchange(environ, app)
    # Soon Flask drops its request. It is given, as the exchange's own environment has
    # none if Flask got a copy of it.
    exchange.read_route(request)
    return exchange


def _is_of(exchange: object, app: flask.Flask) -> t.TypeGuard[Exchange]:
    """Return whether something is an exchange of an application, and open."""
    return isinstance(exchange, Exchange) and exchange.sender is app


def _current_request() -> flask.Request:
    """Return the request that Flask's proxy stands for."""
    proxy: t.Any = flask.request
    return t.cast("flask.Request", proxy._get_current_object())  # noqa: SLF001  # public


def _find_request(exchange: Exchange) -> flask.Request | None:
    """Return the current request, if it is the exchange's.

    Flask's environment may be a copy of ours, in which the exchange is the same.
    """
    if not flask.has_request_context():
        return None
    request = _current_request()
    return request if request.environ.get(EXCHANGE_KEY) is exchange else None


def _request_left_by(error: BaseException, exchange: Exchange) -> flask.Request | None:
    """Return the exchange's request that Flask worked on when it raised an exception.

    Flask has dropped it by now; the frame of Flask's call in the traceback has not.
    """
    for frame, _ in walk_tb(error.__traceback__):
        if frame.f_code in _CALL_CODES:
            context = frame.f_locals.get("ctx")
            request: flask.Request | None = getattr(context, "request", None)
            if request is None or request.environ.get(EXCHANGE_KEY) is exchange:
                return request
    return None


# Another package may have put a wrapper in its place.
_CALL_CODES = tuple(
    function.__code__
    for function in [inspect.unwrap(flask.Flask.wsgi_app)]
    if isinstance(function, FunctionType)
)


def _started(app: flask.Flask, _: dict[str, t.Any]) -> dict[str, t.Any] | None:
    exchange = _exchange_of(app)
    if exchange.is_started:
        return None
    exchange.is_started = True
    return {"environ": exchange.environ, "exchange": exchange}


def _finished(app: flask.Flask, sent: dict[str, t.Any]) -> dict[str, t.Any]:
    exchange = _exchange_of(app)
    exchange.is_finished = True
    return {
        "response": sent["response"],
        "environ": exchange.environ,
        "exchange": exchange,
    }


def _failed(app: flask.Flask, sent: dict[str, t.Any]) -> dict[str, t.Any] | None:
    exchange = _exchange_of(app)
    # There may be no response to start, which tells it otherwise.
    if exchange.read_route(_current_request()):
        exchange.is_started = True
    exception = sent["exception"]
    if exchange.exception is exception or _is_an_answer(app, exception):
        return None
    exchange.exception = exception
    return {
        "exception": exception,
        "where": "view",
        "environ": exchange.environ,
        "exchange": exchange,
    }


def _is_an_answer(app: flask.Flask, exception: object) -> bool:
    """Return whether an exception is only an answer, as that of ``abort(404)``.

    Flask reports none of these. Extensions that answer errors by themselves, such as
    Flask-RESTX, report all that they answer.
    """
    # By the type, as an exception may raise when it is asked for its __class__.
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


_MOMENTS = (
    Moment(flasks.request_started, lifecycle.request_started, _started),
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
        # An exchange knows its exception, whichever of its signals is heard.
        heard_by=lifecycle.EXCHANGE_SIGNALS,
    ),
    Moment(flasks.request_finished, lifecycle.request_finished, _finished),
    Moment(
        flasks.request_tearing_down, lifecycle.request_tearing_down, _unchanged("exc")
    ),
    Moment(flasks.appcontext_pushed, lifecycle.appcontext_pushed, _unchanged()),
    Moment(
        flasks.appcontext_tearing_down,
        lifecycle.appcontext_tearing_down,
        _unchanged("exc"),
    ),
    Moment(flasks.appcontext_popped, lifecycle.appcontext_popped, _unchanged()),
)
