from __future__ import annotations

import asyncio
import gc
import logging
import os
import re
import threading
import tracemalloc
import typing as t
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import flask
import jinja2
import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.ext.asyncio import create_async_engine

from signalpost import SignalMiddleware
from signalpost.exchange import Exchange
from signalpost.integrations.flask import Signalpost
from signalpost.integrations.sqlalchemy import instrument
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import sql_executed
from signalpost.lifecycle import sql_failed
from signalpost.receivers.formats import Line
from signalpost.receivers.sql import log_sql
from signalpost.receivers.sql import RepeatLogger
from signalpost.receivers.sql import SqlLogger
from signalpost.receivers.sql_totals import count_sql
from signalpost.receivers.sql_totals import sql_totals
from signalpost.receivers.sql_totals import SqlTotalsCounter
from signalpost.testing import capture
from tests.wsgi.serving import environ_of
from tests.wsgi.serving import Server


@pytest.fixture
def engine() -> Generator[sa.Engine]:
    engine = sa.create_engine("sqlite://")
    instrument(engine)
    yield engine
    engine.dispose()


def new_exchange(path: str = "/mugs") -> Exchange:
    return Exchange(environ_of(path), "shop")


PAYLOAD: dict[str, t.Any] = {
    "statement": "SELECT 1",
    "parameters": None,
    "parameters_count": 0,
    "duration_seconds": 0.25,
    "row_count": None,
    "is_executemany": False,
    "exception": None,
    "exchange": None,
}


TEMPLATE = "<p>\n\n{{ ask() }}{{ ask() }}"


def send(statement: str = "SELECT 1", **different: t.Any) -> None:
    sql_executed.send("engine", **{**PAYLOAD, "statement": statement, **different})


def lines(caplog: pytest.LogCaptureFixture) -> list[Line]:
    return [t.cast("Line", record.msg) for record in caplog.records]


def serve(work: Callable[[], object], path: str = "/mugs") -> Exchange:
    """Serve one request that does the work."""

    def shop(environ: object, start_response: t.Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        work()
        return [b"mug"]

    with capture(exchange_closed) as closed:
        Server().serve(SignalMiddleware(shop), path=path)
    exchange: Exchange = closed[0]["exchange"]
    return exchange


def test_slow_statement_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with sql_executed.connected_to(SqlLogger(slow_seconds=0.2)):
        send("SELECT\n  1", row_count=3, parameters_count=2)
        send(duration_seconds=0.1)
    (record,) = caplog.records
    assert record.name == "signalpost.sql"
    assert record.levelno == logging.WARNING
    assert record.getMessage() == 'slow 250.0 ms 3 rows 2 parameters "SELECT ?"'


def test_one_row_and_one_parameter_are_no_plurals(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with sql_executed.connected_to(SqlLogger(slow_seconds=0.2)):
        send("SELECT 1", row_count=1, parameters_count=1)
        send("SELECT 1", parameters_count=1, is_executemany=True)
    assert [record.getMessage() for record in caplog.records] == [
        'slow 250.0 ms 1 row 1 parameter "SELECT ?"',
        'slow 250.0 ms 1 set of parameters "SELECT ?"',
    ]


def test_failed_statement_is_logged_however_quick(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with sql_executed.connected_to(SqlLogger(slow_seconds=None)):
        send(exception=LookupError("secret"), is_executemany=True)
        send()
    assert [record.getMessage() for record in caplog.records] == [
        'failed LookupError 250.0 ms 0 sets of parameters "SELECT ?"'
    ]


def fail(operation: str = "commit", **different: t.Any) -> None:
    payload = {"statement": None, "exception": LookupError("secret"), "exchange": None}
    sql_failed.send("engine", operation=operation, **{**payload, **different})


@pytest.mark.parametrize("operation", ["connect", "pool", "begin", "commit"])
def test_what_fails_beside_a_statement_is_logged(
    caplog: pytest.LogCaptureFixture, operation: str
) -> None:
    with sql_failed.connected_to(SqlLogger(slow_seconds=None).failed):
        fail(operation)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == f"failed {operation} LookupError"
    assert "secret" not in str(lines(caplog)[0].fields)


def test_fetch_that_fails_is_logged_with_its_statement(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with sql_failed.connected_to(SqlLogger().failed):
        fail("fetch", statement="SELECT\n  name", exchange=new_exchange())
    assert caplog.messages == ['failed fetch LookupError "SELECT name" GET /mugs']
    assert lines(caplog)[0].fields["statement"] == "SELECT name"


def test_failure_alone_is_counted_too() -> None:
    exchange, second = new_exchange(), SqlTotalsCounter()
    with (
        sql_failed.connected_to(count_sql.failed),
        sql_failed.connected_to(second.failed),
    ):
        fail(exchange=exchange)
        fail()
    totals = sql_totals(exchange)
    assert totals is not None
    assert (totals.count, totals.failed) == (0, 1)


def test_line_has_fields(caplog: pytest.LogCaptureFixture) -> None:
    with sql_executed.connected_to(SqlLogger(slow_seconds=0)):
        send(exchange=new_exchange())
    (line,) = lines(caplog)
    assert line.name == "sql"
    assert line.fields == {
        "statement": "SELECT ?",
        "operation": "SELECT",
        "duration_seconds": 0.25,
        "row_count": None,
        "parameters_count": 0,
        "is_executemany": False,
        "exception": None,
        "method": "GET",
        "path": "/mugs",
    }
    assert str(line).endswith(' "SELECT ?" GET /mugs')


def test_neither_parameters_nor_their_exception_are_logged(
    engine: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        sql_executed.connected_to(log_sql),
        engine.connect() as connection,
        pytest.raises(sa.exc.OperationalError, match="secret"),
    ):
        connection.execute(sa.text("SELECT :it FROM cups"), {"it": "secret"})
    (line,) = lines(caplog)
    assert "secret" not in f"{line} {line.fields}"


WITH_SECRETS = [
    "SELECT a FROM t1 WHERE b = 'secret'",
    "SELECT a FROM t1 WHERE b IN ('it''s', 'secret') /* secret */",
    "SELECT a -- secret\nFROM t1 WHERE b = 'secret'",
    "INSERT INTO t1 VALUES (4242, 'secret')",
]


@pytest.mark.parametrize("statement", WITH_SECRETS)
@pytest.mark.parametrize("exception", [None, LookupError("secret")])
def test_values_in_a_statement_are_not_logged(
    caplog: pytest.LogCaptureFixture, statement: str, exception: Exception | None
) -> None:
    exchange = new_exchange()
    logger = SqlLogger(slow_seconds=0)
    with (
        sql_executed.connected_to(logger),
        sql_failed.connected_to(logger.failed),
        sql_executed.connected_to(RepeatLogger(most_times=1)),
    ):
        for _ in range(2):
            send(statement, exception=exception, exchange=exchange)
        fail("fetch", statement=statement)
    assert [line.name for line in lines(caplog)] == [
        *("sql", "sql", "sql-repeated", "sql-failed"),
    ]
    for line in lines(caplog):
        assert "secret" not in f"{line} {line.fields}"
        assert "4242" not in f"{line} {line.fields}"
        assert "t1" in str(line)


@pytest.mark.parametrize("statement", WITH_SECRETS)
def test_values_in_a_statement_are_logged_where_asked_for(
    caplog: pytest.LogCaptureFixture, statement: str
) -> None:
    exchange = new_exchange()
    logger = SqlLogger(slow_seconds=0, with_values=True)
    repeats = RepeatLogger(most_times=1, with_values=True)
    with (
        sql_executed.connected_to(logger),
        sql_failed.connected_to(logger.failed),
        sql_executed.connected_to(repeats),
    ):
        for _ in range(2):
            send(statement, exchange=exchange)
        fail("fetch", statement=statement)
    assert len(caplog.records) == 4
    for line in lines(caplog):
        assert line.fields["statement"] == " ".join(statement.split())


def test_values_that_sqlalchemy_writes_are_not_logged(
    engine: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    names = sa.table("names", sa.column("name", sa.String))
    literal = sa.literal("secret", literal_execute=True)
    with engine.connect() as connection:
        connection.execute(sa.text("CREATE TABLE names (name TEXT)"))
        with sql_executed.connected_to(SqlLogger(slow_seconds=0)):
            connection.execute(sa.select(names).where(names.c.name == literal))
            listed = names.c.name.in_(
                sa.bindparam("it", ["secret"], expanding=True, literal_execute=True)
            )
            connection.execute(sa.select(names).where(listed))
    assert len(caplog.records) == 2
    assert "secret" not in caplog.text
    assert "names.name = ?" in caplog.text


def test_hostile_statement_is_one_line_and_short(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with sql_executed.connected_to(SqlLogger(slow_seconds=0)):
        send("SELECT '\x1b[0m\u2028', " + "x, " * 100_000, exchange=new_exchange("/\n"))
    text = caplog.records[0].getMessage()
    assert text.isprintable()
    assert len(text) < 700


def test_route_is_logged_where_it_is_known(
    engine: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    app = flask.Flask("shop")
    Signalpost(app)

    @app.get("/mugs/<int:number>")
    def show(number: int) -> str:
        with engine.connect() as connection:
            return str(connection.execute(sa.text("SELECT 1")).scalar_one())

    with (
        sql_executed.connected_to(SqlLogger(slow_seconds=0)),
        capture(exchange_closed),
    ):
        app.test_client().get("/mugs/7")
    assert lines(caplog)[0].fields["route"] == "/mugs/<int:number>"


def test_nothing_is_made_of_what_is_not_logged() -> None:
    logger = logging.getLogger("shop.quiet")
    logger.setLevel(logging.ERROR)
    with (
        sql_executed.connected_to(SqlLogger(slow_seconds=0, logger=logger)),
        sql_executed.connected_to(RepeatLogger(most_times=1, logger="shop.quiet")),
        sql_failed.connected_to(SqlLogger(logger=logger).failed),
    ):
        fail()
        exchange = new_exchange()
        send(exchange=exchange)
        send(exchange=exchange)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"slow_seconds": "1"}, TypeError),
        ({"slow_seconds": True}, TypeError),
        ({"slow_seconds": -1}, ValueError),
        ({"slow_seconds": float("nan")}, ValueError),
        ({"with_values": "yes"}, TypeError),
        ({"logger": 3}, TypeError),
    ],
)
def test_logger_with_a_wrong_option_is_refused(
    options: t.Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match="must be"):
        SqlLogger(**options)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"most_times": 1.5}, TypeError),
        ({"most_times": True}, TypeError),
        ({"most_times": 0}, ValueError),
        ({"with_values": 1}, TypeError),
        ({"logger": 3}, TypeError),
    ],
)
def test_repeat_logger_with_a_wrong_option_is_refused(
    options: t.Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match="must be"):
        RepeatLogger(**options)


def test_totals_are_those_of_the_exchange() -> None:
    one, other = new_exchange(), new_exchange()
    with sql_executed.connected_to(count_sql):
        send(exchange=one)
        send(exchange=one, duration_seconds=0.5, exception=LookupError())
        send(exchange=other)
        send()
    totals = sql_totals(one)
    assert totals is sql_totals(one)
    assert totals is not None
    assert (totals.count, totals.duration_seconds, totals.failed) == (2, 0.75, 1)


def test_statement_is_counted_once_by_two_counters() -> None:
    exchange, second = new_exchange(), SqlTotalsCounter()
    with sql_executed.connected_to(count_sql), sql_executed.connected_to(second):
        send(exchange=exchange)
    totals = sql_totals(exchange)
    assert totals is not None
    assert totals.count == 1


def test_exchange_without_statements_has_no_totals() -> None:
    assert sql_totals(new_exchange()) is None


def test_closed_exchange_still_shows_its_totals(engine: sa.Engine) -> None:
    def work() -> None:
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT 1"))

    with sql_executed.connected_to(count_sql):
        totals = sql_totals(serve(work))
    assert totals is not None
    assert totals.count == 1


def test_repeated_statement_is_logged_once_with_its_place(
    engine: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    def work() -> None:
        with engine.connect() as connection:
            for number in range(5):
                connection.execute(sa.text("SELECT :n"), {"n": number})

    with sql_executed.connected_to(RepeatLogger(most_times=3)):
        serve(work)
    (record,) = caplog.records
    line = lines(caplog)[0]
    assert record.levelno == logging.WARNING
    assert line.name == "sql-repeated"
    file, number, function = str(line.fields["at"]).rsplit(":", 2)
    assert os.path.samefile(file, __file__)
    assert int(number) == work.__code__.co_firstlineno + 3
    assert function.endswith("work")
    assert re.fullmatch(
        r'GET /mugs repeated 4 times at=\S+ "SELECT \?"', record.getMessage()
    )


def test_place_is_that_of_the_coroutine_under_an_async_engine(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def ask() -> None:
        engine = create_async_engine("sqlite+aiosqlite://")
        with instrument(engine):
            async with engine.connect() as connection:
                await connection.execute(sa.text("SELECT 1"))
                await connection.execute(sa.text("SELECT 1"))
        await engine.dispose()

    with sql_executed.connected_to(RepeatLogger(most_times=1)):
        serve(lambda: asyncio.run(ask()))
    assert ":test_place" in str(lines(caplog)[0].fields["at"])
    assert str(lines(caplog)[0].fields["at"]).endswith("ask")


def test_place_is_a_dash_where_no_code_is_the_applications(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = "def installed():\n    for _ in range(2): send(exchange=exchange)"
    scope: dict[str, t.Any] = {
        "exchange": new_exchange(),
        "send": partial(sql_executed.send, **PAYLOAD),
    }
    exec(compile(source, "/lib/site-packages/shop.py", "exec"), scope)
    thread = threading.Thread(target=scope["installed"])
    with sql_executed.connected_to(RepeatLogger(most_times=1)):
        thread.start()
        thread.join()
    assert lines(caplog)[0].fields["at"] == "-"


@pytest.mark.parametrize(
    "file",
    ["<string>", "<sqlalchemy generated orm.Session.commit>", "<attrs generated init>"],
)
def test_place_is_no_code_that_was_made_by_exec(
    caplog: pytest.LogCaptureFixture, file: str
) -> None:
    scope: dict[str, t.Any] = {}
    exec(compile("def wrapped(step):\n    step()", file, "exec"), scope)
    payload = {**PAYLOAD, "exchange": new_exchange()}

    def work() -> None:
        for _ in range(2):
            scope["wrapped"](partial(sql_executed.send, "engine", **payload))

    with sql_executed.connected_to(RepeatLogger(most_times=1)):
        work()
    line = work.__code__.co_firstlineno + 2
    place = f"{__file__}:{line}:{work.__qualname__}"
    assert lines(caplog)[0].fields["at"] == place


def test_place_of_a_flush_is_the_line_of_the_application(
    engine: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    class Model(orm.DeclarativeBase): ...

    class Mug(Model):
        __tablename__ = "mugs"
        id = orm.mapped_column(sa.Integer, primary_key=True)

    Model.metadata.create_all(engine)

    def work() -> None:
        with orm.Session(engine) as session:
            for number in range(2):
                session.add(Mug(id=number))
                session.commit()

    with sql_executed.connected_to(RepeatLogger(most_times=1)):
        serve(work)
    line = work.__code__.co_firstlineno + 4
    place = f"{__file__}:{line}:{work.__qualname__}"
    assert lines(caplog)[0].fields["at"] == place


@pytest.mark.parametrize(
    ("loader", "expected"),
    [
        (jinja2.DictLoader({"shop/mugs.html": TEMPLATE}), "shop/mugs.html:3:root"),
        (jinja2.FileSystemLoader("."), "{folder}/shop/mugs.html:3:root"),
    ],
    ids=["text", "file"],
)
def test_place_may_be_a_line_of_a_template(
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    loader: jinja2.BaseLoader,
    expected: str,
) -> None:
    if isinstance(loader, jinja2.FileSystemLoader):
        loader = jinja2.FileSystemLoader(tmp_path)
        (tmp_path / "shop").mkdir()
        (tmp_path / "shop" / "mugs.html").write_text(TEMPLATE)
    environment = jinja2.Environment(loader=loader, autoescape=True)
    payload = {**PAYLOAD, "exchange": new_exchange()}
    scope: dict[str, t.Any] = {"send": partial(sql_executed.send, "engine", **payload)}
    source = "def ask():\n    send()"
    exec(compile(source, "/lib/site-packages/orm.py", "exec"), scope)
    with sql_executed.connected_to(RepeatLogger(most_times=1)):
        environment.get_template("shop/mugs.html").render(ask=scope["ask"])
    assert lines(caplog)[0].fields["at"] == expected.format(folder=tmp_path)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a IN (?, ?)", "a IN (?, ?, ?)"),
        ("a IN (%s,%s)", "a IN (%s,%s,%s)"),
        ("a IN (%(a_1)s, %(a_2)s)", "a IN (%(a_1)s, %(a_2)s, %(a_3)s)"),
        ("a IN (:a_1, :a_2)", "a IN (:a_1, :a_2, :a_3)"),
        ("a IN ($1::INTEGER, $2::INTEGER)", "a IN ($1::INTEGER)"),
        ("a IN (?)", "a IN (?, ?)"),
    ],
)
def test_length_of_a_list_makes_no_other_statement(
    caplog: pytest.LogCaptureFixture, one: str, other: str
) -> None:
    exchange = new_exchange()
    with sql_executed.connected_to(RepeatLogger(most_times=1)):
        send(one, exchange=exchange)
        send(other, exchange=exchange)
    assert len(caplog.records) == 1


TRACE = "SELECT a /* traceparent='00-0af7651916cd43dd8448eb211c80319c-{}-01' */"


@pytest.mark.parametrize(
    "statement",
    [
        TRACE,
        "SELECT a -- request {}",
        "SELECT a FROM b WHERE c = {}",
        "SELECT a FROM b WHERE c = '{}'",
        "SELECT a FROM b WHERE c IN ({}, 7)",
        "INSERT INTO b VALUES ({0}, 'x'), ({0}, 'y')",
    ],
)
def test_values_and_comments_do_not_hide_a_repetition(
    caplog: pytest.LogCaptureFixture, statement: str
) -> None:
    exchange = new_exchange()
    with sql_executed.connected_to(RepeatLogger(most_times=2)):
        for number in range(731, 735):
            send(statement.format(number), exchange=exchange)
    (line,) = lines(caplog)
    assert line.fields["times"] == 3
    assert "73" not in str(line)


def test_one_large_insert_is_no_repetition(caplog: pytest.LogCaptureFixture) -> None:
    mugs = sa.Table(
        "mugs", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True)
    )
    engine = sa.create_engine("sqlite://", insertmanyvalues_page_size=2)
    mugs.create(engine)
    insert = mugs.insert().returning(mugs.c.id)

    def work(times: int) -> None:
        with engine.connect() as connection:
            for _ in range(times):
                rows = [{"id": number} for number in range(11)]
                connection.execute(insert, rows)
                connection.rollback()

    with instrument(engine), sql_executed.connected_to(RepeatLogger(most_times=2)):
        serve(lambda: work(1))
        assert caplog.messages == []
        serve(lambda: work(3))
    engine.dispose()
    assert [line.fields["times"] for line in lines(caplog)] == [3]


def test_objects_that_a_session_adds_together_are_no_repetition(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Model(orm.DeclarativeBase): ...

    class Mug(Model):
        __tablename__ = "mugs"
        id = orm.mapped_column(sa.Integer, primary_key=True)

    engine = sa.create_engine("sqlite://", insertmanyvalues_page_size=2)
    Model.metadata.create_all(engine)

    def work() -> None:
        with orm.Session(engine) as session:
            session.add_all([Mug() for _ in range(11)])
            session.commit()

    with instrument(engine), sql_executed.connected_to(RepeatLogger(most_times=1)):
        serve(work)
    engine.dispose()
    assert caplog.messages == []


def test_different_statements_are_no_repetition(
    caplog: pytest.LogCaptureFixture,
) -> None:
    exchange = new_exchange()
    with sql_executed.connected_to(RepeatLogger(most_times=1)):
        send("SELECT a FROM b WHERE c = ?", exchange=exchange)
        send("SELECT a FROM b WHERE d = ?", exchange=exchange)
    assert caplog.records == []


def test_statements_outside_of_an_exchange_are_not_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with sql_executed.connected_to(RepeatLogger(most_times=1)):
        send()
        send()
    assert caplog.records == []


def test_different_statements_of_an_exchange_are_counted_to_a_bound(
    caplog: pytest.LogCaptureFixture,
) -> None:
    exchange = new_exchange()
    with sql_executed.connected_to(RepeatLogger(most_times=1)):
        for number in range(300):
            send(f"SELECT a{number}", exchange=exchange)
        send("SELECT a299", exchange=exchange)
        send("SELECT a0", exchange=exchange)
    assert [line.fields["statement"] for line in lines(caplog)] == ["SELECT a0"]


def test_two_repeat_loggers_count_for_themselves(
    caplog: pytest.LogCaptureFixture,
) -> None:
    exchange = new_exchange()
    with (
        sql_executed.connected_to(RepeatLogger(most_times=1)),
        sql_executed.connected_to(RepeatLogger(most_times=2)),
    ):
        for _ in range(3):
            send(exchange=exchange)
    assert [line.fields["times"] for line in lines(caplog)] == [2, 3]


def test_long_statements_are_not_kept() -> None:
    loud = logging.Logger("loud")
    exchange = new_exchange()

    def execute_all() -> None:
        for number in range(600):
            padding = "a, " * 50_000
            send(f"SELECT b{number}, '{number}', {padding} c", exchange=exchange)

    with (
        sql_executed.connected_to(SqlLogger(slow_seconds=0, logger=loud)),
        sql_executed.connected_to(RepeatLogger(most_times=1, logger=loud)),
        sql_executed.connected_to(count_sql),
    ):
        tracemalloc.start()
        try:
            execute_all()
            gc.collect()
            kept_bytes, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    # Of 90 million characters.
    assert kept_bytes < 15_000_000
