"""Statements without the values in them, so that they can be shown."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping

from .._options import checked_truth
from .statements import end_of_nested_comment

__all__ = ["LONGEST_READ", "checked_with_values", "masked", "masked_for", "shape_of"]

LONGEST_READ: t.Final = 10_000
"""How many characters of a statement are read. Further ones are not shown."""

# Parts of patterns. Each ends at the end of the text at the latest, so that it needs no
# second attempt, and the time is linear in the length of any text. Possessive are only
# quantifiers of single characters: with groups, Python before 3.11.5 may fail.

# Text that is neither a value nor a quoted name: words, placeholders, and signs that
# begin nothing. Words that are the prefix of a string are excluded.
_PLAIN = (
    r"(?:[^\w'\"$/#`\[.?+-]++"
    r"|(?!(?:[NnBbXxEe]|[Uu]&|[Nn]?[Qq])')[^\W\d][\w$]*+"
    r"|[$?]\d++|\$(?!\w*\$)|\?"
    r"|[+-](?![+-]|\s?\.?\d)|/(?!\*)|\.(?!\d))*"
)

_NAME = r"(?P<name>%s)"
_COMMENT = r"(?P<comment>%s)"
_IN_DOUBT = r"(?P<doubt>%s)"

# N'…', B'…', X'…' and U&'…' are values with a prefix.
_PREFIX = r"(?:[NnBbXx]|[Uu]&)?"
_STRING = _PREFIX + r"'(?:[^']++|'')*(?:'|\Z)"
_ESCAPED_STRING = r"[Ee]'(?:[^'\\]++|''|\\.|\\\Z)*(?:'|\Z)"
# A quotation mark behind a backslash may end the string, or not: that is a setting.
_DOUBTFUL_STRING = (
    _PREFIX + r"'(?:[^'\\]++|''|\\\\|\\(?!['\\]))*(?:'|\Z|(?P<rest>\\'.*+))"
)
_DOUBTFUL_DOUBLE = r'"(?:[^"\\]++|""|\\\\|\\(?!["\\]))*(?:"|\Z|(?P<more>\\".*+))'
_DOLLARS = r"\$(?P<tag>\w*+)\$.*?(?:\$(?P=tag)\$|\Z)"
# q'[it's]', where each opening bracket has its own end.
_ORACLE_STRING = (
    r"[Nn]?[Qq]'(?:\[.*?(?:\]'|\Z)|\{.*?(?:\}'|\Z)|\(.*?(?:\)'|\Z)|<.*?(?:>'|\Z)"
    r"|(?P<mark>[^\s\[{(<]).*?(?:(?P=mark)'|\Z))"
)
_NUMBER = (
    r"(?:(?:(?<=[=<>(,])|(?<=[=<>(,]\s))[-+]\s?)?"
    r"\.?\d[\w.$]*+(?:(?<=[eE])[-+]\d[\w.]*+)?"
)

_DOUBLE_NAME = _NAME % r'"(?:[^"]++|"")*"'
# Of a database that takes "text" for a string, too.
_QUALIFIED_NAME = _NAME % r'(?<=\.)"[^"\\]*+"|"[^"\\]*+"(?=\.)'
_TABLE_NAME = _NAME % (
    r"(?:(?<=\.)|(?<=\b(?i:FROM|JOIN|INTO)\s)(?<!\b(?i:DISTINCT)\s(?i:FROM)\s)"
    r'|(?<=\b(?i:TABLE)\s)|(?<=\b(?i:UPDATE)\s))"[^"]*+"|"[^"]*+"(?=\.)'
)
_BACKTICKS = _NAME % r"`(?:[^`]++|``)*`"

_BLOCK = _COMMENT % r"/\*.*?(?:\*/|\Z)"
_NESTED_BLOCK = r"(?P<nested>/\*)"
_LINE = _COMMENT % r"--[^\n]*+"


def _pattern(*parts: str) -> re.Pattern[str]:
    # A group has a name that no other has: name, name_1 and so on.
    counts: dict[str, int] = {}

    def numbered(found: re.Match[str]) -> str:
        count = counts[found[1]] = counts.get(found[1], -1) + 1
        return f"(?P<{found[1]}_{count}>" if count else found[0]

    values = re.sub(r"\(\?P<(name|comment)>", numbered, "|".join((*parts, _NUMBER)))
    end = r"(?P<other>.)|(?P<end>\Z)"
    return re.compile(rf"(?P<plain>{_PLAIN})(?:{values}|{end})", re.DOTALL)


_POSTGRESQL = _pattern(
    _ESCAPED_STRING,
    _DOUBTFUL_STRING,
    _DOLLARS,
    _DOUBLE_NAME,
    _NESTED_BLOCK,
    _COMMENT % r"--[^\n\r]*+",
    _IN_DOUBT % r'".*+',
)
_MYSQL = _pattern(
    _DOUBTFUL_STRING,
    _QUALIFIED_NAME,
    _DOUBTFUL_DOUBLE,
    _BACKTICKS,
    # MySQL executes what is in /*! such a comment */, unless it is for a later version.
    # Both end it in the same place if nothing in it has its own end.
    _COMMENT % r"/\*M?!(?:[^'\"`#/*-]++|\*(?!/)|/(?!\*)|-(?!-))*+\*/",
    _IN_DOUBT % r"(?:`|/\*M?!).*+",
    _BLOCK,
    _COMMENT % r"(?:#|--(?=[\x00-\x20\x7f]|\Z))[^\n]*+",
)
_SQLITE = _pattern(
    _STRING,
    _TABLE_NAME,
    r'"(?:[^"]++|"")*(?:"|\Z)',
    _BACKTICKS,
    _NAME % r"\[[^\]]*+\]",
    _BLOCK,
    _LINE,
    _IN_DOUBT % r"[`\[].*+",
)
_ORACLE = _pattern(
    _ORACLE_STRING, _STRING, _DOUBLE_NAME, _BLOCK, _LINE, _IN_DOUBT % r'".*+'
)
_MSSQL = _pattern(
    _STRING,
    _DOUBLE_NAME,
    _NAME % r"\[(?:[^\]]++|\]\])*\]",
    _NESTED_BLOCK,
    _LINE,
    _IN_DOUBT % r'["\[].*+',
)
_UNKNOWN = _pattern(
    _IN_DOUBT % r"(?:(?:[Ee]|[Nn]?[Qq])'|/\*M?!|/\*[^*/]*+/\*|\$\w*+\$|#|`[^`]*+\Z"
    r"|\[[^\]\['\"`]*+['\"`]).*+",
    _DOUBTFUL_STRING,
    _QUALIFIED_NAME,
    _DOUBTFUL_DOUBLE,
    _BACKTICKS,
    _COMMENT % r"/\*(?:[^/*]++|\*(?!/)|/(?!\*))*(?:\*/|\Z)",
    _COMMENT % r"--(?:[ \t][^\n\r]*+)?(?=\r?\n|\Z)",
    r"(?P<dashes>(?:/\*|--).*+)",
)

_BY_DIALECT: Mapping[str, re.Pattern[str]] = {
    "cockroachdb": _POSTGRESQL,
    "mariadb": _MYSQL,
    "mssql": _MSSQL,
    "mysql": _MYSQL,
    "oracle": _ORACLE,
    "postgresql": _POSTGRESQL,
    "redshift": _POSTGRESQL,
    "sqlite": _SQLITE,
}


class _Cache(dict[tuple[str, str], str]):
    """Texts that were made of statements, until they are too long together."""

    _most_characters: t.ClassVar = 1_000_000

    def __init__(self) -> None:
        super().__init__()
        self._characters = 0

    def keep(self, key: tuple[str, str], text: str) -> None:
        """Keep a text. Two threads at once may count wrong, by a statement's length."""
        self._characters += len(key[1]) + len(text)
        if self._characters > self._most_characters:
            self.clear()
            self._characters = len(key[1]) + len(text)
        self[key] = text


_masked = _Cache()
_shapes = _Cache()


def masked(statement: str, engine: object = None) -> str:
    """Return a statement on one line, with ``?`` for each value that is in its text.

    Values are strings and numbers; placeholders stay. Comments are left
    out, as they may have values in them, too, such as the id of a trace. Names stay,
    also with digits in them or between quotation marks. It depends on the database, and
    on its settings, which text is a string and which is a name. In doubt, all that may
    be a value is hidden, up to the end of the text if necessary, where ``…`` is shown.

    >>> masked("SELECT * FROM t1 WHERE name = 'blue' AND size > 7 -- for Ann")
    'SELECT * FROM t1 WHERE name = ? AND size > ?'

    :param statement: The text. Its first 10,000 characters are read.
    :param engine: The engine, whose ``dialect.name`` is the database's.
    """
    return masked_for(statement, _dialect_of(engine))


def masked_for(statement: str, dialect: str) -> str:
    """Return what :func:`masked` does, for SQLAlchemy's name of a database.

    :param statement: As for :func:`masked`.
    :param dialect: The name, such as ``"postgresql"``; ``""`` for any other.
    """
    head = statement[:LONGEST_READ]
    key = (dialect, head)
    text = _masked.get(key)
    if text is None:
        text = " ".join(_masked_text(head, dialect).split())
        _masked.keep(key, text)
    return text


# A placeholder of any driver: ? or %s, :1 or :name, %(name)s, $1 or $1::INTEGER, @p1.
_ITEM = (
    r"(?:\?\d*+|%s|%\(\w++\)s|[:@]\w++|:\?|\$\d++|NULL|DEFAULT|TRUE|FALSE)"
    r"(?:::\w++)?"
)
_list_of_items = re.compile(
    rf"(?:\( ?{_ITEM}(?: ?, ?{_ITEM})* ?\)|\[ ?{_ITEM}(?: ?, ?{_ITEM})* ?\])",
    re.IGNORECASE,
)
_list_of_lists = re.compile(r"\(…\)(?: ?, ?\(…\))+")


def shape_of(statement: str, engine: t.Any = None) -> str:
    """Return a masked statement with ``(…)`` for each list of values or placeholders.

    Two statements have the same shape if they differ in values, in comments, in white
    space, and in the length of lists such as those behind ``IN`` and ``VALUES``.

    >>> shape_of("INSERT INTO mugs VALUES (1, 'blue'), (2, 'red')")
    'INSERT INTO mugs VALUES (…)'

    :param statement: As for :func:`masked`.
    :param engine: As for :func:`masked_for`.
    """
    try:
        # Any name will do, because nearly each statement is known.
        key = engine.dialect.name, statement[:LONGEST_READ]
        text = _shapes.get(key)
    except (AttributeError, TypeError):
        key = "", statement[:LONGEST_READ]
        text = _shapes.get(key)
    if text is None:
        text = _list_of_items.sub("(…)", masked_for(statement, _dialect_of(engine)))
        text = _list_of_lists.sub("(…)", text)
        _shapes.keep(key, text)
    return text


def checked_with_values(with_values: object) -> bool:
    """Return the option ``with_values`` of a receiver.

    :raises TypeError: If it is not a bool.
    """
    advice = "leave it out to hide the values of the database"
    return checked_truth("with_values", with_values, advice)


def _dialect_of(engine: t.Any) -> str:
    try:
        name = engine.dialect.name
    except AttributeError:
        return ""
    return name if isinstance(name, str) and name in _BY_DIALECT else ""


def _masked_text(statement: str, dialect: str) -> str:
    match = _BY_DIALECT.get(dialect, _UNKNOWN).match
    parts = []
    end = 0
    while end < len(statement):
        found = t.cast("re.Match[str]", match(statement, end))
        end = found.end()
        # The group that ended last: plain, if only a value follows.
        shown = _SHOWN.get(found.lastgroup or "", "?")
        if shown is None:
            parts.append(found[0])
            continue
        parts.append(found["plain"])
        parts.append(shown)
        if found.lastgroup == "nested":
            start, stop = found.end("plain"), len(statement)
            end = end_of_nested_comment(statement, start, stop) or stop
    return "".join(parts)


_SHOWN: Mapping[str, str | None] = {
    "end": None,
    "other": None,
    "nested": " ",
    **dict.fromkeys(("name", "name_1", "name_2"), None),
    **dict.fromkeys(("comment", "comment_1", "comment_2"), " "),
    **dict.fromkeys(("doubt", "rest", "more", "dashes"), "? …"),
}
"""The text shown for each group of a pattern; ``None`` for the group itself."""
