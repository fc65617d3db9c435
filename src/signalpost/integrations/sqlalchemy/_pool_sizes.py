"""Read how many connections a pool of SQLAlchemy's has, of whichever class it is."""

from __future__ import annotations

import typing as t

from sqlalchemy.pool import AssertionPool
from sqlalchemy.pool import NullPool
from sqlalchemy.pool import Pool
from sqlalchemy.pool import QueuePool
from sqlalchemy.pool import SingletonThreadPool
from sqlalchemy.pool import StaticPool


class Sizes(t.NamedTuple):
    """How many connections a pool has, and may have."""

    used: int
    idle: int
    overflow: int
    idle_max: int | None
    total_max: int | None


def sizes_of(pool: Pool, used: int) -> Sizes:
    """Return the sizes of a pool.

    :param used: How many of its connections are in use by our own count, with those of
        the pools that were replaced by it. Only pools with a queue count themselves,
        and they forget what is in use when they are disposed.
    """
    if isinstance(pool, QueuePool):
        return _sizes_of_queue(pool, used)
    if isinstance(pool, NullPool):
        return Sizes(used, 0, 0, 0, None)
    if isinstance(pool, SingletonThreadPool):
        opened = len(getattr(pool, "_all_conns", ()))
        return Sizes(used, max(opened - used, 0), 0, pool.size, None)
    # One connection, which a StaticPool gives to all at once.
    if isinstance(pool, StaticPool):
        opened = _is_open(vars(pool).get("connection"))
    elif isinstance(pool, AssertionPool):
        opened = _is_open(getattr(pool, "_conn", None))
    else:
        return Sizes(used, 0, 0, None, None)
    used = min(used, 1)
    return Sizes(used, max(opened - used, 0), 0, 1, 1)


def is_exhausted(pool: Pool) -> bool:
    """Return whether a caller of a pool must wait for a connection.

    Only for a pool with a queue: other pools raise, or give a connection at once. The
    connections of the pools that it has replaced do not count.
    """
    if not isinstance(pool, QueuePool):
        return False
    sizes = _sizes_of_queue(pool, 0)
    return sizes.total_max is not None and sizes.used >= sizes.total_max


def _sizes_of_queue(pool: QueuePool, used: int) -> Sizes:
    size, idle = pool.size(), pool.checkedin()
    if not size:
        return Sizes(max(pool.checkedout(), used), idle, 0, None, None)
    # Negative until as many as its size have been opened.
    overflow = pool.overflow()
    # It has no public name. A negative number is not a limit.
    most_overflow: t.Any = getattr(pool, "_max_overflow", -1)
    return Sizes(
        # The same as checkedout(), which would take the lock of the queue once more.
        # It also counts those that were taken before it was watched.
        max(size - idle + overflow, used),
        idle,
        max(overflow, 0),
        size,
        size + most_overflow if most_overflow >= 0 else None,
    )


def _is_open(record: t.Any) -> int:
    """Return 1 if a record has a connection of the driver."""
    return int(getattr(record, "dbapi_connection", None) is not None)
