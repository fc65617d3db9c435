"""The limits of lists, tracebacks and texts, and their effects."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
import typing as t
from contextvars import copy_context
from functools import partial
from pathlib import Path

import pytest

from signalpost import SignalMiddleware
from signalpost.errors import ConfigurationError
from signalpost.exchange import current_exchange
from signalpost.exchange import Exchange
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import sql_executed
from signalpost.live import LivePage
from signalpost.live import LiveRecorder
from signalpost.live import read_live
from signalpost.live._list_file import LIST_BYTES
from signalpost.live._mount import mounted_page
from signalpost.live._tops import Failure
from signalpost.live._tops import Tops
from signalpost.live.reading import Reader
from signalpost.receivers.own_files import opened
from tests.live.shop import Engine
from tests.live.shop import execute
from tests.live.shop import recorded
from tests.live.shop import shop
from tests.live.shop import TOKEN
from tests.wsgi.serving import hello
from tests.wsgi.serving import Server

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIEnvironment

WIDE = "\U0001f600"
"""A character that takes 12 bytes in JSON."""


def failure(number: int, text: str = "x") -> Failure:
    return Failure(f"{number:012x}", text, text, "/a.py:1:f", "view", "GET", None)


def with_referrer(number: int) -> Exchange:
    referrer = f"https://{number}.example/{WIDE.encode().decode('latin-1') * 200}"
    environ = {"PATH_INFO": "/", "HTTP_REFERER": referrer, "HTTP_HOST": "a"}
    return Exchange({**environ, "wsgi.url_scheme": "http"}, "shop")


def test_the_longest_lists_have_room(folder: Path) -> None:
    tops = Tops()
    for number in range(400):
        tops.statements.note([(f"{number} {WIDE * 300}", 1.0, False)], {})
        tops.count_referrer(with_referrer(number))
        tops.add_failure(failure(number, WIDE * 120), (WIDE * 500 + "\n") * 200)
    assert len(tops.encoded({"rows": [], "left_out": 0}, 1.0, 0)) <= LIST_BYTES["tops"]
    assert len(tops.encoded_failures(1.0)) <= LIST_BYTES["failures"]


def test_what_has_no_room_is_counted(folder: Path) -> None:
    names = [f"signal-{number}" for number in range(5000)]
    receiver = ["x" * 200, None, "ANY", None, None, None]
    data = Tops().encoded(
        {"rows": [[name, [receiver], 0] for name in names], "left_out": 0}, 1.0, 0
    )
    assert len(data) <= LIST_BYTES["tops"]
    assert b'"left_out":5000' in data


def test_more_failures_than_there_is_room_for_are_counted(folder: Path) -> None:
    with recorded(folder) as app:
        recorder = exchange_closed.connections[-1].receiver.__self__  # type: ignore[attr-defined]
        Server().serve(app)
        for number in range(60):
            recorder._writer.fail(failure(number), None)
    failures = read_live(folder).failures
    assert failures is not None
    assert (len(failures.rows), failures.left_out) == (50, 10)
    assert failures.rows[0].fingerprint == f"{59:012x}"
    found = Reader(folder).failure(f"{59:012x}")
    assert found is not None
    assert found[1] == []
    assert Reader(folder).failure("none") is None


def test_a_long_traceback_has_its_ends(folder: Path) -> None:
    tops = Tops()
    tops.add_failure(failure(1), "\n".join(f"line {one} " * 20 for one in range(500)))
    text = tops.encoded_failures(1.0).decode()
    assert "line 0 " in text
    assert "line 499 " in text
    assert "lines are left out here" in text


def test_a_record_of_wide_texts_leaves_events_out(folder: Path) -> None:
    def wide(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        for number in range(40):
            execute(f"SELECT {WIDE * 100}, a{number} FROM t{number}")
        start_response("200 OK", [])
        return []

    with recorded(folder, wide) as app:
        Server().serve(app)
    reader = Reader(folder)
    detail = reader.exchange(reader.snapshot().exchanges[0].key)
    assert detail is not None
    assert detail.row.sql_count == 40
    # And two signals.
    assert len(detail.events) + detail.events_left_out == 42
    assert 1 < len(detail.events) < 42


def test_more_statements_of_a_request_than_are_distinguished_are_counted(
    folder: Path,
) -> None:
    def many(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        for number in range(300):
            execute(f"SELECT a{number} FROM t")
        start_response("200 OK", [])
        return []

    with recorded(folder, many) as app:
        Server().serve(app)
    snapshot = read_live(folder)
    assert snapshot.exchanges[0].sql_count == 300
    assert snapshot.statements is not None
    assert len(snapshot.statements.rows) + snapshot.statements.left_out == 256


def test_what_cannot_be_a_text_is_none(folder: Path) -> None:
    class Odd:
        def __str__(self) -> str:
            raise ValueError("no text")

    def odd(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        exchange: t.Any = current_exchange()
        start_response("200 OK", [])
        exchange.route = Odd()
        exchange.duration_seconds = "long"
        return []

    with recorded(folder, odd) as app:
        Server().serve(app)
    assert read_live(folder).exchanges[0].route is None


def test_one_that_was_opened_before_is_counted_all_the_same(folder: Path) -> None:
    app = SignalMiddleware(hello, sender="shop of this test")
    before = exchange_closed.connect(lambda sender: None, weak=False)
    body: t.Any = Server().call(app, PATH_INFO="/early")
    left_out: t.Any = Server().call(app, PATH_INFO="/static/a")
    recorder = LiveRecorder(folder=folder)
    recorder.connect()
    body.close()
    left_out.close()
    recorder.disconnect()
    exchange_closed.disconnect(before)
    assert [row.path for row in read_live(folder).exchanges] == ["/early"]


def test_a_file_system_that_cannot_reserve_is_written_to(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(descriptor: int, offset: int, length: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "not here")

    monkeypatch.setattr(os, "posix_fallocate", cannot)
    with recorded(folder) as app:
        Server().serve(app)
    (file,) = folder.glob("*.live")
    assert file.stat().st_blocks * 512 >= file.stat().st_size > 1_000_000
    assert read_live(folder).total.requests_since_start == 1


def test_lists_that_are_no_file_are_skipped(folder: Path) -> None:
    with recorded(folder) as app:
        Server().serve(app)
    (lists,) = folder.glob("*.lists")
    lists.unlink()
    assert read_live(folder).statements is not None
    lists.mkdir()
    snapshot = read_live(folder)
    assert [one.name for one in snapshot.files.skipped_files] == [lists.name]
    lists.rmdir()
    lists.symlink_to("/etc/passwd")
    assert read_live(folder).files.skipped == 1


def test_lists_of_another_form_are_skipped(folder: Path) -> None:
    from signalpost.live._list_file import write_list

    with recorded(folder) as app:
        Server().serve(app)
    (lists,) = folder.glob("*.lists")
    for version, text in enumerate(
        (b"[]", b"{}", b"x", b'{"statements": [[1]]}', b'{"statements": 7}'), 10
    ):
        with lists.open("r+b") as file:
            write_list(file.fileno(), "tops", version, text)
            write_list(file.fileno(), "failures", version, text)
        snapshot = read_live(folder)
        assert snapshot.files.skipped == 1
        assert snapshot.statements is not None
        assert snapshot.statements.rows == ()


def test_a_path_takes_an_application_with_a_place_for_it(folder: Path) -> None:
    recorder = LiveRecorder(folder=folder, path="/live", token=TOKEN)
    with pytest.raises(ConfigurationError, match="wsgi_app"):
        recorder.connect(shop)
    assert not recorder.disconnect()


def test_a_folder_is_a_path() -> None:
    with pytest.raises(TypeError, match="folder must be the path"):
        read_live(7)  # type: ignore[arg-type]  # what it refuses


def full(*_: object, **__: object) -> t.NoReturn:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_lists_that_cannot_be_made_leave_no_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def opened_but_lists(own: t.Any, name: str, flags: int) -> int:
        return full() if name.endswith(".lists") else opened(own, name, flags)

    monkeypatch.setattr("signalpost.live._file.opened", opened_but_lists)
    with recorded(folder) as app:
        assert Server().serve(app) == b"ok"
        assert Server().serve(app) == b"ok"
    assert [*folder.iterdir()] == []
    (record,) = caplog.records
    assert "No space left on device" in record.getMessage()


def test_lists_that_cannot_be_written_are_tried_again_later(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried: list[object] = []

    def counted(*arguments: object) -> None:
        tried.append(arguments)
        full()

    monkeypatch.setattr("signalpost.live._file.write_list", counted)
    with recorded(folder) as app:
        for _ in range(5):
            Server().serve(app)
        # Not at each request.
        assert len(tried) == 1
        monkeypatch.undo()
    assert len(caplog.records) == 1
    snapshot = read_live(folder)
    assert snapshot.total.requests_since_start == 5
    assert snapshot.referrers is not None
    assert snapshot.referrers.none == 5


def test_lists_of_several_workers_are_one(folder: Path) -> None:
    for seconds in (0.1, 0.3, 0.2):
        with recorded(folder, with_receivers=True) as app:
            execute("SELECT 1", seconds)
            with contextlib.suppress(LookupError):
                Server().serve(
                    app, PATH_INFO="/boom", HTTP_REFERER="https://a.example/"
                )
    snapshot = read_live(folder)
    assert snapshot.statements is not None
    (row,) = snapshot.statements.rows
    assert (row.times, row.longest_seconds) == (3, 0.3)
    assert row.total_seconds == pytest.approx(0.6)
    assert snapshot.failures is not None
    assert [one.times for one in snapshot.failures.rows] == [3]
    assert snapshot.failures.rows[0].first_at < snapshot.failures.rows[0].last_at
    assert snapshot.referrers is not None
    assert [one.requests for one in snapshot.referrers.rows] == [3]
    assert snapshot.signals is not None
    rows = snapshot.signals.rows
    (receiver,) = [one for one in rows if one.signal == "exchange-opened"]
    assert (receiver.workers, receiver.calls) == (3, 3)


def test_a_clock_that_is_set_back_loses_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    times = iter([now, now - 1234, now - 1234, now, now + 1])
    with recorded(folder) as app:
        Server().serve(app)
        for at in times:
            monkeypatch.setattr("signalpost.live._file.time.time", lambda at=at: at)
            Server().serve(app)
        monkeypatch.undo()
    snapshot = read_live(folder)
    assert snapshot.total.requests_since_start == 6
    assert sum(snapshot.seconds.requests) >= 3


def test_a_clock_that_starts_in_1970_is_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = time.monotonic
    begin = clock() - 60
    monkeypatch.setattr(time, "time", lambda: clock() - begin)
    reader = Reader(folder)
    with recorded(folder) as app:
        Server().serve(app)
        body: t.Any = Server().call(app)
        snapshot = reader.snapshot()
        body.close()
        later = reader.snapshot(snapshot.cursor)
    assert len(snapshot.exchanges) == len(later.exchanges) == 1
    assert [one.path for one in snapshot.in_flight] == ["/"]
    assert snapshot.total.requests == 1
    assert sum(snapshot.seconds.requests) == 1
    assert later.total.requests_since_start == 2


def test_a_page_that_others_are_around_lets_all_pass_when_it_is_removed(
    folder: Path,
) -> None:
    class Shop:
        def wsgi_app(self, environ: t.Any, start_response: t.Any) -> t.Any:
            return hello(environ, start_response)

    app: t.Any = Shop()
    page = LivePage(None, path="/live", folder=folder, token=TOKEN)
    mount = mounted_page(app, "/live", page)
    around = app.wsgi_app

    def outer(environ: t.Any, start_response: t.Any) -> t.Any:
        return around(environ, start_response)

    app.wsgi_app = outer
    mount.remove()
    assert app.wsgi_app is outer
    assert Server().serve(outer, PATH_INFO="/_signalpost/") == b"hello"
    app.wsgi_app = around
    mount.remove()
    assert "wsgi_app" not in vars(app)
    del app
    with pytest.raises(RuntimeError, match="the application is gone"):
        Server().serve(outer)


def test_requests_go_on_and_are_counted_while_a_file_is_made(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def slow(descriptor: int, offset: int, length: int) -> None:
        begun.set()
        assert may_end.wait(20)
        os.ftruncate(descriptor, length)

    monkeypatch.setattr(os, "posix_fallocate", slow)
    with recorded(folder) as app:
        first = threading.Thread(target=lambda: Server().serve(app))
        first.start()
        assert begun.wait(20)
        for _ in range(2500):
            Server().serve(app)
        may_end.set()
        first.join()
    snapshot = read_live(folder)
    assert snapshot.total.requests_since_start == 2501
    assert len(snapshot.exchanges) + snapshot.exchanges_left_out == 2501


def test_statements_of_many_threads_in_one_request_are_all_counted(
    folder: Path,
) -> None:
    def execute_many() -> None:
        for number in range(300):
            execute(f"SELECT a{number % 3} FROM t")

    def busy(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        threads = [
            threading.Thread(target=copy_context().run, args=(execute_many,))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        start_response("200 OK", [])
        return [b"ok"]

    with recorded(folder, busy) as app:
        Server().serve(app)
    snapshot = read_live(folder)
    assert snapshot.exchanges[0].sql_count == 8 * 300
    assert snapshot.statements is not None
    assert [row.times for row in snapshot.statements.rows] == [800] * 3


@pytest.mark.parametrize("late", [1, 100, 300])
def test_statements_of_a_later_receiver_take_no_others_away(
    folder: Path, late: int
) -> None:
    def log_to_the_database(sender: object, *, exchange: Exchange) -> None:
        for _ in range(late):
            execute("INSERT INTO log VALUES (?)")

    with recorded(folder) as app:
        # The lists are then written at the end, no longer at once.
        for _ in range(20):
            Server().serve(app, path="/items/mug")
        # After the recorder, which has summed up the statements by then.
        exchange_closed.connect(log_to_the_database, app.sender, weak=False)
        Server().serve(app, path="/sql/99")
    statements = read_live(folder).statements
    assert statements is not None
    assert [(row.statement[:6], row.times) for row in statements.rows] == [
        ("SELECT", 99)
    ]


def test_statements_of_one_function_have_their_own_lines(folder: Path) -> None:
    send = partial(
        sql_executed.send,
        Engine(),
        parameters=None,
        parameters_count=1,
        duration_seconds=0.001,
        row_count=1,
        is_executemany=False,
        exception=None,
    )

    def twice(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        for _ in range(2):
            send(statement="SELECT 1 FROM a", exchange=current_exchange())
            send(statement="SELECT 1 FROM b", exchange=current_exchange())
        start_response("200 OK", [])
        return []

    with recorded(folder, twice) as app:
        Server().serve(app)
        Server().serve(app)
    reader = Reader(folder)
    for exchange in reader.snapshot().exchanges:
        found = reader.exchange(exchange.key)
        assert found is not None
        places = [one.place or "" for one in found.events if one.kind == "sql"]
        lines = [int(place.split(":")[1]) for place in places]
        assert lines[2:] == lines[:2] == [lines[0], lines[0] + 1]
