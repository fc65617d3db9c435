"""Metrics of units of work."""

from __future__ import annotations

import os
import typing as t

from ...lifecycle import work_finished
from ...lifecycle import work_started
from ...work import Work
from ._store import Store
from ._values import balance
from ._values import counter
from ._values import histogram
from ._values import Label
from ._values import Limits

__all__ = ["WorkMetrics"]

_BOUNDS = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600)


class WorkMetrics:
    """Counts units of work, by their names.

    :param prefix: The prefix of each name.
    :param limits: How many values there are of each label.
    :param store: Where the metrics are kept.
    """

    def __init__(self, prefix: str, limits: Limits, store: Store) -> None:
        most, name = limits.label_sets, Label("name", limits.routes)
        text = "Time from the start to the end of a unit of work."
        self._ended = store.group(
            *(most, [name, Label("outcome", 10)]),
            counter(f"{prefix}work_units", "Finished units of work."),
            histogram(f"{prefix}work_duration_seconds", text, _BOUNDS),
        )
        text = "Units of work that are not over."
        flights = balance(f"{prefix}work_in_flight", text)
        self._flights = store.group(most, [name], flights)
        self._put = store.put

    def connect(self, sender: t.Any) -> None:
        """Count those of a sender."""
        work_started.connect(self.started, sender, weak=False)
        work_finished.connect(self.finished, sender, weak=False)

    def disconnect(self, sender: t.Any) -> None:
        """Stop counting the units of work of a sender."""
        work_started.disconnect(self.started, sender)
        work_finished.disconnect(self.finished, sender)

    def started(self, sender: object, *, exchange: Work) -> None:
        """Count a unit of work as in flight."""
        # In this process: one that is forked meanwhile has nothing in flight.
        exchange.state[self] = os.getpid()
        self._put(self._flights.add, (exchange.name,), 1)

    def finished(self, sender: object, *, exchange: Work) -> None:
        """Count a finished unit of work."""
        if exchange.state.pop(self, None) == os.getpid():
            self._put(self._flights.add, (exchange.name,), -1)
        # Of one that was lost with its process, the duration is not known.
        seconds = None if exchange.outcome == "lost" else exchange.duration_seconds
        key = exchange.name, exchange.outcome
        self._put(self._ended.add, key, 1, seconds)
