"""The callbacks of weak references: a receiver or a sender has died."""

from __future__ import annotations

import sys
import typing as t
import warnings
import weakref
from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import suppress
from types import CodeType
from typing import Any

from .connection import Connection
from .lifetime import location_of
from .senders import SenderReference


class Owner(t.Protocol):
    """The table that has the connections."""

    def signal(self) -> object:
        """Return the signal, for messages."""

    def connections(self) -> Iterable[Connection]:
        """Return every connection."""

    def has_sender(self, connection: Connection) -> bool:
        """Return whether the sender of a connection still exists."""

    def receiver_died(self, connection: Connection) -> None:
        """Take the connection out soon."""

    def sender_died(self, reference: SenderReference) -> None:
        """Remove the sender now, and its connections soon."""


class Death:
    """A receiver that died before its signal was sent to it.

    :param signal: The signal.
    :param connection: The connection, which has a place.
    """

    __slots__ = ("_code", "_instruction", "signal_name")

    signal_name: str
    """The signal's name; ``""`` if it has none."""

    def __init__(self, signal: object, connection: Connection) -> None:
        self.signal_name = getattr(signal, "name", "")
        self._code = t.cast("CodeType", connection.code)
        self._instruction = connection.instruction

    @property
    def connected_at(self) -> str:
        """The line that connected the receiver, as ``file:line``."""
        return location_of(self._code, self._instruction)

    @property
    def connected_in(self) -> str:
        """The qualified name of the function that connected it."""
        return self._code.co_qualname

    @property
    def key(self) -> Hashable:
        """The key, which deaths of one signal at one place share."""
        return self.signal_name, id(self._code), self._instruction


class Deaths:
    """The latest deaths, one for each signal and place, at most 100.

    Without a lock: they are added where objects are freed, in any thread.
    """

    __slots__ = ("_by_key",)

    def __init__(self) -> None:
        self._by_key: dict[Hashable, Death] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Death]:
        return iter(self._by_key.copy().values())

    def add(self, death: Death) -> None:
        """Add a death as the latest one; drop an older one of the same location."""
        by_key, key = self._by_key, death.key
        by_key.pop(key, None)
        by_key[key] = death
        if len(by_key) > _MOST_DEATHS:
            # Another thread may have changed them meanwhile.
            with suppress(RuntimeError, StopIteration):
                by_key.pop(next(iter(by_key)), None)

    def clear(self) -> None:
        """Remove all deaths."""
        self._by_key.clear()


_MOST_DEATHS = 100

deaths = Deaths()
"""The latest deaths of receivers that were never called."""


def _is_unexpected(connection: Connection, table: Owner) -> bool:
    """Return whether a receiver was connected when it died, and not yet reported.

    One without a place was reported when it was connected.
    """
    return (
        connection.is_connected
        and connection.code is not None
        and table.has_sender(connection)
    )


class Cleanup:
    """Callback of weak references; it neither waits nor raises.

    It refers to the table weakly, so that connections do not keep their signal alive.
    """

    __slots__ = ("_table",)

    def __init__(self, table: Owner) -> None:
        self._table = weakref.ref(table)

    def __call__(
        self,
        reference: weakref.ref[Any],
        # A default, as globals may be gone when the interpreter exits.
        is_finalizing: Callable[[], bool] = sys.is_finalizing,
    ) -> None:
        table = self._table()
        if table is None or is_finalizing():
            return
        if isinstance(reference, Connection):
            if not reference.was_sent and _is_unexpected(reference, table):
                deaths.add(Death(table.signal(), reference))
            table.receiver_died(reference)
        elif isinstance(reference, SenderReference):
            table.sender_died(reference)


class ReportingCleanup(Cleanup):
    """Callback for one function, which warns if the function was still connected.

    :param table: The table.
    :param function: The function.
    """

    __slots__ = ("_name",)

    def __init__(self, table: Owner, function: Any) -> None:
        super().__init__(table)
        self._name = (function.__module__, function.__qualname__)

    def __call__(
        self,
        reference: weakref.ref[Any],
        is_finalizing: Callable[[], bool] = sys.is_finalizing,
    ) -> None:
        connection = t.cast("Connection", reference)
        table = self._table()
        is_unexpected = table is not None and _is_unexpected(connection, table)
        super().__call__(reference, is_finalizing)
        if table is None or not is_unexpected or is_finalizing():
            return
        if self._is_replaced(table):
            return
        place = location_of(t.cast("CodeType", connection.code), connection.instruction)
        warnings.warn(
            f"a function that was connected weakly to {table.signal()} at {place} was"
            " freed while connected; keep it in a variable or connect it with"
            " weak=False",
            ResourceWarning,
            stacklevel=2,
        )

    def _is_replaced(self, table: Owner) -> bool:
        """Return whether its module was loaded again and connected the new function."""
        if "<locals>" in self._name[1]:
            return False
        living = (one.receiver() for one in table.connections())
        return any(
            (getattr(one, "__module__", None), getattr(one, "__qualname__", None))
            == self._name
            for one in living
        )
