"""Read the connection pools of the instrumented databases."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

__all__ = ["MOST_NAMES", "PoolState", "ReadablePool", "add_pool", "pool_states"]

MOST_NAMES = 100
"""How many names of pools there are in one process; further pools are ``"other"``."""


@dataclass(frozen=True, slots=True)
class PoolState:
    """The state of a connection pool at one moment; from :func:`pool_states`.

    If several pools have the same name, this is their sum.

    .. versionadded:: 0.1
    """

    name: str
    """The name of the pool."""
    used: int
    """How many connections are checked out."""
    idle: int
    """How many open connections are in the pool."""
    waiting: int
    """How many callers have asked for a connection and do not have it yet; also while a
    new connection is opened for them."""
    overflow: int
    """How many connections are open beyond the size of the pool."""
    timeouts: int
    """How often no connection was free in time."""
    idle_max: int | None
    """The size of the pool, which is how many connections it keeps; ``None`` for no
    limit."""
    total_max: int | None
    """How many connections may be open, overflow included; ``None`` for no limit."""

    def __add__(self, other: PoolState) -> PoolState:
        """Return the sum of two states, with the name of the first one."""
        return PoolState(
            self.name,
            self.used + other.used,
            self.idle + other.idle,
            self.waiting + other.waiting,
            self.overflow + other.overflow,
            self.timeouts + other.timeouts,
            _sum_of_limits(self.idle_max, other.idle_max),
            _sum_of_limits(self.total_max, other.total_max),
        )


class ReadablePool(Protocol):
    """A pool that can be read: for an integration that has pools.

    .. versionadded:: 0.1
    """

    def read(self) -> PoolState | None:
        """Return the state; ``None`` for a pool that is not to be read now."""


def pool_states(name: str | None = None) -> list[PoolState]:
    """Return the state of the connection pools that are instrumented in this process.

    It can be called at any time, from any thread, for example when metrics are
    collected. An engine is left out as soon as it is freed, or no longer instrumented.

    :param name: The name of a pool; ``None`` for all pools.
    :returns: One state for each name, sorted by name.

    .. versionadded:: 0.1
    """
    by_name: dict[str, PoolState] = {}
    # One atomic step: other threads may add pools.
    for reference in [*_pools.values()]:
        pool = reference()
        state = None if pool is None else pool.read()
        if state is not None and name in {None, state.name}:
            before = by_name.get(state.name)
            by_name[state.name] = state if before is None else before + state
    return [by_name[one] for one in sorted(by_name)]


def add_pool(pool: ReadablePool) -> None:
    """Add a pool to :func:`pool_states`, until the pool is freed.

    .. versionadded:: 0.1
    """
    key = id(pool)
    _pools[key] = weakref.ref(pool, lambda _: _pools.pop(key, None))


def with_others(pool: ReadablePool, state: PoolState) -> PoolState:
    """Return the state of a pool, with those of the other pools that have its name."""
    if len(_pools) == 1:
        return state
    for reference in [*_pools.values()]:
        other = reference()
        if other is not None and other is not pool:
            found = other.read()
            if found is not None and found.name == state.name:
                state += found
    return state


def bounded_name(name: str) -> str:
    """Return the name of a pool, or ``"other"`` if there are too many names.

    Names are labels of metrics, and an application may make an engine for each user.
    """
    if name not in _names:
        if len(_names) >= MOST_NAMES:
            return "other"
        # Two threads may add one each at the end, which does no harm.
        _names.add(name)
    return name


_pools: dict[int, Callable[[], ReadablePool | None]] = {}
_names: set[str] = set()


def _sum_of_limits(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other
