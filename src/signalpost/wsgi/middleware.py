"""The middleware: records each exchange and sends its signals."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from .._code import add_code_of
from .._current import codes_that_set
from .._current import context_exchange
from .._engine.delivery import AsyncWrapper
from .._engine.identity import describe
from .._engine.signal import NamedSignal
from .._ids import IdHeaders
from .._ids import set_id_headers
from .._options import checked_truth
from ..errors import AsyncReceiverError
from ..exchange import Exchange
from ..exchange import EXCHANGE_KEY
from ..exchange import ExchangeOutcome
from ..exchange import Where
from ..lifecycle import catalogue
from ..lifecycle import exchange_closed
from ..lifecycle import exchange_opened
from ..lifecycle import got_request_exception
from ..lifecycle import request_arrived
from ..lifecycle import request_finished
from ..lifecycle import request_started
from .application import application_and_sender
from .application import ApplicationObject
from .body import BODY_FACTORIES
from .body import body_for
from .body import close_with_file
from .body import RecordingStartResponse
from .demand import Demand
from .demand import generation
from .finding import is_layer
from .finding import Layer
from .finding import unproxied
from .leaving import outcome_failed
from .leaving import outcome_unclosed
from .leaving import record_client_left
from .misplaced import explain_attributes_of
from .nesting import call_within
from .nesting import is_within
from .nesting import set_sender_within
from .passing import AttributePasser
from .reading import content_length
from .reading import count_chunk
from .reading import is_bodiless
from .reading import response_start
from .reading import text_of
from .sendfile import body_or_file
from .sendfile import FILE_WRAPPER
from .unsent import check_connection
from .unsent import layers
from .unsent import layers_by_sender
from .unsent import warn_of_receivers

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["SignalMiddleware"]


class SignalMiddleware(Layer, AttributePasser):
    """Wrap a WSGI application so that it sends the signals of each exchange.

    The client gets the same response as without the middleware. While no receiver is
    connected, the application's own response is returned unchanged. Receivers are
    isolated: if one raises, the logger ``signalpost.signals`` logs it, it is counted,
    and the request continues. Only ``SystemExit``, ``KeyboardInterrupt`` and others
    that are not an :exc:`Exception` propagate, because they are meant for the server.
    So connect a receiver that must refuse requests with ``strict=True``.

    ::

        app.wsgi_app = SignalMiddleware(app)

    A second middleware for the same sender has no effect.

    :param app: A WSGI application; or an object with a ``wsgi_app``, such as a
        :class:`flask.Flask`. The object is called as the server would call it, so that
        its own ``__call__`` runs. If the middleware becomes its ``wsgi_app``, the
        earlier ``wsgi_app`` is called.
    :param sender: The sender of the signals. Without it, the sender is the object with
        the ``wsgi_app``, even if ``app`` is a middleware that keeps the object as an
        attribute; otherwise it is ``app`` itself.
    :param strict: Raise a receiver's exception in the application and the server. For
        tests.
    :param id_headers: The headers that may have the id of a request, in order. The
        default is ``X-Request-ID``, ``X-Correlation-ID``, ``X-Amzn-Trace-Id`` (its
        ``Root``) and ``traceparent`` (its trace id); see :attr:`.Exchange.id`. They
        apply to the sender, whichever of its middlewares has the option.
    :raises ApplicationError: If ``app`` cannot be called as a WSGI application.
    :raises TypeError: If ``id_headers`` is not a list of strings, or ``strict`` is not
        a bool.
    :raises ValueError: If one of them cannot be the name of a header.

    .. versionadded:: 0.1
    """

    app: WSGIApplication
    """The application that is called."""
    is_sender_known: bool
    """``True`` if the sender is an application that was named or found."""
    strict: bool
    """``True`` if a receiver's exception is let through."""
    receiver_failures: int
    """The number of times that a receiver has raised so far."""

    # None where a subclass finds the sender in another way.
    _sender: t.Any = None

    def __init__(
        self,
        app: t.Any,
        *,
        sender: object = None,
        strict: bool = False,
        id_headers: Sequence[str] | None = None,
    ) -> None:
        self._id_headers = None if id_headers is None else IdHeaders(id_headers)
        app = unproxied(app)
        if is_layer(app):
            found, is_known = app.sender, app.is_sender_known
            self.app = t.cast("WSGIApplication", app)
        else:
            self.app, found, is_known = application_and_sender(app, self)
        self.is_sender_known = is_known or sender is not None
        sender = found if sender is None else sender
        self.sender = sender
        self.strict = checked_truth("strict", strict)
        self.receiver_failures = 0
        self.find_request: Callable[[Exchange], object] | None = None
        # Of two layers side by side, the inner one does the work.
        inner: t.Any = (
            self.app.inner if type(self.app) is ApplicationObject else self.app
        )
        self._is_outer_layer = is_layer(inner) and inner.sender is sender
        around = inner if app is found else app
        if around is not sender:
            self._pass_attributes_of(around)
        layers.add(self)
        layers_by_sender[id(self.sender)] = self
        if self.is_sender_known:
            set_sender_within(self)
            add_code_of(sender)
        warn_of_receivers(self)

    @property
    def sender(self) -> object:
        """The sender of the signals."""
        return self._find_sender()

    @sender.setter
    def sender(self, sender: object) -> None:
        self._keep_sender(sender)
        if self._id_headers is not None:
            set_id_headers(sender, self._id_headers)
        explain_attributes_of(sender, SignalMiddleware)
        self._demand = Demand(sender)

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Call the application, and send the signals of the exchange (:pep:`3333`)."""
        # Before the demand is read, as a receiver may connect others.
        if _arrivals.any:
            self.receiver_failures += request_arrived.send_isolated(
                self._find_sender(), {}, self._async_wrapper
            )
        demand = self._demand
        if demand.generation is not generation.current:
            demand = self._new_demand()
        if not demand.is_recorded or self._is_outer_layer:
            return self.app(environ, start_response)
        outer = environ.get(EXCHANGE_KEY)
        if outer is not None:
            if not isinstance(outer, Exchange):
                outer = None
            elif outer._environ is None:
                outer = None  # it is closed, and this is a copy of its environment
            elif is_within(self, outer, environ):
                return call_within(self, environ, start_response, outer)
            else:
                # As long as the outer application's request is the current one.
                outer._read_route()
        return self._recorded(environ, start_response, demand, outer)

    def is_recorded(self) -> bool:
        """Return whether any receiver needs a record of the sender's exchanges."""
        if self._demand.generation is not generation.current:
            self._new_demand()
        return self._demand.is_recorded

    def _new_demand(self) -> Demand:
        while True:
            sender = self._find_sender()
            demand = self._demand = Demand(sender)
            # Another thread may have set another sender meanwhile.
            if self._find_sender() is sender:
                return demand

    def _keep_sender(self, sender: object) -> None:
        self._sender = sender

    def _find_sender(self) -> object:
        return self._sender

    def _recorded(
        self,
        environ: WSGIEnvironment,
        start_response: StartResponse,
        demand: Demand,
        outer: Exchange | None,
    ) -> Iterable[bytes]:
        sender = self._find_sender() if self._sender is None else self._sender
        exchange = Exchange(environ, sender, outer)
        exchange._find_request = self.find_request
        start = RecordingStartResponse(start_response, exchange, self)
        exchange._start_response = start
        environ[EXCHANGE_KEY] = exchange
        token = context_exchange.set(exchange)
        try:
            # Nearly everywhere only the last of its signals has receivers.
            app = self.app if demand.only_closed else self._send_opened(exchange)
            if demand.sends_moments:
                exchange._is_started = True
                if not demand.only_closed:
                    self._send(request_started, exchange)
            if FILE_WRAPPER in environ:
                body = body_or_file(app, environ, start)
            else:
                body = app(environ, start)
            exchange._returned_at = time.perf_counter()
            # As record_start(), but without a call: nearly every response is here.
            if not exchange._is_finished and exchange._start_status is not None:
                exchange._is_finished = True
                if demand.finished or demand.generation is not generation.current:
                    self._send_request_finished(exchange)
            kind = type(body)
            known = _known_factory(id(kind))
            if known is None or exchange._sent_files or (kind is list and not body):
                return self._body_to_send(body, exchange)
            return known[0](body, exchange, self)
        except BaseException as error:
            if exchange.is_open:
                self._close_failed_call(exchange, error)
            raise
        finally:
            context_exchange.reset(token)
            # Flask may keep a traceback, and with it this frame, for longer.
            body = ()
            del exchange, sender, start, token

    def _send_opened(self, exchange: Exchange) -> WSGIApplication:
        """Send ``exchange-opened``, and return the application to call."""
        if self.strict:
            self._send(exchange_opened, exchange)
        else:
            # As _send(), but without a call: this runs in each request.
            payload = {"environ": exchange._environ, "exchange": exchange}
            self.receiver_failures += exchange_opened.send_isolated(
                exchange._sender, payload, self._async_wrapper
            )
        app = self.app
        for layer in exchange._app_wrappers:
            app = layer(app)
        return app

    def record_start(self, exchange: Exchange) -> None:
        """Send that the response is ready, if it is and was not sent before."""
        if not exchange._is_finished and exchange._start_status is not None:
            exchange._is_finished = True
            self._send_request_finished(exchange)

    def record_failure(
        self, exchange: Exchange, error: BaseException, where: Where
    ) -> None:
        """Send an exception that is leaving the application, unless it was sent."""
        exchange._has_failed = True
        exchange._has_client_left = False
        if exchange._start_status is None:
            self._find_route(exchange, error)
        self.record_exception(exchange, error, where)

    def record_exception(
        self, exchange: Exchange, error: BaseException, where: Where
    ) -> None:
        """Send an exception that may not end the request, unless it was sent."""
        if exchange.exception is not error and not record_client_left(error, exchange):
            exchange.exception = error
            self._send(got_request_exception, exchange, exception=error, where=where)

    def close_exchange(
        self,
        exchange: Exchange,
        outcome: ExchangeOutcome | None = None,
    ) -> None:
        """Close an exchange.

        :param outcome: The outcome; ``None`` if the server has closed the
            response: it follows from what was handed over.
        """
        try:
            if outcome is None or exchange.duration_seconds is None:
                exchange.duration_seconds = time.perf_counter() - exchange.start
        except Exception:  # noqa: BLE001, S110  # a receiver may have set any value
            pass
        if exchange._start_status is None:
            with suppress(Exception):  # the request is the application's
                self._find_route(exchange, exchange.exception)
        if outcome is None:
            outcome = "complete"  # as nearly every response is
            if (
                not exchange._is_complete
                or exchange._has_failed
                or exchange.status is None
            ):
                outcome = self._outcome(exchange, "aborted")
        exchange.outcome = outcome
        payload = {"environ": exchange._environ, "exchange": exchange}
        try:
            if self.strict:
                self._deliver(exchange_closed, exchange._sender, payload)
            else:
                # As _deliver(), but without a call: most applications have receivers.
                self.receiver_failures += exchange_closed.send_isolated(
                    exchange._sender, payload, self._async_wrapper
                )
        finally:
            try:
                if exchange._close_callbacks:
                    self._make_calls(exchange)
            finally:
                exchange._release()

    def close_lost_exchange(self, exchange: Exchange) -> None:
        """Close an exchange whose response was never closed."""
        self.close_exchange(
            exchange, self._outcome(exchange, outcome_unclosed(exchange))
        )

    def _close_failed_call(self, exchange: Exchange, error: BaseException) -> None:
        """Close an exchange whose call has raised, because no server calls close()."""
        if exchange._returned_at is None:  # a receiver may have raised after the return
            exchange._returned_at = time.perf_counter()
        # Not isinstance(), which also reads __class__ of an exception.
        is_hijacked = issubclass(type(error), StopIteration) or (
            # How a WebSocket ends under Werkzeug's server, which takes no other end
            # without a response. What fails raises something more exact.
            type(error) is ConnectionError
            and exchange._start_status is None
            and text_of(exchange.environ.get("HTTP_UPGRADE")).lower() == "websocket"
        )
        try:
            with suppress(Exception):  # the request is the application's
                self._find_route(exchange, error)
            if not is_hijacked:
                self.record_failure(exchange, error, "call")
        finally:
            self.close_exchange(
                exchange,
                "hijacked" if is_hijacked else self._outcome(exchange, "error"),
            )

    def _body_to_send(
        self, body: Iterable[bytes], exchange: Exchange
    ) -> Iterable[bytes]:
        """Return the body for the server if it is a file, an empty list or invalid."""
        for wrapped, file in exchange._sent_files:
            if wrapped is body:
                close_with_file(file, exchange, self)
                return body
        new = body_for(type(body))
        # There is nothing to wait for in an empty list, and some servers compare it by
        # identity to learn that the connection was taken over.
        if new is None or (type(body) is list and not body):
            self._close_at_once(body, exchange)
            return body
        return new(body, exchange, self)

    def _close_at_once(self, body: object, exchange: Exchange) -> None:
        """Close an exchange whose body the server gets unchanged."""
        # By the type, as the object may be anything.
        if issubclass(type(body), (bytes, str)):
            count_chunk(exchange, t.cast("bytes", body))
        is_one = issubclass(type(body), (bytes, str, list))
        outcome: ExchangeOutcome = "complete" if is_one else "error"
        if exchange._start_status is None and (body is None or (is_one and not body)):
            outcome = "hijacked"
        elif exchange._has_client_left:
            outcome = outcome_failed(exchange)
        self.close_exchange(exchange, outcome)

    def _outcome(
        self, exchange: Exchange, unfinished: ExchangeOutcome
    ) -> ExchangeOutcome:
        """Return the outcome of an exchange.

        :param unfinished: The outcome of a response that did not get to its end.
        """
        if exchange._has_failed:
            return outcome_failed(exchange)
        if exchange._is_complete:
            return "error" if exchange.status is None else "complete"
        try:
            if is_bodiless(exchange):
                return "complete"
            # Closed unread, it was whole if all bytes had been handed over even so.
            length = content_length(exchange) if exchange.body_bytes_exact else None
            if length is not None and exchange.body_bytes >= length:
                return "complete"
        except Exception:  # noqa: BLE001, S110  # a receiver may have set any value
            pass
        return unfinished

    def _find_route(self, exchange: Exchange, error: BaseException | None) -> None:
        """Record the route of an exchange whose response was never started.

        A worker's timeout is an example: a framework may not report such an exception,
        and may have dropped its request.

        :param error: The exception that its call has raised, if any.
        """
        if self.inner is not None:
            self.inner._find_route(exchange, error)  # a layer, too

    def _make_calls(self, exchange: Exchange) -> None:
        errors = exchange._run_close_callbacks()
        self.receiver_failures += len(errors)
        if errors and self.strict:
            raise errors[0]

    def _send_request_finished(self, exchange: Exchange) -> None:
        sends = self._demand.sends_moments
        if sends and request_finished.has_receivers_for(exchange._sender):
            self._send(request_finished, exchange, response=response_start(exchange))

    def _async_wrapper(self) -> AsyncWrapper | None:
        """Return the function that runs async receivers; plain WSGI has none."""
        if self.inner is not None:
            return t.cast("AsyncWrapper", self.inner._async_wrapper())
        return _refuse_async

    def _send(self, signal: NamedSignal, exchange: Exchange, **payload: t.Any) -> None:
        sender = exchange._sender
        if signal.has_receivers_for(sender):
            payload["environ"] = exchange._environ
            payload["exchange"] = exchange
            self._deliver(signal, sender, payload)

    def _deliver(
        self,
        signal: NamedSignal,
        sender: object,
        payload: dict[str, t.Any],
        through: tuple[type[Exception], ...] = (),
    ) -> None:
        """Send a signal so that no receiver can harm the request.

        :param through: The exceptions by which a receiver refuses it.
        """
        if self.strict:
            wrapper = self._async_wrapper()
            signal.send(sender, _async_wrapper=wrapper, **payload)
        else:
            self.receiver_failures += signal.send_isolated(
                sender, payload, self._async_wrapper, through
            )


def _refuse_async(receiver: Callable[..., object]) -> t.NoReturn:
    raise AsyncReceiverError(
        f"receiver {describe(receiver)} is async, and a plain WSGI application has"
        " nothing that runs it; connect a function that is not async, or set up a Flask"
        " application by Signalpost(app), which uses app.ensure_sync",
        None,
        receiver,
    )


_known_factory = BODY_FACTORIES.get
_arrivals = request_arrived.table

for _signal in catalogue.values():
    _signal.table.connection_check = partial(check_connection, _signal)

codes_that_set.add(SignalMiddleware._recorded.__code__)  # this module's
