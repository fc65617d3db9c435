"""Statements and pools of connections, counted."""

from __future__ import annotations

import os
import typing as t
from collections.abc import Callable
from collections.abc import Container
from collections.abc import Hashable
from math import inf

from ..._engine.identity import ANY
from ..._engine.identity import sender_key
from ...exchange import Exchange
from ...lifecycle import sql_executed
from ...lifecycle import sql_failed
from ...lifecycle import sql_pool_changed
from ...receivers.sql_pools import pool_states
from ...receivers.sql_pools import PoolState
from ...receivers.statements import operation_of
from ._groups import Groups
from ._groups import NO_EXCHANGE
from ._options import route_of
from ._store import Store

__all__ = ["SqlMetrics"]


class SqlMetrics:
    """Counts what databases do, for the exchanges of some applications and for none.

    :param groups: The metrics.
    :param store: Where they are kept.
    :param applications: The applications, by their keys as senders.
    """

    def __init__(
        self, groups: Groups, store: Store, applications: Container[Hashable]
    ) -> None:
        self._groups = groups
        self._put = store.put
        self._store = store
        self._applications = applications
        # What the gauges of each pool are, in this process.
        self._shown: dict[str, PoolState] = {}
        self._process = os.getpid()
        store.add(groups.statements, groups.statement_durations)
        store.add(groups.pools, groups.pool_levels, groups.pool_connections)

    def connect(self, counted: Callable[..., bool] | None) -> None:
        """Count; the calls after the first change nothing.

        :param counted: Whether a signal with an exchange is counted.
        """
        sql_executed.connect(self.executed, weak=False, when=counted)
        sql_failed.connect(self.failed, weak=False, when=counted)
        sql_pool_changed.connect(self.pool_changed, weak=False)
        self._store.refresh = self.refresh

    def disconnect(self) -> None:
        """Count no more."""
        sql_executed.disconnect(self.executed)
        sql_failed.disconnect(self.failed)
        sql_pool_changed.disconnect(self.pool_changed)
        self._store.refresh = None

    def executed(
        self,
        sender: object,
        *,
        statement: str,
        duration_seconds: float,
        exception: BaseException | None,
        exchange: Exchange | None,
    ) -> None:
        """Count a statement, unless a request of another application executed it."""
        if self._is_of_ours(exchange):
            operation = operation_of(statement) or "other"
            outcome = "ok" if exception is None else "error"
            key = (_route_of(exchange), operation, outcome)
            self._put(self._note_statement, key, duration_seconds)

    def failed(
        self, sender: object, *, operation: str, exchange: Exchange | None
    ) -> None:
        """Count what failed beside a statement, as ``executed`` counts statements."""
        if self._is_of_ours(exchange):
            key = (_route_of(exchange), operation, "error")
            self._put(self._note_failure, key)

    def pool_changed(
        self,
        sender: object,
        *,
        name: str,
        change: str,
        seconds: float | None,
        state: PoolState,
    ) -> None:
        """Count a change of a pool."""
        self._put(self._note_pool, name, change, seconds, state)

    def refresh(self) -> None:
        """Set what the pools of this process have now; that of closed ones to zero.

        A connection that the garbage collector gives back sends no signal.
        """
        states = pool_states()
        for gone in self._shown.keys() - {state.name for state in states}:
            self._set_pool(PoolState(gone, 0, 0, 0, 0, 0, 0, 0))
        for state in states:
            self._set_pool(state)

    def _is_of_ours(self, exchange: Exchange | None) -> bool:
        if exchange is None or sender_key(ANY) in self._applications:
            return True
        return sender_key(exchange.sender) in self._applications

    def _note_statement(self, key: tuple[t.Any, ...], duration_seconds: float) -> None:
        statements, seconds = self._groups.statements.row(key)
        statements.inc()
        seconds.inc(duration_seconds)
        (durations,) = self._groups.statement_durations.row(key[1:])
        durations.observe(duration_seconds)

    def _note_failure(self, key: tuple[t.Any, ...]) -> None:
        self._groups.statements.row(key)[0].inc()

    def _note_pool(
        self, name: str, change: str, seconds: float | None, state: PoolState
    ) -> None:
        waits, uses, timeouts = self._groups.pools.row((name,))
        if change == "timed-out":
            timeouts.inc()
        elif change == "taken" and seconds is not None:
            waits.observe(seconds)
        elif change == "returned" and seconds is not None:
            uses.observe(seconds)
        # Read again: two threads may put two changes in another order.
        for now in pool_states(name) or (state,):
            self._set_pool(now)

    def _set_pool(self, state: PoolState) -> None:
        if self._process != os.getpid():
            self._process = os.getpid()
            self._shown.clear()
        name, groups, before = state.name, self._groups, self._shown.get(state.name)
        if state == before:
            return
        self._shown[name] = state
        for which, number in (("used", state.used), ("idle", state.idle)):
            groups.pool_connections.row((name, which))[0].set(number)
        levels = _levels_of(state)
        if before is None or levels != _levels_of(before):
            gauges = groups.pool_levels.row((name,))
            for gauge, level in zip(gauges, levels, strict=True):
                gauge.set(inf if level is None else level)


def _levels_of(state: PoolState) -> tuple[int | None, ...]:
    return state.waiting, state.overflow, state.idle_max, state.total_max


def _route_of(exchange: Exchange | None) -> str | None:
    return NO_EXCHANGE if exchange is None else route_of(exchange)
