"""The file of a worker: it has the requests, their counts and their records."""

from __future__ import annotations

import mmap
import os
import time
from bisect import bisect_right
from collections import deque
from contextlib import suppress
from pathlib import Path
from sys import byteorder
from typing import Final
from weakref import WeakSet
from zlib import adler32

from ..receivers.own_files import hold
from ..receivers.own_files import opened
from ..receivers.own_files import reserve
from ..receivers.own_folder import OwnFolder
from ..receivers.paths import OTHER_ROUTES
from ..receivers.paths import UNMATCHED_ROUTE
from ._cells import Cell
from ._cells import Closed
from ._folder import NEW_SUFFIX
from ._folder import remove_dead
from ._layout import ABORTED
from ._layout import BOUNDS
from ._layout import BUCKETS
from ._layout import CELL_HEAD
from ._layout import CELLS
from ._layout import COUNTS
from ._layout import ENDED_AT
from ._layout import FAILED
from ._layout import IN_FLIGHT
from ._layout import LAST_AT
from ._layout import Layout
from ._layout import MINUTE_PERIODS
from ._layout import NAME_BYTES
from ._layout import OVERFLOW
from ._layout import PERIOD_BYTES
from ._layout import PERIOD_SECONDS
from ._layout import PERIODS
from ._layout import RECORDS
from ._layout import RING_BYTES
from ._layout import ROUTE_COUNT
from ._layout import SECOND
from ._layout import SECONDS
from ._layout import Start
from ._layout import start_bytes
from ._layout import TICK
from ._layout import TOTALS
from ._layout import WORKED
from ._layout import WORKED_AND_RECORDS
from ._list_file import write_list
from ._records import pack_place
from ._records import with_route
from ._relay_file import Faults
from ._relay_file import Queues
from ._tallies import Key
from ._tallies import Tallies
from ._tallies import WORK_ABORTED
from ._tallies import WORK_DONE
from ._tallies import WORK_FAILED
from ._text import fit_or_none
from ._text import known_fit

__all__ = ["WorkerFile"]

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL

_LONGEST_METHOD: Final = 20

# Module variables save an attribute look-up for each request.
_pack_head = CELL_HEAD.pack


class WorkerFile:
    """The file of this process: its size is fixed and reserved on the disk at once.

    ``work``, ``relay``, ``queues`` and ``faults`` write what is not of requests.

    Any thread may open and release cells. Only one thread at a time may call the other
    methods. Each value is written in one piece, by a slice or by a view of the numbers
    in the file: with struct.pack_into, a reader could find a zero in between.

    :param folder: The folder that the file is made in.
    :param max_routes: The number of routes that have their own rows.
    :param has_waterfall: Whether records have events.
    :param slow_seconds: The duration from which on a request is slow.
    :raises OSError: If the disk has no room, or the file cannot be made.
    """

    second: _Second
    """The second that is counted now."""

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
        self._make_files(folder)
        self._versions: dict[str, int] = {}
        self.is_open = True
        # The system provides all pages now, so that no request waits for one.
        self._page[:] = bytes(layout.size)
        view = memoryview(self._page)
        self._shorts, self._ints = view.cast("H"), view.cast("I")
        self._longs, self._doubles = view.cast("Q"), view.cast("d")
        self._views = (self._shorts, self._ints, self._longs, self._doubles, view)
        cells = [Cell(layout, number) for number in range(CELLS)]
        self._free = cells[:IN_FLIGHT]
        # Those of closed requests, the oldest first, and before them unused ones.
        self._recent = deque(cells[IN_FLIGHT:])
        self._rows: dict[str | None, _Row] = {}
        self._sequence = self._overflow = self._route_count = 0
        self._ring_at = 0
        self._period = -1
        self._add_row(None, UNMATCHED_ROUTE)
        self._other = self._add_row(OTHER_ROUTES, OTHER_ROUTES)
        self.second = self._begin_second(int(now))
        self._begin_beside(layout)
        self._doubles[LAST_AT] = now
        # It is written last: a reader takes it for the sign that the rest is complete.
        page_start = start_bytes(start)
        self._page[TICK.size : len(page_start)] = page_start[TICK.size :]
        self._page[: TICK.size] = page_start[: TICK.size]
        _files.add(self)

    def _make_files(self, folder: OwnFolder) -> None:
        """Create both files of the worker, or none."""
        name = f"{self.worker}.live"
        self._page, self._descriptor = _made(folder, name, self._layout.size)
        try:
            self._lists = opened(folder, f"{self.worker}.lists", _NEW)
        except BaseException:
            self._page.close()
            os.close(self._descriptor)
            folder.remove(name)
            raise

    def _begin_beside(self, layout: Layout) -> None:
        self.work = Tallies(self._page, layout.work)
        self.relay = Tallies(self._page, layout.relay)
        self.queues = Queues(self._page, layout.queues)
        self.faults = Faults(self._page, layout.faults)

    def open_cell(self, started_at: float, method: str, path: str) -> Cell | None:
        """Write that a request is in flight.

        :param path: Its path, printable.
        :returns: Its cell; ``None`` if there is none, or if the file is closed.
        """
        try:
            data = _pack_head(started_at, 0, method.encode(), path.encode())
        except Exception:  # noqa: BLE001  # a receiver may have set any value
            started_at, data = _checked_head(started_at, method, path)
        try:
            cell = self._free.pop()
            # Before the texts are written, so that no reader takes them for the earlier
            # request's.
            self._longs[cell.mark] = 0
            self._page[cell.at : cell.numbers_at] = data
            self._doubles[cell.mark] = started_at
        except (IndexError, ValueError):
            # None is free; or another thread has just closed the file.
            return None
        return cell

    def set_status(self, cell: Cell, status: int) -> None:
        """Write that the response to a request in flight begins."""
        try:
            self._shorts[cell.status_at] = status & 0xFFFF
        except ValueError:
            # The file is closed, perhaps by another thread just now.
            return

    def release(self, cell: Cell) -> None:
        """Write that a request is no longer in flight, without a record."""
        with suppress(ValueError):
            self._longs[cell.mark] = 0
            self._free.append(cell)

    def touch(self, at: float, overflow: int = 0) -> None:
        """Write that a request has begun, or that something else was recorded.

        :param at: When, in seconds since the epoch.
        :param overflow: 1 if there was no cell for it; -1 at the end of that.
        """
        self._overflow += overflow
        self._ints[OVERFLOW] = self._overflow
        self._doubles[LAST_AT] = at

    @property
    def requests(self) -> int:
        """How many requests have closed."""
        return self._sequence - self._longs[WORKED]

    def close(self, closed: Closed) -> _Second:
        """Write that a request has closed.

        :param closed: The request. If it has a cell, it is one of this file.
        :returns: The second in which it has closed.
        """
        now = time.time()
        second = self.second
        if not second.tick <= now < second.end:
            second = self.second = self._begin_second(int(now))
        row = second.rows.get(closed.route) or self._row_in(second, closed.route)
        ints = self._ints
        self._longs[row.totals_at] += 1
        ints[second.counts_at] += 1
        ints[row.counts_at] += 1
        if closed.is_failed or closed.is_aborted:
            self._count_failed(closed, second, row)
        seconds = closed.response_seconds
        if seconds is not None:
            bucket = bisect_right(BOUNDS, seconds)
            ints[row.buckets_at + bucket] += 1
            ints[second.buckets_at + bucket] += 1
        self._add_record(closed, row)
        # After everything else, and readers read it first: so each request that they
        # count is in all that they read.
        self._longs[RECORDS] = self._sequence
        self._doubles[LAST_AT] = now
        return second

    def close_work(self, closed: Closed, seconds: float) -> None:
        """Write that a unit of work has ended; it does not count as a request.

        :param closed: The work; its route is its name.
        :param seconds: How long it took.
        """
        now = time.time()
        key = Key(0, closed.route or OTHER_ROUTES)
        counters = (
            WORK_DONE,
            *((WORK_FAILED,) if closed.is_failed else ()),
            *((WORK_ABORTED,) if closed.is_aborted else ()),
        )
        self.work.add(key, counters, now, seconds)
        self._add_record(closed, self._other)
        # In one piece: each other record counts as a request.
        at, worked = 8 * WORKED, self._longs[WORKED] + 1
        counts = WORKED_AND_RECORDS.pack(worked, self._sequence)
        self._page[at : at + len(counts)] = counts
        self._doubles[LAST_AT] = now

    def _count_failed(self, closed: Closed, second: _Second, row: _Row) -> None:
        ints, longs = self._ints, self._longs
        longs[row.totals_at + 1] += closed.is_failed
        longs[row.totals_at + 2] += closed.is_aborted
        for at in (second.counts_at, row.counts_at):
            ints[at + 1] += closed.is_failed
            ints[at + 2] += closed.is_aborted
        # These are last, as for RECORDS.
        longs[FAILED] += closed.is_failed
        longs[ABORTED] += closed.is_aborted

    def write_list(self, kind: str, data: bytes) -> None:
        """Write lists.

        :raises OSError: If the disk has no room; the earlier lists remain.
        """
        version = self._versions.get(kind, 0) + 1
        write_list(self._lists, kind, version, data)
        self._versions[kind] = version

    def end(self) -> None:
        """Write that the worker ends in order, and close the file."""
        if self.pid == os.getpid() and self.is_open:
            self._doubles[ENDED_AT] = self._doubles[LAST_AT] = time.time()
        self.let_go()

    def let_go(self) -> None:
        """Close the file; a forked process does so with its copy, too."""
        _files.discard(self)
        self._free.clear()
        if self.is_open:
            self.is_open = False
            for view in self._views:
                view.release()
            self._page.close()
            for descriptor in (self._descriptor, self._lists):
                with suppress(OSError):
                    os.close(descriptor)

    def _begin_second(self, tick: int) -> _Second:
        """Return where a second is counted: from 0, or from what it has already."""
        at = self._layout.seconds + tick % SECONDS * SECOND.size
        if SECOND.unpack_from(self._page, at)[0] != tick:
            self._page[at : at + SECOND.size] = SECOND.pack(tick, 0, 0, 0)
        period = tick // PERIOD_SECONDS
        if period != self._period:
            self._begin_period(period)
        return _Second(tick, period, at // 4 + 1, self._buckets_at)

    def _begin_period(self, tick: int) -> None:
        page, layout = self._page, self._layout
        at = layout.periods + tick % PERIODS * PERIOD_BYTES
        if TICK.unpack_from(page, at)[0] != tick:
            _begin_table(page, at, tick, PERIOD_BYTES)
        self._period = tick
        self._buckets_at = (at + TICK.size) // 4
        at = layout.minute + tick % MINUTE_PERIODS * layout.minute_bytes
        if TICK.unpack_from(page, at)[0] != tick:
            _begin_table(page, at, tick, layout.minute_bytes)
        self._minute_at = at + TICK.size

    def _row_in(self, second: _Second, route: str | None) -> _Row:
        """Return where a route is counted in a second's period."""
        text = known_fit(route)
        row = self._rows.get(text) or self._row_of(text)
        if row.tick != second.period:
            self._begin_row(row, second.period)
        if row is not self._other:
            second.rows[route] = row
        return row

    def _begin_row(self, row: _Row, tick: int) -> None:
        row.tick = tick
        rows, at = self._layout.rows, self._minute_at
        row.counts_at = (at + row.number * COUNTS.size) // 4
        row.buckets_at = (at + rows * COUNTS.size) // 4 + BUCKETS * row.number

    def _row_of(self, route: str | None) -> _Row:
        if self._route_count >= self._layout.rows:
            return self._other
        name = UNMATCHED_ROUTE if route is None else route
        return self._add_row(route, name)

    def _add_row(self, route: str | None, name: str) -> _Row:
        number = self._route_count
        row = _Row(number, (self._layout.totals + number * TOTALS.size) // 8)
        self._rows[route] = row
        self._add_name(name, number)
        self._route_count = self._ints[ROUTE_COUNT] = number + 1
        return row

    def _add_name(self, name: str, row: int) -> None:
        text = name.encode("utf-8", "backslashreplace")[: NAME_BYTES - 2]
        data = len(text).to_bytes(2, byteorder) + text
        at = self._layout.names + row * NAME_BYTES
        self._page[at : at + len(data)] = data

    def _add_record(self, closed: Closed, row: _Row) -> None:
        self._sequence = sequence = self._sequence + 1
        cell, recent = closed.cell, self._recent
        if cell is None:
            if not closed.record:
                return
            cell = self._late_cell(closed)
        else:
            self._free.append(recent.popleft())
        self._page[cell.numbers_at : cell.end] = closed.record
        self._ints[cell.row_at] = row.number
        if closed.extra or row is self._other:
            self._add_extra(closed, cell, row)
        # From now on it is one that has closed, and no longer in flight.
        self._longs[cell.mark] = sequence
        recent.append(cell)

    def _late_cell(self, closed: Closed) -> Cell:
        """Return the cell of the request that closed first, for another one."""
        _, data = _checked_head(closed.started_at, closed.method, closed.path)
        cell = self._recent.popleft()
        self._longs[cell.mark] = 0
        self._page[cell.at : cell.numbers_at] = data
        return cell

    def _add_extra(self, closed: Closed, cell: Cell, row: _Row) -> None:
        extra = closed.extra
        if row is self._other:
            extra = with_route(extra, known_fit(closed.route))
        at, length = self._ring_at, len(extra)
        if at + length > RING_BYTES:
            at = 0
        self._ring_at = end = at + length
        ring = self._layout.ring
        self._page[ring + at : ring + end] = extra
        check = adler32(extra, self._sequence & 0xFFFFFFFF)
        self._page[cell.place_at : cell.end] = pack_place(at, length, check)


def _checked_head(started_at: object, method: object, path: str) -> tuple[float, bytes]:
    """Return when a request started, and the first part of its cell.

    :param started_at: Any value, as a receiver may have set it; so is the method.
    :param path: Its path, printable.
    """
    at = started_at if type(started_at) is float else time.time()
    text = fit_or_none(method, _LONGEST_METHOD) or ""
    return at, _pack_head(at, 0, text.encode(), path.encode())


class _Second:
    """A second, and where it is counted in the file, in numbers of 4 bytes.

    :param tick: Its number.
    :param period: The number of its period.
    :param counts_at: Where its own counts are.
    :param buckets_at: Where the durations of its period are counted.
    """

    __slots__ = ("buckets_at", "counts_at", "end", "period", "rows", "tick")

    def __init__(self, tick: int, period: int, counts_at: int, buckets_at: int) -> None:
        self.tick = tick
        self.end = tick + 1
        self.period = period
        self.counts_at = counts_at
        self.buckets_at = buckets_at
        self.rows: dict[str | None, _Row] = {}
        """The rows of the routes that were requested in it, so far."""


class _Row:
    """A route, and where it is counted in the file: since the start, and in a period.

    :param totals_at: The place of the former, in numbers of 8 bytes. Those of a period
        are in numbers of 4 bytes.
    """

    __slots__ = ("buckets_at", "counts_at", "number", "tick", "totals_at")

    def __init__(self, number: int, totals_at: int) -> None:
        self.number = number
        self.totals_at = totals_at
        self.tick = -1
        self.counts_at = self.buckets_at = 0


def _begin_table(page: mmap.mmap, at: int, tick: int, size: int) -> None:
    """Let a table count another period, from 0.

    The number of the period is written last: the process may be stopped meanwhile, and
    a reader would take the counts of an old period for those of the new one.
    """
    counts_at = at + TICK.size
    page[counts_at : at + size] = bytes(size - TICK.size)
    page[at:counts_at] = TICK.pack(tick)


def _made(folder: OwnFolder, name: str, size: int) -> tuple[mmap.mmap, int]:
    """Make a file, lock it, and return its memory and its descriptor."""
    new = f"{Path(name).stem}{NEW_SUFFIX}"
    descriptor = opened(folder, new, _NEW)
    try:
        hold(descriptor)
        # It has its name only now: a reader that looks whether a file is locked locks
        # it itself for a moment, and this lock would be refused.
        where = folder.descriptor
        os.rename(new, name, src_dir_fd=where, dst_dir_fd=where)
        reserve(descriptor, size)
        return mmap.mmap(descriptor, size), descriptor
    except BaseException:
        os.close(descriptor)
        for one in (new, name):
            with suppress(OSError):
                folder.remove(one)
        raise


_files: WeakSet[WorkerFile] = WeakSet()


def _let_go_of_all() -> None:
    """Close the files of the parent in a forked process."""
    for file in [*_files]:
        file.let_go()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_of_all)
