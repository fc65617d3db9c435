"""A table of counts by name, in the file of a worker: of work, or of events.

A row has its counts since the start of the worker, and those of the last minute.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from collections.abc import Sequence
from struct import Struct
from typing import Final
from typing import NamedTuple

from ..receivers.paths import OTHER_ROUTES
from ._layout import COUNTERS
from ._layout import MINUTE_PERIODS
from ._layout import PERIOD_SECONDS
from ._layout import TALLY_HEAD
from ._layout import TALLY_PERIOD
from ._layout import TALLY_ROW_BYTES
from ._layout import TALLY_ROWS
from ._layout import TALLY_TOP
from ._layout import TALLY_TOTALS

__all__ = [
    "AGED",
    "BURIED",
    "DROPPED",
    "FAILED",
    "RECEIVED",
    "RETRIED",
    "SENT",
    "WORK_ABORTED",
    "WORK_DONE",
    "WORK_FAILED",
    "Key",
    "Tallies",
    "Tally",
    "cut",
    "overflow_in",
    "tallies_in",
    "text_of",
    "used_in",
]

# The counters of work, and those of events.
WORK_DONE, WORK_FAILED, WORK_ABORTED = range(3)
SENT, DROPPED, RECEIVED, FAILED, RETRIED, BURIED, AGED = range(7)

_NAME_BYTES: Final = 200
_PARTY_BYTES: Final = 104


# A whole row: to read it in one call is faster.
_ROW: Final = Struct(
    TALLY_HEAD.format
    + TALLY_TOTALS.format.removeprefix("=")
    + MINUTE_PERIODS * TALLY_PERIOD.format.removeprefix("=")
)
_TOTALS_AT: Final = 5
_SECONDS_AT: Final = _TOTALS_AT + COUNTERS
_PERIODS_AT: Final = _SECONDS_AT + 5
_NONE: Final[tuple[int, ...]] = (0,) * COUNTERS


class Key(NamedTuple):
    """The identity of a row. Both texts are printable."""

    direction: int
    name: str
    party: str = ""
    """The source or the group of events."""


_OTHER: Final = Key(0, OTHER_ROUTES)


class Tally(NamedTuple):
    """A row that was read."""

    key: Key
    counts: tuple[int, ...]
    """Since the start."""
    minute: tuple[int, ...]
    """Of the last minute."""
    seconds: float
    longest_seconds: float
    age_seconds: float
    oldest_seconds: float
    last_at: float


class Tallies:
    """Writes such a table; one thread at a time.

    :param page: The memory of the file.
    :param at: Where the table begins in it.
    """

    def __init__(self, page: mmap.mmap, at: int) -> None:
        self._page = page
        self._at = at
        self._rows: dict[Key, _Row] = {}
        self._overflow = 0
        # Routes without their own row.
        self._other = self._add_row(_OTHER)

    def add(
        self,
        key: Key,
        counters: tuple[int, ...],
        now: float,
        seconds: float | None = None,
        age: float | None = None,
    ) -> None:
        """Count something.

        :param counters: The numbers of the counters that count it.
        :param now: The time, in seconds since the epoch.
        :param seconds: How long it took.
        :param age: How old it was, in seconds.
        """
        row = self._rows.get(key) or self._add_row(key)
        tick = int(now) // PERIOD_SECONDS
        if row.tick != tick:
            row.tick = tick
            row.period = [0] * COUNTERS
        for counter in counters:
            row.counts[counter] += 1
            row.period[counter] += 1
        if seconds is not None:
            row.seconds += seconds
            row.longest = max(row.longest, seconds)
        if age is not None:
            row.ages += age
            row.oldest = max(row.oldest, age)
        self._write(row, now)

    def _write(self, row: _Row, now: float) -> None:
        totals = TALLY_TOTALS.pack(
            *row.counts, row.seconds, row.longest, row.ages, row.oldest, now
        )
        at = row.at + TALLY_HEAD.size
        self._page[at : at + len(totals)] = totals
        period = TALLY_PERIOD.pack(row.tick, *row.period)
        at += len(totals) + row.tick % MINUTE_PERIODS * len(period)
        self._page[at : at + len(period)] = period

    def _add_row(self, key: Key) -> _Row:
        number = len(self._rows)
        if number >= TALLY_ROWS:
            return self._other
        row = self._rows[key] = _Row(
            self._at + TALLY_TOP.size + number * TALLY_ROW_BYTES
        )
        name, party = cut(key.name, _NAME_BYTES), cut(key.party, _PARTY_BYTES)
        head = TALLY_HEAD.pack(key.direction, len(name), len(party), name, party)
        self._page[row.at : row.at + len(head)] = head
        # A reader takes the number for the sign that the row has its name.
        self._write_top()
        return row

    def add_overflow(self, more: int) -> None:
        """Count units of work in flight that have no cell, or no longer."""
        self._overflow += more
        self._write_top()

    def _write_top(self) -> None:
        top = TALLY_TOP.pack(len(self._rows), self._overflow)
        self._page[self._at : self._at + len(top)] = top


class _Row:
    """The counts of one row."""

    __slots__ = (
        "ages",
        "at",
        "counts",
        "longest",
        "oldest",
        "period",
        "seconds",
        "tick",
    )

    def __init__(self, at: int) -> None:
        self.at = at
        self.counts = [0] * COUNTERS
        self.period = [0] * COUNTERS
        self.tick = -1
        self.seconds = self.longest = self.ages = self.oldest = 0.0


def tallies_in(data: bytes, first_tick: int, last_tick: int) -> Iterator[Tally]:
    """Yield the rows of a table that have counts.

    :param data: The table, as far as it is used.
    :param first_tick: The number of the first period of the last minute.
    :param last_tick: The number of the last one.
    """
    minute_at = first_tick * PERIOD_SECONDS
    for row in _ROW.iter_unpack(data[TALLY_TOP.size :]):
        counts = row[_TOTALS_AT:_SECONDS_AT]
        if not any(counts):
            continue
        direction, length, other_length, name, party = row[:_TOTALS_AT]
        key = Key(direction, text_of(name, length), text_of(party, other_length))
        times = row[_SECONDS_AT:_PERIODS_AT]
        minute = _NONE
        if times[-1] >= minute_at:
            minute = _minute_in(row[_PERIODS_AT:], first_tick, last_tick)
        yield Tally(key, counts, minute, *times)


def _minute_in(
    numbers: Sequence[int], first_tick: int, last_tick: int
) -> tuple[int, ...]:
    recent = [
        numbers[at + 1 : at + 1 + COUNTERS]
        for at in range(0, len(numbers), 1 + COUNTERS)
        if first_tick <= numbers[at] <= last_tick
    ]
    return tuple(map(sum, zip(*recent, strict=True))) or _NONE


def used_in(data: bytes) -> int:
    """Return how many rows a table has; the first one is of what has no other."""
    used: int = TALLY_TOP.unpack_from(data)[0]
    return max(1, min(used, TALLY_ROWS))


def overflow_in(data: bytes) -> int:
    """Return how many units of work in flight have no cell."""
    overflow: int = TALLY_TOP.unpack_from(data)[1]
    return overflow


def cut(text: str, most: int) -> bytes:
    """Return a text in UTF-8, of at most so many bytes."""
    return text.encode("utf-8", "backslashreplace")[:most]


def text_of(data: bytes, length: int) -> str:
    """Return a text that :func:`cut` may have cut within a character."""
    return data[:length].decode("utf-8", "ignore")
