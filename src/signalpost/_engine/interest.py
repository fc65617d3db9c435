"""Whether any receiver is connected, for callers that check in each request."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .routes import Generation
from .signal import Signal


def generation_of(signals: Iterable[Signal]) -> Generation:
    """Return an object that gets another ``current`` after each change of the signals.

    A caller that checks often whether any receiver is connected keeps the answer while
    ``current`` is the same object. It must be read before the check.
    """
    generation = Generation()
    for signal in signals:
        table = signal.table
        table.look(table.routes.add_generation, generation)
    return generation


def with_receivers(
    signals: tuple[Signal, ...], sender: Any, of_others: tuple[Signal, ...] = ()
) -> tuple[Signal, ...]:
    """Return those of several signals that have receivers for what ``sender`` sends.

    And those of others that have any receiver, for any sender. Faster than checking
    each; used on the hot path. It may return a signal whose receiver is just dying.
    """
    found: tuple[Signal, ...] = ()
    for signal in signals:
        table = signal.table
        if table.any or (table.by_sender and table.reaches(sender)):
            found += (signal,)
    for signal in of_others:
        if signal.table.any or signal.table.by_sender:
            found += (signal,)
    return found
