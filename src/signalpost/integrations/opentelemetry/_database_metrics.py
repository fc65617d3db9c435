"""The metrics of a database client, by the semantic conventions."""

from __future__ import annotations

import typing as t
import weakref
from collections.abc import Callable
from collections.abc import Iterable
from functools import partial

from opentelemetry.context import get_current
from opentelemetry.metrics import CallbackOptions
from opentelemetry.metrics import get_meter
from opentelemetry.metrics import get_meter_provider
from opentelemetry.metrics import Meter
from opentelemetry.metrics import MeterProvider
from opentelemetry.metrics import Observation

from ...exchange import Exchange
from ...lifecycle import sql_executed
from ...lifecycle import sql_pool_changed
from ...receivers.sql_pools import pool_states
from ...receivers.sql_pools import PoolState
from ...receivers.statements import operation_of
from ._attributes import Attributes
from ._attributes import Bounded
from ._attributes import error_type_of
from ._attributes import SCHEMA
from ._engines import KnownEngines
from ._suppressing import is_suppressed
from ._texts import text_of

__all__ = ["DatabaseMetrics", "DatabaseObserver"]

# The bounds that the conventions advise for all three, in seconds.
_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)

_POOL = "db.client.connection.pool.name"
_STATE = "db.client.connection.state"


class DatabaseMetrics:
    """Measure statements and connection pools.

    The object that records a request measures the statements of it. Pools, and
    statements outside of requests, belong to the process: they are measured once,
    however many applications there are, by the first object with the same provider.

    :param provider: The provider of meters; ``None`` for the global one, which may be
        set later.
    :param version: The version of this package.
    :param key: The key in the state of an exchange, if the exchange is recorded.
    :param engines: The stored facts about each engine.
    """

    def __init__(
        self,
        provider: MeterProvider | None,
        version: str,
        key: object,
        engines: KnownEngines,
    ) -> None:
        self._provider = provider
        self._key = key
        self._engines = engines
        self._error_types = Bounded(100)
        meter = get_meter("signalpost", version, provider, schema_url=SCHEMA)
        self._duration = _histogram(
            meter, "operation.duration", "Duration of database client operations."
        )
        self._wait_time = _histogram(
            meter,
            "connection.wait_time",
            "The time it took to obtain an open connection from the pool.",
        )
        self._use_time = _histogram(
            meter,
            "connection.use_time",
            "The time between borrowing a connection and returning it to the pool.",
        )
        self._timeouts = meter.create_counter(
            "db.client.connection.timeouts",
            unit="{timeout}",
            description="The number of connection timeouts that have occurred trying to"
            " obtain a connection from the pool.",
        )
        for name, unit, description, observe in _OBSERVED:
            meter.create_observable_up_down_counter(
                f"db.client.connection.{name}",
                # Weakly, because a provider never releases its callbacks.
                callbacks=[partial(_observed, weakref.ref(self), observe)],
                unit=unit,
                description=description,
            )

    def begin(self) -> None:
        """Measure from now on. Done once, it does nothing again."""
        if not any(reference() is self for reference in _connected):
            _connected.append(weakref.ref(self))

    def end(self) -> None:
        """Stop measuring."""
        _connected[:] = [one for one in _connected if one() not in {None, self}]

    def is_first(self) -> bool:
        """Return whether this object measures the metrics of the process."""
        provider = self.current_provider()
        for reference in [*_connected]:
            one = reference()
            if one is not None and one.current_provider() is provider:
                return one is self
        return False

    def current_provider(self) -> MeterProvider:
        """Return the current provider: a global one may be set at any time."""
        return self._provider or get_meter_provider()

    def _has_meter(self) -> bool:
        kind = type(self.current_provider())
        return not kind.__module__.startswith("opentelemetry.metrics")

    def execute(
        self,
        engine: object,
        statement: str,
        seconds: float,
        exception: BaseException | None,
        exchange: Exchange | None,
    ) -> None:
        """Measure a statement, in an exchange or outside of all."""
        if not self._has_meter() or is_suppressed(get_current()):
            return
        is_ours = self.is_first() if exchange is None else self._key in exchange.state
        if not is_ours:
            return
        attributes = self._engines.about(engine).copy()
        operation = operation_of(statement)
        if operation is not None:
            attributes["db.operation.name"] = operation
        if exception is not None:
            error_type = error_type_of(exception)
            is_known = error_type in self._error_types
            attributes["error.type"] = error_type if is_known else "_OTHER"
        self._duration.record(seconds, attributes)

    def change(self, name: str, change: str, seconds: float | None) -> None:
        """Measure the change of a pool."""
        if not self._has_meter() or not self.is_first():
            return
        attributes = {_POOL: text_of(name)}
        if change == "timed-out":
            self._timeouts.add(1, attributes)
        elif seconds is not None and change == "taken":
            self._wait_time.record(seconds, attributes)
        elif seconds is not None and change == "returned":
            self._use_time.record(seconds, attributes)


class DatabaseObserver:
    """Receive the signals of databases for its metrics.

    It is a base class, so that the receivers are methods of the object that an
    application connects: by this object a list of receivers finds their name.
    """

    _database_metrics: DatabaseMetrics | None
    """The metrics; ``None`` if nothing is measured."""

    def _connect_database(self) -> None:
        if self._database_metrics is not None:
            self._database_metrics.begin()
            sql_executed.connect(self._measure_statement)
            sql_pool_changed.connect(self._measure_pool)

    def _disconnect_database(self) -> None:
        if self._database_metrics is not None:
            self._database_metrics.end()
            sql_executed.disconnect(self._measure_statement)
            sql_pool_changed.disconnect(self._measure_pool)

    def _measure_statement(
        self,
        engine: object,
        *,
        statement: str,
        duration_seconds: float,
        exception: BaseException | None,
        exchange: Exchange | None,
    ) -> None:
        if self._database_metrics is not None:
            self._database_metrics.execute(
                engine, statement, duration_seconds, exception, exchange
            )

    def _measure_pool(
        self, engine: object, *, name: str, change: str, seconds: float | None
    ) -> None:
        if self._database_metrics is not None:
            self._database_metrics.change(name, change, seconds)


_connected: list[weakref.ref[DatabaseMetrics]] = []
"""The connected metrics, in order."""

Observe: t.TypeAlias = Callable[[PoolState], Iterable[tuple[int | None, Attributes]]]
"""Returns numbers of a pool, each with its own attributes."""


def _observed(
    reference: weakref.ref[DatabaseMetrics], observe: Observe, _: CallbackOptions
) -> Iterable[Observation]:
    metrics = reference()
    if metrics is None or not metrics.is_first():
        return []
    return [
        Observation(value, {_POOL: text_of(state.name), **attributes})
        for state in pool_states()
        for value, attributes in observe(state)
        # A pool without a limit has no number.
        if value is not None
    ]


def _counts(state: PoolState) -> Iterable[tuple[int | None, Attributes]]:
    return [(state.used, {_STATE: "used"}), (state.idle, {_STATE: "idle"})]


_COUNT = (
    "The number of connections that are currently in state described by the state"
    " attribute."
)

_OBSERVED: tuple[tuple[str, str, str, Observe], ...] = (
    (
        "count",
        "{connection}",
        _COUNT,
        _counts,
    ),
    (
        "idle.max",
        "{connection}",
        "The maximum number of idle open connections allowed.",
        lambda state: [(state.idle_max, {})],
    ),
    (
        "max",
        "{connection}",
        "The maximum number of open connections allowed.",
        lambda state: [(state.total_max, {})],
    ),
    (
        "pending_requests",
        "{request}",
        "The number of current pending requests for an open connection.",
        lambda state: [(state.waiting, {})],
    ),
)
"""Each metric that is read when it is collected: its name after
``db.client.connection``, unit, description, and the function that reads it."""


def _histogram(meter: Meter, name: str, description: str) -> t.Any:
    return meter.create_histogram(
        f"db.client.{name}",
        unit="s",
        description=description,
        explicit_bucket_boundaries_advisory=_BUCKETS,
    )
