"""Spans and metrics of exchanges, statements and receivers."""

from __future__ import annotations

import logging
import threading
import time
import typing as t
from collections.abc import Callable
from collections.abc import Collection
from functools import partial

from opentelemetry import trace
from opentelemetry.context import attach
from opentelemetry.context import Context
from opentelemetry.context import detach
from opentelemetry.context import get_current
from opentelemetry.metrics import MeterProvider
from opentelemetry.propagate import get_global_textmap
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import get_current_span
from opentelemetry.trace import set_span_in_context
from opentelemetry.trace import Span
from opentelemetry.trace import SpanKind
from opentelemetry.trace import StatusCode
from opentelemetry.trace import TracerProvider

from ..._engine.identity import describe
from ..._engine.identity import reference_to
from ..._engine.observing import Delivery
from ..._engine.observing import Observation
from ..._engine.observing import observe
from ..._engine.unseen import checked
from ..._version import installed_version
from ...exchange import current_exchange
from ...exchange import Exchange
from ...lifecycle import catalogue
from ...lifecycle import exchange_closed
from ...lifecycle import exchange_opened
from ...lifecycle import got_request_exception
from ...lifecycle import sql_executed
from ...lifecycle import sql_failed
from ...lifecycle import work_started
from ...receivers.paths import exclusion_of
from ...receivers.statements import operation_of
from ...wsgi.middleware import SignalMiddleware
from ._attributes import Attributes
from ._attributes import error_type_of
from ._attributes import exchange_error_type
from ._attributes import metric_attributes
from ._attributes import request_attributes
from ._attributes import SCHEMA
from ._attributes import span_name
from ._attributes import span_name_before
from ._database_metrics import DatabaseMetrics
from ._database_metrics import DatabaseObserver
from ._engines import KnownEngines
from ._layer import Layer
from ._metrics import ServerMetrics
from ._options import check_objects
from ._options import check_truths
from ._options import checked_keys
from ._record import parent_for
from ._record import Record
from ._suppressing import is_suppressed
from ._texts import end_of
from ._texts import integer_of
from ._texts import nanoseconds_of
from ._texts import start_of
from ._texts import text_of
from ._values import record_exception
from ._values import shown
from ._work import begin_span

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["OpenTelemetry"]

_log = logging.getLogger("signalpost.opentelemetry")

# Before the other receivers, so that the span includes them.
_FIRST = 1_000_000


class OpenTelemetry(DatabaseObserver):
    """Record an application's exchanges as spans and metrics of OpenTelemetry.

    ::

        OpenTelemetry().connect(app)

    Each exchange is a server span, from the server's call to its ``close()``, below the
    span that the client sent in ``traceparent``. It is current in the view, in the body
    while it is produced, and in receivers of ``exchange-closed``, which may set
    attributes. The metrics are ``http.server.request.duration`` and
    ``http.server.active_requests``; their attributes come from the application or have
    few values. Each statement of :data:`~signalpost.lifecycle.sql_executed` is a client
    span below it. Other failures of the database, such as that of a commit, are client
    spans without a duration.

    A unit of work (:mod:`signalpost.work`) is an internal span below the current span.

    The exchange of a mounted application is an internal span below that of the outer
    exchange, and is not counted again.

    :param tracer_provider: The provider of the tracer; the global one by default, even
        if that is set later.
    :param meter_provider: The same for the metrics.
    :param propagator: The propagator that reads a request's headers; the global one by
        default.
    :param query_keys: Record query strings, with the values of these keys; other values
        are hidden. Without it no query string is recorded.
    :param exclude: Patterns of paths whose requests and statements are not recorded:
        see :func:`~signalpost.receivers.paths.exclusion_of`.
    :param with_size_metrics: Measure ``http.server.request.body.size``, by its header,
        and ``http.server.response.body.size`` as well.
    :param with_sql_spans: Record statements as spans.
    :param with_sql_metrics: Measure statements, as ``db.client.operation.duration``,
        and connection pools, as ``db.client.connection.count`` and others.
    :param with_sql_values: Whether spans have the values and the comments that are in
        the text of statements, and the whole messages of database errors. Otherwise
        values are replaced by ``?``, and messages are cut where they begin.
    :param with_receiver_spans: Whether each call of a receiver of a signal of the
        catalogue is a span.
    :raises TypeError: If an option has the wrong type.
    :raises ValueError: If a pattern or a key has no meaning.

    .. versionadded:: 0.1
    """

    def __init__(  # noqa: PLR0913  # an option each, by name only
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        propagator: TextMapPropagator | None = None,
        query_keys: Collection[str] | None = None,
        exclude: Collection[str] = (),
        with_size_metrics: bool = False,
        with_sql_spans: bool = True,
        with_sql_metrics: bool = True,
        with_sql_values: bool = False,
        with_receiver_spans: bool = False,
    ) -> None:
        self._query_keys = checked_keys(query_keys)
        check_truths(
            with_size_metrics=with_size_metrics,
            with_sql_spans=with_sql_spans,
            with_sql_metrics=with_sql_metrics,
            with_sql_values=with_sql_values,
            with_receiver_spans=with_receiver_spans,
        )
        check_objects(tracer_provider, meter_provider, propagator)
        self._is_excluded = exclusion_of(exclude)
        version = installed_version()
        self._tracer = trace.get_tracer(
            "signalpost", version, tracer_provider, schema_url=SCHEMA
        )
        self._metrics = ServerMetrics(
            meter_provider, version, has_sizes=with_size_metrics
        )
        self._propagator = propagator
        self._with_sql_spans = with_sql_spans
        self._with_sql_values = with_sql_values
        self._with_receiver_spans = with_receiver_spans
        # Where an exchange keeps its record; this object itself would be kept by it.
        self._key = object()
        self._engines = KnownEngines()
        self._database_metrics = None
        if with_sql_metrics:
            self._database_metrics = DatabaseMetrics(
                meter_provider, version, self._key, self._engines
            )
        # By the ids of senders: functions that return the sender, or None once gone.
        self._senders: dict[int, Callable[[], object]] = {}
        self._observation: Observation | None = None
        self._has_failed_to_extract = False
        # Re-entrant, because the garbage collector may free an application at any line.
        self._lock = threading.RLock()

    def connect(self, application: object) -> None:
        """Record the exchanges of an application, until :meth:`disconnect`.

        A second call has no effect. Exchanges that are already open are left out.

        :param application: A :class:`flask.Flask` or another object with a
            ``wsgi_app``, a WSGI application, or a
            :class:`~signalpost.SignalMiddleware` around one.
        :raises ApplicationError: If it is not a WSGI application.

        .. versionadded:: 0.1
        """
        sender = _sender_of(application)
        with self._lock:
            if not self._is_connected(sender):
                self._senders[id(sender)] = reference_to(sender)
                self._connect_to(sender)

    def disconnect(self, application: object = None) -> bool:
        """Stop recording the exchanges of an application.

        Open exchanges are recorded to their end.

        :param application: As for :meth:`connect`; ``None`` for applications that were
            freed.
        :returns: Whether it was connected.

        .. versionadded:: 0.1
        """
        was_connected = False
        with self._lock:
            if application is not None:
                sender = _sender_of(application)
                was_connected = self._is_connected(sender)
                if was_connected:
                    del self._senders[id(sender)]
                    exchange_opened.disconnect(self._open, sender)
                    exchange_closed.disconnect(self._enter_close, sender)
                    got_request_exception.disconnect(self._fail, sender)
                    work_started.disconnect(self._open_work, sender)
            for key, reference in [*self._senders.items()]:
                if reference() is None:
                    del self._senders[key]
            if not self._senders:
                sql_executed.disconnect(self._execute)
                sql_failed.disconnect(self._fail_database)
                self._disconnect_database()
                if self._observation is not None:
                    self._observation.stop()
                    self._observation = None
        return was_connected

    def _is_connected(self, sender: object) -> bool:
        reference = self._senders.get(id(sender))
        return reference is not None and reference() is sender

    def _connect_to(self, sender: object) -> None:
        """Connect to an application. Only the application keeps this object alive."""
        exchange_opened.connect(self._open, sender, weak=False, priority=_FIRST)
        exchange_closed.connect(self._enter_close, sender, weak=False, priority=_FIRST)
        got_request_exception.connect(self._fail, sender, weak=False, priority=_FIRST)
        work_started.connect(self._open_work, sender, weak=False, priority=_FIRST)
        if self._with_sql_spans:
            sql_executed.connect(self._execute)
            sql_failed.connect(self._fail_database)
        self._connect_database()
        if self._with_receiver_spans and self._observation is None:
            self._observation = observe(self._observe, catalogue)

    def _open(
        self, sender: object, environ: WSGIEnvironment, exchange: Exchange
    ) -> None:
        if self._is_excluded is not None and self._is_excluded(exchange):
            return
        before = get_current()
        parent = self._parent_for(environ)
        has_tracer = self._has_tracer()
        has_meter = self._metrics.has_meter
        if not has_tracer and not has_meter and parent is before:
            return
        started_ns = start_of(exchange.started_at)
        is_part = exchange.outer is not None
        is_below = is_part and get_current_span(before).get_span_context().is_valid
        span = self._tracer.start_span(
            span_name_before(exchange),
            parent,
            SpanKind.INTERNAL if is_below else SpanKind.SERVER,
            request_attributes(environ, exchange, self._query_keys)
            if has_tracer
            else None,
            start_time=started_ns,
        )
        context: Context | None = None
        if span.get_span_context().is_valid:
            context = set_span_in_context(span, parent)
        elif parent is not before:
            # Without an SDK, calls to other services pass the client's trace on.
            context = parent
        record = Record(span, context, started_ns)
        # Not a receiver of exchange-closed, which may be muted or disconnected by then.
        exchange.call_on_close(self._close, exchange, record)
        if has_meter and not self._is_below(exchange):
            active = metric_attributes(environ, exchange)
            self._metrics.begin(active, context)
            record.active = active
        exchange.state[self._key] = record
        if context is not None:
            exchange._app_wrappers += (partial(Layer, context, exchange),)

    def _open_work(self, sender: object, exchange: Exchange) -> None:
        if self._has_tracer():
            # Statements and receivers read the parent of their spans there.
            exchange.state[self._key] = begin_span(
                self._tracer, exchange, with_values=self._with_sql_values
            )

    def _enter_close(self, sender: object, exchange: Exchange) -> None:
        """Make the span current for the following receivers."""
        record: Record | None = exchange.state.get(self._key)
        if record is not None and record.context is not None:
            record.token = attach(record.context)

    def _close(self, exchange: Exchange, record: Record) -> None:
        # First, because the SDK or the user's code may fail in the following calls.
        if record.token is not None:
            detach(record.token)
            record.token = None
        error_type = exchange_error_type(exchange)
        try:
            if record.active is not None:
                self._metrics.end(exchange, record.active, error_type, record.context)
        finally:
            try:
                if record.span.is_recording():
                    _set_end_attributes(record.span, exchange, error_type)
            finally:
                record.span.end(end_of(record.started_ns, exchange.duration_seconds))

    def _fail(
        self, sender: object, exception: BaseException, exchange: Exchange
    ) -> None:
        record: Record | None = exchange.state.get(self._key)
        if record is not None and record.span.is_recording():
            record_exception(record.span, exception, with_values=self._with_sql_values)

    def _execute(  # noqa: PLR0913  # the signal's payload
        self,
        engine: object,
        *,
        statement: str,
        duration_seconds: float,
        is_executemany: bool,
        parameters_count: int,
        exception: BaseException | None,
        exchange: Exchange | None,
    ) -> None:
        now_ns = time.time_ns()
        context = self._context_in(exchange)
        if context is None:
            return
        attributes = self._engines.about(engine).copy()
        operation = operation_of(statement)
        name = str(operation or attributes["db.system.name"])
        if operation is not None:
            attributes["db.operation.name"] = operation
            if "db.namespace" in attributes:
                name = f"{operation} {attributes['db.namespace']}"
        attributes["db.query.text"] = shown(
            statement, engine, with_values=self._with_sql_values
        )
        if is_executemany and parameters_count > 1:
            attributes["db.operation.batch.size"] = parameters_count
        if exception is not None:
            attributes["error.type"] = error_type_of(exception)
        span = self._tracer.start_span(
            name,
            context,
            SpanKind.CLIENT,
            attributes,
            start_time=now_ns - nanoseconds_of(duration_seconds),
        )
        if exception is not None:
            # Not the exception itself: its text has the parameters in it.
            span.set_status(StatusCode.ERROR)
        span.end(now_ns)

    def _fail_database(
        self,
        engine: object,
        *,
        operation: str,
        statement: str | None,
        exception: BaseException,
        exchange: Exchange | None,
    ) -> None:
        now_ns = time.time_ns()
        context = self._context_in(exchange)
        if context is None:
            return
        attributes = self._engines.about(engine).copy()
        attributes["db.operation.name"] = operation = text_of(operation)
        attributes["error.type"] = error_type_of(exception)
        if statement is not None:
            attributes["db.query.text"] = shown(
                statement, engine, with_values=self._with_sql_values
            )
        span = self._tracer.start_span(
            operation, context, SpanKind.CLIENT, attributes, start_time=now_ns
        )
        span.set_status(StatusCode.ERROR)
        span.end(now_ns)

    def _observe(self, delivery: Delivery) -> None:
        receiver = delivery.receiver
        if getattr(receiver, "__self__", None) is self:
            return
        now_ns = time.time_ns()
        context = self._context_in(current_exchange())
        if context is None:
            return
        attributes: Attributes = {
            "signalpost.signal": text_of(getattr(delivery.signal, "name", "")),
            "signalpost.receiver": text_of(describe(receiver)),
        }
        exception = delivery.exception
        if exception is not None:
            attributes["error.type"] = error_type_of(exception)
        span = self._tracer.start_span(
            f"receiver of {attributes['signalpost.signal']}",
            context,
            attributes=attributes,
            start_time=now_ns - nanoseconds_of(delivery.duration_seconds),
        )
        if exception is not None:
            record_exception(span, exception, with_values=self._with_sql_values)
            span.set_status(StatusCode.ERROR)
        span.end(now_ns)

    def _is_below(self, exchange: Exchange) -> bool:
        """Return whether an exchange around this one is recorded already."""
        outer = exchange.outer
        while outer is not None:
            if self._key in outer.state:
                return True
            outer = outer.outer
        return False

    def _context_in(self, exchange: Exchange | None) -> Context | None:
        """Return the parent context of a span in an exchange, if it is recorded."""
        if exchange is None:
            return None
        record: Record | None = exchange.state.get(self._key)
        if record is None or record.context is None:
            return None
        current = get_current()
        if is_suppressed(current):
            return None
        span = get_current_span(current)
        # In a thread that has the exchange, but not the span.
        if not span.get_span_context().is_valid:
            span, current = record.span, record.context
        return current if span.is_recording() else None

    def _parent_for(self, environ: WSGIEnvironment) -> Context:
        try:
            return parent_for(environ, self._propagator or get_global_textmap())
        except Exception:  # noqa: BLE001  # whatever a propagator makes of a hostile header
            # Once, as a client could fill the log.
            if not self._has_failed_to_extract:
                self._has_failed_to_extract = True
                checked(_log, logging.ERROR).exception(
                    "the propagator failed; the request begins a new trace"
                )
            return Context()

    def _has_tracer(self) -> bool:
        """Return whether a sampler may read the attributes that a span begins with."""
        if isinstance(self._tracer, trace.ProxyTracer):
            provider = trace.get_tracer_provider()
            return not isinstance(provider, trace.ProxyTracerProvider)
        return not isinstance(self._tracer, trace.NoOpTracer)


def _set_end_attributes(span: Span, exchange: Exchange, error_type: str | None) -> None:
    """Set the attributes that are known at the end of an exchange."""
    attributes: Attributes = {}
    if exchange.outcome is not None:
        attributes["signalpost.outcome"] = text_of(exchange.outcome)
    if (status := integer_of(exchange.status)) is not None:
        attributes["http.response.status_code"] = status
    if exchange.route is not None:
        attributes["http.route"] = text_of(exchange.route)
        # An application may have chosen another name for an SDK's span.
        if getattr(span, "name", None) == span_name_before(exchange):
            span.update_name(span_name(exchange))
    if error_type is not None:
        attributes["error.type"] = error_type
        span.set_status(StatusCode.ERROR)
    span.set_attributes(attributes)


def _sender_of(application: t.Any) -> t.Any:
    """Return the sender of an application, a proxy of it, or its middleware.

    :raises ApplicationError: If it is not a WSGI application.
    """
    # The middleware checks that it can be an application, or a proxy.
    return SignalMiddleware(application).sender
