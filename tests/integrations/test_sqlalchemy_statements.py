from __future__ import annotations

import asyncio
import gc
import sqlite3
import time
import typing as t
import weakref
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import StaticPool
from sqlalchemy.util import await_only

from signalpost import SignalMiddleware
from signalpost.exchange import current_exchange
from signalpost.integrations.sqlalchemy import catalogue
from signalpost.integrations.sqlalchemy import connection_checked_in
from signalpost.integrations.sqlalchemy import connection_checked_out
from signalpost.integrations.sqlalchemy import instrument
from signalpost.integrations.sqlalchemy import savepoint_rolling_back
from signalpost.integrations.sqlalchemy import transaction_beginning
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import sql_executed
from signalpost.testing import capture
from signalpost.testing import Sent
from tests.wsgi.serving import Server

mugs = sa.Table(
    "mugs",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String, unique=True),
)


made: list[sa.Engine] = []


@pytest.fixture(autouse=True)
def engines_disposed() -> Generator[None]:
    gc.collect()  # applications of other tests, with their receivers
    instrument().undo()  # and what their configurations have begun
    yield
    while made:
        made.pop().dispose()


def new_engine(**options: t.Any) -> sa.Engine:
    engine = sa.create_engine(
        "sqlite://",
        poolclass=StaticPool,
        connect_args={"check_same_thread": False},
        **options,
    )
    made.append(engine)
    mugs.create(engine)
    return engine


@pytest.fixture
def engine() -> sa.Engine:
    engine = new_engine()
    instrument(engine)
    # Received once, so that what a test puts on SQLAlchemy's lists comes after ours.
    with capture(sql_executed, *catalogue.values()):
        return engine


def statements(sent: Iterable[Sent]) -> list[str]:
    return [one["statement"] for one in sent]


def test_statement_is_sent_once_with_what_is_known_of_it(engine: sa.Engine) -> None:
    with engine.begin() as connection, capture(sql_executed) as sent:
        connection.execute(mugs.insert(), {"name": "blue"})
    (one,) = sent
    assert one.sender is engine
    assert one["duration_seconds"] > 0
    del one.payload["duration_seconds"]
    assert one.payload == {
        "statement": "INSERT INTO mugs (name) VALUES (?)",
        "parameters": None,
        "parameters_count": 1,
        "row_count": 1,
        "is_executemany": False,
        "exception": None,
        "exchange": None,
    }


def test_row_count_is_none_where_the_driver_does_not_know(engine: sa.Engine) -> None:
    with engine.connect() as connection, capture(sql_executed) as sent:
        connection.execute(sa.select(mugs))
    assert sent[0]["row_count"] is None


def test_row_count_is_none_before_the_rows_of_returning_are_counted(
    engine: sa.Engine,
) -> None:
    insert = sa.insert(mugs).returning(mugs.c.id)
    with engine.begin() as connection, capture(sql_executed) as sent:
        ids = connection.scalars(insert, [{"name": "blue"}, {"name": "red"}]).all()
        connection.execute(sa.delete(mugs).where(mugs.c.id == 7))
    assert ids == [1, 2]
    # The second one deletes no row, which the driver reports.
    assert [one["row_count"] for one in sent] == [None, 0]


def connection_that_counts(count: Callable[[], object]) -> type[sqlite3.Connection]:
    class Cursor(sqlite3.Cursor):
        @property
        def rowcount(self) -> t.Any:
            return count()

    class Connection(sqlite3.Connection):
        def cursor(self, factory: t.Any = Cursor) -> t.Any:
            return super().cursor(factory)

    return Connection


def refuse_to_count() -> t.NoReturn:
    raise sqlite3.InterfaceError("rows are not counted")


@pytest.mark.parametrize(
    "count",
    [
        # MySQL's drivers, for rows that are streamed.
        pytest.param(lambda: 2**64 - 1, id="unsigned"),
        pytest.param(lambda: -1, id="negative"),
        pytest.param(lambda: None, id="none"),
        pytest.param(refuse_to_count, id="error"),
    ],
)
def test_row_count_that_is_no_number_of_rows_is_none(
    count: Callable[[], object],
) -> None:
    engine = sa.create_engine(
        "sqlite://", connect_args={"factory": connection_that_counts(count)}
    )
    made.append(engine)
    with (
        instrument(engine),
        engine.connect() as connection,
        capture(sql_executed) as sent,
    ):
        assert connection.scalar(sa.text("SELECT 5")) == 5
    assert [(one["row_count"], one["exception"]) for one in sent] == [(None, None)]


def test_parameters_are_sent_if_asked_for() -> None:
    engine = new_engine()
    with (
        instrument(engine, with_parameters=True),
        capture(sql_executed) as sent,
        engine.connect() as connection,
    ):
        connection.execute(sa.text("SELECT :name"), {"name": "blue"})
    assert sent[0]["parameters"] == ("blue",)


def test_failed_statement_is_sent_once_with_its_exception(engine: sa.Engine) -> None:
    with (
        engine.connect() as connection,
        capture(sql_executed) as sent,
        pytest.raises(sa.exc.OperationalError) as caught,
    ):
        connection.execute(sa.text("SELECT * FROM cups"))
    assert statements(sent) == ["SELECT * FROM cups"]
    assert sent[0]["exception"] is caught.value
    assert sent[0]["row_count"] is None


def fail_once(connection: sa.Connection) -> None:
    connection.execute(sa.text("SELECT :name FROM cups"), {"name": "blue"})


def fail_many(connection: sa.Connection) -> None:
    connection.execute(mugs.insert(), [{"name": "blue"}, {"name": "blue"}])


def fail_many_values(connection: sa.Connection) -> None:
    insert = mugs.insert().returning(mugs.c.id)
    connection.execute(insert, [{"name": "blue"}, {"name": "blue"}])


def fail_by_driver(connection: sa.Connection) -> None:
    connection.exec_driver_sql("SELECT ? FROM cups", ("blue",))


FAILING = [
    (fail_once, ("blue",)),
    (fail_many, [("blue",), ("blue",)]),
    (fail_many_values, ("blue", "blue")),
    (fail_by_driver, ("blue",)),
]


@pytest.mark.parametrize(("fail", "parameters"), FAILING)
@pytest.mark.parametrize("with_parameters", [False, True])
def test_values_of_a_failed_statement_are_sent_only_if_asked_for(
    fail: t.Callable[[sa.Connection], None], parameters: t.Any, with_parameters: bool
) -> None:
    engine = new_engine()
    with (
        instrument(engine, with_parameters=with_parameters),
        engine.connect() as connection,
        capture(sql_executed) as sent,
        pytest.raises(sa.exc.DBAPIError),
    ):
        fail(connection)
    (one,) = sent
    assert one["exception"] is not None
    assert one["parameters"] == (parameters if with_parameters else None)
    assert one["parameters_count"] == len(parameters)


def test_failed_statement_without_parameters_has_none() -> None:
    engine = new_engine()
    with (
        instrument(engine, with_parameters=True),
        engine.connect() as connection,
        capture(sql_executed) as sent,
    ):
        bare = connection.execution_options(no_parameters=True)
        with pytest.raises(sa.exc.OperationalError):
            bare.exec_driver_sql("SELECT * FROM cups")
    assert (sent[0]["parameters"], sent[0]["parameters_count"]) == (None, 0)


def test_failed_executemany_is_one_statement(engine: sa.Engine) -> None:
    with (
        engine.connect() as connection,
        capture(sql_executed) as sent,
        pytest.raises(sa.exc.IntegrityError),
    ):
        connection.execute(mugs.insert(), [{"name": "blue"}, {"name": "blue"}])
    assert len(sent) == 1
    assert sent[0]["is_executemany"]
    assert sent[0]["parameters_count"] == 2


def test_executemany_counts_sets_of_parameters(engine: sa.Engine) -> None:
    with engine.connect() as connection, capture(sql_executed) as sent:
        connection.execute(mugs.insert(), [{"name": "blue"}, {"name": "red"}])
    assert len(sent) == 1
    assert sent[0]["is_executemany"]
    assert sent[0]["parameters_count"] == 2
    assert sent[0]["row_count"] == 2


def test_each_batch_of_many_values_is_a_statement() -> None:
    engine = new_engine(insertmanyvalues_page_size=2)
    rows = [{"name": str(number)} for number in range(5)]
    with (
        instrument(engine),
        engine.connect() as connection,
        capture(sql_executed) as sent,
    ):
        connection.execute(mugs.insert().returning(mugs.c.id), rows)
    assert [one["parameters_count"] for one in sent] == [2, 2, 1]
    assert [one["statement"].count("?") for one in sent] == [2, 2, 1]
    assert not any(one["is_executemany"] for one in sent)


def test_statement_that_never_got_to_the_driver_is_not_sent(engine: sa.Engine) -> None:
    with (
        engine.connect() as connection,
        capture(sql_executed) as sent,
        pytest.raises(sa.exc.StatementError),
    ):
        connection.execute(sa.text("SELECT :name"))
    assert sent == []


def test_connection_that_cannot_be_made_sends_no_statement() -> None:
    engine = sa.create_engine("sqlite:////nowhere/at/all/shop.db")
    with (
        instrument(engine),
        capture(sql_executed) as sent,
        pytest.raises(sa.exc.OperationalError),
    ):
        engine.connect()
    assert sent == []


def test_failure_after_the_statement_is_not_sent_again(engine: sa.Engine) -> None:
    class Unreadable(sa.TypeDecorator[str]):
        impl = sa.String
        cache_ok = True

        def process_result_value(self, value: t.Any, dialect: object) -> t.NoReturn:
            raise LookupError(value)

    statement = sa.select(sa.literal("blue", Unreadable()))
    with (
        engine.connect() as connection,
        capture(sql_executed) as sent,
        pytest.raises(LookupError),
    ):
        connection.execute(statement).all()
    assert [one["exception"] for one in sent] == [None]


@pytest.mark.parametrize(
    ("moment", "sent_exceptions"),
    [("before_cursor_execute", []), ("after_cursor_execute", [None])],
)
def test_failure_of_another_listener_is_not_a_failure_of_the_statement(
    engine: sa.Engine, moment: str, sent_exceptions: list[object]
) -> None:
    def refuse(*_: object) -> None:
        raise LookupError

    sa.event.listen(engine, moment, refuse)
    with (
        engine.connect() as connection,
        capture(sql_executed) as sent,
        pytest.raises(LookupError),
    ):
        connection.execute(sa.text("SELECT 1"))
    assert [one["exception"] for one in sent] == sent_exceptions


def test_statement_is_sent_as_the_driver_got_it(engine: sa.Engine) -> None:
    def comment(*arguments: t.Any) -> tuple[str, t.Any]:
        _, _, statement, parameters, *_ = arguments
        return f"{statement} -- the shop's", parameters

    sa.event.listen(engine, "before_cursor_execute", comment, retval=True)
    with engine.connect() as connection, capture(sql_executed) as sent:
        connection.execute(sa.text("SELECT 1"))
    assert statements(sent) == ["SELECT 1 -- the shop's"]


def test_statement_without_parameters_is_sent_once(engine: sa.Engine) -> None:
    with engine.connect() as connection, capture(sql_executed) as sent:
        bare = connection.execution_options(no_parameters=True)
        assert bare.exec_driver_sql("SELECT 1").scalar_one() == 1
        with pytest.raises(sa.exc.OperationalError):
            bare.exec_driver_sql("SELECT * FROM cups")
    assert statements(sent) == ["SELECT 1", "SELECT * FROM cups"]
    assert [one["parameters_count"] for one in sent] == [0, 0]


MOMENTS = ("do_execute", "do_executemany", "do_execute_no_params")


def execute_at_each_moment(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("SELECT 1"))
        connection.execute(mugs.insert(), [{"name": "blue"}, {"name": "red"}])
        bare = connection.execution_options(no_parameters=True)
        bare.exec_driver_sql("SELECT 2")


def test_other_listeners_of_the_driver_are_called_in_order() -> None:
    engine = new_engine()
    order = []
    for moment in MOMENTS:
        sa.event.listen(engine, moment, lambda *_: order.append("first"))
    with instrument(engine), instrument(), capture(sql_executed) as sent:
        for moment in MOMENTS:
            sa.event.listen(engine, moment, lambda *_: order.append("last"))
        execute_at_each_moment(engine)
    assert order == ["first", "last"] * 3
    assert len(sent) == 3


def test_what_calls_the_driver_itself_is_timed_as_the_driver(
    engine: sa.Engine,
) -> None:
    called = []

    def call(cursor: t.Any, statement: str, *_: object) -> bool:
        called.append(statement)
        cursor.execute("SELECT 3")
        return True

    sa.event.listen(engine, "do_execute", call)
    with engine.connect() as connection, capture(sql_executed) as sent:
        assert connection.execute(sa.text("SELECT 1")).scalar_one() == 3
    assert statements(sent) == called == ["SELECT 1"]


def test_what_calls_the_driver_before_us_hides_the_statement() -> None:
    engine = new_engine()

    def call(cursor: t.Any, statement: str, *_: object) -> bool:
        cursor.execute(statement)
        return True

    sa.event.listen(engine, "do_execute", call)
    with (
        instrument(engine),
        engine.connect() as connection,
        capture(sql_executed) as sent,
    ):
        assert connection.execute(sa.text("SELECT 1")).scalar_one() == 1
    assert sent == []


def test_what_raises_another_error_before_us_hides_the_failure() -> None:
    engine = new_engine()

    def raise_another(error: object) -> None:
        raise LookupError

    sa.event.listen(engine, "handle_error", raise_another)
    with (
        instrument(engine),
        engine.connect() as connection,
        capture(sql_executed) as sent,
        pytest.raises(LookupError),
    ):
        connection.execute(sa.text("SELECT * FROM cups"))
    assert sent == []


def test_what_a_dialect_executes_without_a_context_is_executed(
    engine: sa.Engine,
) -> None:
    with engine.connect() as connection, capture(sql_executed) as sent:
        driver = connection.connection.dbapi_connection
        assert driver is not None
        cursor = driver.cursor()
        connection._cursor_execute(cursor, "SELECT 3", ())
        assert cursor.fetchall() == [(3,)]
    assert sent == []


def test_failure_is_sent_though_another_raises_while_it_is_handled(
    engine: sa.Engine,
) -> None:
    def raise_another(error: object) -> None:
        raise LookupError

    sa.event.listen(engine, "handle_error", raise_another)
    with (
        engine.connect() as connection,
        capture(sql_executed) as sent,
        pytest.raises(LookupError),
    ):
        connection.execute(sa.text("SELECT * FROM cups"))
    assert [type(one["exception"]) for one in sent] == [sa.exc.OperationalError]


def test_failure_while_an_error_is_handled_is_sent_apart(engine: sa.Engine) -> None:
    def try_again(error: sa.ExceptionContext) -> None:
        assert error.connection is not None
        if error.statement == "SELECT * FROM cups":
            error.connection.execute(sa.text("SELECT * FROM plates"))

    sa.event.listen(engine, "handle_error", try_again)
    with (
        engine.connect() as connection,
        capture(sql_executed) as sent,
        pytest.raises(sa.exc.DBAPIError),
    ):
        connection.execute(sa.text("SELECT * FROM cups"))
    assert statements(sent)[0] == "SELECT * FROM cups"
    assert statements(sent).count("SELECT * FROM cups") == 1


def test_default_that_asks_the_database_is_a_statement_of_its_own() -> None:
    table = sa.Table(
        "cups",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True, default=sa.func.abs(-3)),
        implicit_returning=False,
    )
    engine = new_engine()
    table.create(engine)
    with (
        instrument(engine),
        engine.connect() as connection,
        capture(sql_executed) as sent,
    ):
        connection.execute(table.insert())
    assert statements(sent) == [
        "SELECT abs(?) AS abs_1",
        "INSERT INTO cups (id) VALUES (?)",
    ]


def test_savepoint_and_transaction_are_sent_in_their_order(engine: sa.Engine) -> None:
    of_pools = (connection_checked_out, connection_checked_in)
    received = [signal for signal in catalogue.values() if signal not in of_pools]
    with capture(sql_executed, *received, sender=engine) as sent:
        with engine.begin() as connection:
            with connection.begin_nested():
                connection.execute(sa.text("SELECT 1"))
            connection.begin_nested().rollback()
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT 2"))
    steps = [one.payload.get("statement", str(one.signal)) for one in sent]
    names = [step.split("'")[1] if "'" in step else step for step in steps]
    assert names == [
        "transaction-beginning",
        "savepoint-setting",
        "SAVEPOINT sa_savepoint_1",
        "SELECT 1",
        "savepoint-releasing",
        "RELEASE SAVEPOINT sa_savepoint_1",
        "savepoint-setting",
        "SAVEPOINT sa_savepoint_2",
        "savepoint-rolling-back",
        "ROLLBACK TO SAVEPOINT sa_savepoint_2",
        "transaction-committing",
        "transaction-beginning",
        "SELECT 2",
        "transaction-rolling-back",
    ]


def test_savepoint_is_sent_by_name(engine: sa.Engine) -> None:
    with engine.begin() as connection, capture(savepoint_rolling_back) as sent:
        connection.begin_nested().rollback()
    assert [one.payload for one in sent] == [
        {"name": "sa_savepoint_1", "exchange": None}
    ]


def test_rows_that_are_fetched_later_are_not_in_the_duration(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(mugs.insert(), [{"name": str(n)} for n in range(10)])
    with engine.connect() as connection, capture(sql_executed) as sent:
        streaming = connection.execution_options(yield_per=2)
        for _ in streaming.execute(sa.select(mugs)).partitions():
            assert len(sent) == 1
    assert len(sent) == 1


def test_failure_while_rows_are_streamed_is_not_sent_again(engine: sa.Engine) -> None:
    rows = sa.text(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100)"
        " SELECT abs(CASE i WHEN 50 THEN -9223372036854775808 ELSE i END) FROM n"
    )
    with engine.connect() as connection, capture(sql_executed) as sent:
        streaming = connection.execution_options(yield_per=10)
        with pytest.raises(sa.exc.OperationalError, match="overflow"):
            list(streaming.execute(rows))
    assert [one["exception"] for one in sent] == [None]


def test_statement_that_is_interrupted_is_sent_once(engine: sa.Engine) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
    with engine.connect() as connection, capture(sql_executed) as sent:
        driver = t.cast("t.Any", connection.connection.dbapi_connection)
        driver.set_progress_handler(lambda: 1, 1000)
        with pytest.raises(sa.exc.OperationalError, match="interrupted"):
            connection.execute(sa.text(f"{endless} SELECT max(i) FROM n"))
        driver.set_progress_handler(None, 0)
    assert [type(one["exception"]) for one in sent] == [sa.exc.OperationalError]


def test_statement_on_a_closed_connection_never_got_to_the_driver(
    tmp_path: t.Any,
) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/shop.db")
    made.append(engine)
    with instrument(engine), capture(sql_executed) as sent:
        connection = engine.connect()
        t.cast("t.Any", connection.connection.dbapi_connection).close()
        with pytest.raises(sa.exc.ProgrammingError):
            connection.execute(sa.text("SELECT 1"))
        connection.invalidate()
        connection.execute(sa.text("SELECT 2"))
        connection.close()
    assert statements(sent) == ["SELECT 2"]


def test_every_thread_sends_its_own_statements(tmp_path: t.Any) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/shop.db")

    def work(number: int) -> None:
        with engine.connect() as connection:
            for _ in range(20):
                connection.execute(sa.text(f"SELECT {number}"))

    with (
        instrument(engine),
        capture(sql_executed) as sent,
        ThreadPoolExecutor(4) as pool,
    ):
        list(pool.map(work, range(4)))
    engine.dispose()
    assert sorted(statements(sent)) == sorted(
        f"SELECT {number}" for number in range(4) for _ in range(20)
    )


def test_receivers_come_and_go_while_threads_execute(tmp_path: t.Any) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/shop.db")
    instrument(engine)

    def work(_: int) -> int:
        with engine.connect() as connection:
            return sum(
                connection.execute(sa.text("SELECT 1")).scalar_one() for _ in range(100)
            )

    with ThreadPoolExecutor(2) as pool:
        results = [pool.submit(work, number) for number in range(2)]
        while not all(result.done() for result in results):
            with capture(sql_executed):
                time.sleep(0.001)
    engine.dispose()
    assert [result.result() for result in results] == [100, 100]


def test_sqlalchemy_has_nothing_to_call_without_receivers() -> None:
    engine = new_engine()
    with instrument(engine):
        assert not [*engine.dialect.dispatch.do_execute]
        with capture(sql_executed):
            assert [*engine.dialect.dispatch.do_execute]
        assert not [*engine.dispatch.before_cursor_execute]
        assert not [*engine.dispatch.commit]


def test_engine_that_is_instrumented_after_the_receiver_is_received() -> None:
    engine = new_engine()
    with (
        capture(sql_executed) as sent,
        instrument(engine),
        engine.connect() as connection,
    ):
        connection.execute(sa.text("SELECT 1"))
    assert statements(sent) == ["SELECT 1"]


def test_no_clock_is_read_without_receivers(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keep(sender: object) -> None: ...

    def refuse() -> float:
        raise AssertionError("the clock was read")

    sql_executed.connect(keep)
    sql_executed.connect(keep, sender=object())
    sql_executed.disconnect(keep)
    monkeypatch.setattr(time, "perf_counter", refuse)
    with engine.connect() as connection:
        connection.execute(sa.text("SELECT 1"))
        del keep
        gc.collect()
        connection.execute(sa.text("SELECT 2"))


def test_receiver_that_comes_during_a_statement_waits_for_the_next(
    engine: sa.Engine,
) -> None:
    sent: list[str] = []

    def note(sender: object, *, statement: str, **_: object) -> None:
        sent.append(statement)

    def connect_late() -> None:
        sql_executed.connect(note, engine)

    with engine.connect() as connection:
        driver = t.cast("t.Any", connection.connection.dbapi_connection)
        driver.create_function("connect_late", 0, connect_late)
        connection.execute(sa.text("SELECT connect_late()"))
        connection.execute(sa.text("SELECT 2"))
    assert sql_executed.disconnect(note, engine)
    assert sent == ["SELECT 2"]


def test_receiver_that_fails_does_not_harm_the_statement(
    engine: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(sender: object, **_: object) -> None:
        raise LookupError("no such mug")

    async def wait(sender: object, **_: object) -> None: ...

    with (
        sql_executed.connected_to(fail),
        sql_executed.connected_to(wait),
        engine.connect() as connection,
    ):
        assert connection.execute(sa.text("SELECT 1")).scalar_one() == 1
    assert [record.name for record in caplog.records] == ["signalpost.signals"] * 2


def test_other_engines_are_not_received(engine: sa.Engine) -> None:
    other = new_engine()
    with capture(sql_executed) as sent, other.connect() as connection:
        connection.execute(sa.text("SELECT 1"))
    assert sent == []


def test_all_engines_are_received_until_it_is_undone() -> None:
    before = new_engine()
    with instrument(), capture(sql_executed) as sent:
        after = sa.create_engine("sqlite://")
        made.append(after)
        for engine in (before, after):
            with engine.connect() as connection:
                connection.execute(sa.text("SELECT 1"))
    with capture(sql_executed) as sent_later, before.connect() as connection:
        connection.execute(sa.text("SELECT 1"))
    assert [one.sender for one in sent] == [before, after]
    assert sent_later == []


def test_engine_that_is_instrumented_alone_and_with_all_sends_once(
    engine: sa.Engine,
) -> None:
    with (
        instrument(),
        capture(sql_executed, transaction_beginning) as sent,
        engine.connect() as connection,
    ):
        connection.execute(sa.text("SELECT 1"))
    assert len(sent) == 2


def test_engine_that_is_instrumented_again_sends_once(engine: sa.Engine) -> None:
    first = instrument(engine)
    assert instrument(engine, with_parameters=True) is first
    with capture(sql_executed) as sent, engine.connect() as connection:
        connection.execute(sa.text("SELECT :name"), {"name": "blue"})
    assert [one["parameters"] for one in sent] == [("blue",)]


def test_undoing_twice_does_nothing(engine: sa.Engine) -> None:
    instrumentation = instrument(engine)
    instrumentation.undo()
    instrumentation.undo()
    with (
        capture(sql_executed, *catalogue.values()) as sent,
        engine.connect() as connection,
    ):
        connection.execute(sa.text("SELECT 1"))
    assert sent == []
    assert instrument(engine) is not instrumentation


def test_engine_with_options_of_its_own_sends_as_the_one_it_was_made_from(
    engine: sa.Engine,
) -> None:
    derived = engine.execution_options(logging_token="shop")
    for instrumented in (derived, derived.execution_options(logging_token="cafe")):
        with (
            capture(sql_executed, transaction_beginning, sender=engine) as sent,
            instrumented.connect() as connection,
        ):
            connection.execute(sa.text("SELECT 1"))
        assert len(sent) == 2


def test_engine_with_options_of_its_own_that_is_instrumented_sends_alone() -> None:
    engine = new_engine()
    derived = engine.execution_options(logging_token="shop")
    with instrument(derived), capture(sql_executed, sender=engine) as sent:
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT 1"))
            with pytest.raises(sa.exc.OperationalError):
                connection.execute(sa.text("SELECT * FROM cups"))
        with derived.execution_options(logging_token="cafe").connect() as connection:
            connection.execute(sa.text("SELECT 2"))
    assert statements(sent) == ["SELECT 2"]


def test_engine_that_is_not_used_any_more_is_not_kept() -> None:
    engine = sa.create_engine("sqlite://")
    instrument(engine)
    reference = weakref.ref(engine)
    del engine
    gc.collect()
    assert reference() is None


@pytest.mark.parametrize("target", ["sqlite://", None, sa.Connection])
def test_what_is_no_engine_is_refused(target: t.Any) -> None:
    with pytest.raises(TypeError, match="target must be an engine") as caught:
        instrument(target)
    assert repr(target) in str(caught.value)


def test_async_engine_sends_as_its_sync_one() -> None:
    async def work() -> None:
        async_engine = create_async_engine("sqlite+aiosqlite://")
        with instrument(async_engine):
            async with async_engine.connect() as connection:
                await connection.execute(sa.text("SELECT 1"))
                with pytest.raises(sa.exc.OperationalError):
                    await connection.execute(sa.text("SELECT * FROM cups"))
        await async_engine.dispose()
        assert all(one.sender is async_engine.sync_engine for one in sent)

    with capture(sql_executed) as sent:
        asyncio.run(work())
    assert statements(sent) == ["SELECT 1", "SELECT * FROM cups"]


def test_rows_that_an_async_engine_streams_are_one_statement() -> None:
    async def work() -> list[int]:
        engine = create_async_engine("sqlite+aiosqlite://")
        numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
        with instrument(engine):
            async with engine.connect() as connection:
                rows = await connection.stream(
                    sa.text(f"{numbers} LIMIT 30) SELECT i FROM n"),
                    execution_options={"yield_per": 10},
                )
                read = [number async for number in rows.scalars()]
        await engine.dispose()
        return read

    with capture(sql_executed) as sent:
        assert asyncio.run(work()) == [*range(1, 31)]
    assert [one["exception"] for one in sent] == [None]


def test_statement_of_a_task_that_is_cancelled_is_sent_once() -> None:
    def sleep_long(*_: object) -> bool:
        await_only(asyncio.sleep(60))
        return True

    async def work() -> None:
        engine = create_async_engine("sqlite+aiosqlite://")
        with instrument(engine):
            async with engine.connect() as connection:
                await connection.execute(sa.text("SELECT 1"))
                sa.event.listen(engine.sync_engine, "do_execute", sleep_long)
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.01):
                        await connection.execute(sa.text("SELECT 2"))
        await engine.dispose()

    with capture(sql_executed) as sent:
        asyncio.run(work())
    assert statements(sent) == ["SELECT 1", "SELECT 2"]
    assert isinstance(sent[1]["exception"], asyncio.CancelledError)


def test_statement_has_its_exchange(engine: sa.Engine) -> None:
    def shop(environ: object, start_response: t.Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT 1"))
            yield b"mug"
            connection.execute(sa.text("SELECT 2"))

    with capture(sql_executed) as sent, capture(exchange_closed) as closed:
        Server().serve(SignalMiddleware(shop))
    exchange = closed[0]["exchange"]
    assert [one["exchange"] for one in sent] == [exchange, exchange]
    assert current_exchange() is None


def test_statement_of_an_async_engine_has_its_exchange() -> None:
    async def work() -> None:
        engine = create_async_engine("sqlite+aiosqlite://")
        with instrument(engine):
            async with engine.connect() as connection:
                await connection.execute(sa.text("SELECT 1"))
        await engine.dispose()

    def shop(environ: object, start_response: t.Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        asyncio.run(work())
        return [b"mug"]

    with capture(sql_executed) as sent, capture(exchange_closed) as closed:
        Server().serve(SignalMiddleware(shop))
    assert [one["exchange"] for one in sent] == [closed[0]["exchange"]]
