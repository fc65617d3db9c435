from __future__ import annotations

import contextlib
import json
import time
import typing as t
from collections.abc import Iterable
from collections.abc import Iterator
from pathlib import Path

import pytest

from signalpost import SignalMiddleware
from signalpost.errors import ConfigurationError
from signalpost.exchange import current_exchange
from signalpost.lifecycle import sql_failed
from signalpost.live import LiveRecorder
from signalpost.live import LiveSnapshot
from signalpost.live import read_live
from signalpost.live._list_file import newest_version
from signalpost.live.reading import Reader
from signalpost.live.snapshot import ExchangeDetail
from signalpost.live.snapshot import json_default
from tests.live.shop import Engine
from tests.live.shop import execute
from tests.live.shop import recorded
from tests.live.shop import shop
from tests.live.shop import TOKEN
from tests.wsgi.serving import Server

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIEnvironment

HOSTILE = (
    "<script>alert(1)</script>",
    "\u202egnp.exe",
    "\x1b[2J\x00\r\n",
    "\ud800",
    "x" * 60_000,
    '"]}\\',
    "\U0001f600" * 300,
)


def get(app: SignalMiddleware, path: str, **environ: t.Any) -> None:
    with contextlib.suppress(LookupError):
        Server().serve(app, PATH_INFO=path, **environ)


def after(folder: Path, *paths: str, **options: t.Any) -> LiveSnapshot:
    """Return what is shown after requests, and the end of their worker."""
    with recorded(folder, **options) as app:
        for path in paths:
            get(app, path)
    return read_live(folder)


def detail_of(folder: Path, snapshot: LiveSnapshot, row: int = 0) -> ExchangeDetail:
    found = Reader(folder).exchange(snapshot.exchanges[row].key)
    assert found is not None
    return found


def all_bytes_of(folder: Path) -> bytes:
    return b"".join(one.read_bytes() for one in sorted(folder.iterdir()))


def test_each_request_is_counted_once(folder: Path) -> None:
    snapshot = after(folder, "/", "/items/mug", "/items/cup", "/status/500", "/boom")
    total = snapshot.total
    assert (total.requests_since_start, total.failed_since_start) == (5, 2)
    assert sum(snapshot.seconds.requests) == total.requests == 5
    assert sum(snapshot.seconds.failed) == total.failed == 2
    assert total.failed_share == pytest.approx(0.4)
    routes = {row.route: row for row in snapshot.routes}
    assert {name: row.requests for name, row in routes.items()} == {
        "<unmatched>": 3,
        "/items/<name>": 2,
    }
    assert sum(routes["/items/<name>"].chart) == 2
    assert routes["<unmatched>"].failed == 2
    assert [row.requests for row in snapshot.workers] == [5]


def test_quantiles_are_within_the_stated_error(folder: Path) -> None:
    from signalpost.live._cells import Closed
    from signalpost.live._file import WorkerFile
    from signalpost.receivers.own_folder import OwnFolder

    with OwnFolder.made(folder) as own:
        file = WorkerFile(own, 10, 0.5, has_waterfall=True)
    times = [0.0001 * 1.1**number for number in range(100)]
    for seconds in times:
        closed = Closed()
        closed.route, closed.response_seconds = "/a", seconds
        file.close(closed)
    total = read_live(folder).total
    row = read_live(folder).routes[0]
    file.end()
    for share, found in ((50, total.p50_seconds), (90, row.p90_seconds)):
        assert found == pytest.approx(times[share - 1], rel=0.0906)
    assert total.p99_seconds == pytest.approx(times[98], rel=0.0906)


def test_an_exchange_is_shown_with_what_it_did(folder: Path) -> None:
    with recorded(folder, slow_seconds=0) as app:
        get(
            app,
            "/sql/3",
            HTTP_REFERER="https://ann:secret@search.example/results?q=secret",
            HTTP_X_REQUEST_ID="an-id",
        )
    detail = detail_of(folder, read_live(folder))
    row = detail.row
    assert (row.method, row.path, row.route) == ("GET", "/sql/3", "/sql/<times>")
    assert (row.status, row.outcome, row.body_bytes) == (200, "complete", 2)
    assert (row.sql_count, row.most_repeats) == (3, 3)
    assert row.sql_seconds == pytest.approx(0.003)
    assert row.is_slow
    assert row.request_id == "an-id"
    assert detail.referrer == "https://search.example/results"
    assert row.duration_seconds is not None
    assert row.duration_seconds >= (detail.seconds_to_headers or 0)


def test_the_waterfall_has_each_statement_with_its_line(folder: Path) -> None:
    row = detail_of(folder, after(folder, "/sql/3"))
    statements = [one for one in row.events if one.kind == "sql"]
    assert [one.name for one in statements] == ["SELECT * FROM mugs WHERE id = ?"] * 3
    assert [one.times for one in statements] == [3, 3, 3]
    assert {one.seconds for one in statements} == {0.001}
    for one in statements:
        file, _, function = str(one.place).split(":")
        assert (Path(file).name, function) == ("shop.py", "execute")
    assert [one.name for one in row.events if one.kind == "signal"] == [
        "request-started",
        "request-finished",
    ]
    assert row.events_left_out == 0


@pytest.mark.parametrize(
    ("operation", "statement", "name"),
    [
        ("commit", None, "<commit>"),
        ("connect", None, "<connect>"),
        ("fetch", "SELECT 'secret'", "<fetch> SELECT ?"),
    ],
)
def test_the_waterfall_has_what_the_database_failed_at(
    folder: Path, operation: str, statement: str | None, name: str
) -> None:
    def failing(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        sql_failed.send(
            Engine(),
            operation=operation,
            statement=statement,
            exception=OSError("no room"),
            exchange=current_exchange(),
        )
        return shop(environ, start_response)

    with recorded(folder, failing) as app:
        get(app, "/items/mug")
    detail = detail_of(folder, read_live(folder))
    (event,) = [one for one in detail.events if one.kind == "sql"]
    assert (event.name, event.is_failed, event.seconds) == (name, True, None)
    assert str(event.place).endswith(".failing")
    assert detail.row.sql_count == 0


def test_events_beyond_forty_are_counted(folder: Path) -> None:
    detail = detail_of(folder, after(folder, "/sql/100"))
    assert len(detail.events) == 40
    assert detail.events_left_out == 100 + 2 - 40
    assert (detail.row.sql_count, detail.row.most_repeats) == (100, 100)


def test_without_a_waterfall_statements_are_counted_all_the_same(folder: Path) -> None:
    snapshot = after(folder, "/sql/3", waterfall=False)
    detail = detail_of(folder, snapshot)
    assert (detail.events, detail.events_left_out) == ((), 0)
    assert detail.row.sql_count == 3
    assert not snapshot.has_waterfall
    assert snapshot.statements is not None
    assert snapshot.statements.rows[0].times == 3


def test_statements_are_listed_by_shape(folder: Path) -> None:
    with recorded(folder) as app:
        get(app, "/sql/3")
        get(app, "/sql/2")
        execute("DELETE FROM mugs WHERE id = 7", 1.5, ValueError("no"))
    statements = read_live(folder).statements
    assert statements is not None
    first, second = statements.rows
    assert (first.statement, first.times) == ("DELETE FROM mugs WHERE id = ?", 1)
    assert (first.total_seconds, first.failed) == (1.5, 1)
    assert (second.times, second.most_in_exchange, second.failed) == (5, 3, 0)
    assert second.longest_seconds == 0.001


def test_many_shapes_leave_the_slowest_and_a_count(folder: Path) -> None:
    with recorded(folder):
        for number in range(1000):
            execute(f"SELECT c{number} FROM t", seconds=number)
    statements = read_live(folder).statements
    assert statements is not None
    assert statements.rows[0].statement == "SELECT c999 FROM t"
    assert len(statements.rows) + statements.left_out == 1000


def test_a_failure_has_its_message_place_and_traceback(folder: Path) -> None:
    snapshot = after(folder, "/boom", "/boom")
    assert snapshot.failures is not None
    (row,) = snapshot.failures.rows
    assert (row.exception, row.times, row.where) == ("LookupError", 2, "call")
    assert row.message == "the secret is 42"
    assert Path(row.place.split(":")[0]).name == "shop.py"
    found = Reader(folder).failure(row.fingerprint)
    assert found is not None
    assert found[1][0].strip() == "Traceback (most recent call last):"
    assert found[1][-1].strip() == "LookupError: the secret is 42"
    assert snapshot.exchanges[0].exception == "LookupError"
    assert detail_of(folder, snapshot).fingerprint == row.fingerprint


def test_lists_have_the_last_request_of_a_quiet_process(folder: Path) -> None:
    with recorded(folder) as app:
        get(app, "/items/mug")
        for number, path in enumerate(("/boom", "/status/503"), start=1):
            get(app, path)
            # No request follows, and the process is not asked to write.
            snapshot = read_live(folder)
            assert snapshot.failures is not None
            assert len(snapshot.failures.rows) == number
        get(app, "/sql/1")
        snapshot = read_live(folder)
        assert snapshot.statements is not None
        assert len(snapshot.statements.rows) == 1


def test_lists_are_not_written_for_each_of_many_requests(folder: Path) -> None:
    with recorded(folder) as app:
        began = time.monotonic()
        for _ in range(300):
            get(app, "/items/mug")
        seconds = time.monotonic() - began
        (path,) = folder.glob("*.lists")
        with path.open("rb") as file:
            written = newest_version(file.fileno(), "tops")
    assert 10 <= written <= 11 + seconds


def test_messages_are_left_out_if_asked(folder: Path) -> None:
    snapshot = after(folder, "/boom", messages=False)
    assert snapshot.failures is not None
    assert snapshot.failures.rows[0].message is None
    # Of the source that a traceback shows, too, only what is no message.
    found = Reader(folder).failure(snapshot.failures.rows[0].fingerprint)
    assert found is not None
    assert found[1][-1].strip() == "LookupError: …"


def test_a_response_from_500_up_is_a_failure_of_its_route(folder: Path) -> None:
    snapshot = after(folder, "/status/503")
    assert snapshot.failures is not None
    (row,) = snapshot.failures.rows
    assert (row.exception, row.where, row.message) == ("status 503", "response", None)


def test_referrers_are_listed_and_those_without_are_counted(folder: Path) -> None:
    with recorded(folder) as app:
        get(app, "/")
        get(app, "/", HTTP_REFERER="https://a.example/")
        get(app, "/", HTTP_REFERER="https://a.example/?q=secret")
    referrers = read_live(folder).referrers
    assert referrers is not None
    assert [(one.referrer, one.requests) for one in referrers.rows] == [
        ("https://a.example/", 2)
    ]
    assert (referrers.requests, referrers.none, referrers.own) == (3, 1, 0)


def test_what_is_excluded_leaves_no_trace(folder: Path) -> None:
    snapshot = after(folder, "/static/a.css", "/", exclude=("/static/**",))
    assert [row.path for row in snapshot.exchanges] == ["/"]
    assert snapshot.total.requests_since_start == 1


def test_secrets_of_a_request_are_in_no_file(folder: Path) -> None:
    with recorded(folder) as app:
        get(
            app,
            "/sql/1",
            QUERY_STRING="q=s3cr3t",
            HTTP_COOKIE="id=s3cr3t",
            HTTP_AUTHORIZATION="Bearer s3cr3t",
            HTTP_X_OWN="s3cr3t",
            HTTP_REFERER="https://s3cr3t:s3cr3t@a.example/?s3cr3t#s3cr3t",
        )
        execute("SELECT 's3cr3t'")
    assert b"s3cr3t" not in all_bytes_of(folder)
    assert b"/sql/<times>" in all_bytes_of(folder)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts_are_bounded_and_printable(folder: Path, text: str) -> None:
    def hostile(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterator[bytes]:
        environ["signalpost.exchange"].route = text
        execute(f"SELECT {text}")
        raise LookupError(text)

    with recorded(folder, hostile) as app:
        get(app, f"/{text}", REQUEST_METHOD=text, HTTP_REFERER=f"https://a/{text}")
    snapshot = read_live(folder)
    data = json.dumps(
        [snapshot, detail_of(folder, snapshot), Reader(folder).find({})],
        default=json_default,
    )
    # As the browser gets it: a text that is shown is one that can be printed.
    assert len(data) < 50_000
    assert all(one.isprintable() for one in strings_in(json.loads(data)))
    assert snapshot.total.requests_since_start == 1
    assert snapshot.routes[0].requests == 1


def strings_in(data: t.Any) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, dict):
        for name, value in data.items():
            yield name
            yield from strings_in(value)
    elif isinstance(data, list):
        for one in data:
            yield from strings_in(one)


def test_what_a_receiver_sets_is_no_failure(folder: Path) -> None:
    def odd(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [])
        exchange = environ["signalpost.exchange"]
        exchange.status = "fine"
        exchange.route = 7
        exchange.body_bytes = 10**30
        exchange.method = ["PUT"]
        return []

    with recorded(folder, odd) as app:
        get(app, "/")
    row = read_live(folder).exchanges[0]
    assert (row.route, row.method, row.body_bytes) == ("7", "GET", 0)


def test_routes_beyond_the_limit_share_a_row(folder: Path) -> None:
    def routed(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        environ["signalpost.exchange"].route = environ["PATH_INFO"]
        start_response("200 OK", [])
        return []

    with recorded(folder, routed, max_routes=2) as app:
        for number in range(5):
            get(app, f"/{number}")
    found = {row.route: row.requests for row in read_live(folder).routes}
    assert found == {"/0": 1, "/1": 1, "<other>": 3}


def test_a_request_in_flight_is_shown_until_it_closes(folder: Path) -> None:
    with recorded(folder) as app:
        body = Server().call(app, PATH_INFO="/items/mug", REQUEST_METHOD="POST")
        snapshot = read_live(folder)
        (row,) = snapshot.in_flight
        assert (row.method, row.path, row.is_dead) == ("POST", "/items/mug", False)
        assert row.status == 200
        assert row.seconds is not None
        assert snapshot.total.in_flight == 1
        assert snapshot.workers[0].is_busy
        body.close()  # type: ignore[attr-defined]  # that of a layer has it
        assert read_live(folder).in_flight == ()


def test_more_requests_in_flight_than_cells_are_counted(folder: Path) -> None:
    with recorded(folder) as app:
        bodies: list[t.Any] = [Server().call(app) for _ in range(100)]
        snapshot = read_live(folder)
        assert snapshot.total.in_flight == 100
        assert len(snapshot.in_flight) + snapshot.in_flight_left_out == 100
        for body in bodies:
            body.close()
        assert read_live(folder).total.in_flight == 0
    assert read_live(folder).total.requests_since_start == 100


def test_an_aborted_response_is_counted_as_such(folder: Path) -> None:
    def streaming(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"one"
        yield b"two"

    with recorded(folder, streaming) as app:
        body: t.Any = Server().call(app)
        next(iter(body))
        body.close()
    snapshot = read_live(folder)
    assert snapshot.total.aborted_since_start == 1
    assert snapshot.exchanges[0].outcome == "aborted"
    assert not snapshot.exchanges[0].is_failed


def test_receivers_are_listed_with_their_calls_where_observed(folder: Path) -> None:
    snapshot = after(folder, "/", "/", with_receivers=True)
    assert snapshot.signals is not None
    rows = snapshot.signals.rows
    (receiver,) = [one for one in rows if one.signal == "exchange-opened"]
    assert receiver.name.endswith("LiveRecorder.opened")
    assert receiver.calls == 2
    assert receiver.failures == 0
    assert receiver.workers == 1
    assert str(receiver.connected_at).partition(":")[0].endswith("recording.py")


def test_calls_that_are_not_observed_are_not_known(folder: Path) -> None:
    signals = after(folder, "/").signals
    assert signals is not None
    assert {one.calls for one in signals.rows} == {None}


def test_lists_are_complete_up_to_the_time_that_is_shown(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)

    def shown() -> tuple[float | None, int]:
        statements = read_live(folder).statements
        assert statements is not None
        return statements.as_of, statements.rows[0].times

    after(folder, "/sql/1")
    now += 100
    # The worker before has ended, and lacks nothing.
    assert shown() == (now, 1)
    executed_at = []
    with recorded(folder) as app:
        # The lists of so many in a row are not written for each of them.
        for _ in range(30):
            now += 0.01
            executed_at.append(now)
            get(app, "/sql/1")
        as_of, times = shown()
    assert as_of is not None
    assert executed_at[0] < as_of < now
    assert times == 1 + sum(at <= as_of for at in executed_at)


def test_a_cursor_gives_what_is_new(folder: Path) -> None:
    reader = Reader(folder)
    with recorded(folder) as app:
        get(app, "/items/a")
        first = reader.snapshot()
        second = reader.snapshot(first.cursor)
        get(app, "/items/b")
        third = reader.snapshot(second.cursor)
    assert [len(one.exchanges) for one in (first, second, third)] == [1, 0, 1]
    assert (first.is_delta, second.is_delta) == (False, True)
    assert (second.statements, second.failures) == (None, None)
    assert third.exchanges[0].path == "/items/b"
    assert len(second.seconds.requests) < 15
    assert third.total.requests_since_start == 2


def test_a_file_that_cannot_be_read_once_has_nothing_new_after_it(
    folder: Path,
) -> None:
    reader = Reader(folder)
    with recorded(folder) as app:
        get(app, "/items/a")
        get(app, "/items/b")
        snapshot = reader.snapshot()
        (file,) = folder.glob("*.live")
        before = file.read_bytes()[:8]
        for start, skipped in ((b"anything", 1), (b"anything", 1), (before, 0)):
            with file.open("r+b") as opened:
                opened.write(start)
            snapshot = reader.snapshot(snapshot.cursor)
            assert snapshot.files.skipped == skipped
            assert (snapshot.exchanges, snapshot.exchanges_left_out) == ((), 0)
        get(app, "/items/c")
    snapshot = reader.snapshot(snapshot.cursor)
    assert [row.path for row in snapshot.exchanges] == ["/items/c"]


@pytest.mark.parametrize(
    "cursor", ["x", "1.2.3.4.5", "1.99999999999.0.0.", "1" * 99999]
)
def test_what_is_no_cursor_gives_all(folder: Path, cursor: str) -> None:
    after(folder, "/")
    snapshot = Reader(folder).snapshot(cursor)
    assert not snapshot.is_delta
    assert len(snapshot.exchanges) == 1


@pytest.mark.parametrize(
    ("asked", "paths"),
    [
        ({}, ["/boom", "/status/404", "/items/mug"]),
        ({"route": "/items/<name>"}, ["/items/mug"]),
        ({"route": "<unmatched>"}, ["/boom", "/status/404"]),
        ({"status": "404"}, ["/status/404"]),
        ({"status": "4xx"}, ["/status/404"]),
        ({"outcome": "error"}, ["/boom"]),
        ({"slow_seconds": "9"}, []),
        ({"id": "abc"}, ["/items/mug"]),
        ({"id": "bc"}, []),
        ({"id": " abc\t"}, ["/items/mug"]),
        ({"id": " "}, ["/boom", "/status/404", "/items/mug"]),
    ],
)
def test_records_are_found(
    folder: Path, asked: dict[str, str], paths: list[str]
) -> None:
    with recorded(folder) as app:
        get(app, "/items/mug", HTTP_X_REQUEST_ID="abcdef")
        get(app, "/status/404")
        get(app, "/boom")
    found = Reader(folder).find(asked)
    assert [row.path for row in found.exchanges] == paths
    assert found.searched == 3


def test_a_folder_that_is_not_there_is_empty(folder: Path) -> None:
    snapshot = read_live(folder)
    assert (snapshot.since, snapshot.workers, snapshot.exchanges) == (None, (), ())
    assert snapshot.total.p50_seconds is None
    assert not folder.exists()


def test_no_file_is_made_before_a_request(folder: Path) -> None:
    with recorded(folder):
        assert not folder.exists()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"folder": 7}, TypeError),
        ({"waterfall": 1}, TypeError),
        ({"slow_seconds": "1"}, TypeError),
        ({"slow_seconds": -1}, ValueError),
        ({"slow_seconds": float("nan")}, ValueError),
        ({"messages": None}, TypeError),
        ({"exclude": "/static"}, TypeError),
        ({"max_routes": 0}, ValueError),
        ({"max_routes": 10**6}, ValueError),
        ({"max_routes": True}, TypeError),
        ({"path": "/live"}, ConfigurationError),
        ({"path": "live", "token": TOKEN}, ConfigurationError),
        ({"path": "/", "token": "short"}, ConfigurationError),
        ({"token": TOKEN}, ConfigurationError),
        ({"path": "/live", "token_env": "NOT_SET_ANYWHERE"}, ConfigurationError),
        ({"path": "/", "token": TOKEN}, ConfigurationError),
        ({"networks": ["10.0.0.0/8"]}, ConfigurationError),
        ({"token_file": "/run/token"}, ConfigurationError),
        ({"path": "/live", "networks": ["10.0.0.0/8"]}, ConfigurationError),
        ({"allows": "shop:allows", "path": "/live"}, ConfigurationError),
        ({"path": "/live", "token": TOKEN, "token_env": "X"}, ConfigurationError),
    ],
)
def test_an_option_that_does_not_fit_is_refused(
    options: dict[str, t.Any], error: type[Exception]
) -> None:
    with pytest.raises(error) as raised:
        LiveRecorder(**options)
    name = next(iter(options))
    assert name in str(raised.value) or "token" in str(raised.value)


def test_a_recorder_of_one_application_refuses_another(folder: Path) -> None:
    recorder = LiveRecorder(folder=folder)
    recorder.connect(shop)
    try:
        recorder.connect(shop)
        with pytest.raises(ConfigurationError, match="is connected to another"):
            recorder.connect(execute)
    finally:
        assert recorder.disconnect()
    assert not recorder.disconnect()
