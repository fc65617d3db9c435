"""The written form of exchanges: numbers and texts at fixed places.

Each text is printable. Line breaks separate the texts, and the null character means
``None``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from functools import lru_cache
from struct import Struct
from typing import Any
from typing import Final
from typing import TypeAlias

__all__ = [
    "EXCEPTION",
    "NOWHERE",
    "NO_STATUS",
    "NO_TEXT",
    "SIGNAL",
    "SQL",
    "TEMPLATE",
    "UNKNOWN",
    "pack_head",
    "packed",
    "packed_events",
    "unpacked",
]

NO_TEXT: Final = "\0"
"""A text that is ``None``."""

NO_STATUS: Final = 0
UNKNOWN: Final = float("nan")
"""Seconds that are not known."""

SIGNAL: Final = 0
TEMPLATE: Final = 1
SQL: Final = 2
EXCEPTION: Final = 3

_HEAD: Final = Struct("<IIIqqIIBddddddd")
pack_head = _HEAD.pack
"""Return the part before the texts: the length of the texts, that of the events, how
many events are left out, and the numbers, as :func:`packed` takes them."""
NOWHERE: Final = 0xFFFF

Event: TypeAlias = tuple[int, int, float, float | None, int | None, int | None, int]
"""Kind, number of its name, seconds until its begin, those that it took, number of its
place, how often its statement came, whether it failed."""


def packed(
    text: bytes, events: bytes, left_out: int, numbers: tuple[Any, ...]
) -> bytes:
    """Return a record.

    :param text: Method, path, route, outcome, type of the exception, id, referrer and
        fingerprint: a line each, in UTF-8.
    :param events: The events, as of :func:`packed_events`. Those of the last two
        numbers are not among them: nearly every exchange has both, and many have no
        other.
    :param left_out: How many events are left out.
    :param numbers: Status, bytes, statements, the most of one, 1 if it failed; seconds
        of its statements, until the response, in all, until the headers, until the
        first byte, until ``request-started`` and until ``request-finished``.
    :raises struct.error: If a number is none, or too large.
    """
    head = pack_head(len(text), len(events), left_out, *numbers)
    return head + text + events


def packed_events(
    texts: Iterable[str], times: Sequence[int], fields: Sequence[Any]
) -> bytes:
    """Return the events of a record, at least one.

    :param texts: Their names and places, each once.
    :param times: How often the statement of each text came, 0 if it is none; nothing if
        there is no statement.
    :param fields: Of all events, one after the other: kind, 1 if it failed, number of
        its name, seconds until its begin, those that it took, number of its place
        (65535 for none).
    """
    text = "\n".join(texts).encode()
    form = _events_form(len(times), len(fields) // _FIELDS)
    return form(len(text), len(times), len(fields) // _FIELDS, *times, *fields) + text


_FIELDS: Final = 6
_COUNTS: Final = Struct("<IHH")


# The most events by the most texts would be many, but most applications have few.
@lru_cache(maxsize=512)
def _events_form(texts: int, events: int) -> Callable[..., bytes]:
    """Return the struct for so many texts and events, to pack them in one call."""
    return _events_struct(texts, events).pack


def _events_struct(texts: int, events: int) -> Struct:
    return Struct(f"<IHH{texts}I{'BBHddH' * events}")


def unpacked(data: bytes, *, with_events: bool) -> list[Any]:
    """Return the exchange of a record.

    That is its method, path, route, status, outcome, response time, duration, bytes,
    statements, their seconds, the most of one, whether it failed, the type of its
    exception, its id; then the seconds until its headers and its first byte, its
    referrer, the fingerprint of its failure, the texts of its events, these, and how
    many are left out.

    :param with_events: Whether it is read beyond its id.
    :raises ValueError: If it is not a record.
    """
    try:
        length, more, left_out, status, size, count, most, failed, *seconds = (
            _HEAD.unpack_from(data)
        )
        at = _HEAD.size + length
        texts = _texts(data[_HEAD.size : at])
        method, path, route, outcome, exception, request_id, *others = texts
        row = [
            *(method, path, route, None if status == NO_STATUS else status, outcome),
            *(_seconds(seconds[1]), _seconds(seconds[2]), size, count),
            *(_seconds(seconds[0]) or 0.0, most, bool(failed), exception, request_id),
        ]
        if not with_events:
            return row
        names, rows = _unpacked_events(data[at : at + more]) if more else ([], [])
    except (struct.error, IndexError) as error:
        raise ValueError("it is not a record") from error
    headers, first_byte, *moments = seconds[3:]
    _add_moments(names, rows, moments)
    referrer, fingerprint = others
    times = _seconds(headers), _seconds(first_byte)
    return [*row, *times, referrer, fingerprint, names, rows, left_out]


def _texts(data: bytes) -> list[str | None]:
    texts = data.decode().split("\n")
    return [None if one == NO_TEXT else one for one in texts]


def _seconds(value: float) -> float | None:
    return round(value, 6) if -1e9 < value < 1e9 else None


def _unpacked_events(data: bytes) -> tuple[list[str | None], list[Event]]:
    length, texts, events = _COUNTS.unpack_from(data)
    _, _, _, *numbers = _events_struct(texts, events).unpack_from(data)
    times, fields = numbers[:texts], numbers[texts:]
    names = _texts(data[len(data) - length :])
    each = zip(*(fields[n::_FIELDS] for n in range(_FIELDS)), strict=True)
    return names, [_event(one, times) for one in each]


def _add_moments(
    names: list[str | None], rows: list[Event], moments: Iterable[float]
) -> None:
    for name, at in zip(("request-started", "request-finished"), moments, strict=True):
        seconds = _seconds(at)
        if seconds is not None:
            rows.append((SIGNAL, len(names), seconds, None, None, None, 0))
            names.append(name)


def _event(fields: tuple[Any, ...], times: list[int]) -> Event:
    kind, failed, name, begin, seconds, place = fields
    return (
        kind,
        name,
        _seconds(begin) or 0.0,
        _seconds(seconds),
        None if place == NOWHERE else place,
        (times[name] or None) if kind == SQL and times else None,
        failed,
    )
