"""Statements and failures of an asynchronous driver on a real MariaDB."""

from __future__ import annotations

import asyncio
import typing as t
from collections.abc import AsyncIterator
from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import asynccontextmanager

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from signalpost import SignalMiddleware
from signalpost.integrations.sqlalchemy import instrument
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
from tests.integrations.mariadb import running_mariadb
from tests.ports import free_port
from tests.wsgi.serving import Server

asyncmy = pytest.importorskip("asyncmy", reason="asyncmy is not installed")

# So many rows are more than the sockets buffer.
NUMBERS = "SELECT seq, repeat('x', 1000) FROM mysql.seq_1_to_100000"
# Where SQLAlchemy does not wrap what fails while rows are fetched.
FAILURES = (sa.exc.DBAPIError, asyncmy.errors.MySQLError)

Work: t.TypeAlias = Callable[[AsyncEngine], Awaitable[object]]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Run a server; return where it is, as part of an address."""
    with running_mariadb() as address:
        yield f"{address}/mysql"


@pytest.fixture(params=["mariadb", "mysql"])
def run(server: str, request: pytest.FixtureRequest) -> Callable[..., None]:
    """Return a function that works with an instrumented engine of either dialect."""

    async def with_engine(work: Work, options: dict[str, t.Any]) -> None:
        url = f"{request.param}+asyncmy://{server}"
        engine = create_async_engine(url, **options)
        async with engine.connect():
            pass
        with instrument(engine):
            await work(engine)
        await engine.dispose()

    def run(work: Work, **options: t.Any) -> None:
        asyncio.run(with_engine(work, options))

    return run


Run: t.TypeAlias = Callable[..., None]


@asynccontextmanager
async def without_its_server(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Yield a connection that the server has ended."""
    async with engine.connect() as connection:
        await end_from_outside(connection)
        yield connection


async def end_from_outside(connection: AsyncConnection) -> None:
    number = await connection.scalar(sa.text("SELECT CONNECTION_ID()"))
    await kill(connection.engine.url, number)


async def kill(url: sa.URL, number: object) -> None:
    """End a connection, and wait until the server has closed it."""
    other = create_async_engine(url, poolclass=NullPool)
    ended = sa.text(
        "SELECT count(*) FROM information_schema.processlist WHERE id = :number"
    )
    async with other.connect() as connection:
        await connection.exec_driver_sql(f"KILL {number}")
        while await connection.scalar(ended, {"number": number}):
            await connection.exec_driver_sql("DO SLEEP(0.01)")


def described(sent: list[Sent]) -> list[tuple[str, str | None]]:
    """Return the operation and the statement of failures."""
    return [(one["operation"], one["statement"]) for one in sent]


# Statements


def test_statement_is_sent_with_its_rows_and_duration(run: Run) -> None:
    async def work(engine: AsyncEngine) -> None:
        async with engine.connect() as connection:
            for statement, values in [
                ("CREATE TEMPORARY TABLE mugs (id INT PRIMARY KEY, name TEXT)", None),
                (
                    "INSERT INTO mugs VALUES (:id, 'blue')",
                    [{"id": number} for number in range(3)],
                ),
                # Also rows that have that name already.
                ("UPDATE mugs SET name = 'blue' WHERE id < :id", {"id": 2}),
                ("SELECT * FROM mugs", None),
                ("DELETE FROM mugs", None),
            ]:
                await connection.execute(sa.text(statement), values)

    with capture(sql_executed, sql_failed) as sent:
        run(work)
    assert [(one["row_count"], one["parameters_count"]) for one in sent] == [
        *((0, 0), (3, 3), (2, 1), (3, 0), (3, 0))
    ]
    assert [one["is_executemany"] for one in sent] == [False, True, *[False] * 3]
    assert all(0 < one["duration_seconds"] < 60 for one in sent)
    assert {one["exception"] for one in sent} == {None}


def test_statement_that_fails_is_sent_once(run: Run) -> None:
    async def work(engine: AsyncEngine) -> None:
        async with engine.connect() as connection:
            with pytest.raises(sa.exc.ProgrammingError) as caught:
                await connection.execute(sa.text("SELECT 'Zq7351' FROM cups"))
            failures.append(caught.value)

    failures: list[BaseException] = []
    with capture(sql_executed, sql_failed) as sent:
        run(work)
    assert [one["exception"] for one in sent] == failures
    assert sent[0]["row_count"] is None
    assert "cups" in str(failures[0])
    message = message_without_values(failures[0], str(failures[0]))
    assert "Zq7351" not in message


def test_first_statements_of_an_engine_belong_to_no_request(server: str) -> None:
    async def work() -> None:
        engine = create_async_engine(f"mariadb+asyncmy://{server}")
        with instrument(engine):
            async with engine.connect() as connection:
                await connection.execute(sa.text("SELECT 1"))
        await engine.dispose()

    def shop(environ: object, start_response: t.Any) -> list[bytes]:
        start_response("200 OK", [])
        asyncio.run(work())
        return [b"mug"]

    with (
        capture(sql_executed, exchange_closed) as sent,
        sql_executed.connected_to(SqlTotalsCounter()),
    ):
        Server().serve(SignalMiddleware(shop))
    exchange = sent[-1]["exchange"]
    *first, own = sent[:-1]
    assert first != []
    assert {one["exchange"] for one in first} == {None}
    assert (own["statement"], own["exchange"]) == ("SELECT 1", exchange)
    found = sql_totals(exchange)
    assert found is not None
    assert found.count == 1


def test_tasks_send_their_own(run: Run) -> None:
    async def work(engine: AsyncEngine) -> None:
        async def ask(number: int) -> None:
            async with engine.connect() as connection:
                await connection.execute(sa.text(f"SELECT {number}, SLEEP(0.01)"))

        await asyncio.gather(*map(ask, range(5)))

    with capture(sql_executed) as sent:
        run(work)
    asked = [one for one in sent if "SLEEP" in one["statement"]]
    assert sorted(one["statement"] for one in asked) == [
        f"SELECT {number}, SLEEP(0.01)" for number in range(5)
    ]
    assert all(one["duration_seconds"] >= 0.01 for one in asked)


def test_statement_of_a_task_that_is_cancelled_is_sent_once(run: Run) -> None:
    async def work(engine: AsyncEngine) -> None:
        async with engine.connect() as connection:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await connection.execute(sa.text("SELECT SLEEP(60)"))

    with capture(sql_executed) as sent:
        run(work)
    assert [one["statement"] for one in sent] == ["SELECT SLEEP(60)"]
    assert isinstance(sent[0]["exception"], asyncio.CancelledError)


# Failures of other operations


def test_commit_that_the_server_refuses_is_sent(run: Run) -> None:
    async def work(engine: AsyncEngine) -> None:
        async with engine.connect() as connection:
            await connection.exec_driver_sql("XA START 'two-phase'")
            with pytest.raises(sa.exc.DBAPIError) as caught:
                await connection.commit()
            failures.append(caught.value)
            # Its transaction ends with it.
            await connection.invalidate()

    failures: list[BaseException] = []
    with capture(sql_failed) as sent:
        run(work)
    assert described(sent) == [("commit", None)]
    assert sent[0]["exception"] is failures[0]
    assert "1399" in str(failures[0])


@pytest.mark.parametrize("operation", ["commit", "rollback"])
def test_transaction_whose_connection_the_server_ended_is_sent(
    run: Run, operation: str
) -> None:
    async def work(engine: AsyncEngine) -> None:
        async with without_its_server(engine) as connection:
            with (
                capture(sql_failed, sql_executed) as sent,
                pytest.raises(sa.exc.DBAPIError) as caught,
            ):
                await getattr(connection, operation)()
            assert described(sent) == [(operation, None)]
            assert sent[0]["exception"] is caught.value
            assert caught.value.connection_invalidated

    run(work)


def test_statement_whose_connection_the_server_ended_is_sent_once(run: Run) -> None:
    async def work(engine: AsyncEngine) -> None:
        async with without_its_server(engine) as connection:
            with capture(sql_failed, sql_executed) as sent:
                with pytest.raises(sa.exc.DBAPIError) as caught:
                    await connection.execute(sa.text("SELECT 1"))
                await connection.rollback()
                await connection.execute(sa.text("SELECT 2"))
            assert [(one["statement"], one["exception"]) for one in sent] == [
                ("SELECT 1", caught.value),
                ("SELECT 2", None),
            ]

    run(work)


def test_rows_that_are_streamed_are_one_statement(run: Run) -> None:
    async def work(engine: AsyncEngine) -> None:
        async with engine.connect() as connection:
            rows = await connection.stream(
                sa.text("SELECT seq FROM mysql.seq_1_to_1000")
            )
            assert sum([n async for n in rows.scalars()]) == 500_500

    with capture(sql_executed, sql_failed) as sent:
        run(work)
    # The number of rows is not known before the last one.
    assert [one["row_count"] for one in sent] == [None]


def test_fetch_that_the_server_refuses_is_sent(run: Run) -> None:
    failing = (
        "SELECT seq, (SELECT seq UNION SELECT if(seq = 500, 'Zq7351', seq))"
        " FROM mysql.seq_1_to_1000"
    )

    async def work(engine: AsyncEngine) -> None:
        async with engine.connect() as connection:
            with pytest.raises(FAILURES):
                _ = [one async for one in await connection.stream(sa.text(failing))]

    with capture(sql_failed) as sent:
        run(work)
    assert described(sent) == [("fetch", failing)]
    assert isinstance(sent[0]["exception"], FAILURES)


def test_fetch_on_a_connection_that_the_server_ended_is_sent(run: Run) -> None:
    async def work(engine: AsyncEngine) -> None:
        async with engine.connect() as connection:
            number = await connection.scalar(sa.text("SELECT CONNECTION_ID()"))
            rows = await connection.stream(sa.text(NUMBERS))
            await anext(rows)
            await kill(engine.url, number)
            with pytest.raises(FAILURES):
                _ = [one async for one in rows]

    with capture(sql_failed) as sent:
        run(work)
    assert described(sent)[0] == ("fetch", NUMBERS)


def failed_to_connect(url: str) -> str:
    """Return the message of a connection that fails, as it is shown."""

    async def work() -> str:
        engine = create_async_engine(url, poolclass=NullPool)
        with (
            instrument(engine),
            capture(sql_failed, sql_executed) as sent,
            pytest.raises(sa.exc.OperationalError) as caught,
        ):
            await engine.connect()
        assert described(sent) == [("connect", None)]
        assert sent[0]["exception"] is caught.value
        assert sent[0].sender is engine.sync_engine
        return message_without_values(caught.value, str(caught.value))

    return asyncio.run(work())


def test_connection_to_a_server_that_is_not_there_is_sent() -> None:
    url = f"mariadb+asyncmy://ann:Zq7351@127.0.0.1:{free_port()}/shop"
    assert failed_to_connect(url) == (
        "(asyncmy.errors.OperationalError) (2003, \"Can't connect to MySQL server on …"
    )


def test_password_that_the_server_refuses_is_sent_and_not_shown(server: str) -> None:
    url = f"mariadb+asyncmy://{server.replace('@', ':Zq7351@')}"
    assert failed_to_connect(url) == (
        '(asyncmy.errors.OperationalError) (1045, "Access denied for user …'
    )


# The pool


def test_task_that_waits_for_a_connection_is_sent(run: Run, server: str) -> None:
    async def work(engine: AsyncEngine) -> None:
        async def ask() -> None:
            async with engine.connect() as connection:
                # The others wait for it by then.
                while [one["change"] for one in sent].count("awaited") < 2:
                    await asyncio.sleep(0)
                await connection.execute(sa.text("SELECT SLEEP(0.01)"))

        await asyncio.wait_for(asyncio.gather(ask(), ask(), ask()), 60)
        (state,) = pool_states(server.partition("@")[2])
        assert (state.used, state.idle, state.waiting) == (0, 1, 0)

    with capture(sql_pool_changed) as sent:
        run(work, pool_size=1, max_overflow=0)
    changes = [one["change"] for one in sent]
    assert changes.count("awaited") == changes.count("taken") - 1 == 2
    assert max(one["state"].waiting for one in sent) >= 2
    waited = [one["seconds"] for one in sent if one["change"] == "taken"]
    assert sorted(waited)[1] > 0.01


def test_pool_that_is_exhausted_is_sent(run: Run, server: str) -> None:
    async def work(engine: AsyncEngine) -> None:
        async with engine.connect():
            with pytest.raises(sa.exc.TimeoutError) as caught:
                await engine.connect()
            (state,) = pool_states(server.partition("@")[2])
        failures.append(caught.value)
        assert (state.used, state.idle, state.waiting) == (1, 0, 0)
        assert state.timeouts == 1

    failures: list[BaseException] = []
    with capture(sql_failed) as sent:
        run(work, pool_size=1, max_overflow=0, pool_timeout=0.01)
    assert described(sent) == [("pool", None)]
    assert sent[0]["exception"] is failures[0]
