"""Log statements that were slow, that failed, or that a request repeats."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Mapping
from functools import partial
from typing import ClassVar

from .._engine.unseen import Visibility
from .._options import checked_seconds_or_none
from .._options import checked_whole_number
from ..exchange import Exchange
from .formats import Field
from .formats import Line
from .lines import chosen_logger
from .lines import logfmt_value
from .lines import truncated
from .locations import location_of
from .masking import checked_with_values
from .masking import masked
from .masking import shape_of
from .paths import route_or_path
from .statements import is_further_part
from .statements import operation_of

__all__ = ["RepeatLogger", "SqlLogger", "log_sql"]


class SqlLogger:
    """Log one line for each slow statement, and for each failure of the database.

    ::

        logger = SqlLogger(slow_seconds=0.2)
        sql_executed.connect(logger, weak=False)
        sql_failed.connect(logger.failed, weak=False)

    The line begins with ``slow`` or ``failed``. It has the duration, the numbers of
    rows and parameters, the statement, and the exchange, if any:

    .. code-block:: text

        slow 312.0 ms 40 rows 1 parameters "SELECT ... WHERE name = ?" GET /search
        failed IntegrityError 0.4 ms 2 parameters "INSERT INTO orders ..." POST /orders

    For other failures, the line names the operation: ``connect``, ``pool``, ``commit``
    and others (:data:`~signalpost.lifecycle.sql_failed`):

    .. code-block:: text

        failed commit IntegrityError POST /orders
        failed fetch OperationalError "SELECT ... FROM orders" GET /report

    Only the number of parameters is logged. The text of the exception is not logged,
    because it repeats the parameters. The statement is one line, and cut if it is long.
    Values in its text are replaced by ``?``, and comments are left out.

    The message of the record is a :class:`~signalpost.receivers.formats.Line` named
    ``sql``, with the fields ``statement``, ``operation`` (its first word, as
    ``"SELECT"``, or ``None``), ``duration_seconds``, ``row_count``,
    ``parameters_count``, ``is_executemany``, ``exception`` (the name of its class, or
    ``None``) and, within an exchange, ``method`` and ``route`` (or ``path`` where there
    is no route). For other failures, the line is named ``sql-failed``, with the fields
    ``operation`` (as ``"commit"``), ``exception``, ``statement`` if the signal has one,
    and those of the exchange. The level is ``WARNING``, because many applications
    expect some failures, such as a duplicate key, and an exception that leaves the
    application is logged elsewhere.

    :param slow_seconds: Statements that took at least so long are logged. ``None`` for
        failures only.
    :param with_values: Log statements as the driver got them, with the values and the
        comments in their text.
    :param logger: Where to: a logger or its name; without it ``signalpost.sql``.
    :raises TypeError: If an option has the wrong type.
    :raises ValueError: If ``slow_seconds`` is negative or not a number.

    .. versionadded:: 0.1
    """

    signals: ClassVar[Mapping[str, str]] = {
        "sql-executed": "__call__",
        "sql-failed": "failed",
    }
    """The method for each signal."""

    def __init__(
        self,
        *,
        slow_seconds: float | None = 0.5,
        with_values: bool = False,
        logger: logging.Logger | str | None = None,
    ) -> None:
        self._slow_seconds = checked_seconds_or_none(
            "slow_seconds", slow_seconds, "write inf, in Python None, for failures only"
        )
        self._with_values = checked_with_values(with_values)
        self._logger = chosen_logger(logger, "signalpost.sql")
        self._visibility = Visibility(self._logger, logging.WARNING)

    def __call__(  # noqa: PLR0913  # the signal's payload
        self,
        sender: object,
        *,
        statement: str,
        parameters_count: int,
        duration_seconds: float,
        row_count: int | None,
        is_executemany: bool,
        exception: BaseException | None,
        exchange: Exchange | None,
    ) -> None:
        """Log a statement that failed or was slow."""
        slow_seconds = self._slow_seconds
        if exception is None and (
            slow_seconds is None or duration_seconds < slow_seconds
        ):
            return
        if not self._visibility.takes(logging.WARNING):
            return
        fields: dict[str, Field] = {
            "statement": self._shown(statement, sender),
            "operation": operation_of(statement),
            "duration_seconds": duration_seconds,
            "row_count": row_count,
            "parameters_count": parameters_count,
            "is_executemany": is_executemany,
            "exception": None if exception is None else type(exception).__name__,
            **_request_of(exchange),
        }
        self._logger.warning(Line("sql", fields, partial(_statement_text, fields)))

    def failed(
        self,
        sender: object,
        *,
        operation: str,
        statement: str | None,
        exception: BaseException,
        exchange: Exchange | None,
    ) -> None:
        """Log a failure of the database without a statement, such as a commit."""
        if not self._visibility.takes(logging.WARNING):
            return
        fields: dict[str, Field] = {
            "operation": operation,
            "exception": type(exception).__name__,
        }
        if statement is not None:
            fields["statement"] = self._shown(statement, sender)
        fields.update(_request_of(exchange))
        line = Line("sql-failed", fields, partial(_failure_text, fields))
        self._logger.warning(line)

    def _shown(self, statement: str, engine: object) -> str:
        if self._with_values:
            return _in_short(statement)
        return truncated(masked(statement, engine))


log_sql: SqlLogger = SqlLogger()
"""A :class:`SqlLogger` with the default options.

.. versionadded:: 0.1
"""


class RepeatLogger:
    """Log one line when an exchange repeats a statement: the N+1 queries.

    ::

        sql_executed.connect(RepeatLogger(most_times=10), weak=False)

    One line is logged for each statement of an exchange, when it exceeds the limit for
    the first time. So the final number may be higher:

    .. code-block:: text

        GET /orders repeated 11 times at=/srv/shop/orders.py:31:names_of
        "SELECT ... WHERE customer.id = ?"

    (In one line.) Statements are the same if their text is the same, except for values,
    comments, white space, and the length of lists such as those after ``IN`` and
    ``VALUES``. An ``INSERT`` of many rows is counted once, even if SQLAlchemy splits it
    into several statements. ``at`` is the innermost line of the application's code that
    executed the statement; the application is all code that is neither installed
    (``site-packages``, ``dist-packages``), nor a part of Python, nor made by
    :func:`exec`. Jinja templates belong to it. Without such a line, ``at`` is a dash.

    For one exchange, the first 256 different statements are counted. Outside of an
    exchange, nothing is counted.

    The message of the record is a :class:`~signalpost.receivers.formats.Line` named
    ``sql-repeated``, at level ``WARNING``, with the fields ``statement``,
    ``operation``, ``times``, ``at``, ``method`` and ``route`` (or ``path`` where there
    is no route).

    :param most_times: How often an exchange may execute a statement.
    :param with_values: Log the repeated statement as the driver got it, with the values
        and the comments in its text.
    :param logger: Where to: a logger or its name; without it ``signalpost.sql``.
    :raises TypeError: If an option has the wrong type.
    :raises ValueError: If ``most_times`` is less than 1.

    .. versionadded:: 0.1
    """

    signals: ClassVar[Mapping[str, str]] = {"sql-executed": "__call__"}
    """The method for each signal."""

    def __init__(
        self,
        *,
        most_times: int = 10,
        with_values: bool = False,
        logger: logging.Logger | str | None = None,
    ) -> None:
        self._most_times = checked_whole_number("most_times", most_times, "write 10")
        self._with_values = checked_with_values(with_values)
        self._logger = chosen_logger(logger, "signalpost.sql")
        self._visibility = Visibility(self._logger, logging.WARNING)

    def __call__(
        self, sender: object, *, statement: str, exchange: Exchange | None
    ) -> None:
        """Count a statement, and log it if it is once too often."""
        if exchange is None or is_further_part.get():
            return
        shape = shape_of(statement, sender)
        # The text may be long, and there may be many of them in an exchange.
        key = hash(shape)
        with _lock:
            # By this object: another one, with its own limit, counts for itself.
            times = exchange.state.setdefault(self, {})
            if key not in times and len(times) == _MOST_SHAPES:
                return
            times[key] = count = times.get(key, 0) + 1
        if count != self._most_times + 1:
            return
        if not self._visibility.takes(logging.WARNING):
            return
        fields: dict[str, Field] = {
            "statement": _in_short(statement)
            if self._with_values
            else truncated(shape),
            "operation": operation_of(statement),
            "times": count,
            # By inspect, files would be read.
            "at": truncated(location_of(sys._getframe(1))),  # noqa: SLF001
            **_request_of(exchange),
        }
        self._logger.warning(
            Line("sql-repeated", fields, partial(_repetition_text, fields))
        )


# Re-entrant: a finaliser that runs within may execute a statement.
_lock = threading.RLock()

_MOST_SHAPES = 256
"""How many different statements of an exchange are counted."""

_LONGEST_READ = 4096
"""How many characters of a statement are read to make it short."""


def _in_short(statement: str) -> str:
    return truncated(" ".join(statement[:_LONGEST_READ].split()))


def _request_of(exchange: Exchange | None) -> dict[str, Field]:
    if exchange is None:
        return {}
    kind, place = route_or_path(exchange)
    return {"method": exchange.method, kind: truncated(place)}


def _request_text(fields: dict[str, Field]) -> str:
    place = fields.get("route", fields.get("path"))
    return f"{fields['method']} {logfmt_value(str(place))}"


def _statement_text(fields: dict[str, Field]) -> str:
    exception = fields["exception"]
    words = ["slow" if exception is None else f"failed {exception}"]
    words.append(f"{float(fields['duration_seconds'] or 0) * 1000:.1f} ms")
    if fields["row_count"] is not None:
        words.append(_counted(fields["row_count"], "row"))
    words.append(
        _counted(fields["parameters_count"], "set", " of parameters")
        if fields["is_executemany"]
        else _counted(fields["parameters_count"], "parameter")
    )
    words.append(logfmt_value(str(fields["statement"])))
    if "method" in fields:
        words.append(_request_text(fields))
    return " ".join(words)


def _counted(count: Field, noun: str, more: str = "") -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}{more}"


def _failure_text(fields: dict[str, Field]) -> str:
    words = ["failed", logfmt_value(str(fields["operation"])), str(fields["exception"])]
    if "statement" in fields:
        words.append(logfmt_value(str(fields["statement"])))
    if "method" in fields:
        words.append(_request_text(fields))
    return " ".join(words)


def _repetition_text(fields: dict[str, Field]) -> str:
    return (
        f"{_request_text(fields)} repeated {fields['times']} times"
        f" at={logfmt_value(str(fields['at']))}"
        f" {logfmt_value(str(fields['statement']))}"
    )
