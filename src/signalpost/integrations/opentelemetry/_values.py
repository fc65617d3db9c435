"""Write statements and exceptions for spans, without the values of a database."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from traceback import TracebackException
from typing import Any

from opentelemetry.trace import Span

from ...receivers.masking import LONGEST_READ
from ...receivers.masking import masked
from ...receivers.messages import has_database_error
from ...receivers.messages import message_without_values
from ...receivers.tracebacks import traceback_lines
from ._attributes import error_type_of
from ._texts import LONGEST
from ._texts import text_of

__all__ = ["record_exception", "shown"]

_LONGEST_LINE = 512
_FIRST_CHARACTERS = 12_000
_LAST_CHARACTERS = 4_000
_MOST_NOTES = 10


def shown(statement: str, engine: object, *, with_values: bool) -> str:
    """Return a statement for an attribute of a span."""
    # Masking reads a text, and keeps it in a cache.
    text = text_of(statement, LONGEST_READ)
    return text if with_values else masked(text, engine)


def record_exception(
    span: Span, exception: BaseException, *, with_values: bool
) -> None:
    """Record an exception as an event of a span, by OpenTelemetry's conventions.

    Not by ``span.record_exception()``, which makes a text of the whole message, twice,
    before it looks at the attributes that replace it.
    """
    hides = not with_values and _may_have_values(exception)
    attributes = {
        "exception.type": error_type_of(exception),
        "exception.message": text_of(_message_of(exception, hides=hides)),
    }
    try:
        attributes["exception.stacktrace"] = _stack_trace_of(exception, hides=hides)
    except Exception as error:  # noqa: BLE001  # whatever an application's exception does
        attributes["exception.stacktrace"] = f"<{error_type_of(error)}>"
    span.add_event("exception", attributes)


def _message_of(exception: BaseException, *, hides: bool) -> str:
    try:
        message = str(exception)
        return message_without_values(exception, message) if hides else message
    except Exception:  # noqa: BLE001  # whatever an application's exception does
        return "<exception str() failed>"


def _may_have_values(exception: BaseException) -> bool:
    try:
        return has_database_error(exception)
    except Exception:  # noqa: BLE001  # whatever an application's exception does
        return True


def _stack_trace_of(exception: BaseException, *, hides: bool) -> str:
    def cut(trace: TracebackException, one: BaseException) -> None:
        # TracebackException has no other way to show another message.
        private: Any = trace
        private._str = text_of(_message_of(one, hides=hides))  # noqa: SLF001  # no public setter
        notes = getattr(private, "__notes__", None)
        if type(notes) is list and notes:
            private.__notes__ = [text_of(note, LONGEST) for note in notes[:_MOST_NOTES]]

    return _shortened(traceback_lines(exception, cut))


def _shortened(lines: Iterable[str]) -> str:
    """Return lines as one text: the first ones, and the last ones."""
    first: list[str] = []
    last: deque[str] = deque()
    first_length = last_length = left_out = 0
    for line in lines:
        text = text_of(line, _LONGEST_LINE)
        if not last and first_length + len(text) < _FIRST_CHARACTERS:
            first.append(text)
            first_length += len(text) + 1
            continue
        last.append(text)
        last_length += len(text) + 1
        while last_length > _LAST_CHARACTERS:
            last_length -= len(last.popleft()) + 1
            left_out += 1
    if left_out:
        first.append(f"  <{left_out} lines left out>")
    return "\n".join([*first, *last, ""])
