"""The file of a worker: it has the requests, their counts and their records."""

from __future__ import annotations

import errno
import mmap
import os
import time
from collections.abc import Callable
from contextlib import suppress
from struct import Struct
from weakref import WeakSet
from zlib import crc32

from ..receivers.own_folder import OwnFolder
from ..receivers.paths import OTHER_ROUTES
from ..receivers.paths import UNMATCHED_ROUTE
from ._folder import hold
from ._folder import opened
from ._folder import remove_dead
from ._layout import bucket_of
from ._layout import BUCKETS
from ._layout import COUNTS
from ._layout import INDEX_ENTRY
from ._layout import INDEXED
from ._layout import Layout
from ._layout import LIVE_AT
from ._layout import LIVE_BYTES
from ._layout import live_bytes
from ._layout import MINUTE_PERIODS
from ._layout import NAME_BYTES
from ._layout import PERIOD_BYTES
from ._layout import PERIOD_SECONDS
from ._layout import PERIODS
from ._layout import RECORD_HEAD
from ._layout import RING_BYTES
from ._layout import SECOND
from ._layout import SECONDS
from ._layout import SLOT
from ._layout import SLOTS
from ._layout import Start
from ._layout import start_bytes
from ._layout import TICK
from ._layout import TOTALS
from ._list_file import write_list

__all__ = ["Closed", "WorkerFile"]

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL

# Module variables save an attribute look-up for each request.
_pack_second = SECOND.pack
_pack_totals = TOTALS.pack
_pack_counts = COUNTS.pack
_pack_count = Struct("<I").pack
_pack_head = RECORD_HEAD.pack
_pack_entry = INDEX_ENTRY.pack
_unpack_buckets = Struct(f"<{BUCKETS}I").unpack_from
_LIVE_END = LIVE_AT + LIVE_BYTES
_FREE = bytes(8)
_EMPTY_PERIOD = bytes(4 * BUCKETS)


class Closed:
    """A request that is over: the values to count, and its record."""

    # Class attributes are cheap defaults: most requests keep these.
    started_at: float = 0.0
    route: str | None = None
    is_failed: bool = False
    is_aborted: bool = False
    response_seconds: float | None = None
    has_referrer: bool = False
    record: bytes = b""
    """Empty if there were too many at once."""


class WorkerFile:
    """The file of this process: its size is fixed and reserved on the disk at once.

    Any thread may open and close slots. Only one thread at a time may call the other
    methods. Each value is written in one piece: with struct.pack_into, a reader could
    find a zero in between.

    :param folder: The folder that the file is made in.
    :param max_routes: The number of routes that have rows of their own.
    :param has_waterfall: Whether records have events.
    :param slow_seconds: The duration from which on a request is slow.
    :raises OSError: If the disk has no room, or the file cannot be made.
    """

    def __init__(
        self,
        folder: OwnFolder,
        max_routes: int,
        slow_seconds: float,
        *,
        has_waterfall: bool,
    ) -> None:
        remove_dead(folder)
        self._layout = layout = Layout(max_routes)
        self.pid = os.getpid()
        self.worker = f"{self.pid}-{time.time_ns():x}"
        now = time.time()
        start = Start(
            layout.size, max_routes, self.pid, has_waterfall, now, slow_seconds
        )
        name = f"{self.worker}.live"
        self._page, self._descriptor = _made(folder, name, layout.size)
        try:
            self._lists = opened(folder, f"{self.worker}.lists", _NEW)
        except BaseException:
            self._page.close()
            os.close(self._descriptor)
            folder.remove(name)
            raise
        self._versions: dict[str, int] = {}
        # The system provides all pages now, so that no request waits for one.
        self._page[:] = bytes(layout.size)
        self._free = [layout.slots + number * SLOT.size for number in range(SLOTS)]
        self._free.reverse()
        self._rows: dict[str | None, _Row] = {}
        self._requests = self.failed = self.aborted = 0
        self._sequence = self._overflow = self._route_count = 0
        self._ring_at = 0
        self._ended_at = 0.0
        self._period = -1
        self._add_row(None, UNMATCHED_ROUTE)
        self._other = self._add_row(OTHER_ROUTES, OTHER_ROUTES)
        self._second = self._begin_second(int(now))
        self._write_live(now)
        # It is written last: a reader takes it for the sign that the rest is complete.
        page_start = start_bytes(start)
        self._page[: len(page_start)] = page_start
        _files.add(self)

    def open_slot(self, started_at: float, method: str, path: str) -> int:
        """Write that a request is in flight.

        :returns: Its slot; -1 if there is none.
        """
        try:
            slot = self._free.pop()
        except IndexError:
            return -1
        text = path.encode("utf-8", "backslashreplace")[:224]
        data = SLOT.pack(started_at, 0, len(text), method.encode(), text)
        # The start time marks the slot as used, so it is written last.
        self._page[slot + 8 : slot + SLOT.size] = data[8:]
        self._page[slot : slot + 8] = data[:8]
        return slot

    def set_status(self, slot: int, status: int) -> None:
        """Write that the response to a request in flight begins."""
        if self._page.closed:
            return
        self._page[slot + 8 : slot + 10] = (status & 0xFFFF).to_bytes(2, "little")

    def close_slot(self, slot: int) -> None:
        """Write that a request is no longer in flight."""
        self._page[slot : slot + 8] = _FREE
        self._free.append(slot)

    def touch(self, at: float, overflow: int = 0) -> None:
        """Write that a request has begun.

        :param at: When, in seconds since the epoch.
        :param overflow: 1 if there was no slot for it.
        """
        self._overflow += overflow
        self._write_live(at)

    def close(self, closed: Closed, overflow: int) -> float:
        """Write that a request is over.

        :param closed: The request.
        :param overflow: 1 if there was no slot for it.
        :returns: The time, in seconds since the epoch.
        """
        now = time.time()
        self._overflow -= overflow
        second = self._second
        if not second.tick <= now < second.tick + 1:
            second = self._second = self._begin_second(int(now))
        # Most routes have a row already, so the fast look-up comes first.
        row = self._rows.get(closed.route) or self._row_of(closed.route)
        if row.tick != second.period:
            self._begin_row(row, second.period)
        self._requests += 1
        second.requests += 1
        row.requests += 1
        row.minute_requests += 1
        if closed.is_failed or closed.is_aborted:
            for one in (self, second, row):
                one.failed += closed.is_failed
                one.aborted += closed.is_aborted
            row.minute_failed += closed.is_failed
            row.minute_aborted += closed.is_aborted
        self._write_counts(second, row, closed.response_seconds)
        self._add_record(closed)
        self._write_live(now)
        return now

    def _write_counts(self, second: _Second, row: _Row, seconds: float | None) -> None:
        page = self._page
        page[second.at : second.end] = _pack_second(
            second.tick, second.requests, second.failed, second.aborted
        )
        page[row.totals_at : row.totals_end] = _pack_totals(
            row.requests, row.failed, row.aborted
        )
        page[row.counts_at : row.counts_end] = _pack_counts(
            row.minute_requests, row.minute_failed, row.minute_aborted
        )
        if seconds is None:
            return
        bucket = bucket_of(seconds)
        row.buckets[bucket] = count = row.buckets[bucket] + 1
        at = row.buckets_at + 4 * bucket
        page[at : at + 4] = _pack_count(count)
        self._buckets[bucket] = count = self._buckets[bucket] + 1
        at = self._buckets_at + 4 * bucket
        page[at : at + 4] = _pack_count(count)

    def write_list(self, kind: str, data: bytes) -> None:
        """Write lists.

        :raises OSError: If the disk has no room; the earlier lists remain.
        """
        version = self._versions.get(kind, 0) + 1
        write_list(self._lists, kind, version, data)
        self._versions[kind] = version

    def end(self) -> None:
        """Write that the worker ends in order, and close the file."""
        if self.pid == os.getpid() and not self._page.closed:
            self._ended_at = time.time()
            self._write_live(self._ended_at)
        self.let_go()

    def let_go(self) -> None:
        """Close the file; a forked process does so with its copy, too."""
        _files.discard(self)
        self._free.clear()
        if not self._page.closed:
            self._page.close()
            for descriptor in (self._descriptor, self._lists):
                with suppress(OSError):
                    os.close(descriptor)

    @property
    def is_open(self) -> bool:
        """Return whether the file can be written."""
        return not self._page.closed

    def _begin_second(self, tick: int) -> _Second:
        """Return the counts of a second: 0, or those in the file already."""
        at = self._layout.seconds + tick % SECONDS * SECOND.size
        second = _Second(tick, at)
        known, *counts = SECOND.unpack_from(self._page, at)
        if known == tick:
            second.requests, second.failed, second.aborted = counts
        if second.period != self._period:
            self._begin_period(second.period)
        return second

    def _begin_period(self, tick: int) -> None:
        page, layout = self._page, self._layout
        at = layout.periods + tick % PERIODS * PERIOD_BYTES
        if TICK.unpack_from(page, at)[0] != tick:
            page[at : at + PERIOD_BYTES] = TICK.pack(tick) + _EMPTY_PERIOD
        self._period = tick
        self._buckets_at = at + TICK.size
        self._buckets = _buckets_at(page, self._buckets_at)
        at = layout.minute + tick % MINUTE_PERIODS * layout.minute_bytes
        if TICK.unpack_from(page, at)[0] != tick:
            empty = bytes(layout.minute_bytes - TICK.size)
            page[at : at + layout.minute_bytes] = TICK.pack(tick) + empty
        self._minute_at = at + TICK.size

    def _begin_row(self, row: _Row, tick: int) -> None:
        row.tick = tick
        row.counts_at = self._minute_at + row.number * COUNTS.size
        row.counts_end = row.counts_at + COUNTS.size
        row.minute_requests, row.minute_failed, row.minute_aborted = COUNTS.unpack_from(
            self._page, row.counts_at
        )
        row.buckets_at = (
            self._minute_at + self._layout.rows * COUNTS.size + 4 * BUCKETS * row.number
        )
        row.buckets = _buckets_at(self._page, row.buckets_at)

    def _row_of(self, route: str | None) -> _Row:
        if self._route_count >= self._layout.rows:
            return self._other
        name = UNMATCHED_ROUTE if route is None else route
        return self._add_row(route, name)

    def _add_row(self, route: str | None, name: str) -> _Row:
        number = self._route_count
        row = _Row(number, self._layout.totals + number * TOTALS.size)
        self._rows[route] = row
        self._add_name(name, number)
        self._route_count = number + 1
        return row

    def _add_name(self, name: str, row: int) -> None:
        text = name.encode("utf-8", "backslashreplace")[: NAME_BYTES - 2]
        data = len(text).to_bytes(2, "little") + text
        at = self._layout.names + row * NAME_BYTES
        self._page[at : at + len(data)] = data

    def _add_record(self, closed: Closed) -> None:
        page, layout = self._page, self._layout
        self._sequence = sequence = self._sequence + 1
        record = closed.record
        if not record:
            return
        data = _pack_head(sequence, crc32(record)) + record
        length = len(data)
        ring_at = self._ring_at
        if ring_at + length > RING_BYTES:
            ring_at = 0
        at = layout.ring + ring_at
        page[at : at + length] = data
        at = layout.index + sequence % INDEXED * 24
        page[at : at + 24] = _pack_entry(sequence, closed.started_at, ring_at, length)
        self._ring_at = ring_at + length

    def _write_live(self, last_at: float) -> None:
        self._page[LIVE_AT:_LIVE_END] = live_bytes(
            last_at,
            self._requests,
            self.failed,
            self.aborted,
            self._sequence,
            self._route_count,
            self._overflow,
            self._ended_at,
        )


class _Second:
    """The counts of one second."""

    __slots__ = ("aborted", "at", "end", "failed", "period", "requests", "tick")

    def __init__(self, tick: int, at: int) -> None:
        self.tick = tick
        self.period = tick // PERIOD_SECONDS
        self.at, self.end = at, at + SECOND.size
        self.requests = self.failed = self.aborted = 0


class _Row:
    """The counts of one route: since the start, and in a period."""

    __slots__ = (
        "aborted",
        "buckets",
        "buckets_at",
        "counts_at",
        "counts_end",
        "failed",
        "minute_aborted",
        "minute_failed",
        "minute_requests",
        "number",
        "requests",
        "tick",
        "totals_at",
        "totals_end",
    )

    def __init__(self, number: int, totals_at: int) -> None:
        self.number = number
        self.totals_at, self.totals_end = totals_at, totals_at + TOTALS.size
        self.requests = self.failed = self.aborted = 0
        self.tick = -1
        self.minute_requests = self.minute_failed = self.minute_aborted = 0
        self.counts_at = self.counts_end = self.buckets_at = 0
        self.buckets: list[int] = []


def _buckets_at(page: mmap.mmap, at: int) -> list[int]:
    return [*_unpack_buckets(page, at)]


def _made(folder: OwnFolder, name: str, size: int) -> tuple[mmap.mmap, int]:
    """Make a file, lock it, and return its memory and its descriptor."""
    descriptor = opened(folder, name, _NEW)
    try:
        hold(descriptor)
        _reserve(descriptor, size)
        return mmap.mmap(descriptor, size), descriptor
    except BaseException:
        os.close(descriptor)
        with suppress(OSError):
            folder.remove(name)
        raise


def _reserve(descriptor: int, size: int) -> None:
    """Set the size of a file, and reserve room on the disk for it.

    In a sparse file, a write to a page without room on the disk ends the process.
    """
    fallocate: Callable[[int, int, int], None] | None
    fallocate = getattr(os, "posix_fallocate", None)
    try:
        if fallocate is not None:
            fallocate(descriptor, 0, size)
            return
    except OSError as error:
        # Some file systems cannot reserve room.
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
    block = bytes(1 << 16)
    done = 0
    while done < size:
        done += os.write(descriptor, block[: size - done])


_files: WeakSet[WorkerFile] = WeakSet()


def _let_go_of_all() -> None:
    """Close the files of the parent in a forked process."""
    for file in [*_files]:
        file.let_go()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_of_all)
