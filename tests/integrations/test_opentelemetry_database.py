"""The metrics of statements and of connection pools."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import typing as t
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from signalpost import SignalMiddleware
from signalpost.exchange import current_exchange
from signalpost.integrations.opentelemetry import OpenTelemetry
from signalpost.integrations.sqlalchemy import instrument
from signalpost.lifecycle import sql_executed
from signalpost.lifecycle import sql_pool_changed
from tests.integrations.telemetry import nothing_left
from tests.integrations.telemetry import Telemetry
from tests.integrations.test_opentelemetry_sql import execute
from tests.integrations.test_opentelemetry_sql import send_as
from tests.integrations.test_opentelemetry_sql import serve
from tests.wsgi.serving import hello
from tests.wsgi.serving import Server

DURATION = "db.client.operation.duration"
COUNT = "db.client.connection.count"
SECONDS = 10


@pytest.fixture
def telemetry() -> Generator[Telemetry]:
    found = Telemetry()
    with nothing_left(found):
        yield found


@pytest.fixture
def engine(tmp_path: Path) -> Generator[sa.Engine]:
    gc.collect()  # engines of other tests
    found = sa.create_engine(
        f"sqlite:///{tmp_path}/shop.db", pool_size=2, max_overflow=1, pool_timeout=0.01
    )
    with instrument(found, pool_name="orders"):
        yield found
    found.dispose()


@pytest.fixture
def measured(telemetry: Telemetry) -> Generator[OpenTelemetry]:
    """Let an application be connected that gets no request."""
    application = SignalMiddleware(lambda *given: hello(*given))
    found = telemetry.connected(application)
    yield found
    found.disconnect(application)


def of_pool(telemetry: Telemetry, metric: str) -> list[tuple[t.Any, t.Any]]:
    """Return state and value of each point of the pool's."""
    points = telemetry.points(f"db.client.connection.{metric}")
    assert {about.pop("db.client.connection.pool.name") for about, _ in points} <= {
        "orders"
    }
    return [(about.get("db.client.connection.state"), value) for about, value in points]


# Statements


def test_statement_is_measured(telemetry: Telemetry, engine: sa.Engine) -> None:
    serve(telemetry, lambda: execute(engine, sa.text("/* x */ SELECT 1")))
    about = {"db.system.name": "sqlite", "db.operation.name": "SELECT"}
    assert telemetry.points(DURATION) == [(about, 1)]
    assert telemetry.bounds(DURATION) == (
        *(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10),
    )
    assert 0 < telemetry.total(DURATION) < SECONDS


def test_statement_that_fails_is_measured_with_its_error(
    telemetry: Telemetry, engine: sa.Engine
) -> None:
    def work() -> None:
        with pytest.raises(sa.exc.OperationalError):
            execute(engine, sa.text("SELECT * FROM nowhere"))

    serve(telemetry, work)
    ((about, count),) = telemetry.points(DURATION)
    assert about["error.type"] == "sqlalchemy.exc.OperationalError"
    assert count == 1


@pytest.mark.usefixtures("measured")
def test_statement_outside_of_a_request_is_measured(
    telemetry: Telemetry, engine: sa.Engine
) -> None:
    execute(engine, sa.text("SELECT 1"))
    assert [count for _, count in telemetry.points(DURATION)] == [1]


@pytest.mark.usefixtures("measured")
def test_statement_of_an_application_that_is_not_connected_is_left_out(
    telemetry: Telemetry, engine: sa.Engine
) -> None:
    def application(environ: t.Any, start_response: t.Any) -> t.Any:
        execute(engine, sa.text("SELECT 1"))
        return hello(environ, start_response)

    Server().serve(SignalMiddleware(application))
    assert telemetry.points(DURATION) == []


def test_statement_of_a_path_that_is_excluded_is_left_out(
    telemetry: Telemetry, engine: sa.Engine
) -> None:
    serve(telemetry, lambda: execute(engine, sa.text("SELECT 1")), exclude=["/*"])
    assert telemetry.points(DURATION) == []


def test_statement_of_a_request_that_is_not_sampled_is_measured(
    telemetry: Telemetry, engine: sa.Engine
) -> None:
    telemetry.tracer_provider.sampler = ALWAYS_OFF
    serve(telemetry, lambda: execute(engine, sa.text("SELECT 1")))
    assert [count for _, count in telemetry.points(DURATION)] == [1]


def test_statement_is_measured_once_by_two_applications(
    telemetry: Telemetry, engine: sa.Engine
) -> None:
    with ExitStack() as stack:
        for _ in range(2):
            application = SignalMiddleware(lambda *given: hello(*given))
            found = telemetry.connected(application)
            stack.callback(found.disconnect, application)
        execute(engine, sa.text("SELECT 1"))
        serve(telemetry, lambda: execute(engine, sa.text("SELECT 1")))
        assert [count for _, count in telemetry.points(DURATION)] == [2]
        assert of_pool(telemetry, "count") == [("used", 0), ("idle", 1)]
        assert of_pool(telemetry, "wait_time") == [(None, 2)]


def test_second_application_measures_when_the_first_is_gone(
    telemetry: Telemetry, engine: sa.Engine
) -> None:
    first, second = (SignalMiddleware(lambda *given: hello(*given)) for _ in range(2))
    one, other = telemetry.connected(first), telemetry.connected(second)
    one.disconnect(first)
    execute(engine, sa.text("SELECT 1"))
    other.disconnect(second)
    execute(engine, sa.text("SELECT 1"))
    assert [count for _, count in telemetry.points(DURATION)] == [1]


@pytest.mark.usefixtures("measured")
def test_nothing_is_measured_while_instrumentation_is_suppressed(
    telemetry: Telemetry, engine: sa.Engine
) -> None:
    with suppress_instrumentation():
        execute(engine, sa.text("SELECT 1"))
        send_as(engine)
    assert telemetry.points(DURATION) == []
    assert of_pool(telemetry, "wait_time") == []


def test_error_types_are_bounded(telemetry: Telemetry) -> None:
    def work() -> None:
        for number in range(150):
            error = type(f"Error{number}", (Exception,), {})()
            send_as("an engine", exception=error, exchange=current_exchange())

    serve(telemetry, work)
    points = telemetry.points(DURATION)
    assert len(points) == 101
    counts = {about["error.type"]: count for about, count in points}
    assert counts["_OTHER"] == 50


def test_text_of_a_statement_makes_no_series(
    telemetry: Telemetry, engine: sa.Engine
) -> None:
    def work() -> None:
        for number in range(20):
            with pytest.raises(sa.exc.OperationalError):
                execute(engine, sa.text(f"word{number} 'secret{number}'"))

    serve(telemetry, work)
    ((about, count),) = telemetry.points(DURATION)
    assert "db.operation.name" not in about
    assert count == 20


def test_without_metrics_of_sql_nothing_is_measured(
    telemetry: Telemetry, engine: sa.Engine
) -> None:
    serve(
        telemetry,
        lambda: execute(engine, sa.text("SELECT 1")),
        with_sql_metrics=False,
    )
    assert {name for name in telemetry.units() if name.startswith("db.")} == set()


def test_metrics_without_spans_are_measured(
    telemetry: Telemetry, engine: sa.Engine
) -> None:
    serve(telemetry, lambda: execute(engine, sa.text("SELECT 1")), with_sql_spans=False)
    assert [count for _, count in telemetry.points(DURATION)] == [1]
    assert [span.name for span in telemetry.spans] == ["GET"]


# Pools


@pytest.mark.usefixtures("measured")
def test_pool_is_read_when_metrics_are_collected(
    telemetry: Telemetry, engine: sa.Engine
) -> None:
    with engine.connect(), engine.connect():
        engine.connect().close()
        assert of_pool(telemetry, "count") == [("used", 2), ("idle", 1)]
    assert of_pool(telemetry, "count") == [("used", 0), ("idle", 2)]
    assert of_pool(telemetry, "idle.max") == [(None, 2)]
    assert of_pool(telemetry, "max") == [(None, 3)]
    assert of_pool(telemetry, "pending_requests") == [(None, 0)]
    engine.dispose()
    assert of_pool(telemetry, "count") == [("used", 0), ("idle", 0)]


@pytest.mark.usefixtures("measured")
def test_name_of_a_pool_is_text_that_can_be_encoded(telemetry: Telemetry) -> None:
    engine = sa.create_engine("sqlite://", poolclass=sa.QueuePool)
    with instrument(engine, pool_name="orders\ud800" + "x" * 2000):
        engine.connect().close()
        for metric in ("count", "wait_time", "use_time"):
            points = telemetry.points(f"db.client.connection.{metric}")
            assert {about["db.client.connection.pool.name"] for about, _ in points} == {
                "orders?" + "x" * 1017
            }
    engine.dispose()


@pytest.mark.usefixtures("measured")
def test_pool_without_a_limit_has_no_maximum(telemetry: Telemetry) -> None:
    engine = sa.create_engine("sqlite://", poolclass=sa.NullPool)
    with instrument(engine, pool_name="orders"):
        assert of_pool(telemetry, "max") == []
        assert of_pool(telemetry, "idle.max") == [(None, 0)]


@pytest.mark.usefixtures("measured")
def test_caller_that_waits_is_a_pending_request(
    telemetry: Telemetry, tmp_path: Path
) -> None:
    engine = sa.create_engine(
        f"sqlite:///{tmp_path}/one.db",
        pool_size=1,
        max_overflow=0,
        pool_timeout=SECONDS,
    )
    is_awaited = threading.Event()

    def note(sender: object, *, change: str) -> None:
        if change == "awaited":
            is_awaited.set()

    with instrument(engine, pool_name="orders"), sql_pool_changed.connected_to(note):
        waiting = threading.Thread(target=lambda: engine.connect().close())
        with engine.connect():
            waiting.start()
            assert is_awaited.wait(SECONDS)
            assert of_pool(telemetry, "pending_requests") == [(None, 1)]
        waiting.join(SECONDS)
        assert of_pool(telemetry, "pending_requests") == [(None, 0)]
    engine.dispose()
    assert of_pool(telemetry, "wait_time") == [(None, 2)]


@pytest.mark.usefixtures("measured")
def test_connection_that_is_not_had_in_time_is_counted(
    telemetry: Telemetry, engine: sa.Engine
) -> None:
    with engine.connect(), engine.connect(), engine.connect():
        for _ in range(2):
            with pytest.raises(sa.exc.TimeoutError):
                engine.connect()
    assert of_pool(telemetry, "timeouts") == [(None, 2)]
    assert of_pool(telemetry, "wait_time") == [(None, 3)]


@pytest.mark.usefixtures("measured")
def test_times_of_connections_are_measured(
    telemetry: Telemetry, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])

    @sa.event.listens_for(engine, "connect")
    def connect_slowly(*_: object) -> None:
        now[0] += 3

    with engine.connect():
        now[0] += 5
    assert telemetry.total("db.client.connection.wait_time") == 3
    assert telemetry.total("db.client.connection.use_time") == 5


@pytest.mark.usefixtures("measured")
def test_units_are_those_of_the_conventions(
    telemetry: Telemetry, engine: sa.Engine
) -> None:
    with engine.connect(), engine.connect(), engine.connect() as connection:
        connection.execute(sa.text("SELECT 1"))
        with pytest.raises(sa.exc.TimeoutError):
            engine.connect()
    units = telemetry.units()
    assert {name: unit for name, unit in units.items() if name.startswith("db.")} == {
        "db.client.operation.duration": "s",
        "db.client.connection.count": "{connection}",
        "db.client.connection.idle.max": "{connection}",
        "db.client.connection.max": "{connection}",
        "db.client.connection.pending_requests": "{request}",
        "db.client.connection.timeouts": "{timeout}",
        "db.client.connection.use_time": "s",
        "db.client.connection.wait_time": "s",
    }


def test_pool_is_not_read_without_a_connected_application(
    telemetry: Telemetry, engine: sa.Engine
) -> None:
    application = SignalMiddleware(lambda *given: hello(*given))
    opentelemetry = telemetry.connected(application)
    assert of_pool(telemetry, "max") == [(None, 3)]
    opentelemetry.disconnect(application)
    engine.connect().close()
    assert of_pool(telemetry, "max") == []
    assert of_pool(telemetry, "wait_time") == []


def measuring() -> int:
    return sum(type(one).__name__ == "DatabaseMetrics" for one in gc.get_objects())


def test_what_measures_is_not_kept_by_its_provider(telemetry: Telemetry) -> None:
    before = measuring()
    opentelemetry = telemetry.new()
    assert measuring() == before + 1
    del opentelemetry
    assert measuring() == before
    assert of_pool(telemetry, "max") == []


def test_without_an_sdk_nothing_is_done() -> None:
    source = """
import sqlalchemy as sa
from signalpost import SignalMiddleware
from signalpost.integrations.opentelemetry import OpenTelemetry
from signalpost.integrations.sqlalchemy import instrument
application = SignalMiddleware(lambda environ, start_response: [])
OpenTelemetry().connect(application)
engine = sa.create_engine("sqlite://")
instrument(engine)
with engine.connect() as connection:
    connection.execute(sa.text("SELECT 1"))
"""
    subprocess.run([sys.executable, "-c", source], check=True, timeout=60)


def test_receivers_are_disconnected_with_the_last_application(
    telemetry: Telemetry,
) -> None:
    before = len(sql_executed.receivers), len(sql_pool_changed.receivers)
    application = SignalMiddleware(lambda *given: hello(*given))
    opentelemetry = telemetry.connected(application)
    opentelemetry.disconnect(application)
    assert (len(sql_executed.receivers), len(sql_pool_changed.receivers)) == before
