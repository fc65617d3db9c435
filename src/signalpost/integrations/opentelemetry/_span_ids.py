"""The ids of the current span, for log lines."""

from __future__ import annotations

from functools import lru_cache

from opentelemetry.trace import format_span_id
from opentelemetry.trace import format_trace_id
from opentelemetry.trace import get_current_span

__all__ = ["current_span_ids"]


def current_span_ids() -> tuple[str, str] | None:
    """Return the ids of the trace and of the span, in hexadecimal digits.

    :returns: ``None`` where no span is current.
    """
    context = get_current_span().get_span_context()
    return _digits(context.trace_id, context.span_id) if context.is_valid else None


# A request logs several lines in one span.
@lru_cache(maxsize=256)
def _digits(trace_id: int, span_id: int) -> tuple[str, str]:
    return format_trace_id(trace_id), format_span_id(span_id)
