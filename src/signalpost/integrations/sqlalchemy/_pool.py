"""Know how long connections of a pool are waited for, and held."""

from __future__ import annotations

import time
import typing as t
import weakref

from sqlalchemy import Connection
from sqlalchemy import Engine
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.pool import Pool
from sqlalchemy.pool import PoolProxiedConnection

from ...lifecycle import sql_failed
from ._catalogue import connection_checked_out
from ._failing import send_pool_timeout

_WAITED = "signalpost.waited_seconds"
"""The key in a pooled connection's ``record_info`` of how long it was waited for."""

_TAKEN = "signalpost.taken"
"""The key there of who has it, on whose engine, and since when."""


def measured_pool(pool: type[Pool]) -> type[Pool]:
    """Return a class of pool that measures how long its connections are waited for.

    SQLAlchemy has an event for a connection that was checked out, but none for one that
    is asked for, or that is not free in time. With such a pool an engine sends
    ``waited_seconds`` in ``connection_checked_out``, and ``sql_failed`` with the
    operation ``"pool"``::

        engine = create_engine(url, poolclass=measured_pool(QueuePool))

    ``QueuePool`` is what most engines have, ``AsyncAdaptedQueuePool`` most async ones.
    While neither signal has a receiver no clock is read.

    :param pool: The class of pool to use.
    :returns: A subclass; always the same one of a class.
    :raises TypeError: If ``pool`` is something else.

    .. versionadded:: 0.1
    """
    given: t.Any = pool
    if not isinstance(given, type) or not issubclass(given, Pool):
        raise TypeError(
            f"pool must be a class of sqlalchemy.pool, got {pool!r}; pass QueuePool, or"
            " AsyncAdaptedQueuePool for an async engine"
        )
    if issubclass(given, _Measured):
        return pool
    measured = _measured.get(pool)
    if measured is None:
        # Of two threads the first one's is taken, as it is always to be the same.
        made = type(f"Measured{pool.__name__}", (_Measured, pool), {})
        measured = _measured.setdefault(pool, made)
    return measured


_measured: weakref.WeakKeyDictionary[type[Pool], type[Pool]] = (
    weakref.WeakKeyDictionary()
)


class _Measured(Pool):
    def connect(self) -> PoolProxiedConnection:
        if not connection_checked_out.receivers and not sql_failed.receivers:
            return super().connect()
        begun = time.perf_counter()
        try:
            connection = super().connect()
        except PoolTimeout as error:
            send_pool_timeout(error)
            raise
        info = connection.record_info
        if info is not None:
            info[_WAITED] = time.perf_counter() - begun
        return connection


def waited_seconds(connection: Connection) -> float | None:
    """Return how long a connection was waited for, if its pool has measured it."""
    info = connection.connection.record_info
    return None if info is None else info.pop(_WAITED, None)


def take(connection: Connection, sender: Engine | None) -> None:
    """Note for whom a connection has been taken from its pool, if anyone hears it."""
    proxied = connection.connection
    info = proxied.record_info
    if info is None:
        return
    if sender is None:
        info.pop(_TAKEN, None)
        return
    taken = info.get(_TAKEN)
    # A pool by threads gives a thread what it has already.
    if taken is None or taken[0]() is not proxied:
        info[_TAKEN] = weakref.ref(proxied), sender, time.perf_counter()


def give_back(record: ConnectionPoolEntry) -> tuple[Engine, float] | None:
    """Return the engine that a connection was taken for, and for how many seconds."""
    info: t.Any = record.record_info
    taken = info.pop(_TAKEN, None)
    if taken is None:
        return None
    _, sender, begun = taken
    return sender, time.perf_counter() - begun
