from __future__ import annotations

import contextlib
import time
import typing as t
from collections.abc import Generator
from collections.abc import Iterable
from pathlib import Path

import pytest

from signalpost.live import read_live
from signalpost.live._cells import Closed
from signalpost.live._file import WorkerFile
from signalpost.live.reading import Reader
from signalpost.live.snapshot import RouteRow
from signalpost.receivers.own_folder import OwnFolder

PERIOD_SECONDS = 5


class Clock:
    """The time of the test, in whole periods from one that is full of the past."""

    def __init__(self) -> None:
        self.now = time.time() // PERIOD_SECONDS * PERIOD_SECONDS + 1

    def __call__(self) -> float:
        return self.now

    def pass_periods(self, count: int) -> None:
        self.now += count * PERIOD_SECONDS


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "time", clock)
    return clock


Make = t.Callable[..., WorkerFile]


@pytest.fixture
def make(folder: Path) -> Generator[Make]:
    """Return what makes the file of a worker."""
    with contextlib.ExitStack() as stack:
        own = stack.enter_context(OwnFolder.made(folder))

        def made(max_routes: int = 100) -> WorkerFile:
            file = WorkerFile(own, max_routes, 0.5, has_waterfall=True)
            stack.callback(file.end)
            return file

        yield made


def serve(
    file: WorkerFile,
    *routes: str,
    seconds: float = 0.001,
    is_failed: bool = False,
    is_aborted: bool = False,
) -> None:
    for route in routes:
        closed = Closed()
        closed.route, closed.response_seconds = route, seconds
        closed.is_failed, closed.is_aborted = is_failed, is_aborted
        file.close(closed)


def by_name(rows: Iterable[RouteRow]) -> dict[str, RouteRow]:
    return {row.route: row for row in rows}


def test_workers_that_met_routes_in_another_order_are_added(
    folder: Path, make: Make, clock: Clock
) -> None:
    serve(make(), "/a", "/b", "/b", "/c")
    serve(make(), "/c", "/b", "/a", "/c", is_failed=True)
    serve(make(), "/b", is_aborted=True, seconds=8)
    rows = by_name(read_live(folder).routes)
    assert {
        name: (row.requests, row.failed, row.aborted) for name, row in rows.items()
    } == {"/a": (2, 1, 0), "/b": (4, 1, 1), "/c": (3, 2, 0)}
    assert {
        name: (row.requests_since_start, row.failed_since_start)
        for name, row in rows.items()
    } == {"/a": (2, 1), "/b": (4, 1), "/c": (3, 2)}
    assert rows["/b"].p99_seconds == pytest.approx(8, rel=0.1)
    assert rows["/a"].p99_seconds == pytest.approx(0.001, rel=0.1)


def test_a_reader_counts_what_came_after_it_has_read_a_period(
    folder: Path, make: Make, clock: Clock
) -> None:
    file, reader = make(), Reader(folder)
    seen = []
    for _ in range(4):
        for _ in range(2):
            serve(file, "/a")
            seen.append(reader.snapshot().routes[0].requests)
        clock.pass_periods(1)
    assert seen == [*range(1, 9)]
    assert reader.snapshot().routes[0].chart[-5:] == (2, 2, 2, 2, 0)


def test_a_reader_finds_the_routes_that_a_worker_has_met_since(
    folder: Path, make: Make, clock: Clock
) -> None:
    files, reader = [make(), make()], Reader(folder)
    serve(files[0], "/z")
    reader.snapshot()
    clock.pass_periods(3)
    for name in ("/a", "/b"):
        for file in files:
            serve(file, name)
    rows = by_name(reader.snapshot().routes)
    assert {name: row.requests for name, row in rows.items()} == {
        "/a": 2,
        "/b": 2,
        "/z": 1,
    }
    assert rows["/z"].chart[-4:] == (1, 0, 0, 0)


def test_a_minute_is_over_after_a_minute(
    folder: Path, make: Make, clock: Clock
) -> None:
    file, reader = make(), Reader(folder)
    serve(file, "/a", "/a")
    for _ in range(11):
        assert reader.snapshot().routes[0].requests == 2
        clock.pass_periods(1)
    reader.snapshot()
    clock.pass_periods(1)
    (row,) = reader.snapshot().routes
    assert (row.requests, row.requests_since_start, row.p50_seconds) == (0, 2, None)


@pytest.mark.parametrize("periods", [1, 2, 11, 12, 700])
def test_what_comes_after_the_clock_was_set_back_is_counted(
    folder: Path, make: Make, clock: Clock, periods: int
) -> None:
    file, reader = make(), Reader(folder)
    reader.snapshot()
    clock.pass_periods(20)
    serve(file, "/a")
    reader.snapshot()
    clock.pass_periods(-periods)
    serve(file, "/a", "/a")
    snapshot = reader.snapshot()
    assert snapshot.routes[0].chart[-1] == 2
    assert snapshot.periods.requests_per_second[-1] == 2 / PERIOD_SECONDS


def test_a_rate_is_of_a_minute_after_the_clock_was_set_back(
    folder: Path, make: Make, clock: Clock
) -> None:
    file = make()
    # Before the start of the worker.
    clock.pass_periods(-50)
    for _ in range(12):
        serve(file, *["/a"] * 10)
        clock.pass_periods(1)
    snapshot = read_live(folder)
    assert snapshot.total.window_seconds > 50
    assert snapshot.total.requests_per_second == pytest.approx(2, rel=0.1)
    assert snapshot.routes[0].requests_per_second == pytest.approx(2, rel=0.1)
    assert snapshot.periods.requests_per_second[-5:-1] == (2, 2, 2, 2)


def test_a_worker_that_goes_takes_its_counts_of_routes_with_it(
    folder: Path, make: Make, clock: Clock
) -> None:
    one, other = make(), make()
    reader = Reader(folder)
    serve(one, "/a", "/a")
    serve(other, "/a")
    clock.pass_periods(3)
    assert reader.snapshot().routes[0].requests == 3
    other.end()
    (gone,) = [row.worker for row in reader.snapshot().workers if row.state == "ended"]
    (folder / f"{gone}.live").unlink()
    assert reader.snapshot().routes[0].requests == 2


def test_routes_of_many_applications_are_added_by_name(
    folder: Path, make: Make, clock: Clock
) -> None:
    for application in range(5):
        own = [f"/{application}/{number}" for number in range(90)]
        for _ in range(2):
            serve(make(), "/health", *own, seconds=2 if application == 3 else 0.001)
    snapshot = read_live(folder)
    row = by_name(snapshot.routes)["/health"]
    assert snapshot.routes[0] == row
    assert (row.requests, row.requests_since_start, row.chart[-1]) == (10, 10, 10)
    assert row.p50_seconds == pytest.approx(0.001, rel=0.1)
    assert row.p90_seconds == pytest.approx(2, rel=0.1)
    assert len(snapshot.routes) + snapshot.routes_left_out == 5 * 90 + 1
    assert all(one.requests == 2 for one in snapshot.routes[1:])


def test_rates_are_those_of_whole_periods(
    folder: Path, make: Make, clock: Clock
) -> None:
    clock.pass_periods(1)
    file, reader = make(), Reader(folder)
    first = reader.snapshot()
    serve(file, "/a", "/b")
    serve(file, "/a", "/a", is_failed=True)
    serve(file, "/a", is_aborted=True)
    clock.pass_periods(1)
    serve(make(), *["/a"] * 10)
    for cursor in ("", first.cursor):
        periods = reader.snapshot(cursor).periods
        rates = [
            periods.requests_per_second[-3:],
            periods.failed_per_second[-3:],
            periods.aborted_per_second[-3:],
        ]
        assert rates == [(None, 1.0, 2.0), (None, 0.4, 0.0), (None, 0.2, 0.0)]
        now = int(clock.now) // PERIOD_SECONDS * PERIOD_SECONDS
        count = len(periods.requests_per_second)
        assert periods.begin + (count - 1) * periods.step == now
        assert count == (120 if not cursor else 4)


def test_a_reader_that_was_stopped_reads_what_it_has_missed(
    folder: Path, make: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, reader = make(), Reader(folder)
    serve(file, "/a")
    clock.pass_periods(1)
    times = iter([clock.now])

    def stopped() -> float:
        # Once it has read the files, before it asks for the time again.
        for now in times:
            return now
        monkeypatch.setattr(time, "time", clock)
        serve(file, *["/a"] * 10)
        clock.pass_periods(12)
        return clock.now

    monkeypatch.setattr(time, "time", stopped)
    first = reader.snapshot()
    assert first.total.requests_since_start == 1
    second = reader.snapshot(first.cursor)
    assert second.is_delta
    assert 2.0 in second.periods.requests_per_second


def test_nothing_has_a_rate_before_there_is_a_worker(folder: Path) -> None:
    periods = read_live(folder).periods
    assert {*periods.requests_per_second, *periods.failed_per_second} == {None}
