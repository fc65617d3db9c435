"""The layout of a worker's file, and the buckets that durations are counted in.

Numbers have the byte order of the machine, as only its own processes read the file. So
a single number is written through a view of the file, without bytes in between.
"""

from __future__ import annotations

import zlib
from struct import Struct
from typing import Final
from typing import NamedTuple

__all__ = [
    "ABORTED",
    "BOUNDS",
    "BUCKETS",
    "CELL",
    "CELLS",
    "CELL_HEAD",
    "CELL_NUMBERS",
    "CELL_VALUES",
    "COUNTERS",
    "COUNTS",
    "ENDED_AT",
    "FAILED",
    "FAULT",
    "FAULTS",
    "HISTORY_SECONDS",
    "IN_FLIGHT",
    "LAST_AT",
    "MARK_BYTES",
    "MINUTE_PERIODS",
    "NAME_BYTES",
    "NEWEST",
    "OLDEST",
    "OVERFLOW",
    "PATH_BYTES",
    "PERIODS",
    "PERIOD_BYTES",
    "PERIOD_SECONDS",
    "QUANTILE_ERROR",
    "QUEUE",
    "QUEUES",
    "RECORDS",
    "RING_BYTES",
    "ROUTE_COUNT",
    "SECOND",
    "SECONDS",
    "TALLY_HEAD",
    "TALLY_MINUTE",
    "TALLY_PERIOD",
    "TALLY_ROWS",
    "TALLY_ROW_BYTES",
    "TALLY_TOP",
    "TALLY_TOTALS",
    "TICK",
    "TOTALS",
    "WORKED",
    "WORKED_AND_RECORDS",
    "Layout",
    "LiveFields",
    "Start",
    "live_fields",
    "middle_of",
    "start_bytes",
    "start_of",
]

_MAGIC: Final = b"splive\r\n"
_VERSION: Final = 8

HISTORY_SECONDS: Final = 600
"""The length of the charts, and the time that files of dead workers are kept."""

SECONDS: Final = HISTORY_SECONDS
PERIOD_SECONDS: Final = 5
PERIODS: Final = HISTORY_SECONDS // PERIOD_SECONDS
MINUTE_PERIODS: Final = 12
"""The number of periods that each route has: one minute."""

_STEPS: Final = 4
_LOWEST: Final = -14
BUCKETS: Final = 80
"""The buckets of a histogram: four for each doubling from 2**-14 s to 2**6 s."""

BOUNDS: Final = tuple(2.0 ** (_LOWEST + n / _STEPS) for n in range(1, BUCKETS))
"""The least duration of each bucket but the first, in seconds."""

QUANTILE_ERROR: Final = 2 ** (1 / (2 * _STEPS)) - 1
"""The largest error of a quantile, as a share of the true one: about 9 %."""

IN_FLIGHT: Final = 64
"""The number of requests in flight that have a cell."""
CELLS: Final = 512 + IN_FLIGHT
"""The number of cells: of requests in flight, and of those that closed last."""

MARK_BYTES: Final = 8
"""A cell has a mark: 0 for an unused cell; the time when a request in flight started,
as a float; the sequence number of a closed request, as an integer. It is written last,
and cleared before the cell is written again: a cell whose mark is the same before and
after it was read is whole."""
OLDEST: Final = 1.0
NEWEST: Final = 1e11
"""When a request can have started. A computer without a battery for its clock may start
in 1970. The integers that have the bytes of such a float are larger than any sequence
number."""

PATH_BYTES: Final = 224
_HEAD_FORM: Final = f"dH2x20s{PATH_BYTES}s"
_NUMBERS_FORM: Final = "qqIdddddddIIIIIII"
CELL_HEAD: Final = Struct(f"={_HEAD_FORM}")
"""The part that is written when a request is opened: when it started, status, method,
path. The texts are cut, or end with null characters."""
CELL_NUMBERS: Final = Struct(f"={_NUMBERS_FORM}")
"""The part that is written when it has closed: the numbers of its record, the row of
its route, and the place, length and Adler-32 checksum of its part of the ring."""
CELL: Final = Struct(f"={_HEAD_FORM}{_NUMBERS_FORM}")
CELL_VALUES: Final = Struct(f"={_HEAD_FORM}{_NUMBERS_FORM.removesuffix('IIII')}")
"""A cell without its last four numbers: the row, and what is in the ring."""

SECOND: Final = Struct("=IIII")
"""The counts of a second: its number, requests, failed ones, aborted ones."""

TICK: Final = Struct("=Q")
PERIOD_BYTES: Final = 8 + 4 * BUCKETS

NAME_BYTES: Final = 256
TOTALS: Final = Struct("=QQQ")
COUNTS: Final = Struct("=III")

RING_BYTES: Final = 3 << 18
"""The room for what few requests have: events, and further texts."""

_FIXED: Final = Struct("=8sIIIIIddI")
LIVE_AT: Final = 64
_LIVE: Final = Struct("=dQQQQIId")
LIVE_BYTES: Final = _LIVE.size

# Where the fields of LiveFields are, in numbers of their size from the beginning.
LAST_AT: Final = LIVE_AT // 8
FAILED: Final = LAST_AT + 1
WORKED: Final = LAST_AT + 2
RECORDS: Final = LAST_AT + 3
ABORTED: Final = LAST_AT + 4
ROUTE_COUNT: Final = 2 * (LAST_AT + 5)
OVERFLOW: Final = ROUTE_COUNT + 1
ENDED_AT: Final = LAST_AT + 6
_HEADER_BYTES: Final = 128

WORKED_AND_RECORDS: Final = Struct("=QQ")
"""Both fields, at a place where a processor writes them at once."""

COUNTERS: Final = 8
"""The number of counters of a row for work or for events."""
TALLY_ROWS: Final = 64
TALLY_HEAD: Final = Struct("=BxHH2x200s104s")
"""Such a row: a direction, the lengths of two texts in bytes, the texts."""
TALLY_TOTALS: Final = Struct(f"={COUNTERS}Qddddd")
"""Its counters since the start, seconds in all and at most, ages in all and at most,
when it was last written."""
TALLY_PERIOD: Final = Struct(f"=I{COUNTERS}I")
"""Its counters of a period: the number of the period, then as the totals begin."""
TALLY_MINUTE: Final = MINUTE_PERIODS * TALLY_PERIOD.size
TALLY_ROW_BYTES: Final = TALLY_HEAD.size + TALLY_TOTALS.size + TALLY_MINUTE
TALLY_TOP: Final = Struct("=II")
"""The start of a table: how many of its rows are used, and how many units of work in
flight have no cell."""
_TALLY_BYTES: Final = TALLY_TOP.size + TALLY_ROWS * TALLY_ROW_BYTES

QUEUES: Final = 8
QUEUE: Final = Struct("=IH2xQQd104s")
"""The queue of a relay: checksum of the rest, length of its name, events that wait,
dropped ones, when the oldest one was sent, name."""
FAULTS: Final = 20
FAULT: Final = Struct("=IBxHHHIIdd200s104s804s")
"""A failure in the relay: checksum of the rest, kind, the lengths of three texts,
tries, times, when it was first and last, signal, source or group, reason."""


class Start(NamedTuple):
    """The fields at the beginning of a file, which never change."""

    size: int
    """The size of the file, in bytes."""
    max_routes: int
    pid: int
    has_waterfall: bool
    started_at: float
    slow_seconds: float


class LiveFields(NamedTuple):
    """The fields that change with each request."""

    last_at: float
    """The time when a request was last opened or closed, in seconds since the epoch."""
    failed: int
    worked: int
    """The number of units of work that have ended."""
    records: int
    """The number of requests and units of work that have ended, which is also the
    sequence number of the last record."""
    aborted: int
    route_count: int
    overflow: int
    """The number of requests in flight that have no cell."""
    ended_at: float
    """The time when the worker has ended in order; 0 before."""

    @property
    def requests(self) -> int:
        """The number of requests that have closed."""
        return max(self.records - self.worked, 0)


def start_bytes(start: Start) -> bytes:
    """Return the bytes that a file begins with."""
    fields = (_MAGIC, _VERSION, *start[:3], int(start.has_waterfall), *start[4:])
    check = zlib.crc32(_FIXED.pack(*fields, 0))
    return _FIXED.pack(*fields, check)


def start_of(data: bytes) -> Start:
    """Return the fields that a file begins with.

    :raises ValueError: If the file is not a worker's, has another version, or is
        damaged; the message has the reason.
    """
    if len(data) < _HEADER_BYTES or data[:8] != _MAGIC:
        raise ValueError("it is not a file of a live recorder")
    *fields, check = _FIXED.unpack_from(data)
    if fields[1] != _VERSION:
        raise ValueError(f"it has the version {fields[1]}, and {_VERSION} is read")
    if zlib.crc32(_FIXED.pack(*fields, 0)) != check:
        raise ValueError("its beginning is damaged")
    _, _, size, max_routes, pid, flags, started_at, slow_seconds = fields
    return Start(size, max_routes, pid, bool(flags), started_at, slow_seconds)


def live_fields(data: bytes) -> LiveFields:
    """Return the fields that change."""
    return LiveFields(*_LIVE.unpack_from(data, LIVE_AT))


class Layout:
    """The places of the parts of a file, in bytes from its beginning.

    :param max_routes: The number of routes that have their own rows.
    """

    __slots__ = (
        "cells",
        "faults",
        "marks",
        "minute",
        "minute_bytes",
        "names",
        "periods",
        "queues",
        "relay",
        "ring",
        "rows",
        "seconds",
        "size",
        "totals",
        "work",
    )

    def __init__(self, max_routes: int) -> None:
        self.rows = max_routes + 2
        self.seconds = _HEADER_BYTES
        self.periods = self.seconds + SECONDS * SECOND.size
        self.names = self.periods + PERIODS * PERIOD_BYTES
        self.totals = self.names + self.rows * NAME_BYTES
        self.minute = self.totals + self.rows * TOTALS.size
        # A period has its number, the counts of all routes, and their histograms.
        self.minute_bytes = 8 + self.rows * (COUNTS.size + 4 * BUCKETS)
        self.work = self.minute + MINUTE_PERIODS * self.minute_bytes
        self.relay = self.work + _TALLY_BYTES
        self.queues = self.relay + _TALLY_BYTES
        self.faults = self.queues + QUEUES * QUEUE.size
        self.marks = self.faults + FAULTS * FAULT.size
        self.cells = self.marks + CELLS * MARK_BYTES
        self.ring = self.cells + CELLS * CELL.size
        self.size = self.ring + RING_BYTES


def middle_of(bucket: int) -> float:
    """Return the duration in the middle of a bucket, in seconds."""
    return float(2.0 ** (_LOWEST + (bucket + 0.5) / _STEPS))
