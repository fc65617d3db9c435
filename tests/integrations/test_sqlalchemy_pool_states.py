"""The states of connection pools, and the signals of their changes."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import threading
import typing as t
import weakref
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa
from opentelemetry.instrumentation.utils import suppress_instrumentation
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import AssertionPool
from sqlalchemy.pool import AsyncAdaptedQueuePool
from sqlalchemy.pool import NullPool
from sqlalchemy.pool import QueuePool
from sqlalchemy.pool import SingletonThreadPool
from sqlalchemy.pool import StaticPool

from signalpost.integrations.sqlalchemy import EveryEngine
from signalpost.integrations.sqlalchemy import instrument
from signalpost.lifecycle import sql_pool_changed
from signalpost.receivers.sql_pools import pool_states
from signalpost.receivers.sql_pools import PoolState
from signalpost.testing import capture
from signalpost.testing import Sent

SECONDS = 10
NAMES = ("a given name", "another one", "the name in logs")


class MakeEngine(t.Protocol):
    def __call__(self, **options: t.Any) -> sa.Engine: ...


@pytest.fixture(autouse=True, scope="module")
def without_others() -> None:
    gc.collect()  # applications of other tests, with their receivers and engines
    instrument().undo()


@pytest.fixture
def make_engine(tmp_path: Path) -> Generator[MakeEngine]:
    made: list[sa.Engine] = []

    def make(**options: t.Any) -> sa.Engine:
        made.append(sa.create_engine(f"sqlite:///{tmp_path}/pools.db", **options))
        return made[-1]

    yield make
    for engine in made:
        engine.dispose()


@pytest.fixture
def small(make_engine: MakeEngine) -> Generator[sa.Engine]:
    """Return an engine that may have one connection."""
    engine = make_engine(pool_size=1, max_overflow=0, pool_timeout=0.01)
    with instrument(engine, pool_name="small"):
        yield engine


def read(name: str = "sqlite/pools.db") -> PoolState:
    (state,) = pool_states(name)
    return state


def counts(state: PoolState) -> tuple[int, int, int]:
    return state.used, state.idle, state.overflow


def limits(state: PoolState) -> tuple[int | None, int | None]:
    return state.idle_max, state.total_max


def steps(sent: list[Sent]) -> list[tuple[str, int, int]]:
    return [(one["change"], *counts(one["state"])[:2]) for one in sent]


# Classes of pools


def test_pool_with_a_queue_is_read(make_engine: MakeEngine) -> None:
    engine = make_engine(pool_size=2, max_overflow=1)
    with instrument(engine), ExitStack() as stack:
        assert (counts(read()), limits(read())) == ((0, 0, 0), (2, 3))
        for _ in range(3):
            stack.enter_context(engine.connect())
        assert counts(read()) == (3, 0, 1)
        stack.close()
        assert counts(read()) == (0, 2, 0)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"pool_size": 0}, (None, None)),
        ({"pool_size": 2, "max_overflow": -1}, (2, None)),
    ],
)
def test_pool_without_a_limit_has_none(
    make_engine: MakeEngine, options: dict[str, t.Any], found: tuple[t.Any, t.Any]
) -> None:
    engine = make_engine(poolclass=QueuePool, **options)
    with instrument(engine), engine.connect(), engine.connect(), engine.connect():
        assert read().used == 3
        assert limits(read()) == found


def test_pool_that_keeps_nothing_is_read(make_engine: MakeEngine) -> None:
    engine = make_engine(poolclass=NullPool)
    with instrument(engine):
        with engine.connect(), engine.connect():
            assert (counts(read()), limits(read())) == ((2, 0, 0), (0, None))
        assert counts(read()) == (0, 0, 0)


@pytest.mark.parametrize("poolclass", [StaticPool, AssertionPool])
def test_pool_of_one_connection_is_read(
    make_engine: MakeEngine, poolclass: t.Any
) -> None:
    engine = make_engine(poolclass=poolclass)
    with instrument(engine):
        assert (counts(read()), limits(read())) == ((0, 0, 0), (1, 1))
        with engine.connect():
            assert counts(read()) == (1, 0, 0)
        assert counts(read()) == (0, 1, 0)
        engine.dispose()
        assert counts(read()) == (0, 0, 0)


def test_one_connection_that_two_have_is_in_use_until_both_return_it(
    make_engine: MakeEngine,
) -> None:
    engine = make_engine(poolclass=StaticPool)
    with instrument(engine), engine.connect():
        with engine.connect():
            assert counts(read()) == (1, 0, 0)
        assert counts(read()) == (1, 0, 0)


def test_pool_of_threads_is_read(make_engine: MakeEngine) -> None:
    engine = make_engine(poolclass=SingletonThreadPool, pool_size=3)

    def look() -> None:
        with engine.connect():
            found.append(counts(read()))

    found: list[tuple[int, int, int]] = []
    with instrument(engine), capture(sql_pool_changed) as sent, engine.connect():
        with engine.connect():
            assert (counts(read()), limits(read())) == ((1, 0, 0), (3, None))
        thread = threading.Thread(target=look)
        thread.start()
        thread.join(SECONDS)
        assert counts(read())[0] == 1
    assert found == [(2, 0, 0)]
    assert [one["change"] for one in sent] == [
        *("taken", "taken", "returned"),
        "returned",
    ]


def test_pool_of_an_async_engine_is_read(tmp_path: Path) -> None:
    async def work() -> None:
        engine = create_async_engine(
            f"sqlite+aiosqlite:///{tmp_path}/pools.db",
            poolclass=AsyncAdaptedQueuePool,
            pool_size=1,
            max_overflow=0,
            pool_timeout=SECONDS,
        )
        with instrument(engine):
            async with engine.connect():
                waiting = asyncio.create_task(engine.connect().start())
                while not read().waiting:
                    await asyncio.sleep(0)
                assert (counts(read()), limits(read())) == ((1, 0, 0), (1, 1))
            await (await waiting).close()
            assert counts(read()) == (0, 1, 0)
            assert read().waiting == 0
        await engine.dispose()

    with capture(sql_pool_changed) as sent:
        asyncio.run(work())
    assert [one["change"] for one in sent][:4] == [
        *("taken", "awaited", "returned", "taken")
    ]
    assert sent[3]["seconds"] > 0


# Waiting


def test_caller_that_waits_is_read_and_sent(make_engine: MakeEngine) -> None:
    engine = make_engine(pool_size=1, max_overflow=0, pool_timeout=SECONDS)
    is_awaited = threading.Event()

    def note(sender: object, *, change: str) -> None:
        if change == "awaited":
            is_awaited.set()

    with (
        instrument(engine),
        capture(sql_pool_changed) as sent,
        sql_pool_changed.connected_to(note),
    ):
        waiting = threading.Thread(target=lambda: engine.connect().close())
        with engine.connect():
            waiting.start()
            assert is_awaited.wait(SECONDS)
            assert read().waiting == 1
        waiting.join(SECONDS)
        assert read().waiting == 0
    assert [one["change"] for one in sent[:2]] == ["taken", "awaited"]
    assert [one["state"].waiting for one in sent[:2]] == [0, 1]
    assert sorted(one["change"] for one in sent[2:]) == [
        *("returned", "returned", "taken")
    ]


def test_connection_that_is_not_had_in_time_is_counted(small: sa.Engine) -> None:
    with capture(sql_pool_changed) as sent, small.connect():
        for _ in range(2):
            with pytest.raises(sa.exc.TimeoutError):
                small.connect()
    assert steps(sent) == [
        ("taken", 1, 0),
        ("awaited", 1, 0),
        ("timed-out", 1, 0),
        ("awaited", 1, 0),
        ("timed-out", 1, 0),
        ("returned", 0, 1),
    ]
    assert sent[2]["seconds"] > 0.005
    assert [one["state"].waiting for one in sent] == [0, 1, 0, 1, 0, 0]
    assert read("small").timeouts == 2
    assert read("small").waiting == 0


def test_connection_that_cannot_be_opened_is_not_in_use(small: sa.Engine) -> None:
    @sa.event.listens_for(small, "connect")
    def fail(connection: t.Any, _: object) -> None:
        connection.close()  # SQLAlchemy drops it
        raise LookupError

    with capture(sql_pool_changed) as sent:
        with pytest.raises(LookupError):
            small.connect()
        assert (counts(read("small")), read("small").waiting) == ((0, 0, 0), 0)
    assert sent == []


# Ways to give a connection back


def test_times_are_sent(small: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])

    @sa.event.listens_for(small, "checkout")
    def check_slowly(*_: object) -> None:
        now[0] += 2

    with capture(sql_pool_changed) as sent:
        with small.connect():
            now[0] += 5
        small.dispose()
    assert [one["seconds"] for one in sent] == [2, 5, None]
    assert [one.sender for one in sent] == [small] * 3
    assert {one["name"] for one in sent} == {"small"}


def test_connection_that_was_taken_before_a_receiver_has_no_time(
    small: sa.Engine,
) -> None:
    with small.connect():
        sent = capture(sql_pool_changed)
        found = sent.__enter__()
    sent.__exit__(None, None, None)
    assert [(one["change"], one["seconds"]) for one in found] == [("returned", None)]


def test_raw_connection_is_sent(small: sa.Engine) -> None:
    with capture(sql_pool_changed) as sent:
        small.raw_connection().close()
    assert steps(sent) == [("taken", 1, 0), ("returned", 0, 1)]


def test_connection_that_is_lost_stays_in_use_until_it_is_closed(
    small: sa.Engine,
) -> None:
    with small.connect() as connection:
        connection.invalidate()
        connection.execute(sa.text("SELECT 1"))
        assert counts(read("small")) == (1, 0, 0)
    assert counts(read("small")) == (0, 1, 0)


def test_connection_that_is_detached_is_not_the_pools(make_engine: MakeEngine) -> None:
    engine = make_engine(poolclass=NullPool)
    with instrument(engine), engine.connect() as connection:
        connection.detach()
        assert counts(read()) == (0, 0, 0)


@pytest.mark.parametrize("poolclass", [NullPool, QueuePool])
def test_connection_that_is_forgotten_is_not_in_use_and_sends_nothing(
    make_engine: MakeEngine, poolclass: t.Any
) -> None:
    engine = make_engine(poolclass=poolclass)
    with instrument(engine), capture(sql_pool_changed) as sent:
        forgotten = [engine.raw_connection()]
        assert read().used == 1
        forgotten.clear()
        gc.collect()
        assert read().used == 0
    assert [one["change"] for one in sent] == ["taken"]


# Engines that are disposed, replaced, named


def test_connections_of_a_pool_that_was_disposed_are_in_use_until_they_are_closed(
    make_engine: MakeEngine,
) -> None:
    engine = make_engine(pool_size=2)
    with instrument(engine), capture(sql_pool_changed) as sent:
        before, old = engine.connect(), engine.pool
        engine.dispose()
        assert counts(read()) == (1, 0, 0)
        with engine.connect():
            assert counts(read()) == (2, 0, 0)
        assert counts(read()) == (1, 1, 0)
        before.close()
        assert counts(read()) == (0, 1, 0)
    assert [one["change"] for one in sent] == [
        *("taken", "disposed", "taken", "returned", "returned")
    ]
    old.dispose()


def test_no_caller_waits_for_connections_of_a_pool_that_was_disposed(
    small: sa.Engine,
) -> None:
    old = small.pool
    with capture(sql_pool_changed) as sent, small.connect():
        small.dispose()
        for _ in range(2):
            small.connect().close()
    old.dispose()
    assert "awaited" not in [one["change"] for one in sent]


def test_engine_that_takes_the_place_of_another_is_read_in_its_place() -> None:
    first = sa.create_engine("sqlite://", poolclass=QueuePool)
    instrument(first, pool_name="shop")
    first.connect().close()
    assert counts(read("shop")) == (0, 1, 0)
    first.dispose()
    gone = weakref.ref(first)
    second = sa.create_engine("sqlite://", poolclass=QueuePool)
    with instrument(second, pool_name="shop"):
        del first
        gc.collect()
        assert gone() is None
        with second.connect():
            assert counts(read("shop")) == (1, 0, 0)
    second.dispose()


def test_engines_with_one_name_are_added_up(make_engine: MakeEngine) -> None:
    one, other = make_engine(), make_engine()
    with (
        instrument(one),
        instrument(other),
        capture(sql_pool_changed) as sent,
        one.connect(),
        other.connect(),
    ):
        assert counts(read()) == (2, 0, 0)
        assert limits(read()) == (10, 30)
    assert steps(sent)[1] == ("taken", 2, 0)


@pytest.mark.parametrize(
    ("url", "options", "name"),
    [
        ("postgresql+psycopg://shop:secret@db:5433/mugs", {}, "db:5433/mugs"),
        ("postgresql+psycopg://shop:secret@db/mugs", {}, "db/mugs"),
        ("postgresql+psycopg:///mugs", {}, "postgresql/mugs"),
        ("postgresql+psycopg://", {}, "postgresql"),
        ("sqlite://", {}, "sqlite"),
        ("sqlite:///:memory:", {}, "sqlite"),
        ("sqlite:////srv/customers/ann.db?timeout=5", {}, "sqlite/ann.db"),
        ("sqlite:///file:/srv/ann.db?mode=ro&uri=true", {}, "sqlite/ann.db"),
        ("sqlite://", {"logging_name": "tea"}, "tea"),
        ("sqlite://", {"logging_name": "tea", "pool_logging_name": "pot"}, "pot"),
    ],
)
def test_pool_is_named_by_its_server_and_its_database(
    url: str, options: dict[str, t.Any], name: str
) -> None:
    engine = sa.create_engine(url, **options)
    with instrument(engine):
        assert [one.name for one in pool_states(name)] == [name]


def test_name_that_was_given_comes_first(make_engine: MakeEngine) -> None:
    engine = make_engine(pool_logging_name=NAMES[2])
    with instrument(engine, pool_name=NAMES[0]):
        assert [bool(pool_states(name)) for name in NAMES] == [True, False, False]
        instrument(engine, pool_name=NAMES[1])
        assert [bool(pool_states(name)) for name in NAMES] == [False, True, False]
        instrument(engine)
        assert [bool(pool_states(name)) for name in NAMES] == [False, False, True]


def test_name_for_all_engines_is_refused() -> None:
    with pytest.raises(TypeError, match="pool_name='tea' is for one engine"):
        instrument(pool_name="tea")


@pytest.mark.parametrize("name", ["", 3, b"tea"])
def test_name_that_is_none_is_refused(make_engine: MakeEngine, name: t.Any) -> None:
    with pytest.raises(TypeError, match="pool_name must be a string that is not empty"):
        instrument(make_engine(), pool_name=name)


# All engines, and none


def test_all_engines_are_read_from_their_first_connection_on(
    make_engine: MakeEngine,
) -> None:
    gc.collect()  # engines of other tests that have these names
    before = make_engine(logging_name="tea")
    with instrument():
        after = make_engine(pool_logging_name="pot")
        assert pool_states("tea") == pool_states("pot") == []
        for engine in (before, after.execution_options(logging_token="shop")):
            with engine.connect():
                pass
        assert counts(read("tea")) == counts(read("pot")) == (0, 1, 0)
        with capture(sql_pool_changed) as sent, after.connect():
            pass
        assert steps(sent) == [("taken", 1, 0), ("returned", 0, 1)]
    assert pool_states("tea") == pool_states("pot") == []


def test_configuration_that_is_disabled_reads_no_pools(
    make_engine: MakeEngine,
) -> None:
    engine, every = make_engine(logging_name="cups"), EveryEngine()
    for _ in range(2):
        every.connect()
        engine.connect().close()
        found = pool_states("cups")
        every.disconnect()
        assert len(found) == 1
        assert pool_states("cups") == []


def test_engine_that_is_not_instrumented_any_more_is_as_before(
    make_engine: MakeEngine,
) -> None:
    engine = make_engine()
    with instrument(engine):
        pass
    with capture(sql_pool_changed) as sent:
        engine.connect().close()
    assert sent == []
    assert pool_states("sqlite/pools.db") == []
    with instrument(engine):
        assert counts(read()) == (0, 1, 0)


def test_nothing_is_sent_while_instrumentation_is_suppressed(small: sa.Engine) -> None:
    with capture(sql_pool_changed) as sent, suppress_instrumentation(), small.connect():
        assert counts(read("small")) == (1, 0, 0)
    assert sent == []


def test_receiver_that_fails_does_not_harm_the_application(
    small: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(sender: object) -> None:
        raise LookupError

    with sql_pool_changed.connected_to(fail), small.connect() as connection:
        assert connection.scalar(sa.text("SELECT 1")) == 1
    assert counts(read("small")) == (0, 1, 0)
    assert {record.name for record in caplog.records} == {"signalpost.signals"}


def test_receiver_may_use_the_engine(make_engine: MakeEngine) -> None:
    engine = make_engine()

    def look(sender: sa.Engine, *, change: str) -> None:
        if change == "returned":
            with sql_pool_changed.muted(), sender.connect() as connection:
                found.append(connection.scalar(sa.text("SELECT 1")))

    found: list[int] = []
    with instrument(engine), sql_pool_changed.connected_to(look):
        engine.connect().close()
    assert found == [1]


# The class of the pool


def test_pool_keeps_its_name_in_logs(
    make_engine: MakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make_engine()
    caplog.set_level(logging.DEBUG, "sqlalchemy.pool")
    with instrument(engine):
        engine.connect().close()
        engine.dispose()
        caplog.clear()
        engine.connect().close()
        assert {one.name for one in caplog.records} == {
            "sqlalchemy.pool.impl.QueuePool"
        }
    assert isinstance(engine.pool, QueuePool)
    assert engine.pool.status().startswith("Pool size: 5")


def test_class_of_a_pool_that_is_used_for_another_engine_works(
    make_engine: MakeEngine,
) -> None:
    first = make_engine()
    with instrument(first):
        second = make_engine(poolclass=type(first.pool))
        second.connect().close()
        second.dispose()
        with instrument(second, pool_name="second"), second.connect():
            assert counts(read("second")) == (1, 0, 0)
        assert counts(read()) == (0, 0, 0)


def test_pool_of_an_applications_own_class_is_read(make_engine: MakeEngine) -> None:
    class Counting(QueuePool):
        made = 0

        def _do_get(self) -> t.Any:
            Counting.made += 1
            return super()._do_get()

    engine = make_engine(poolclass=Counting)
    with instrument(engine), engine.connect():
        assert counts(read()) == (1, 0, 0)
    assert Counting.made == 1


def test_connections_that_were_taken_before_are_in_use(make_engine: MakeEngine) -> None:
    engine = make_engine()
    with engine.connect(), instrument(engine):
        with engine.connect():
            assert counts(read()) == (2, 0, 0)
        assert counts(read()) == (1, 1, 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork()")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_connections_of_the_parent_are_not_in_use_in_a_child(
    make_engine: MakeEngine,
) -> None:
    engine = make_engine(poolclass=NullPool)
    with instrument(engine), engine.connect():
        child = os.fork()
        if not child:
            os._exit(read().used)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert read().used == 1


def test_no_clock_is_read_without_a_receiver(
    small: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> float:
        raise AssertionError("the clock was read")

    monkeypatch.setattr("time.perf_counter", refuse)
    small.connect().close()
    assert counts(read("small")) == (0, 1, 0)
