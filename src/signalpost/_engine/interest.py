"""Whether anyone is connected, for callers that ask in each request."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .routes import Generation
from .signal import Signal


def generation_of(signals: Iterable[Signal]) -> Generation:
    """Return what has another ``current`` object after each change of the signals.

    A caller that asks again and again whether anyone is connected keeps the answer
    while that is the same object. It must be read before the question is asked.
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

    And those of others that have any receiver, whoever sends them. Faster than asking
    each; used on the hot path. Among them may be one whose receiver is just dying.
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
