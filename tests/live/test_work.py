"""Units of work on the live page: as requests are, and apart from them."""

from __future__ import annotations

import os
import threading
import time
import typing as t
from pathlib import Path

import pytest

from signalpost.exchange import current_exchange
from signalpost.live import LiveRecorder
from signalpost.live import read_live
from signalpost.live.reading import Reader
from signalpost.work import Work
from signalpost.work import work
from tests.live.shop import execute
from tests.live.shop import recorded
from tests.live.test_files import ended
from tests.live.test_files import in_a_process
from tests.live.test_recording import get

PATIENCE_SECONDS = 20


def application_of(folder: Path, **options: t.Any) -> tuple[t.Any, LiveRecorder]:
    """Return an application and what records its work."""
    app = type("App", (), {"name": "shop"})()
    recorder = LiveRecorder(folder=folder, **options)
    recorder.connect(app)
    return app, recorder


@pytest.fixture
def app(folder: Path) -> t.Iterator[t.Any]:
    found, recorder = application_of(folder)
    yield found
    recorder.disconnect()


def fail(name: str, app: t.Any, error: BaseException) -> None:
    with pytest.raises(type(error)), work(name, app):
        raise error


def test_work_is_counted_by_name_and_is_no_request(folder: Path, app: t.Any) -> None:
    for _ in range(3):
        with work("pack", app):
            pass
    fail("pack", app, LookupError("no lorry"))
    fail("ship", app, KeyboardInterrupt())
    snapshot = read_live(folder)
    assert [(one.name, one.done, one.failed, one.aborted) for one in snapshot.work] == [
        ("pack", 4, 1, 0),
        ("ship", 1, 0, 1),
    ]
    pack = snapshot.work[0]
    assert (pack.done_since_start, pack.failed_since_start) == (4, 1)
    assert 0 < pack.mean_seconds <= pack.longest_seconds < PATIENCE_SECONDS
    assert abs(pack.last_at - time.time()) < PATIENCE_SECONDS
    assert snapshot.total.requests_since_start == sum(snapshot.seconds.requests) == 0
    assert snapshot.routes == ()
    [worker] = snapshot.workers
    assert (worker.work, worker.work_failed, worker.requests) == (5, 1, 0)


def test_work_is_shown_as_a_request_is(folder: Path, app: t.Any) -> None:
    with work("pack", app) as found:
        for number in range(3):
            execute(f"SELECT * FROM mugs WHERE id = {number}")
        # As a log line of it has.
        work_id = found.id
    reader = Reader(folder)
    [row] = reader.snapshot().exchanges
    assert (row.method, row.path, row.route) == ("WORK", "pack", "pack")
    assert (row.outcome, row.status, row.sql_count) == ("complete", None, 3)
    assert (row.request_id, row.most_repeats) == (work_id, 3)
    detail = reader.exchange(row.key)
    assert detail is not None
    assert [one.kind for one in detail.events] == ["sql"] * 3
    statements = reader.snapshot().statements
    assert statements is not None
    assert [(one.times, one.most_in_exchange) for one in statements.rows] == [(3, 3)]


def test_what_work_fails_with_is_a_failure(folder: Path, app: t.Any) -> None:
    fail("pack", app, LookupError("no lorry"))
    reader = Reader(folder)
    snapshot = reader.snapshot()
    assert snapshot.failures is not None
    [failure] = snapshot.failures.rows
    assert (failure.exception, failure.message) == ("LookupError", "no lorry")
    assert (failure.method, failure.route, failure.where) == ("WORK", "pack", "call")
    [row] = snapshot.exchanges
    assert (row.outcome, row.is_failed, row.exception) == ("error", True, "LookupError")
    detail = reader.exchange(row.key)
    assert detail is not None
    assert detail.fingerprint == failure.fingerprint
    assert [(one.kind, one.name) for one in detail.events] == [
        ("exception", "LookupError")
    ]
    found = reader.failure(failure.fingerprint)
    assert found is not None
    assert "in fail" in "".join(found[1])


def test_messages_of_work_are_left_out_if_asked(folder: Path) -> None:
    app, recorder = application_of(folder, messages=False)
    fail("pack", app, LookupError("the secret is 42"))
    recorder.disconnect()
    data = b"".join(one.read_bytes() for one in folder.iterdir())
    assert b"LookupError" in data
    assert b"secret is" not in data


def test_work_in_flight_is_shown_apart_from_requests(folder: Path, app: t.Any) -> None:
    with work("pack", app):
        snapshot = read_live(folder)
        [row] = snapshot.in_flight
        assert (row.method, row.path, row.status) == ("WORK", "pack", None)
        assert snapshot.total.in_flight == 0
        [worker] = snapshot.workers
        assert (worker.in_flight, worker.is_busy) == (1, True)
    assert read_live(folder).in_flight == ()


def test_more_work_in_flight_than_cells_is_counted(folder: Path, app: t.Any) -> None:
    begun = [work("pack", app) for _ in range(70)]
    for one in begun:
        one.__enter__()
    snapshot = read_live(folder)
    assert len(snapshot.in_flight) == 64
    assert snapshot.in_flight_left_out == 6
    assert snapshot.workers[0].in_flight == 70
    assert snapshot.total.in_flight == 0
    for one in reversed(begun):
        one.__exit__(None, None, None)
    snapshot = read_live(folder)
    assert (snapshot.in_flight_left_out, snapshot.workers[0].in_flight) == (0, 0)
    assert snapshot.work[0].done == 70


def test_work_within_a_request_is_beside_it(folder: Path) -> None:
    def shop(environ: t.Any, start_response: t.Any) -> t.Any:
        exchange = current_exchange()
        assert exchange is not None
        with work("resize", exchange.sender):
            execute("SELECT 1")
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    with recorded(folder, shop) as app:
        get(app, "/")
    snapshot = read_live(folder)
    rows = {one.method: one for one in snapshot.exchanges}
    assert rows.keys() == {"GET", "WORK"}
    assert (rows["GET"].sql_count, rows["WORK"].sql_count) == (0, 1)
    assert rows["GET"].request_id == rows["WORK"].request_id
    assert snapshot.total.requests_since_start == 1


@pytest.mark.parametrize(
    ("kind", "methods"), [("work", ["WORK"]), ("requests", ["GET"])]
)
def test_work_is_found_by_its_kind(folder: Path, kind: str, methods: list[str]) -> None:
    with recorded(folder) as app:
        get(app, "/")
        with work("pack", app.sender):
            pass
    found = Reader(folder).find({"kind": kind})
    assert [one.method for one in found.exchanges] == methods
    with pytest.raises(ValueError, match="one of requests, work, got 'jobs'"):
        Reader(folder).find({"kind": "jobs"})


def test_names_beyond_the_limit_share_a_row(folder: Path, app: t.Any) -> None:
    for number in range(70):
        with work(f"pack-{number}", app):
            pass
    rows = {one.name: one.done for one in read_live(folder).work}
    assert len(rows) == 64
    assert rows["<other>"] == 7
    assert sum(rows.values()) == 70


@pytest.mark.parametrize(
    "name", ["<b>\x1b[2J\u202e", "\ud800", "x" * 60_000, "\U0001f600" * 300]
)
def test_hostile_names_of_work_are_bounded_and_printable(
    folder: Path, app: t.Any, name: str
) -> None:
    with work(name, app):
        in_flight = read_live(folder).in_flight
    snapshot = read_live(folder)
    texts = [snapshot.work[0].name, snapshot.exchanges[0].path, in_flight[0].path]
    for text in texts:
        assert text.isprintable()
        assert 0 < len(text) <= 201


def test_threads_lose_no_work(folder: Path, app: t.Any) -> None:
    def run() -> None:
        for _ in range(200):
            with work("pack", app):
                pass

    threads = [threading.Thread(target=run) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    snapshot = read_live(folder)
    assert snapshot.work[0].done_since_start == 1600
    assert snapshot.in_flight == ()


def test_counts_of_several_workers_are_one(folder: Path) -> None:
    for _ in range(2):
        app, recorder = application_of(folder)
        with work("pack", app):
            pass
        recorder.disconnect()
    [row] = read_live(folder).work
    assert (row.done, row.done_since_start) == (2, 2)


def test_the_last_minute_is_a_minute(
    folder: Path, app: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with work("pack", app):
        pass
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 61)
    with work("pack", app):
        pass
    [row] = read_live(folder).work
    assert (row.done, row.done_since_start) == (1, 2)


def test_work_of_another_application_is_not_recorded(folder: Path, app: t.Any) -> None:
    with work("pack", "another"):
        execute("SELECT 1")
    assert not folder.exists()


def test_work_that_was_begun_before_is_left_out(folder: Path) -> None:
    app = type("App", (), {})()
    with work("pack", app) as found:
        recorder = LiveRecorder(folder=folder)
        recorder.connect(app)
    assert isinstance(found, Work)
    recorder.disconnect()
    assert not folder.exists()


# Processes that end without a function of atexit, as those of RQ and of Celery do.

CHILD = """
    from signalpost.live import LiveRecorder
    from signalpost.work import work
    from tests.live.shop import execute
    app = type("App", (), {})()
    LiveRecorder(folder=folder).connect(app)
    pid = os.fork()
    if not pid:
        try:
            with work("pack", app):
                execute("SELECT 1")
                raise LookupError("no lorry")
        except LookupError:
            %s
        os._exit(0)
    os.waitpid(pid, 0)
"""


def test_a_child_for_one_unit_of_work_has_ended(folder: Path) -> None:
    ended(in_a_process(CHILD % "pass", folder))
    snapshot = read_live(folder)
    assert [one.state for one in snapshot.workers] == ["ended"]
    assert snapshot.failures is not None
    assert [one.message for one in snapshot.failures.rows] == ["no lorry"]
    assert snapshot.statements is not None
    assert [one.times for one in snapshot.statements.rows] == [1]
    assert snapshot.work[0].failed == 1


def test_a_child_that_is_killed_in_its_work_was_killed(folder: Path) -> None:
    text = CHILD % "work('ship', app).__enter__(); os.kill(os.getpid(), 9)"
    ended(in_a_process(text, folder))
    snapshot = read_live(folder)
    assert [one.state for one in snapshot.workers] == ["killed"]
    [row] = snapshot.in_flight
    assert (row.method, row.path, row.is_dead) == ("WORK", "ship", True)


def test_a_process_is_there_before_its_first_work(folder: Path) -> None:
    _, recorder = application_of(folder)
    recorder.begin()
    [worker] = read_live(folder).workers
    assert (worker.state, worker.work, worker.pid) == ("alive", 0, os.getpid())
    recorder.disconnect()
    recorder.begin()
    assert [one.state for one in read_live(folder).workers] == ["ended"]


def test_many_short_processes_leave_those_of_a_server(folder: Path) -> None:
    with recorded(folder) as served:
        get(served, "/")
    for _ in range(12):
        app, recorder = application_of(folder)
        with work("pack", app):
            pass
        recorder.disconnect()
    snapshot = read_live(folder)
    assert snapshot.total.requests_since_start == 1
    # The last one came after the files before it were removed.
    assert sum(one.done_since_start for one in snapshot.work) == 8
    assert len([*folder.glob("*.live")]) == 10
