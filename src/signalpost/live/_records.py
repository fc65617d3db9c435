"""Records of exchanges, as they are written: numbers and texts of known places.

Each text is printable. Line breaks separate the texts, and the null character means
``None``.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from struct import Struct
from typing import Any
from typing import Final
from typing import NamedTuple
from typing import TypeAlias

__all__ = [
    "NOWHERE",
    "NO_STATUS",
    "NO_TEXT",
    "UNKNOWN",
    "Head",
    "packed",
    "packed_event",
    "unpacked",
]

NO_TEXT: Final = "\0"
"""A text that is ``None``."""

NO_STATUS: Final = 0
UNKNOWN: Final = float("nan")
"""Seconds that are not known."""

_HEAD: Final = Struct("<qqIIBdddddIII")
_pack_head = _HEAD.pack
_EVENT: Final = Struct("<BBHddHI")
NOWHERE: Final = 0xFFFF

Event: TypeAlias = tuple[int, int, float, float | None, int | None, int | None, int]
"""Kind, number of its name, seconds until its begin, those that it took, number of its
place, how often its statement came, whether it failed."""


class Head(NamedTuple):
    """The fields of a recorded exchange, without its events."""

    method: str | None
    path: str | None
    route: str | None
    status: int | None
    outcome: str | None
    response_seconds: float | None
    duration_seconds: float | None
    body_bytes: int
    sql_count: int
    sql_seconds: float
    most_repeats: int
    is_failed: int
    exception: str | None
    request_id: str | None
    seconds_to_headers: float | None
    seconds_to_first_byte: float | None
    referrer: str | None
    fingerprint: str | None


def packed(
    numbers: Sequence[Any],
    texts: Sequence[str],
    names: Sequence[str] = (),
    events: Sequence[bytes] = (),
    left_out: int = 0,
) -> bytes:
    """Return a record.

    :param numbers: Of the exchange: status, bytes, statements, the most of one, 1 if
        it failed; seconds of its statements, until the response, in all, until the
        headers, until the first byte.
    :param texts: Method, path, route, outcome, type of the exception, id, referrer,
        fingerprint.
    :param names: The texts of the events.
    :param events: The events.
    :param left_out: How many events are left out.
    :raises struct.error: If a number is none, or too large.
    :raises TypeError: If a text is none.
    """
    text = "\n".join(texts).encode()
    if not events:
        return _pack_head(*numbers, len(text), 0, left_out) + text
    more = "\n".join(names).encode()
    head = _pack_head(*numbers, len(text), len(more), left_out)
    return b"".join((head, text, more, *events))


packed_event = _EVENT.pack
"""Returns an event: its kind, 1 if it failed, the number of its name, seconds until
its begin, those that it took, the number of its place (65535 for none), how often its
statement came (0 if it is none)."""


def unpacked(data: bytes, *, with_events: bool) -> tuple[Head, list[Any]]:
    """Return what a record has of an exchange; and texts, events, and left out ones.

    :param with_events: Whether the latter are read; else there are none.
    :raises ValueError: If it is no record.
    """
    try:
        *numbers, length, more, left_out = _HEAD.unpack_from(data)
        at = _HEAD.size + length
        texts = _texts(data[_HEAD.size : at])
        method, path, route, outcome, exception, request_id, referrer, mark = texts
        status, size, count, most, failed, sql, *times = numbers
        response, duration, headers, first_byte = map(_seconds, times)
        status = None if status == NO_STATUS else status
        head = Head(
            *(method, path, route, status, outcome, response, duration, size),
            *(count, _seconds(sql) or 0.0, most, failed, exception, request_id),
            *(headers, first_byte, referrer, mark),
        )
        if not with_events:
            return head, []
        end = at + more
        rows = [*map(_event, _EVENT.iter_unpack(data[end:]))]
        return head, [_texts(data[at:end]), rows, left_out]
    except struct.error as error:
        raise ValueError("it is no record") from error


def _texts(data: bytes) -> list[str | None]:
    texts = data.decode().split("\n")
    return [None if one == NO_TEXT else one for one in texts]


def _seconds(value: float) -> float | None:
    return round(value, 6) if -1e9 < value < 1e9 else None


def _event(fields: tuple[Any, ...]) -> Event:
    kind, failed, name, begin, seconds, place, times = fields
    return (
        kind,
        name,
        _seconds(begin) or 0.0,
        _seconds(seconds),
        None if place == NOWHERE else place,
        times or None,
        failed,
    )
