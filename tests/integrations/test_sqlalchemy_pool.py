"""The signals of connections that are taken from their pool and given back."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import typing as t
from collections.abc import Generator
from collections.abc import Iterable
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool
from sqlalchemy.pool import NullPool
from sqlalchemy.pool import QueuePool
from sqlalchemy.pool import SingletonThreadPool

from signalpost import SignalMiddleware
from signalpost.integrations.sqlalchemy import connection_checked_in
from signalpost.integrations.sqlalchemy import connection_checked_out
from signalpost.integrations.sqlalchemy import instrument
from signalpost.lifecycle import exchange_closed
from signalpost.testing import capture
from signalpost.testing import Sent
from tests.wsgi.serving import Server

BOTH = (connection_checked_out, connection_checked_in)


class Clock:
    """A clock that only a test advances."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", clock)
    return clock


class MakeEngine(t.Protocol):
    def __call__(self, **options: t.Any) -> sa.Engine: ...


@pytest.fixture
def make_engine(tmp_path: Path) -> Generator[MakeEngine]:
    made: list[sa.Engine] = []

    def make(**options: t.Any) -> sa.Engine:
        made.append(sa.create_engine(f"sqlite:///{tmp_path}/shop.db", **options))
        return made[-1]

    yield make
    for engine in made:
        engine.dispose()


@pytest.fixture
def engine(make_engine: MakeEngine) -> Generator[sa.Engine]:
    engine = make_engine()
    with instrument(engine):
        yield engine


def steps(sent: list[Sent]) -> list[str]:
    return ["out" if one.signal is connection_checked_out else "in" for one in sent]


def test_connection_is_sent_when_it_is_taken_and_given_back(
    engine: sa.Engine, clock: Clock
) -> None:
    with capture(*BOTH) as sent, engine.connect():
        assert steps(sent) == ["out"]
        clock.seconds += 3
    out, back = sent
    assert out.sender is back.sender is engine
    assert out.payload == {"waited_seconds": 0, "exchange": None}
    assert back.payload == {"held_seconds": 3, "exchange": None}


@pytest.mark.parametrize("poolclass", [NullPool, QueuePool])
def test_each_time_that_it_is_taken_is_sent(
    make_engine: MakeEngine, poolclass: t.Any
) -> None:
    engine = make_engine(poolclass=poolclass)
    with instrument(engine), capture(*BOTH) as sent:
        with engine.connect(), engine.connect():
            pass
        with orm.Session(engine) as session:
            session.execute(sa.text("SELECT 1"))
            session.commit()
    assert steps(sent) == ["out", "out", "in", "in", "out", "in"]


def test_connection_that_a_thread_has_already_is_given_back_once(clock: Clock) -> None:
    engine = sa.create_engine("sqlite://", poolclass=SingletonThreadPool)
    with instrument(engine), capture(connection_checked_in) as sent:
        outer, inner = engine.connect(), engine.connect()
        clock.seconds += 3
        inner.close()
        assert sent == []
        outer.close()
    engine.dispose()
    assert [one["held_seconds"] for one in sent] == [3]


def test_connection_of_a_raw_connection_is_not_sent(engine: sa.Engine) -> None:
    with capture(*BOTH) as sent:
        engine.raw_connection().close()
    assert sent == []


def test_connection_that_is_lost_is_given_back_once(engine: sa.Engine) -> None:
    with capture(*BOTH) as sent, engine.connect() as connection:
        connection.invalidate()
        assert steps(sent) == ["out", "in"]
        connection.execute(sa.text("SELECT 1"))
    assert steps(sent) == ["out", "in"]


def test_connection_that_is_detached_is_not_given_back(engine: sa.Engine) -> None:
    with capture(*BOTH) as sent:
        with engine.connect() as connection:
            connection.detach()
        with engine.connect():
            pass
    assert steps(sent) == ["out", "out", "in"]


def test_connection_that_is_forgotten_is_given_back(engine: sa.Engine) -> None:
    with capture(*BOTH) as sent:
        forgotten = [engine.raw_connection(), engine.connect()]
        forgotten.clear()
        gc.collect()
    assert steps(sent) == ["out", "in"]


def test_time_before_the_first_receiver_is_not_sent(
    engine: sa.Engine, clock: Clock
) -> None:
    with capture(connection_checked_in) as sent:
        held = engine.connect()
    held.close()
    clock.seconds += 3
    with engine.connect(), capture(connection_checked_in) as sent_later:
        pass
    held = engine.connect()
    with capture(connection_checked_in) as sent_last:
        held.close()
    assert sent == sent_later == sent_last == []


def test_time_to_get_a_connection_is_sent(
    make_engine: MakeEngine, clock: Clock
) -> None:
    engine = make_engine()

    @sa.event.listens_for(engine, "connect")
    def connect_slowly(*_: object) -> None:
        clock.seconds += 3

    with instrument(engine), capture(connection_checked_out) as sent:
        for _ in range(2):
            with engine.connect():
                clock.seconds += 5
    assert [one["waited_seconds"] for one in sent] == [3, 0]


def test_time_until_another_gives_a_connection_back_is_sent(
    make_engine: MakeEngine,
) -> None:
    engine = make_engine(pool_size=1, max_overflow=0)
    asks = threading.Event()

    def take() -> None:
        asks.set()
        engine.connect().close()

    with instrument(engine), capture(connection_checked_out) as sent:
        waiting = threading.Thread(target=take)
        with engine.connect():
            waiting.start()
            assert asks.wait(10)
            time.sleep(0.05)
        waiting.join(10)
    assert len(sent) == 2
    assert sent[1]["waited_seconds"] > 0


def test_connection_that_is_not_had_in_time_is_not_sent(
    make_engine: MakeEngine,
) -> None:
    engine = make_engine(pool_size=1, max_overflow=0, pool_timeout=0.01)
    with (
        instrument(engine),
        engine.connect(),
        capture(*BOTH) as sent,
        pytest.raises(sa.exc.TimeoutError),
    ):
        engine.connect()
    assert steps(sent) == []


def test_pool_that_is_made_again_is_received_as_well(make_engine: MakeEngine) -> None:
    engine = make_engine()
    with capture(*BOTH) as sent:
        with instrument(engine):
            engine.connect().close()
            engine.dispose()
            engine.connect().close()
        engine.connect().close()
    assert steps(sent) == ["out", "in", "out", "in"]
    assert sent[2]["waited_seconds"] is not None


def test_all_engines_are_received_once(make_engine: MakeEngine) -> None:
    before = make_engine()
    with instrument(), instrument(before), capture(*BOTH) as sent:
        after = make_engine()
        for engine in (before, after.execution_options(logging_token="shop")):
            engine.connect().close()
    before.connect().close()
    assert [one.sender for one in sent] == [before, before, after, after]
    # The pool is found by its first connection, which is not timed for that reason.
    assert sent[0]["waited_seconds"] is not None
    assert sent[2]["waited_seconds"] is None


def test_no_clock_is_read_without_receivers(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> float:
        raise AssertionError("the clock was read")

    engine = make_engine()
    with instrument(engine):
        with capture(*BOTH):
            engine.connect().close()
        monkeypatch.setattr(time, "perf_counter", refuse)
        engine.connect().close()


def test_receiver_that_fails_does_not_keep_the_connection(
    engine: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(sender: object) -> None:
        raise LookupError

    with (
        connection_checked_out.connected_to(fail),
        connection_checked_in.connected_to(fail),
        engine.connect() as connection,
    ):
        connection.execute(sa.text("SELECT 1"))
    assert t.cast("QueuePool", engine.pool).checkedout() == 0
    assert [record.name for record in caplog.records] == ["signalpost.signals"] * 2


def test_pool_of_an_async_engine_is_measured(tmp_path: Path) -> None:
    async def work() -> None:
        engine = create_async_engine(
            f"sqlite+aiosqlite:///{tmp_path}/shop.db",
            poolclass=AsyncAdaptedQueuePool,
        )
        with instrument(engine):
            async with engine.connect() as connection:
                await connection.execute(sa.text("SELECT 1"))
        await engine.dispose()

    with capture(*BOTH) as sent:
        asyncio.run(work())
    assert steps(sent) == ["out", "in"]
    assert sent[0]["waited_seconds"] > 0


def test_connection_has_its_exchange(engine: sa.Engine) -> None:
    def shop(environ: object, start_response: t.Any) -> Iterable[bytes]:
        with engine.connect():
            start_response("200 OK", [])
            return [b"mug"]

    with capture(*BOTH) as sent, capture(exchange_closed) as closed:
        Server().serve(SignalMiddleware(shop))
    exchange = closed[0]["exchange"]
    assert [one["exchange"] for one in sent] == [exchange, exchange]
