"""Statements, failures, masks and messages with a real MariaDB."""

from __future__ import annotations

import gc
import typing as t
from collections.abc import Generator
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.pool import NullPool
from sqlalchemy.pool import QueuePool

from signalpost import SignalMiddleware
from signalpost.integrations.sqlalchemy import committed
from signalpost.integrations.sqlalchemy import instrument
from signalpost.integrations.sqlalchemy import instrument_models
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import sql_executed
from signalpost.lifecycle import sql_failed
from signalpost.receivers.messages import message_without_values
from signalpost.receivers.sql import RepeatLogger
from signalpost.receivers.sql import SqlLogger
from signalpost.receivers.sql_pools import pool_states
from signalpost.receivers.sql_totals import count_sql
from signalpost.receivers.sql_totals import sql_totals
from signalpost.receivers.sql_totals import SqlTotals
from signalpost.receivers.statements import operation_of
from signalpost.testing import capture
from signalpost.testing import Sent
from tests.integrations.mariadb import running_mariadb
from tests.ports import free_port
from tests.receivers.accepted import SECRET
from tests.receivers.accepted import shown_values
from tests.wsgi.serving import hello
from tests.wsgi.serving import Server

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIEnvironment

pytest.importorskip("pymysql", reason="PyMySQL is not installed")

# A table that each server has. So many rows are more than the sockets buffer.
NUMBERS = "SELECT seq, repeat('x', 1000) FROM mysql.seq_1_to_100000"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Run a server with a database; return where it is, as part of an address."""
    with running_mariadb() as address:
        engine = sa.create_engine(f"mariadb+pymysql://{address}", poolclass=NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql("CREATE DATABASE shop")
        yield f"{address}/shop"


@pytest.fixture(params=["mariadb", "mysql"])
def engine(server: str, request: pytest.FixtureRequest) -> Generator[sa.Engine]:
    """Return an engine of either dialect, which has connected already."""
    engine = sa.create_engine(f"{request.param}+pymysql://{server}")
    engine.connect().close()
    with instrument(engine):
        yield engine
    engine.dispose()


def end_from_outside(connection: sa.Connection, number: int) -> None:
    """End a connection, and wait until the server has closed it."""
    with sa.create_engine(connection.engine.url, poolclass=NullPool).connect() as other:
        other.exec_driver_sql(f"KILL {number}")
        ended = sa.text(
            "SELECT count(*) FROM information_schema.processlist WHERE id = :number"
        )
        while other.scalar(ended, {"number": number}):
            other.exec_driver_sql("DO SLEEP(0.01)")


def number_of(connection: sa.Connection) -> int:
    number = connection.exec_driver_sql("SELECT CONNECTION_ID()").scalar_one()
    assert isinstance(number, int)
    return number


def described(sent: list[Sent]) -> list[tuple[str, str | None]]:
    """Return the operation and the statement of failures."""
    return [(one["operation"], one["statement"]) for one in sent]


# Statements


def test_statement_is_sent_with_its_rows_and_duration(engine: sa.Engine) -> None:
    with engine.connect() as connection, capture(sql_executed) as sent:
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
            connection.execute(sa.text(statement), values)
    assert [(one["row_count"], one["parameters_count"]) for one in sent] == [
        *((0, 0), (3, 3), (2, 1), (3, 0), (3, 0))
    ]
    assert [one["is_executemany"] for one in sent] == [False, True, *[False] * 3]
    assert all(0 < one["duration_seconds"] < 60 for one in sent)
    assert {one["exception"] for one in sent} == {None}


def test_statement_that_fails_is_sent_once(
    engine: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    logger = SqlLogger()
    with (
        capture(sql_executed, sql_failed) as sent,
        sql_executed.connected_to(logger),
        engine.connect() as connection,
        pytest.raises(sa.exc.ProgrammingError) as caught,
    ):
        connection.execute(sa.text("SELECT 'Zq7351' FROM cups"))
    (one,) = sent
    assert one["exception"] is caught.value
    assert one["row_count"] is None
    (line,) = caplog.messages
    assert "failed" in line
    assert "SELECT ? FROM cups" in line


# Where the server counts the statements that it has executed.
COUNTS = "SHOW SESSION STATUS WHERE variable_name LIKE 'Com\\_%'"


@pytest.mark.parametrize(
    "statement",
    [
        "select\t1",
        "# Ann's\nSELECT 1",
        "-- Ann's\n/* INSERT */ SELECT 1",
        "--\tx\n((SELECT 1))",
        "/*!40101 SELECT */ 1",
        "/*M!100100 SELECT */ 1",
        "/*!SELECT*/ 1",
        "/*!40101 SET @a = 1 */",
        "/* /* */ UPDATE shop.stock SET n = 1",
        "REPLACE INTO shop.stock VALUES (1)",
        "TRUNCATE shop.stock",
        "SHOW WARNINGS",
        "CALL shop.nothing()",
        "DO 1",
        "SAVEPOINT a",
        "BEGIN",
    ],
)
def test_operation_is_what_the_server_executes(server: str, statement: str) -> None:
    operation = operation_of(statement)
    assert operation is not None
    assert executed_by(server, statement).startswith(operation)


@pytest.mark.parametrize(
    ("comment", "is_executed"),
    [
        ("!", True),
        ("!50100", True),
        ("!50699", True),
        ("!50700", False),
        ("!80000", False),
        ("!99999", False),
        ("!100000", True),
        ("!999999", False),
        ("M!", True),
        ("M!80000", True),
        ("M!100000", True),
        ("M!999999", False),
        ("! /* x */", True),
        ("! -- x\n", True),
    ],
)
def test_operation_is_none_if_another_server_executes_another(
    server: str, comment: str, *, is_executed: bool
) -> None:
    statement = f"/*{comment} INSERT INTO stock */ SELECT 1"
    executed = executed_by(server, statement)
    assert executed == ("INSERT_SELECT" if is_executed else "SELECT")
    assert operation_of(statement) is None


def executed_by(server: str, statement: str) -> str:
    """Return the operation that the server has counted, as ``INSERT_SELECT``."""
    engine = sa.create_engine(f"mariadb+pymysql://{server}", poolclass=NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS stock (n INT)")
        connection.exec_driver_sql("CREATE OR REPLACE PROCEDURE nothing() BEGIN END")
        cursor = connection.connection.cursor()

        def counts() -> dict[str, int]:
            cursor.execute(COUNTS)
            return {name: int(count) for name, count in cursor.fetchall()}

        before = counts()
        cursor.execute(statement)
        cursor.fetchall()
        after = counts()
        cursor.close()
    before["Com_show_status"] += 1
    (executed,) = {name for name in after if after[name] != before[name]}
    return executed.removeprefix("Com_").upper()


def test_statements_of_a_first_connection_belong_to_no_request(server: str) -> None:
    engine = sa.create_engine(f"mariadb+pymysql://{server}")

    @SignalMiddleware
    def application(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> t.Iterable[bytes]:
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT 'of the request'"))
        return hello(environ, start_response)

    with instrument(engine), capture(sql_executed) as sent:
        Server().serve(application)
    engine.dispose()
    assert len(sent) > 1
    assert [one["statement"] for one in sent if one["exchange"] is not None] == [
        "SELECT 'of the request'"
    ]


def test_insert_of_many_rows_is_no_repetition(
    engine: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    mugs = sa.Table(
        "many_mugs",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        prefixes=["TEMPORARY"],
    )
    # MySQL has no RETURNING, so that SQLAlchemy does not split the rows.
    is_split = engine.name == "mariadb"
    insert = mugs.insert().returning(mugs.c.id) if is_split else mugs.insert()

    @SignalMiddleware
    def application(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> t.Iterable[bytes]:
        with engine.connect() as connection:
            mugs.create(connection)
            options = {"insertmanyvalues_page_size": 2}
            rows = [{"id": number} for number in range(1, 11)]
            connection.execute(insert, rows, execution_options=options)
            connection.execute(sa.text("DROP TEMPORARY TABLE many_mugs"))
        return hello(environ, start_response)

    with (
        capture(sql_executed) as sent,
        sql_executed.connected_to(RepeatLogger(most_times=1)),
        exchange_closed.connected_to(lambda app, **_: None),
    ):
        Server().serve(application)
    inserted = [one for one in sent if one["statement"].startswith("INSERT")]
    assert sum(one["row_count"] for one in inserted) == 10
    assert len(inserted) == (5 if is_split else 1)
    assert caplog.messages == []


# Failures of other operations


@pytest.mark.parametrize("operation", ["commit", "rollback"])
def test_transaction_whose_connection_the_server_ended_is_sent(
    engine: sa.Engine, operation: str
) -> None:
    with engine.connect() as connection, capture(sql_failed, sql_executed) as sent:
        number = number_of(connection)
        end_from_outside(connection, number)
        del sent[:]
        with pytest.raises(sa.exc.OperationalError) as caught:
            getattr(connection, operation)()
    assert described(sent) == [(operation, None)]
    assert sent[0]["exception"] is caught.value
    assert caught.value.connection_invalidated


def test_statement_whose_connection_the_server_ended_is_sent_once(
    engine: sa.Engine,
) -> None:
    with engine.connect() as connection:
        end_from_outside(connection, number_of(connection))
        with capture(sql_failed, sql_executed) as sent:
            with pytest.raises(sa.exc.OperationalError) as caught:
                connection.execute(sa.text("SELECT 1"))
            connection.rollback()
            connection.execute(sa.text("SELECT 2"))
    assert [(one["statement"], one["exception"]) for one in sent] == [
        ("SELECT 1", caught.value),
        ("SELECT 2", None),
    ]


def test_connection_that_is_replaced_before_use_is_no_failure(server: str) -> None:
    engine = sa.create_engine(f"mariadb+pymysql://{server}", pool_pre_ping=True)
    with instrument(engine):
        with engine.connect() as connection:
            number = number_of(connection)
        end_from_outside(connection, number)
        with capture(sql_failed, sql_executed) as sent, engine.connect() as connection:
            assert number_of(connection) != number
    engine.dispose()
    assert [(one["statement"], one["exception"]) for one in sent] == [
        ("SELECT CONNECTION_ID()", None)
    ]


def test_rows_of_a_server_side_cursor_are_one_statement(engine: sa.Engine) -> None:
    with engine.connect() as connection, capture(sql_executed, sql_failed) as sent:
        streaming = connection.execution_options(yield_per=100)
        numbers = streaming.exec_driver_sql("SELECT seq FROM mysql.seq_1_to_1000")
        assert sum(numbers.scalars()) == 500_500
    # The number of rows is not known before the last one.
    assert [one["row_count"] for one in sent] == [None]


def test_fetch_that_the_server_refuses_is_sent(engine: sa.Engine) -> None:
    failing = (
        "SELECT seq, (SELECT seq UNION SELECT if(seq = 500, 'Zq7351', seq))"
        " FROM mysql.seq_1_to_1000"
    )
    with engine.connect() as connection, capture(sql_failed) as sent:
        streaming = connection.execution_options(yield_per=10)
        with pytest.raises(sa.exc.OperationalError) as caught:
            list(streaming.exec_driver_sql(failing))
    assert described(sent) == [("fetch", failing)]
    assert sent[0]["exception"] is caught.value


# PyMySQL reads the other rows when the result is freed, also without a connection.
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"
)
def test_fetch_on_a_connection_that_the_server_ended_is_sent(
    engine: sa.Engine,
) -> None:
    with engine.connect() as connection, capture(sql_failed) as sent:
        number = number_of(connection)
        streaming = connection.execution_options(yield_per=10)
        rows = iter(streaming.exec_driver_sql(NUMBERS))
        next(rows)
        end_from_outside(connection, number)
        with pytest.raises(sa.exc.OperationalError) as caught:
            list(rows)
    assert described(sent) == [("fetch", NUMBERS)]
    assert sent[0]["exception"] is caught.value
    assert caught.value.connection_invalidated
    del rows, caught, sent[:]
    gc.collect()


def failed_to_connect(url: str) -> str:
    """Return the message of a connection that fails, as it is shown."""
    engine = sa.create_engine(url, poolclass=NullPool)
    with (
        instrument(engine),
        capture(sql_failed, sql_executed) as sent,
        pytest.raises(sa.exc.OperationalError) as caught,
    ):
        engine.connect()
    assert described(sent) == [("connect", None)]
    assert sent[0]["exception"] is caught.value
    return message_without_values(caught.value, str(caught.value))


def test_connection_to_a_server_that_is_not_there_is_sent() -> None:
    url = f"mariadb+pymysql://ann:Zq7351@127.0.0.1:{free_port()}/shop"
    assert failed_to_connect(url) == (
        "(pymysql.err.OperationalError) (2003, \"Can't connect to MySQL server on …"
    )


def test_password_that_the_server_refuses_is_sent_and_not_shown(server: str) -> None:
    url = f"mariadb+pymysql://{server.replace('@', ':Zq7351@')}"
    assert failed_to_connect(url) == (
        '(pymysql.err.OperationalError) (1045, "Access denied for user …'
    )


def test_pool_that_is_exhausted_is_sent(server: str) -> None:
    engine = sa.create_engine(
        f"mariadb+pymysql://{server}",
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        pool_timeout=0.01,
    )
    with instrument(engine), capture(sql_failed) as sent, engine.connect():
        with pytest.raises(sa.exc.TimeoutError) as caught:
            engine.connect()
        (state,) = pool_states(server.partition("@")[2])
    engine.dispose()
    assert described(sent) == [("pool", None)]
    assert sent[0]["exception"] is caught.value
    assert (state.used, state.idle, state.waiting, state.timeouts) == (1, 0, 0, 1)


# Spans and metrics

# Not in the function, whose lines a traceback shows.
OUT_OF_RANGE = "SELECT 18446744073709551615 + 7351"


@pytest.mark.parametrize("dialect", ["mariadb", "mysql"])
def test_spans_and_metrics_have_the_name_of_the_dialect(
    server: str, dialect: str
) -> None:
    pytest.importorskip(
        "opentelemetry.sdk", reason="opentelemetry-sdk is not installed"
    )
    from tests.integrations.telemetry import about
    from tests.integrations.telemetry import has_error
    from tests.integrations.telemetry import nothing_left
    from tests.integrations.telemetry import Telemetry

    telemetry = Telemetry()
    engine = sa.create_engine(f"{dialect}+pymysql://{server}")
    engine.connect().close()

    @SignalMiddleware
    def application(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> t.Iterable[bytes]:
        with engine.connect() as connection:
            connection.exec_driver_sql("# Ann\nSELECT \"Zq7351\", 'it\\'s', 5")
            connection.exec_driver_sql(OUT_OF_RANGE)
        return hello(environ, start_response)

    with nothing_left(telemetry), instrument(engine):
        opentelemetry = telemetry.connected(application)
        with pytest.raises(sa.exc.DBAPIError, match="7351"):
            Server().serve(application)
        opentelemetry.disconnect(application)
        points = telemetry.points("db.client.operation.duration")
    engine.dispose()
    port = int(server.rpartition(":")[2].partition("/")[0])
    of_database = {
        "db.system.name": dialect,
        "db.namespace": "shop",
        "server.address": "127.0.0.1",
        "server.port": port,
        "db.operation.name": "SELECT",
    }
    good, bad, request = telemetry.spans
    assert good.name == bad.name == "SELECT shop"
    assert about(good) == {**of_database, "db.query.text": "SELECT ?, ? …"}
    assert has_error(bad)
    (event,) = request.events
    recorded = str(dict(event.attributes or {}))
    assert "value is out of range in …" in recorded
    assert "7351" not in recorded
    error = {"error.type": "sqlalchemy.exc.OperationalError"}
    assert points == [(of_database, 1), ({**of_database, **error}, 1)]


# Flask-SQLAlchemy


def test_request_of_flask_sqlalchemy_is_counted_and_its_object_can_be_read(
    server: str,
) -> None:
    flask_sqlalchemy = pytest.importorskip(
        "flask_sqlalchemy", reason="Flask-SQLAlchemy is not installed"
    )
    import flask

    from signalpost.integrations.flask import Signalpost

    app = flask.Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = f"mysql+pymysql://{server}"
    Signalpost(app)
    db = flask_sqlalchemy.SQLAlchemy(app)

    class Mug(db.Model):  # type: ignore[misc, name-defined]  # made at run time
        __tablename__ = "flask_mugs"
        id = db.Column(db.Integer, primary_key=True)
        name = db.Column(db.String(20), unique=True)
        price = db.Column(db.Integer, server_default="250")

    @app.post("/mugs/<name>")
    def add(name: str) -> dict[str, object]:
        db.session.add(Mug(name=name))
        db.session.commit()
        return {}

    def read(model: type, *, instance: t.Any, identity: tuple[int]) -> None:
        found.append((instance.name, instance.price, identity))

    def count(app: object, exchange: t.Any) -> None:
        totals.append((exchange.route, exchange.status, sql_totals(exchange)))

    found: list[object] = []
    totals: list[tuple[str, int, SqlTotals | None]] = []
    with instrument(), instrument_models(), app.app_context():
        db.create_all()
        with (
            committed.connected_to(read, Mug),
            sql_executed.connected_to(count_sql),
            exchange_closed.connected_to(count, app),
        ):
            for _ in range(2):
                app.test_client().post("/mugs/blue", buffered=True)
        db.engine.dispose()
    assert found == [("blue", 250, (1,))]
    # One statement more for the receiver that reads the object.
    assert [(*answer, one and one.count) for *answer, one in totals] == [
        ("/mugs/<name>", 200, 2),
        ("/mugs/<name>", 500, 1),
    ]


# Messages


STATEMENTS_THAT_FAIL = [
    (
        "INSERT INTO mugs (name) VALUES ('ann@example.org Zq7351')",
        "(1062, \"Duplicate entry … for key 'name'\")",
    ),
    (
        "INSERT INTO mugs (name) VALUES ('it\\'s \"Zq7351\" for key \\'b\\'')",
        "(1062, 'Duplicate entry ",
    ),
    ("INSERT INTO mugs (n) VALUES ('Zq7351')", "Incorrect integer value: …"),
    ("INSERT INTO mugs (d) VALUES ('Zq7351')", "Incorrect date value: …"),
    ("INSERT INTO mugs (c) VALUES (REPEAT('Zq7351', 9))", "long for column 'c' at row"),
    ("INSERT INTO mugs (n) VALUES (7351735173)", "Out of range value for column 'n'"),
    ("INSERT INTO mugs (small) VALUES (7351)", "failed for `shop`.`mugs`"),
    ("INSERT INTO shop.parts VALUES (7351)", "Table has no partition for value …"),
    ("UPDATE mugs SET n = name + 7351", "Truncated incorrect DOUBLE value: …"),
    ("SELECT 'Zq7351', name FROM cups", "Table 'shop.cups' doesn't exist"),
    ("SELECT * FROM mugs WHERE name = 'Zq7351' AND", "in your SQL syntax"),
    ("SELECT cup FROM mugs WHERE name = 'Zq7351'", "Unknown column 'cup' in …"),
    ("SELECT 18446744073709551615 + 7351", "value is out of range in …"),
    ("SELECT 'a' REGEXP '(Zq7351'", "Regex error …"),
    ("SET time_zone = 'Zq7351'", "Unknown or incorrect time zone: …"),
    ("KILL 735173517", "Unknown thread id: …"),
    ("SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'user Zq7351'", "…"),
    ("SIGNAL SQLSTATE '23000' SET MESSAGE_TEXT = 'user Zq7351'", "…"),
    ("SIGNAL SQLSTATE '02000' SET MESSAGE_TEXT = 'user Zq7351'", "…"),
]


TABLES = [
    """CREATE TABLE mugs (
        id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(50) UNIQUE, c CHAR(5), n INT,
        d DATE, small INT CHECK (small < 100)
    )""",
    "INSERT INTO mugs (name) VALUES ('ann@example.org Zq7351')",
    "INSERT INTO mugs (name) VALUES ('it\\'s \"Zq7351\" for key \\'b\\'')",
    """CREATE TABLE parts (n INT)
        PARTITION BY RANGE (n) (PARTITION small VALUES LESS THAN (100))""",
]


@pytest.fixture(scope="module")
def tables(server: str) -> None:
    engine = sa.create_engine(f"mariadb+pymysql://{server}", poolclass=NullPool)
    with engine.begin() as connection:
        for statement in TABLES:
            connection.exec_driver_sql(statement)


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize(("statement", "kept"), STATEMENTS_THAT_FAIL)
def test_message_of_the_server_is_cut_where_values_begin(
    server: str, statement: str, kept: str
) -> None:
    engine = sa.create_engine(f"mariadb+pymysql://{server}", poolclass=NullPool)
    with engine.connect() as connection, pytest.raises(sa.exc.DBAPIError) as caught:
        connection.exec_driver_sql(statement)
    original = caught.value.orig
    assert original is not None
    for exception in (caught.value, original):
        message = message_without_values(exception, str(exception))
        assert "7351" not in message
        assert kept in message


class Model(orm.DeclarativeBase): ...


class Cup(Model):
    __tablename__ = "cups_for_nobody"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)


# With a number of the application's, as well as with the server's.
@pytest.mark.parametrize("number", ["", ", MYSQL_ERRNO = 30001"])
def test_message_of_a_trigger_is_hidden_also_when_the_session_repeats_it(
    server: str, number: str
) -> None:
    engine = sa.create_engine(f"mariadb+pymysql://{server}", poolclass=NullPool)
    Model.metadata.create_all(engine)
    with engine.connect() as connection:
        connection.exec_driver_sql(
            "CREATE OR REPLACE TRIGGER refusing BEFORE INSERT ON cups_for_nobody"
            " FOR EACH ROW SIGNAL SQLSTATE '45000'"
            f" SET MESSAGE_TEXT = 'user Zq7351'{number}"
        )
    with orm.Session(engine) as session:
        session.add(Cup(id=1))
        with pytest.raises(sa.exc.DBAPIError, match="Zq7351") as first:
            session.flush()
        with pytest.raises(sa.exc.PendingRollbackError, match="Zq7351") as second:
            session.scalar(sa.select(Cup))
    for exception in (first.value, second.value):
        message = message_without_values(exception, str(exception))
        assert "Zq7351" not in message
        assert "(pymysql.err.OperationalError) …" in message


# Masks


@pytest.mark.parametrize(
    "mode",
    ["", "NO_BACKSLASH_ESCAPES", "ANSI_QUOTES", "ANSI_QUOTES,NO_BACKSLASH_ESCAPES"],
)
def test_no_value_that_the_server_returns_is_shown(server: str, mode: str) -> None:
    seeds = [
        f"SELECT '{SECRET}'",
        f"SELECT '{SECRET}', 'a' 'b', \"it's\"",
        f'SELECT "{SECRET}"',
        f"SELECT 'it\\'s {SECRET}', '\\\\'",
        f"SELECT `a`, '{SECRET}' FROM (SELECT 1 AS `a`) AS t",
        f"SELECT 1 # it's\n, '{SECRET}' -- x\n, 2",
        f"SELECT 5--1, '\n{SECRET}'",
        f"SELECT 'a\\', '{SECRET}'",
        f'SELECT "a\\", "{SECRET}"',
        f'SELECT "it\\"s {SECRET}"',
        f"SELECT /*! 'a*/{SECRET}', */ 2 /* /* */, N'{SECRET}'",
        f"SELECT /*M!100100 _utf8'{SECRET}', */ x'5A', b'1'",
        f"SELECT /*!99999 it's */ '{SECRET}' AS \"a\"",
    ]
    engine = sa.create_engine(f"mariadb+pymysql://{server}", poolclass=NullPool)
    with engine.connect() as connection:
        cursor = connection.connection.cursor()
        cursor.execute("SET sql_mode = %s", (mode,))

        def returned(statement: str) -> str:
            cursor.execute(statement)
            return repr(cursor.fetchall())

        dialects = ("mariadb", "mysql", "")
        assert shown_values(returned, dialects, seeds, 10_000) == []
        cursor.close()
