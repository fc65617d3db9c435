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

# MySQL executes what is in /*! 40101 such a comment */.
_not_a_comment = re.compile(rf"/\*M?!\d*+{_EMPTY}*+{_WORD}")

_skipped = re.compile(rf"(?:{_EMPTY}++|(?:--|#)[^\n\r]*+)+")

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

    Up to 65,536 characters are read.

    :param statement: The text.
    :returns: One of :data:`OPERATIONS`; ``None`` for any other.
    """
    found = _first_word.match(statement, 0, _MOST_SKIPPED)
    if found is None:
        return _operation_after_comments(statement)
    return _known(found)


def _operation_after_comments(statement: str) -> str | None:
    start = 0
    is_nested = True
    while start < _MOST_SKIPPED:
        skipped = _skipped.match(statement, start, _MOST_SKIPPED)
        start = skipped.end() if skipped else start
        if not statement.startswith("/*", start):
            break
        executed = _not_a_comment.match(statement, start, _MOST_SKIPPED)
        if executed and (operation := _known(executed)):
            return operation
        end = _end_of_comment(statement, start, is_nested=is_nested)
        if end is None and is_nested:
            # Not of a database that nests them. Once is enough for all of them, or
            # each of many would be read to the end of the text.
            is_nested = False
            end = _end_of_comment(statement, start, is_nested=False)
        if end is None:
            return None
        start = end
    found = _first_word.match(statement, start, _MOST_SKIPPED)
    return None if found is None else _known(found)


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
