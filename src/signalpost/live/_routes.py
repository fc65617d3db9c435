"""The routes of all workers together, in the last minute and since the start."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from itertools import chain
from operator import add
from struct import Struct
from sys import byteorder
from typing import Final
from typing import NamedTuple
from typing import TypeAlias

from ._layout import COUNTS
from ._layout import MINUTE_PERIODS
from ._layout import TICK
from ._layout import TOTALS
from ._numbers import HISTOGRAM_BYTES
from ._numbers import quantiles
from ._worker import Worker
from .snapshot import RouteRow

__all__ = ["Routes"]

_MOST_NAMES: Final = 256
"""How many routes the workers of a group have together, if they are several."""

# A worker may still write into the period before, for a moment.
_OPEN_PERIODS: Final = 2


class Routes:
    """The routes of workers, read repeatedly.

    The tables of workers that have the same routes are added as whole numbers, in few
    steps. The sums of past periods are cached, so that the next call
    reads only the last two.
    """

    def __init__(self) -> None:
        self._names: dict[_Member, tuple[str, ...]] = {}
        self._groups: dict[tuple[_Member, ...], _Group] = {}

    def rows(
        self, workers: Sequence[Worker], last: int, window_seconds: float
    ) -> list[RouteRow]:
        """Return the routes, the busiest first.

        :param last: The number of the last period.
        :param window_seconds: The length of the last minute.
        """
        names, self._names = self._names, {}
        for one in workers:
            if one.live.requests:
                member = _member(one)
                self._names[member] = names.get(member) or one.routes()
        groups, self._groups = self._groups, {}
        routes: dict[str, _Route] = {}
        for some in _grouped(workers, self._names):
            key = tuple(map(_member, some))
            group = groups.get(key) or _Group(some, [self._names[one] for one in key])
            self._groups[key] = group
            for route in group.routes(some, last):
                other = routes.get(route.name)
                routes[route.name] = _both(other, route) if other else route
        rows = [_row(one, window_seconds) for one in routes.values() if one.totals[0]]
        rows.sort(key=lambda row: (-row.requests, -row.requests_since_start, row.route))
        return rows


_Member: TypeAlias = tuple[str, int]
"""The name of a worker, and how many routes it has: they are never others then."""


def _member(worker: Worker) -> _Member:
    return worker.name, worker.live.route_count


class _Route(NamedTuple):
    """A route of one group or more."""

    name: str
    chart: Sequence[int]
    counts: Sequence[int]
    """Of the last minute: requests, failed ones, aborted ones."""
    totals: Sequence[int]
    """The same since the start."""
    histogram: bytes


def _both(one: _Route, other: _Route) -> _Route:
    """Return the sum of a route of two groups."""
    histogram = sum(int.from_bytes(of.histogram, byteorder) for of in (one, other))
    return _Route(
        one.name,
        [*map(add, one.chart, other.chart)],
        [*map(add, one.counts, other.counts)],
        [*map(add, one.totals, other.totals)],
        _bytes_of(histogram, HISTOGRAM_BYTES),
    )


def _row(route: _Route, window_seconds: float) -> RouteRow:
    requests = sum(route.chart)
    _, failed, aborted = route.counts
    in_all, all_failed, all_aborted = route.totals
    p50, p90, p99 = quantiles(route.histogram)
    return RouteRow(
        route.name,
        requests,
        round(requests / window_seconds, 3),
        failed,
        aborted,
        p50,
        p90,
        p99,
        in_all,
        all_failed,
        all_aborted,
        tuple(route.chart),
    )


def _grouped(
    workers: Iterable[Worker], names: Mapping[_Member, tuple[str, ...]]
) -> Iterator[list[Worker]]:
    """Yield the workers that have routes, in groups of similar ones.

    Workers of one application have the same routes. Those of many applications in one
    group would make each of its tables long.
    """
    groups: list[tuple[set[str], list[Worker]]] = []
    for one in workers:
        own = names.get(_member(one))
        if own is None:
            continue
        for known, members in groups:
            if len(known.union(own)) <= _MOST_NAMES:
                known.update(own)
                members.append(one)
                break
        else:
            groups.append((set(own), [one]))
    for _, members in groups:
        yield members


class _Table(NamedTuple):
    """The rows of one worker or more in a period, in the order of a group.

    Each column of rows is one number, so that several can be added in one step.
    """

    counts: int
    histograms: int


_EMPTY: Final = _Table(0, 0)


class _Group:
    """Workers whose tables are summed.

    :param members: The workers. Once one has more routes, it is another group.
    :param names: The routes of each.
    """

    def __init__(
        self, members: Sequence[Worker], names: Sequence[tuple[str, ...]]
    ) -> None:
        self._names = tuple(dict.fromkeys(chain.from_iterable(names)))
        self._orders = [
            _Order(one.layout.rows, own, self._names)
            for one, own in zip(members, names, strict=True)
        ]
        self._sums: dict[int, _Table] = {}
        self._open: dict[tuple[int, int], tuple[bytes, _Table]] = {}

    def routes(self, workers: Sequence[Worker], last: int) -> Iterator[_Route]:
        """Yield the routes.

        :param workers: The members, in their order.
        :param last: The number of the last period.
        """
        rows, names = len(self._names), self._names
        tables = self._tables(workers, last)
        unpacked = Struct(f"={3 * rows}I").unpack
        size = rows * COUNTS.size
        columns = [unpacked(_bytes_of(one.counts, size))[::3] for one in tables]
        counts = _bytes_of(sum(one.counts for one in tables), size)
        totals = _bytes_of(self._totals(workers), rows * TOTALS.size)
        whole = sum(one.histograms for one in tables)
        histograms = _bytes_of(whole, rows * HISTOGRAM_BYTES)
        yield from map(
            _Route,
            names,
            zip(*columns, strict=True),
            COUNTS.iter_unpack(counts),
            TOTALS.iter_unpack(totals),
            _cut(histograms, HISTOGRAM_BYTES),
        )

    def _tables(self, workers: Sequence[Worker], last: int) -> list[_Table]:
        """Return the table of each period of the last minute, of all workers."""
        tables = []
        sums, self._sums = self._sums, {}
        before, self._open = self._open, {}
        for tick in range(last - MINUTE_PERIODS + 1, last + 1):
            # A period that had ended is open again if the clock was set back.
            is_over = tick <= last - _OPEN_PERIODS
            known = sums.get(tick) if is_over else None
            table = known or self._sum_of(workers, tick, before)
            tables.append(table)
            if is_over:
                self._sums[tick] = table
        return tables

    def _sum_of(
        self,
        workers: Sequence[Worker],
        tick: int,
        before: dict[tuple[int, int], tuple[bytes, _Table]],
    ) -> _Table:
        """Return the table of a period; unchanged parts are not read again.

        :param before: The tables that were read before.
        """
        counts = histograms = 0
        for number, worker in enumerate(workers):
            data = worker.minute(tick % MINUTE_PERIODS)
            known = before.get((number, tick))
            if known is None or known[0] != data:
                known = data, self._orders[number].table_of(data, tick)
            self._open[number, tick] = known
            counts += known[1].counts
            histograms += known[1].histograms
        return _Table(counts, histograms)

    def _totals(self, workers: Sequence[Worker]) -> int:
        each = zip(workers, self._orders, strict=True)
        return sum(order.totals_of(one.totals()) for one, order in each)


class _Order:
    """The places of a worker's rows in the tables of a group.

    :param rows: How many rows the worker's tables have, with those that are not used.
    :param own: The names of its rows.
    :param names: Those of the group.
    """

    def __init__(self, rows: int, own: tuple[str, ...], names: tuple[str, ...]) -> None:
        places = {name: number for number, name in enumerate(own)}
        # A row of zeros is added to the table for names that the worker does not have.
        order = [places.get(name, rows) for name in names]
        self._histograms_at = TICK.size + rows * COUNTS.size
        self._histograms_end = self._histograms_at + rows * HISTOGRAM_BYTES
        self._counts = _slices(order, COUNTS.size)
        self._histograms = _slices(order, HISTOGRAM_BYTES)
        self._totals = _slices(order, TOTALS.size)

    def table_of(self, data: bytes, tick: int) -> _Table:
        """Return the table of a period.

        :param data: The part of the worker's file that has it.
        :param tick: The number of the period; the file may have an older one there.
        """
        if TICK.unpack_from(data)[0] != tick:
            return _EMPTY
        at, end = self._histograms_at, self._histograms_end
        return _Table(
            _number(data[TICK.size : at], self._counts),
            _number(data[at:end], self._histograms),
        )

    def totals_of(self, data: bytes) -> int:
        """Return the table of the counts since the start."""
        return _number(data, self._totals)


def _slices(order: Iterable[int], size: int) -> list[slice]:
    return [slice(row * size, (row + 1) * size) for row in order]


def _number(rows: bytes, slices: list[slice]) -> int:
    """Return rows, in an order, as one number."""
    rows += bytes(HISTOGRAM_BYTES)
    return int.from_bytes(b"".join([rows[one] for one in slices]), byteorder)


def _cut(rows: bytes, size: int) -> Iterator[bytes]:
    return (rows[at : at + size] for at in range(0, len(rows), size))


def _bytes_of(number: int, size: int) -> bytes:
    """Return the rows of such a number.

    In a damaged file, the counts may be too large, and their sum may overflow.
    """
    return (number & ((1 << (8 * size)) - 1)).to_bytes(size, byteorder)
