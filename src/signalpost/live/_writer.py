"""The writer of this process's files: its numbers, its records and its lists."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from typing import Final
from weakref import WeakSet
from weakref import WeakValueDictionary

from .._engine.unseen import checked
from .._relaying import close_relays
from ..receivers.lines import single_line
from ..receivers.own_folder import OwnFolder
from ..work import METHOD as WORK
from ._events import Details
from ._events import Trace
from ._file import WorkerFile
from ._relay_file import write_queues
from ._signals import connected
from ._signals import Deliveries
from ._tops import Failure
from ._tops import Tops

__all__ = ["Writer", "flush", "is_first"]

_log = logging.getLogger("signalpost.live")

# Lists are written once a second, but after a rest also for each of some requests in a
# row: no request may follow that would write what the last one has left.
_TOPS_SECONDS: Final = 1.0
_BURST_SECONDS: Final = 10.0
_AGAIN_SECONDS: Final = 30.0
_PATIENCE_SECONDS: Final = 1.0
# To make a file or write lists takes milliseconds. On a disk that hangs it may take
# seconds, and more requests come meanwhile.
_MOST_PENDING: Final = 100_000
_MOST_LATE: Final = 32
_MOST_RECORDS: Final = 512

# The kinds of entries that wait to be written.
_OPENED: Final = "opened"
_CLOSED: Final = "closed"
_FAILED: Final = "failed"
_EXECUTED: Final = "executed"
_NOTED: Final = "noted"
_WORKED: Final = "worked"


class Writer:
    """A writer that any thread may use; one thread at a time writes.

    While another thread writes, an entry waits in a queue, so that no request waits.
    This includes a lost exchange that the garbage collection closes in the thread that
    writes.

    :param folder: The folder of the files.
    :param max_routes: The number of routes that have their own rows.
    :param slow_seconds: The duration from which on a request is slow.
    :param has_waterfall: Whether records have events.
    :param deliveries: The counter of receivers' calls, or ``None``.
    """

    def __init__(
        self,
        folder: Path,
        max_routes: int,
        slow_seconds: float,
        deliveries: Deliveries | None,
        *,
        has_waterfall: bool,
    ) -> None:
        self.folder = folder
        self._max_routes = max_routes
        self._slow_seconds = slow_seconds
        self._has_waterfall = has_waterfall
        self._deliveries = deliveries
        self._is_ending = self._has_ended = False
        self.start_over()
        _writers.add(self)

    def start_over(self) -> None:
        """Release the file of the parent, in a forked process."""
        self.tops = Tops()
        self._file: WorkerFile | None = None
        self._open_at = 0.0
        self._warned: set[str] = set()
        self._pending: deque[tuple[str, Any, Any]] = deque(maxlen=_MOST_PENDING)
        # Only end() waits for it, and not for ever: the garbage collection may close an
        # exchange on any line, in the thread that has it.
        self._lock = threading.Lock()
        self._has_new_lists = self._has_worked = False
        self._tops_at = 0.0
        # A second in which lists are not due any more: nothing is compared in it.
        self._waiting_second: object = None

    def open(self, started_at: float, method: str, path: str) -> Trace:
        """Write that a request is in flight."""
        file = self._file
        if file is None:
            self._pending.append((_OPENED, time.time(), 0))
            self._drain()
            file = self._file
            if file is None:
                return Trace(None, None, method, path, started_at)
        cell = file.open_cell(started_at, method, path)
        if cell is None:
            self._pending.append((_OPENED, time.time(), 1))
            self._drain()
        return Trace(file, cell, method, path, started_at)

    def close(self, trace: Trace) -> None:
        """Write that a request has closed."""
        file, lock = trace.file, self._lock
        if file is None or trace.cell is None or self._pending:
            self._close_later(trace)
            return
        # As _has_written(), but without a call: nearly always no other thread writes,
        # and nothing has to wait in the queue.
        try:
            has_lock = lock.acquire(False)  # noqa: FBT003  # a name takes longer
        except BaseException:
            self._renew(lock)
            raise
        if not has_lock:
            self._close_later(trace)
            return
        try:
            is_open = file.is_open
            if is_open:
                details = trace.details
                if details is not None:
                    self._note_statements(details)
                if file.close(trace) is not self._waiting_second:
                    self._write_tops_if_due(file, time.time())
        finally:
            lock.release()
        if not is_open:
            self._close_later(trace)
        elif self._pending:
            self._drain()

    def _close_later(self, trace: Trace) -> None:
        file = trace.file
        # The parent process still has the request, and counts it.
        if file is not None and not file.is_open and file.pid != os.getpid():
            return
        self._let_go_if_late(trace)
        self._pending.append((_CLOSED, trace, None))
        self._drain()

    def _let_go_if_late(self, trace: Trace) -> None:
        """Release the cell of a request that closes if many wait to be written.

        Then the disk hangs, and the page would show it as in flight until it continues.
        """
        waiting, file, cell = len(self._pending), trace.file, trace.cell
        if waiting > _MOST_LATE and cell and file and file.is_open:
            trace.file = trace.cell = None
            file.release(cell)
        if waiting > _MOST_RECORDS:
            # It is still counted.
            trace.record = trace.extra = b""

    def fail(self, failure: Failure, traceback: str | None) -> None:
        """Count a failure."""
        self._pending.append((_FAILED, failure, traceback))
        self._drain()

    def execute(self, shape: str, seconds: float, *, is_failed: bool) -> None:
        """Count a statement that belongs to no exchange."""
        self._pending.append((_EXECUTED, shape, (seconds, is_failed)))
        self._drain()

    def begin(self) -> None:
        """Make the file, if there is none."""
        self.note(_touch)

    def open_work(self, started_at: float, name: str) -> Trace:
        """Write that a unit of work is in flight."""
        if self._file is None:
            self.begin()
        file = self._file
        if file is None:
            return Trace(None, None, WORK, name, started_at)
        cell = file.open_cell(started_at, WORK, name)
        if cell is None:
            self.note(_add_overflow, 1)
        return Trace(file, cell, WORK, name, started_at)

    def close_work(self, trace: Trace, seconds: float, traceback: str | None) -> None:
        """Write that a unit of work has ended, with its exception.

        :param traceback: As for :meth:`fail`.
        """
        file = trace.file
        # As for a request: the parent process still has it.
        if file is not None and not file.is_open and file.pid != os.getpid():
            return
        self._let_go_if_late(trace)
        self._pending.append((_WORKED, trace, (seconds, traceback)))
        self._drain()

    def note(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call a function with the file of this process, the time and arguments."""
        self._pending.append((_NOTED, function, arguments))
        self._drain()

    def flush(self) -> None:
        """Write the lists if they have changed and no other thread writes."""
        if self._has_new_lists and self._has_written(self._write_own_tops):
            self._drain()

    def end(self) -> None:
        """Write everything that waits, and close the file.

        If another thread writes for longer than a second, it does that afterwards.
        """
        self._is_ending = True
        # It is busy for so long if the disk hangs, or if this thread itself writes and
        # the garbage collection has called this.
        if not self._has_written(self._write_all, _PATIENCE_SECONDS):
            # A thread that has written looks for entries that wait.
            self._pending.append((_NOTED, _touch, ()))
        self._drain()

    def _drain(self) -> None:
        """Write the entries that wait, unless a thread is writing already."""
        # Check again: an entry may have been added just before the thread ended.
        while self._pending and self._has_written(self._write_all):
            pass

    def _has_written(
        self, write: Callable[[], None], patience_seconds: float | None = None
    ) -> bool:
        """Call a function that writes, unless a thread is writing already.

        :param patience_seconds: How long to wait for that thread.
        :returns: Whether it was called.
        """
        lock = self._lock
        try:
            if patience_seconds is None:
                has_lock = lock.acquire(blocking=False)
            else:
                has_lock = lock.acquire(timeout=patience_seconds)
        except BaseException:
            self._renew(lock)
            raise
        if has_lock:
            try:
                write()
            finally:
                # Not self._lock: that is another one in a process forked meanwhile.
                lock.release()
        return has_lock

    def _renew(self, lock: threading.Lock) -> None:
        """Replace the lock if this thread has acquired it without noticing.

        A signal handler may have raised just after ``acquire()`` had returned. Then
        nothing would release the lock.
        """
        if lock.acquire(timeout=_PATIENCE_SECONDS):
            lock.release()
        elif self._lock is lock:
            self._lock = threading.Lock()

    def _write_all(self) -> None:
        try:
            if self._pending:
                self._write_pending()
        finally:
            if self._is_ending:
                self._end_file()

    def _write_own_tops(self) -> None:
        file = self._file
        if file is not None and file.is_open and file.pid == os.getpid():
            self._write_tops(file, time.time())

    def _end_file(self) -> None:
        self._is_ending, self._has_ended = False, True
        try:
            self._write_own_tops()
        finally:
            file, self._file = self._file, None
            if file is not None:
                file.end()
            if _firsts.get(self.folder) is self:
                del _firsts[self.folder]

    def _usable_file(self) -> WorkerFile | None:
        """Return the file; make it first if there is none and it is possible."""
        if self._file is not None and self._file.is_open:
            return self._file
        self._file = None
        now = time.time()
        if self._has_ended or 0 <= now - self._open_at < _AGAIN_SECONDS:
            return None
        self._open_at = now
        try:
            with OwnFolder.made(self.folder) as folder:
                self._file = WorkerFile(
                    folder,
                    self._max_routes,
                    self._slow_seconds,
                    has_waterfall=self._has_waterfall,
                )
        except OSError as error:
            self._warn("nothing is recorded for the live page", error)
        return self._file

    def _write_pending(self) -> None:
        file, pending = self._file, self._pending
        if file is None or not file.is_open:
            file = self._usable_file()
        if file is None:
            pending.clear()
            return
        has_lists = False
        while pending:
            kind, first, second = pending.popleft()
            if kind is _CLOSED:
                self._write_closed(file, first)
                continue
            if kind is _FAILED:
                self.tops.add_failure(first, second)
            elif kind is _OPENED:
                file.touch(first, second)
            elif not self._write_other(file, kind, first, second):
                continue
            has_lists = True
        if has_lists:
            self._write_tops_if_due(file, time.time())

    def _write_tops_if_due(self, file: WorkerFile, now: float) -> None:
        # The clock may be set back, so the range has two ends.
        if self._tops_at - _AGAIN_SECONDS <= now < self._tops_at:
            self._has_new_lists = True
            self._waiting_second = file.second
        else:
            self._write_tops(file, now)

    def _write_closed(self, file: WorkerFile, trace: Trace) -> None:
        if trace.file is not file:
            trace.cell = None  # it is in another file
        elif trace.cell is None:
            file.touch(time.time(), -1)
        if trace.details is not None:
            self._note_statements(trace.details)
        if file.close(trace) is not self._waiting_second:
            self._write_tops_if_due(file, time.time())

    def _note_statements(self, details: Details) -> None:
        if details.times is None:
            return
        if details.shapes is not None:
            self.tops.statements.add(details.shapes)
        elif details.statements:
            # A later receiver may execute some, too, which are not counted.
            executed, details.statements = details.statements, []
            times = details.times
            repeated = times if times and len(times) < len(executed) else {}
            self.tops.statements.note(executed, repeated)

    def _write_other(
        self, file: WorkerFile, kind: str, first: Any, second: Any
    ) -> bool:
        """Write what is of no request; return whether the lists have changed."""
        if kind is _NOTED:
            now = time.time()
            file.touch(now)
            first(file, now, *second)
            return False
        if kind is _EXECUTED:
            self.tops.statements.note([(first, *second)], {})
            return True
        seconds, traceback = second
        if first.details is not None:
            if first.details.failure is not None:
                self.tops.add_failure(first.details.failure, traceback)
            self._note_statements(first.details)
        if first.file is not file:
            first.cell = None  # it is in another file
        elif first.cell is None:
            file.work.add_overflow(-1)
        file.close_work(first, seconds)
        # A process may be made for one unit of work, and end without a function of
        # atexit: so the first one is written at once.
        if not self._has_worked:
            self._has_worked = True
            self._tops_at = 0.0
        return True

    def _write_tops(self, file: WorkerFile, now: float) -> None:
        earliest = now - _BURST_SECONDS
        # The clock may be set back, as for _AGAIN_SECONDS.
        is_usable = earliest < self._tops_at <= now + _AGAIN_SECONDS
        self._tops_at = (self._tops_at if is_usable else earliest) + _TOPS_SECONDS
        self._has_new_lists = False
        self._waiting_second = None
        if is_first(self):
            write_queues(file.queues, now)
        try:
            signals = connected(self._deliveries)
            file.write_list("tops", self.tops.encoded(signals, now, file.requests))
            if self.tops.have_failures_changed:
                self.tops.have_failures_changed = False
                file.write_list("failures", self.tops.encoded_failures(now))
        except OSError as error:
            self.tops.have_failures_changed = True
            self._tops_at = now + _AGAIN_SECONDS
            self._warn("lists of the live page are not written", error)

    def _warn(self, what: str, error: OSError) -> None:
        """Log a problem once."""
        if what in self._warned:
            return
        self._warned.add(what)
        problem = str(error)
        if error.strerror is not None:
            problem = f"{self.folder}: {error.strerror}"
        checked(_log, logging.WARNING).warning("%s: %s", what, single_line(problem))


def _touch(file: WorkerFile, now: float) -> None:
    """Write nothing more than that the process is at work."""


def _add_overflow(file: WorkerFile, now: float, more: int) -> None:
    file.work.add_overflow(more)


_writers: WeakSet[Writer] = WeakSet()
_firsts: WeakValueDictionary[Path, Writer] = WeakValueDictionary()


def is_first(writer: Writer) -> bool:
    """Return whether no other writer of this process writes into the same folder.

    Only one writer records signals that no application sends, so that they are
    counted once.
    """
    return _firsts.setdefault(writer.folder, writer) is writer


def flush() -> None:
    """Write the lists of this process, so that a reader finds them now."""
    for writer in [*_writers]:
        writer.flush()


def _start_all_over() -> None:
    for writer in [*_writers]:
        writer.start_over()


def _end_all() -> None:
    # Relays first send their waiting events, or they are recorded as lost.
    close_relays()
    for writer in [*_writers]:
        with suppress(Exception):  # the interpreter may be half gone
            writer.end()


atexit.register(_end_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_all_over)
