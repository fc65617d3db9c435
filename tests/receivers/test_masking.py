"""The hidden parts of a statement, by the rules of each database."""

from __future__ import annotations

import gc
import itertools
import sqlite3
import tracemalloc
import typing as t
from contextlib import closing

import pytest
import sqlalchemy as sa
from hypothesis import example
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import mssql
from sqlalchemy.dialects import mysql
from sqlalchemy.dialects import oracle
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects import sqlite
from sqlparse import lexer
from sqlparse import tokens as kinds

from signalpost.receivers.masking import LONGEST_READ
from signalpost.receivers.masking import masked
from signalpost.receivers.masking import shape_of
from signalpost.receivers.statements import operation_of
from tests.growth import grows_at_most
from tests.receivers.accepted import shown_values

DIALECTS = ["postgresql", "mysql", "mariadb", "sqlite", "oracle", "mssql"]
STRICT = ["postgresql", "oracle", "mssql"]
"""Those to which text in double quotation marks is never a string."""


class Dialect:
    def __init__(self, name: object) -> None:
        self.name = name


class Engine:
    """The part of an engine that has the name of its database."""

    def __init__(self, name: object) -> None:
        self.dialect = Dialect(name)


def shown(statement: str, dialect: str = "") -> str:
    return masked(statement, Engine(dialect))


@pytest.mark.parametrize("dialect", [*DIALECTS, ""])
@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SELECT 1", "SELECT ?"),
        ("SELECT 'blue'", "SELECT ?"),
        ("SELECT ''", "SELECT ?"),
        ("SELECT 'it''s', 7", "SELECT ?, ?"),
        ("SELECT '''', ''''''", "SELECT ?, ?"),
        ("SELECT 'a\n  b'", "SELECT ?"),
        ("SELECT 'a -- b', 'c /* d', 'e'", "SELECT ?, ?, ?"),
        ("SELECT 'never closed", "SELECT ?"),
        ("SELECT N'blue', x'FF', B'01', U&'d'", "SELECT ?, ?, ?, ?"),
        ("SELECT foo'blue'", "SELECT foo?"),
        ("SELECT DATE '2026-01-01'", "SELECT DATE ?"),
        ("SELECT 1.5, .5, 5., 1e9, 1.5E-3, 0xFF, 1_000", "SELECT ?, ?, ?, ?, ?, ?, ?"),
        ("a=1 AND b<2", "a=? AND b<?"),
        ("a = -5 AND b>-5 AND c IN (-1,- 2)", "a = ? AND b>? AND c IN (?,?)"),
        ("a - 5", "a - ?"),
        ("a-5", "a-?"),
        ("LIMIT 10 OFFSET 20", "LIMIT ? OFFSET ?"),
        ("t1.c2, _3, a$4, é5", "t1.c2, _3, a$4, é5"),
        ("sa_savepoint_1", "sa_savepoint_1"),
        ("a = ? AND b = %s AND c = %(c_1)s", "a = ? AND b = %s AND c = %(c_1)s"),
        ("a = :name_1 AND b = $1::INTEGER", "a = :name_1 AND b = $1::INTEGER"),
        ("a = ?1 AND b = @p1", "a = ?1 AND b = @p1"),
        ("a = :1", "a = :?"),
        ("NULL, TRUE, CURRENT_DATE", "NULL, TRUE, CURRENT_DATE"),
        ("SELECT 1 /* it's 7 */, 2", "SELECT ? , ?"),
        ("SELECT 1 -- it's 7\n, 2", "SELECT ? , ?"),
        ("SELECT 1 -- it's 7", "SELECT ?"),
        ("SELECT 1 /* never closed 7", "SELECT ?"),
        ("SELECT\n\t a ,\r\n b", "SELECT a , b"),
        ("a / b * c - d + e . f", "a / b * c - d + e . f"),
        ("", ""),
    ],
)
def test_values_are_hidden_and_all_else_is_shown(
    dialect: str, statement: str, expected: str
) -> None:
    assert shown(statement, dialect) == expected


@pytest.mark.parametrize(
    ("dialect", "statement", "expected"),
    [
        ("postgresql", 'SELECT "quoted 1", 1', 'SELECT "quoted 1", ?'),
        ("postgresql", "SELECT \"it's\", 'x'", 'SELECT "it\'s", ?'),
        ("postgresql", 'SELECT "a""b"', 'SELECT "a""b"'),
        ("postgresql", 'SELECT "never closed', "SELECT ? …"),
        ("postgresql", r"SELECT E'it\'s', 1", "SELECT ?, ?"),
        ("postgresql", r"SELECT e'\\', 'x'", "SELECT ?, ?"),
        ("postgresql", "SELECT E'\\", "SELECT ?"),
        ("postgresql", r"SELECT 'C:\', 'x'", "SELECT ? …"),
        ("postgresql", r"SELECT 'C:\\', 'x'", "SELECT ?, ?"),
        ("postgresql", r"SELECT 'C:\d', a", "SELECT ?, a"),
        ("postgresql", "SELECT $$it's$$, a", "SELECT ?, a"),
        ("postgresql", "SELECT $x$ $$ $y$ ' $x$, a", "SELECT ?, a"),
        ("postgresql", "SELECT $é1$x$é1$, a", "SELECT ?, a"),
        ("postgresql", "SELECT $$never closed", "SELECT ?"),
        ("postgresql", "SELECT a$b$c, d$b$, 'x'", "SELECT a$b$c, d$b$, ?"),
        ("postgresql", "SELECT /* a /* b */ 'c */ 1", "SELECT ?"),
        ("postgresql", "SELECT a #> '{b}', a # 5", "SELECT a #> ?, a # ?"),
        ("postgresql", "SELECT a[1], ARRAY['x']", "SELECT a[?], ARRAY[?]"),
        ("postgresql", "SELECT 1 -- x\r, 'y'", "SELECT ? , ?"),
        ("cockroachdb", 'SELECT "a", $$x$$', 'SELECT "a", ?'),
        ("mysql", 'SELECT "it\'s", `a 1`', "SELECT ?, `a 1`"),
        ("mysql", "SELECT `it's`, 'x'", "SELECT `it's`, ?"),
        ("mysql", r"SELECT 'it\'s', a", "SELECT ? …"),
        ("mysql", r"SELECT 'it\\', a", "SELECT ?, a"),
        ("mysql", r'SELECT "it\"s", a', "SELECT ? …"),
        ("mysql", 'SELECT "a""b", a."b"', 'SELECT ?, a."b"'),
        ("mysql", "SELECT 1 # it's\n, a", "SELECT ? , a"),
        ("mysql", "SELECT 5--'x', a", "SELECT ?--?, a"),
        ("mysql", "SELECT 5--\n'x', a", "SELECT ? ?, a"),
        ("mysql", "SELECT `never closed", "SELECT ? …"),
        ("mysql", "SELECT /* a /* b */ a", "SELECT a"),
        ("mysql", "SELECT $$, 'x'", "SELECT $$, ?"),
        # MySQL executes the first two, where a string may have the end of a comment.
        ("mysql", "SELECT /*! 'a*/b' */, c", "SELECT ? …"),
        ("mysql", "SELECT /*!40101 a /* b */ 'c' */ 'd'", "SELECT ? …"),
        ("mysql", "SELECT /*!99999 it's */ 'b'", "SELECT ? …"),
        ("mysql", "SELECT /*! STRAIGHT_JOIN - * / */ a", "SELECT a"),
        ("mysql", "SELECT 1 --\x01it's\n, 'b'", "SELECT ? , ?"),
        ("sqlite", 'WHERE a = "blue"', "WHERE a = ?"),
        ("sqlite", 'SELECT "a"."b 1" FROM "c"', 'SELECT "a"."b 1" FROM "c"'),
        (
            "sqlite",
            'INSERT INTO "order" VALUES ("a")',
            'INSERT INTO "order" VALUES (?)',
        ),
        ("sqlite", 'a IS DISTINCT FROM "blue"', "a IS DISTINCT FROM ?"),
        ("sqlite", "SELECT [it's], `it's`, 'x'", "SELECT [it's], `it's`, ?"),
        ("sqlite", r"SELECT 'C:\', 'x'", "SELECT ?, ?"),
        ("sqlite", "SELECT /* a /* b */ a", "SELECT a"),
        ("oracle", "SELECT q'[it's]', nq'!it's!', a", "SELECT ?, ?, a"),
        ("oracle", "SELECT q'[never closed]", "SELECT ?"),
        ("oracle", 'SELECT "quoted 1" FROM dual', 'SELECT "quoted 1" FROM dual'),
        ("mssql", "SELECT [it's 1], N'x', [a]]b]", "SELECT [it's 1], ?, [a]]b]"),
        ("mssql", 'SELECT "quoted 1", #temp1', 'SELECT "quoted 1", #temp1'),
        ("mssql", "SELECT /* a /* b */ 'c */ 1", "SELECT ?"),
        ("", 'SELECT "blue", a."b"', 'SELECT ?, a."b"'),
        ("", r"SELECT 'it\'s', a", "SELECT ? …"),
        ("", "SELECT E'blue', a", "SELECT ? …"),
        ("", "SELECT q'[it's]', a", "SELECT ? …"),
        ("", "SELECT a # it's\n, 'x'", "SELECT a ? …"),
        ("", "SELECT 5--'x', a", "SELECT ?? …"),
        ("", "SELECT 5 --\n'x\ny', a", "SELECT ? ?, a"),
        ("", "SELECT 5 --\r\n'x\ny', a", "SELECT ? ?, a"),
        ("", "SELECT 5 -- it's\t\n'x'", "SELECT ? ?"),
        ("", "SELECT 5 --\xa0\n'x'", "SELECT ? ? …"),
        ("", "SELECT /*! 'a*/b' */, c", "SELECT ? …"),
        ("", "SELECT 1 $a$$a, 'x $a$ y', b", "SELECT ? ? …"),
        ("", "SELECT /* a /* b */ a", "SELECT ? …"),
        ("", "SELECT [it's], 'x'", "SELECT ? …"),
        ("", "SELECT a[1]", "SELECT a[?]"),
        ("unknown", 'SELECT "blue"', "SELECT ?"),
    ],
)
def test_each_database_has_its_own_rules(
    dialect: str, statement: str, expected: str
) -> None:
    assert shown(statement, dialect) == expected


@pytest.mark.parametrize("engine", ["an engine", None, Engine(None), Engine([])])
def test_what_is_no_engine_is_of_no_database(engine: object) -> None:
    assert masked('SELECT "blue", 1', engine) == "SELECT ?, ?"


# Statements of each database, with secrets in all that may hold one.

SECRET = "Zq7351"
NAME = "Kept1"

inner = st.text(alphabet="ab '\"`$#-/*[](){}\n\r\\;:?%|é", max_size=8)


@st.composite
def content(draw: st.DrawFn, without: str = "") -> str:
    """Return text around a secret."""
    text = draw(inner) + SECRET + draw(inner)
    for one in without:
        text = text.replace(one, "")
    return text


def quoted(text: str, mark: str = "'") -> str:
    return mark + text.replace(mark, mark * 2) + mark


def standard_string(text: str) -> str:
    return quoted(text)


def escaped(text: str, mark: str) -> str:
    for one in ("\\", mark):
        text = text.replace(one, "\\" + one)
    return mark + text + mark


def of_comment(text: str) -> str:
    return text.replace("*/", "").replace("/*", "").strip("/*")


numbers = st.sampled_from(["7351", "-7351", "1.7351", "7351e-7351", ".7351", "0x7351"])
block_comments = content().map(lambda text: f"/*{of_comment(text)}*/")
nested_comments = content().map(
    lambda text: f"/* {of_comment(text)} /* {of_comment(text)} */ it's {SECRET} */"
)
line_comments = content("\n\r").map(lambda text: f"-- {text}\n")
neutral = st.sampled_from(
    ["SELECT", "t1.c2", "(", ")", ",", "=", "a - b", "NULL", "e", "q", "\n"]
)
common = [neutral, numbers, block_comments, line_comments]

plain_strings = content("\\").map(standard_string)
any_strings = content().map(standard_string)
double_names = content("\"\\Zq7351\n\r'").map(lambda text: f'"{text}{NAME}"')
names_with_a_quote = st.just(f'"it\'s {NAME}"')

PIECES: dict[str, list[st.SearchStrategy[str]]] = {
    "postgresql": [
        *common,
        any_strings,
        nested_comments,
        content().map(lambda text: "E" + escaped(text, "'")),
        content("$").map(lambda text: f"$a${text}$a$"),
        content("$").map(lambda text: f"$${text}$$"),
        names_with_a_quote,
        st.sampled_from(["$1", "%(a_1)s", "a #>", "a[b]"]),
    ],
    "mysql": [
        *common,
        content().map(lambda text: escaped(text, "'")),
        content().map(lambda text: escaped(text, '"')),
        plain_strings,
        content("\\").map(lambda text: quoted(text, '"')),
        content("\n").map(lambda text: f"#{text}\n"),
        st.just(f"`it's {NAME}`"),
        st.sampled_from(["%s", "/* /* */"]),
    ],
    "sqlite": [
        *common,
        any_strings,
        content().map(lambda text: "= " + quoted(text, '"')),
        st.sampled_from([f"`it's {NAME}`", f"[it's {NAME}]", f'"it\'s {NAME}".a']),
        st.sampled_from(["?", "?1", ":a_1", "/* /* */"]),
    ],
    "oracle": [
        *common,
        any_strings,
        content("]").map(lambda text: f"q'[{text}]'"),
        content("!").map(lambda text: f"nQ'!{text}!'"),
        names_with_a_quote,
        st.sampled_from([":a_1", "/* /* */"]),
    ],
    "mssql": [
        *common,
        any_strings,
        nested_comments,
        any_strings.map(lambda text: "N" + text),
        names_with_a_quote,
        st.sampled_from([f"[it's {NAME}]", "#t1", "@p1"]),
    ],
}


def statements(dialect: str) -> st.SearchStrategy[str]:
    pieces = st.lists(st.one_of(PIECES[dialect]), max_size=8)
    return pieces.map(" ".join)


@pytest.mark.parametrize("dialect", sorted(PIECES))
@given(data=st.data())
def test_no_value_of_any_statement_is_shown(dialect: str, data: st.DataObject) -> None:
    statement = data.draw(statements(dialect))
    assert "7351" not in shown(statement, dialect)
    assert "7351" not in shape_of(statement, Engine(dialect))


@pytest.mark.parametrize("dialect", sorted(PIECES))
@given(data=st.data())
def test_no_value_is_shown_though_the_database_is_not_known(
    dialect: str, data: st.DataObject
) -> None:
    assert "7351" not in shown(data.draw(statements(dialect)))


@pytest.mark.parametrize("dialect", sorted(PIECES))
@given(data=st.data())
def test_every_name_is_shown_unless_the_rest_is_in_doubt(
    dialect: str, data: st.DataObject
) -> None:
    statement = data.draw(statements(dialect))
    text = shown(statement, dialect)
    if not text.endswith("…"):
        assert text.count(NAME) == statement.count(NAME)


# Compared with a common tokenizer.

words = st.sampled_from(
    [
        "SELECT",
        "FROM",
        "mugs",
        "t1",
        "c2.d3",
        "=",
        "<",
        "(",
        ")",
        ",",
        "*",
        "AND",
        "a_4",
    ]
)
literals = st.sampled_from(
    ["1", "17", "2.5", "1e9", "0xFF", "'blue'", "'it''s'", "''", "'a -- b'", "'a\nb'"]
)
comments = st.sampled_from(["/* it */", "-- it\n", "/* it's */", "-- it's\n"])
names = st.sampled_from(['"quoted 1"', '"it\'s"', '"a"."b 2"'])
holders = st.sampled_from(["?", ":name_1", "%s", "%(name_1)s"])


def hidden_by_sqlparse(statement: str) -> str:
    """Return a statement with ``?`` for what sqlparse finds to be a value."""
    parts = []
    tokenize: t.Any = lexer.tokenize
    for kind, text in tokenize(statement):
        if kind in kinds.Comment:
            parts.append(" ")
        elif kind in kinds.Literal and kind not in kinds.String.Symbol:
            parts.append("?")
        else:
            parts.append(text)
    return " ".join("".join(parts).split())


@pytest.mark.parametrize("dialect", STRICT)
@given(st.lists(st.one_of(words, literals, comments, names, holders)).map(" ".join))
@example("SELECT 1 , 'a' /* b */ \"c 1\" -- d\n ?")
def test_the_same_is_hidden_as_by_sqlparse(dialect: str, statement: str) -> None:
    assert shown(statement, dialect) == hidden_by_sqlparse(statement)


# What SQLAlchemy writes into a statement itself.

mugs = sa.table("mugs", sa.column("id", sa.Integer), sa.column("name", sa.String))


@pytest.mark.parametrize("module", [postgresql, mysql, sqlite, oracle, mssql])
@pytest.mark.parametrize(
    "statement",
    [
        sa.select(mugs).where(mugs.c.name == sa.literal("7351", literal_execute=True)),
        sa.select(mugs).where(mugs.c.name.in_(["7351", "it's 7351", "\\' 7351"])),
        sa.select(mugs).where(mugs.c.id.in_([7351, -7351])),
        sa.insert(mugs).values(id=7351, name="7351\\"),
        sa.select(mugs, sa.literal_column("'7351'")).limit(7351),
    ],
)
def test_values_that_sqlalchemy_writes_are_hidden(
    module: t.Any, statement: t.Any
) -> None:
    dialect = module.dialect()
    options = {"literal_binds": True}
    text = str(statement.compile(dialect=dialect, compile_kwargs=options))
    assert "7351" in text
    assert "7351" not in shown(text, dialect.name)
    assert "7351" not in shown(text)
    assert "mugs" in shown(text, dialect.name)


# Lists, and bounds.


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a IN (1, 2)", "a IN (3)"),
        ("a IN ('x', 'y''z')", "a IN ('x')"),
        ("a IN (?, ?)", "a IN (?)"),
        ("a IN (%(a_1)s, %(a_2)s)", "a IN (%(a_1)s)"),
        ("a IN (:a_1, :a_2)", "a IN (:a_1)"),
        ("a IN (:1, :2)", "a IN (:1)"),
        ("a IN (@p1, @p2)", "a IN (@p1)"),
        ("a IN ($1::INTEGER, $2::INTEGER)", "a IN ($1::INTEGER)"),
        ("a IN (NULL, 1)", "a IN (2, NULL)"),
        ("a = ANY(ARRAY[1, 2])", "a = ANY(ARRAY[1])"),
        ("VALUES (1, 2), (3, 4)", "VALUES (1, 2)"),
        ("VALUES (?, ?),(?, ?),(?, ?)", "VALUES (?, ?)"),
        ("(a, b) IN ((1, 2), (3, 4))", "(a, b) IN ((1, 2))"),
        ("a = 1", "a = -2.5"),
        ("a = 'x'", "a = ''"),
        ("SELECT 1 /* traceparent='00-1' */", "SELECT 1 /* traceparent='00-2' */"),
        ("SELECT 1 -- one", "SELECT  1\n"),
    ],
)
def test_lists_values_comments_and_blanks_make_no_other_shape(
    one: str, other: str
) -> None:
    assert shape_of(one) == shape_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SELECT a", "SELECT b"),
        ("SELECT t1", "SELECT t2"),
        ("SELECT a FROM b", "SELECT a FROM b WHERE c = 1"),
        ("f(a, 1)", "f(b, 1)"),
    ],
)
def test_other_names_make_another_shape(one: str, other: str) -> None:
    assert shape_of(one) != shape_of(other)


def test_a_long_statement_is_read_to_a_bound() -> None:
    statement = "SELECT " + "a, " * 1_000_000
    assert len(masked(statement)) <= LONGEST_READ
    cut_within = "SELECT " + " " * (LONGEST_READ - 10) + "'Zq7351'"
    assert masked(cut_within) == "SELECT ?"


ACCEPTED_BY_ALL = [
    f"SELECT '{SECRET}'",
    f"SELECT 'a' || '{SECRET}', 2",
    f"SELECT /* c */ '{SECRET}' -- x\n, 2",
    f"SELECT 1 --\n, '{SECRET}' AS \"a\"",
    f"SELECT 5 AS a WHERE '{SECRET}' = '{SECRET}' AND 1.5e3 > -.5",
]


def test_no_value_that_sqlite_returns_is_shown() -> None:
    seeds = [
        *ACCEPTED_BY_ALL,
        f'SELECT "{SECRET}"',
        f"SELECT [a], `a`, '{SECRET}' FROM (SELECT 1 AS a)",
        f'SELECT "a"."b", \'{SECRET}\' FROM (SELECT 1 AS b) AS "a"',
    ]
    with closing(sqlite3.connect(":memory:")) as connection:

        def returned(statement: str) -> str:
            return repr(connection.execute(statement).fetchall())

        assert shown_values(returned, ("sqlite", ""), seeds, 60_000) == []


HOSTILE = [
    *("'", '"', "`", "[", "]", "(", "$", "$a$", "$$", "/*", "*/", "/**/", "--", "- "),
    *("#", "\\", "\\'", "''", "E'", "E'\\", "q'[", "N'a", "1", "1e-", "-1", "= -", "."),
    *('"a".', 'FROM "', "(1,", "(1),", "(?", "(?,?),", "a.", "a$", "é", "\n", "--\n"),
]


@pytest.mark.parametrize("dialect", [*DIALECTS, ""])
@pytest.mark.parametrize("part", HOSTILE)
def test_hostile_statements_take_linear_time(part: str, dialect: str) -> None:
    numbers = itertools.count()

    def read(length: int) -> None:
        # Another one each time, as the last one is kept.
        statement = f"x{next(numbers)} {part * (length // len(part))}"
        shape_of(statement[:length], Engine(dialect))

    assert grows_at_most(100, lambda: read(500), lambda: read(10_000))


@pytest.mark.parametrize("function", [masked, shape_of, operation_of])
def test_what_is_kept_of_many_long_statements_is_bounded(
    function: t.Callable[[str], object],
) -> None:
    tracemalloc.start()
    try:
        for number in range(600):
            function(f"SELECT {number}, a{number} " + "é" * 100_000)
        gc.collect()
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Of 60 million characters.
    assert kept_bytes < 10_000_000


def test_what_is_kept_of_many_short_statements_is_bounded() -> None:
    tracemalloc.start()
    try:
        for number in range(30_000):
            shape_of(f"SELECT a{number}, '{number}', {'b, ' * 30} c FROM t")
        gc.collect()
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept_bytes < 10_000_000
