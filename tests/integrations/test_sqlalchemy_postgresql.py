"""The signals of statements with a real PostgreSQL, by a sync and an async driver."""

from __future__ import annotations

import asyncio
import typing as t
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from sqlalchemy.pool import QueuePool

from signalpost import Signal
from signalpost import SignalMiddleware
from signalpost.integrations.sqlalchemy import committed
from signalpost.integrations.sqlalchemy import connection_checked_in
from signalpost.integrations.sqlalchemy import connection_checked_out
from signalpost.integrations.sqlalchemy import instrument
from signalpost.integrations.sqlalchemy import instrument_models
from signalpost.integrations.sqlalchemy import send_after_commit
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import sql_executed
from signalpost.lifecycle import sql_failed
from signalpost.lifecycle import sql_pool_changed
from signalpost.receivers.messages import message_without_values
from signalpost.receivers.sql_pools import pool_states
from signalpost.receivers.sql_totals import sql_totals
from signalpost.receivers.sql_totals import SqlTotalsCounter
from signalpost.testing import capture
from signalpost.testing import Sent
from tests.integrations.postgresql import running_postgresql
from tests.ports import free_port
from tests.receivers.accepted import SECRET
from tests.receivers.accepted import shown_values
from tests.wsgi.serving import Server

SETTINGS = ("-c", "max_prepared_transactions=4")
MARK = "SELECT 'the work begins'"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Run a server; return where it is, as part of an address."""
    with running_postgresql(*SETTINGS) as address:
        yield address


@pytest.fixture
def engine(server: str) -> Generator[sa.Engine]:
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    engine = sa.create_engine(f"postgresql+psycopg://{server}")
    with instrument(engine):
        yield engine
    engine.dispose()


Work: t.TypeAlias = Callable[[sa.Connection], None]
SentBy: t.TypeAlias = Callable[[Work], list[Sent]]


@pytest.fixture(params=["psycopg", "asyncpg"])
def sent_by(server: str, request: pytest.FixtureRequest) -> SentBy:
    """Return a function that works on a connection, and returns what was sent."""
    driver = request.param
    pytest.importorskip(driver, reason=f"{driver} is not installed")

    def sync(work: Work) -> None:
        engine = sa.create_engine(f"postgresql+psycopg://{server}")
        with instrument(engine), engine.connect() as connection:
            work(connection)
        engine.dispose()

    async def by_async(work: Work) -> None:
        engine = create_async_engine(f"postgresql+asyncpg://{server}")
        with instrument(engine):
            async with engine.connect() as connection:
                await connection.run_sync(work)
        await engine.dispose()

    def run(work: Work) -> list[Sent]:
        with capture(sql_executed) as sent:
            if driver == "psycopg":
                sync(work)
            else:
                asyncio.run(by_async(work))
        # What a driver asks when it connects for the first time is none of the work's.
        statements = [one["statement"] for one in sent]
        return sent[statements.index(MARK) + 1 :]

    return run


def mark(connection: sa.Connection) -> None:
    connection.execute(sa.text(MARK))


def test_statement_is_sent_once(sent_by: SentBy) -> None:
    def work(connection: sa.Connection) -> None:
        mark(connection)
        connection.execute(sa.text("SELECT CAST(:n AS INTEGER)"), {"n": 3})

    (one,) = sent_by(work)
    assert one["parameters_count"] == 1
    assert one["exception"] is None
    assert one["duration_seconds"] > 0


def test_failed_statement_is_sent_once(sent_by: SentBy) -> None:
    def work(connection: sa.Connection) -> None:
        mark(connection)
        with pytest.raises(sa.exc.ProgrammingError):
            connection.execute(sa.text("SELECT * FROM cups"))

    (one,) = sent_by(work)
    assert isinstance(one["exception"], sa.exc.ProgrammingError)


def test_failure_in_a_savepoint_leaves_the_transaction(
    sent_by: SentBy,
) -> None:
    def work(connection: sa.Connection) -> None:
        mark(connection)
        with pytest.raises(sa.exc.ProgrammingError), connection.begin_nested():
            connection.execute(sa.text("SELECT * FROM cups"))
        connection.execute(sa.text("SELECT 1"))

    sent = sent_by(work)
    assert [one["statement"] for one in sent] == [
        "SAVEPOINT sa_savepoint_1",
        "SELECT * FROM cups",
        "ROLLBACK TO SAVEPOINT sa_savepoint_1",
        "SELECT 1",
    ]
    assert [one["exception"] is None for one in sent] == [True, False, True, True]


def test_statement_on_a_broken_connection_is_sent_once(
    sent_by: SentBy,
) -> None:
    def work(connection: sa.Connection) -> None:
        mark(connection)
        with pytest.raises(sa.exc.DBAPIError):
            connection.execute(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))

    (one,) = sent_by(work)
    assert one["exception"].connection_invalidated


def test_connection_that_the_server_ended_fails_one_statement(
    server: str, sent_by: SentBy
) -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    other = sa.create_engine(f"postgresql+psycopg://{server}", poolclass=NullPool)

    def work(connection: sa.Connection) -> None:
        own = connection.scalar(sa.text("SELECT pg_backend_pid()"))
        connection.rollback()
        with other.connect() as another:
            end = sa.text("SELECT pg_terminate_backend(:own, 10000)")
            assert another.scalar(end, {"own": own})
        connection.info["before"] = True
        mark_failing(connection)
        connection.rollback()
        connection.execute(sa.text("SELECT 2"))
        assert "before" not in connection.info

    def mark_failing(connection: sa.Connection) -> None:
        with pytest.raises(sa.exc.DBAPIError) as caught:
            connection.execute(sa.text(MARK))
        assert caught.value.connection_invalidated

    with capture(sql_executed) as sent:
        assert [one["statement"] for one in sent_by(work)] == ["SELECT 2"]
    failed = [one for one in sent if one["exception"] is not None]
    assert [one["statement"] for one in failed] == [MARK]
    assert failed[0]["exception"].connection_invalidated


def test_connection_that_the_server_ended_is_given_back_once(
    engine: sa.Engine,
) -> None:
    both = (connection_checked_out, connection_checked_in)
    with capture(*both) as sent, engine.connect() as connection:
        with pytest.raises(sa.exc.DBAPIError):
            connection.execute(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))
        connection.rollback()
        connection.execute(sa.text("SELECT 1"))
    assert [one.signal for one in sent] == [*both]


def test_savepoint_that_is_released_keeps_its_statements(sent_by: SentBy) -> None:
    def work(connection: sa.Connection) -> None:
        mark(connection)
        with connection.begin_nested():
            connection.execute(sa.text("SELECT 1"))

    assert [one["statement"] for one in sent_by(work)] == [
        "SAVEPOINT sa_savepoint_1",
        "SELECT 1",
        "RELEASE SAVEPOINT sa_savepoint_1",
    ]


def test_many_rows_are_sent_as_they_are_inserted(
    sent_by: SentBy,
) -> None:
    mugs = sa.Table(
        "mugs",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        prefixes=["TEMPORARY"],
    )

    def work(connection: sa.Connection) -> None:
        mugs.create(connection)
        mark(connection)
        rows = [{"id": number} for number in range(5)]
        connection.execute(mugs.insert().returning(mugs.c.id), rows)
        connection.execute(mugs.delete())
        connection.execute(mugs.insert().inline(), rows)

    inserted, deleted, *_ = sent_by(work)
    assert inserted["parameters_count"] == 5
    assert not inserted["is_executemany"]
    assert deleted["row_count"] == 5


def test_rows_that_are_streamed_are_one_statement(engine: sa.Engine) -> None:
    with engine.connect() as connection, capture(sql_executed) as sent:
        streaming = connection.execution_options(yield_per=10)
        numbers = streaming.execute(sa.text("SELECT generate_series(1, 100)")).scalars()
        assert sum(numbers) == 5050
    assert len(sent) == 1


def test_failure_while_rows_are_streamed_is_not_sent_again(engine: sa.Engine) -> None:
    statement = sa.text("SELECT 1 / (50 - n) FROM generate_series(1, 100) AS n")
    with engine.connect() as connection, capture(sql_executed) as sent:
        streaming = connection.execution_options(yield_per=10)
        with pytest.raises(sa.exc.DBAPIError):
            list(streaming.execute(statement))
    assert [one["exception"] for one in sent] == [None]


def test_rows_that_an_async_engine_streams_are_one_statement(server: str) -> None:
    asyncpg = pytest.importorskip("asyncpg", reason="asyncpg is not installed")
    # The driver's own, as SQLAlchemy does not wrap what fails while rows are fetched.
    failures = (sa.exc.DBAPIError, asyncpg.PostgresError)
    failing = sa.text("SELECT 1 / (50 - n) FROM generate_series(1, 100) AS n")

    async def work() -> list[Sent]:
        engine = create_async_engine(f"postgresql+asyncpg://{server}")
        with instrument(engine):
            async with engine.connect() as connection:
                with capture(sql_executed) as sent:
                    numbers = sa.text("SELECT generate_series(1, 100)")
                    rows = await connection.stream(numbers)
                    assert sum([n async for n in rows.scalars()]) == 5050
                    with pytest.raises(failures):
                        _ = [one async for one in await connection.stream(failing)]
        await engine.dispose()
        return sent

    sent = asyncio.run(work())
    assert [one["exception"] for one in sent] == [None, None]


def test_statement_of_a_task_that_is_cancelled_is_sent_once(server: str) -> None:
    pytest.importorskip("asyncpg", reason="asyncpg is not installed")

    async def work() -> None:
        engine = create_async_engine(f"postgresql+asyncpg://{server}")
        with instrument(engine):
            async with engine.connect() as connection:
                await connection.execute(sa.text("SELECT 1"))
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await connection.execute(sa.text("SELECT pg_sleep(60)"))
        await engine.dispose()

    with capture(sql_executed) as sent:
        asyncio.run(work())
    assert sent[-1]["statement"] == "SELECT pg_sleep(60)"
    failures = [one["exception"] for one in sent if one["exception"] is not None]
    assert [type(failure) for failure in failures] == [asyncio.CancelledError]


def test_tasks_send_their_own(server: str) -> None:
    pytest.importorskip("asyncpg", reason="asyncpg is not installed")

    async def work() -> list[Sent]:
        engine = create_async_engine(f"postgresql+asyncpg://{server}")

        async def ask(number: int) -> None:
            async with engine.connect() as connection:
                await connection.execute(sa.text(f"SELECT {number}, pg_sleep(0.01)"))

        with instrument(engine):
            await ask(0)
            with capture(sql_executed) as sent:
                await asyncio.gather(*map(ask, range(5)))
        await engine.dispose()
        return sent

    sent = asyncio.run(work())
    assert sorted(one["statement"] for one in sent) == [
        f"SELECT {number}, pg_sleep(0.01)" for number in range(5)
    ]
    assert all(one["duration_seconds"] >= 0.01 for one in sent)


def test_threads_send_their_own(engine: sa.Engine) -> None:
    def work(number: int) -> None:
        with engine.connect() as connection:
            connection.execute(sa.text(f"SELECT {number}, pg_sleep(0.01)"))

    with engine.connect():
        pass
    with capture(sql_executed) as sent, ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(8)))
    assert len(sent) == 8
    assert all(one["duration_seconds"] >= 0.01 for one in sent)


# What SQLAlchemy asks by itself


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_first_statements_of_an_engine_belong_to_no_request(
    server: str, driver: str
) -> None:
    pytest.importorskip(driver, reason=f"{driver} is not installed")

    async def work() -> None:
        engine = create_async_engine(f"postgresql+{driver}://{server}")
        with instrument(engine):
            async with engine.connect() as connection:
                await connection.execute(sa.text("SELECT 1"))
        await engine.dispose()

    def shop(environ: object, start_response: t.Any) -> list[bytes]:
        start_response("200 OK", [])
        asyncio.run(work())
        return [b"mug"]

    totals = SqlTotalsCounter()
    with (
        capture(sql_executed, exchange_closed) as sent,
        sql_executed.connected_to(totals),
    ):
        Server().serve(SignalMiddleware(shop))
    exchange = sent[-1]["exchange"]
    first, own = sent[:-2], sent[-2]
    assert "select pg_catalog.version()" in [one["statement"] for one in first]
    assert {one["exchange"] for one in first} == {None}
    assert (own["statement"], own["exchange"]) == ("SELECT 1", exchange)
    found = sql_totals(exchange)
    assert found is not None
    assert found.count == 1


# Failures other than statements


FailedBy: t.TypeAlias = Callable[[Work], list[Sent]]


@pytest.fixture(params=["psycopg", "asyncpg"])
def failed_by(server: str, request: pytest.FixtureRequest) -> FailedBy:
    """Return a function that works on a connection, and returns its failures."""
    driver = request.param
    pytest.importorskip(driver, reason=f"{driver} is not installed")

    def sync(work: Work) -> None:
        engine = sa.create_engine(f"postgresql+psycopg://{server}")
        with instrument(engine), engine.connect() as connection:
            work(connection)
        engine.dispose()

    async def by_async(work: Work) -> None:
        engine = create_async_engine(f"postgresql+asyncpg://{server}")
        with instrument(engine):
            async with engine.connect() as connection:
                await connection.run_sync(work)
        await engine.dispose()

    def run(work: Work) -> list[Sent]:
        with capture(sql_failed) as sent:
            if driver == "psycopg":
                sync(work)
            else:
                asyncio.run(by_async(work))
        return sent

    return run


def test_commit_that_a_deferred_constraint_refuses_is_sent(failed_by: FailedBy) -> None:
    def work(connection: sa.Connection) -> None:
        connection.execute(
            sa.text(
                "CREATE TEMPORARY TABLE mugs (name TEXT UNIQUE"
                " DEFERRABLE INITIALLY DEFERRED)"
            )
        )
        connection.execute(sa.text("INSERT INTO mugs VALUES ('blue'), ('blue')"))
        with pytest.raises(sa.exc.DBAPIError):
            connection.commit()

    (one,) = failed_by(work)
    assert (one["operation"], one["statement"]) == ("commit", None)
    assert "unique constraint" in str(one["exception"])


def test_commit_that_cannot_be_serialized_is_sent(
    server: str, failed_by: FailedBy
) -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    other = sa.create_engine(
        f"postgresql+psycopg://{server}",
        poolclass=NullPool,
        isolation_level="SERIALIZABLE",
    )
    stock, insert = sa.text("SELECT sum(n) FROM stock"), "INSERT INTO stock VALUES (1)"

    def work(connection: sa.Connection) -> None:
        connection.execute(sa.text("DROP TABLE IF EXISTS stock"))
        connection.execute(sa.text("CREATE TABLE stock (n INTEGER)"))
        connection.commit()
        connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"))
        with other.connect() as another:
            for one in (connection, another):
                one.execute(stock)
            for one in (connection, another):
                one.execute(sa.text(insert))
            another.commit()
        with pytest.raises(sa.exc.DBAPIError):
            connection.commit()

    (one,) = failed_by(work)
    assert one["operation"] == "commit"
    assert "could not serialize" in str(one["exception"])


def test_commit_on_a_connection_that_the_server_ended_is_sent(
    server: str, failed_by: FailedBy
) -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    other = sa.create_engine(f"postgresql+psycopg://{server}", poolclass=NullPool)

    def work(connection: sa.Connection) -> None:
        own = connection.scalar(sa.text("SELECT pg_backend_pid()"))
        with other.connect() as another:
            end = sa.text("SELECT pg_terminate_backend(:own, 10000)")
            assert another.scalar(end, {"own": own})
        with pytest.raises(sa.exc.DBAPIError):
            connection.commit()
        connection.rollback()

    sent = failed_by(work)
    assert [one["operation"] for one in sent] == ["commit"]


def test_failure_while_rows_are_streamed_is_sent(engine: sa.Engine) -> None:
    statement = sa.text("SELECT 1 / (50 - n) FROM generate_series(1, 100) AS n")
    with engine.connect() as connection, capture(sql_failed) as sent:
        streaming = connection.execution_options(yield_per=10)
        with pytest.raises(sa.exc.DBAPIError) as caught:
            list(streaming.execute(statement))
    (one,) = sent
    assert (one["operation"], one["statement"]) == ("fetch", statement.text)
    assert one["exception"] is caught.value


def test_failure_while_an_async_engine_streams_rows_is_sent(server: str) -> None:
    asyncpg = pytest.importorskip("asyncpg", reason="asyncpg is not installed")
    failing = sa.text("SELECT 1 / (50 - n) FROM generate_series(1, 100) AS n")

    async def work() -> list[Sent]:
        engine = create_async_engine(f"postgresql+asyncpg://{server}")
        with instrument(engine), capture(sql_failed) as sent:
            async with engine.connect() as connection:
                with pytest.raises((sa.exc.DBAPIError, asyncpg.PostgresError)):
                    _ = [one async for one in await connection.stream(failing)]
        await engine.dispose()
        return sent

    (one,) = asyncio.run(work())
    assert (one["operation"], one["statement"]) == ("fetch", failing.text)


def test_connection_to_a_server_that_is_not_there_is_sent() -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    engine = sa.create_engine(f"postgresql+psycopg://shop@127.0.0.1:{free_port()}/shop")
    with (
        instrument(engine),
        capture(sql_failed) as sent,
        pytest.raises(sa.exc.OperationalError) as caught,
    ):
        engine.connect()
    assert [(one["operation"], one["exception"]) for one in sent] == [
        ("connect", caught.value)
    ]


@pytest.mark.parametrize("is_for_all", [True, False])
def test_async_connection_to_a_server_that_is_not_there_is_sent(
    is_for_all: bool,
) -> None:
    pytest.importorskip("asyncpg", reason="asyncpg is not installed")

    async def work() -> list[Sent]:
        url = f"postgresql+asyncpg://shop@127.0.0.1:{free_port()}/shop"
        engine = create_async_engine(url)
        with (
            instrument() if is_for_all else instrument(engine),
            capture(sql_failed) as sent,
            pytest.raises(OSError, match="Connect"),
        ):
            await engine.connect()
        await engine.dispose()
        assert sent[0].sender is engine.sync_engine
        return sent

    assert [one["operation"] for one in asyncio.run(work())] == ["connect"]


def test_pool_that_is_exhausted_is_sent(server: str) -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    engine = sa.create_engine(
        f"postgresql+psycopg://{server}",
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        pool_timeout=0.01,
    )
    with instrument(engine), capture(sql_failed) as sent, engine.connect():
        with pytest.raises(sa.exc.TimeoutError):
            engine.connect()
        (state,) = pool_states(server.partition("@")[2])
    engine.dispose()
    assert [one["operation"] for one in sent] == ["pool"]
    assert (state.used, state.idle, state.waiting, state.timeouts) == (1, 0, 0, 1)


def test_task_that_waits_for_a_connection_is_sent(server: str) -> None:
    pytest.importorskip("asyncpg", reason="asyncpg is not installed")

    async def work() -> None:
        engine = create_async_engine(
            f"postgresql+asyncpg://{server}", pool_size=1, max_overflow=0
        )

        async def ask() -> None:
            async with engine.connect() as connection:
                # The others wait for it by then.
                while [one["change"] for one in sent].count("awaited") < 2:
                    await asyncio.sleep(0)
                await connection.execute(sa.text("SELECT pg_sleep(0.01)"))

        with instrument(engine, pool_name="tasks"):
            await asyncio.wait_for(asyncio.gather(ask(), ask(), ask()), 60)
            (state,) = pool_states("tasks")
        await engine.dispose()
        assert (state.used, state.idle, state.waiting) == (0, 1, 0)

    with capture(sql_pool_changed) as sent:
        asyncio.run(work())
    changes = [one["change"] for one in sent]
    assert changes.count("awaited") == changes.count("taken") - 1 == 2
    assert max(one["state"].waiting for one in sent) >= 2
    waited = [one["seconds"] for one in sent if one["change"] == "taken"]
    assert sorted(waited)[1] > 0.01


def test_prepare_that_fails_is_sent(engine: sa.Engine) -> None:
    with engine.connect() as connection, capture(sql_failed, sql_executed) as sent:
        transaction = connection.begin_twophase()
        # PostgreSQL prepares no transaction that has one.
        connection.execute(sa.text("CREATE TEMPORARY TABLE cups (id INTEGER)"))
        with pytest.raises(sa.exc.DBAPIError):
            transaction.prepare()
        connection.invalidate()
    (failure,) = [one for one in sent if one["exception"] is not None]
    # Early versions of SQLAlchemy 2.0 execute a statement.
    assert failure.payload.get("operation", "prepare") == "prepare"


# Objects that are committed


class Model(orm.DeclarativeBase): ...


class Mug(Model):
    __tablename__ = "committed_mugs"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str] = orm.mapped_column(
        sa.ForeignKey("committed_names.name", deferrable=True, initially="DEFERRED")
    )
    price: orm.Mapped[int] = orm.mapped_column(server_default="250")


class Name(Model):
    __tablename__ = "committed_names"
    name: orm.Mapped[str] = orm.mapped_column(primary_key=True)


@pytest.fixture
def mugs(engine: sa.Engine) -> Generator[sa.Engine]:
    Model.metadata.create_all(engine)
    with orm.Session(engine) as session:
        session.add(Name(name="blue"))
        session.commit()
    with instrument_models():
        yield engine
    Model.metadata.drop_all(engine)


def new_mugs(count: int) -> list[Mug]:
    return [Mug(name="blue") for _ in range(count)]


@pytest.mark.parametrize("is_kept", [True, False])
def test_object_of_two_phases_can_be_read_when_both_are_over(
    mugs: sa.Engine, is_kept: bool
) -> None:
    def read(model: type, *, instance: Mug, identity: tuple[int]) -> None:
        found.append((instance.name, instance.price, identity))

    found: list[t.Any] = []
    with (
        committed.connected_to(read, Mug),
        orm.Session(mugs, twophase=True) as session,
    ):
        written = new_mugs(2)
        session.add_all(written)
        session.flush()
        if not is_kept:
            written.clear()
        session.prepare()
        assert found == []
        session.commit()
    assert found == [("blue", 250, (1,)), ("blue", 250, (2,))]


def test_object_of_a_prepared_transaction_that_is_rolled_back_is_not_sent(
    mugs: sa.Engine,
) -> None:
    with capture(committed) as sent, orm.Session(mugs, twophase=True) as session:
        session.add_all(new_mugs(1))
        session.prepare()
        session.rollback()
        session.commit()
    assert sent == []


def test_object_of_a_commit_that_a_constraint_refuses_is_not_sent(
    mugs: sa.Engine,
) -> None:
    placed = Signal()
    with (
        capture(committed, placed) as sent,
        capture(sql_failed) as failed,
        orm.Session(mugs) as session,
    ):
        session.add(Mug(name="red"))
        send_after_commit(session, placed, "shop")
        with pytest.raises(sa.exc.IntegrityError):
            session.commit()
        session.rollback()
        session.commit()
    assert sent == []
    assert [one["operation"] for one in failed] == ["commit"]


def test_statement_of_a_receiver_that_fails_does_not_harm_what_comes_after(
    mugs: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(sender: object, **_: object) -> None:
        session.execute(sa.text("SELECT * FROM cups"))

    placed = Signal()
    placed.connect(fail)
    with orm.Session(mugs) as session:
        session.add_all(new_mugs(1))
        with committed.connected_to(fail, Mug):
            session.commit()
        # PostgreSQL would refuse it in the transaction that failed.
        assert session.scalar(sa.select(sa.func.count(Mug.id))) == 1
        send_after_commit(session, placed)
        session.commit()
        assert session.scalar(sa.select(sa.func.count(Mug.id))) == 1
    assert len(caplog.records) == 2


def test_object_that_an_async_driver_commits_can_be_read(
    mugs: sa.Engine, server: str
) -> None:
    pytest.importorskip("asyncpg", reason="asyncpg is not installed")

    def read(model: type, *, instance: Mug) -> None:
        found.append((instance.name, instance.price))

    async def work() -> None:
        engine = create_async_engine(f"postgresql+asyncpg://{server}")
        async with AsyncSession(engine) as session, session.begin():
            session.add_all(new_mugs(2))
        await engine.dispose()

    found: list[t.Any] = []
    with committed.connected_to(read, Mug):
        asyncio.run(work())
    assert found == [("blue", 250)] * 2


# Messages


STATEMENTS_THAT_FAIL = [
    ("INSERT INTO pg_temp.mugs VALUES ('Zq7351')", "unique constraint"),
    ("INSERT INTO pg_temp.mugs VALUES (CAST('Zq7351' AS INTEGER)::TEXT)", "integer"),
    ("SELECT 'Zq7351', cups.name FROM cups", "cups"),
    ("SELECT * FROM pg_temp.mugs WHERE name = 'Zq7351' AND", "syntax error"),
    ("SELECT 1 / (length(name) - 6) AS Zq, 7351 FROM pg_temp.mugs", "division"),
    ("SELECT make_date(7351909, 1, 1)", "date out of range: …"),
    ("DO $$ BEGIN RAISE EXCEPTION 'user Zq7351 is unknown'; END $$", "…"),
    ("DO $$ BEGIN ASSERT false, 'user Zq7351'; END $$", "…"),
]


@pytest.mark.parametrize(("statement", "kept"), STATEMENTS_THAT_FAIL)
@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_message_of_the_server_is_cut_where_values_begin(
    server: str, driver: str, statement: str, kept: str
) -> None:
    pytest.importorskip(driver, reason=f"{driver} is not installed")

    async def work() -> list[BaseException]:
        engine = create_async_engine(f"postgresql+{driver}://{server}")
        async with engine.connect() as connection:
            await connection.exec_driver_sql(
                "CREATE TEMPORARY TABLE mugs (name TEXT UNIQUE)"
            )
            await connection.exec_driver_sql("INSERT INTO mugs VALUES ('Zq7351')")
            with pytest.raises(sa.exc.DBAPIError) as caught:
                await connection.execute(sa.text(statement), {"unused": "Zq7351"})
        await engine.dispose()
        return [caught.value, *_causes(caught.value)]

    for exception in asyncio.run(work()):
        message = message_without_values(exception, str(exception))
        assert "7351" not in message
        assert kept in message


@pytest.mark.parametrize("strings", ["on", "off"])
def test_no_value_that_the_server_returns_is_shown(server: str, strings: str) -> None:
    psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")
    seeds = [
        f"SELECT '{SECRET}'",
        f"SELECT E'\\'{SECRET}', 'a'\n'b'",
        f"SELECT $${SECRET}$$, $a${SECRET}$a$, '{SECRET}'::text",
        f"SELECT /* /* */ */ '{SECRET}' -- x\n, 2 AS \"a\"",
    ]
    with psycopg.connect(f"postgresql://{server}", autocommit=True) as connection:
        connection.execute("SET escape_string_warning = off")
        connection.execute(f"SET standard_conforming_strings = {strings}")

        def returned(statement: str) -> str:
            return repr(connection.execute(statement).fetchall())

        assert shown_values(returned, ("postgresql", ""), seeds, 10_000) == []


def _causes(exception: BaseException) -> Iterator[BaseException]:
    while exception.__cause__ is not None:
        exception = exception.__cause__
        yield exception
