"""What spans have of statements and exceptions, without the values of a database."""

from __future__ import annotations

import typing as t
from traceback import TracebackException

from opentelemetry.trace import Span

from ...receivers.masking import LONGEST_READ
from ...receivers.masking import masked
from ...receivers.messages import has_database_error
from ...receivers.messages import hide_values

__all__ = ["record_exception", "shown"]


def shown(statement: str, engine: object, *, with_values: bool) -> str:
    """Return a statement for an attribute of a span."""
    return statement[:LONGEST_READ] if with_values else masked(statement, engine)


def record_exception(
    span: Span, exception: BaseException, *, with_values: bool
) -> None:
    """Record an exception as an event of a span."""
    # OpenTelemetry's type is narrower than what it takes.
    given = t.cast("Exception", exception)
    if with_values or not has_database_error(exception):
        span.record_exception(given)
        return
    trace = TracebackException.from_exception(exception)
    hide_values(trace, exception)
    # These take the place of the SDK's own, which have the whole messages.
    attributes = {
        "exception.message": str(trace),
        "exception.stacktrace": "".join(trace.format()),
    }
    span.record_exception(given, attributes)
