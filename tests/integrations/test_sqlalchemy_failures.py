"""Failures other than statements: commits, fetches, connections, pools."""

from __future__ import annotations

import asyncio
import gc
import typing as t
from collections.abc import Callable
from collections.abc import Generator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool
from sqlalchemy.pool import QueuePool

from signalpost import SignalMiddleware
from signalpost.integrations.sqlalchemy import instrument
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import sql_executed
from signalpost.lifecycle import sql_failed
from signalpost.receivers.sql import SqlLogger
from signalpost.receivers.sql_totals import sql_totals
from signalpost.receivers.sql_totals import SqlTotalsCounter
from signalpost.testing import capture
from signalpost.testing import Sent
from tests.wsgi.serving import Server

made: list[sa.Engine] = []


@pytest.fixture(autouse=True)
def engines_disposed() -> Generator[None]:
    gc.collect()  # applications of other tests, with their receivers
    instrument().undo()  # and what their configurations have begun
    yield
    while made:
        made.pop().dispose()


def new_engine(url: str = "sqlite://", **options: t.Any) -> sa.Engine:
    engine = sa.create_engine(url, **options)
    made.append(engine)
    return engine


@pytest.fixture
def engine() -> sa.Engine:
    """Return an engine whose table has a foreign key that is checked at the commit."""
    engine = new_engine()
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE mugs (id INTEGER PRIMARY KEY)"))
        connection.execute(
            sa.text(
                "CREATE TABLE orders (mug INTEGER REFERENCES mugs(id)"
                " DEFERRABLE INITIALLY DEFERRED)"
            )
        )
        connection.exec_driver_sql("INSERT INTO mugs VALUES (1)")
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA foreign_keys = ON")
    instrument(engine)
    return engine


def order(connection: sa.Connection, mug: int = 7) -> None:
    connection.execute(sa.text("INSERT INTO orders VALUES (:mug)"), {"mug": mug})


ROWS = sa.text(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100)"
    " SELECT abs(CASE i WHEN 50 THEN -9223372036854775808 ELSE i END) FROM n"
)


def operations(sent: list[Sent]) -> list[str]:
    return [one["operation"] for one in sent]


def test_commit_that_fails_is_sent_once_with_its_exception(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        order(connection)
        with capture(sql_failed, sql_executed) as sent:
            with pytest.raises(sa.exc.IntegrityError) as caught:
                connection.commit()
            connection.rollback()
    (one,) = sent
    assert one.sender is engine
    assert one.payload == {
        "operation": "commit",
        "statement": None,
        "exception": caught.value,
        "exchange": None,
    }


def test_commit_that_succeeds_sends_nothing(engine: sa.Engine) -> None:
    with capture(sql_failed) as sent, engine.begin() as connection:
        order(connection, 1)
    assert sent == []


def commit_a_session(engine: sa.Engine) -> None:
    with orm.Session(engine) as session:
        order(session.connection())
        session.commit()


def commit_by_a_block(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        order(connection)


def commit_a_session_by_a_block(engine: sa.Engine) -> None:
    with orm.Session(engine) as session, session.begin():
        order(session.connection())


def commit_with_options(engine: sa.Engine) -> None:
    commit_by_a_block(engine.execution_options(stream_results=True))


@pytest.mark.parametrize(
    "commit",
    [
        commit_a_session,
        commit_by_a_block,
        commit_a_session_by_a_block,
        commit_with_options,
    ],
)
def test_commit_fails_however_it_is_written(
    engine: sa.Engine, commit: Callable[[sa.Engine], None]
) -> None:
    with capture(sql_failed) as sent, pytest.raises(sa.exc.IntegrityError):
        commit(engine)
    assert operations(sent) == ["commit"]
    assert sent[0].sender is engine


class Calling:
    """A dialect whose own method is replaced."""

    def __init__(
        self, engine: sa.Engine, name: str, method: Callable[..., object]
    ) -> None:
        self._dialect: t.Any = engine.dialect
        self._name = name
        self._method = method

    def __enter__(self) -> None:
        setattr(self._dialect, self._name, self._method)

    def __exit__(self, *_: object) -> None:
        delattr(self._dialect, self._name)


class Breaking(Calling):
    """A dialect, one of whose methods fails."""

    def __init__(self, engine: sa.Engine, name: str, error: Exception) -> None:
        super().__init__(engine, name, self._fail)
        self._error = error

    def _fail(self, *_: object) -> t.NoReturn:
        raise self._error


def begin(connection: sa.Connection) -> None:
    connection.begin()


def commit(connection: sa.Connection) -> None:
    order(connection, 1)
    connection.commit()


def roll_back(connection: sa.Connection) -> None:
    order(connection, 1)
    connection.rollback()


def ask_for_isolation(connection: sa.Connection) -> None:
    connection.get_isolation_level()


@pytest.mark.parametrize(
    ("step", "method", "operation"),
    [
        (begin, "do_begin", "begin"),
        (commit, "do_commit", "commit"),
        (roll_back, "do_rollback", "rollback"),
        (ask_for_isolation, "get_isolation_level", "other"),
    ],
)
def test_operation_is_what_failed(
    engine: sa.Engine,
    step: Callable[[sa.Connection], None],
    method: str,
    operation: str,
) -> None:
    driver: t.Any = engine.dialect.loaded_dbapi
    lost = driver.OperationalError("lost")
    with engine.connect() as connection, capture(sql_failed) as sent:
        with (
            Breaking(engine, method, lost),
            pytest.raises(sa.exc.OperationalError, match="lost"),
        ):
            step(connection)
        connection.rollback()
    assert operations(sent) == [operation]


def test_fetch_that_fails_is_sent_with_its_statement(engine: sa.Engine) -> None:
    with engine.connect() as connection, capture(sql_failed) as sent:
        rows = connection.execution_options(yield_per=10).execute(ROWS)
        with pytest.raises(sa.exc.OperationalError, match="overflow") as caught:
            list(rows)
    (one,) = sent
    assert one["operation"] == "fetch"
    assert one["statement"] == ROWS.text
    assert one["exception"] is caught.value


class Unreadable:
    """A cursor whose statements are executed, and whose rows cannot be fetched."""

    def __init__(self, cursor: t.Any, error: type[Exception]) -> None:
        self._cursor = cursor
        self._error = error

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self._cursor, name)

    def fetchone(self) -> t.NoReturn:
        raise self._error("lost")

    fetchall = fetchmany = fetchone


@pytest.mark.skipif(
    sa.__version__ < "2.1", reason="early versions of SQLAlchemy 2.0 do not report it"
)
def test_fetch_of_what_a_bulk_insert_returns_is_sent(engine: sa.Engine) -> None:
    mugs = sa.Table(
        "mugs", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True)
    )
    driver: t.Any = engine.dialect.loaded_dbapi
    insert = mugs.insert().returning(mugs.c.id)
    with (
        engine.connect() as connection,
        capture(sql_failed, sql_executed) as sent,
    ):
        context: t.Any = engine.dialect.execution_ctx_cls
        create_cursor = context.create_cursor

        def create_unreadable(self: t.Any) -> Unreadable:
            return Unreadable(create_cursor(self), driver.OperationalError)

        context.create_cursor = create_unreadable
        try:
            with pytest.raises(sa.exc.OperationalError, match="lost") as caught:
                connection.execute(insert, [{"id": 2}, {"id": 3}]).all()
        finally:
            context.create_cursor = create_cursor
        connection.rollback()
    executed, failed = sent
    assert executed["exception"] is None
    assert failed["operation"] == "fetch"
    assert failed["statement"].startswith("INSERT INTO mugs")
    assert failed["exception"] is caught.value


def test_statement_that_fails_is_no_failure_beside_it(engine: sa.Engine) -> None:
    with engine.connect() as connection, capture(sql_failed) as sent:
        with pytest.raises(sa.exc.OperationalError):
            connection.execute(sa.text("SELECT * FROM cups"))
        with pytest.raises(sa.exc.StatementError):
            connection.execute(sa.text("SELECT :name"))
        with pytest.raises(sa.exc.OperationalError), connection.begin_nested():
            connection.execute(sa.text("SELECT * FROM cups"))
    assert sent == []


NOWHERE = "sqlite:////nowhere/at/all/shop.db"


def test_statement_without_a_cursor_is_sent(tmp_path: Path) -> None:
    engine = new_engine(f"sqlite:///{tmp_path}/shop.db")
    with (
        instrument(engine),
        engine.connect() as connection,
        capture(sql_failed, sql_executed) as sent,
    ):
        t.cast("t.Any", connection.connection.dbapi_connection).close()
        with pytest.raises(sa.exc.ProgrammingError) as caught:
            connection.execute(sa.text("SELECT 1"))
        connection.invalidate()
    (one,) = sent
    assert one.payload == {
        "operation": "other",
        "statement": "SELECT 1",
        "exception": caught.value,
        "exchange": None,
    }


NAME = sa.text("SELECT :name")


@pytest.mark.parametrize(
    ("statement", "parameters"),
    [
        (NAME, {}),
        (NAME.bindparams(sa.bindparam("name", type_=sa.Date)), {"name": "blue"}),
    ],
)
def test_statement_that_the_application_has_wrong_is_no_failure(
    engine: sa.Engine, statement: t.Any, parameters: dict[str, t.Any]
) -> None:
    with (
        engine.connect() as connection,
        capture(sql_failed, sql_executed) as sent,
        pytest.raises(sa.exc.StatementError),
    ):
        connection.execute(statement, parameters)
    assert sent == []


def test_connection_that_cannot_be_made_is_sent() -> None:
    engine = new_engine(NOWHERE)
    with (
        instrument(engine),
        capture(sql_failed) as sent,
        pytest.raises(sa.exc.OperationalError) as caught,
    ):
        engine.connect()
    (one,) = sent
    assert one.sender is engine
    assert (one["operation"], one["statement"]) == ("connect", None)
    assert one["exception"] is caught.value


@pytest.mark.parametrize("error", [OSError("refused"), asyncio.CancelledError()])
def test_connection_that_fails_with_another_error_than_the_driver_s_is_sent(
    error: BaseException,
) -> None:
    engine = new_engine()

    def refuse(*_: object) -> t.NoReturn:
        raise error

    with instrument(engine), capture(sql_failed) as sent:
        sa.event.listen(engine, "do_connect", refuse)
        with pytest.raises(type(error)):
            engine.connect()
    (one,) = sent
    assert one.sender is engine
    assert one["operation"] == "connect"
    assert one["exception"] is error


def test_what_else_makes_the_connection_is_called_in_its_order() -> None:
    engine = new_engine("sqlite:///nowhere/shop.db")
    order = []

    def name_it(dialect: object, record: object, cargs: t.Any, cparams: t.Any) -> None:
        order.append("first")
        cargs[0] = "nowhere.db"

    def make_it(dialect: t.Any, record: object, cargs: t.Any, cparams: t.Any) -> t.Any:
        order.append(cargs[0])
        return dialect.connect(":memory:")

    sa.event.listen(engine, "do_connect", name_it)
    with instrument(engine), instrument(), capture(sql_failed) as sent:
        sa.event.listen(engine, "do_connect", make_it)
        with engine.connect() as connection:
            assert connection.scalar(sa.text("SELECT 1")) == 1
    assert order == ["first", "nowhere.db"]
    assert sent == []


def test_ping_that_fails_is_no_failure_of_the_connection(tmp_path: Path) -> None:
    engine = new_engine(f"sqlite:///{tmp_path}/shop.db", pool_pre_ping=True)
    with instrument(engine), capture(sql_failed) as sent:
        driver: t.Any = engine.dialect.loaded_dbapi
        lost = driver.ProgrammingError("Cannot operate on a closed database.")
        with engine.connect():
            pass
        with Breaking(engine, "do_ping", lost), engine.connect() as connection:
            assert connection.scalar(sa.text("SELECT 1")) == 1
    assert sent == []


def small_pool(**options: t.Any) -> sa.Engine:
    return new_engine(
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        pool_timeout=0.01,
        **options,
    )


@pytest.mark.parametrize("is_for_all", [True, False])
@pytest.mark.parametrize("has_options", [True, False])
def test_pool_without_a_free_connection_is_sent(
    is_for_all: bool, has_options: bool
) -> None:
    engine = small_pool()
    asked = engine.execution_options(stream_results=True) if has_options else engine
    instrumentation = instrument() if is_for_all else instrument(engine)
    with instrumentation, capture(sql_failed) as sent, asked.connect():
        with pytest.raises(sa.exc.TimeoutError) as caught:
            asked.connect()
        instrumentation.is_paused = True
        with pytest.raises(sa.exc.TimeoutError):
            asked.connect()
    (one,) = sent
    assert one.sender is engine
    assert (one["operation"], one["statement"]) == ("pool", None)
    assert one["exception"] is caught.value


def test_pool_of_an_engine_that_is_not_instrumented_sends_nothing() -> None:
    engine = small_pool()
    with (
        capture(sql_failed) as sent,
        engine.connect(),
        pytest.raises(sa.exc.TimeoutError),
    ):
        engine.connect()
    assert sent == []


def test_pool_of_an_async_engine_is_sent() -> None:
    async def work() -> list[Sent]:
        engine = create_async_engine(
            "sqlite+aiosqlite://",
            poolclass=AsyncAdaptedQueuePool,
            pool_size=1,
            max_overflow=0,
            pool_timeout=0.01,
        )
        with instrument(engine), capture(sql_failed) as sent:
            async with engine.connect():
                with pytest.raises(sa.exc.TimeoutError):
                    await engine.connect()
        await engine.dispose()
        return sent

    assert operations(asyncio.run(work())) == ["pool"]


def test_statement_of_the_dialect_that_fails_at_a_commit_is_sent_once(
    engine: sa.Engine,
) -> None:
    def commit_prepared(*_: object) -> None:
        with engine.connect() as another:
            another.exec_driver_sql("COMMIT PREPARED 'it'")

    with (
        Calling(engine, "do_commit", commit_prepared),
        capture(sql_failed, sql_executed) as sent,
        engine.connect() as connection,
    ):
        order(connection, 1)
        with pytest.raises(sa.exc.OperationalError):
            connection.commit()
    failures = [one for one in sent if one["exception"] is not None]
    assert [one.signal for one in failures] == [sql_executed]


def test_engine_that_is_instrumented_twice_sends_a_failure_once(
    engine: sa.Engine,
) -> None:
    with (
        instrument() as of_all,
        capture(sql_failed) as sent,
        pytest.raises(sa.exc.IntegrityError),
    ):
        commit_by_a_block(engine)
    with instrument() as of_all, capture(sql_failed) as sent_while_paused:
        of_all.is_paused = True
        with pytest.raises(sa.exc.IntegrityError):
            commit_by_a_block(engine)
    assert len(sent) == len(sent_while_paused) == 1


def test_receiver_that_raises_leaves_the_failure_as_it_is(engine: sa.Engine) -> None:
    def break_down(engine: object) -> t.NoReturn:
        raise LookupError

    with (
        sql_failed.connected_to(break_down),
        pytest.raises(sa.exc.IntegrityError),
    ):
        commit_by_a_block(engine)


def serve(work: Callable[[], object]) -> t.Any:
    """Serve one request that does the work, and answers nevertheless."""

    def shop(environ: object, start_response: t.Any) -> list[bytes]:
        start_response("200 OK", [])
        with pytest.raises(sa.exc.DBAPIError):
            work()
        return [b"mug"]

    with capture(exchange_closed) as closed:
        Server().serve(SignalMiddleware(shop), path="/orders", method="POST")
    return closed[0]["exchange"]


def test_failure_belongs_to_the_exchange_and_is_logged_and_counted(
    engine: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    logger, counter = SqlLogger(), SqlTotalsCounter()
    with (
        sql_executed.connected_to(counter),
        sql_failed.connected_to(counter.failed),
        sql_failed.connected_to(logger.failed),
    ):
        exchange = serve(lambda: commit_by_a_block(engine))
    assert caplog.messages == ["failed commit IntegrityError POST /orders"]
    line = t.cast("t.Any", caplog.records[0].msg)
    assert line.name == "sql-failed"
    assert line.fields == {
        "operation": "commit",
        "exception": "IntegrityError",
        "method": "POST",
        "path": "/orders",
    }
    totals = sql_totals(exchange)
    assert totals is not None
    assert (totals.count, totals.failed) == (1, 1)


def test_exchange_is_recorded_though_only_failures_have_a_receiver(
    engine: sa.Engine,
) -> None:
    found = []

    def keep(engine: object, exchange: t.Any) -> None:
        found.append(exchange.path)

    with sql_failed.connected_to(keep):
        serve(lambda: commit_by_a_block(engine))
    assert found == ["/orders"]


def test_async_commit_that_fails_is_sent() -> None:
    async def work() -> list[Sent]:
        engine = create_async_engine("sqlite+aiosqlite://")
        with instrument(engine), capture(sql_failed) as sent:
            async with engine.connect() as connection:
                await connection.exec_driver_sql("PRAGMA foreign_keys = ON")
                await connection.rollback()
                await connection.exec_driver_sql(
                    "CREATE TABLE mugs (id INTEGER PRIMARY KEY, of INTEGER"
                    " REFERENCES mugs(id) DEFERRABLE INITIALLY DEFERRED)"
                )
                await connection.exec_driver_sql("INSERT INTO mugs VALUES (1, 2)")
                with pytest.raises(sa.exc.IntegrityError):
                    await connection.commit()
        await engine.dispose()
        return sent

    assert operations(asyncio.run(work())) == ["commit"]
