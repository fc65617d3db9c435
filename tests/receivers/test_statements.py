"""The operation and the parts of a statement's text."""

from __future__ import annotations

import typing as t

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from signalpost.receivers.statements import operation_of
from signalpost.receivers.statements import OPERATIONS
from tests.growth import grows_at_most

SPACES = [" ", "\t", "\n", "\r", "\r\n", "\f", "\v", "\x1f", "\x85", "\xa0", "\u3000"]


@pytest.mark.parametrize("space", SPACES, ids=ascii)
def test_operation_ends_at_white_space_of_any_kind(space: str) -> None:
    assert operation_of(f"select{space}1") == "SELECT"
    assert operation_of(f"WITH{space}one AS (SELECT 1) SELECT * FROM one") == "WITH"


@pytest.mark.parametrize("space", [*SPACES, " " * 60, "\ufeff", "\n" * 10_000])
def test_operation_comes_behind_white_space_of_any_kind(space: str) -> None:
    assert operation_of(f"{space}UPDATE mugs SET name = 'blue'") == "UPDATE"


@pytest.mark.parametrize(
    "before",
    [
        "/* x */ ",
        "/**/",
        "/*/ x */",
        "/* it's \" ` */",
        "/* a /* b */ c */ ",
        "/* a /* b /* c */*/*/",
        "/* a /* b */",
        "/*+ hint */",
        "/*! not known to MySQL */",
        "-- x\n",
        "--\n",
        "--x\r",
        "-- /* x\n",
        "# x\n",
        "#x\r\n",
        "/* -- */",
        "/* one */ /* two */\n-- three\n# four\n",
        "(",
        "((",
        "( /* x */ (\n",
        "{",
        ";",
        " ; ;\n",
        "\ufeff/* x */",
        "/*\n traceparent='00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' */",
        "/* " + "x" * 60_000 + " */",
    ],
    ids=lambda before: ascii(before[:20]),
)
@pytest.mark.parametrize("statement", ["SELECT 1", "insert INTO mugs", "Delete\nFROM"])
def test_operation_comes_behind_comments_and_brackets(
    before: str, statement: str
) -> None:
    assert operation_of(before + statement) == statement.split()[0].upper()


@pytest.mark.parametrize(
    ("statement", "operation"),
    [
        ("SELECT", "SELECT"),
        ("SELECT(1)", "SELECT"),
        ("SELECT*FROM mugs", "SELECT"),
        ("select/* x */1", "SELECT"),
        ("SELECT'blue'", "SELECT"),
        ("SELECT;", "SELECT"),
        ("WITH new AS (SELECT 1) INSERT INTO mugs SELECT * FROM new", "WITH"),
        ("VALUES (1), (2)", "VALUES"),
        ("SAVEPOINT sa_savepoint_1", "SAVEPOINT"),
        ("{call make_mug(?)}", "CALL"),
        ("EXEC make_mug 1", "EXECUTE"),
        # What asyncpg and MySQL execute as statements for two-phase commits.
        ("PREPARE TRANSACTION 'x'", "PREPARE"),
        ("COMMIT PREPARED 'x'", "COMMIT"),
        ("BEGIN", "BEGIN"),
        ("XA END %s", "XA"),
        ("/*!40101 SET NAMES utf8 */", "SET"),
        ("/*M!100100 SELECT */ 1", "SELECT"),
        ("/* SELECT */", None),
        ("/* SELECT", None),
        ("-- SELECT 1", None),
        ("-- SELECT 1\n", None),
        ("/* a /* b */ SELECT 1 /* c */", "SELECT"),
        ("SELECTED 1", None),
        ("SELECT_1", None),
        ("SELECT$1", None),
        ("SELECTé", None),
        ("\u017felect 1", None),
        ("1 SELECT", None),
        ("'SELECT 1'", None),
        (")SELECT 1", None),
        ("FROBNICATE all", None),
        ("", None),
        (" ", None),
        ("(", None),
        ("/", None),
        ("-", None),
    ],
)
def test_operation_is_the_first_word_if_it_is_known(
    statement: str, operation: str | None
) -> None:
    assert operation_of(statement) == operation


@given(st.text(alphabet="/*-#!;( \n\xa0SELECT'\"1", max_size=40))
def test_operation_of_any_text_is_a_known_one_or_none(statement: str) -> None:
    assert operation_of(statement) in {*OPERATIONS, None}


HOSTILE = [
    "/*",
    "/* ",
    "*/",
    "/**/",
    "/*/",
    "/*!",
    "/*! ",
    "/*!1",
    "-- ",
    "--\n",
    "#",
    "(",
    "( ",
    " ",
    "(/*",
    "/* /* */",
    "\xa0;",
    "x",
    "SELECT",
]


@pytest.mark.parametrize("part", HOSTILE)
def test_operation_of_a_hostile_statement_takes_bounded_time(part: str) -> None:
    short, long = part * (2_048 // len(part)), part * (2_000_000 // len(part))
    # To the bound it is 32 times as long, and without the bound a thousand times.
    assert grows_at_most(
        180, lambda: operation_of(short), lambda: operation_of(f"{long} SELECT 1")
    )


@pytest.mark.parametrize(
    ("statement", "operation"),
    [
        (sa.text("/* x */ SELECT 1"), "SELECT"),
        (sa.text("SELECT\n1"), "SELECT"),
        (sa.union(sa.select(sa.literal(1)), sa.select(sa.literal(2))), "SELECT"),
        (sa.select(sa.select(sa.literal(1)).cte("one")), "WITH"),
        (sa.insert(sa.table("mugs", sa.column("name"))).values(name="it"), "INSERT"),
        (sa.schema.CreateTable(sa.Table("mugs", sa.MetaData())), "CREATE"),
    ],
)
def test_operation_of_what_sqlalchemy_writes(statement: t.Any, operation: str) -> None:
    assert operation_of(str(statement.compile())) == operation
