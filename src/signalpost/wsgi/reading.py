"""The facts of a response, read so that nothing the application gave can raise here.

Headers, status and chunks are the application's objects, and receivers may set any
field of the exchange. None of that may lose the record or change the answer.
"""

from __future__ import annotations

import time
import typing as t
from functools import lru_cache
from wsgiref.headers import Headers

from ..exchange import Exchange
from ..exchange import ResponseStart

__all__ = [
    "code_of",
    "content_length",
    "count_chunk",
    "is_answer",
    "is_bodiless",
    "length_of",
    "pairs_of",
    "response_start",
    "seconds_since_start",
    "status_code_of",
    "text_of",
]

# Responses that have no body, so that one closed unread is whole: RFC 9110, 6.4.1.
_BODILESS = (204, 304)

# As many as fit in 64 bits. No body is longer, and Python converts no 5,000 digits.
_MOST_DIGITS = 18


def response_start(exchange: Exchange) -> ResponseStart:
    """Return what ``start_response`` was last called with."""
    status = exchange._start_status
    pairs = pairs_of(exchange._start_headers)
    return ResponseStart(
        text_of(status),
        status_code_of(status),
        Headers([(text_of(name), text_of(value)) for name, value in pairs]),
    )


def content_length(exchange: Exchange) -> int | None:
    """Return the body's length by its header, if there is one that can be read."""
    for name, value in pairs_of(exchange._start_headers):
        if text_of(name).lower() == "content-length":
            text = text_of(value)
            if not (text.isascii() and text.isdigit()):
                return None
            digits = text.lstrip("0") or "0"
            return int(digits) if len(digits) <= _MOST_DIGITS else None
    return None


def is_bodiless(exchange: Exchange) -> bool:
    """Return whether a response has no body, whatever the application returns."""
    try:
        return exchange.method == "HEAD" or exchange.status in _BODILESS
    except Exception:  # noqa: BLE001  # a receiver may have set any value
        return False


def count_chunk(exchange: Exchange, chunk: bytes) -> bool:
    """Note a chunk, and when the first byte was handed over; return whether it was."""
    try:
        length = len(chunk)
        exchange.body_bytes += length
        if exchange.seconds_to_first_byte is not None:
            return True
        if length:
            exchange.seconds_to_first_byte = time.perf_counter() - exchange.start
            return True
    # A chunk may be of any type, and a receiver may have set any value.
    except Exception:  # noqa: BLE001, S110
        pass
    return False


def length_of(chunk: object) -> int:
    """Return the length of a chunk; 0 for what is none, which the server may refuse."""
    try:
        return len(chunk)  # type: ignore[arg-type]  # that is the question
    except Exception:  # noqa: BLE001  # the chunk's own
        return 0


def text_of(value: object) -> str:
    """Return the text of a value; ``""`` if it has none or its ``str()`` raises."""
    if type(value) is str:
        return value
    try:
        # A plain one, as a subclass may do anything.
        return str.__str__(str(value))
    except Exception:  # noqa: BLE001  # the value's own
        return ""


def seconds_since_start(exchange: Exchange) -> float | None:
    """Return how long ago the server called; ``None`` if that is unknown."""
    try:
        return time.perf_counter() - exchange.start
    except Exception:  # noqa: BLE001  # a receiver may have set any value
        return None


def is_answer(error: object, exchange: Exchange) -> bool:
    """Return whether an exception is the response, as ``abort(404)`` makes one.

    Werkzeug's, WebOb's and Paste's have the status code as ``code``.
    """
    try:
        code = error.code  # type: ignore[attr-defined]  # that is the question
    except Exception:  # noqa: BLE001  # it has none, or asking raises
        return False
    return type(code) is int and code == exchange.status and code < 500


def status_code_of(status: object) -> int | None:
    """Return the code in a status line; ``None`` if it does not begin with one.

    A reason phrase may be missing, as in ``"200"``; that is between the application
    and the server.
    """
    return code_of(text_of(status))


# An application has few status lines, and each request has one.
@lru_cache(maxsize=256)
def code_of(status: str) -> int | None:
    """Return the code in a status line that is a plain string."""
    code = status[:3]
    return int(code) if len(code) == 3 and code.isascii() and code.isdigit() else None


def pairs_of(headers: object) -> list[tuple[object, object]]:
    """Return the headers that are pairs, of what an application gave as headers.

    An iterator is left to the server: it can be read once.
    """
    if not issubclass(type(headers), (list, tuple)):
        return []
    try:
        return [
            (one[0], one[1])
            for one in t.cast("list[t.Any]", headers)
            if issubclass(type(one), (list, tuple)) and len(one) == 2
        ]
    except Exception:  # noqa: BLE001  # a subclass may do anything
        return []
