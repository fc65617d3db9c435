"""The operation and the parts of a statement's text."""

from __future__ import annotations

import contextlib
import sqlite3
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
        ("/*!40101 SET NAMES utf8 */; INSERT INTO mugs VALUES (1)", "SET"),
        ("/*!40101 SET NAMES utf8 */ -- x\n /* y */ # z\n;SELECT 1", "SET"),
        ("/*!40101 SET NAMES utf8", "SET"),
        ("/*!50003 CREATE*/ /*!50020 DEFINER=me*/ /*!50003 TRIGGER new */", "CREATE"),
        ("/*!50100 ( */ SELECT 1 /*!50100 ) */", "SELECT"),
        ("/*! /* x */ SELECT */ 1", "SELECT"),
        ("/*!80000 -- x\n SELECT */ 1", "SELECT"),
        # A number of another length is no version.
        ("/*!4010 SELECT */ 1", None),
        ("/*!4010100 SELECT */ 1", None),
        ("/*m! SELECT */ 1", None),
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


@pytest.mark.parametrize(
    "statement",
    [
        "/*! INSERT INTO mugs */ SELECT 1",
        "/*!40101 INSERT INTO mugs */ SELECT 1",
        "/*!99999 INSERT */ SELECT 1",
        "/*!100100INSERT INTO mugs*/ SELECT 1",
        "/*M! INSERT INTO mugs */ SELECT 1",
        "/* x */ /*! INSERT INTO mugs */ -- y\n (SELECT 1)",
        "/*! /* x */ INSERT INTO mugs */ SELECT 1",
        "/*! -- x\n INSERT INTO mugs */ SELECT 1",
        "/*!40101 INSERT INTO mugs */ VALUES (1)",
        "/*!999999 INSERT INTO mugs */ /*!40101 SET NAMES utf8 */",
        "/*! INSERT INTO mugs */ /*! INSERT INTO mugs */ SELECT 1",
    ],
)
def test_operation_is_none_if_it_depends_on_the_server(statement: str) -> None:
    assert operation_of(statement) is None


def test_sqlite_takes_each_version_comment_for_a_comment() -> None:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        for version in ("", "40101", "99999", "100100"):
            for mark in ("!", "M!"):
                statement = f"/*{mark}{version} INSERT INTO mugs */ SELECT 1"
                assert connection.execute(statement).fetchall() == [(1,)]
                assert operation_of(statement) is None
                same = statement.replace("INSERT INTO mugs", "SELECT")
                assert connection.execute(same).fetchall() == [(1,)]
                assert operation_of(same) == "SELECT"


PARTS = ["/*!", "/*M!", "/*", "*/", "40101", "9", "--", "#", "\n", " ", ";", "("]


@given(
    st.lists(st.sampled_from([*PARTS, "SELECT", "INSERT", "mugs", "'"])).map("".join)
)
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
    "/*!/**/",
    "/*! */",
    "/*!SET*/",
    "/*!/*x*/",
    "/*!#*/",
    "/*!--x\n",
    "/*!40101 /* */ ",
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
