"""The merged records of all workers of a folder."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from contextlib import ExitStack
from contextlib import suppress
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any
from typing import Final
from typing import NamedTuple
from typing import TypeAlias

from ..receivers.own_folder import OwnFolder
from ..work import METHOD as WORK
from ._beside import Beside
from ._exchanges import detail_of
from ._exchanges import filter_of
from ._exchanges import newest
from ._exchanges import row_of
from ._folder import check_system
from ._folder import checked_folder
from ._folder import is_worker
from ._folder import MOST_DEAD
from ._folder import reason_of
from ._layout import HISTORY_SECONDS
from ._layout import MINUTE_PERIODS
from ._layout import PERIOD_SECONDS
from ._layout import PERIODS
from ._layout import QUANTILE_ERROR
from ._lists import Lists
from ._numbers import chart_of
from ._numbers import counts_of
from ._numbers import later
from ._numbers import Quantiles
from ._numbers import quantiles_of
from ._numbers import rates_of
from ._routes import Routes
from ._text import fit
from ._worker import Worker
from .snapshot import ExchangeDetail
from .snapshot import ExchangeRow
from .snapshot import FailureRow
from .snapshot import FileTotals
from .snapshot import InFlightRow
from .snapshot import LiveSnapshot
from .snapshot import Periods
from .snapshot import SkippedFile
from .snapshot import Total
from .snapshot import WorkerRow

__all__ = ["Found", "Reader", "read_live"]

_POLL_SECONDS: Final = 2
_MOST_WORKERS: Final = 100
_MOST_ROUTES: Final = 200
_MOST_IN_FLIGHT: Final = 100
_MOST_SKIPPED: Final = 20
# As many as the page has of all requests: a search must not make its list shorter.
_MOST_FOUND: Final = 400
_LONGEST_FOLDER: Final = 500
# The counts of a second or a period may still grow after they were read.
_AGAIN_SECONDS: Final = 10

_cursor = re.compile(
    r"1\.(?P<now>[0-9]{1,12})\.(?P<tops>[0-9a-f]{1,8})\.(?P<failures>[0-9a-f]{1,8})"
    r"\.(?P<seen>(?:[0-9a-f-]{1,30}~[0-9]{1,20},?)*)",
    re.ASCII,
).fullmatch
_LONGEST_CURSOR: Final = 10_000


def read_live(folder: str | os.PathLike[str]) -> LiveSnapshot:
    """Return the live page's records of all processes of one machine.

    ::

        snapshot = read_live("/srv/shop/instance/signalpost-live")
        print(snapshot.total.requests_per_second, snapshot.total.p99_seconds)

    It reads the files of dead workers, too, while these exist. It skips and counts
    foreign, damaged and half-written files. Nothing is written, and no request waits.

    :param folder: The folder of a :class:`~signalpost.live.LiveRecorder`.
    :returns: An empty one if there is no such folder.
    :raises OSError: If this system has no locks of files, or the folder cannot be
        opened.
    :raises PermissionError: If the folder belongs to another user, or other users can
        enter it.
    :raises TypeError: If ``folder`` is not a path.

    .. versionadded:: 0.1
    """
    return Reader(folder).snapshot()


@dataclass(frozen=True, slots=True)
class Found:
    """The exchanges that a search has found."""

    exchanges: tuple[ExchangeRow, ...]
    """The newest first, 200 at most."""
    left_out: int
    """The number of further exchanges."""
    searched: int


class _Cursor(NamedTuple):
    """The position of a reader: the data that it has already."""

    now: int
    tops: str
    failures: str
    seen: Mapping[str, int]


class _Files(NamedTuple):
    """The files of a folder, open."""

    workers: list[Worker]
    others: list[str]
    """The workers whose files there are, too, but were not read."""
    left_out: int
    skipped: list[SkippedFile]
    folder: OwnFolder | None


class Reader:
    """A reader that reads one folder repeatedly. Any thread may use it.

    :param folder: The folder of the workers' files.
    :raises OSError: If this system has no locks of files.
    :raises TypeError: If ``folder`` is not a path.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        check_system()
        self.folder: Path = checked_folder(folder)
        self._lists = Lists()
        self._routes = Routes()
        self._lock = threading.Lock()

    def snapshot(self, cursor: str = "") -> LiveSnapshot:
        """Return all data, or the data that is new since an earlier snapshot.

        :param cursor: The cursor of an earlier snapshot. One that is not valid counts
            as none.
        :raises OSError: As for :func:`read_live`.
        """
        # The next snapshot begins here, even if this process is stopped meanwhile.
        begun = int(time.time())
        with self._lock, self._opened() as files:
            now = time.time()
            if files.folder is not None:
                self._lists.refresh(files.folder, files.workers, now)
            return self._merged(files, begun, now, _cursor_of(cursor, now))

    def exchange(self, key: str) -> ExchangeDetail | None:
        """Return an exchange with its waterfall; ``None`` if it is not there."""
        name, _, number = key.rpartition("-")
        with self._opened(name) as files:
            for worker in files.workers:
                for entry in worker.entries():
                    if str(entry.sequence) == number:
                        return detail_of(entry)
        return None

    def failure(self, fingerprint: str) -> tuple[FailureRow, list[str]] | None:
        """Return a failure with its traceback; ``None`` if it is not there."""
        with self._lock, self._opened() as files:
            if files.folder is not None:
                self._lists.refresh(files.folder, files.workers, time.time())
            for row in self._lists.failures().rows:
                if row.fingerprint == fingerprint:
                    return row, self._lists.traceback_of(fingerprint)
        return None

    def find(self, asked: Mapping[str, str]) -> Found:
        """Search all records that there are.

        :param asked: As for :func:`._exchanges.filter_of`.
        :raises ValueError: If a value has no meaning.
        """
        is_asked = filter_of(asked)
        with self._opened() as files:
            entries = sorted(
                (one for worker in files.workers for one in worker.entries()),
                key=lambda one: one[:2],
                reverse=True,
            )
            rows = [row for row in map(row_of, entries) if row and is_asked(row)]
        left_out = max(0, len(rows) - _MOST_FOUND)
        return Found(tuple(rows[:_MOST_FOUND]), left_out, len(entries))

    @contextmanager
    def _opened(self, only: str | None = None) -> Iterator[_Files]:
        with ExitStack() as stack:
            try:
                folder = stack.enter_context(OwnFolder(self.folder))
            except FileNotFoundError:
                yield _Files([], [], 0, [], None)
                return
            names = [
                one for one in _by_age(folder) if only is None or one == f"{only}.live"
            ]
            workers: list[Worker] = []
            skipped: list[SkippedFile] = []
            for name in names[:_MOST_WORKERS]:
                if not is_worker(name):
                    reason = "it does not have the name of a worker's file"
                    skipped.append(SkippedFile(fit(name), reason))
                    continue
                try:
                    worker = Worker(folder, name)
                except FileNotFoundError:
                    continue
                except (ValueError, OSError) as error:
                    skipped.append(SkippedFile(fit(name), fit(reason_of(error))))
                    continue
                stack.callback(worker.close)
                if not worker.is_new:
                    workers.append(worker)
            workers.sort(key=lambda one: (not one.is_alive, -one.start.started_at))
            shown = [*_alive_or_newest(workers)]
            left_out = len(workers) - len(shown) + max(0, len(names) - _MOST_WORKERS)
            read = {one.name for one in shown}
            others = {name.removesuffix(".live") for name in names} - read
            yield _Files(shown, sorted(others), left_out, skipped, folder)

    def _merged(
        self, files: _Files, begun: int, now: float, cursor: _Cursor | None
    ) -> LiveSnapshot:
        workers, lists = files.workers, self._lists
        span = _span_of(workers, now)
        minute = [counts_of(one, span.minute_first, span.second) for one in workers]
        shown = _in_flight(workers, now)
        count = sum(map(_count_in_flight, workers))
        beside = Beside(workers, span.period - MINUTE_PERIODS + 1, span.period)
        parts: dict[str, Any] = {
            **self._numbers(workers, span, minute, cursor),
            **_exchanges(workers, cursor),
            **_changed_lists(lists, cursor),
            **beside.parts(now),
        }
        return LiveSnapshot(
            now=round(now, 3),
            cursor=_cursor_text(begun, lists, _seen(files, cursor)),
            is_delta=cursor is not None,
            poll_seconds=_POLL_SECONDS,
            history_seconds=HISTORY_SECONDS,
            since=span.since,
            folder=fit(str(self.folder), _LONGEST_FOLDER),
            has_waterfall=any(one.start.has_waterfall for one in workers),
            slow_seconds=min((one.start.slow_seconds for one in workers), default=0.5),
            quantile_error=round(QUANTILE_ERROR, 4),
            in_flight=tuple(shown),
            in_flight_left_out=max(0, count - len(shown)),
            workers=tuple(
                _worker_row(one, requests / span.window_seconds, beside)
                for one, (requests, _, _) in zip(workers, minute, strict=True)
            ),
            workers_left_out=files.left_out,
            files=_file_totals(workers, [*files.skipped, *lists.skipped]),
            **parts,
        )

    def _numbers(
        self,
        workers: Sequence[Worker],
        span: _Span,
        minute: Sequence[_Counts],
        cursor: _Cursor | None,
    ) -> dict[str, Any]:
        """Return counts, charts and routes."""
        first_second = span.second - HISTORY_SECONDS + 1
        first_period = span.period - PERIODS + 1
        if cursor is not None:
            again = cursor.now - _AGAIN_SECONDS
            first_second = max(first_second, again)
            first_period = max(first_period, again // PERIOD_SECONDS)
        begin = min(first_second, first_period * PERIOD_SECONDS)
        chart = chart_of(workers, begin, span.second)
        rates = rates_of(chart, first_period, span.period, span.recorded_from)
        rows, quantiles = quantiles_of(workers, first_period, span.period)
        columns = *rates, *map(tuple, zip(*rows, strict=True))
        routes = self._routes.rows(workers, span.period, span.window_seconds)
        return {
            "total": _total(workers, span.window_seconds, minute, quantiles),
            "seconds": later(chart, first_second),
            "periods": Periods(first_period * PERIOD_SECONDS, PERIOD_SECONDS, *columns),
            "routes": tuple(routes[:_MOST_ROUTES]),
            "routes_left_out": max(0, len(routes) - _MOST_ROUTES),
        }


_Counts: TypeAlias = tuple[int, int, int]
"""Requests, failed ones, aborted ones."""


class _Span(NamedTuple):
    """The time span of the numbers."""

    second: int
    period: int
    """The number of the period of 5 seconds."""
    minute_first: int
    """The first second of the last minute."""
    window_seconds: float
    """The length of the last minute."""
    since: float | None
    recorded_from: float | None
    """The start of the recording; as early as possible if that is not known."""


def _span_of(workers: Sequence[Worker], now: float) -> _Span:
    period = int(now) // PERIOD_SECONDS
    since = min((one.start.started_at for one in workers), default=None)
    minute_first = (period - MINUTE_PERIODS + 1) * PERIOD_SECONDS
    # If the clock was set back, the start of a worker may be later than now.
    start = 0.0 if since is not None and since > now else since
    begin = max(minute_first, now if start is None else start)
    return _Span(int(now), period, minute_first, max(1.0, now - begin), since, start)


def _exchanges(workers: Sequence[Worker], cursor: _Cursor | None) -> dict[str, Any]:
    seen = {} if cursor is None else cursor.seen
    known = [(one, seen.get(one.name, 0)) for one in workers]
    exchanges = newest(known)
    recorded = sum(max(0, one.last - after) for one, after in known)
    left_out = max(0, recorded - len(exchanges))
    return {"exchanges": tuple(exchanges), "exchanges_left_out": left_out}


def _alive_or_newest(workers: Iterable[Worker]) -> Iterator[Worker]:
    """Yield the workers that are shown: all alive ones, and the first dead ones.

    :param workers: The newest first.
    """
    dead = {True: 0, False: 0}
    for one in workers:
        if not one.is_alive:
            has_served = one.live.requests > 0
            dead[has_served] += 1
            if dead[has_served] > MOST_DEAD:
                continue
        yield one


def _by_age(folder: OwnFolder) -> list[str]:
    """Return the names of the workers' files, the last written first."""
    times: dict[str, float] = {}
    for name in folder.names():
        if not name.endswith(".live"):
            continue
        with suppress(OSError):
            times[name] = folder.stat(name).st_mtime
    return sorted(times, key=times.__getitem__, reverse=True)


def _cursor_of(text: str, now: float) -> _Cursor | None:
    """Return a cursor; ``None`` if it is not valid, too old or too new."""
    found = _cursor(text) if len(text) <= _LONGEST_CURSOR else None
    if found is None:
        return None
    at = int(found["now"])
    if not now - HISTORY_SECONDS < at <= now + 1:
        return None
    seen: dict[str, int] = {}
    for one in filter(None, found["seen"].split(",")):
        name, _, number = one.partition("~")
        seen[name] = int(number)
    return _Cursor(at, found["tops"], found["failures"], seen)


def _seen(files: _Files, cursor: _Cursor | None) -> dict[str, int]:
    """Return the number of the last record that was read, by worker.

    Workers that were not read now may be read again later: as when the limit of open
    files is reached. Without their numbers, all of their records would be new ones.
    """
    known = {} if cursor is None else cursor.seen
    others = {name: known[name] for name in files.others if name in known}
    return others | {one.name: one.last for one in files.workers}


def _cursor_text(second: int, lists: Lists, seen: Mapping[str, int]) -> str:
    numbers = ",".join(f"{name}~{number}" for name, number in seen.items())
    return f"1.{second}.{lists.tops_version}.{lists.failures_version}.{numbers}"


def _changed_lists(lists: Lists, cursor: _Cursor | None) -> dict[str, Any]:
    has_new_tops = cursor is None or cursor.tops != lists.tops_version
    has_new_failures = cursor is None or cursor.failures != lists.failures_version
    return {
        "statements": lists.statements() if has_new_tops else None,
        "failures": lists.failures() if has_new_failures else None,
        "referrers": lists.referrers() if has_new_tops else None,
        "signals": lists.signals() if has_new_tops else None,
    }


def _total(
    workers: Sequence[Worker],
    window_seconds: float,
    minute: Sequence[_Counts],
    quantiles: Quantiles,
) -> Total:
    requests, failed, aborted = map(sum, zip((0, 0, 0), *minute, strict=True))
    live = [one.live for one in workers]
    return Total(
        round(window_seconds, 1),
        requests,
        round(requests / window_seconds, 3),
        failed,
        aborted,
        failed / requests if requests else None,
        sum(_requests_in_flight(one) for one in workers if one.is_alive),
        *quantiles,
        sum(one.requests for one in live),
        sum(one.failed for one in live),
        sum(one.aborted for one in live),
    )


def _count_in_flight(worker: Worker) -> int:
    """Return how many requests and units of work are in flight."""
    return len(worker.in_flight) + worker.live.overflow + worker.work_overflow


def _requests_in_flight(worker: Worker) -> int:
    requests = [one for one in worker.in_flight if one.method != WORK]
    return len(requests) + worker.live.overflow


def _in_flight(workers: Sequence[Worker], now: float) -> list[InFlightRow]:
    """Return requests in flight, the longest first; those of dead workers last."""
    found = [
        (not worker.is_alive, one.started_at, one, worker)
        for worker in workers
        for one in worker.in_flight
    ]
    found.sort(key=itemgetter(0, 1))
    return [
        InFlightRow(
            worker.name,
            worker.start.pid,
            one.method,
            one.path,
            one.started_at,
            None if is_dead else max(0.0, round(now - one.started_at, 3)),
            one.status,
            is_dead,
        )
        for is_dead, _, one, worker in found[:_MOST_IN_FLIGHT]
    ]


def _worker_row(
    worker: Worker, requests_per_second: float, beside: Beside
) -> WorkerRow:
    live = worker.live
    in_flight = _count_in_flight(worker)
    return WorkerRow(
        worker.name,
        worker.start.pid,
        worker.state,
        worker.is_alive and in_flight > 0,
        in_flight,
        worker.start.started_at,
        max([live.last_at, *(one.started_at for one in worker.in_flight)]),
        live.requests,
        live.failed,
        live.aborted,
        round(requests_per_second, 3),
        *beside.work_of(worker),
        beside.events_of(worker),
        worker.start.size,
    )


def _file_totals(workers: Sequence[Worker], skipped: list[SkippedFile]) -> FileTotals:
    sizes = [one.start.size for one in workers]
    return FileTotals(
        len(sizes),
        sum(sizes),
        max(sizes, default=0),
        len(skipped),
        tuple(skipped[:_MOST_SKIPPED]),
    )
