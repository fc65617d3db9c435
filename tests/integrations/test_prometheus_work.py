"""Units of work in Prometheus, and the files of processes that end."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from collections.abc import Generator
from pathlib import Path

import pytest

from signalpost.lifecycle import work_finished
from signalpost.lifecycle import work_started
from signalpost.receivers.sql_pools import add_pool
from signalpost.work import begin_work
from signalpost.work import work
from tests.wsgi.serving import hello

pytest.importorskip("prometheus_client", reason="prometheus-client is not installed")

from signalpost.integrations.prometheus import _directory
from signalpost.integrations.prometheus import NO_EXCHANGE
from signalpost.integrations.prometheus import PrometheusMetrics
from tests.integrations.test_prometheus import counting
from tests.integrations.test_prometheus import executed
from tests.integrations.test_prometheus import figure
from tests.integrations.test_prometheus import REQUESTS
from tests.integrations.test_prometheus_sql import change
from tests.integrations.test_prometheus_sql import CONNECTIONS
from tests.integrations.test_prometheus_sql import Pool

UNITS = "work_units_total"
DURATION = "work_duration_seconds"
IN_FLIGHT = "work_in_flight"

needs_forks = pytest.mark.skipif(sys.platform == "win32", reason="it has no forks")


@pytest.fixture(autouse=True)
def nothing_is_left() -> Generator[None]:
    yield
    assert not work_started.receivers
    assert not work_finished.receivers


def test_a_unit_of_work_is_counted_by_name_and_outcome() -> None:
    with counting(hello) as metrics:
        with work("report", hello):
            assert figure(metrics, IN_FLIGHT, name="report") == 1
        with pytest.raises(LookupError), work("report", hello):
            raise LookupError
        with work("report", "another application"):
            pass
    assert figure(metrics, UNITS, name="report", outcome="complete") == 1
    assert figure(metrics, UNITS, name="report", outcome="error") == 1
    assert figure(metrics, UNITS) == 2
    assert figure(metrics, f"{DURATION}_count", name="report") == 2
    assert figure(metrics, IN_FLIGHT) == 0
    assert figure(metrics, REQUESTS) == 0


def test_lost_work_is_counted_and_not_timed() -> None:
    with counting(hello) as metrics:
        begin_work("ship", hello).finish(LookupError(), outcome="lost")
    assert figure(metrics, UNITS, name="ship", outcome="lost") == 1
    assert figure(metrics, f"{DURATION}_count") == 0
    assert figure(metrics, IN_FLIGHT) == 0


def test_statements_of_work_are_counted_by_its_name() -> None:
    with counting(hello) as metrics, work("report", hello) as found:
        executed(exchange=found)
    assert figure(metrics, "sql_statements_total", route="report") == 1
    assert figure(metrics, "sql_statements_total", route=NO_EXCHANGE) == 0


def test_work_that_began_before_is_not_in_flight_below_zero() -> None:
    with work("report", hello):
        metrics = PrometheusMetrics()
        metrics.connect(hello)
    assert figure(metrics, IN_FLIGHT) == 0
    assert figure(metrics, UNITS, name="report") == 1
    metrics.disconnect(hello)


def test_two_objects_count_the_same_work_each() -> None:
    with counting(hello) as one, counting(hello) as other, work("report", hello):
        pass
    for metrics in (one, other):
        assert figure(metrics, UNITS, name="report") == 1
        assert figure(metrics, IN_FLIGHT) == 0


def test_names_of_work_are_bounded() -> None:
    with counting(hello, max_routes=3) as metrics:
        for number in range(10):
            with work(f"report {number}", hello):
                pass
    assert figure(metrics, UNITS, name="<other>") == 7
    assert figure(metrics, UNITS) == 10


def in_child(function: Callable[[], object]) -> None:
    """Run a function in a forked process that ends at once, as one of RQ does."""
    child = os.fork()
    if child == 0:
        try:
            function()
        finally:
            os._exit(0)
    os.waitpid(child, 0)


@pytest.fixture
def shared(tmp_path: Path) -> Generator[PrometheusMetrics]:
    metrics = PrometheusMetrics(directory=str(tmp_path))
    metrics.connect(hello)
    yield metrics
    metrics.disconnect(hello)


@needs_forks
def test_files_of_processes_that_end_do_not_pile_up(
    shared: PrometheusMetrics, tmp_path: Path
) -> None:
    @work("ship", hello)
    def ship() -> None:
        executed()

    most = 0
    for _ in range(40):
        in_child(ship)
        most = max(most, len(os.listdir(tmp_path)))
    assert most <= 45
    assert figure(shared, UNITS, name="ship", outcome="complete") == 40
    assert figure(shared, f"{DURATION}_count", name="ship") == 40
    assert figure(shared, "sql_statements_total", route=NO_EXCHANGE) == 40
    assert figure(shared, IN_FLIGHT) == 0


@needs_forks
def test_a_scrape_merges_what_many_dead_processes_have_left(
    shared: PrometheusMetrics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_directory, "_MOST_DEAD", 10_000)
    for _ in range(20):
        in_child(lambda: begin_work("ship", hello).finish())
    assert len(os.listdir(tmp_path)) >= 40
    monkeypatch.setattr(_directory, "_MOST_DEAD", 30)
    assert figure(shared, UNITS, name="ship") == 20
    assert len(os.listdir(tmp_path)) < 12
    assert figure(shared, UNITS, name="ship") == 20


@needs_forks
def test_a_forked_process_writes_what_its_pools_have(
    shared: PrometheusMetrics,
) -> None:
    pool = Pool(used=1, idle=1)
    add_pool(pool)
    change(pool, "taken", 0.1)
    read, write = os.pipe()

    def serve() -> None:
        change(pool, "taken", 0.1)
        used = figure(shared, CONNECTIONS, pool="orders", state="used")
        os.write(write, str(used).encode())

    in_child(serve)
    assert os.read(read, 9) == b"2.0"
    os.close(read)
    os.close(write)
    assert figure(shared, CONNECTIONS, pool="orders", state="used") == 1


@needs_forks
def test_work_that_a_process_was_forked_in_ends_once(
    shared: PrometheusMetrics,
) -> None:
    found = begin_work("ship", hello)
    in_child(found.finish)
    assert figure(shared, IN_FLIGHT, name="ship") == 1
    found.finish()
    assert figure(shared, IN_FLIGHT, name="ship") == 0
