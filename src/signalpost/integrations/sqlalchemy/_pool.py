"""Count and time the connections that pools give."""

from __future__ import annotations

import os
import threading
import time
import typing as t
import weakref
from collections.abc import Callable

from sqlalchemy import Connection
from sqlalchemy import Engine
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.pool import Pool
from sqlalchemy.pool import PoolProxiedConnection

from ...lifecycle import sql_pool_changed
from ...receivers.sql_pools import add_pool
from ...receivers.sql_pools import bounded_name
from ...receivers.sql_pools import PoolState
from ...receivers.sql_pools import with_others
from ._catalogue import connection_checked_out
from ._engines import calling_engine
from ._engines import default_pool_name_of
from ._engines import instrumentation_of
from ._engines import sender_of
from ._failing import send_pool_timeout
from ._pool_sizes import is_exhausted
from ._pool_sizes import sizes_of
from ._suppression import is_suppressed

_WAITED = "signalpost.waited_seconds"
"""The key in a pooled connection's ``record_info`` of how long it was waited for."""

_TAKEN = "signalpost.taken"
"""The key there of the user, the engine and the time of the checkout."""

_OUT = "signalpost.out"
"""The key there of the user and the time of the checkout, for its pool."""


def watch_pool(engine: Engine) -> None:
    """Count and time the connections of an engine's pool from now on.

    SQLAlchemy has no event for a connection that is asked for, or that is not free in
    time. So the pool becomes one of a subclass of its class. That class stays for the
    life of the engine, also in the pool that ``dispose()`` makes.
    """
    pool: t.Any = engine.pool
    if getattr(pool, "signalpost_watch", None) is not None:
        return
    # Before the class: a thread that uses the pool now must find it.
    pool.signalpost_watch = _Watch(sender_of(engine))
    if not isinstance(pool, _Watched):
        pool.__class__ = _watched_class(type(pool))


def watch_calling_pool(connection: object, record: object) -> None:
    """Watch the pool that opens a connection, if no other engine has it watched."""
    engine = calling_engine()
    if engine is not None:
        watch_pool(engine)


def _watched_class(pool: type[Pool]) -> type[Pool]:
    """Return the subclass of a class of pool; always the same one of a class."""
    watched = _watched.get(pool)
    if watched is None:
        # SQLAlchemy names the loggers of pools by their class.
        named = {"__module__": pool.__module__, "__qualname__": pool.__qualname__}
        metaclass: t.Any = type(pool)
        made = metaclass(pool.__name__, (_Watched, pool), named)
        # If two threads create one, both must use the first.
        watched = _watched.setdefault(pool, made)
    return watched


_watched: weakref.WeakKeyDictionary[type[Pool], type[Pool]] = (
    weakref.WeakKeyDictionary()
)


class _Watched(Pool):
    """Base class put before the class of a pool."""

    # It is None in a pool that an application makes of this class.
    signalpost_watch: _Watch | None = None

    def connect(self) -> PoolProxiedConnection:
        watch = self.signalpost_watch
        if watch is None:
            return super().connect()
        return watch.connect(super().connect)

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        watch = self.signalpost_watch
        given_back = None if watch is None else watch.take_back(record)
        super()._do_return_conn(record)
        if watch is not None and given_back is not None:
            watch.send("returned", given_back)

    def dispose(self) -> None:
        super().dispose()
        if self.signalpost_watch is not None:
            self.signalpost_watch.send("disposed")

    def recreate(self) -> Pool:
        pool: t.Any = super().recreate()
        pool.signalpost_watch = self.signalpost_watch
        return t.cast("Pool", pool)


class _Watch:
    """The counts of the pool of one engine, and of the pools before it.

    :param engine: The engine; not kept alive.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = weakref.ref(engine)
        self._default_name = default_pool_name_of(engine)
        self._timeouts = 0
        self.forget()
        add_pool(self)
        _watches.add(self)

    def forget(self) -> None:
        """Reset the connections in use, in a forked process."""
        self._used: weakref.WeakSet[PoolProxiedConnection] = weakref.WeakSet()
        # A token each: unlike a number, a set changes in one atomic step.
        self._waiting: set[object] = set()
        # A lock that another thread of the parent held would stay locked.
        self._lock = threading.RLock()

    def connect(
        self, connect: Callable[[], PoolProxiedConnection]
    ) -> PoolProxiedConnection:
        """Get a connection, and count and time it."""
        is_timed = sql_pool_changed.receivers or connection_checked_out.receivers
        begun = time.perf_counter() if is_timed else None
        me = object()
        self._waiting.add(me)
        try:
            if sql_pool_changed.receivers and self._is_exhausted():
                self.send("awaited")
            connection = connect()
        except PoolTimeout as error:
            self._waiting.discard(me)
            self._time_out(error, begun)
            raise
        finally:
            self._waiting.discard(me)
        self._take(connection, begun)
        return connection

    def take_back(self, record: ConnectionPoolEntry) -> tuple[float | None] | None:
        """Note that a connection is not in use any more.

        :returns: For how many seconds it was, if that is known; ``None`` if nothing is
            to be sent: the collector gives it back, or it was not counted.
        """
        info: t.Any = record.record_info
        out = info.pop(_OUT, None)
        connection = None if out is None else out[0]()
        if connection is None:
            return None
        self._used.discard(connection)
        begun = out[1]
        return (None if begun is None else time.perf_counter() - begun,)

    def send(self, change: str, seconds: tuple[float | None] = (None,)) -> None:
        """Send the changes."""
        engine = self._engine()
        if engine is None or not sql_pool_changed.has_receivers_for(engine):
            return
        state = None if is_suppressed() else self.read()
        if state is None:
            return
        payload = {
            "name": state.name,
            "change": change,
            "seconds": seconds[0],
            "state": with_others(self, state),
        }
        sql_pool_changed.send_isolated(engine, payload, _no_wrapper)

    def read(self) -> PoolState | None:
        """Return the state; ``None`` if the engine is gone or not instrumented."""
        engine = self._engine()
        name = None if engine is None else self._name_of(engine)
        if engine is None or name is None:
            return None
        sizes = sizes_of(engine.pool, len(self._used))
        return PoolState(
            name=name,
            used=sizes.used,
            idle=sizes.idle,
            waiting=len(self._waiting),
            overflow=sizes.overflow,
            timeouts=self._timeouts,
            idle_max=sizes.idle_max,
            total_max=sizes.total_max,
        )

    def _take(self, connection: PoolProxiedConnection, begun: float | None) -> None:
        info: t.Any = connection.record_info
        if info is None:
            return
        now = None if begun is None else time.perf_counter()
        waited = None if now is None or begun is None else now - begun
        info[_WAITED] = waited
        out = info.get(_OUT)
        # A pool with a connection per thread returns the thread's own again.
        if out is not None and out[0]() is connection:
            return
        info[_OUT] = weakref.ref(connection), now
        self._used.add(connection)
        self.send("taken", (waited,))

    def _time_out(self, error: PoolTimeout, begun: float | None) -> None:
        with self._lock:
            self._timeouts += 1
        send_pool_timeout(error)
        waited = None if begun is None else time.perf_counter() - begun
        self.send("timed-out", (waited,))

    def _is_exhausted(self) -> bool:
        engine = self._engine()
        return engine is not None and is_exhausted(engine.pool)

    def _name_of(self, engine: Engine) -> str | None:
        instrumentation = instrumentation_of(engine)
        if instrumentation is None:
            return None
        return bounded_name(instrumentation.pool_name or self._default_name)


_watches: weakref.WeakSet[_Watch] = weakref.WeakSet()


def _forget_parents_connections() -> None:
    for watch in [*_watches]:
        watch.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parents_connections)


def waited_seconds(connection: Connection) -> float | None:
    """Return how long a connection was waited for, if its pool has measured it."""
    info = connection.connection.record_info
    return None if info is None else info.pop(_WAITED, None)


def take(connection: Connection, sender: Engine | None) -> None:
    """Note for which engine a connection was taken, if its return is to be sent."""
    proxied = connection.connection
    info = proxied.record_info
    if info is None:
        return
    if sender is None:
        info.pop(_TAKEN, None)
        return
    taken = info.get(_TAKEN)
    # A pool with a connection per thread returns the thread's own again.
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


def _no_wrapper() -> None:
    """Run no async receiver: SQLAlchemy waits for a plain function."""
