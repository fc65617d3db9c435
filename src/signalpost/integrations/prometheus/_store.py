"""Where figures are kept, whoever adds to them and whoever reads them."""

from __future__ import annotations

import os
import threading
import typing as t
from collections import deque
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from weakref import ref
from weakref import ReferenceType
from weakref import WeakSet

from prometheus_client.metrics_core import Metric

from ...exchange import Exchange
from ._figures import Complaints
from ._figures import Group
from ._figures import Row
from ._files import WorkerFiles

__all__ = ["Store"]

Note: t.TypeAlias = Callable[..., None]

_MOST_WAITING = 100_000
_BATCH = 64


class Store:
    """The figures of this process, in memory and, if others are to read them, in files.

    Any thread and greenlet may add to them, at any moment, the garbage collection's
    included: nobody waits for a lock but who reads.

    :param groups: What there are figures of.
    :param flights: The group of the number of exchanges in flight.
    :param directory: Where the files are, or ``None``.
    """

    def __init__(
        self, groups: Sequence[Group], flights: Group, directory: str | None
    ) -> None:
        self.complaints = Complaints()
        self._groups = groups
        self._flights = flights
        self._directory = directory
        self._files: WorkerFiles | None = None
        self._forked_lock = threading.Lock()
        self._begin()
        _stores.add(self)

    def _begin(self) -> None:
        """Begin without figures: at first, and in a process that was forked."""
        if self._files is not None:
            self._files.close()
        if self._directory is not None:
            self._files = WorkerFiles(self._directory)
        self._open: dict[int, ReferenceType[Exchange]] = {}
        self._most_open = 100
        # What has happened waits here to be counted, so that no request waits for a
        # lock: least of all one that is found lost, by the garbage collection, in a
        # thread that holds it.
        self._waiting: deque[tuple[Note, tuple[t.Any, ...]]] = deque(
            maxlen=_MOST_WAITING
        )
        # Many at a time take a third of the time each. Not if others read the files,
        # where what still waits is missing, and lost should this process be killed.
        self._batch = 1 if self._files is not None else _BATCH
        self._lock = threading.Lock()
        for group in self._groups:
            group.clear()
        self._process = os.getpid()

    def begin_in_child(self) -> None:
        """Leave to the process that this one was forked from what is its own."""
        # Locks may have been held there.
        self._forked_lock = threading.Lock()
        if self._directory is None:
            # Figures of one process go on in its copy.
            self._lock = threading.Lock()
        else:
            self._begin()

    def _begin_if_forked(self) -> None:
        """Do the same in a process whose fork Python was not told of, as by uWSGI."""
        if self._directory is not None and self._process != os.getpid():
            with self._forked_lock:
                if self._process != os.getpid():  # no other thread has
                    self._begin()

    def open(self, exchange: Exchange) -> None:
        """Note that an exchange is in flight."""
        self._begin_if_forked()
        self._open[id(exchange)] = ref(exchange)
        if self._files is not None:
            self._put(_nothing)
        if len(self._open) > self._most_open:
            self._most_open = 100 + 2 * self._in_flight()

    def close(self, exchange: Exchange) -> None:
        """Note that an exchange is in flight no more; :meth:`put` is to follow."""
        self._open.pop(id(exchange), None)

    def put(self, note: Note, *arguments: t.Any) -> None:
        """Call a function that adds to rows; soon, and before anyone reads them."""
        self._begin_if_forked()
        self._put(note, *arguments)

    def _put(self, note: Note, *arguments: t.Any) -> None:
        waiting = self._waiting
        waiting.append((note, arguments))
        if len(waiting) < self._batch:
            return
        lock = self._lock
        # Who cannot have the lock leaves it to its holder, who looks again after.
        while waiting and lock.acquire(blocking=False):
            try:
                self._count(waiting)
            finally:
                lock.release()

    def row(self, group: Group, key: tuple[t.Any, ...]) -> Row:
        """Return a row; for functions that were :meth:`put`."""
        return group.row(key, self._made_row)

    def metrics(self) -> list[Metric]:
        """Return the figures of this process."""
        self._begin_if_forked()
        with self._lock:
            self._count(self._waiting)
            self.row(self._flights, ()).set(0, self._in_flight())
            found = [one for group in self._groups for one in group.metrics()]
        # What came meanwhile was left to this.
        self.put(_nothing)
        return found

    def described(self) -> Iterable[Metric]:
        """Return the metrics without samples."""
        return [family.metric() for group in self._groups for family in group.families]

    def write(self) -> None:
        """Have all that is known in the files."""
        self._in_flight()
        self.put(_nothing)

    def _count(self, waiting: deque[tuple[Note, tuple[t.Any, ...]]]) -> None:
        while waiting:
            note, arguments = waiting.popleft()
            try:
                note(*arguments)
            except Exception as error:  # noqa: BLE001  # those that wait come, too
                self.complaints.tell("something could not be counted", error)
        if self._files is not None:
            row = self.row(self._flights, ())
            if row.values[0] != (in_flight := len(self._open)):
                row.set(0, in_flight)

    def _made_row(self, group: Group, values: tuple[str, ...]) -> Row:
        if self._files is None:
            return Row(len(group.slots))
        try:
            return self._files.row(group.names, values, group.families)
        except OSError as error:
            self.complaints.tell(
                f"{self._directory} takes no more, so figures are not served", error
            )
            return Row(len(group.slots))

    def _in_flight(self) -> int:
        """Return how many are open, and forget those whose close was not heard."""
        for key, reference in [*self._open.items()]:
            exchange = reference()
            if exchange is None or not exchange.is_open:
                self._open.pop(key, None)
        return len(self._open)


def _nothing() -> None:
    """Add nothing, but have the number in flight written."""


_stores: WeakSet[Store] = WeakSet()


def _begin_in_child() -> None:
    for store in [*_stores]:
        store.begin_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)
