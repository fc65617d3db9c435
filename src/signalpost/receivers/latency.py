"""Log how long each request took, in one line at its end."""

from __future__ import annotations

import logging
from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
from itertools import count
from math import ceil
from typing import Any
from typing import ClassVar

from .._engine.unseen import Visibility
from .._options import checked_seconds_or_none
from .._options import is_number
from ..exchange import Exchange
from ..work import METHOD
from .clients import ClientReader
from .formats import Field
from .formats import Line
from .lines import chosen_logger
from .lines import logfmt_value
from .lines import LONGEST_FIELD
from .lines import truncated
from .paths import exclusion_of
from .paths import route_or_path
from .request_fields import RequestFields
from .request_fields import text_of_fields
from .response_times import response_times
from .response_times import seconds_of
from .response_times import STREAMED_SECONDS
from .sql_totals import sql_totals

__all__ = ["LatencyLogger", "log_latency"]

_LEVELS = {
    "complete": "info",
    "aborted": "info",
    "hijacked": "info",
    "lost": "info",
    "error": "error",
    "5xx": "error",
    "slow": "warning",
}

_OWN_FIELDS = (
    "method",
    "route",
    "path",
    "status",
    "outcome",
    "duration_seconds",
    "seconds_to_headers",
    "body_bytes",
    "body_bytes_exact",
    "response_seconds",
    "sql_count",
    "sql_duration_seconds",
)

# The fields that a unit of work lacks.
_OF_RESPONSES = (
    "status",
    "seconds_to_headers",
    "body_bytes",
    "body_bytes_exact",
)

# Outcomes of which a sample is enough.
_ORDINARY = frozenset(("complete", "hijacked"))


class LatencyLogger:
    """Log one line for each exchange; connect it to ``exchange-closed``.

    ::

        exchange_closed.connect(log_latency)

    The line has the method, route, status, outcome, duration and size. For a streamed
    body it also has the time to the headers. If statements are counted
    (:class:`~signalpost.receivers.sql_totals.SqlTotalsCounter`), it has their number
    and duration. It has the id of the request if a proxy sent it or the application has
    read it (:attr:`.Exchange.id`):

    .. code-block:: text

        GET /products/<slug> 200 complete 12.3 ms 4096 bytes 3 statements in 2.1 ms
        GET /export 200 complete 812.0 ms (headers 3.1 ms) ~52100 bytes id=f3-09

    The duration ends when the server has closed the response, also for a streamed body.
    A response counts as streamed if it was closed
    :data:`~signalpost.receivers.response_times.STREAMED_SECONDS` or more after its
    headers, whether the application or the client took the time. A streamed response is
    slow if its headers were late, and a WebSocket is never slow
    (:func:`~signalpost.receivers.response_times.response_times`).

    Without a route, the line has the path, escaped. Without a status, it has a dash. A
    ``~`` before the bytes means that they were read from a header, not counted.

    The message of the record is a :class:`~signalpost.receivers.formats.Line` named
    ``latency``, with the fields ``method``, ``route`` (or ``path`` where there is no
    route), ``status``, ``outcome``, ``duration_seconds``, ``seconds_to_headers``,
    ``body_bytes``, ``body_bytes_exact`` and, if there are any, ``response_seconds``
    (of a streamed response: when its headers left), ``sql_count``,
    ``sql_duration_seconds`` and ``request_id``.

    Connected to ``work-finished`` as well, as a configuration does, it logs one line
    for each unit of work (:mod:`signalpost.work`), without status and size:

    .. code-block:: text

        WORK nightly-report complete 812.0 ms 3 statements in 2.1 ms id=0197f3...

    :param slow_seconds: A response that took at least so long is slow; for a streamed
        response, its headers count. ``None`` for no limit.
    :param levels: The names of logging levels, by an outcome (``"complete"``,
        ``"aborted"``, ``"error"``, ``"hijacked"``, ``"lost"``), by ``"5xx"`` for a
        status from 500 up, or by ``"slow"``. If several apply, the highest level wins.
        The defaults are ``ERROR`` for ``"error"`` and ``"5xx"``, ``WARNING`` for
        ``"slow"`` and ``INFO`` for the rest.
    :param exclude: Patterns of paths for which nothing is logged, not even failures.
        Each is compared with the whole path from the root, mount point included,
        without host and query. ``*`` matches any characters within a segment, once in a
        segment. ``**``, as a whole segment, matches any characters, slashes too, once
        in a pattern: ``"/healthz"``, ``"/items/*/image"``, ``"/static/**"``.
    :param sample: Shares to log, by route, as in ``{"/healthz": 0.01, "*": 0.1}``;
        ``"*"`` for all others together. Without a route, the path counts. With a share
        of ``0.01``, the first request is logged, and then every hundredth. Errors,
        statuses from 500 up, and slow, aborted and lost requests are always logged.
    :param fields: Further fields of each line, by name: ``"request_id"`` for an id on
        every line, created if necessary; ``"client"``, ``"host"``, ``"user_agent"``; or
        a key of :attr:`.Exchange.state`, as ``"user"``. A missing value is a dash, or
        ``null``.
    :param trusted_proxies: For ``"client"``: the number of your own proxies before the
        server. The logged address is the one that connected to the outermost of them.
    :param forwarded_header: For ``"client"``: the header that these proxies send,
        ``"X-Forwarded-For"`` or ``"Forwarded"`` (:rfc:`7239`).
    :param slow_stream_seconds: A streamed response whose whole duration is at least so
        long is slow, too. ``None`` for no limit.
    :param logger: The logger or its name; ``signalpost.latency`` by default.
    :raises ValueError: If an option has the right type, and no meaning.
    :raises TypeError: If an option has the wrong type.

    .. versionadded:: 0.1
    """

    signals: ClassVar[Mapping[str, str]] = {
        "exchange-closed": "__call__",
        "work-finished": "__call__",
    }
    """Methods by the names of the signals that they receive."""

    def __init__(  # noqa: PLR0913  # an option each, by name only
        self,
        *,
        slow_seconds: float | None = None,
        levels: Mapping[str, str] | None = None,
        exclude: Collection[str] = (),
        sample: Mapping[str, float] | None = None,
        slow_stream_seconds: float | None = None,
        fields: Sequence[str] = (),
        trusted_proxies: int = 0,
        forwarded_header: str = "X-Forwarded-For",
        logger: logging.Logger | str | None = None,
    ) -> None:
        self._slow_seconds = checked_seconds_or_none(
            "slow_seconds", slow_seconds, "leave it out to call nothing slow"
        )
        self._slow_stream_seconds = checked_seconds_or_none(
            "slow_stream_seconds",
            slow_stream_seconds,
            f"a stream lasts {STREAMED_SECONDS} or more after its headers; leave it out"
            " to call no stream slow",
        )
        self._levels = _numbered(levels)
        # The level, and whether a sample of such exchanges is enough.
        self._by_outcome = {
            outcome: (level, outcome in _ORDINARY)
            for outcome, level in self._levels.items()
        }
        self._has_limit = slow_seconds is not None or slow_stream_seconds is not None
        self._is_excluded = exclusion_of(exclude)
        self._sample = _sample_of(sample)
        clients = ClientReader(trusted_proxies, forwarded_header)
        further = RequestFields(fields, clients, _OWN_FIELDS)
        self._read_fields = further.of if fields else None
        self._logger = chosen_logger(logger, "signalpost.latency")
        self._visibility = Visibility(self._logger, self._levels["complete"])

    def __call__(self, sender: object, *, exchange: Exchange) -> None:
        """Log an exchange that has closed."""
        times = response_times(exchange)
        is_slow = self._has_limit and self._is_slow(*times)
        level, is_ordinary = self._by_outcome[exchange.outcome or "complete"]
        status = exchange.status
        if is_slow or (status is not None and status >= 500):
            level = self._raised_level(level, status, is_slow=is_slow)
            is_ordinary = False
        logger = self._logger
        if not logger.isEnabledFor(level):
            if level not in self._visibility.refused:
                self._explain(exchange, level, is_ordinary=is_ordinary)
            return
        if self._is_excluded is not None and self._is_excluded(exchange):
            return
        kind, place = route_or_path(exchange)
        if self._sample is not None and is_ordinary and not self._sample.takes(place):
            return
        if level not in self._visibility.taken:
            self._visibility.check(level)
        line = self._line(exchange, kind, place, times)
        line.is_slow = is_slow
        # As Logger.log does, without the search of the stack for its caller.
        logger.handle(
            logger.makeRecord(
                logger.name, level, __file__, _LINE_NUMBER, line, (), None, "__call__"
            )
        )

    def _is_slow(
        self, response_seconds: float | None, stream_seconds: float | None
    ) -> bool:
        return _is_reached(self._slow_seconds, response_seconds) or _is_reached(
            self._slow_stream_seconds, stream_seconds
        )

    def _raised_level(self, level: int, status: int | None, *, is_slow: bool) -> int:
        """Return the level of a slow exchange, or of a status from 500 up."""
        if status is not None and status >= 500:
            level = max(level, self._levels["5xx"])
        return max(level, self._levels["slow"]) if is_slow else level

    def _explain(self, exchange: Exchange, level: int, *, is_ordinary: bool) -> None:
        """Explain that a line is not shown, if it would be written."""
        if self._is_excluded is not None and self._is_excluded(exchange):
            return
        _, place = route_or_path(exchange)
        if is_ordinary and self._sample is not None and not self._sample.has(place):
            return
        self._visibility.check(level)

    def _line(
        self,
        exchange: Exchange,
        kind: str,
        place: str,
        times: tuple[float | None, float | None],
    ) -> _LatencyLine:
        seconds, stream_seconds = times
        streamed_from = totals = None
        if stream_seconds is not None:
            seconds, streamed_from = stream_seconds, seconds
        elif seconds is None:
            seconds = seconds_of(exchange.duration_seconds)
        if exchange._state is not None and (found := sql_totals(exchange)) is not None:
            # Copied, because a later statement would change the totals.
            totals = found.count, found.duration_seconds
        line: _LatencyLine = _LatencyLine()
        line._values = (
            exchange.method,
            kind,
            place if len(place) <= LONGEST_FIELD else truncated(place),
            exchange.status,
            exchange.outcome,
            seconds or 0.0,
            exchange.seconds_to_headers,
            exchange.body_bytes,
            exchange.body_bytes_exact,
            streamed_from,
            totals,
            () if self._read_fields is None else self._read_fields(exchange),
            # Last, as one of the fields may have made it.
            exchange._known_id(),
        )
        return line


class _LatencyLine(Line):
    """The line of one exchange; its fields are computed when they are read.

    Most lines are written as text, and making a dict takes as long as making the text.
    """

    __slots__ = ("_values", "is_slow")

    name = "latency"
    is_slow: bool
    """``True`` if the exchange took ``slow_seconds`` or longer."""
    _values: tuple[Any, ...]

    # LatencyLogger sets the attributes: a constructor would cost one more call.
    __init__ = object.__init__

    def __reduce__(self) -> tuple[Any, ...]:
        state = {"_values": self._values, "is_slow": self.is_slow}
        return type(self), (), (None, state)

    def __repr__(self) -> str:
        return f"<Line {self.name}: {self}>"

    @property
    def fields(self) -> Mapping[str, Field]:  # type: ignore[override]  # a slot there
        """The values, by name."""
        *others, streamed_from, totals, more, request_id = self._values
        method, kind, place, status, outcome, seconds, to_headers, size, exact = others
        fields: dict[str, Field] = {
            "method": method,
            kind: place,
            "status": status,
            "outcome": outcome,
            "duration_seconds": seconds,
            "seconds_to_headers": to_headers,
            "body_bytes": size,
            "body_bytes_exact": exact,
        }
        if method == METHOD:
            for name in _OF_RESPONSES:
                del fields[name]
        if streamed_from is not None:
            fields["response_seconds"] = streamed_from
        if totals is not None:
            fields["sql_count"], fields["sql_duration_seconds"] = totals
        if request_id is not None:
            fields["request_id"] = request_id
        fields.update(more)
        return fields

    def __str__(self) -> str:
        (
            method,
            _,
            place,
            status,
            outcome,
            seconds,
            _,
            size,
            is_exact,
            streamed_from,
            totals,
            more,
            request_id,
        ) = self._values
        headers = "" if streamed_from is None else _headers_text(streamed_from)
        if method == METHOD:
            text = (
                f"{method} {logfmt_value(place)}"
                f" {outcome or 'open'} {seconds * 1000:.1f} ms{headers}"
            )
        else:
            text = (
                f"{method} {logfmt_value(place)} {'-' if status is None else status}"
                f" {outcome or 'open'} {seconds * 1000:.1f} ms{headers}"
                f" {'' if is_exact else '~'}{size} {'byte' if size == 1 else 'bytes'}"
            )
        if totals is not None:
            text += _sql_text(*totals)
        if request_id is not None:
            text += " id=" + logfmt_value(request_id)
        if more:
            text += text_of_fields(more)
        return text


def _headers_text(seconds: float) -> str:
    return f" (headers {seconds * 1000:.1f} ms)"


def _sql_text(count: int, duration_seconds: float) -> str:
    plural = "" if count == 1 else "s"
    return f" {count} statement{plural} in {duration_seconds * 1000:.1f} ms"


class _Sample:
    """Which of the ordinary exchanges are logged: a share of each place's."""

    def __init__(self, shares: Mapping[str, float]) -> None:
        self._shares = {place: (share, count()) for place, share in shares.items()}
        self._others = self._shares.pop("*", None)

    def has(self, place: str) -> bool:
        """Return whether any of a place are logged, without counting one."""
        found = self._shares.get(place, self._others)
        return found is None or found[0] > 0

    def takes(self, place: str) -> bool:
        """Count one, and return whether it is logged."""
        found = self._shares.get(place, self._others)
        if found is None:
            return True
        share, counter = found
        before = next(counter)
        # By counting: the share is exact, and two runs log the same.
        return ceil((before + 1) * share) > ceil(before * share)


def _sample_of(shares: Mapping[str, float] | None) -> _Sample | None:
    if shares is None:
        return None
    if not isinstance(shares, Mapping):
        raise TypeError(
            f"sample must be a mapping of routes to shares, got {shares!r}; write"
            ' {"/healthz": 0.01, "*": 0.1}'
        )
    for place, share in shares.items():
        if not isinstance(place, str):
            raise TypeError(
                f'a route in sample must be a string, got {place!r}; write "*"'
            )
        if not is_number(share):
            raise TypeError(
                f"the share of {place!r} in sample must be a number, got {share!r};"
                " write 0.01 for one of a hundred"
            )
        if not 0 <= share <= 1:
            raise ValueError(
                f"the share of {place!r} in sample must be from 0 to 1, got"
                f" {share!r}; write 0.01 for one of a hundred"
            )
        if place != "*" and not place.startswith("/"):
            raise ValueError(
                f'a route in sample must begin with "/" or be "*", got {place!r};'
                " write it as the lines of the log do"
            )
    return _Sample(shares)


def _is_reached(threshold: float | None, seconds: float | None) -> bool:
    return threshold is not None and seconds is not None and seconds >= threshold


def _numbered(levels: Mapping[str, str] | None) -> dict[str, int]:
    if levels is not None and not isinstance(levels, Mapping):
        raise TypeError(
            f"levels must be a mapping of outcomes to names of levels, got {levels!r};"
            ' write {"aborted": "warning"}'
        )
    numbers = logging.getLevelNamesMapping()
    numbered = {}
    for what, name in {**_LEVELS, **(levels or {})}.items():
        if what not in _LEVELS:
            raise ValueError(
                f"levels are by {', '.join(_LEVELS)}; got one for {what!r}"
            )
        if not isinstance(name, str):
            raise TypeError(
                f"the level of {what!r} must be the name of a level, got {name!r};"
                ' write "warning"'
            )
        number = numbers.get(name.upper())
        if number is None:
            raise ValueError(
                f"the level of {what!r} must be a level of logging, got {name!r};"
                f" the levels are {', '.join(numbers).lower()}"
            )
        numbered[what] = number
    return numbered


_LINE_NUMBER = LatencyLogger.__call__.__code__.co_firstlineno

log_latency: LatencyLogger = LatencyLogger()
"""A :class:`LatencyLogger` with the default options."""
