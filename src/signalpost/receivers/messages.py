"""Messages of database errors, cut where the values begin."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterator
from collections.abc import Mapping
from traceback import TracebackException

from .masking import LONGEST_READ
from .masking import masked_for

__all__ = ["has_database_error", "hide_values", "message_without_values"]

_STATEMENT = "[SQL: "
_ORIGINAL = "Original exception was: "
_end_of_statement = re.compile(
    r"\]\n\[parameters: |\]\n\[SQL parameters hidden|\]\n\(Background on this error"
)

# By the first part of the name of a driver's module.
_DIALECTS: Mapping[str, str] = {
    "MySQLdb": "mysql",
    "aiomysql": "mysql",
    "asyncmy": "mysql",
    "asyncpg": "postgresql",
    "mariadb": "mysql",
    "mysql": "mysql",
    "oracledb": "oracle",
    "pg8000": "postgresql",
    "postgresql": "postgresql",
    "psycopg": "postgresql",
    "psycopg2": "postgresql",
    "pymssql": "mssql",
    "pymysql": "mysql",
    "sqlite3": "sqlite",
}

# The words before a name in quotation marks. Other quotation marks begin a value.
_NAMED = (
    r"class|collation|column|constraint|cursor|database|encoding|extension|field"
    r"|function|index|language|object|operator|parameter|procedure|relation|role"
    r"|schema|sequence|server at|socket|statement|table|trigger|type|view"
)
_part_of_a_message = re.compile(
    rf"\b(?i:{_NAMED})\s+(?:\"[^\"\n]*\"(?:\.\"[^\"\n]*\")*|'[^'\n]*'|`[^`\n]*`)"
    # A tuple of a number and the message itself, as of PyMySQL and pyodbc.
    r"|\((?:-?\d+|'[0-9A-Z]{5}'), [\"']"
    # The fields of PostgreSQL's error up to the message itself, as of pg8000.
    r"|\{'S': '[^'\n]*', 'V': '[A-Z]+', 'C': '[0-9A-Z]{5}', 'M': [\"']"
    # An apostrophe, and the end of that tuple.
    r"|(?<=\w)'(?=\w)|[\"']\)*\Z"
    r"|(?P<value>[\"']|\bvalue is \(|\bvalues? \(|=\(|\bargument \$\d+:|\bvalue = "
    # Without quotation marks: "date out of range: 7351-1-1". Sizes and errors stay.
    r"|(?<=: )(?<!actual: )(?<!maximum: )(?<!error: )(?=[-+]?\d)"
    r"|(?<=\bopen database: )|(?<=\bno partition for value )"
    # Of MySQL's geometry: "Latitude 735.1 is out of range".
    r"|(?:(?<=\b[Ll]atitude )|(?<=\b[Ll]ongitude ))(?=[-+]?\d))"
)
# What a function or a trigger of the application raises, by the class that psycopg
# and asyncpg have for it, or the number that another driver writes.
_custom = re.compile(
    r"\b(?:RaiseException|RaiseError|AssertFailure|AssertError)\b"
    r"|\((?:MySQLdb|aiomysql|asyncmy|mariadb|mysql|pymysql)\.[\w.]+\) \(?\d{5}"
    r"|\bORA-20\d{3}:|\(5\d{4,}\) ?\(SQL|\(164[234], |\b164[234] \(|'C': 'P0"
)
_CUSTOM_STATES = ("P0", "45")
"""How the states of SQL begin that PostgreSQL's RAISE and ASSERT set, and SIGNAL."""
_SIGNALLED = range(1642, 1645)
"""MySQL's numbers for SIGNAL: of a warning, of "not found", and of an error."""
_FIRST_OF_USERS = 50_000
"""SQL Server's first number for messages of users."""
_FIRST_OF_MYSQL = 10_000
"""The first number that MySQL and MariaDB never send, unless SIGNAL sets it."""

_ANY_OF_ASYNCPG = "(sqlalchemy.dialects.postgresql.asyncpg.Error) "

_wrapped = re.compile(r"\([\w.]+\) ")

# MySQL's key, which follows the value.
_key = re.compile(r" for key '[\w.$-]+'[\"']?\)*\Z")


def message_without_values(exception: BaseException, message: str) -> str:
    r"""Return the message of an exception, cut where a database's values begin.

    For a driver's error the first line is kept, up to the first value in quotation
    marks or brackets, or the first number after a colon; names of tables, columns,
    constraints and the like may come before. Further lines, such as PostgreSQL's
    ``DETAIL:`` and ``LINE 1:``, have values, in the language of the server. Nothing is
    kept of a message that a function or a trigger of the application raises (``RAISE``,
    ``SIGNAL``), because its values have no marks. SQLAlchemy's ``[SQL: …]`` is kept
    with the values masked, and its ``[parameters: …]`` is not. Messages of all other
    exceptions are unchanged.

    :param exception: The exception.
    :param message: What :class:`str` gave for it.
    """
    if not _is_of_database(exception) and f"\n{_STATEMENT}" not in message:
        return message
    head, found, rest = message.partition(_STATEMENT)
    intro, mark, original = head.rpartition(_ORIGINAL)
    if not mark and original.startswith("(raised as a result of "):
        intro, mark, original = original.partition("\n")
    is_custom = _is_custom(getattr(exception, "orig", None) or exception, original)
    # In the text of another error, SQLAlchemy's one class for asyncpg hides which.
    is_custom = is_custom or (bool(mark) and original.startswith(_ANY_OF_ASYNCPG))
    shown = f"{intro}{mark}{_hidden(original) if is_custom else _cut(original)}"
    if not found:
        return shown
    statement = getattr(exception, "statement", None)
    if not isinstance(statement, str):
        end = _end_of_statement.search(rest)
        statement = rest[: end.start() if end else None].rstrip().removesuffix("]")
    dialect = _dialect_of(getattr(exception, "orig", None))
    return f"{shown}\n{_STATEMENT}{masked_for(statement, dialect)}]"


def has_database_error(exception: BaseException) -> bool:
    """Return whether a traceback of an exception may show values of a database."""
    return any(
        _is_of_database(one) or f"\n{_STATEMENT}" in _text_of(one)
        for one in _chain(exception)
    )


def hide_values(trace: TracebackException, exception: BaseException) -> None:
    """Cut the messages of a traceback, of its causes and of the parts of groups.

    :param trace: The traceback of the exception.
    :param exception: The exception.
    """
    private: t.Any
    waiting: list[tuple[TracebackException, BaseException]] = [(trace, exception)]
    while waiting:
        private, one = waiting.pop()
        # TracebackException has no other way to show another message.
        private._str = message_without_values(one, str(private))  # noqa: SLF001  # no public setter
        for below, cause in (
            (private.__cause__, one.__cause__),
            (private.__context__, one.__context__),
            *zip(
                private.exceptions or (), getattr(one, "exceptions", ()), strict=False
            ),
        ):
            if below is not None and cause is not None:
                waiting.append((below, cause))


def _cut(message: str) -> str:
    line = _first_line(message)
    for part in _part_of_a_message.finditer(line):
        if part["value"] is not None:
            key = _key.search(line, part.end())
            return f"{line[: part.start()]}…{'' if key is None else key[0]}"
    return line if len(line) < LONGEST_READ else f"{line}…"


def _first_line(message: str) -> str:
    """Return what is read of a message: a long one takes seconds."""
    return message[:LONGEST_READ].partition("\n")[0]


def _hidden(message: str) -> str:
    """Return only the name of the driver's class of a message, if SQLAlchemy has it."""
    found = _wrapped.match(message)
    return f"{found[0] if found else ''}…"


def _is_custom(error: object, message: str) -> bool:
    """Return whether a message is of a function or a trigger of the application."""
    number = next(iter(getattr(error, "args", ())), None)
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    if isinstance(number, Mapping):  # pg8000's fields
        state = number.get("C")
    elif not isinstance(number, int):
        number = getattr(error, "errno", None)
    if isinstance(state, str) and state.startswith(_CUSTOM_STATES):
        return True
    first = _FIRST_OF_MYSQL if _dialect_of(error) == "mysql" else _FIRST_OF_USERS
    if isinstance(number, int) and (number in _SIGNALLED or number >= first):
        return True
    return _custom.search(_first_line(message)) is not None


def _is_of_database(exception: BaseException) -> bool:
    """Return whether an exception is SQLAlchemy's for a statement, or a driver's.

    A driver's class has the names of :pep:`249` or, as asyncpg's, a driver's module.
    """
    kinds = type(exception).__mro__
    names = {kind.__name__ for kind in kinds}
    if "Error" in names and not names.isdisjoint(("DatabaseError", "InterfaceError")):
        return True
    modules = {_module_of(kind) for kind in kinds}
    if "sqlalchemy" in modules:
        return not names.isdisjoint(("StatementError", "PendingRollbackError", "Error"))
    return not modules.isdisjoint(_DIALECTS)


def _dialect_of(error: object) -> str:
    for kind in type(error).__mro__:
        # sqlalchemy.dialects.postgresql.asyncpg has the errors of asyncpg.
        module = kind.__module__.removeprefix("sqlalchemy.dialects.").partition(".")[0]
        dialect = _DIALECTS.get(module)
        if dialect is not None:
            return dialect
    return ""


def _module_of(kind: type) -> str:
    return kind.__module__.partition(".")[0]


def _text_of(exception: BaseException) -> str:
    try:
        return str(exception)
    except Exception:  # noqa: BLE001  # whatever an application's exception does
        return ""


def _chain(exception: BaseException) -> Iterator[BaseException]:
    """Yield an exception, its causes and the parts of groups, each once."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [exception]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
