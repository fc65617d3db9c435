"""Spans of units of work."""

from __future__ import annotations

from opentelemetry.context import attach
from opentelemetry.context import detach
from opentelemetry.trace import set_span_in_context
from opentelemetry.trace import StatusCode
from opentelemetry.trace import Tracer

from ...exchange import Exchange
from ._attributes import error_type_of
from ._record import Record
from ._texts import end_of
from ._texts import start_of
from ._texts import text_of
from ._values import record_exception

__all__ = ["begin_span"]


def begin_span(tracer: Tracer, exchange: Exchange, *, with_values: bool) -> Record:
    """Begin the span of a unit of work below what is current, and make it current.

    It ends with the work, in the context in which that began.
    """
    started_ns = start_of(exchange.started_at)
    span = tracer.start_span(text_of(exchange.route), start_time=started_ns)
    context = set_span_in_context(span)
    record = Record(span, context, started_ns)
    record.token = attach(context)
    exchange.call_on_close(_end, exchange, record, with_values=with_values)
    return record


def _end(exchange: Exchange, record: Record, *, with_values: bool) -> None:
    if record.token is not None:
        detach(record.token)
        record.token = None
    span = record.span
    try:
        if span.is_recording():
            span.set_attribute("signalpost.outcome", text_of(exchange.outcome))
            error = exchange.exception
            if error is not None and exchange.outcome != "aborted":
                record_exception(span, error, with_values=with_values)
                span.set_attribute("error.type", error_type_of(error))
                span.set_status(StatusCode.ERROR)
    finally:
        span.end(end_of(record.started_ns, exchange.duration_seconds))
