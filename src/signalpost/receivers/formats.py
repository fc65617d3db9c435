"""What a receiver logs, and how it is written: plain text, JSON lines or logfmt."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import MutableMapping
from datetime import datetime
from datetime import UTC
from math import isfinite
from typing import Any
from typing import Literal
from typing import TypeAlias

from .context import add_context
from .context import FIELDS_BY_ATTRIBUTE
from .lines import one_line
from .lines import one_word

__all__ = [
    "Field",
    "JsonFormatter",
    "Line",
    "LogfmtFormatter",
    "TextFormatter",
    "add_fields",
]

Field: TypeAlias = str | int | float | bool | None
"""What a field of a :class:`Line` can hold."""


class Line:
    """One thing that a receiver has to say, as the message of a log record.

    ::

        logger.info(Line("stock", {"product": name, "left": 3}, lambda: f"{name} 3"))

    Any formatter writes its text; those of this module can also write its fields.

    :param name: What the line is about, one word for all lines of a kind.
    :param fields: What it says, by name; text of a client raw, but cut.
    :param text: Makes the plain text. It is asked only by those who write it, so that
        what is dropped, or written as fields, costs nothing; each time anew.

    .. versionadded:: 0.1
    """

    __slots__ = ("_text", "fields", "name")

    name: str
    """What the line is about."""
    fields: Mapping[str, Field]
    """What it says, by name."""

    def __init__(
        self, name: str, fields: Mapping[str, Field], text: Callable[[], str]
    ) -> None:
        self.name = name
        self.fields = fields
        self._text = text

    def __str__(self) -> str:
        return self._text()

    def __repr__(self) -> str:
        return f"<Line {self.name}: {self._text()}>"


class TextFormatter(logging.Formatter):
    """Write a record as plain text: time, level, logger and message.

    ::

        2026-01-31 12:00:00,000 INFO signalpost.latency GET / 200 complete 1.2 ms ...

    The message is one physical line, whoever logged it: what is not printable is
    escaped. A traceback follows on lines of its own, each of them indented, so that
    none can pass for a record. Fields that are not in the text are not written.

    :param fmt: As for :class:`logging.Formatter`; ``None`` for the above.
    :param datefmt: As for :class:`logging.Formatter`.
    :param style: As for :class:`logging.Formatter`.
    :param validate: As for :class:`logging.Formatter`.
    :param defaults: As for :class:`logging.Formatter`.

    .. versionadded:: 0.1
    """

    def __init__(
        self,
        fmt: str | None = None,
        datefmt: str | None = None,
        style: Literal["%", "{", "$"] = "%",
        validate: bool = True,  # noqa: FBT001, FBT002 - as logging.config passes it
        *,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        if fmt is None:
            fmt, style = "%(asctime)s %(levelname)s %(name)s %(message)s", "%"
        super().__init__(fmt, datefmt, style, validate, defaults=defaults)

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text, without a line end."""
        record.message = one_line(record.getMessage())
        if self.usesTime():
            record.asctime = self.formatTime(record, self.datefmt)
        text = self.formatMessage(record)
        traceback = _traceback(self, record)
        if traceback is None:
            return text
        indented = (f"  {one_line(line)}" for line in traceback.split("\n"))
        return "\n".join((text, *indented))


class JsonFormatter(logging.Formatter):
    r"""Write a record as one line of JSON (:rfc:`8259`), of ASCII characters only.

    ::

        {"time": "2026-01-31T12:00:00.000000Z", "level": "INFO",
         "logger": "signalpost.latency", "message": "GET / 200 ...", "line": "latency",
         "method": "GET", ...}

    (All in one line.) ``time`` is that of :rfc:`3339`, in UTC; ``line`` is the name of
    a :class:`Line`; then come its fields, what others gave as ``extra``, and what
    :class:`~signalpost.receivers.context.ContextFilter` has put on the record. An
    exception is the text of its traceback, as ``exception``. A field that has the name
    of one before it gets an underscore at its end.

    What JSON cannot hold is ``null`` (infinity and not-a-number) or its ``str()``.

    The arguments are those that :mod:`logging.config` passes; none is read.

    .. versionadded:: 0.1
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a JSON object, without a line end."""
        entry = _head(record)
        entry["message"] = record.getMessage()
        _add_fields(entry, record)
        traceback = _traceback(self, record)
        if traceback is not None:
            entry[_free_key("exception", entry)] = traceback
        return _json(entry)


class LogfmtFormatter(logging.Formatter):
    """Write a record as one line of ``key=value`` pairs.

    ::

        time=2026-01-31T12:00:00.000000Z level=INFO logger=signalpost.latency
        line=latency method=GET route=/ status=200 ...

    (All in one line.) The keys are those of :class:`JsonFormatter`, but that a
    :class:`Line` has no ``message``: its fields say the same. Values with a space, a
    quotation mark or an equals sign are quoted, and what is not printable is escaped,
    the line ends of a traceback too. Nothing after the equals sign stands for
    ``None``; what is neither text nor a number is written as JSON.

    The arguments are those that :mod:`logging.config` passes; none is read.

    .. versionadded:: 0.1
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as pairs with spaces between, without a line end."""
        entry = _head(record)
        if not isinstance(record.msg, Line):
            entry["message"] = record.getMessage()
        _add_fields(entry, record)
        traceback = _traceback(self, record)
        if traceback is not None:
            entry[_free_key("exception", entry)] = traceback
        return " ".join(
            [f"{_unfit_for_key.sub('_', key)}={_word(entry[key])}" for key in entry]
        )


def add_fields(
    _logger: object, _method: str, entry: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Add the fields of a :class:`Line` to what structlog writes.

    A processor for the ``foreign_pre_chain`` of structlog's ``ProcessorFormatter``. A
    key that is there already stays as it is, and the field gets an underscore.

    :param entry: What structlog knows of the record, by name.
    :returns: The same, with ``line`` and the fields.

    .. versionadded:: 0.1
    """
    record = entry.get("_record")
    if isinstance(record, logging.LogRecord) and isinstance(record.msg, Line):
        line = record.msg
        entry[_free_key("line", entry)] = line.name
        for key, value in line.fields.items():
            entry[_free_key(key, entry)] = value
    return entry


# What logging itself and ContextFilter put on a record; all else came as ``extra``.
_KEYS_OF_LOGGING = frozenset(
    (*vars(logging.makeLogRecord({})), "message", "asctime", "taskName")
).union(FIELDS_BY_ATTRIBUTE)

# Letters of any script may stand in a key; what separates pairs may not.
_unfit_for_key = re.compile(r"[^\w!#-<>-~]|^$")

_DEEPEST = 8
"""How deep in a value JSON is made of structures."""

_MOST_BITS = 1024
"""The longest integer to write in digits: Python refuses to from some length on."""


def _head(record: logging.LogRecord) -> dict[str, Any]:
    moment = datetime.fromtimestamp(record.created, UTC)
    return {
        "time": moment.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "level": record.levelname,
        "logger": record.name,
    }


def _add_fields(entry: dict[str, Any], record: logging.LogRecord) -> None:
    line = record.msg
    if isinstance(line, Line):
        entry["line"] = line.name
        for key, value in line.fields.items():
            entry[_free_key(key, entry)] = value
    extra = record.__dict__.keys() - _KEYS_OF_LOGGING
    if extra:
        # In the order in which they were given.
        for key, value in record.__dict__.items():
            if key in extra:
                entry[_free_key(str(key), entry)] = value
    add_context(entry, record.__dict__)


def _free_key(key: str, entry: Mapping[str, Any]) -> str:
    while key in entry:
        key += "_"
    return key


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str | None:
    """Return the traceback and the stack that a record has.

    Without the cache on the record, which holds what another formatter made; but a
    receiver that sends a :class:`Line` may have bounded its traceback there.
    """
    texts = []
    if isinstance(record.msg, Line) and record.exc_text:
        texts.append(record.exc_text)
    elif record.exc_info and record.exc_info[1] is not None:
        texts.append(formatter.formatException(record.exc_info))
    elif record.exc_text:
        texts.append(record.exc_text)
    if record.stack_info:
        texts.append(formatter.formatStack(record.stack_info))
    return "\n".join(texts) or None


def _text(value: object) -> str:
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        return hex(value)
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - whatever somebody's __str__ does
        return f"<{type(value).__name__} that has no text>"


_encode = json.JSONEncoder(allow_nan=False, default=_text).encode


def _json(value: object) -> str:
    try:
        return _encode(value)
    except (TypeError, ValueError, RecursionError):
        return _encode(_fit_for_json(value, 0))


def _fit_for_json(value: object, depth: int) -> object:
    """Return what JSON can hold of a value; text takes the place of the rest."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float)):
        return _number_fit_for_json(value)
    if depth < _DEEPEST:
        if isinstance(value, dict):
            return {
                _text(key): _fit_for_json(held, depth + 1)
                for key, held in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [_fit_for_json(held, depth + 1) for held in value]
    return _text(value)


def _number_fit_for_json(number: float) -> object:
    if isinstance(number, int):
        return number if number.bit_length() <= _MOST_BITS else _text(number)
    return number if isfinite(number) else None


def _word(value: object) -> str:
    """Return a value as one word, whatever its length."""
    if value is None:
        return ""
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, (dict, list, tuple)):
        value = _json(value)
    text = _text(value)
    return one_word(text, len(text))
