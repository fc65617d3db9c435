"""Where a process keeps its metrics: added to by receivers, read by scrapes."""

from __future__ import annotations

import os
import threading
import typing as t
from collections import deque
from collections.abc import Callable
from collections.abc import Iterable
from contextlib import suppress
from time import monotonic
from weakref import finalize
from weakref import ref
from weakref import ReferenceType
from weakref import WeakSet

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from ...exchange import Exchange
from ._files import ProcessFiles
from ._values import Group
from ._values import warn

if t.TYPE_CHECKING:
    from ._directory import Directory

__all__ = ["Both", "Store"]

_MOST_WAITING = 100_000
_BATCH = 64
_CHECK_SECONDS = 0.05
_LOOK_SECONDS = 1.0


class Store:
    """The metrics of this process, in memory and, if others are to read them, in files.

    Any thread and greenlet may add to them at any moment, from the garbage collection
    too: only a scrape waits for a lock.

    :param flights: The group of the one gauge of requests in flight, or ``None``.
    :param directory: Where the files are, or ``None``.
    :param beside: What else a scrape of the files gives: collectors of this process.
    """

    refresh: Callable[[], None] | None
    """Sets gauges to what they are now: before a scrape, and now and then."""

    def __init__(
        self,
        flights: Group | None,
        directory: Directory | None,
        beside: CollectorRegistry | None = None,
    ) -> None:
        self.logged: set[str] = set()
        self.refresh = None
        self._flights = flights
        self._groups = [] if flights is None else [flights]
        self._directory = directory
        self._beside = beside
        self._files: ProcessFiles | None = None
        self._end: finalize[[], Store] | None = None
        self._forked_lock = threading.Lock()
        self._begin()
        _stores.add(self)

    def add(self, *groups: Group) -> None:
        """Keep the metrics of further groups; before anything is counted."""
        for group in groups:
            self._groups.append(group)
            group.begin(self._files)

    def _begin(self) -> None:
        """Begin without metrics: at first, and in a process that was forked."""
        if self._directory is not None:
            if self._end is not None:
                self._end()
                self._directory.begin_in_child()
            self._files = ProcessFiles(self._directory, self.logged)
            self._end = finalize(self, self._files.close)
            self._end.atexit = False
        self._open: dict[int, ReferenceType[Exchange]] = {}
        self._most_open = 100
        self._filed_open = 0
        # What has happened waits here to be counted, so that no request waits for a
        # lock: least of all one that is found lost by the garbage collection, in a
        # thread that holds it.
        self._waiting: deque[tuple[Callable[..., None], tuple[t.Any, ...]]] = deque(
            maxlen=_MOST_WAITING
        )
        # Many at a time take less time each. Not if others read the files, where what
        # still waits is missing, and lost if this process is killed.
        self._batch = _BATCH if self._files is None else 1
        self._lock = threading.Lock()
        self._next_check = self._next_look = 0.0
        for group in self._groups:
            group.begin(self._files)
        self._gauge = None if self._flights is None else self._flights.row(())[0]
        self._process = os.getpid()

    def begin_in_child(self) -> None:
        """Leave to the process that this one was forked from what is its own."""
        # Locks may have been held there.
        self._forked_lock = threading.Lock()
        if self._directory is None:
            # The metrics of one process go on in its copy.
            self._lock = threading.Lock()
        else:
            self._begin()

    def _begin_if_forked(self) -> None:
        """Do the same in a process whose fork Python did not see, as of uWSGI."""
        if self._directory is not None and self._process != os.getpid():
            with self._forked_lock:
                if self._process != os.getpid():  # no other thread has
                    self._begin()

    def open(self, exchange: Exchange) -> None:
        """Record that an exchange is in flight."""
        self._begin_if_forked()
        self._open[id(exchange)] = ref(exchange)
        if self._files is not None:
            self._put(_nothing)
        if len(self._open) > self._most_open:
            self._most_open = 100 + 2 * self._in_flight()

    def close(self, exchange: Exchange) -> None:
        """Record that an exchange is in flight no more; call :meth:`put` after it."""
        self._open.pop(id(exchange), None)

    def put(self, note: Callable[..., None], *arguments: t.Any) -> None:
        """Call a function that adds to metrics; soon, and before they are read."""
        self._begin_if_forked()
        self._put(note, *arguments)

    def _put(self, note: Callable[..., None], *arguments: t.Any) -> None:
        waiting = self._waiting
        waiting.append((note, arguments))
        if len(waiting) < self._batch:
            return
        lock = self._lock
        # If another has the lock, it counts this, as it looks again after.
        while waiting and lock.acquire(blocking=False):
            try:
                self._count(waiting)
            finally:
                lock.release()

    def describe(self) -> Iterable[Metric]:
        """Return the metrics without samples, for a registry."""
        return [found for group in self._groups for found in group.described()]

    def collect(self) -> Iterable[Metric]:
        """Return the metrics of this process; with a directory, the sums of all.

        :raises OSError: If sums would be too small.
        """
        self._begin_if_forked()
        with self._lock:
            self._next_check = 0.0
            self._count(self._waiting)
            self._set_in_flight(self._in_flight())
            self._refresh()
            if self._files is None:
                found = [one for group in self._groups for one in group.collected()]
            else:
                self._files.mend()
        # What came meanwhile was left to this.
        self.put(_nothing)
        if self._directory is not None:
            found = self._directory.metrics()
            found += self._computed({metric.name for metric in found})
        return found

    def _computed(self, filed: set[str]) -> Iterable[Metric]:
        """Return what collectors compute in this process, with its number."""
        for metric in () if self._beside is None else self._beside.collect():
            if metric.name not in filed:
                metric.samples = [
                    one._replace(labels={"pid": str(self._process), **one.labels})
                    for one in metric.samples
                ]
                yield metric

    def _count(
        self, waiting: deque[tuple[Callable[..., None], tuple[t.Any, ...]]]
    ) -> None:
        files = self._files
        if files is not None and (now := monotonic()) > self._next_check:
            self._next_check = now + _CHECK_SECONDS
            if files.find_lost() or now > self._next_look:
                self._next_look = now + _LOOK_SECONDS
                self._look(files)
        while waiting:
            note, arguments = waiting.popleft()
            try:
                note(*arguments)
            except Exception as error:  # noqa: BLE001  # the others are counted
                warn(self.logged, "something could not be counted", error)
        if files is not None:
            self._set_in_flight(len(self._open))

    def _refresh(self) -> None:
        try:
            if self.refresh is not None:
                self.refresh()
        except Exception as error:  # noqa: BLE001  # the other metrics are right
            warn(self.logged, "gauges could not be set", error)

    def _look(self, files: ProcessFiles) -> None:
        self._refresh()
        try:
            files.mend()
            t.cast("Directory", self._directory).look()
        except (OSError, ValueError) as error:
            warn(self.logged, "files could not be written", error)

    def _set_in_flight(self, number: int) -> None:
        if self._gauge is not None and number != self._filed_open:
            self._filed_open = number
            self._gauge.set(number)

    def _in_flight(self) -> int:
        """Return how many are open, and forget those whose close was not sent."""
        for key, reference in [*self._open.items()]:
            exchange = reference()
            if exchange is None or not exchange.is_open:
                self._open.pop(key, None)
        return len(self._open)


class Both:
    """A collector of the store and of a registry beside it, whose names it has."""

    def __init__(self, store: Store, beside: CollectorRegistry) -> None:
        self.collect = store.collect
        self._described = [*store.describe()]
        with suppress(Exception):  # it is not selected by name then
            self._described += beside.collect()

    def describe(self) -> Iterable[Metric]:
        """Return the metrics whose names a scrape can select."""
        return self._described


def _nothing() -> None:
    """Add nothing, but have the number in flight written."""


_stores: WeakSet[Store] = WeakSet()


def _begin_in_child() -> None:
    for store in [*_stores]:
        store.begin_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)
