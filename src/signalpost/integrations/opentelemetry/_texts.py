"""Values that every exporter can encode: one bad value loses a whole batch of spans."""

from __future__ import annotations

import time
import typing as t

from ...exchange import decoded
from ...receivers.response_times import seconds_of

__all__ = [
    "LONGEST",
    "end_of",
    "environ_text",
    "integer_of",
    "nanoseconds_of",
    "start_of",
    "text_of",
]

LONGEST: t.Final = 1024
"""The most characters of a text without its own limit."""

# The limit of protobuf's int64 and SQL's bigint. More is an error of the exporter.
_MOST: t.Final = 2**63


def text_of(value: object, most: int = LONGEST) -> str:
    """Return a value as text that can be encoded as UTF-8, cut after ``most``.

    Half surrogates become ``?``. This does not raise, whatever value a receiver or an
    application has set.
    """
    kind = type(value)
    text = t.cast("str", value) if kind is str else _text_of_another(value, most)
    if len(text) > most:
        text = text[:most]
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def environ_text(value: object, most: int = LONGEST) -> str:
    """Return a string of a WSGI environment as such text; ``""`` for no string."""
    if not issubclass(type(value), str):
        return ""
    return text_of(decoded(str.__getitem__(t.cast("str", value), slice(most))), most)


def integer_of(value: object) -> int | None:
    """Return an integer of 64 bits; ``None`` for anything else."""
    if type(value) is bool or not issubclass(type(value), int):
        return None
    number = int.__index__(t.cast("int", value))
    return number if -_MOST <= number < _MOST else None


def nanoseconds_of(seconds: object) -> int:
    """Return seconds as nanoseconds; 0 for other values."""
    number = seconds_of(seconds) or 0.0
    # Infinity and nan cannot be converted either.
    return int(number * 1e9) if 0 <= number < _MOST / 1e9 else 0


def start_of(seconds: object) -> int:
    """Return a time since the epoch in nanoseconds; the present for other values."""
    return nanoseconds_of(seconds) or time.time_ns()


def end_of(started_ns: int, seconds: object) -> int:
    """Return when something ended that began at ``started_ns``."""
    return min(started_ns + nanoseconds_of(seconds), _MOST - 1)


def _text_of_another(value: object, most: int) -> str:
    kind = type(value)
    if issubclass(kind, str):
        # Its class may give another text, or raise, for anything else.
        return str.__getitem__(t.cast("str", value), slice(most))
    try:
        if issubclass(kind, (bytes, bytearray, memoryview)):
            return bytes(t.cast("bytes", value)[:most]).decode("utf-8", "replace")
        return str.__getitem__(str(value), slice(most))
    except Exception:  # noqa: BLE001  # an object may raise whatever is read of it
        return f"{kind.__name__} object"
