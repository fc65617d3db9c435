"""Messages of database errors, of drivers real and made up."""

from __future__ import annotations

import sqlite3
import traceback
import typing as t
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from sqlalchemy import orm

from signalpost.receivers.masking import LONGEST_READ
from signalpost.receivers.messages import has_database_error
from signalpost.receivers.messages import hide_values
from signalpost.receivers.messages import message_without_values


class Error(Exception):
    """The base of a driver's errors, by its name (PEP 249)."""


class DatabaseError(Error):
    pass


class IntegrityError(DatabaseError):
    pass


def shown(message: str) -> str:
    return message_without_values(IntegrityError(message), message)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        # PostgreSQL
        (
            (
                'duplicate key value violates unique constraint "mugs_name_key"\n'
                "DETAIL:  Key (name)=(7351) already exists."
            ),
            'duplicate key value violates unique constraint "mugs_name_key"',
        ),
        (
            (
                'null value in column "name" of relation "mugs" violates not-null'
                " constraint\nDETAIL:  Failing row contains (7351, null)."
            ),
            (
                'null value in column "name" of relation "mugs" violates not-null'
                " constraint"
            ),
        ),
        (
            "invalid input syntax for type integer: \"7351\"\nLINE 1: SELECT '7351'",
            "invalid input syntax for type integer: …",
        ),
        ('relation "cups" does not exist\nLINE 1: x', 'relation "cups" does not exist'),
        ('value "7351" is out of range for type smallint', "value …"),
        ('syntax error at or near "7351"', "syntax error at or near …"),
        (
            'unterminated quoted string at or near "\'7351"',
            "unterminated quoted string",
        ),
        ('date/time field value out of range: "7351-99"', "date/time field value out"),
        ('invalid input value for enum mood: "73\n51"', "invalid input value for enum"),
        (
            "doppelter Schlüsselwert verletzt\nDETAIL: (name)=(7351) ist da.",
            "doppelter Schlüsselwert verletzt",
        ),
        ("date out of range: 7351-01-01", "date out of range: …"),
        ("time zone displacement out of range: -7351", "time zone displacement out"),
        ("connection timed out, error: 110", "connection timed out, error: 110"),
        ("invalid input for query argument $1: 7351 (an integer", "invalid input for"),
        (
            (
                "<class 'asyncpg.exceptions.UniqueViolationError'>: duplicate key\n"
                "DETAIL:  Key (name)=(7351) already exists."
            ),
            "<class 'asyncpg.exceptions.UniqueViolationError'>: duplicate key",
        ),
        # PostgreSQL by pg8000
        (
            (
                "{'S': 'FEHLER', 'V': 'ERROR', 'C': '23505', 'M': 'duplicate key value"
                " violates unique constraint \"mugs_key\"', 'D': 'Key (name)=(7351)"
                " already exists.', 's': 'public'}"
            ),
            (
                "{'S': 'FEHLER', 'V': 'ERROR', 'C': '23505', 'M': 'duplicate key value"
                ' violates unique constraint "mugs_key"…'
            ),
        ),
        (
            (
                "{'S': 'ERROR', 'V': 'ERROR', 'C': '22P02', 'M': 'invalid input syntax"
                " for type integer: \"7351\"', 'F': 'numutils.c'}"
            ),
            (
                "{'S': 'ERROR', 'V': 'ERROR', 'C': '22P02', 'M': 'invalid input syntax"
                " for type integer: …"
            ),
        ),
        # MySQL
        (
            "(1062, \"Duplicate entry '7351' for key 'mugs.name'\")",
            "(1062, \"Duplicate entry … for key 'mugs.name'\")",
        ),
        (
            "1062 (23000): Duplicate entry '73\\' 51' for key 'name'",
            "1062 (23000): Duplicate entry … for key 'name'",
        ),
        (
            "(1062, 'Duplicate entry \\'73\"51\\' for key \\'mugs.name\\'')",
            "(1062, 'Duplicate entry ",
        ),
        (
            "(1526, 'Table has no partition for value 7351')",
            "(1526, 'Table has no partition for value …",
        ),
        (
            "3616 (22S03): Longitude 735.100000 is out of range in function st_x. It",
            "3616 (22S03): Longitude …",
        ),
        (
            "(3733, 'A parameter of st_x contains a geometry with latitude -7351.5, wh",
            "(3733, 'A parameter of st_x contains a geometry with latitude …",
        ),
        (
            "(1146, \"Table 'shop.cups' doesn't exist\")",
            "(1146, \"Table 'shop.cups' doesn't exist\")",
        ),
        (
            "(1366, \"Incorrect integer value: '7351' for column 'n' at row 1\")",
            "(1366",
        ),
        ("(1064, \"You have an error ... near '7351' at line 1\")", '(1064, "You have'),
        (
            "(1406, \"Data too long for column 'name' at row 1\")",
            '(1406, "Data too long',
        ),
        ("(1094, 'Unknown thread id: 7351')", "(1094, 'Unknown thread id: …"),
        ("2013: Lost connection to server", "2013: Lost connection to server"),
        # SQLite
        ("unable to open database: /srv/7351", "unable to open database: …"),
        ("unable to open database file", "unable to open database file"),
        ("UNIQUE constraint failed: mugs.name", "UNIQUE constraint failed: mugs.name"),
        ('near "7351": syntax error', "near …"),
        ('unrecognized token: "\'7351"', "unrecognized token: …"),
        # SQL Server
        (
            (
                "('23000', \"[Microsoft]Violation of UNIQUE KEY constraint 'UQ_1'."
                " Cannot insert in object 'dbo.mugs'. The duplicate key value"
                ' is (7351). (2627) (SQLExecDirectW)")'
            ),
            (
                "('23000', \"[Microsoft]Violation of UNIQUE KEY constraint 'UQ_1'."
                " Cannot insert in object 'dbo.mugs'. The duplicate key …"
            ),
        ),
        ("Arithmetic overflow error for int, value = 7351.", "Arithmetic overflow"),
        ("Conversion failed when converting the varchar value '7351' to", "Conversion"),
        # Oracle
        (
            'ORA-12899: value too large for column "SHOP"."MUGS"."NAME" (actual: 20)',
            'ORA-12899: value too large for column "SHOP"."MUGS"."NAME" (actual: 20)',
        ),
        (
            (
                "ORA-00001: unique constraint (SHOP.UQ) violated on table MUGS columns"
                " (NAME)\nORA-03301: row with column values (NAME:'7351') exists"
            ),
            (
                "ORA-00001: unique constraint (SHOP.UQ) violated on table MUGS columns"
                " (NAME)"
            ),
        ),
        ("", ""),
    ],
)
def test_message_of_a_driver_is_cut_where_values_begin(
    message: str, expected: str
) -> None:
    assert "7351" not in shown(message)
    assert shown(message).startswith(expected)
    if len(expected) > 30:
        assert "…" in shown(message) or shown(message) == expected


@pytest.mark.parametrize("part", ["x", "'x", ")", ": ", "(5", "column ", "value is "])
def test_long_message_is_read_to_a_bound(part: str) -> None:
    message = f"near {part * (3_000_000 // len(part))} x"
    assert len(shown(message)) <= LONGEST_READ + 1
    assert shown(message).endswith("…")
    end = shown("x" * (LONGEST_READ - 20) + ' value "7351" at key')
    assert end == "x" * (LONGEST_READ - 20) + " value …"


def of_driver(*arguments: object, **named: object) -> Exception:
    error = IntegrityError(*arguments)
    for name, value in named.items():
        setattr(error, name, value)
    return error


RAISED = "user 7351 is not allowed"


@pytest.mark.parametrize(
    "error",
    [
        of_driver(RAISED, sqlstate="P0001"),
        of_driver(RAISED, pgcode="P0004"),
        of_driver({"S": "ERROR", "C": "P0001", "M": RAISED}),
        of_driver(1644, RAISED),
        of_driver(1643, RAISED),
        of_driver(1642, RAISED),
        of_driver(RAISED, errno=1644, sqlstate="45000"),
        of_driver(RAISED, errno=1644),
        of_driver(f"ORA-20001: {RAISED}"),
        of_driver(50000, RAISED),
        of_driver("42000", f"[42000] [SQL Server]{RAISED} (50000) (SQLExecDirectW)"),
    ],
    ids=repr,
)
def test_message_that_the_application_raises_in_the_database_is_hidden(
    error: Exception,
) -> None:
    assert message_without_values(error, str(error)) == "…"
    wrapped = sa.exc.InternalError("CALL buy('7351')", {"a": "7351"}, error)
    assert message_without_values(wrapped, str(wrapped)) == (
        f"({__name__}.IntegrityError) …\n[SQL: CALL buy(?)]"
    )


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("psycopg.errors.RaiseException", f"{RAISED}\nCONTEXT: x"),
        ("sqlalchemy.dialects.postgresql.asyncpg.Error", RAISED),
        (
            "sqlalchemy.dialects.postgresql.asyncpg.Error",
            f"<class 'asyncpg.exceptions.RaiseError'>: {RAISED}",
        ),
        ("pg8000.dbapi.ProgrammingError", str({"S": "E", "C": "P0001", "M": RAISED})),
        ("pymysql.err.OperationalError", f"(1644, '{RAISED}')"),
        ("pymysql.err.OperationalError", f"(1643, '{RAISED}')"),
        ("pymysql.err.InternalError", f"(30001, '{RAISED}')"),
        ("MySQLdb.OperationalError", f"(30001, '{RAISED}')"),
        ("mysql.connector.errors.DatabaseError", f"30001 (45000): {RAISED}"),
        ("mysql.connector.errors.DatabaseError", f"1644 (45000): {RAISED}"),
        ("mysql.connector.errors.DatabaseError", f"1642 (01000): {RAISED}"),
    ],
)
def test_message_that_the_application_raised_before_a_rollback_is_hidden(
    kind: str, message: str
) -> None:
    before = "This Session's transaction has been rolled back. Original exception was:"
    error = sa.exc.PendingRollbackError(f"{before} ({kind}) {message}")
    assert message_without_values(error, str(error)) == f"{before} ({kind}) …"


@pytest.mark.parametrize("module", ["MySQLdb", "pymysql.err"])
def test_message_with_a_number_that_mysql_does_not_have_is_hidden(module: str) -> None:
    kind = type("OperationalError", (IntegrityError,), {"__module__": module})
    raised, refused = kind(30_001, RAISED), kind(9_999, "Deadlock")
    assert message_without_values(raised, str(raised)) == "…"
    assert message_without_values(refused, str(refused)) == "(9999, 'Deadlock')"


@pytest.mark.parametrize("number", [1062, 1641, 1645, 2013, 49_999])
def test_message_of_the_server_s_own_numbers_stays(number: int) -> None:
    error = of_driver(number, "Lost connection")
    assert message_without_values(error, str(error)) == str(error)


@pytest.mark.parametrize(
    "exception",
    [
        LookupError("no mug '7351'\n[not SQL]"),
        sa.exc.ArgumentError("got 'blue'"),
        type("DatabaseError", (Exception,), {})("'blue'"),
        OSError(2, "no such file", "blue"),
    ],
)
def test_message_of_any_other_exception_stays(exception: Exception) -> None:
    assert message_without_values(exception, str(exception)) == str(exception)
    assert not has_database_error(exception)


mugs = sa.Table(
    "mugs",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String, unique=True),
)


class Model(orm.DeclarativeBase): ...


class Mug(Model):
    __table__ = mugs


def insert_twice(connection: sa.Connection) -> None:
    for _ in range(2):
        connection.execute(mugs.insert(), {"name": "Zq7351"})


def insert_many(connection: sa.Connection) -> None:
    rows = [{"name": "Zq7351"}, {"name": "Zq7351"}]
    connection.execute(mugs.insert().returning(mugs.c.id), rows)


def insert_text(connection: sa.Connection) -> None:
    for _ in range(2):
        connection.execute(sa.text("INSERT INTO mugs (name) VALUES ('Zq7351') -- 7351"))


def select_text(connection: sa.Connection) -> None:
    connection.execute(sa.text("SELECT 'Zq7351' FROM cups"))


def leave_out(connection: sa.Connection) -> None:
    connection.execute(sa.text("SELECT :a, :b"), {"a": "Zq7351"})


def flush_by_a_query(connection: sa.Connection) -> None:
    with orm.Session(connection) as session:
        session.add_all([Mug(name="Zq7351"), Mug(name="Zq7351")])
        session.scalar(sa.select(Mug))


def use_after_a_failure(connection: sa.Connection) -> None:
    with orm.Session(connection) as session:
        session.add_all([Mug(name="Zq7351"), Mug(name="Zq7351")])
        with pytest.raises(sa.exc.IntegrityError):
            session.flush()
        session.scalar(sa.select(Mug))


def wrap(connection: sa.Connection) -> None:
    try:
        insert_twice(connection)
    except sa.exc.IntegrityError as error:
        raise LookupError("there is one") from error


def repeat_the_message(connection: sa.Connection) -> None:
    try:
        insert_twice(connection)
    except sa.exc.IntegrityError as error:
        raise LookupError(f"failed: {error}") from None


def fail_together(connection: sa.Connection) -> None:
    try:
        insert_twice(connection)
    except sa.exc.IntegrityError as error:
        raise ExceptionGroup("two", [error, LookupError("two")]) from None


def raised(work: Callable[[sa.Connection], None]) -> BaseException:
    engine = sa.create_engine("sqlite://")
    mugs.create(engine)
    try:
        with engine.connect() as connection:
            work(connection)
    except (ExceptionGroup, LookupError, sa.exc.SQLAlchemyError) as error:
        return error
    finally:
        engine.dispose()
    raise AssertionError("nothing was raised")


def trace_of(exception: BaseException) -> str:
    trace = traceback.TracebackException.from_exception(exception)
    hide_values(trace, exception)
    return "".join(trace.format())


WORKS: list[t.Any] = [
    insert_twice,
    insert_many,
    insert_text,
    select_text,
    leave_out,
    flush_by_a_query,
    use_after_a_failure,
    wrap,
    repeat_the_message,
    fail_together,
]


@pytest.mark.parametrize("work", WORKS)
def test_traceback_has_no_value_of_the_database(
    work: Callable[[sa.Connection], None],
) -> None:
    exception = raised(work)
    assert has_database_error(exception)
    whole = "".join(traceback.format_exception(exception))
    # Lines of source, such as those above, are in it too.
    assert len(whole.split("Zq7351")) > len(trace_of(exception).split("Zq7351"))
    messages = [line for line in trace_of(exception).split("\n") if "7351" in line]
    assert not [
        line for line in messages if "execute(" not in line and "Mug(" not in line
    ]


def test_message_of_sqlalchemy_has_the_statement_without_values() -> None:
    exception = raised(insert_text)
    assert message_without_values(exception, str(exception)) == (
        "(sqlite3.IntegrityError) UNIQUE constraint failed: mugs.name\n"
        "[SQL: INSERT INTO mugs (name) VALUES (?)]"
    )


def test_message_after_a_failed_flush_has_the_original_without_values() -> None:
    exception = raised(use_after_a_failure)
    message = message_without_values(exception, str(exception))
    assert message.startswith("This Session's transaction has been rolled back due to")
    assert "(sqlite3.IntegrityError) UNIQUE constraint failed: mugs.name" in message
    assert "[SQL: INSERT INTO mugs (name) VALUES (?)" in message
    assert "7351" not in message


def test_message_of_an_autoflush_reports_it() -> None:
    exception = raised(flush_by_a_query)
    message = message_without_values(exception, str(exception))
    assert message.startswith("(raised as a result of Query-invoked autoflush")
    assert "(sqlite3.IntegrityError) UNIQUE constraint failed: mugs.name" in message


def test_message_with_hidden_parameters_stays_readable() -> None:
    error = sa.exc.IntegrityError(
        "SELECT 7351", {}, sqlite3.IntegrityError("failed"), hide_parameters=True
    )
    assert message_without_values(error, str(error)) == (
        "(sqlite3.IntegrityError) failed\n[SQL: SELECT ?]"
    )


def test_statement_in_a_message_is_read_by_the_rules_of_its_database() -> None:
    sqlite = sa.exc.DBAPIError('a = "7351"', {}, sqlite3.OperationalError("it"))
    assert message_without_values(sqlite, str(sqlite)).endswith("[SQL: a = ?]")
    asyncpg = pytest.importorskip("sqlalchemy.dialects.postgresql.asyncpg")
    failed = asyncpg.AsyncAdapt_asyncpg_dbapi.IntegrityError("it")
    postgresql = sa.exc.DBAPIError("SELECT \"a 1\", E'it\\'s'", {}, failed)
    message = message_without_values(postgresql, str(postgresql))
    assert message.endswith('[SQL: SELECT "a 1", ?]')


def test_chain_that_is_a_circle_is_looked_at_once() -> None:
    one, other = LookupError("one"), LookupError("other")
    one.__context__, other.__context__ = other, one
    assert not has_database_error(one)
    assert "other" in trace_of(one)


def test_the_last_of_a_thousand_in_a_group_is_looked_at() -> None:
    others: list[Exception] = [LookupError(str(number)) for number in range(1_000)]
    for place in (0, 500, 1_000):
        error = raised(insert_twice)
        assert isinstance(error, Exception)
        group = ExceptionGroup("many", [*others[:place], error, *others[place:]])
        assert has_database_error(group)


def test_the_start_of_a_long_chain_is_looked_at() -> None:
    last = raised(insert_twice)
    for number in range(1_000):
        another = LookupError(str(number))
        another.__context__ = last
        last = another
    assert has_database_error(last)


def test_exception_without_a_text_is_no_error_of_ours() -> None:
    class SpeechlessError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    exception = SpeechlessError()
    assert not has_database_error(exception)
    assert "SpeechlessError" in trace_of(exception)
