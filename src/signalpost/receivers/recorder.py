"""Request rate, latency, errors and open requests of the last minute, in memory."""

from __future__ import annotations

import time
from collections import Counter
from collections import deque
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Generator
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import isnan
from math import nan
from threading import RLock
from typing import ClassVar
from typing import TypeAlias
from weakref import WeakValueDictionary

from .._options import checked_whole_number
from ..exchange import Exchange
from .lines import logfmt_value
from .lines import LONGEST_FIELD
from .paths import exclusion_of
from .paths import OTHER_ROUTES
from .paths import UNMATCHED_ROUTE
from .quantiles import DurationHistogram
from .response_times import response_times

__all__ = [
    "LatencyRecorder",
    "RecorderSnapshot",
    "RouteMetrics",
]

_SLOTS = 12
_SLOT_SECONDS = 5

# Far more than close in the milliseconds that a reader takes.
_MOST_WAITING = 10_000

# The response time, and how long a stream lasted.
_Times: TypeAlias = tuple[float | None, float | None]

# Route, whether it failed, its times, and the number of the period.
_Closed: TypeAlias = tuple[str | None, bool, _Times, int]


@dataclass(frozen=True, slots=True)
class RouteMetrics:
    """The metrics of one route, or of all; of the last minute unless noted.

    .. versionadded:: 0.1
    """

    route: str
    """The route's template, as ``"/items/<int:id>"``;
    :data:`~signalpost.receivers.paths.UNMATCHED_ROUTE`,
    :data:`~signalpost.receivers.paths.OTHER_ROUTES`, or ``"<all>"``."""
    requests: int
    """How many requests closed."""
    requests_per_second: float
    """How many requests closed, for each second of
    :attr:`RecorderSnapshot.covered_seconds`."""
    error_share: float
    """The share of them that failed, 0 to 1; ``nan`` if there were none."""
    in_flight: int
    """How many exchanges are open at this moment."""
    p50_seconds: float
    """The response time that half of them did not exceed; ``nan`` without any."""
    p90_seconds: float
    """The duration that 90 % of them did not exceed."""
    p99_seconds: float
    """The duration that 99 % of them did not exceed."""
    maximum_seconds: float
    """The longest of them, exactly."""
    requests_since_start: int
    """How many requests have closed since the recorder was made."""
    errors_since_start: int
    """How many of those failed."""
    streams: int
    """How many of the requests had a streamed response."""
    stream_p50_seconds: float
    """The whole duration that half of the streams did not exceed; ``nan`` if there were
    none."""
    stream_p99_seconds: float
    """The duration that 99 % of the streams did not exceed."""
    stream_maximum_seconds: float
    """The longest stream, exactly."""


@dataclass(frozen=True, slots=True)
class RecorderSnapshot:
    """The metrics of a :class:`LatencyRecorder` at one moment; ``str()`` is a table.

    .. versionadded:: 0.1
    """

    covered_seconds: float
    """How long the last minute is: from 55 seconds up to 60, or since the recorder
    was made, but one second at least."""
    total: RouteMetrics
    """All requests together."""
    routes: tuple[RouteMetrics, ...]
    """Each route that was seen, the busiest first; ``max_routes`` and two at most."""

    def __str__(self) -> str:
        rows = [_HEADINGS, *map(_cells, (self.total, *self.routes))]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if number == 0 else cell.rjust(width)
                for number, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        )


class LatencyRecorder:
    """Measure the current rate and latency of requests, by route and in total.

    ::

        recorder = LatencyRecorder()
        exchange_opened.connect(recorder.opened)
        exchange_closed.connect(recorder.closed)
        ...
        print(recorder)

    *The last minute* is the current period of 5 seconds and the 11 before it. Counts
    since the start are given, too.

    *Failed* is a request whose outcome is ``"error"`` or whose status is 500 or above.
    Requests that the client aborted, and statuses of 4xx, are not failed.

    *Durations* are response times: until the server closed the response, or until the
    headers if the response was streamed
    (:func:`~signalpost.receivers.response_times.response_times`). So a long stream does
    not raise a quantile; the whole durations of streams are separate values. A quantile
    is a nearest-rank percentile with an error of at most
    :data:`~signalpost.receivers.quantiles.RELATIVE_ERROR`, which is under 0.8 %.
    WebSockets and responses that the server never closed are counted, but not timed.

    *In flight* are the exchanges that were opened while :meth:`opened` was connected
    and are still open, by their routes so far.

    Memory is bounded: routes beyond ``max_routes`` share one row, and requests without
    a route share another. A row takes 300 kB at most, if its durations are of all
    possible lengths, and as much again for streams. The row of a busy route usually
    takes 70 kB.

    Any thread may call it. A request never waits for another, nor for a reader.

    :param max_routes: The number of routes with their own rows; the first ones get
        them.
    :param exclude: Patterns of paths that are not recorded, such as health checks: see
        :func:`~signalpost.receivers.paths.exclusion_of`.
    :param clock: Returns the time in seconds, for tests.
    :raises TypeError: If an option has the wrong type.
    :raises ValueError: If ``max_routes`` is less than 1, or a pattern has no meaning.

    .. versionadded:: 0.1
    """

    signals: ClassVar[Mapping[str, str]] = {
        "exchange-opened": "opened",
        "exchange-closed": "closed",
    }
    """Methods by the names of the signals that they receive."""

    def __init__(
        self,
        *,
        max_routes: int = 100,
        exclude: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        checked_whole_number(
            "max_routes", max_routes, "write a number of routes, as 100"
        )
        if not callable(clock):
            raise TypeError(
                f"clock must be callable, got {clock!r}; pass a function that returns"
                " seconds, as time.monotonic"
            )
        self._is_excluded = exclusion_of(exclude)
        self._clock = clock
        self._made_at = clock()
        self._most_rows = max_routes + 2
        self._rows = {UNMATCHED_ROUTE: _Row(), OTHER_ROUTES: _Row()}
        self._open: WeakValueDictionary[int, Exchange] = WeakValueDictionary()
        # Closed exchanges wait here to be counted, so that no request waits for a
        # lock. Above all not one that the garbage collection finds lost, in a thread
        # that holds the lock.
        self._closed: deque[_Closed] = deque(maxlen=_MOST_WAITING)
        self._lock = RLock()
        self._is_busy = False

    def opened(self, sender: object, *, exchange: Exchange) -> None:
        """Count an exchange as in flight."""
        if self._is_excluded is not None and self._is_excluded(exchange):
            return
        self._open[id(exchange)] = exchange

    def closed(self, sender: object, *, exchange: Exchange) -> None:
        """Count an exchange that has closed."""
        if self._is_excluded is not None and self._is_excluded(exchange):
            return
        self._open.pop(id(exchange), None)
        status = exchange.status
        outcome = exchange.outcome
        self._closed.append(
            (
                exchange.route,
                outcome == "error" or (status is not None and status >= 500),
                response_times(exchange),
                self._tick(),
            )
        )
        # If the lock is held, its holder, or the next one, will count this.
        if self._lock.acquire(blocking=False):
            try:
                self._count()
            finally:
                self._lock.release()

    def snapshot(self) -> RecorderSnapshot:
        """Return the metrics of this moment, by route and in total.

        It takes some milliseconds for many routes; requests do not wait.
        """
        with self._reading() as first_tick:
            in_flight = Counter(
                self._name(exchange.route) for exchange in self._in_flight()
            )
            covered_seconds = max(
                1.0, self._clock() - max(self._made_at, first_tick * _SLOT_SECONDS)
            )
            whole = _Row()
            whole_minute = _Slot(first_tick)
            routes = []
            # A copy, as a Unix signal's function may read at the same time.
            for name, row in list(self._rows.items()):
                minute = row.minute(first_tick)
                whole.requests += row.requests
                whole.errors += row.errors
                whole_minute.add(minute)
                if row.requests or in_flight[name]:
                    routes.append(
                        _route_metrics(
                            name, row, minute, in_flight[name], covered_seconds
                        )
                    )
            total = _route_metrics(
                "<all>", whole, whole_minute, in_flight.total(), covered_seconds
            )
        routes.sort(key=_busiest_first)
        return RecorderSnapshot(covered_seconds, total, tuple(routes))

    def quantile(self, q: float, route: str | None = None) -> float:
        """Return the response time that a share ``q`` of requests did not exceed.

        Nearest rank, over the last minute, off by
        :data:`~signalpost.receivers.quantiles.RELATIVE_ERROR` of it at most.

        :param q: A share, 0 to 1; ``0.99`` is the 99th percentile.
        :param route: A route's template,
            :data:`~signalpost.receivers.paths.UNMATCHED_ROUTE` or
            :data:`~signalpost.receivers.paths.OTHER_ROUTES`; without it, all requests.
        :returns: Seconds; ``nan`` while no request has finished.
        :raises ValueError: If ``q`` is outside 0 to 1.
        """
        with self._reading() as first_tick:
            rows = list(self._rows.values())
            if route is not None:
                row = self._rows.get(route[:LONGEST_FIELD])
                rows = [] if row is None else [row]
            durations = DurationHistogram()
            for row in rows:
                durations.merge(row.minute(first_tick).durations)
            return durations.quantile(q)

    def __str__(self) -> str:
        return str(self.snapshot())

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._rows) - 2} routes>"

    def _tick(self) -> int:
        return int(self._clock() // _SLOT_SECONDS)

    def _in_flight(self) -> list[Exchange]:
        references = self._open.valuerefs()
        exchanges = (reference() for reference in references)
        # An exchange can have closed although its close was not received.
        return [one for one in exchanges if one is not None and one.is_open]

    @contextmanager
    def _reading(self) -> Generator[int]:
        """Count the closed exchanges, lock the rows, and yield the minute's begin."""
        with self._lock:
            self._count()
            was_busy, self._is_busy = self._is_busy, True
            try:
                yield self._tick() - _SLOTS + 1
            finally:
                self._is_busy = was_busy

    def _count(self) -> None:
        """Count the closed exchanges, unless this thread is counting or reading.

        It is if a Unix signal, or the garbage collection, calls this between two steps
        of a count or of a reading.
        """
        if self._is_busy:
            return
        self._is_busy = True
        try:
            for _ in range(len(self._closed)):
                route, has_failed, times, tick = self._closed.popleft()
                self._rows[self._name(route)].record(tick, times, has_failed=has_failed)
        finally:
            self._is_busy = False

    def _name(self, route: str | None) -> str:
        """Return the name of a route's row, which is made if there is room."""
        name = UNMATCHED_ROUTE if route is None else route[:LONGEST_FIELD]
        if name not in self._rows:
            if len(self._rows) >= self._most_rows:
                return OTHER_ROUTES
            self._rows[name] = _Row()
        return name


class _Slot:
    """The requests that closed within a period.

    :param tick: The number of the period.
    """

    __slots__ = ("durations", "errors", "requests", "streams", "tick")

    def __init__(self, tick: int) -> None:
        self.tick = tick
        self.requests = 0
        self.errors = 0
        self.durations = DurationHistogram()
        self.streams = DurationHistogram()

    def add(self, other: _Slot) -> None:
        self.requests += other.requests
        self.errors += other.errors
        self.durations.merge(other.durations)
        self.streams.merge(other.streams)


class _Row:
    """The counts of one route: since the start, and by periods."""

    __slots__ = ("_slots", "errors", "requests")

    def __init__(self) -> None:
        self.requests = 0
        self.errors = 0
        # As many of different ticks are a minute at least.
        self._slots: deque[_Slot] = deque(maxlen=_SLOTS)

    def record(self, tick: int, times: _Times, *, has_failed: bool) -> None:
        self.requests += 1
        self.errors += has_failed
        slots = self._slots
        # Threads overtake each other, and clocks are set back: the newest is near.
        if not slots or slots[-1].tick < tick:
            slots.append(_Slot(tick))
        slot = slots[-1]
        slot.requests += 1
        slot.errors += has_failed
        response_seconds, stream_seconds = times
        if response_seconds is not None:
            slot.durations.record(response_seconds)
        if stream_seconds is not None:
            slot.streams.record(stream_seconds)

    def minute(self, first_tick: int) -> _Slot:
        """Return the sum of the periods from one on."""
        whole = _Slot(first_tick)
        for slot in tuple(self._slots):
            if slot.tick >= first_tick:
                whole.add(slot)
        return whole


def _route_metrics(
    route: str, row: _Row, minute: _Slot, in_flight: int, covered_seconds: float
) -> RouteMetrics:
    durations = minute.durations
    return RouteMetrics(
        route=route,
        requests=minute.requests,
        requests_per_second=minute.requests / covered_seconds,
        error_share=(minute.errors / minute.requests if minute.requests else nan),
        in_flight=in_flight,
        p50_seconds=durations.quantile(0.5),
        p90_seconds=durations.quantile(0.9),
        p99_seconds=durations.quantile(0.99),
        maximum_seconds=durations.maximum_seconds,
        requests_since_start=row.requests,
        errors_since_start=row.errors,
        streams=minute.streams.count,
        stream_p50_seconds=minute.streams.quantile(0.5),
        stream_p99_seconds=minute.streams.quantile(0.99),
        stream_maximum_seconds=minute.streams.maximum_seconds,
    )


def _busiest_first(metrics: RouteMetrics) -> tuple[int, str]:
    return -metrics.requests, metrics.route


_HEADINGS = (
    "last minute",
    "requests",
    "a second",
    "errors",
    "in flight",
    "p50 ms",
    "p90 ms",
    "p99 ms",
    "max ms",
)


def _cells(metrics: RouteMetrics) -> tuple[str, ...]:
    durations = (
        metrics.p50_seconds,
        metrics.p90_seconds,
        metrics.p99_seconds,
        metrics.maximum_seconds,
    )
    return (
        logfmt_value(metrics.route, 60),
        str(metrics.requests),
        f"{metrics.requests_per_second:.1f}",
        f"{metrics.error_share:.1%}" if metrics.requests else "-",
        str(metrics.in_flight),
        *("-" if isnan(one) else f"{1000 * one:.1f}" for one in durations),
    )
