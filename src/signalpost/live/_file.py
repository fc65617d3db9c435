"""The file that a worker writes what happens into."""

from __future__ import annotations

import errno
import mmap
import os
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple
from weakref import WeakSet

from ..receivers.own_folder import OwnFolder
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

__all__ = ["Closed", "WorkerFile"]

_UNMATCHED = 0
_OTHER = 1
_FREE = bytes(8)
_EMPTY_PERIOD = bytes(4 * BUCKETS)


class Closed(NamedTuple):
    """A request that is over."""

    started_at: float
    route: str | None
    is_failed: bool
    is_aborted: bool
    response_seconds: float | None
    record: bytes


class WorkerFile:
    """The file of this process: of fixed size, and there on the disk from the start.

    Any thread may open and close slots; all else takes one thread at a time. Each
    value is written in one piece: struct.pack_into would show a zero in between.

    :param folder: Where.
    :param max_routes: How many routes have rows of their own.
    :param has_waterfall: Whether records have events.
    :param slow_seconds: From when on a request is slow.
    :raises OSError: If there is no room, or it cannot be made for another reason.
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
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
        self._descriptor = opened(folder, name, flags)
        try:
            hold(self._descriptor)
            _reserve(self._descriptor, layout.size)
            self._page = mmap.mmap(self._descriptor, layout.size)
        except BaseException:
            os.close(self._descriptor)
            with suppress(OSError):
                folder.remove(name)
            raise
        self._free = [layout.slots + number * SLOT.size for number in range(SLOTS)]
        self._free.reverse()
        self._routes: dict[str, int] = {}
        self._requests = self._failed = self._aborted = 0
        self._sequence = self._overflow = 0
        self._ring_at = 0
        self._last_at = now
        self._ended_at = 0.0
        self._add_name("<unmatched>", _UNMATCHED)
        self._add_name("<other>", _OTHER)
        self._route_count = 2
        self._write_live()
        # Last, as it says that the rest is there.
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
        # What makes it one in flight comes last.
        self._page[slot + 8 : slot + SLOT.size] = data[8:]
        self._page[slot : slot + 8] = data[:8]
        return slot

    def set_status(self, slot: int, status: int) -> None:
        """Write that the response to a request in flight begins."""
        self._page[slot + 8 : slot + 10] = (status & 0xFFFF).to_bytes(2, "little")

    def close_slot(self, slot: int) -> None:
        """Write that a request is in flight no more."""
        self._page[slot : slot + 8] = _FREE
        self._free.append(slot)

    def touch(self, at: float, overflow: int = 0) -> None:
        """Write that a request came.

        :param at: When, in seconds since the epoch.
        :param overflow: 1 if there was no slot for it.
        """
        self._last_at = at
        self._overflow += overflow
        self._write_live()

    def close(self, closed: Closed, overflow: int) -> None:
        """Write that a request is over.

        :param closed: The request.
        :param overflow: 1 if there was no slot for it.
        """
        self._last_at = now = time.time()
        self._overflow -= overflow
        self._requests += 1
        self._failed += closed.is_failed
        self._aborted += closed.is_aborted
        self._count_second(int(now), closed)
        period = int(now) // PERIOD_SECONDS
        seconds = closed.response_seconds
        bucket = None if seconds is None else bucket_of(seconds)
        if bucket is not None:
            self._count_period(period, bucket)
        self._count_route(period, closed, bucket)
        self._add_record(closed)
        self._write_live()

    def end(self) -> None:
        """Write that the worker ends in order, and let go of the file."""
        if self.pid == os.getpid() and not self._page.closed:
            self._ended_at = self._last_at = time.time()
            self._write_live()
        self.let_go()

    def let_go(self) -> None:
        """Close the file, in a process that has got it by a fork, too."""
        _files.discard(self)
        self._free.clear()
        if not self._page.closed:
            self._page.close()
            with suppress(OSError):
                os.close(self._descriptor)

    @property
    def is_open(self) -> bool:
        """Whether it can be written."""
        return not self._page.closed

    def _count_second(self, tick: int, closed: Closed) -> None:
        page = self._page
        at = self._layout.seconds + tick % SECONDS * SECOND.size
        known, requests, failed, aborted = SECOND.unpack_from(page, at)
        if known != tick:
            requests = failed = aborted = 0
        page[at : at + SECOND.size] = SECOND.pack(
            tick,
            requests + 1,
            failed + closed.is_failed,
            aborted + closed.is_aborted,
        )

    def _count_period(self, tick: int, bucket: int) -> None:
        page = self._page
        at = self._layout.periods + tick % PERIODS * PERIOD_BYTES
        if TICK.unpack_from(page, at)[0] != tick:
            page[at : at + PERIOD_BYTES] = TICK.pack(tick) + _EMPTY_PERIOD
        self._add_one(at + 8 + 4 * bucket)

    def _count_route(self, tick: int, closed: Closed, bucket: int | None) -> None:
        page, layout = self._page, self._layout
        row = self._row_of(closed.route)
        at = layout.totals + row * TOTALS.size
        requests, failed, aborted = TOTALS.unpack_from(page, at)
        page[at : at + TOTALS.size] = TOTALS.pack(
            requests + 1, failed + closed.is_failed, aborted + closed.is_aborted
        )
        at = layout.minute + tick % MINUTE_PERIODS * layout.minute_bytes
        if TICK.unpack_from(page, at)[0] != tick:
            empty = bytes(layout.minute_bytes - 8)
            page[at : at + layout.minute_bytes] = TICK.pack(tick) + empty
        at += 8
        counts_at = at + row * COUNTS.size
        requests, failed, aborted = COUNTS.unpack_from(page, counts_at)
        page[counts_at : counts_at + COUNTS.size] = COUNTS.pack(
            requests + 1, failed + closed.is_failed, aborted + closed.is_aborted
        )
        if bucket is not None:
            self._add_one(at + layout.rows * COUNTS.size + 4 * (row * BUCKETS + bucket))

    def _add_one(self, at: int) -> None:
        page = self._page
        count = int.from_bytes(page[at : at + 4], "little") + 1
        page[at : at + 4] = count.to_bytes(4, "little")

    def _row_of(self, route: str | None) -> int:
        if route is None:
            return _UNMATCHED
        row = self._routes.get(route)
        if row is not None:
            return row
        if self._route_count >= self._layout.rows:
            return _OTHER
        row = self._routes[route] = self._route_count
        self._add_name(route, row)
        self._route_count += 1
        return row

    def _add_name(self, name: str, row: int) -> None:
        text = name.encode("utf-8", "backslashreplace")[: NAME_BYTES - 2]
        data = len(text).to_bytes(2, "little") + text
        at = self._layout.names + row * NAME_BYTES
        self._page[at : at + len(data)] = data

    def _add_record(self, closed: Closed) -> None:
        page, layout = self._page, self._layout
        sequence = self._sequence + 1
        record = closed.record
        length = RECORD_HEAD.size + len(record)
        if self._ring_at + length > RING_BYTES:
            self._ring_at = 0
        at = layout.ring + self._ring_at
        head = RECORD_HEAD.pack(sequence, zlib.crc32(record))
        page[at : at + length] = head + record
        index_at = layout.index + sequence % INDEXED * INDEX_ENTRY.size
        entry = INDEX_ENTRY.pack(sequence, closed.started_at, self._ring_at, length)
        page[index_at : index_at + INDEX_ENTRY.size] = entry
        self._ring_at += length
        self._sequence = sequence

    def _write_live(self) -> None:
        data = live_bytes(
            (
                self._last_at,
                self._requests,
                self._failed,
                self._aborted,
                self._sequence,
                self._route_count,
                self._overflow,
                self._ended_at,
            )
        )
        self._page[LIVE_AT : LIVE_AT + len(data)] = data


def _reserve(descriptor: int, size: int) -> None:
    """Let a file have a size, and room on the disk for it.

    A page of a sparse file that the disk has no room for would end the process.
    """
    fallocate: Callable[[int, int, int], None] | None
    fallocate = getattr(os, "posix_fallocate", None)
    try:
        if fallocate is not None:
            fallocate(descriptor, 0, size)
            return
    except OSError as error:
        # Not every file system can.
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
    block = bytes(1 << 16)
    done = 0
    while done < size:
        done += os.write(descriptor, block[: size - done])


_files: WeakSet[WorkerFile] = WeakSet()


def _let_go_of_all() -> None:
    """Let no process that is forked hold the file of another."""
    for file in [*_files]:
        file.let_go()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_of_all)
