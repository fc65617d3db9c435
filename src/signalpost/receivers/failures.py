"""What failed: each unhandled exception once, with its traceback, and then counted."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from hashlib import blake2b
from itertools import islice
from traceback import TracebackException
from typing import ClassVar
from typing import NamedTuple

from ..exchange import Exchange
from ..exchange import Where
from .formats import Field
from .formats import Line
from .lines import capped
from .lines import chosen_logger
from .lines import one_word
from .masking import checked_with_values
from .messages import hide_values
from .messages import message_without_values
from .places import is_generated
from .places import is_of_application

__all__ = ["FailureCount", "FailureLogger", "log_failure"]

_MOST_PLACES = 5
"""How many frames of the application tell one failure from another."""
_MOST_FRAMES = 64
"""How many frames of an exception are shown, or looked at if none is the
application's."""
_FIRST_LINES = 160
_LAST_LINES = 40
"""How many lines of a traceback are shown: of its beginning, and of its end."""


class Place(NamedTuple):
    """A line of the code that an exception passed."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.function}"


class FailureCount(NamedTuple):
    """How many times the same failure was seen; from :meth:`FailureLogger.counts`.

    .. versionadded:: 0.1
    """

    fingerprint: str
    """What the failure is known by, 12 hexadecimal digits; as in the log."""
    exception: str
    """The type of the exception, as ``"LookupError"`` or ``"shop.stock.SoldOut"``."""
    place: str
    """The innermost line of the application, as ``"/srv/shop/stock.py:31:take"``;
    ``"-"`` if the exception has no traceback."""
    times: int
    """How many times it was seen."""
    first_at: float
    """When it was first seen, in seconds since the epoch."""
    last_at: float
    """When it was last seen, in seconds since the epoch."""


class FailureLogger:
    """Log each unhandled exception, to be connected to ``got-request-exception``.

    ::

        got_request_exception.connect(log_failure)

    The line says method, route, status, where the exception left the application and
    what it is; after it comes the traceback::

        GET /products/<slug> - view LookupError at=/srv/shop/stock.py:31:take times=1
        fingerprint=5f0c93b1a2d4 message="no such thing"

    (in one line). The path takes the place of a route that is not known; a dash, that
    of the status while no response has begun, as is so in a view. The place is the
    innermost line of the application's own code, and also what the record gives as
    its ``pathname``, ``lineno`` and ``funcName``.

    What fails again is counted instead of printed again: one line without a traceback
    for the 10th, 100th, 1000th … time, and the traceback once more when
    ``again_seconds`` have passed since it was last printed. Two exceptions are the same
    failure if they have the same fingerprint: the type, and file, line and function of
    the innermost 5 frames of the application, whatever the message says. For a
    :exc:`RecursionError` they are the outermost 5, as it depends on chance how deep it
    gets. The application is all that is neither installed (``site-packages``,
    ``dist-packages``), nor Python's library, nor signalpost's, nor made by
    :func:`exec`; if an exception passed nothing of the kind, all its frames count, up
    to 64. What was made by :func:`exec`, such as SQLAlchemy's wrappers and the
    ``__init__`` of attrs, is never the place that is shown. It only distinguishes
    failures that pass the same lines of the application.

    A traceback holds up to 64 frames of each exception, and 200 lines. Each line is
    indented and escaped, so that no line of a message passes for one of the log. The
    exception itself is given to the log as ``exc_info``, and not kept here: a handler
    that makes a text of it by itself shows its whole message. An
    exception that leaves one application and then another around it, each with a
    layer of its own, is one of each exchange, and counted as two.

    The message of the record is a :class:`~signalpost.receivers.formats.Line` named
    ``failure``, with the fields ``method``, ``route`` (or ``path`` where there is no
    route), ``status``, ``where``, ``exception_type``, ``exception_message``, ``place``,
    ``times`` and ``fingerprint``. Its level is ``ERROR``.

    :param again_seconds: After how long a traceback is printed again; ``None`` for
        never.
    :param with_values: Show the whole messages of database errors. Otherwise they are
        cut where values begin, as parameters of a statement and PostgreSQL's
        ``DETAIL:``, in the line and in the traceback.
    :param max_fingerprints: How many failures are told apart. The one that was not
        seen for the longest time is forgotten for a new one.
    :param logger: Where to: a logger or its name; without it ``signalpost.failures``.
    :raises ValueError: If an option has the right type, and no meaning.
    :raises TypeError: If an option has the wrong type.

    .. versionadded:: 0.1
    """

    hears: ClassVar[Mapping[str, str]] = {"got-request-exception": "__call__"}
    """Which method hears which signal."""

    def __init__(
        self,
        *,
        again_seconds: float | None = 3600,
        max_fingerprints: int = 1000,
        with_values: bool = False,
        logger: logging.Logger | str | None = None,
    ) -> None:
        self._again_seconds = _seconds_or_none(again_seconds)
        self._max_fingerprints = _number_from_one(max_fingerprints)
        self._with_values = checked_with_values(with_values)
        self._logger = chosen_logger(logger, "signalpost.failures")
        self._seen: dict[tuple[str, tuple[Place, ...]], _Seen] = {}
        # Reentrant, as the collector may close a body, which may fail, on any line.
        self._lock = threading.RLock()

    def __call__(
        self,
        sender: object,
        *,
        exception: BaseException,
        where: Where,
        exchange: Exchange,
    ) -> None:
        """Log an exception that the application did not handle, or count it."""
        kind = _kind_of(exception)
        places = _places_of(exception)
        seen, times, has_traceback = self._count(kind, places)
        # 1, 10, 100 …
        if not has_traceback and str(times).rstrip("0") != "1":
            return
        logger = self._logger
        if not logger.isEnabledFor(logging.ERROR):
            return
        message = _message_of(exception, with_values=self._with_values)
        line = _line(message, where, exchange, seen, times)
        file, number, function = _innermost(places)
        record = logger.makeRecord(
            logger.name, logging.ERROR, file, number, line, (), None, function
        )
        if has_traceback:
            record.exc_info = (type(exception), exception, exception.__traceback__)
            # What a formatter would make of it by itself could pass for other records.
            record.exc_text = _traceback_of(exception, with_values=self._with_values)
        logger.handle(record)

    def counts(self) -> list[FailureCount]:
        """Return what was seen, the most frequent failure first.

        :returns: One :class:`FailureCount` for each fingerprint, at most
            ``max_fingerprints``.
        """
        with self._lock:
            counts = [
                FailureCount(
                    seen.fingerprint,
                    seen.exception,
                    seen.place,
                    seen.times,
                    seen.first_at,
                    seen.last_at,
                )
                for seen in [*self._seen.values()]
            ]
        return sorted(counts, key=lambda one: one.times, reverse=True)

    def _count(self, kind: str, places: tuple[Place, ...]) -> tuple[_Seen, int, bool]:
        """Count a failure.

        :returns: What is known of it, how many times it was seen, and whether its
            traceback is due.
        """
        key = kind, places
        now = time.perf_counter()
        with self._lock:
            # It goes to the end, so that the first is what was not seen for longest.
            seen = self._seen.pop(key, None)
            if seen is None:
                seen = _Seen(kind, places, now)
            is_due = seen.times == 0 or (
                self._again_seconds is not None
                and now - seen.printed >= self._again_seconds
            )
            if is_due:
                seen.printed = now
            seen.times += 1
            seen.last_at = time.time()
            self._seen[key] = seen
            while len(self._seen) > self._max_fingerprints:
                self._seen.pop(next(iter(self._seen)), None)
            return seen, seen.times, is_due


class _Seen:
    """What is kept of a failure: text and numbers, nothing of the exception."""

    __slots__ = (
        "exception",
        "fingerprint",
        "first_at",
        "last_at",
        "place",
        "printed",
        "times",
    )

    def __init__(self, kind: str, places: tuple[Place, ...], printed: float) -> None:
        self.exception = kind
        self.place = str(_innermost(places)) if places else "-"
        name = "\n".join((kind, *map(str, places)))
        self.fingerprint = blake2b(
            name.encode("utf-8", "backslashreplace"), digest_size=6
        ).hexdigest()
        self.times = 0
        self.first_at = self.last_at = time.time()
        self.printed = printed


def _line(
    message: str,
    where: Where,
    exchange: Exchange,
    seen: _Seen,
    times: int,
) -> Line:
    is_path = exchange.route is None
    place = capped(exchange.route or exchange.script_name + exchange.path)
    status = exchange.status
    fields: dict[str, Field] = {
        "method": exchange.method,
        "path" if is_path else "route": place,
        "status": status,
        "where": where,
        "exception_type": seen.exception,
        "exception_message": message,
        "place": seen.place,
        "times": times,
        "fingerprint": seen.fingerprint,
    }
    # Of the exchange only what the text says, lest a kept record keep it.
    method = exchange.method

    def text() -> str:
        return (
            f"{method} {one_word(place)} {'-' if status is None else status} {where}"
            f" {one_word(seen.exception)} at={one_word(seen.place)} times={times}"
            f" fingerprint={seen.fingerprint} message={one_word(message)}"
        )

    return Line("failure", fields, text)


def _kind_of(exception: BaseException) -> str:
    kind = type(exception)
    module = kind.__module__
    return capped(
        kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"
    )


def _message_of(exception: BaseException, *, with_values: bool) -> str:
    try:
        message = str(exception)
        if not with_values:
            message = message_without_values(exception, message)
        return capped(message)
    except Exception:  # noqa: BLE001  # whatever an application's exception does
        return "<str() of it failed>"


def _places_of(exception: BaseException) -> tuple[Place, ...]:
    """Return the lines that tell this failure from others, the innermost last."""
    all_places = []
    step = exception.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        all_places.append(Place(code.co_filename, step.tb_lineno, code.co_qualname))
        step = step.tb_next
    if isinstance(exception, RecursionError):
        places = _of_application(all_places)
    else:
        places = _of_application(reversed(all_places))[::-1]
    return tuple(places or all_places[-_MOST_FRAMES:])


def _of_application(places: Iterable[Place]) -> list[Place]:
    """Return the first places of the application, and what lies between them.

    That is code without a file: it is no place to be shown, but if one line of the
    application fails in two lines of such code, it has two failures.
    """
    found: list[Place] = []
    count = 0
    for place in places:
        if is_of_application(place.file):
            count += 1
            found.append(place)
            if count == _MOST_PLACES:
                break
        elif is_generated(place.file) and len(found) < _MOST_FRAMES:
            found.append(place)
    return found if count else []


def _innermost(places: tuple[Place, ...]) -> Place:
    """Return the line that is shown of a failure: of the application, if it has one."""
    for place in reversed(places):
        if is_of_application(place.file):
            return place
    return places[-1] if places else Place("-", 0, "-")


def _traceback_of(exception: BaseException, *, with_values: bool) -> str:
    """Return a traceback of bounded length, none of whose lines begins a record."""
    try:
        lines = _traceback_lines(exception, with_values=with_values)
        shown = [*islice(lines, _FIRST_LINES)]
        rest = 0
        last: deque[str] = deque(maxlen=_LAST_LINES)
        for line in lines:
            last.append(line)
            rest += 1
    except Exception:  # noqa: BLE001  # as for the message
        return "  <the traceback cannot be shown>"
    if rest > len(last):
        shown.append(f"… {rest - len(last)} lines are left out here …")
    return "\n".join(f"  {_printable(line)}".rstrip() for line in (*shown, *last))


def _traceback_lines(exception: BaseException, *, with_values: bool) -> Iterator[str]:
    trace = TracebackException.from_exception(
        exception, limit=-_MOST_FRAMES, compact=True
    )
    if not with_values:
        hide_values(trace, exception)
    for part in trace.format():
        yield from part.removesuffix("\n").split("\n")


def _printable(line: str) -> str:
    line = capped(line)
    if line.isprintable():
        return line
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode("ascii")
        for one in line
    )


def _seconds_or_none(again_seconds: object) -> float | None:
    if again_seconds is None:
        return None
    if isinstance(again_seconds, bool) or not isinstance(again_seconds, (int, float)):
        raise TypeError(
            f"again_seconds must be a number of seconds, got {again_seconds!r}; leave"
            " it out for an hour"
        )
    if not again_seconds >= 0:
        raise ValueError(
            f"again_seconds must be a number of seconds from 0 up, got"
            f" {again_seconds!r}; give None to print a traceback only once"
        )
    return again_seconds


def _number_from_one(max_fingerprints: object) -> int:
    if isinstance(max_fingerprints, bool) or not isinstance(max_fingerprints, int):
        raise TypeError(
            f"max_fingerprints must be a whole number, got {max_fingerprints!r}; leave"
            " it out for 1000"
        )
    if max_fingerprints < 1:
        raise ValueError(
            f"max_fingerprints must be 1 or more, got {max_fingerprints!r}; each is a"
            " failure that is told apart from others"
        )
    return max_fingerprints


log_failure: FailureLogger = FailureLogger()
"""A :class:`FailureLogger` with nothing set."""
