"""The demand for signals: those of an application that have receivers."""

from __future__ import annotations

import typing as t
from weakref import WeakValueDictionary

from .._engine.interest import generation_of
from .._engine.interest import with_receivers
from .._engine.routes import Generation
from ..lifecycle import exchange_closed
from ..lifecycle import EXCHANGE_SIGNALS
from ..lifecycle import request_finished
from ..lifecycle import SIGNALS_WITHIN

__all__ = ["Demand", "generation", "leave_moments"]

generation: t.Final[Generation] = generation_of((*EXCHANGE_SIGNALS, *SIGNALS_WITHIN))
"""Has another ``current`` after each change that a demand depends on."""

# By id, as a sender need not be hashable.
_with_own_moments: WeakValueDictionary[int, t.Any] = WeakValueDictionary()


class Demand:
    """The signals of a sender's exchanges that have receivers, at the latest change.

    :param sender: The sender.
    """

    __slots__ = (
        "finished",
        "generation",
        "is_recorded",
        "only_closed",
        "sends_moments",
    )

    generation: object
    """Identifies the change."""
    is_recorded: bool
    """``True`` if an exchange must be recorded."""
    only_closed: bool
    """``True`` if only the last of an exchange's own signals has receivers."""
    finished: bool
    """``True`` if ``request-finished`` has receivers."""
    sends_moments: bool
    """``True`` if a layer sends ``request-started`` and ``request-finished``."""

    def __init__(self, sender: object) -> None:
        self.generation = generation.current
        signals = with_receivers(EXCHANGE_SIGNALS, sender, SIGNALS_WITHIN)
        self.is_recorded = bool(signals)
        self.only_closed = self.is_recorded and signals[0] is exchange_closed
        self.finished = request_finished in signals
        self.sends_moments = _with_own_moments.get(id(sender)) is not sender


def leave_moments(sender: object) -> None:
    """Leave ``request-started`` and ``request-finished`` of a sender to its framework.

    No layer sends them from now on, whichever of several does the work.
    """
    _with_own_moments[id(sender)] = sender
    generation.current = object()
