"""The middleware: one record of each exchange, and the signals of its course."""

from __future__ import annotations

import inspect
import typing as t
from collections.abc import Iterable
from reprlib import repr as short_repr
from types import MethodType

from .._engine.delivery import AsyncWrapper
from .._engine.signal import NamedSignal
from ..errors import ApplicationError
from ..exchange import Exchange
from ..exchange import EXCHANGE_KEY
from ..exchange import ExchangeOutcome
from ..exchange import Where
from ..lifecycle import exchange_closed
from ..lifecycle import exchange_opened
from ..lifecycle import EXCHANGE_SIGNALS
from ..lifecycle import got_request_exception
from ..lifecycle import request_finished
from ..lifecycle import request_started
from .body import closing_body
from .body import Starter

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["SignalMiddleware"]

# Responses that have no body, so that one closed unread is whole: RFC 9110, 6.4.1.
_BODILESS = frozenset((204, 304))


class SignalMiddleware:
    """Wrap a WSGI application so that it sends the signals of each exchange.

    The client gets what it got without the middleware. While nobody listens, the
    application's own response goes back untouched. Receivers are isolated: one that
    raises is logged by the logger ``signalpost.signals`` and counted, and the
    request goes on.

    ::

        app.wsgi_app = SignalMiddleware(app)

    A second layer for the same sender adds nothing.

    :param app: A WSGI application; or an object with a ``wsgi_app``, such as a
        :class:`flask.Flask`, of which that is wrapped.
    :param sender: Who sends the signals. Without it, the object that has the
        ``wsgi_app``, or else ``app`` itself.
    :param strict: Let a receiver's exception through to the application and the
        server. For tests.
    :raises ApplicationError: If ``app`` cannot be called as a WSGI application.

    .. versionadded:: 0.1
    """

    app: WSGIApplication
    """The application that is called."""
    sender: object
    """The sender of the signals."""
    strict: bool
    """Whether a receiver's exception is let through."""
    receiver_failures: int
    """How many times a receiver has raised so far."""

    def __init__(
        self, app: t.Any, *, sender: object = None, strict: bool = False
    ) -> None:
        self.app, found = _application_and_sender(app)
        self.sender = found if sender is None else sender
        self.strict = strict
        self.receiver_failures = 0

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Call the application, and send what happens; as :pep:`3333` says."""
        outer = environ.get(EXCHANGE_KEY)
        if (
            not self._is_heard()
            or self._is_inner_layer(outer)
            or self._is_outer_layer()
        ):
            return self.app(environ, start_response)
        exchange = Exchange(environ, self.sender)
        starter = Starter(start_response, exchange, outer)
        environ[EXCHANGE_KEY] = exchange
        try:
            self._send(exchange_opened, exchange)
            self._send_request_started(exchange)
            body = self.app(environ, starter)
            if starter.has_started:
                self.ready(exchange, starter)
        except BaseException as error:
            # No server calls close() when the call itself raises.
            if isinstance(error, StopIteration):
                self._close(exchange, starter, "hijacked")
            else:
                self.failed(exchange, starter, error, "call")
                self._close(exchange, starter, "error")
            # The traceback keeps this frame: it must not keep the exchange.
            del exchange, starter, outer
            raise
        if type(body) is list and not body:
            # Nothing to wait for; and some servers compare such a list by identity
            # to learn that the connection was taken over.
            outcome = "complete" if starter.has_started else "hijacked"
            self._close(exchange, starter, t.cast("ExchangeOutcome", outcome))
            return body
        try:
            return closing_body(body, exchange, starter, self)
        finally:
            # A traceback that Flask keeps for longer keeps this frame, too.
            del exchange, starter, outer, body

    def ready(self, exchange: Exchange, starter: Starter) -> None:
        """Send that the response is ready, if it is and was not sent before."""
        if not exchange.has_finished and starter.has_started:
            exchange.has_finished = True
            self._send_request_finished(exchange, starter)

    def failed(
        self, exchange: Exchange, starter: Starter, error: BaseException, where: Where
    ) -> None:
        """Send an exception that is leaving the application, unless it was sent."""
        starter.has_failed = True
        if exchange.exception is not error:
            exchange.exception = error
            self._send(got_request_exception, exchange, exception=error, where=where)

    def closed(self, exchange: Exchange, starter: Starter, *, is_whole: bool) -> None:
        """Close an exchange whose response the server has closed."""
        exchange.duration_seconds = None
        outcome = self._outcome(exchange, starter, is_whole=is_whole)
        self._close(exchange, starter, outcome or "aborted")

    def lost(self, exchange: Exchange, starter: Starter, *, is_whole: bool) -> None:
        """Close an exchange whose response was never closed."""
        outcome = self._outcome(exchange, starter, is_whole=is_whole)
        self._close(exchange, starter, outcome or "lost")

    def _is_heard(self) -> bool:
        sender = self.sender
        return any(signal.has_receivers_for(sender) for signal in EXCHANGE_SIGNALS)

    def _is_inner_layer(self, outer: Exchange | None) -> bool:
        return outer is not None and outer.sender is self.sender

    def _outcome(
        self, exchange: Exchange, starter: Starter, *, is_whole: bool
    ) -> ExchangeOutcome | None:
        """Tell what became of a response, or ``None`` if it did not get to its end."""
        if starter.has_failed or (is_whole and exchange.status is None):
            return "error"
        if is_whole or self._is_whole_unread(exchange, starter):
            return "complete"
        return None

    def _is_outer_layer(self) -> bool:
        """Tell whether the application is a layer itself, which does the work then."""
        return isinstance(self.app, SignalMiddleware) and self.app.sender is self.sender

    def _is_whole_unread(self, exchange: Exchange, starter: Starter) -> bool:
        """Tell whether a body that was not read to its end was whole even so."""
        length = starter.content_length
        return (
            exchange.method == "HEAD"
            or exchange.status in _BODILESS
            or (length is not None and exchange.body_bytes >= length)
        )

    def _close(
        self, exchange: Exchange, starter: Starter, outcome: ExchangeOutcome
    ) -> None:
        if exchange.duration_seconds is None:
            exchange.duration_seconds = exchange.seconds_since_start()
        exchange.outcome = outcome
        environ = exchange.environ
        try:
            self._send(exchange_closed, exchange)
        finally:
            # The environ is the server's, and may be used again.
            if starter.outer is not None:
                environ[EXCHANGE_KEY] = starter.outer
            elif environ.get(EXCHANGE_KEY) is exchange:
                del environ[EXCHANGE_KEY]
            starter.release()
            exchange.release()

    def _send_request_started(self, exchange: Exchange) -> None:
        exchange.has_started = True
        self._send(request_started, exchange)

    def _send_request_finished(self, exchange: Exchange, starter: Starter) -> None:
        if request_finished.has_receivers_for(self.sender):
            self._send(request_finished, exchange, response=starter.response())

    def _async_wrapper(self) -> AsyncWrapper | None:
        """Return what runs async receivers; a WSGI application has nothing."""
        return None

    def _send(self, signal: NamedSignal, exchange: Exchange, **payload: t.Any) -> None:
        if signal.has_receivers_for(self.sender):
            payload["environ"] = exchange.environ
            payload["exchange"] = exchange
            self._deliver(signal, payload)

    def _deliver(self, signal: NamedSignal, payload: dict[str, t.Any]) -> None:
        """Send a signal so that no receiver can harm the request."""
        sender = self.sender
        wrapper = self._async_wrapper()
        if self.strict:
            signal.send(sender, _async_wrapper=wrapper, **payload)
            return
        for outcome in signal.send_robust(sender, _async_wrapper=wrapper, **payload):
            if outcome.failed:
                self.receiver_failures += 1


def _application_and_sender(app: t.Any) -> tuple[WSGIApplication, object]:
    """Return what to call, and the application object that it belongs to."""
    wsgi_app = getattr(app, "wsgi_app", None)
    if isinstance(app, type) and wsgi_app is not None:
        raise ApplicationError(
            f"app must be an application, got the class {app.__qualname__}; pass an"
            " instance of it",
            app,
        )
    if callable(wsgi_app):
        return t.cast("WSGIApplication", wsgi_app), app
    if not callable(app):
        raise ApplicationError(
            "app must be a WSGI application, called with environ and"
            f" start_response, got {short_repr(app)}; pass the application object",
            app,
        )
    if inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(
        getattr(type(app), "__call__", None)  # noqa: B004  # its function, not a bool
    ):
        raise ApplicationError(
            f"app must be a WSGI application, got {short_repr(app)}, which is async"
            " as ASGI applications are; wrap the WSGI application inside it",
            app,
        )
    if isinstance(app, SignalMiddleware):
        return app, app.sender
    if type(app) is MethodType and app.__name__ == "wsgi_app":
        return t.cast("WSGIApplication", app), app.__self__
    return t.cast("WSGIApplication", app), app
