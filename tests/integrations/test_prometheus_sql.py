"""Durations of statements, and pools, in Prometheus."""

from __future__ import annotations

import gc
import threading
import typing as t
from collections.abc import Generator
from pathlib import Path

import pytest

from signalpost.lifecycle import sql_pool_changed
from signalpost.receivers.sql_pools import add_pool
from signalpost.receivers.sql_pools import PoolState
from tests.wsgi.serving import hello

pytest.importorskip("prometheus_client", reason="prometheus-client is not installed")
pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")

import sqlalchemy as sa

from signalpost.integrations.prometheus import PrometheusMetrics
from signalpost.integrations.sqlalchemy import instrument
from tests.integrations.test_prometheus import counting
from tests.integrations.test_prometheus import executed
from tests.integrations.test_prometheus import fail
from tests.integrations.test_prometheus import figure

DURATIONS = "sql_statement_duration_seconds"
CONNECTIONS = "sql_pool_connections"
INFINITE = float("inf")


@pytest.fixture(autouse=True)
def no_other_pool() -> Generator[None]:
    gc.collect()  # engines of other tests
    yield
    assert not sql_pool_changed.receivers


class Pool:
    """A pool that a test sets."""

    def __init__(self, name: str = "orders", **levels: t.Any) -> None:
        self.name = name
        self.levels: dict[str, t.Any] = {
            "used": 0,
            "idle": 0,
            "waiting": 0,
            "overflow": 0,
            "timeouts": 0,
            "idle_max": 5,
            "total_max": 15,
            **levels,
        }

    def read(self) -> PoolState:
        return PoolState(self.name, **self.levels)


def change(pool: Pool, what: str, seconds: float | None = None) -> None:
    sql_pool_changed.send(
        "engine", name=pool.name, change=what, seconds=seconds, state=pool.read()
    )


def test_durations_of_statements_are_in_buckets_by_operation() -> None:
    with counting(hello) as metrics:
        executed("SELECT 1")
        executed("select 2")
        executed("DELETE FROM stock", LookupError())
    assert figure(metrics, f"{DURATIONS}_count", operation="SELECT", outcome="ok") == 2
    assert figure(metrics, f"{DURATIONS}_sum", operation="SELECT") == 1
    assert figure(metrics, f"{DURATIONS}_bucket", operation="SELECT", le="0.1") == 0
    assert figure(metrics, f"{DURATIONS}_bucket", operation="SELECT", le="0.5") == 2
    assert figure(metrics, f"{DURATIONS}_count", outcome="error") == 1


def test_a_failure_beside_a_statement_has_no_duration() -> None:
    with counting(hello) as metrics:
        fail("commit")
    assert figure(metrics, "sql_statements_total", operation="commit") == 1
    assert figure(metrics, f"{DURATIONS}_count") == 0


def test_a_real_pool_is_counted(tmp_path: Path) -> None:
    engine = sa.create_engine(
        f"sqlite:///{tmp_path}/orders.db",
        pool_size=1,
        max_overflow=1,
        pool_timeout=0.01,
    )
    with counting(hello) as metrics, instrument(engine, pool_name="orders"):
        with engine.connect(), engine.connect():
            with pytest.raises(sa.exc.TimeoutError):
                engine.connect()
            assert figure(metrics, CONNECTIONS, pool="orders", state="used") == 2
            assert figure(metrics, "sql_pool_overflow_connections", pool="orders") == 1
        assert figure(metrics, CONNECTIONS, pool="orders", state="used") == 0
        assert figure(metrics, CONNECTIONS, pool="orders", state="idle") == 1
        assert figure(metrics, "sql_pool_max_idle_connections", pool="orders") == 1
        assert figure(metrics, "sql_pool_max_connections", pool="orders") == 2
        assert figure(metrics, "sql_pool_wait_seconds_count", pool="orders") == 2
        assert figure(metrics, "sql_pool_use_seconds_count", pool="orders") == 2
        assert figure(metrics, "sql_pool_timeouts_total", pool="orders") == 1
        assert figure(metrics, "sql_statements_total", operation="pool") == 1
    engine.dispose()
    # It is instrumented no more.
    with counting(hello) as metrics:
        assert figure(metrics, "sql_pool_max_connections") == 0


def test_a_caller_that_waits_is_counted_while_it_waits() -> None:
    pool = Pool(used=15, waiting=1)
    add_pool(pool)
    with counting(hello) as metrics:
        change(pool, "awaited")
        assert figure(metrics, "sql_pool_waiting", pool="orders") == 1
        pool.levels["waiting"] = 0
        change(pool, "taken", 0.3)
        assert figure(metrics, "sql_pool_waiting", pool="orders") == 0
    assert figure(metrics, "sql_pool_wait_seconds_sum", pool="orders") == 0.3


def test_a_connection_of_unknown_age_has_no_time_in_use() -> None:
    with counting(hello) as metrics:
        change(Pool(idle=1), "returned")
    assert figure(metrics, "sql_pool_use_seconds_count") == 0
    assert figure(metrics, CONNECTIONS, state="idle") == 1


def test_a_pool_without_a_limit_has_an_infinite_one() -> None:
    with counting(hello) as metrics:
        change(Pool(total_max=None, idle_max=None), "taken", 0.1)
    assert figure(metrics, "sql_pool_max_connections") == INFINITE
    assert figure(metrics, "sql_pool_max_idle_connections") == INFINITE


def test_a_scrape_reads_what_no_signal_was_sent_for() -> None:
    pool = Pool(used=2)
    add_pool(pool)
    with counting(hello) as metrics:
        assert figure(metrics, CONNECTIONS, pool="orders", state="used") == 2
        pool.levels["used"] = 1
        assert figure(metrics, CONNECTIONS, pool="orders", state="used") == 1
        del pool
        assert figure(metrics, CONNECTIONS, pool="orders") == 0
        assert figure(metrics, "sql_pool_max_connections", pool="orders") == 0


def test_changes_that_come_late_leave_the_state_of_now(tmp_path: Path) -> None:
    pool = Pool(used=1)
    add_pool(pool)
    late = pool.read()
    # Read by another process, as a scrape of the same one reads the pools again.
    other = PrometheusMetrics(directory=str(tmp_path))
    with counting(hello, directory=str(tmp_path)):
        change(pool, "taken", 0.1)
        pool.levels["used"] = 0
        change(pool, "returned", 0.1)
        sql_pool_changed.send(
            "engine", name="orders", change="taken", seconds=0.1, state=late
        )
        assert figure(other, CONNECTIONS, pool="orders", state="used") == 0
        assert figure(other, "sql_pool_wait_seconds_count", pool="orders") == 2


def test_a_pool_that_cannot_be_read_breaks_no_scrape(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(Pool):
        def read(self) -> PoolState:
            raise LookupError("no pool")

    pool = Broken()
    add_pool(pool)
    with counting(hello) as metrics:
        executed()
        assert figure(metrics, "sql_statements_total") == 1
    assert "gauges could not be set: no pool" in caplog.text


def test_pools_of_processes_are_one_sum(tmp_path: Path) -> None:
    pool = Pool(used=2, idle=1)
    add_pool(pool)
    workers = [PrometheusMetrics(directory=str(tmp_path)) for _ in range(2)]
    for worker in workers:
        worker.connect(hello)
    change(pool, "taken", 0.02)
    assert figure(workers[0], CONNECTIONS, pool="orders", state="used") == 4
    assert figure(workers[0], "sql_pool_max_connections", pool="orders") == 30
    assert figure(workers[0], "sql_pool_wait_seconds_count", pool="orders") == 2
    workers.pop().disconnect(hello)
    del worker
    # As that of a process that has ended: what it had is no more, what it did stays.
    assert figure(workers[0], CONNECTIONS, pool="orders", state="used") == 2
    assert figure(workers[0], "sql_pool_max_connections", pool="orders") == 15
    assert figure(workers[0], "sql_pool_wait_seconds_count", pool="orders") == 2
    workers.pop().disconnect(hello)


def test_pools_need_not_be_counted() -> None:
    with counting(hello, with_sql=False) as metrics:
        assert not sql_pool_changed.receivers
        add_pool(pool := Pool(used=1))
        assert figure(metrics, CONNECTIONS) == 0
        del pool


def test_pools_are_read_by_what_is_connected_only() -> None:
    pool = Pool(used=1)
    add_pool(pool)
    assert figure(PrometheusMetrics(), CONNECTIONS) == 0


def test_names_of_pools_are_bounded() -> None:
    with counting(hello) as metrics:
        for number in range(300):
            change(Pool(f"pool {number}"), "taken", 0.1)
        threads = [
            threading.Thread(target=change, args=(Pool("pool 1"), "taken", 0.1))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert figure(metrics, "sql_pool_wait_seconds_count") == 302
    assert figure(metrics, "sql_pool_wait_seconds_count", pool="pool 1") == 3
    names = {
        sample.labels["pool"]
        for metric in metrics.registry.collect()
        for sample in metric.samples
        if sample.name == "sql_pool_waiting"
    }
    assert len(names) <= 102
    assert "<other>" in names
