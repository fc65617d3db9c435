"""The current exchange of the running code, for the middleware."""

from __future__ import annotations

import typing as t
from contextvars import ContextVar
from types import CodeType
from types import FrameType

from ._handling import Handling

__all__ = [
    "carried_values",
    "codes_that_set",
    "context_exchange",
    "nearest",
    "producing",
]


def nearest(frame: FrameType | None, current: Handling | None) -> Handling | None:
    """Return the exchange of the nearest body or call on the stack.

    A variable of the context that is set at each step of a body would cost more than
    all else that is done for a chunk, and one that stays set would be seen by others.
    """
    while frame is not None:
        exchange = producing.get(id(frame))
        if exchange is not None:
            return current if _is_work_in(current, exchange) else exchange
        if frame.f_code in codes_that_set:
            return current
        frame = frame.f_back
    return current


def _is_work_in(current: Handling | None, exchange: Handling) -> bool:
    """Return whether a unit of work was begun in an exchange, and continues."""
    while current is not None and current.is_work:
        current = t.cast("Handling | None", current.outer)
        if current is exchange:
            return True
    return False


context_exchange: ContextVar[Handling | None] = ContextVar(
    "signalpost.exchange", default=None
)
"""The exchange whose call, or close, runs in this context. The middleware
resets it before it returns."""

carried_values: ContextVar[tuple[str, ...]] = ContextVar(
    "signalpost.carried", default=()
)
"""Values for lines, of the request that work was started for, the id first; empty where
nothing was carried."""

producing: dict[int, Handling] = {}
"""The exchanges whose bodies are being produced, by the ids of the frames that do it.
Each frame puts itself in and takes itself out."""

codes_that_set: set[CodeType] = set()
"""The code of the functions that set :data:`context_exchange` for what they call."""
