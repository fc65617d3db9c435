"""What the death of a receiver or a sender sets off."""

from __future__ import annotations

import sys
import typing as t
import warnings
import weakref
from collections.abc import Callable
from typing import Any

from .lifetime import place_of

if t.TYPE_CHECKING:
    from .connection import Connection
    from .connections import Connections


class Burial:
    """What the death of a receiver or a sender sets off.

    It must neither wait nor fail, and the signal must not be kept alive by its own
    connections: it refers to the signal weakly.
    """

    __slots__ = ("_connections",)

    def __init__(self, connections: Connections) -> None:
        self._connections = weakref.ref(connections)

    def __call__(
        self,
        reference: weakref.ref[Any],
        # A default, as globals may be gone when the interpreter exits.
        is_finalizing: Callable[[], bool] = sys.is_finalizing,
    ) -> None:
        signal = self._connections()
        if signal is None or is_finalizing():
            return
        # The id may be given away as soon as this returns.
        signal._forget_plain_routes()
        signal._dead.append(reference)
        signal._settle()


class LoudBurial(Burial):
    """The same, and a warning if the receiver was still connected."""

    __slots__ = ()

    def __call__(
        self,
        reference: weakref.ref[Any],
        is_finalizing: Callable[[], bool] = sys.is_finalizing,
    ) -> None:
        signal = self._connections()
        is_lost = t.cast("Connection", reference).is_alive
        super().__call__(reference, is_finalizing)
        connection = t.cast("Connection", reference)
        # Without a place it was reported when it was connected.
        if not is_lost or connection.code is None or signal is None or is_finalizing():
            return
        place = place_of(connection.code, connection.instruction)
        warnings.warn(
            f"a function that was connected weakly to {signal} at {place} died while"
            " connected; keep it in a variable or connect it with weak=False",
            ResourceWarning,
            stacklevel=2,
        )
