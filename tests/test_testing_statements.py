"""How many statements a block may execute, and what is reported."""

from __future__ import annotations

import asyncio
import threading
import unittest
from collections.abc import Generator
from pathlib import Path
from typing import Any

import flask
import jinja2
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.ext.asyncio import create_async_engine

from signalpost.errors import NotInstrumentedError
from signalpost.errors import SignalpostError
from signalpost.errors import TooManyStatementsError
from signalpost.integrations.flask import Signalpost
from signalpost.integrations.sqlalchemy import instrument
from signalpost.integrations.sqlalchemy import instrument_models
from signalpost.lifecycle import sql_executed
from signalpost.testing import capture
from signalpost.testing import max_statements
from signalpost.testing import restored

EVERY_MUG = sa.text("SELECT 1")


@pytest.fixture(autouse=True)
def nothing_is_instrumented() -> Generator[None]:
    followers = sql_executed.receiver_connected
    # Another test may have left an instrumentation of every engine.
    with restored(followers):
        followers.disconnect_all()
        yield


@pytest.fixture
def engine() -> Generator[sa.Engine]:
    engine = sa.create_engine(
        "sqlite://",
        poolclass=sa.StaticPool,
        connect_args={"check_same_thread": False},
    )
    with instrument(engine):
        yield engine
    engine.dispose()


@pytest.fixture
def connection(engine: sa.Engine) -> Generator[sa.Connection]:
    with engine.connect() as connection:
        yield connection


def execute(connection: sa.Connection, times: int, text: str = "SELECT 1") -> None:
    for _ in range(times):
        connection.execute(sa.text(text))


def message_of(limit: int, connection: sa.Connection, *texts: str) -> str:
    @max_statements(limit)
    def work() -> None:
        for text in texts:
            execute(connection, 1, text)

    with pytest.raises(TooManyStatementsError) as caught:
        work()
    return str(caught.value)


# What is counted


@pytest.mark.parametrize("number", [0, 1, 3])
def test_as_many_as_allowed_pass(connection: sa.Connection, number: int) -> None:
    with max_statements(3) as statements:
        execute(connection, number)
    assert len(statements) == number


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_one_more_fails(connection: sa.Connection, limit: int) -> None:
    with pytest.raises(TooManyStatementsError) as caught, max_statements(limit):
        execute(connection, limit + 1)
    assert str(caught.value).startswith(
        f"expected at most {limit} statement{'' if limit == 1 else 's'}, got"
        f" {limit + 1}\n"
    )
    assert caught.value.limit == limit
    assert len(caught.value.statements) == limit + 1
    assert isinstance(caught.value, AssertionError)


def test_statements_outside_the_block_do_not_count(connection: sa.Connection) -> None:
    execute(connection, 5)
    with max_statements(1):
        execute(connection, 1)
    execute(connection, 5)


def test_blocks_nest(connection: sa.Connection) -> None:
    with max_statements(3) as outer:
        execute(connection, 1)
        with max_statements(2) as inner:
            execute(connection, 2)
    assert len(outer) == 3
    assert len(inner) == 2


def test_block_may_be_opened_again(connection: sa.Connection) -> None:
    block = max_statements(1)
    for _ in range(2):
        with block:
            execute(connection, 1)


def test_failed_statement_counts(connection: sa.Connection) -> None:
    with max_statements(1) as statements, pytest.raises(sa.exc.OperationalError):
        execute(connection, 1, "SELECT nothing FROM nowhere")
    assert statements[0].text == "SELECT nothing FROM nowhere"


def test_statements_of_other_threads_count(engine: sa.Engine) -> None:
    def work() -> None:
        with engine.connect() as connection:
            execute(connection, 2)

    with max_statements(4) as statements:
        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
            thread.join()
    assert len(statements) == 4


def test_exception_of_the_block_goes_through(connection: sa.Connection) -> None:
    @max_statements(0)
    def work() -> None:
        execute(connection, 1)
        raise LookupError

    before = sql_executed.connections
    with pytest.raises(LookupError):
        work()
    assert sql_executed.connections == before


def test_decorated_function_is_limited_at_each_call(connection: sa.Connection) -> None:
    @max_statements(2)
    def work(times: int) -> int:
        execute(connection, times)
        return times

    assert [work(2), work(2)] == [2, 2]
    with pytest.raises(TooManyStatementsError):
        work(3)


def test_decorated_coroutine_function_is_limited_until_it_has_run(
    connection: sa.Connection,
) -> None:
    @max_statements(2)
    async def work(times: int) -> None:
        await asyncio.sleep(0)
        execute(connection, times)

    asyncio.run(work(2))
    with pytest.raises(TooManyStatementsError):
        asyncio.run(work(3))


# What is reported


def test_message_lists_statements_with_their_places(connection: sa.Connection) -> None:
    message = message_of(1, connection, "SELECT 1", "SELECT\n  2, 3")
    first, second = message.splitlines()[2::2]
    assert (first, second) == ("  1. SELECT 1", "  2. SELECT 2, 3")
    assert "repeated" not in message
    for line in message.splitlines()[3::2]:
        assert line.startswith(f"    at {__file__}:")
        assert line.endswith(":execute")


def test_message_lists_repeated_shapes_first(connection: sa.Connection) -> None:
    others = ["SELECT 1, 2", "SELECT 1, 2, 3"]
    repeated = "SELECT  1", "SELECT 2 -- the same but for its value"
    lines = message_of(1, connection, *repeated, *others).splitlines()
    assert lines[1:3] == ["repeated:", "  2 times: SELECT ?"]
    assert lines[4] == "statements:"


def test_message_lists_the_most_repeated_shape_first(
    connection: sa.Connection,
) -> None:
    texts = ["SELECT 1"] * 2 + ["SELECT 2, 3"] * 3
    lines = message_of(1, connection, *texts).splitlines()
    assert lines[2:5:2] == ["  3 times: SELECT ?, ?", "  2 times: SELECT ?"]


@pytest.mark.parametrize("lengths", [(1, 2), (3, 3), (5, 1)])
def test_lists_of_any_length_have_one_shape(
    connection: sa.Connection, lengths: tuple[int, int]
) -> None:
    select = sa.text("SELECT 1 WHERE 1 IN :ids").bindparams(
        sa.bindparam("ids", expanding=True)
    )
    with max_statements(2) as statements:
        for length in lengths:
            connection.execute(select, {"ids": [*range(length)]})
    assert {one.shape for one in statements} == {"SELECT ? WHERE ? IN (…)"}


def test_rows_of_an_insert_have_one_shape(connection: sa.Connection) -> None:
    mugs = sa.Table("mugs", sa.MetaData(), sa.Column("a", sa.Integer))
    mugs.create(connection)
    with max_statements(2) as statements:
        for number in (1, 3):
            rows = [{"a": one} for one in range(number)]
            connection.execute(sa.insert(mugs).values(rows))
    assert {one.shape for one in statements} == {"INSERT INTO mugs (a) VALUES (…)"}


def test_repeated_shape_of_several_places_names_one(connection: sa.Connection) -> None:
    @max_statements(0)
    def work() -> None:
        execute(connection, 2)
        connection.execute(EVERY_MUG)

    with pytest.raises(TooManyStatementsError) as caught:
        work()
    place = str(caught.value).splitlines()[3]
    assert place.endswith(":execute and 1 other place")


def test_message_is_bounded(connection: sa.Connection) -> None:
    long = "SELECT '" + "x" * 10_000 + "'"
    texts = [f"SELECT {number} -- {number}" for number in range(150)]
    message = message_of(1, connection, long, *texts)
    assert "  … 51 more are left out" in message
    assert "  100. SELECT 98" in message
    assert "  101. " not in message
    assert max(map(len, message.splitlines())) < 350


def test_message_has_one_line_for_a_statement(connection: sa.Connection) -> None:
    message = message_of(0, connection, "SELECT '\x1b[31m\u200f'")
    assert "  1. SELECT '\\x1b[31m\\u200f'" in message.splitlines()


def test_place_of_an_async_engine_is_the_coroutine() -> None:
    async def ask(connection: AsyncConnection) -> None:
        await connection.execute(EVERY_MUG)

    async def work() -> None:
        engine = create_async_engine("sqlite+aiosqlite://")
        with instrument(engine):
            async with engine.connect() as connection:
                with max_statements(1) as statements:
                    await ask(connection)
        await engine.dispose()
        places.extend(one.place for one in statements)

    places: list[str] = []
    asyncio.run(work())
    assert places[0].endswith("<locals>.ask")


@pytest.mark.parametrize("line", [1, 3])
def test_place_in_a_template_is_its_own_line(
    connection: sa.Connection, tmp_path: Path, line: int
) -> None:
    template = tmp_path / "mugs.html"
    template.write_text("\n" * (line - 1) + "{{ connection.execute(select).scalar() }}")
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(tmp_path))
    with max_statements(1) as statements:
        environment.get_template("mugs.html").render(
            connection=connection, select=EVERY_MUG
        )
    assert statements[0].place.startswith(f"{template}:{line}:")


def test_place_in_a_template_without_a_file_is_its_own_line(
    connection: sa.Connection,
) -> None:
    template = jinja2.Template("\n{{ connection.execute(select).scalar() }}")
    with max_statements(1) as statements:
        template.render(connection=connection, select=EVERY_MUG)
    assert statements[0].place.startswith("<template>:2:")


def test_place_leaves_out_code_that_was_made(connection: sa.Connection) -> None:
    found: dict[str, Any] = {"connection": connection, "select": EVERY_MUG}
    exec("def ask(): connection.execute(select)", found)
    with max_statements(1) as statements:
        found["ask"]()
    assert statements[0].place.startswith(f"{__file__}:")


def test_place_without_code_of_ours_is_a_dash(engine: sa.Engine) -> None:
    connection = engine.connect()
    with max_statements(1) as statements:
        thread = threading.Thread(target=connection.execute, args=(EVERY_MUG,))
        thread.start()
        thread.join()
    connection.close()
    assert [one.place for one in statements] == ["-"]


# Nothing is instrumented


@pytest.mark.parametrize("limit", [0, 3])
def test_block_that_cannot_count_is_an_error(limit: int) -> None:
    engine = sa.create_engine("sqlite://")
    message = r"call .*\binstrument\(\)"
    with (
        pytest.raises(NotInstrumentedError, match=message),
        max_statements(limit),
        engine.connect() as connection,
    ):
        execute(connection, limit + 1)
    engine.dispose()
    assert issubclass(NotInstrumentedError, SignalpostError)


def test_models_alone_are_no_instrumentation_of_engines() -> None:
    with (
        instrument_models(),
        pytest.raises(NotInstrumentedError),
        max_statements(1),
    ):
        pass


def test_undone_instrumentation_is_none() -> None:
    instrument().undo()
    with pytest.raises(NotInstrumentedError), max_statements(1):
        pass


def test_flask_extension_is_no_instrumentation() -> None:
    Signalpost(flask.Flask("shop"))
    with pytest.raises(NotInstrumentedError), max_statements(1):
        pass


def test_every_engine_may_be_instrumented_within_the_block() -> None:
    with max_statements(0), instrument():
        pass
    with instrument(), max_statements(0):
        pass
    with max_statements(0):
        instrumentation = instrument()
    instrumentation.undo()


def test_an_instrumentation_that_goes_on_within_the_block_counts() -> None:
    paused = instrument()
    paused.is_paused = True
    with pytest.raises(NotInstrumentedError), max_statements(0):
        pass
    with max_statements(0), instrument():
        pass
    resumed = instrument()
    resumed.is_paused = True
    with max_statements(0):
        resumed.is_paused = False
    resumed.undo()


def test_an_instrumentation_that_was_undone_is_not_begun_once_more() -> None:
    undone = instrument()
    with restored(sql_executed.receiver_connected):
        undone.undo()
    engine = sa.create_engine("sqlite://")
    with capture(sql_executed) as sent, engine.connect() as connection:
        connection.execute(sa.text("SELECT 1"))
    engine.dispose()
    undone.undo()
    assert len(sent) == 0


def test_earlier_instrumentation_does_not_count() -> None:
    block = max_statements(0)
    with block, instrument():
        pass
    with pytest.raises(NotInstrumentedError), block:
        pass


def test_exception_of_the_block_is_reported_rather() -> None:
    with pytest.raises(LookupError), max_statements(1):
        raise LookupError


def test_statement_of_another_source_counts() -> None:
    payload: dict[str, Any] = dict.fromkeys(sql_executed.payload or ())
    payload["statement"] = "SELECT 1"
    with max_statements(1) as statements:
        sql_executed.send("my driver", **payload)
    assert [one.text for one in statements] == ["SELECT 1"]


# What is no number


@pytest.mark.parametrize("wrong", [None, "3", 3.0, True, [3]])
def test_what_is_no_number_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"max_statements\(\) takes a number"):
        max_statements(wrong)


@pytest.mark.parametrize("wrong", [-1, -(10**9)])
def test_negative_number_is_refused(wrong: int) -> None:
    with pytest.raises(ValueError, match="from 0 up"):
        max_statements(wrong)


class OrdersTest(unittest.TestCase):
    """As a user of unittest writes it."""

    def setUp(self) -> None:
        self.engine = sa.create_engine("sqlite://")
        self.addCleanup(self.engine.dispose)
        self.enterContext(instrument(self.engine))

    @max_statements(1)
    def test_unittest_has_the_same(self) -> None:
        with self.engine.connect() as connection:
            execute(connection, 1)

    def test_unittest_reports_the_same(self) -> None:
        with (
            pytest.raises(AssertionError, match="at most 1 statement, got 2"),
            max_statements(1),
            self.engine.connect() as connection,
        ):
            execute(connection, 2)


def test_parts_of_one_insert_are_no_repetition(connection: sa.Connection) -> None:
    mugs = sa.Table("mugs", sa.MetaData(), sa.Column("a", sa.Integer))
    mugs.create(connection)
    rows = [{"a": number} for number in range(2_500)]
    with pytest.raises(TooManyStatementsError) as caught, max_statements(1):
        connection.execute(sa.insert(mugs).returning(mugs.c.a), rows)
    message = str(caught.value)
    assert message.startswith("expected at most 1 statement, got ")
    assert "repeated" not in message


def test_an_instrumentation_that_is_paused_counts_nothing() -> None:
    engine = sa.create_engine("sqlite://")
    instrumentation = instrument(engine)
    try:
        instrumentation.is_paused = True
        with (
            pytest.raises(NotInstrumentedError),
            max_statements(1),
            engine.connect() as connection,
        ):
            execute(connection, 2)
    finally:
        instrumentation.undo()
        engine.dispose()
