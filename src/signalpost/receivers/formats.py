"""Write the lines of receivers as plain text, JSON lines or logfmt."""

from __future__ import annotations

import json
import logging
import re
import string
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import MutableMapping
from contextlib import suppress
from datetime import datetime
from datetime import UTC
from string import Template
from typing import Any
from typing import Literal
from typing import TypeAlias

from .context import add_context
from .context import FIELDS_BY_ATTRIBUTE
from .escapes import indented_parts
from .escapes import line_parts
from .escapes import word_parts
from .lines import logfmt_value
from .lines import single_line
from .tracebacks import is_large
from .tracebacks import traceback_lines
from .values import CONTAINERS
from .values import FittedValues
from .values import FreeKeys
from .values import text_of

__all__ = [
    "Field",
    "JsonFormatter",
    "Line",
    "LogfmtFormatter",
    "TextFormatter",
    "add_fields",
]

Field: TypeAlias = str | int | float | bool | None
"""The types that a field of a :class:`Line` can hold."""

_Entry: TypeAlias = dict[str, Any]


class Line:
    """One line of a receiver, as the message of a log record.

    ::

        logger.info(Line("stock", {"product": name, "left": 3}, lambda: f"{name} 3"))

    Any formatter writes its text; those of this module can also write its fields.

    :param name: The subject of the line, one word for all lines of a kind.
    :param fields: The values by name; text of a client is raw, but truncated.
    :param text: Returns the plain text. It is called when the text is written, so a
        line that is dropped, or written as fields, costs nothing.

    .. versionadded:: 0.1
    """

    __slots__ = ("_text", "fields", "name")

    name: str
    """One word for all lines of a kind."""
    fields: Mapping[str, Field]
    """The values by name."""

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

    .. code-block:: text

        2026-01-31 12:00:00,000 INFO signalpost.latency GET / 200 complete 1.2 ms ...

    A record is one physical line, whichever code logged it: characters in its message,
    its ``extra`` and the name of its logger that are not printable are escaped. Line
    ends and tabs of ``fmt`` itself stay. A traceback follows on separate lines. Each is
    indented, so that it does not look like a record. Fields that are not in the text
    are not written. A time outside the calendar is written as seconds since the epoch.

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
        # Apart, as what is not printable in the format is meant, and else is not.
        self._parts: list[_Part] = [
            part if number % 2 else type(self._style)(part, defaults=defaults)
            for number, part in enumerate(_unprintable.split(fmt))
            if part
        ]
        self._parts_around: list[_Part] | None = None
        if style == "%" and not _other_message.search(fmt):
            self._parts_around = [*_around_message(self._parts, defaults)]
        self._names = {*_names_in(fmt, style)} - _KEYS_OF_LOGGING

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text, without a line end."""
        message = record.getMessage()
        is_apart = len(message) > _LONGEST_SIMPLE and self._parts_around is not None
        record.message = message if is_apart else single_line(message)
        if self.usesTime():
            record.asctime = self.formatTime(record, self.datefmt)
        text = self.formatMessage(record)
        traceback = _traceback(self, record)
        if traceback is None:
            return text
        return "".join((text, "\n", *indented_parts(traceback)))

    def formatTime(  # noqa: N802 - as logging has it
        self, record: logging.LogRecord, datefmt: str | None = None
    ) -> str:
        """Return the time of a record, or its seconds if no calendar has them."""
        try:
            return super().formatTime(record, datefmt)
        except _NO_MOMENT:
            return text_of(record.created)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - as above
        """Return the line of a record; ``message`` and ``asctime`` are set on it."""
        try:
            return self._written(self._with_fitted(record))
        except Exception:
            # str() of an object may fail; the substitute needs no format.
            fit = FittedValues().fitted
            shown = _record_of(
                {
                    key: value
                    if _is_simple(value)
                    else text_of(fit(value) if _is_container(value) else value)
                    for key, value in record.__dict__.items()
                }
            )
            with suppress(Exception):
                return self._written(shown)
            raise

    def _with_fitted(self, record: logging.LogRecord) -> logging.LogRecord:
        """Return a record whose containers are no longer than their contents.

        The text of containers that refer to each other is a power of their number.
        """
        values = record.__dict__
        names = [name for name in self._names if _is_container(values.get(name))]
        if not names:
            return record
        fit = FittedValues().fitted
        return _record_of(values | {name: fit(values[name]) for name in names})

    def _written(self, record: logging.LogRecord) -> str:
        parts = self._parts
        if len(record.message) > _LONGEST_SIMPLE:
            parts = self._parts_around or parts
        written: list[str] = []
        for part in parts:
            if isinstance(part, str):
                written.append(part)
            else:
                text = record.message if part is None else part.format(record)
                written += line_parts(text)
        return "".join(written)


_Part: TypeAlias = str | logging.PercentStyle | None
"""A part of a format: literal characters, a formatted value, or the message."""


def _around_message(
    parts: Iterable[_Part], defaults: Mapping[str, Any] | None
) -> Iterable[_Part]:
    """Yield the parts of a format, with each message as a separate part."""
    for part in parts:
        if part is None or isinstance(part, str):
            yield part
            continue
        first, *others = part._fmt.split("%(message)s")  # noqa: SLF001  # its one field
        for number, between in enumerate((first, *others)):
            if number:
                yield None
            if between:
                yield logging.PercentStyle(between, defaults=defaults)


def _names_in(fmt: str, style: Literal["%", "{", "$"]) -> Iterable[str]:
    """Return the names of a format, but for those of which only a part is written."""
    if style == "%":
        return re.findall(r"%\(([^)]*)\)", fmt)
    # An invalid format raises its own error, if it is validated.
    with suppress(ValueError):
        if style == "$":
            return Template(fmt).get_identifiers()
        names = (name for _, name, _, _ in string.Formatter().parse(fmt) if name)
        return [name for name in names if name.isidentifier()]
    return ()


def _record_of(values: dict[str, Any]) -> logging.LogRecord:
    record = logging.LogRecord("", 0, "", 0, "", (), None)
    record.__dict__ = values
    return record


class JsonFormatter(logging.Formatter):
    r"""Write a record as one line of JSON (:rfc:`8259`), of ASCII characters only.

    .. code-block:: text

        {"time": "2026-01-31T12:00:00.000000Z", "level": "INFO",
         "logger": "signalpost.latency", "message": "GET / 200 ...", "line": "latency",
         "method": "GET", ...}

    (All in one line.) ``time`` has the form of :rfc:`3339`, in UTC. ``line`` is the
    name of a :class:`Line`. Its fields follow, then values of ``extra``, and the fields
    of :class:`~signalpost.receivers.context.ContextFilter`. ``exception`` is the text
    of a traceback. If a field has the same name as an earlier one, its name gets an
    underscore at the end.

    Infinity and not-a-number are ``null``; other values that JSON lacks are written as
    their ``str()``; a set is an array. A container that contains itself, is below 64
    levels, or occurs repeatedly in one record is written as text such as ``<dict within
    itself>``, so that the line is no longer than its values. A time outside the
    calendar is written as seconds since the epoch.

    The arguments are those that :mod:`logging.config` passes; none is read.

    .. versionadded:: 0.1
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a JSON object, without a line end."""
        entry = _entry_of(self, record)
        if not all(map(_is_simple, entry.values())):
            fit = FittedValues().fitted
            entry = {key: fit(value) for key, value in entry.items()}
        return _encode(entry)


class LogfmtFormatter(logging.Formatter):
    """Write a record as one line of ``key=value`` pairs.

    .. code-block:: text

        time=2026-01-31T12:00:00.000000Z level=INFO logger=signalpost.latency
        line=latency method=GET route=/ status=200 ...

    (All in one line.) The keys are those of :class:`JsonFormatter`, except that a
    :class:`Line` has no ``message``, because its fields have the same content. Values
    with a space, a quotation mark or an equals sign are quoted. Characters that are not
    printable are escaped, also the line ends of a traceback. An empty value means
    ``None``. Values that are neither text nor numbers are written as JSON.

    The arguments are those that :mod:`logging.config` passes; none is read.

    .. versionadded:: 0.1
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as pairs with spaces between, without a line end."""
        entry = _entry_of(self, record)
        if not all(map(_is_simple, entry.values())):
            fit = FittedValues().fitted
            entry = {key: fit(value) for key, value in entry.items()}
        keys, pairs = FreeKeys(), dict[str, Iterable[str]]()
        for key, value in entry.items():
            pairs[keys.free(_unfit_for_key.sub("_", key), pairs)] = _word(value)
        written: list[str] = []
        for key, word in pairs.items():
            written += (" ", key, "=", *word)
        return "".join(written[1:])


def add_fields(
    _logger: object, _method: str, entry: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Add the fields of a :class:`Line` to structlog's entries.

    A processor for the ``foreign_pre_chain`` of structlog's ``ProcessorFormatter``. An
    existing key is not changed; the name of the field then gets an underscore.

    :param entry: The values of the record in structlog, by name.
    :returns: The same, with ``line`` and the fields.

    .. versionadded:: 0.1
    """
    record = entry.get("_record")
    if isinstance(record, logging.LogRecord) and isinstance(record.msg, Line):
        line, keys = record.msg, FreeKeys()
        entry[keys.free("line", entry)] = line.name
        for key, value in line.fields.items():
            entry[keys.free(key, entry)] = value
    return entry


# The attributes that logging and ContextFilter set on a record; all others came as
# ``extra`` or from a factory. A list, as the current factory may set more.
_KEYS_OF_LOGGING = frozenset(
    (
        *("name", "msg", "args", "levelname", "levelno", "pathname", "filename"),
        *("module", "exc_info", "exc_text", "stack_info", "lineno", "funcName"),
        *("created", "msecs", "relativeCreated", "thread", "threadName", "taskName"),
        *("process", "processName", "message", "asctime"),
    )
).union(FIELDS_BY_ATTRIBUTE)

# A key may have letters of any script, but nothing that separates pairs.
_unfit_for_key = re.compile(r"[^\w!#-<>-~]|^$")

# No message in a format of percent signs, or one of which a part is written.
_other_message = re.compile(r"%%|%\(message\)(?!s)")

_unprintable = re.compile(r"([\x00-\x1f\x7f-\x9f\u2028\u2029]+)")

_LONGEST_SIMPLE = 1024
"""The longest text that is written with others, and without a look at those."""

# The errors of a record's time that is outside of the calendar, or no number.
_NO_MOMENT = (OverflowError, OSError, TypeError, ValueError)


def _entry_of(formatter: logging.Formatter, record: logging.LogRecord) -> _Entry:
    """Return the fields of a record for JSON and logfmt, by name."""
    line = record.msg
    entry: _Entry = {
        "time": _moment_of(record),
        "level": record.levelname,
        "logger": record.name,
    }
    keys = FreeKeys()
    if not isinstance(line, Line) or isinstance(formatter, JsonFormatter):
        entry["message"] = record.getMessage()
    if isinstance(line, Line):
        entry["line"] = line.name
        for key, value in line.fields.items():
            entry[keys.free(key, entry)] = value
    extra = record.__dict__.keys() - _KEYS_OF_LOGGING
    if extra:
        # In the order in which they were given.
        for key, value in [*record.__dict__.items()]:
            if key in extra:
                entry[keys.free(text_of(key), entry)] = value
    add_context(entry, record.__dict__)
    traceback = _traceback(formatter, record)
    if traceback is not None:
        entry[keys.free("exception", entry)] = traceback
    return entry


def _moment_of(record: logging.LogRecord) -> str:
    try:
        moment = datetime.fromtimestamp(record.created, UTC)
    except _NO_MOMENT:
        return text_of(record.created)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str | None:
    """Return the traceback and the stack that a record has.

    Without the cache on the record, which holds what another formatter made; but a
    receiver that sends a :class:`Line` may have bounded its traceback there.
    """
    texts = []
    if isinstance(record.msg, Line) and record.exc_text:
        texts.append(record.exc_text)
    elif record.exc_info and record.exc_info[1] is not None:
        texts.append(_exception_text(formatter, record.exc_info))
    elif record.exc_text:
        texts.append(record.exc_text)
    if record.stack_info:
        texts.append(formatter.formatStack(record.stack_info))
    return "\n".join(texts) or None


def _exception_text(formatter: logging.Formatter, exc_info: Any) -> str:
    error = exc_info[1]
    try:
        # A member of many groups would be shown as often.
        if isinstance(error, BaseException) and is_large(error):
            return "\n".join(traceback_lines(error))
        return formatter.formatException(exc_info)
    except Exception:  # noqa: BLE001  # an exception may be broken, or the stack full
        return f"<the traceback of {type(error).__name__} cannot be shown>"


_encode = json.JSONEncoder(allow_nan=False).encode


def _is_simple(value: object) -> bool:
    """Return whether a value is short, and JSON can hold it unchanged."""
    kind = type(value)
    if kind is str:
        return len(value) <= _LONGEST_SIMPLE  # type: ignore[arg-type]  # kind is str
    if kind is int or kind is float:
        return -_LARGEST_SIMPLE < value < _LARGEST_SIMPLE  # type: ignore[operator]
    return value is None or kind is bool


_LARGEST_SIMPLE = 1 << 1000


def _is_container(value: object) -> bool:
    return issubclass(type(value), CONTAINERS)


def _word(value: object) -> Iterable[str]:
    """Return a fitted value as the parts of one word, whatever its length."""
    if value is None:
        return ()
    if value is True or value is False:
        return ("true" if value else "false",)
    text = _encode(value) if isinstance(value, (dict, list)) else text_of(value)
    if len(text) <= _LONGEST_SIMPLE:
        return (logfmt_value(text, _LONGEST_SIMPLE),)
    return word_parts(text)
