"""Where everything is in the file of a worker, and what durations are counted by."""

from __future__ import annotations

import zlib
from math import log2
from struct import Struct
from typing import Final
from typing import NamedTuple

__all__ = [
    "BUCKETS",
    "COUNTS",
    "HISTORY_SECONDS",
    "INDEXED",
    "INDEX_ENTRY",
    "LIVE_AT",
    "LIVE_BYTES",
    "MINUTE_PERIODS",
    "NAME_BYTES",
    "PERIODS",
    "PERIOD_BYTES",
    "PERIOD_SECONDS",
    "QUANTILE_ERROR",
    "RECORD_HEAD",
    "RING_BYTES",
    "SECOND",
    "SECONDS",
    "SLOT",
    "SLOTS",
    "TICK",
    "TOTALS",
    "Layout",
    "LiveFields",
    "Start",
    "bucket_of",
    "live_bytes",
    "live_fields",
    "middle_of",
    "start_bytes",
    "start_of",
]

_MAGIC: Final = b"splive\r\n"
_VERSION: Final = 2

HISTORY_SECONDS: Final = 600
"""How long the charts reach back, and how long files of dead workers are kept."""

SECONDS: Final = HISTORY_SECONDS
PERIOD_SECONDS: Final = 5
PERIODS: Final = HISTORY_SECONDS // PERIOD_SECONDS
MINUTE_PERIODS: Final = 12
"""How many periods are kept of each route: a minute."""

_STEPS: Final = 4
_LOWEST: Final = -14
BUCKETS: Final = 80
"""How many buckets a histogram has: four for each doubling from 2**-14 s to 2**6 s."""

QUANTILE_ERROR: Final = 2 ** (1 / (2 * _STEPS)) - 1
"""How far a quantile may be off, as a share of the true one: about 9 %."""

SLOTS: Final = 64
SLOT: Final = Struct("<dHH20s224s")
"""A request in flight: when it started (0 for none), status, length of the path in
bytes, method, path."""

SECOND: Final = Struct("<IIII")
"""Of a second: its number, requests, failed ones, aborted ones."""

TICK: Final = Struct("<Q")
PERIOD_BYTES: Final = 8 + 4 * BUCKETS

NAME_BYTES: Final = 256
TOTALS: Final = Struct("<QQQ")
COUNTS: Final = Struct("<III")

INDEXED: Final = 512
"""How many records the index has."""
INDEX_ENTRY: Final = Struct("<QdII")
"""Of a record: its sequence number, when its request started, place and length."""
RING_BYTES: Final = 1 << 20
RECORD_HEAD: Final = Struct("<QI")
"""What comes before a record: its sequence number, and the checksum of its text."""

_FIXED: Final = Struct("<8sIIIIIddI")
LIVE_AT: Final = 64
_LIVE: Final = Struct("<dQQQQIId")
LIVE_BYTES: Final = _LIVE.size
_HEADER_BYTES: Final = 128


class Start(NamedTuple):
    """What a file begins with, and what never changes."""

    size: int
    """The size of the file, in bytes."""
    max_routes: int
    pid: int
    has_waterfall: bool
    started_at: float
    slow_seconds: float


class LiveFields(NamedTuple):
    """What changes with each request."""

    last_at: float
    """When a request was last opened or closed, in seconds since the epoch."""
    requests: int
    failed: int
    aborted: int
    sequence: int
    """The number of the last record; they are counted from 1."""
    route_count: int
    overflow: int
    """How many requests are in flight for which there is no slot."""
    ended_at: float
    """When the worker has ended in order; 0 before."""


def start_bytes(start: Start) -> bytes:
    """Return what a file begins with."""
    fields = (_MAGIC, _VERSION, *start[:3], int(start.has_waterfall), *start[4:])
    check = zlib.crc32(_FIXED.pack(*fields, 0))
    return _FIXED.pack(*fields, check)


def start_of(data: bytes) -> Start:
    """Return what a file begins with.

    :raises ValueError: If it is none of ours, of another version, or damaged; the
        message has the reason.
    """
    if len(data) < _HEADER_BYTES or data[:8] != _MAGIC:
        raise ValueError("it is no file of a live recorder")
    *fields, check = _FIXED.unpack_from(data)
    if fields[1] != _VERSION:
        raise ValueError(f"it has the version {fields[1]}, and {_VERSION} is read")
    if zlib.crc32(_FIXED.pack(*fields, 0)) != check:
        raise ValueError("its beginning is damaged")
    _, _, size, max_routes, pid, flags, started_at, slow_seconds = fields
    return Start(size, max_routes, pid, bool(flags), started_at, slow_seconds)


live_bytes = _LIVE.pack
"""Returns the fields that change, as they are written."""


def live_fields(data: bytes) -> LiveFields:
    """Return the fields that change."""
    return LiveFields(*_LIVE.unpack_from(data, LIVE_AT))


class Layout:
    """Where the parts of a file are, in bytes from its beginning.

    :param max_routes: How many routes have rows of their own.
    """

    __slots__ = (
        "index",
        "minute",
        "minute_bytes",
        "names",
        "periods",
        "ring",
        "rows",
        "seconds",
        "size",
        "slots",
        "totals",
    )

    def __init__(self, max_routes: int) -> None:
        self.rows = max_routes + 2
        self.slots = _HEADER_BYTES
        self.seconds = self.slots + SLOTS * SLOT.size
        self.periods = self.seconds + SECONDS * SECOND.size
        self.names = self.periods + PERIODS * PERIOD_BYTES
        self.totals = self.names + self.rows * NAME_BYTES
        self.minute = self.totals + self.rows * TOTALS.size
        # Per period: its number, the counts of all routes, their histograms.
        self.minute_bytes = 8 + self.rows * (COUNTS.size + 4 * BUCKETS)
        self.index = self.minute + MINUTE_PERIODS * self.minute_bytes
        self.ring = self.index + INDEXED * INDEX_ENTRY.size
        self.size = self.ring + RING_BYTES


def bucket_of(seconds: float) -> int:
    """Return the bucket that a duration is counted in."""
    if seconds <= 2.0**_LOWEST:
        return 0
    return min(BUCKETS - 1, int((log2(seconds) - _LOWEST) * _STEPS))


def middle_of(bucket: int) -> float:
    """Return the duration that stands for a bucket, in seconds."""
    return float(2.0 ** (_LOWEST + (bucket + 0.5) / _STEPS))
