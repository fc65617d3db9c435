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
from ...receivers.sql_pools import MOST_NAMES
from ...receivers.sql_pools import pool_states
from ...receivers.sql_pools import PoolState
from ...receivers.statements import operation_of
from ...receivers.statements import OPERATIONS
from ._options import route_of
from ._requests import NO_EXCHANGE
from ._store import Store
from ._values import counter
from ._values import gauge
from ._values import histogram
from ._values import Label

__all__ = ["SqlMetrics"]

_EVERY = sender_key(ANY)
_MOST_POOLS = MOST_NAMES + 1
# The operations of statements, other failed operations, and one for all others.
_MOST_OPERATIONS = len(OPERATIONS) + 10
# The bounds that OpenTelemetry's conventions advise for a database.
_BOUNDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
_LEVELS = {
    "waiting": "Callers that wait for a connection of the pool.",
    "overflow_connections": "Open connections beyond the size of the pool.",
    "max_idle_connections": "How many connections the pool keeps.",
    "max_connections": "How many connections the pool may open.",
}


class SqlMetrics:
    """Counts the work of databases, in exchanges of applications and outside of them.

    :param prefix: The prefix of each name.
    :param most: The most sets of labels of statements.
    :param route: The label.
    :param store: Where the metrics are kept.
    :param applications: The applications, by their keys as senders.
    """

    def __init__(
        self,
        prefix: str,
        most: int,
        route: Label,
        store: Store,
        applications: Container[Hashable],
    ) -> None:
        self._put = store.put
        self._store = store
        self._applications = applications
        # The gauges of each pool in this process.
        self._shown: dict[str, PoolState] = {}
        self._process = os.getpid()
        start = f"{prefix}sql_statement"
        labels = [Label("operation", _MOST_OPERATIONS), Label("outcome", 2)]
        text = "Statements that the database executed, failed ones included."
        self._statements = store.group(
            *(most, [route, *labels]),
            counter(f"{start}s", text),
            counter(f"{start}_seconds", "Time that the database driver took."),
        )
        text = "Time that the database driver took for a statement."
        durations = histogram(f"{start}_duration_seconds", text, _BOUNDS)
        self._durations = store.group(2 * _MOST_OPERATIONS, labels, durations)
        self._add_pools(f"{prefix}sql_pool_")

    def _add_pools(self, start: str) -> None:
        group = self._store.group
        labels = [Label("pool", _MOST_POOLS)]
        text = "Time until a caller had a connection of the pool."
        waits = histogram(f"{start}wait_seconds", text, _BOUNDS)
        text = "Time that a connection of the pool was in use."
        uses = histogram(f"{start}use_seconds", text, _BOUNDS)
        text = "Callers that got no connection of the pool in time."
        timeouts = counter(f"{start}timeouts", text)
        self._pools = group(_MOST_POOLS, labels, waits, uses, timeouts)
        self._levels = group(
            *(_MOST_POOLS, labels),
            *(gauge(f"{start}{name}", text) for name, text in _LEVELS.items()),
        )
        connections = gauge(f"{start}connections", "Open connections of the pool.")
        labels = [*labels, Label("state", 2)]
        self._connections = group(2 * _MOST_POOLS, labels, connections)

    def connect(self, counted: Callable[..., bool] | None) -> None:
        """Count; the calls after the first change nothing.

        :param counted: Whether a signal with an exchange is counted.
        """
        sql_executed.connect(self.executed, weak=False, when=counted)
        sql_failed.connect(self.failed, weak=False, when=counted)
        sql_pool_changed.connect(self.pool_changed, weak=False)
        self._store.refresh = self.refresh

    def disconnect(self) -> None:
        """Stop counting."""
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
        """Count a failure without a statement, as ``executed`` counts statements."""
        if self._is_of_ours(exchange):
            key = (_route_of(exchange), operation, "error")
            self._put(self._statements.add, key, 1)

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
        """Set the gauges of this process's pools; those of closed pools to zero.

        A connection that the garbage collector gives back sends no signal.
        """
        states = pool_states()
        for gone in self._shown.keys() - {state.name for state in states}:
            self._set_pool(PoolState(gone, 0, 0, 0, 0, 0, 0, 0))
        for state in states:
            self._set_pool(state)

    def _is_of_ours(self, exchange: Exchange | None) -> bool:
        known = self._applications
        return (
            exchange is None or sender_key(exchange.sender) in known or _EVERY in known
        )

    def _note_statement(self, key: tuple[t.Any, ...], duration_seconds: float) -> None:
        statements, seconds = self._statements.row(key)
        statements(1.0)
        seconds(duration_seconds)
        self._durations.row(key[1:])[0](duration_seconds)

    def _note_pool(
        self, name: str, change: str, seconds: float | None, state: PoolState
    ) -> None:
        wait_seconds = seconds if change == "taken" else None
        use_seconds = seconds if change == "returned" else None
        timeouts = 1 if change == "timed-out" else None
        self._pools.add((name,), wait_seconds, use_seconds, timeouts)
        # Read again: two threads may put two changes in another order.
        for now in pool_states(name) or (state,):
            self._set_pool(now)

    def _set_pool(self, state: PoolState) -> None:
        if self._process != os.getpid():
            self._process = os.getpid()
            self._shown.clear()
        name, before = state.name, self._shown.get(state.name)
        if state == before:
            return
        self._shown[name] = state
        for which, number in (("used", state.used), ("idle", state.idle)):
            self._connections.add((name, which), number)
        levels = _levels_of(state)
        if before is None or levels != _levels_of(before):
            self._levels.add((name,), *levels)


def _levels_of(state: PoolState) -> tuple[float, ...]:
    found = state.waiting, state.overflow, state.idle_max, state.total_max
    return tuple(inf if one is None else one for one in found)


def _route_of(exchange: Exchange | None) -> str | None:
    return NO_EXCHANGE if exchange is None else route_of(exchange)
