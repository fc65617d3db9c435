"""The Flask extension: one call makes an application send all signals."""

from __future__ import annotations

import typing as t
import weakref
from collections.abc import Callable
from collections.abc import Iterable
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from reprlib import repr as short_repr
from types import MethodType

import flask
from werkzeug.exceptions import HTTPException

from ... import lifecycle
from ..._engine.delivery import AsyncWrapper
from ..._engine.keeping import keeper_for
from ..._engine.kept import Keeper
from ..._engine.names import named
from ..._engine.signal import NamedSignal
from ...config import configuration_of_keys
from ...config import Enabled
from ...config import is_disabled
from ...errors import ApplicationGoneError
from ...errors import ConfigurationError
from ...errors import ExtensionError
from ...exchange import Exchange
from ...wsgi.demand import leave_moments
from ...wsgi.finding import unproxied
from ...wsgi.middleware import SignalMiddleware
from ._bridges import Bridged
from ._bridges import Bridges
from ._checks import advice_for
from ._checks import Checks
from ._checks import settings_of
from ._moments import MOMENTS
from ._requests import find_request
from ._requests import request_left_by

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

    WSGIMethod = Callable[
        [flask.Flask, WSGIEnvironment, StartResponse], Iterable[bytes]
    ]

__all__ = ["Signalpost"]

_NAME = "signalpost"

# Flask turns these into responses, wherever they are raised.
_REFUSALS = (HTTPException,)


class Signalpost:
    """Make a Flask application send every signal of :mod:`signalpost.lifecycle`.

    ::

        Signalpost(app)                                  # or, with a factory:
        signalpost = Signalpost()
        signalpost.init_app(app)

    It wraps ``app.wsgi_app``, and is connected to Flask's own signals while
    signalpost's signals have receivers. A receiver of ``named("shop")`` gets the
    signals of the application with that :attr:`~flask.Flask.name`. This object keeps no
    state, so you can use one for any number of applications.
    :meth:`flask.Flask.ensure_sync` runs async receivers.

    A receiver of the application lives as long as the application, or until it is
    disconnected; so a factory may connect local functions and objects::

        exchange_closed.connect(LatencyLogger(slow_seconds=0.5), app)

    A receiver that is connected without a sender is held weakly, as with any signal.

    Keep a reference to the application: the middleware around ``app.wsgi_app`` does not
    hold it. An application is freed with the last reference to it, as without this
    extension. A factory that adds another middleware must return the application::

        app.wsgi_app = ProxyFix(app.wsgi_app)            # not: return ProxyFix(…)
        return app

    To move a receiver of Flask's signals, change its import. If the receiver raises an
    :exc:`~werkzeug.exceptions.HTTPException`, as :func:`~flask.abort` does, Flask sends
    that response, as for its own signal: the view does not run. Any other exception is
    logged, and the request continues, unless the receiver was connected with
    ``strict=True``. Receivers of ``exchange-opened`` and ``exchange-closed`` cannot
    refuse a request.

    Configuration, read once in :meth:`init_app`:

    ``SIGNALPOST_STRICT``
        ``True`` raises a receiver's exception in the application, for tests; ``False``
        (the default) logs it.
    ``SIGNALPOST_RECEIVERS``
        The receivers to enable for the application, by name, with their options:
        ``{"latency": {"slow_seconds": 0.5}, "failures": True}``.
    ``SIGNALPOST_AUTO_IMPORT``
        A list of modules to import before: ``["shop.audit"]``.
    ``SIGNALPOST_FORMAT``
        ``"text"``, ``"json"`` or ``"logfmt"``: the form in which their lines are
        written to standard error. Without it, logging is as you have set it up.
    ``SIGNALPOST_ID_HEADERS``
        The headers that may have the id of a request: ``["X-Request-ID"]``; see
        :attr:`Exchange.id <signalpost.exchange.Exchange.id>`.
    ``SIGNALPOST_METHODS``
        Further methods to record by name: ``["PROPFIND", "REPORT"]``; see
        :attr:`Exchange.method <signalpost.exchange.Exchange.method>`.
    ``SIGNALPOST_RELAY``
        The signals to forward to other processes: ``{"url": "redis://broker/0",
        "source": "shop", "forward": ["shop.events:order_placed"]}``.
    ``SIGNALPOST_CONFIG``
        The path of a TOML or INI file with the same settings, see
        :mod:`signalpost.config`; relative to ``app.config.root_path``. The keys above
        take precedence over it; of receivers, those of the same name.

    Any other key that begins with ``SIGNALPOST_`` is an error. With
    ``SIGNALPOST_DISABLED=1`` in the environment, :meth:`init_app` reads nothing and
    does not change the application.

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
        :raises ExtensionError: If ``app`` is not a Flask application, or is set up
            already.
        :raises ConfigurationError: About each mistake of the configuration; nothing is
            enabled then.
        """
        if not isinstance(app, flask.Flask):
            raise ExtensionError(
                f"app must be a Flask application, got {short_repr(app)};"
                f" {advice_for(app)}",
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
        if is_disabled():
            return
        # Before anything is changed, as this may fail.
        strict, enabled, errors = _set_up_by(app)
        # Now, as bridges look for receivers that were connected to the name.
        named(app.name).bind(app)
        middleware = FlaskMiddleware(app.wsgi_app, sender=app, strict=strict)
        bridged = _all_bridges.add(app, middleware)
        app.wsgi_app = middleware  # type: ignore[method-assign]  # as Flask's docs do
        checks = Checks(middleware, settings_of(app))
        # Not by app.url_value_preprocessor(), which may be too late for Flask.
        app.url_value_preprocessors[None].append(checks.run)
        app.extensions[_NAME] = State(
            middleware, bridged, enabled, keeper_for(app), errors
        )


class FlaskMiddleware(SignalMiddleware):
    """The middleware for an application whose own signals are the moments.

    ``request-started`` and ``request-finished`` are sent when Flask's are. It does not
    keep the application alive, which keeps it.
    """

    app: WSGIApplication
    find_request: Callable[[Exchange], object] | None

    def __init__(self, app: t.Any, *, sender: flask.Flask, strict: bool) -> None:
        leave_moments(sender)
        super().__init__(app, sender=sender, strict=strict)
        # Unchanged: a middleware may have a wsgi_app as well.
        self.app = app
        if type(app) is MethodType and app.__self__ is sender:
            self.app = _calling_weakly(app.__func__, self._reference)
        # It uses Flask's moments, so it does the work itself.
        self._is_outer_layer = False
        self.find_request = find_request

    def _keep_sender(self, sender: object) -> None:
        self._reference = weakref.ref(t.cast("flask.Flask", sender))

    def _find_sender(self) -> flask.Flask:
        app = self._reference()
        if app is None:
            raise _is_gone()
        return app

    def forward(
        self, signal: NamedSignal, app: flask.Flask, payload: dict[str, t.Any]
    ) -> None:
        """Send at a moment of Flask's; receivers are isolated, but may refuse."""
        if signal is not lifecycle.request_finished:
            self._deliver(signal, app, payload, _REFUSALS)
            return
        exchange = payload["exchange"]
        # The response is not started yet, and it may never be.
        before, exchange.status = exchange.status, payload["response"].status_code
        try:
            self._deliver(signal, app, payload, _REFUSALS)
        finally:
            exchange.status = before

    def close_lost_exchange(self, exchange: Exchange) -> None:
        """Close an exchange whose response was never closed."""
        # The garbage collector clears weak references before it calls finalisers.
        self._keep_sender(exchange._sender)
        super().close_lost_exchange(exchange)

    def _find_route(self, exchange: Exchange, error: BaseException | None) -> None:
        # When Flask reported an exception or the start, the route was read.
        if exchange._is_started:
            return
        with suppress(Exception):  # of the application's own classes, too
            request = None if error is None else request_left_by(error, exchange)
            if request is None:
                request = self._matched(exchange)
            # Nearly certain: only code that opens a session runs before.
            exchange._is_started = exchange._read_route(request)

    def _matched(self, exchange: Exchange) -> flask.Request | None:
        """Return a request with its route, matched once more."""
        app = self._find_sender()
        request = app.request_class(exchange.environ, populate_request=False)
        adapter = app.create_url_adapter(request)
        if adapter is None:
            return None
        try:
            request.url_rule, _ = adapter.match(return_rule=True)
        except HTTPException as error:
            request.routing_exception = error
        return request

    def _async_wrapper(self) -> AsyncWrapper | None:
        return self._find_sender().ensure_sync


def _calling_weakly(
    function: WSGIMethod, reference: weakref.ref[flask.Flask]
) -> WSGIApplication:
    """Return a function that calls an application's method, and holds it weakly."""

    # A function, as an object with __call__ takes twice as long to call.
    def call(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        app = reference()
        if app is None:
            raise _is_gone()
        return function(app, environ, start_response)

    return call


def _is_gone() -> ApplicationGoneError:
    return ApplicationGoneError(
        "the Flask application of this WSGI callable has been freed, because nothing"
        " else refers to it; keep the application object, and put a middleware into"
        " app.wsgi_app: app.wsgi_app = ProxyFix(app.wsgi_app)"
    )


@dataclass(frozen=True, slots=True)
class State:
    """The state of the extension for one application, in ``app.extensions``."""

    middleware: FlaskMiddleware
    """The middleware around the application."""
    bridged: Bridged
    """Lets Flask's signals be forwarded."""
    enabled: Enabled
    """The receivers that are enabled by name."""
    keeper: Keeper
    """Keeps what is connected to the application alive."""
    errors: tuple[ConfigurationError, ...] = ()
    """The mistakes of the configuration, where a command keeps them."""


def _set_up_by(
    app: flask.Flask,
) -> tuple[bool, Enabled, tuple[ConfigurationError, ...]]:
    """Read the application's configuration, and enable its receivers.

    :returns: Whether it is strict, the enabled receivers, and the mistakes, which are
        none unless a command keeps them.
    :raises ConfigurationError: If the configuration has a mistake.
    """
    app.config.setdefault("SIGNALPOST_STRICT", False)
    strict = app.config["SIGNALPOST_STRICT"]
    configuration = configuration_of_keys(app.config, app.config.root_path)
    kept = kept_errors.get()
    if kept is None:
        return strict, configuration.load(app), ()
    enabled, errors = configuration.load_right(app)
    kept.extend(errors)
    return strict is True, enabled, errors


kept_errors: ContextVar[list[ConfigurationError] | None] = ContextVar(
    "signalpost_kept_errors", default=None
)
"""The list that keeps the mistakes of a configuration instead of raising them, for the
commands that show mistakes and valid parts together. They serve no application."""

_all_bridges = Bridges(MOMENTS)
