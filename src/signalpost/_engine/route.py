"""Routes: the immutable, ordered connections that one sender's payload goes to."""

from __future__ import annotations

from collections.abc import Generator
from collections.abc import Hashable
from collections.abc import Iterable

from .connection import by_order
from .connection import Connection
from .connection import merge
from .connection import Receiver


class Route:
    """The connections that one sender's payload goes to.

    A send reads it once. It is never changed: a change of the connections makes
    another one.

    :param groups: The connections.
    :param base: The route of ``ANY`` that it was made with.
    :param is_declared: Whether the signal declares its payload.
    :param is_observed: Whether calls of receivers are observed.
    """

    __slots__ = (
        "base",
        "connections",
        "has_async",
        "is_direct",
        "is_plain",
        "is_simple",
        "plain",
    )

    base: Route | None
    """The route of ``ANY`` that it was made with: it is valid while that one is."""
    connections: tuple[Connection, ...]
    """The connections in order, each receiver once."""
    has_async: bool
    """``True`` if any receiver is async."""
    is_simple: bool
    """``True`` if a send only has to call each receiver with its names."""
    is_direct: bool
    """``True`` if it is simple, and no receiver is async."""
    is_plain: bool
    """``True`` if it is direct, and no receiver gets a part only."""
    plain: tuple[Connection, ...] | None
    """The connections if it is plain, else ``None``; a send reads this first."""

    def __init__(
        self,
        groups: Iterable[Iterable[Connection]],
        base: Route | None = None,
        *,
        is_declared: bool = False,
        is_observed: bool = False,
    ) -> None:
        self.base = base
        self.connections = connections = _ordered(groups)
        for connection in connections:
            for part in connection.parts:
                part.was_sent = True
        self.has_async = any(one.is_async for one in connections)
        all_options = [one.options for one in connections]
        self.is_simple = not is_observed and not any(
            one.once or one.when or one.strict or one.passes_signal
            for one in all_options
        )
        is_whole = not connections or not is_declared
        self.is_direct = self.is_simple and not self.has_async
        self.is_plain = self.is_direct and is_whole
        self.plain = connections if self.is_plain else None

    def receivers(self) -> Generator[tuple[Connection, Receiver]]:
        """Yield each connection whose receiver still exists in its turn."""
        for connection in self.connections:
            receiver = connection.receiver()
            if receiver is not None:
                yield connection, receiver


def _ordered(groups: Iterable[Iterable[Connection]]) -> tuple[Connection, ...]:
    by_key: dict[Hashable, list[Connection]] = {}
    for group in groups:
        for connection in group:
            by_key.setdefault(connection.call_key(), []).append(connection)
    return tuple(sorted(map(merge, by_key.values()), key=by_order))


EMPTY_ROUTE = Route(())

STALE_ROUTE = Route(())
"""Marks a sender's route as missing; it is never valid."""
STALE_ROUTE.base = STALE_ROUTE
