"""The ids of OpenTelemetry's current span, for the lines of a log."""

from __future__ import annotations

from weakref import ref

from opentelemetry.context import get_current
from opentelemetry.context.context import Context
from opentelemetry.trace import format_span_id
from opentelemetry.trace import format_trace_id
from opentelemetry.trace import get_current_span

__all__ = ["current_span_ids"]

# As one object, which another thread replaces as a whole. A request logs several lines
# in one context, and to find the span and format its ids takes longer than all else
# that is done for a line. A context never changes; weakly, as it has the span.
_latest: tuple[ref[Context], tuple[str, str] | None] = (ref(Context()), None)


def current_span_ids() -> tuple[str, str] | None:
    """Return the ids of the trace and of the span, in hexadecimal digits.

    :returns: ``None`` where no span is current.
    """
    global _latest
    context = get_current()
    known, ids = _latest
    if known() is context:
        return ids
    ids = None
    span = get_current_span(context).get_span_context()
    if span.is_valid:
        ids = format_trace_id(span.trace_id), format_span_id(span.span_id)
    _latest = ref(context), ids
    return ids
