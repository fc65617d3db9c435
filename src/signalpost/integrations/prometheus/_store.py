"""Where a process keeps its metrics: added to by receivers, read by scrapes."""

from __future__ import annotations

import os
import threading
import typing as t
from collections import deque
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from contextlib import suppress
from os import getpid
from time import monotonic
from weakref import finalize
from weakref import ref
from weakref import ReferenceType
from weakref import WeakSet

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from ...exchange import Exchange
from ._files import ProcessFiles
from ._log import warn
from ._values import Group
from ._values import Label
from ._values import Maker

if t.TYPE_CHECKING:
    from ._directory import Directory

__all__ = ["Store"]

_MOST_WAITING = 100_000
_BATCH = 64
_CHECK_SECONDS = 0.05
_LOOK_SECONDS = 1.0


_Note: t.TypeAlias = tuple[Callable[..., object], tuple[t.Any, ...]]
"""A function that adds to metrics, and its arguments."""

# It adds nothing, but has the number in flight written.
_NOTHING: t.Final[_Note] = (tuple, ())


class Store:
    """The metrics of this process, in memory and, if others are to read them, in files.

    Any thread and greenlet may add to them at any moment, from the garbage collection
    too: only a scrape waits for a lock.

    :param directory: Where the files are, or ``None``.
    """

    refresh: Callable[[], None] | None
    """Functions that set gauges: before a scrape, and from time to time."""
    flights: Group | None
    """The group of the one gauge of requests in flight."""
    beside: CollectorRegistry | None
    """Collectors of this process, whose metrics a scrape of the files adds."""

    def __init__(self, directory: Directory | None) -> None:
        self.logged: set[str] = set()
        self.refresh = self.flights = self.beside = None
        self._groups: list[Group] = []
        self._directory = directory
        self._files: ProcessFiles | None = None
        self._forked_lock = threading.Lock()
        self._end: Callable[[], object] = lambda: None
        self._begin()
        _stores.add(self)

    def group(self, most: int, labels: Sequence[Label], *makers: Maker) -> Group:
        """Keep a further :class:`Group`; before anything is counted."""
        self._groups.append(found := Group(most, labels, *makers))
        found.begin(self._files)
        return found

    def _begin(self) -> None:
        """Begin without metrics: at first, and in a process that was forked."""
        if self._directory is not None:
            self._end()
            self._directory.begin_in_child()
            self._files = ProcessFiles(self._directory, self.logged)
            self._end = end = finalize(self, self._files.close)
            end.atexit = False
        # Weakly: an exchange whose close is not sent is removed, too.
        self._open: set[ReferenceType[Exchange]] = set()
        self._filed_open = 0
        # What has happened waits here to be counted, so that no request waits for a
        # lock: least of all one that is found lost by the garbage collection, in a
        # thread that holds it.
        self._waiting: deque[_Note] = deque(maxlen=_MOST_WAITING)
        # Many at a time take less time each. Not if others read the files, where what
        # still waits is missing, and lost if this process is killed.
        self._batch = 1 if self._directory else _BATCH
        self._next_check = self._next_look = 0.0
        for group in self._groups:
            group.begin(self._files)
        self._begin_locks()

    def _begin_locks(self) -> None:
        self._lock = threading.Lock()
        self._process = getpid()

    def begin_in_child(self) -> None:
        """Release the files and values of the parent in a forked process."""
        with self._forked_lock:
            if self._process == getpid():
                return  # another thread has
            if self._directory is not None:
                self._begin()
            else:
                self._begin_locks()  # a fork keeps the metrics of a single process

    def open(self, exchange: Exchange) -> None:
        """Record that an exchange is in flight."""
        if self._files is None:
            self._open.add(ref(exchange, self._open.discard))
            return
        if self._process != getpid():
            self.begin_in_child()
        self._open.add(ref(exchange, self._open.discard))
        self._waiting.append(_NOTHING)
        self._count_now()

    def close(self, exchange: Exchange) -> None:
        """Record that an exchange is no longer in flight; then call :meth:`put`."""
        self._open.discard(ref(exchange))

    def put(self, note: Callable[..., None], *arguments: t.Any) -> None:
        """Call a function that adds to metrics; soon, and before they are read."""
        # Python does not notice every fork, for instance those of uWSGI.
        if self._files is not None and self._process != getpid():
            self.begin_in_child()
        self._waiting.append((note, arguments))
        if len(self._waiting) >= self._batch:
            self._count_now()

    def _count_now(self) -> None:
        # The holder of the lock counts these, too: it looks again after its release.
        while self._waiting and self._lock.acquire(blocking=False):
            try:
                self._count(self._waiting)
            finally:
                self._lock.release()

    def describe(self) -> Iterable[Metric]:
        """Return metrics whose names a scrape can select."""
        found = [one for group in self._groups for one in group.described()]
        with suppress(Exception):  # they are not selected by name then
            found += () if self.beside is None else self.beside.collect()
        return found

    def collect(self) -> Iterable[Metric]:
        """Return the metrics of this process; with a directory, the sums of all.

        :raises OSError: If sums would be too small.
        """
        self.begin_in_child()
        with self._lock:
            self._next_check = 0.0
            self._count(self._waiting)
            self._refresh()
            if self._files is None:
                found = [one for group in self._groups for one in group.collected()]
            else:
                self._files.mend()
        # Others have left their values to this thread meanwhile.
        self._waiting.append(_NOTHING)
        self._count_now()
        if self._directory is not None:
            found = self._directory.metrics()
            found += self._computed({metric.name for metric in found})
        return found

    def _computed(self, filed: set[str]) -> Iterable[Metric]:
        """Return the metrics of this process's collectors, with its number."""
        for metric in () if self.beside is None else self.beside.collect():
            if metric.name not in filed:
                metric.samples = [
                    one._replace(labels={"pid": str(self._process), **one.labels})
                    for one in metric.samples
                ]
                yield metric

    def _count(self, waiting: deque[_Note]) -> None:
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
        if self.flights is not None and len(self._open) != self._filed_open:
            self._filed_open = len(self._open)
            self.flights.row(())[0](self._filed_open)

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


_stores: WeakSet[Store] = WeakSet()


def _begin_in_child() -> None:
    for store in [*_stores]:
        store._forked_lock = threading.Lock()  # noqa: SLF001  # one may hold it there
        store.begin_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)
