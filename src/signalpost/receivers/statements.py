"""Return the operation of a SQL statement, for logs, spans and metrics."""

from __future__ import annotations

import re
import typing as t
from contextvars import ContextVar

__all__ = ["OPERATIONS", "end_of_nested_comment", "is_further_part", "operation_of"]

OPERATIONS: t.Final = frozenset(
    (
        "ALTER",
        "ANALYZE",
        "BEGIN",
        "CALL",
        "CLOSE",
        "COMMIT",
        "COPY",
        "CREATE",
        "DECLARE",
        "DELETE",
        "DO",
        "DROP",
        "END",
        "EXECUTE",
        "EXPLAIN",
        "FETCH",
        "GRANT",
        "INSERT",
        "LISTEN",
        "LOAD",
        "LOCK",
        "MERGE",
        "NOTIFY",
        "PRAGMA",
        "PREPARE",
        "REFRESH",
        "RELEASE",
        "REPLACE",
        "REVOKE",
        "ROLLBACK",
        "SAVEPOINT",
        "SELECT",
        "SET",
        "SHOW",
        "START",
        "TRUNCATE",
        "UPDATE",
        "USE",
        "VACUUM",
        "VALUES",
        "WITH",
        "XA",
    )
)
"""The operations that are distinguished."""

is_further_part: ContextVar[bool] = ContextVar("is_further_part", default=False)
"""``True`` if the statement that is being sent is a further part of one ``INSERT`` of
many rows: SQLAlchemy splits it by a number of rows. The application has executed it
once."""

_MOST_SKIPPED = 65_536
"""How many characters may come before the first word. A hostile comment may be long."""

_WORD = r"([A-Za-z]{1,16})(?![\w$])"

# In addition to all spaces of Unicode, U+00A0 among it: SQL Server takes it, and a
# database that does not refuses the statement. Of ODBC's {call it()} the brace.
_EMPTY = r"[\s\ufeff;({]"

_first_word = re.compile(rf"{_EMPTY}*+{_WORD}")

# MySQL executes what is in /*!40101 such a comment */. Comments in it are skipped up to
# a length, because each of many could be read to the end of the text.
_executed_comment = re.compile(
    rf"/\*M?!(?:[0-9]{{5,6}})?+(?:{_EMPTY}++|(?:--|#)[^\n\r]{{0,199}}+[\n\r]"
    rf"|/\*(?!M?!)(?:[^/*]|\*(?!/)|/(?!\*)){{0,199}}+\*/){{0,9}}+{_WORD}"
)

_skipped = re.compile(rf"(?:{_EMPTY}++|(?:--|#)[^\n\r]*+)+")

_skipped_to_semicolon = re.compile(rf"(?:(?!;){_EMPTY}|(?:--|#)[^\n\r]*+)++")

_edge_of_comment = re.compile(r"/\*|\*/")


def operation_of(statement: str) -> str | None:
    r"""Return what a statement does: its first word, in capitals.

    It comes behind white space of any kind, a byte order mark, semicolons, comments
    (``--``, ``#`` of MySQL and ``/* */``, which may be nested) and opening brackets. A
    statement that begins with a common table expression is a ``WITH``, whatever it does
    with the tables: that is at the end of the text, which may be long.

    >>> operation_of("-- the shop's\nselect 1"), operation_of("(SELECT 1) UNION …")
    ('SELECT', 'SELECT')
    >>> operation_of("WITH new AS (…) INSERT INTO mugs SELECT * FROM new")
    'WITH'

    MySQL and MariaDB execute what is in ``/*! */``, MariaDB also what is in
    ``/*M! */``, and for other databases these are comments. A number after the ``!`` is
    the lowest version of the server that executes it; MariaDB executes no ``/*! */``
    with a number from 50700 to 99999. The text does not show which server reads it. So
    the first word in such a comment is the operation only if no other one is possible:
    if several such comments begin with different operations, or what follows them up to
    a semicolon does, it is ``None``.

    >>> operation_of("/*!40101 SET NAMES utf8 */"), operation_of("/*! SELECT */ 1")
    ('SET', 'SELECT')
    >>> operation_of("/*!80000 INSERT INTO mugs */ SELECT 1")

    Up to 65,536 characters are read.

    :param statement: The text.
    :returns: One of :data:`OPERATIONS`; ``None`` for any other, or if it depends on the
        server that executes the statement.
    """
    found = _first_word.match(statement, 0, _MOST_SKIPPED)
    if found is None:
        return _operation_after_comments(statement)
    return _known(found)


def _operation_after_comments(statement: str) -> str | None:
    start = 0
    is_nested = True
    # Of the comments that are a part of the statement for some servers.
    executed: str | None = None
    while start < _MOST_SKIPPED:
        start = _end_of_skipped(statement, start, executed)
        if not statement.startswith("/*", start):
            break
        operation = _of_comment(statement, start)
        if operation is not None and executed not in (operation, None):
            return None
        executed = executed or operation
        end = _end_of_comment(statement, start, is_nested=is_nested)
        if end is None and is_nested:
            # Not of a database that nests them. Once is enough for all of them, or
            # each of many would be read to the end of the text.
            is_nested = False
            end = _end_of_comment(statement, start, is_nested=False)
        if end is None:
            return executed
        start = end
    return _agreed(statement, start, executed)


def _end_of_skipped(statement: str, start: int, executed: str | None) -> int:
    # A statement that only some servers execute may end before the text does.
    pattern = _skipped if executed is None else _skipped_to_semicolon
    skipped = pattern.match(statement, start, _MOST_SKIPPED)
    return skipped.end() if skipped else start


def _of_comment(statement: str, start: int) -> str | None:
    """Return the operation of a comment that MySQL or MariaDB may execute."""
    found = _executed_comment.match(statement, start, _MOST_SKIPPED)
    return None if found is None else _known(found)


def _agreed(statement: str, start: int, executed: str | None) -> str | None:
    """Return the operation of the rest, unless comments have a different one."""
    if executed is not None and statement.startswith(";", start):
        return executed
    found = _first_word.match(statement, start, _MOST_SKIPPED)
    operation = None if found is None else _known(found)
    if operation is None or executed is None:
        return operation or executed
    return operation if operation == executed else None


def _end_of_comment(statement: str, start: int, *, is_nested: bool) -> int | None:
    """Return where a comment ends, or ``None`` if it does not."""
    if not is_nested:
        end = statement.find("*/", start + 2, _MOST_SKIPPED)
        return None if end < 0 else end + 2
    return end_of_nested_comment(statement, start, _MOST_SKIPPED)


def end_of_nested_comment(statement: str, start: int, stop: int) -> int | None:
    """Return where a comment with comments in it ends, or ``None`` if it does not.

    :param stop: Where to look no further.
    """
    depth = 0
    for edge in _edge_of_comment.finditer(statement, start, stop):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end()
    return None


def _known(found: re.Match[str]) -> str | None:
    word = found[1].upper()
    if word == "EXEC":
        word = "EXECUTE"
    return word if word in OPERATIONS else None
