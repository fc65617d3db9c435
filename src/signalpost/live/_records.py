"""The written form of exchanges: numbers and texts at fixed places.

Each text is printable. Line breaks separate the texts, and an empty one means ``None``.
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

from ._layout import CELL
from ._layout import CELL_NUMBERS
from ._layout import CELL_VALUES
from ._text import fit

__all__ = [
    "EXCEPTION",
    "NOWHERE",
    "NO_NUMBERS",
    "NO_OUTCOME",
    "NUMBERS_BYTES",
    "PLACE_BYTES",
    "SIGNAL",
    "SQL",
    "TEMPLATE",
    "UNKNOWN",
    "cell_text",
    "known_text",
    "pack_numbers",
    "pack_place",
    "packed",
    "packed_events",
    "place_of",
    "unpacked",
    "with_route",
]

UNKNOWN: Final = float("nan")
"""Seconds that are not known."""

SIGNAL: Final = 0
TEMPLATE: Final = 1
SQL: Final = 2
EXCEPTION: Final = 3

pack_numbers = CELL_NUMBERS.pack
"""Return the numbers of a record: status, bytes, 1 if it failed; seconds until the
response, in all, until the headers, until the first byte, until ``request-started``,
until ``request-finished``, of its statements; how many events are left out, statements,
the most of one; then four zeros, which are written later."""

NO_NUMBERS: Final = pack_numbers(0, 0, 0, *[UNKNOWN] * 6, 0.0, *[0] * 7)
"""The numbers of a request of which nothing is known."""
NO_OUTCOME: Final = "-"
"""An outcome that is not known."""

NUMBERS_BYTES: Final = CELL_NUMBERS.size
_ROW_AND_PLACE: Final = Struct("=IIII")
_ROW_AT: Final = CELL.size - _ROW_AND_PLACE.size
_cell_values = CELL_VALUES.unpack_from
_PLACE: Final = Struct("=III")
PLACE_BYTES: Final = _PLACE.size
pack_place = _PLACE.pack
"""Return the last of these: place, length and checksum of what is in the ring."""

NOWHERE: Final = 0xFFFF

Event: TypeAlias = tuple[int, int, float, float | None, int | None, int | None, int]
"""Kind, number of its name, seconds until its begin, those that it took, number of its
place, how often its statement came, whether it failed."""


def packed(texts: Iterable[str], events: bytes) -> bytes:
    """Return what a record has beyond its cell.

    :param texts: Its route, if it has no row; its path, if the cell has only the
        beginning; outcome, if it is not ``"complete"``; type of the exception, id,
        referrer and fingerprint. A text that is not needed is empty.
    :param events: The events, as of :func:`packed_events`. ``request-started`` and
        ``request-finished`` are numbers of the record: nearly every exchange has both,
        and many have no other.
    """
    text = "\n".join(texts).encode()
    return _LENGTH.pack(len(text)) + text + events


def with_route(extra: bytes, route: str | None) -> bytes:
    """Return the bytes that :func:`packed` returns, with a route.

    :param extra: These without a route, or none.
    """
    if not extra:
        return packed((route or "", *[""] * 6), b"")
    (length,) = _LENGTH.unpack_from(extra)
    texts = extra[_LENGTH.size : _LENGTH.size + length].decode().split("\n")
    texts[0] = route or ""
    return packed(texts, extra[_LENGTH.size + length :])


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


_LENGTH: Final = Struct("<I")
_NO_TEXTS: Final = [None] * 7
_FIELDS: Final = 6
_COUNTS: Final = Struct("<IHH")


# The most events by the most texts would be many, but most applications have few.
@lru_cache(maxsize=512)
def _events_form(texts: int, events: int) -> Callable[..., bytes]:
    """Return the struct for so many texts and events, to pack them in one call."""
    return _events_struct(texts, events).pack


def _events_struct(texts: int, events: int) -> Struct:
    return Struct(f"<IHH{texts}I{'BBHddH' * events}")


def unpacked(
    cell: bytes, extra: bytes, route: str | None, *, with_events: bool
) -> list[Any]:
    """Return the exchange of a record.

    That is its method, path, route, status, outcome, response time, duration, bytes,
    statements, their seconds, the most of one, whether it failed, the type of its
    exception, its id; then the seconds until its headers and its first byte, its
    referrer, the fingerprint of its failure, the texts of its events, these, and how
    many are left out.

    :param cell: Its cell.
    :param extra: Its part of the ring; empty if it has none.
    :param route: The name of its row.
    :param with_events: Whether it is read beyond its id.
    :raises ValueError: If it is not a record.
    """
    values = _cell_values(cell)
    _, _, method, path, status, size, failed, response, whole, headers = values[:10]
    first, began, finished, sql, left_out, count, most = values[10:]
    texts: Sequence[str | None] = _NO_TEXTS
    end = 0
    try:
        if extra:
            end = _LENGTH.size + _LENGTH.unpack_from(extra)[0]
            texts = _texts(extra[_LENGTH.size : end])
        own_route, long_path, outcome, exception, request_id, *others = texts
        row = [
            known_text(method),
            cell_text(path) if long_path is None else long_path,
            route if own_route is None else own_route,
            status or None,
            None if outcome == NO_OUTCOME else outcome or "complete",
            _seconds(response),
            _seconds(whole),
            size,
            count,
            _seconds(sql) or 0.0,
            most,
            bool(failed),
            exception,
            request_id,
        ]
        if not with_events:
            return row
        referrer, fingerprint = others
        events = extra[end:]
        names, rows = _unpacked_events(events) if events else ([], [])
    except (struct.error, IndexError) as error:
        raise ValueError("it is not a record") from error
    _add_moments(names, rows, (began, finished))
    times = _seconds(headers), _seconds(first)
    return [*row, *times, referrer, fingerprint, names, rows, left_out]


def place_of(cell: bytes) -> tuple[int, int, int, int]:
    """Return the row of a route, and place, length and checksum in the ring."""
    row, at, length, check = _ROW_AND_PLACE.unpack_from(cell, _ROW_AT)
    return row, at, length, check


def cell_text(data: bytes) -> str:
    """Return a text of a cell, printable.

    It may have been cut in the middle of a character.
    """
    return fit(data.rstrip(b"\0").decode("utf-8", "ignore"), len(data))


known_text = lru_cache(maxsize=256)(cell_text)
"""Return the same, faster for a text that is repeated."""


def _texts(data: bytes) -> list[str | None]:
    return [one or None for one in data.decode().split("\n")]


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
