"""Units of work beside requests, counted."""

from __future__ import annotations

import os
import typing as t

from ...lifecycle import work_finished
from ...lifecycle import work_started
from ...work import Work
from ._groups import Groups
from ._store import Store

__all__ = ["WorkMetrics"]


class WorkMetrics:
    """Counts units of work, by their names.

    :param groups: The metrics.
    :param store: Where they are kept.
    """

    def __init__(self, groups: Groups, store: Store) -> None:
        self._groups = groups
        self._put = store.put
        store.add(groups.work, groups.work_flights)

    def connect(self, sender: t.Any) -> None:
        """Count those of a sender."""
        work_started.connect(self.started, sender, weak=False)
        work_finished.connect(self.finished, sender, weak=False)

    def disconnect(self, sender: t.Any) -> None:
        """Count those of a sender no more."""
        work_started.disconnect(self.started, sender)
        work_finished.disconnect(self.finished, sender)

    def started(self, sender: object, *, exchange: Work) -> None:
        """Count a unit of work as in flight."""
        # In this process: one that is forked meanwhile has nothing in flight.
        exchange.state[self] = os.getpid()
        self._put(self._note_flight, exchange.name, 1)

    def finished(self, sender: object, *, exchange: Work) -> None:
        """Count a unit of work that is over."""
        if exchange.state.pop(self, None) == os.getpid():
            self._put(self._note_flight, exchange.name, -1)
        # Of one that was lost with its process, the duration is not known.
        seconds = None if exchange.outcome == "lost" else exchange.duration_seconds
        self._put(self._note_end, (exchange.name, exchange.outcome), seconds)

    def _note_flight(self, name: str, change: int) -> None:
        self._groups.work_flights.row((name,))[0].inc(change)

    def _note_end(self, key: tuple[t.Any, ...], seconds: float | None) -> None:
        units, durations = self._groups.work.row(key)
        units.inc()
        if seconds is not None:
            durations.observe(seconds)
