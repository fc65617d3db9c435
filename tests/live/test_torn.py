"""A worker that is stopped anywhere while it records, and a reader that reads then."""

from __future__ import annotations

import mmap
import os
import signal
import sys
import time
import typing as t
from collections.abc import Callable
from collections.abc import Generator
from pathlib import Path
from types import FrameType

import pytest

import signalpost.live._file
from signalpost.live import LiveSnapshot
from signalpost.live import read_live
from signalpost.work import work
from tests.live.shop import recorded
from tests.live.test_files import get

FILE = signalpost.live._file.__file__
PERIOD_SECONDS = 5


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Generator[list[Callable[[], None]]]:
    """Return the functions that are called between any two steps of a recording.

    A step is a line, or a part of what a line writes into the file.
    """
    calls: list[Callable[[], None]] = []

    def call_all() -> None:
        for call in [*calls]:
            call()

    class Page(mmap.mmap):
        def __setitem__(self, where: t.Any, data: t.Any) -> None:
            at, *_ = where.indices(len(self))
            for begin, end in parts_of(len(data)):
                super().__setitem__(slice(at + begin, at + end), data[begin:end])
                call_all()

    def trace(frame: FrameType, event: str, argument: object) -> t.Any:
        if frame.f_code.co_filename != FILE:
            return None
        if event == "line":
            call_all()
        return trace

    monkeypatch.setattr(mmap, "mmap", Page)
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield calls
    finally:
        sys.settrace(before)


def parts_of(size: int) -> Generator[tuple[int, int]]:
    """Yield where parts of a text begin and end: a number each first, then blocks."""
    at = 0
    while at < size:
        end = min(size, at + (16 if at < 64 else 4096))
        yield at, end
        at = end


def test_each_request_that_is_counted_is_in_all_that_is_read(
    folder: Path, between: list[Callable[[], None]]
) -> None:
    seen: list[LiveSnapshot] = []
    between.append(lambda: seen.append(read_live(folder)))
    with recorded(folder) as app:
        for path in ("/items/mug", "/items/cup", "/boom", "/items/mug"):
            get(app, path)
            with work("pack", app.sender):
                pass
        between.clear()
        seen.append(read_live(folder))
    assert len(seen) > 200
    in_all = [one.total.requests_since_start for one in seen]
    assert {*in_all} == {0, 1, 2, 3, 4}
    assert in_all == sorted(in_all)
    for one in seen:
        assert one.files.skipped_files == ()
        counted = one.total.requests_since_start
        assert {*counts_of(one)} <= {counted, counted + 1}
        failed = one.total.failed_since_start
        assert {*failed_of(one)} <= {failed, failed + 1}
    assert {*counts_of(seen[-1])} == {4}
    assert {*failed_of(seen[-1])} == {1}
    assert [row.done for row in seen[-1].work] == [4]


def test_a_request_that_a_worker_is_killed_in_is_shown_once(folder: Path) -> None:
    """Kill a worker at each line of its file's code in turn, from the view on."""

    class Tracer:
        left = 0

        def __call__(self, frame: FrameType, event: str, argument: object) -> t.Any:
            if frame.f_code.co_filename != FILE:
                return None
            if event == "line":
                self.left -= 1
                if not self.left:
                    os.kill(os.getpid(), signal.SIGKILL)
            return self

    tracer = Tracer()

    def dying(environ: t.Any, start_response: t.Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/die":
            sys.settrace(tracer)
        start_response("200 OK", [])
        return [b"ok"]

    shown = []
    for tracer.left in range(1, 1000):
        child = os.fork()
        if not child:
            with recorded(folder, dying) as app:
                get(app, "/before")
                get(app, "/die")
            os._exit(0)
        _, status = os.waitpid(child, 0)
        snapshot = read_live(folder)
        shown.append(
            [one.is_dead for one in snapshot.in_flight]
            + [one.path for one in snapshot.exchanges if one.path == "/die"]
        )
        for file in folder.iterdir():
            file.unlink()
        if status == 0:
            break
    assert {*map(tuple, shown)} == {(True,), ("/die",)}
    assert 20 < len(shown) < 500
    assert shown == sorted(shown, key=lambda one: one == ["/die"])


def counts_of(snapshot: LiveSnapshot) -> list[int]:
    """Return how many requests each part of a snapshot has."""
    return [
        snapshot.total.requests,
        sum(snapshot.seconds.requests),
        sum(row.requests_since_start for row in snapshot.routes),
        sum(row.requests for row in snapshot.routes),
        sum(row.method == "GET" for row in snapshot.exchanges),
    ]


def failed_of(snapshot: LiveSnapshot) -> list[int]:
    """Return how many failed requests each part of a snapshot has."""
    return [
        snapshot.total.failed,
        sum(snapshot.seconds.failed),
        sum(row.failed_since_start for row in snapshot.routes),
        sum(row.failed for row in snapshot.routes),
    ]


@pytest.mark.parametrize(("periods", "kept"), [(12, 3), (120, 0)])
def test_a_period_never_has_counts_of_an_earlier_one(
    folder: Path,
    between: list[Callable[[], None]],
    monkeypatch: pytest.MonkeyPatch,
    periods: int,
    kept: int,
) -> None:
    now = time.time() // PERIOD_SECONDS * PERIOD_SECONDS + 1
    monkeypatch.setattr(time, "time", lambda: now)
    seen: list[LiveSnapshot] = []
    with recorded(folder) as app:
        for _ in range(3):
            get(app, "/items/mug")
        now += periods * PERIOD_SECONDS
        between.append(lambda: seen.append(read_live(folder)))
        get(app, "/boom")
        between.clear()
    assert len(seen) > 50
    for one in seen:
        assert {row.requests for row in one.routes} <= {0, 1}
        assert sum(one.seconds.requests) <= kept + 1
        with_times = [at for at in one.periods.p99_seconds if at is not None]
        assert len(with_times) <= bool(kept) + 1
        assert len([row for row in one.routes if row.p99_seconds is not None]) <= 1
