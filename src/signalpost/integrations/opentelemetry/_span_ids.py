"""The ids of the current span, for log lines."""

from __future__ import annotations

from opentelemetry.trace import format_span_id
from opentelemetry.trace import format_trace_id
from opentelemetry.trace import get_current_span
from opentelemetry.trace import INVALID_SPAN_CONTEXT
from opentelemetry.trace import SpanContext

__all__ = ["current_span_ids"]

# As one object, which another thread replaces as a whole. A request logs several lines
# in one span, and to format its ids takes as long as all else that is done for a line.
_latest: tuple[SpanContext, tuple[str, str] | None] = (INVALID_SPAN_CONTEXT, None)


def current_span_ids() -> tuple[str, str] | None:
    """Return the ids of the trace and of the span, in hexadecimal digits.

    :returns: ``None`` where no span is current.
    """
    global _latest
    context = get_current_span().get_span_context()
    known, ids = _latest
    if context is known:
        return ids
    ids = None
    if context.is_valid:
        ids = format_trace_id(context.trace_id), format_span_id(context.span_id)
    _latest = context, ids
    return ids
