"""OpenTelemetry's suppress_instrumentation()."""

from __future__ import annotations

import gc
import subprocess
import sys
import typing as t
from collections.abc import Generator

import pytest
import sqlalchemy as sa
from opentelemetry import context
from opentelemetry.instrumentation.utils import suppress_http_instrumentation
from opentelemetry.instrumentation.utils import suppress_instrumentation
from sqlalchemy.pool import QueuePool

from signalpost.exchange import current_exchange
from signalpost.integrations.sqlalchemy import catalogue
from signalpost.integrations.sqlalchemy import instrument
from signalpost.lifecycle import sql_executed
from signalpost.lifecycle import sql_failed
from signalpost.testing import capture
from tests.integrations.telemetry import nothing_left
from tests.integrations.telemetry import Telemetry
from tests.integrations.test_opentelemetry_sql import send_as
from tests.integrations.test_opentelemetry_sql import serve


@pytest.fixture
def engine() -> Generator[sa.Engine]:
    gc.collect()  # applications of other tests, with their receivers
    instrument().undo()
    engine = sa.create_engine(
        "sqlite://",
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        pool_timeout=0.01,
    )
    with instrument(engine):
        yield engine
    engine.dispose()


def work(engine: sa.Engine) -> None:
    with engine.begin() as connection, connection.begin_nested():
        connection.execute(sa.text("SELECT 1"))
        with pytest.raises(sa.exc.OperationalError):
            connection.execute(sa.text("SELECT * FROM cups"))
        with pytest.raises(sa.exc.TimeoutError):
            engine.connect()


EVERYTHING = (sql_executed, sql_failed, *catalogue.values())


def test_nothing_is_sent_while_instrumentation_is_suppressed(
    engine: sa.Engine,
) -> None:
    with capture(*EVERYTHING) as sent:
        with suppress_instrumentation():
            work(engine)
        assert sent == []
        work(engine)
        assert {one.signal for one in sent} >= {sql_executed, sql_failed}


def test_key_of_older_instrumentations_suppresses_too(engine: sa.Engine) -> None:
    with capture(*EVERYTHING) as sent:
        token = context.attach(context.set_value("suppress_instrumentation", True))
        work(engine)
        context.detach(token)
    assert sent == []


def test_other_contexts_suppress_nothing(engine: sa.Engine) -> None:
    with capture(sql_executed) as sent, engine.connect() as connection:
        with suppress_http_instrumentation():
            connection.execute(sa.text("SELECT 1"))
        token = context.attach(context.set_value("suppress_instrumentation", False))
        connection.execute(sa.text("SELECT 2"))
        context.detach(token)
    assert [one["statement"] for one in sent] == ["SELECT 1", "SELECT 2"]


def test_connection_that_was_taken_before_is_given_back(engine: sa.Engine) -> None:
    with capture(*catalogue.values()) as sent:
        connection = engine.connect()
        with suppress_instrumentation():
            connection.close()
        with suppress_instrumentation():
            connection = engine.connect()
        connection.close()
    names = [getattr(one.signal, "name", "") for one in sent]
    assert names == ["connection-checked-out", "connection-checked-in"]


def test_opentelemetry_is_not_imported_for_it() -> None:
    source = """
import sys
import sqlalchemy as sa
from signalpost.integrations.sqlalchemy import instrument
from signalpost.lifecycle import sql_executed
from signalpost.testing import capture
with instrument(engine := sa.create_engine("sqlite://")), capture(sql_executed) as sent:
    with engine.connect() as connection:
        connection.execute(sa.text("SELECT 1"))
assert len(sent) == 1
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
"""
    subprocess.run([sys.executable, "-c", source], check=True, timeout=60)


def test_signals_of_others_are_no_spans_while_it_is_suppressed() -> None:
    telemetry = Telemetry()

    def send(suppressed: t.Any) -> None:
        with suppressed:
            send_as("an engine")
            sql_failed.send(
                "an engine",
                operation="commit",
                statement=None,
                exception=LookupError(),
                exchange=current_exchange(),
            )

    with nothing_left(telemetry):
        serve(telemetry, lambda: send(suppress_instrumentation()))
    assert telemetry.span().name == "GET"
