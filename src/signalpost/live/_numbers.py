"""The numbers of all workers together: counts, charts, quantiles and routes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from itertools import accumulate
from operator import add
from struct import Struct
from sys import byteorder
from typing import Final
from typing import NamedTuple
from typing import TypeAlias

from ._layout import BUCKETS
from ._layout import COUNTS
from ._layout import middle_of
from ._layout import MINUTE_PERIODS
from ._layout import PERIOD_BYTES
from ._layout import PERIOD_SECONDS
from ._layout import PERIODS
from ._layout import SECOND
from ._layout import SECONDS
from ._layout import TICK
from ._worker import Worker
from .snapshot import Chart
from .snapshot import Periods
from .snapshot import RouteRow

__all__ = [
    "Minutes",
    "Quantiles",
    "chart_of",
    "minute_counts",
    "periods_of",
    "quantiles",
]

_HISTOGRAM_BYTES: Final = 4 * BUCKETS
_counts_of = Struct(f"={BUCKETS}I").unpack
_MASK: Final = (1 << (8 * _HISTOGRAM_BYTES)) - 1
_MIDDLES: Final = tuple(map(middle_of, range(BUCKETS)))

Quantiles: TypeAlias = tuple[float | None, float | None, float | None]


def quantiles(histogram: int) -> Quantiles:
    """Return p50, p90 and p99 of a histogram, in seconds.

    :param histogram: Its counts of 32 bits, as one number. Histograms of several
        workers can so be added in one step.
    """
    if not histogram:
        return None, None, None
    # In a damaged file, the counts may be too large, and their sum may overflow.
    data = (histogram & _MASK).to_bytes(_HISTOGRAM_BYTES, byteorder)
    totals = [*accumulate(_counts_of(data))]
    count = totals[-1]
    if not count:
        return None, None, None
    # The nearest rank, rounded up in whole numbers.
    return (
        _MIDDLES[bisect_left(totals, -(count * -50 // 100))],
        _MIDDLES[bisect_left(totals, -(count * -90 // 100))],
        _MIDDLES[bisect_left(totals, -(count * -99 // 100))],
    )


def chart_of(workers: Iterable[Worker], first: int, last: int) -> Chart:
    """Return the requests by second.

    :param first: The first second.
    :param last: The last second, at most ten minutes later.
    """
    count = last - first + 1
    requests, failed, aborted = [0] * count, [0] * count, [0] * count
    for worker in workers:
        # The ring does not begin with the first second, so the number decides.
        for tick, *counts in _seconds_of(worker, first, last):
            number = tick - first
            if 0 <= number < count:
                requests[number] += counts[0]
                failed[number] += counts[1]
                aborted[number] += counts[2]
    return Chart(first, tuple(requests), tuple(failed), tuple(aborted))


def _seconds_of(
    worker: Worker, first: int, last: int
) -> Iterator[tuple[int, int, int, int]]:
    """Yield the places of some seconds in the ring; they may have older seconds."""
    begin, end = first % SECONDS, last % SECONDS + 1
    spans = [(begin, end)] if begin < end else [(begin, SECONDS), (0, end)]
    at = worker.layout.seconds
    for start, stop in spans:
        data = worker.data[at + start * SECOND.size : at + stop * SECOND.size]
        yield from SECOND.iter_unpack(data)


def minute_counts(worker: Worker, first: int, last: int) -> int:
    """Return how many requests of a worker closed from one second to another."""
    return sum(
        requests
        for tick, requests, _, _ in _seconds_of(worker, first, last)
        if first <= tick <= last
    )


def periods_of(
    workers: Iterable[Worker], first: int, last: int
) -> tuple[Periods, Quantiles]:
    """Return the quantiles by periods of 5 seconds, and those of the last minute.

    :param first: The number of the first period.
    :param last: The number of the last period.
    """
    minute_first = last - MINUTE_PERIODS + 1
    histograms = dict.fromkeys(range(min(first, minute_first), last + 1), 0)
    for worker in workers:
        data, begin = worker.data, worker.layout.periods
        for tick in histograms:
            at = begin + tick % PERIODS * PERIOD_BYTES
            if TICK.unpack_from(data, at)[0] == tick:
                histograms[tick] += int.from_bytes(
                    data[at + 8 : at + PERIOD_BYTES], byteorder
                )
    rows = [quantiles(histograms[tick]) for tick in range(first, last + 1)]
    p50, p90, p99 = map(tuple, zip(*rows, strict=True))
    minute = sum(histograms[tick] for tick in range(minute_first, last + 1))
    begin = first * PERIOD_SECONDS
    return Periods(begin, PERIOD_SECONDS, p50, p90, p99), quantiles(minute)


class _Minute(NamedTuple):
    """The counts of a worker's rows in one period."""

    requests: tuple[int, ...]
    failed: tuple[int, ...]
    aborted: tuple[int, ...]
    histograms: int


class _Route:
    """A route of all workers."""

    __slots__ = (
        "aborted",
        "all_aborted",
        "all_failed",
        "chart",
        "failed",
        "histogram",
        "requests",
    )

    def __init__(self) -> None:
        self.chart: Sequence[int] = (0,) * MINUTE_PERIODS
        self.failed = self.aborted = self.histogram = 0
        self.requests = self.all_failed = self.all_aborted = 0


class Minutes:
    """The routes in the last minute.

    It caches the periods that are over, so that the next call reads only the last two.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], _Minute | None] = {}

    def routes_of(
        self, workers: Sequence[Worker], last: int, window_seconds: float
    ) -> list[RouteRow]:
        """Return the routes, the busiest first.

        :param last: The number of the last period.
        :param window_seconds: The length of the last minute.
        """
        first = last - MINUTE_PERIODS + 1
        routes: dict[str, _Route] = {}
        known: dict[tuple[str, int], _Minute | None] = {}
        for worker in workers:
            minutes = []
            for tick in range(first, last + 1):
                key = worker.name, tick
                if key in self._known:
                    minute = self._known[key]
                else:
                    minute = _minute_of(worker, tick)
                # A worker may still write into the period before, for a moment.
                if tick < last - 1:
                    known[key] = minute
                minutes.append(minute)
            _add(routes, worker, minutes)
        self._known = known
        rows = [_row(name, route, window_seconds) for name, route in routes.items()]
        rows = [row for row in rows if row.requests_since_start]
        rows.sort(key=lambda row: (-row.requests, -row.requests_since_start, row.route))
        return rows


def _minute_of(worker: Worker, tick: int) -> _Minute | None:
    layout = worker.layout
    data = worker.minute(tick % MINUTE_PERIODS)
    if TICK.unpack_from(data)[0] != tick:
        return None
    at = TICK.size
    histograms_at = at + layout.rows * COUNTS.size
    end = histograms_at + layout.rows * _HISTOGRAM_BYTES
    counts = Struct(f"={3 * layout.rows}I").unpack_from(data, at)
    histograms = int.from_bytes(data[histograms_at:end], byteorder)
    return _Minute(counts[::3], counts[1::3], counts[2::3], histograms)


def _add(
    routes: dict[str, _Route], worker: Worker, minutes: list[_Minute | None]
) -> None:
    """Add a worker's routes."""
    layout = worker.layout
    some = [minute for minute in minutes if minute is not None]
    zeros = (0,) * layout.rows
    columns = [zeros if one is None else one.requests for one in minutes]
    charts = [*zip(*columns, strict=True)]
    failed = _summed(one.failed for one in some if any(one.failed))
    aborted = _summed(one.aborted for one in some if any(one.aborted))
    size = layout.rows * _HISTOGRAM_BYTES
    whole = sum(one.histograms for one in some) & ((1 << (8 * size)) - 1)
    histograms = whole.to_bytes(size, byteorder)
    names = worker.routes()
    totals = Struct(f"={3 * len(names)}Q").unpack_from(worker.data, layout.totals)
    for row, name in enumerate(names):
        route = routes.get(name)
        if route is None:
            route = routes[name] = _Route()
        chart = charts[row]
        # In most minutes, most routes have no requests.
        if any(chart):
            route.chart = [*map(add, route.chart, chart)] if route.histogram else chart
            if failed:
                route.failed += failed[row]
            if aborted:
                route.aborted += aborted[row]
            at = row * _HISTOGRAM_BYTES
            route.histogram += int.from_bytes(
                histograms[at : at + _HISTOGRAM_BYTES], byteorder
            )
        route.requests += totals[3 * row]
        route.all_failed += totals[3 * row + 1]
        route.all_aborted += totals[3 * row + 2]


def _summed(columns: Iterable[Sequence[int]]) -> list[int]:
    """Return the sums of the rows of columns; nothing if there is no column."""
    return [*map(sum, zip(*columns, strict=True))]


def _row(name: str, route: _Route, window_seconds: float) -> RouteRow:
    requests = sum(route.chart)
    return RouteRow(
        name,
        requests,
        round(requests / window_seconds, 3),
        route.failed,
        route.aborted,
        *quantiles(route.histogram),
        route.requests,
        route.all_failed,
        route.all_aborted,
        tuple(route.chart),
    )
