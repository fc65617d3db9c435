"""Which exchange the running code works for, as the middleware notes it."""

from __future__ import annotations

from contextvars import ContextVar
from types import CodeType
from types import FrameType

from ._handling import Handling

__all__ = ["codes_that_set", "context_exchange", "nearest", "producing"]


def nearest(frame: FrameType | None, current: Handling | None) -> Handling | None:
    """Return the exchange of the nearest body or call on the stack.

    A variable of the context that is set at each step of a body would cost more than
    all else that is done for a chunk, and one that stays set would be seen by others.
    """
    while frame is not None:
        exchange = producing.get(id(frame))
        if exchange is not None:
            return exchange
        if frame.f_code in codes_that_set:
            return current
        frame = frame.f_back
    return current


context_exchange: ContextVar[Handling | None] = ContextVar(
    "signalpost.exchange", default=None
)
"""The exchange whose call, or close, runs in this context. For the middleware, which
takes back what it has set before it returns."""

producing: dict[int, Handling] = {}
"""The exchanges whose bodies are being produced, by the ids of the frames that do it.
Each frame puts itself in and takes itself out."""

codes_that_set: set[CodeType] = set()
"""The code of the functions that set :data:`context_exchange` for what they call."""
