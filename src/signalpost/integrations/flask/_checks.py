"""Mistakes that only the first requests show; each is logged once."""

from __future__ import annotations

import logging
import typing as t
from collections.abc import Mapping
from contextlib import suppress
from reprlib import repr as short_repr
from types import FunctionType
from types import MethodType

import flask

from ..._engine.cleanup import deaths
from ..._engine.unseen import checked
from ...config._keys import is_own_key
from ...exchange import EXCHANGE_KEY
from ...wsgi.application import is_running
from ...wsgi.finding import sender_behind
from ...wsgi.middleware import SignalMiddleware
from ._requests import CALL_CODES
from ._requests import current_request
from ._requests import is_of

__all__ = ["Checks", "advice_for", "settings_of"]

_log = logging.getLogger("signalpost.exchanges")

# Where other objects have the Flask application that they are around: Dash, connexion,
# Flask-AppBuilder and many of people's own.
_NAMES = ("server", "app", "flask_app", "application", "wsgi_app")

_ADVICE = (
    (type, "pass an instance of it"),
    (str, "pass the application object, not its name"),
    (flask.Blueprint, "pass the application that it is registered on"),
)


def advice_for(given: object) -> str:
    """Return advice about an object that is not a Flask application."""
    for kind, advice in _ADVICE:
        if isinstance(given, kind):
            return advice
    if isinstance(sender_behind(given), flask.Flask):
        return "pass the application that it belongs to"
    for name in _NAMES:
        with suppress(Exception):  # an object may raise whatever is read of it
            if isinstance(getattr(given, name, None), flask.Flask):
                return f"its application is its attribute {name!r}: pass that"
    if isinstance(given, (FunctionType, MethodType)):
        return "if it creates the application, call it, and pass its result"
    return "for another WSGI application use signalpost.SignalMiddleware"


def settings_of(app: flask.Flask) -> Mapping[str, t.Any]:
    """Return the keys of signalpost in an application's configuration."""
    return {key: value for key, value in app.config.items() if is_own_key(key, value)}


_MOST_REQUESTS = 100
"""In how many requests mistakes are looked for; in debug mode and tests, in all."""


class Checks:
    """Check the first requests of an application.

    Flask calls :meth:`run` as a ``url_value_preprocessor``: of the hooks that it has in
    each request, this one costs the least. It still costs some microseconds, so
    it is taken out when an application has served its first requests.

    :param layer: The application's layer.
    :param settings: The configuration at the time when the application was set up.
    """

    def __init__(self, layer: SignalMiddleware, settings: Mapping[str, t.Any]) -> None:
        self._layer = layer
        self._settings: Mapping[str, t.Any] | None = settings
        self._are_deaths_logged = False
        self._is_bypass_logged = False
        self._requests = 0

    def run(self, *_: object) -> None:
        """Check the current request, and its application, for mistakes."""
        if self._settings is not None:
            self._check_settings(self._settings)
        if deaths and not self._are_deaths_logged:
            self._check_deaths()
        exchange = current_request().environ.get(EXCHANGE_KEY)
        app = t.cast("flask.Flask", self._layer.sender)
        if not self._is_bypass_logged and not is_of(exchange, app):
            self._check_layer(app)
        self._requests += 1
        if self._requests >= _MOST_REQUESTS and not (app.debug or app.testing):
            self._take_out(app)

    def _take_out(self, app: flask.Flask) -> None:
        """Remove this function from Flask's lists."""
        # Another list, as Flask is iterating over the one that is there.
        hooks = app.url_value_preprocessors
        others = [one for one in hooks[None] if one != self.run]
        if others:
            hooks[None] = others
        else:
            hooks.pop(None, None)

    def _check_settings(self, settings: Mapping[str, t.Any]) -> None:
        """Log keys that were set after the configuration was read."""
        self._settings = None
        app = t.cast("flask.Flask", self._layer.sender)
        for key, value in settings_of(app).items():
            if key not in settings or settings[key] is not value:
                checked(_log, logging.WARNING).warning(
                    "%s of %r was set after Signalpost(app), which reads the"
                    " configuration once; set it before",
                    key,
                    app,
                )

    def _check_deaths(self) -> None:
        """Log, in debug mode, receivers that were freed before a call."""
        app = t.cast("flask.Flask", self._layer.sender)
        if not app.debug:
            return
        self._are_deaths_logged = True
        for one in [*deaths]:
            checked(_log, logging.WARNING).warning(
                "a receiver of %s that was connected at %s (%s) was freed and never"
                " called: nothing else referred to it; connect it to the"
                " application, as in"
                " connect(receiver, app), keep it in a variable, or connect it with"
                " weak=False",
                one.signal_name or "a signal",
                one.connected_at,
                one.connected_in,
            )

    def _check_layer(self, app: flask.Flask) -> None:
        """Log that requests reach Flask, but not the middleware."""
        if not self._layer.is_recorded() or not is_running(app, CALL_CODES):
            return  # a test may call parts of the application
        if is_running(self._layer, (SignalMiddleware.__call__.__code__,)):
            return  # the first receiver was connected in the middle of this request
        self._is_bypass_logged = True
        checked(_log, logging.WARNING).warning(
            "%r has answered a request that signalpost did not record, because its"
            " middleware is no longer in app.wsgi_app, which is %s now; put middlewares"
            " around app.wsgi_app, and call Signalpost(app) after code that replaces"
            " it",
            app,
            short_repr(app.wsgi_app),
        )
