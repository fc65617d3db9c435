"""Log each unhandled exception once, with its traceback, and then count it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection
from collections.abc import Mapping
from typing import Literal
from typing import NamedTuple

from .._engine.unseen import Visibility
from .._options import checked_seconds_or_none
from .._options import checked_statuses
from .._options import checked_truth
from .._options import checked_whole_number
from ..exchange import Exchange
from ..exchange import Where
from .exceptions import ignored_classes
from .failure_texts import fingerprint_of
from .failure_texts import innermost
from .failure_texts import kind_of
from .failure_texts import Location
from .failure_texts import locations_of
from .failure_texts import message_of
from .failure_texts import traceback_of
from .formats import Field
from .formats import Line
from .lines import chosen_logger
from .lines import logfmt_value
from .lines import truncated
from .masking import checked_with_values
from .messages import hide_values
from .paths import route_or_path
from .tracebacks import leaves_of

__all__ = ["FailureCount", "FailureLogger", "log_failure"]

_FAILED = frozenset(("error", "lost"))
"""The outcomes of a unit of work that has failed."""

_REPORTED = "signalpost.failures"
"""The key of the state of an exchange whose failure was reported."""


class FailureCount(NamedTuple):
    """One failure and its count; from :meth:`FailureLogger.counts`.

    .. versionadded:: 0.1
    """

    fingerprint: str
    """The failure's key, 12 hexadecimal digits; the log has the same."""
    exception: str
    """The type of the exception, as ``"LookupError"`` or ``"shop.stock.SoldOut"``; of a
    response without one, ``"status 503"``."""
    location: str
    """The innermost line of the application, as ``"/srv/shop/stock.py:31:take"``;
    ``"-"`` if the exception has no traceback. The route, of a response."""
    times: int
    """How many times it was seen."""
    first_at: float
    """When it was first seen, in seconds since the epoch."""
    last_at: float
    """When it was last seen, in seconds since the epoch."""


class FailureLogger:
    """Log each unhandled exception; connect it to ``got-request-exception``.

    ::

        got_request_exception.connect(log_failure)

    The line has method, route, status, where the exception left the application and
    what it is; after it comes the traceback:

    .. code-block:: text

        GET /products/<slug> - view LookupError at=/srv/shop/stock.py:31:take times=1
        fingerprint=5f0c93b1a2d4 message="no such thing"

    (in one line). Without a route, the line has the path. While no response has begun,
    as in a view, a dash replaces the status. The location is the innermost line of the
    application's own code. The record has it also as ``pathname``, ``lineno`` and
    ``funcName``.

    If the same failure happens again, it is counted: the 10th, 100th, 1000th … time,
    one line without a traceback is logged. When ``again_seconds`` have passed since the
    last traceback, the next failure is logged with its traceback. Two exceptions are
    the same failure if they have the same fingerprint: the type, and file, line and
    function of the innermost 5 frames of the application, whatever the message is. For
    a :exc:`RecursionError` the outermost 5 frames count, because its depth varies. The
    application is all code that is neither installed (``site-packages``,
    ``dist-packages``), nor Python's library, nor signalpost's, nor made by
    :func:`exec`. If no frame of an exception is the application's, all its frames
    count, up to 64. Code that was made by :func:`exec`, such as SQLAlchemy's wrappers
    and the ``__init__`` of attrs, is never shown as the location. It only distinguishes
    failures that pass the same lines of the application.

    A traceback has up to 64 frames of each exception, and 200 lines. Up to 50 causes,
    contexts and members of groups are shown, each once. Each line is indented and
    escaped, so that a line of a message does not look like a log line. The exception
    itself is passed to the log as ``exc_info``, and not kept here: if a handler formats
    it itself, the whole message is shown. If an exception leaves one application and
    then another around it, each with its own middleware, it belongs to both exchanges
    and is counted twice.

    The message of the record is a :class:`~signalpost.receivers.formats.Line` named
    ``failure``, with the fields ``method``, ``route`` (or ``path`` where there is no
    route), ``status``, ``where``, ``exception_type``, ``exception_message``,
    ``location``, ``times`` and ``fingerprint``. Its level is ``ERROR``.

    With ``handled=True``, a response with a status from 500 up is a failure, too, if no
    exception was reported for the request: an error handler or the view made the
    response. For this, connect :meth:`closed` to ``exchange-closed``; a configuration
    does so. The line has the status and the route, ``response`` as ``where``, no
    exception and no traceback. Responses with the same route and status are the same
    failure.

    An exception of a unit of work (:mod:`signalpost.work`) is logged in the same way,
    with ``WORK`` as the method and the name of the work as the route: connect
    :meth:`finished` to ``work-finished``. A configuration does so.

    :param ignore: The exceptions that are neither logged nor counted: classes, or their
        paths, as ``"shop.errors:Expected"``, ``"shop.errors.Expected"`` or
        ``"KeyError"``. Subclasses are ignored, too, and groups that contain nothing
        else.
    :param ignore_statuses: Statuses of responses whose failures are ignored, as
        ``(503,)``. If no response has begun, the ``code`` of the exception counts, but
        only if the exception has a method ``get_response``, as Werkzeug's HTTP
        exceptions have.
    :param handled: Count responses from 500 up without an exception as failures.
    :param again_seconds: The time after which a traceback is logged again; ``None`` for
        never.
    :param with_values: Show the whole messages of database errors. Otherwise they are
        cut where values begin, such as parameters of a statement and PostgreSQL's
        ``DETAIL:``, in the line and in the traceback.
    :param max_fingerprints: The number of failures that are counted separately. For a
        new failure, the one that has not occurred for the longest time is dropped.
    :param logger: The logger or its name; ``signalpost.failures`` by default.
    :raises ValueError: If an option has the right type, and no meaning; also if a
        class of ``ignore`` is not found.
    :raises TypeError: If an option has the wrong type.

    .. versionadded:: 0.1
    """

    signals: Mapping[str, str] = {
        "got-request-exception": "__call__",
        "work-finished": "finished",
    }
    """The method for each signal."""

    def __init__(  # noqa: PLR0913  # one for each option
        self,
        *,
        ignore: Collection[type[BaseException] | str] = (),
        ignore_statuses: Collection[int] = (),
        handled: bool = False,
        again_seconds: float | None = 3600,
        max_fingerprints: int = 1000,
        with_values: bool = False,
        logger: logging.Logger | str | None = None,
    ) -> None:
        self._ignored = ignored_classes(ignore)
        self._ignored_statuses = checked_statuses("ignore_statuses", ignore_statuses)
        self._has_handled = checked_truth("handled", handled)
        if handled:
            self.signals = {**type(self).signals, "exchange-closed": "closed"}
        self._again_seconds = checked_seconds_or_none(
            "again_seconds",
            again_seconds,
            "write 3600, or inf, in Python None, for once",
        )
        self._max_fingerprints = checked_whole_number(
            "max_fingerprints", max_fingerprints, "write 1000"
        )
        self._with_values = checked_with_values(with_values)
        self._logger = chosen_logger(logger, "signalpost.failures")
        self._visibility = Visibility(self._logger, logging.ERROR)
        self._seen: dict[tuple[str, tuple[Location, ...]], _Seen] = {}
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
        if self._has_handled:
            _mark(exchange)
        if self._is_ignored(exception, exchange):
            return
        kind = kind_of(exception)
        locations = locations_of(exception)
        seen, times, has_traceback = self._count(kind, locations)
        if not _is_logged(times, has_traceback):
            return
        if not self._visibility.takes(logging.ERROR):
            return
        logger = self._logger
        message = message_of(exception, with_values=self._with_values)
        line = _line(message, where, exchange, seen, times)
        file, number, function = innermost(locations)
        record = logger.makeRecord(
            logger.name, logging.ERROR, file, number, line, (), None, function
        )
        if has_traceback:
            record.exc_info = (type(exception), exception, exception.__traceback__)
            # A formatter's own text of it could be mistaken for other records.
            record.exc_text = traceback_of(
                exception, None if self._with_values else hide_values
            )
        logger.handle(record)

    def closed(self, sender: object, *, exchange: Exchange) -> None:
        """Log a response from 500 up for which no exception was reported, or count it.

        It does nothing unless ``handled`` was given. To be connected to
        ``exchange-closed``.
        """
        status = exchange.status
        if not self._has_handled or status is None or status < 500:
            return
        is_reported = exchange.exception is not None or exchange.state.get(_REPORTED)
        _mark(exchange)
        if is_reported or status in self._ignored_statuses:
            return
        route = truncated(exchange.route or "-")
        seen, times, is_due = self._count(f"status {status}", (Location(route, 0, ""),))
        if _is_logged(times, is_due) and self._visibility.takes(logging.ERROR):
            self._logger.error(_line(None, "response", exchange, seen, times))

    def finished(self, sender: object, *, exchange: Exchange) -> None:
        """Log or count the exception of a unit of work.

        Receives ``work-finished``. An exception that is not a failure of the work, as a
        retry or Ctrl-C, is left out.
        """
        exception = exchange.exception
        if exception is not None and exchange.outcome in _FAILED:
            self(sender, exception=exception, where="call", exchange=exchange)

    def _is_ignored(self, exception: BaseException, exchange: Exchange) -> bool:
        if self._ignored:
            leaves = [exception]
            if not isinstance(exception, self._ignored):
                leaves = leaves_of(exception)
            if all(isinstance(one, self._ignored) for one in leaves):
                return True
        if not self._ignored_statuses:
            return False
        status = exchange.status
        if status is None and isinstance(exception, Exception):
            status = _code_of(exception)
        return status in self._ignored_statuses

    def counts(self) -> list[FailureCount]:
        """Return the failures so far, the most frequent one first.

        :returns: One :class:`FailureCount` for each fingerprint, at most
            ``max_fingerprints``.
        """
        with self._lock:
            counts = [
                FailureCount(
                    seen.fingerprint,
                    seen.exception,
                    seen.location,
                    seen.times,
                    seen.first_at,
                    seen.last_at,
                )
                for seen in [*self._seen.values()]
            ]
        return sorted(counts, key=lambda one: one.times, reverse=True)

    def _count(
        self, kind: str, locations: tuple[Location, ...]
    ) -> tuple[_Seen, int, bool]:
        """Count a failure.

        :returns: Its entry, how many times it was seen, and whether its traceback is
            due.
        """
        key = kind, locations
        now = time.perf_counter()
        with self._lock:
            # It moves to the end, so that the first one is the least recent.
            seen = self._seen.pop(key, None)
            if seen is None:
                seen = _Seen(kind, locations, now)
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
    """Text and numbers that are kept of a failure, without the exception."""

    __slots__ = (
        "exception",
        "fingerprint",
        "first_at",
        "last_at",
        "location",
        "printed",
        "times",
    )

    def __init__(
        self, kind: str, locations: tuple[Location, ...], printed: float
    ) -> None:
        self.exception = kind
        self.location = str(innermost(locations)) if locations else "-"
        self.fingerprint = fingerprint_of(kind, locations)
        self.times = 0
        self.first_at = self.last_at = time.time()
        self.printed = printed


def _is_logged(times: int, is_due: bool) -> bool:  # noqa: FBT001 - private
    # 1, 10, 100 …
    return is_due or str(times).rstrip("0") == "1"


def _mark(exchange: Exchange) -> None:
    """Note that a failure was reported, for an exchange and those around it."""
    around: Exchange | None = exchange
    while around is not None:
        around.state[_REPORTED] = True
        around = around.outer


def _code_of(exception: Exception) -> int | None:
    """Return the status of the response that an exception is, if it is one.

    Others have a code, too, such as an error of urllib's that another server sent: the
    client gets a 500 for it.
    """
    try:
        if not callable(getattr(exception, "get_response", None)):
            return None
        code = getattr(exception, "code", None)
    except Exception:  # noqa: BLE001  # whatever an application's exception does
        return None
    return code if isinstance(code, int) else None


def _line(
    message: str | None,
    where: Where | Literal["response"],
    exchange: Exchange,
    seen: _Seen,
    times: int,
) -> Line:
    path_kind, path = route_or_path(exchange)
    shown_path = truncated(path)
    kind = None if message is None else seen.exception
    status = exchange.status
    fields: dict[str, Field] = {
        "method": exchange.method,
        path_kind: shown_path,
        "status": status,
        "where": where,
        "exception_type": kind,
        "exception_message": message,
        "location": seen.location,
        "times": times,
        "fingerprint": seen.fingerprint,
    }
    # Only the values for the text: a kept record must not keep the exchange alive.
    method = exchange.method

    def text() -> str:
        return (
            f"{method} {logfmt_value(shown_path)}"
            f" {'-' if status is None else status} {where}"
            f" {logfmt_value(kind or '-')} at={logfmt_value(seen.location)}"
            f" times={times}"
            f" fingerprint={seen.fingerprint} message={logfmt_value(message or '-')}"
        )

    return Line("failure", fields, text)


log_failure: FailureLogger = FailureLogger()
"""A :class:`FailureLogger` with the default options."""
