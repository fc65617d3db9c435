"""The numbers of all workers together: counts, charts and quantiles."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate
from struct import Struct
from sys import byteorder
from typing import Final
from typing import TypeAlias

from ._layout import BUCKETS
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

__all__ = [
    "HISTOGRAM_BYTES",
    "Quantiles",
    "chart_of",
    "counts_of",
    "later",
    "quantiles",
    "quantiles_of",
    "rates_of",
]

HISTOGRAM_BYTES: Final = 4 * BUCKETS
_counts_of = Struct(f"={BUCKETS}I").unpack
_MASK: Final = (1 << (8 * HISTOGRAM_BYTES)) - 1
# More digits would only be sent: a bucket is much wider.
_MIDDLES: Final = tuple(float(f"{middle_of(one):.6g}") for one in range(BUCKETS))

Quantiles: TypeAlias = tuple[float | None, float | None, float | None]


# Between two polls, most routes and periods have the same histogram.
@lru_cache(maxsize=512)
def quantiles(histogram: bytes) -> Quantiles:
    """Return p50, p90 and p99 of a histogram, in seconds.

    :param histogram: Its counts of 32 bits.
    """
    totals = [*accumulate(_counts_of(histogram))]
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


def later(chart: Chart, first: int) -> Chart:
    """Return the part of a chart from one of its seconds on."""
    skipped = first - chart.begin
    columns = chart.requests, chart.failed, chart.aborted
    return Chart(first, *(one[skipped:] for one in columns))


def _seconds_of(worker: Worker, first: int, last: int) -> Iterator[tuple[int, ...]]:
    """Return the places of some seconds in the ring; they may have older seconds."""
    begin, end = first % SECONDS, last % SECONDS + 1
    at = worker.layout.seconds
    ring = worker.data[at : at + SECONDS * SECOND.size]
    begin, end = begin * SECOND.size, end * SECOND.size
    data = ring[begin:end] if begin < end else ring[begin:] + ring[:end]
    return SECOND.iter_unpack(data)


def counts_of(worker: Worker, first: int, last: int) -> tuple[int, int, int]:
    """Return how many requests of a worker closed, failed and were aborted.

    :param first: The first second.
    :param last: The last second, at most ten minutes later.
    """
    rows = _seconds_of(worker, first, last)
    some = [row for row in rows if first <= row[0] <= last]
    _, requests, failed, aborted = map(sum, zip((0,) * 4, *some, strict=True))
    return requests, failed, aborted


def rates_of(
    chart: Chart, first: int, last: int, since: float | None
) -> list[tuple[float | None, ...]]:
    """Return requests, failed and aborted ones a second, by periods.

    :param chart: The requests by second, from the first period or earlier.
    :param first: The number of the first period.
    :param last: The number of the last period.
    :param since: When the recording began; ``None`` if it has not.
    """
    begin = first * PERIOD_SECONDS - chart.begin
    places = range(begin, begin + (last + 1 - first) * PERIOD_SECONDS, PERIOD_SECONDS)
    # What ends before is not recorded.
    before = math.inf if since is None else since - PERIOD_SECONDS - chart.begin
    return [
        tuple(
            sum(counts[at : at + PERIOD_SECONDS]) / PERIOD_SECONDS
            if at > before
            else None
            for at in places
        )
        for counts in (chart.requests, chart.failed, chart.aborted)
    ]


def quantiles_of(
    workers: Iterable[Worker], first: int, last: int
) -> tuple[list[Quantiles], Quantiles]:
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
    minute = sum(histograms[tick] for tick in range(minute_first, last + 1))
    rows = [_of_number(histograms[tick]) for tick in range(first, last + 1)]
    return rows, _of_number(minute)


def _of_number(histogram: int) -> Quantiles:
    """Return the quantiles of a histogram that is one number.

    Histograms of several workers can be added in one step as numbers.
    """
    # In a damaged file, the counts may be too large, and their sum may overflow.
    return quantiles((histogram & _MASK).to_bytes(HISTOGRAM_BYTES, byteorder))
