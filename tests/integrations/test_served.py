"""Each receiver, enabled by each configuration, in applications that are served."""

from __future__ import annotations

import contextlib
import gc
import io
import json
import logging
import sys
import tempfile
import threading
import tracemalloc
import typing as t
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

import flask
import pytest

from signalpost import SignalMiddleware
from signalpost.config import Enabled
from signalpost.config import enabled_for
from signalpost.exchange import current_exchange
from signalpost.exchange import Exchange
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import catalogue
from signalpost.receivers.failures import FailureLogger
from signalpost.receivers.formats import JsonFormatter
from signalpost.receivers.formats import LogfmtFormatter
from signalpost.receivers.formats import TextFormatter
from signalpost.receivers.lines import LONGEST_FIELD
from signalpost.receivers.paths import UNMATCHED_ROUTE
from signalpost.receivers.recorder import LatencyRecorder
from signalpost.receivers.referrer_counter import ReferrerCount
from signalpost.receivers.referrer_counter import ReferrerCounter
from signalpost.receivers.watch import Message
from signalpost.receivers.watch import Watcher
from signalpost.receivers.watch import WatchSender
from tests.integrations.serving import FLASKS
from tests.integrations.serving import theirs
from tests.integrations.serving_socket import Client
from tests.integrations.serving_socket import PATIENCE_SECONDS
from tests.integrations.serving_socket import served_by_waitress
from tests.integrations.serving_socket import served_by_werkzeug
from tests.integrations.serving_socket import until
from tests.wsgi.serving import Server

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

REFERRER = "https://ada:s3cret@Search.example/a\u2028b?token=s3cret"
LOGGED_REFERRER = "https://search.example/a\u2028b"
CHUNK = b"x" * 65_536


class Shop:
    """The served application, on any server, and its records for the tests.

    Each exchange ends with a function that its application asked to be called then.
    """

    def __init__(self) -> None:
        self.released: list[str] = []
        self.may_go_on = threading.Event()
        self.has_left = threading.Event()

    def open(self) -> None:
        exchange = current_exchange()
        if exchange is not None:
            exchange.call_on_close(self.released.append, exchange.path)

    def export(self) -> Iterator[bytes]:
        yield b"one"
        assert self.may_go_on.wait(PATIENCE_SECONDS)
        yield b"two"

    def endless(self) -> Iterator[bytes]:
        yield CHUNK
        assert self.has_left.wait(PATIENCE_SECONDS)
        for _ in range(1000):
            yield CHUNK


shop = Shop()
received: list[tuple[str, int | None]] = []


def record(sender: object, *, exchange: Exchange) -> None:
    received.append((exchange.path, exchange.status))


def has_no_traceback(record: logging.LogRecord) -> bool:
    return not record.exc_info


def stock_of_mugs() -> t.NoReturn:
    raise KeyError("mug")


def new_flask_app(**config: t.Any) -> flask.Flask:
    app = flask.Flask("shop")
    app.logger.addFilter(has_no_traceback)
    app.config.update(config)
    app.before_request(shop.open)
    app.add_url_rule("/", "home", lambda: "hello")
    app.add_url_rule("/items/<int:number>", "item", lambda number: f"item {number}")
    app.add_url_rule("/export", "export", lambda: flask.Response(shop.export()))
    app.add_url_rule("/broken", "broken", stock_of_mugs)
    app.add_url_rule("/endless", "endless", lambda: flask.Response(shop.endless()))
    Signalpost(app)
    return app


def new_wsgi_app(global_conf: dict[str, str] | None = None) -> WSGIApplication:
    """Make an application, as ``paste.app_factory`` does."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        shop.open()
        path = environ["PATH_INFO"]
        if path == "/broken":
            stock_of_mugs()
        status = "404 Not Found" if path == "/missing" else "200 OK"
        start_response(status, [("Content-Type", "text/plain")])
        if path == "/export":
            return shop.export()
        if path == "/endless":
            return shop.endless()
        return [b"hello" if path == "/" else b"item 7"]

    return app


def from_mapping(folder: Path) -> WSGIApplication:
    return new_flask_app(
        SIGNALPOST_FORMAT="text",
        SIGNALPOST_RECEIVERS={
            "latency": {"slow_seconds": 30},
            "recorder": {"max_routes": 20},
            "referrers": {"paths": ["/"]},
            "referrer-counter": {"max_referrers": 50},
            "failures": True,
            "watch": {"folder": str(folder / "watch")},
        },
    )


def from_toml(folder: Path) -> WSGIApplication:
    path = folder / "shop.toml"
    path.write_text(
        f"""\
[signalpost]
format = "json"

[signalpost.receivers]
latency = {{slow_seconds = 30}}
recorder = {{max_routes = 20}}
referrers = {{paths = ["/"]}}
referrer-counter = {{max_referrers = 50}}
failures = true
watch = {{folder = "{folder}/watch"}}
"""
    )
    return new_flask_app(SIGNALPOST_CONFIG=path)


INI = """\
[signalpost]
format = {format}

[signalpost.receivers]
latency = slow_seconds = 30
recorder = max_routes = 20
referrers = paths = /
failures = yes
watch = folder = {folder}/watch

[signalpost.receivers.referrer-counter]
max_referrers = 50
"""


def from_ini(folder: Path) -> WSGIApplication:
    path = folder / "shop.ini"
    path.write_text(INI.format(folder=folder, format="logfmt"))
    return new_flask_app(SIGNALPOST_CONFIG=path)


STACK = """\
[pipeline:main]
pipeline = signalpost shop

[filter:signalpost]
use = egg:signalpost
config = %(here)s/stack.ini

[app:shop]
paste.app_factory = served_here:new_wsgi_app

"""


def from_paste(folder: Path) -> WSGIApplication:
    loadwsgi = pytest.importorskip("paste.deploy.loadwsgi")
    path = folder / "stack.ini"
    path.write_text(STACK + INI.format(folder=folder, format="json"))
    return t.cast("WSGIApplication", loadwsgi.loadapp(f"config:{path}"))


PATHS = {
    "latency": "signalpost.receivers.latency:LatencyLogger",
    "recorder": "signalpost.receivers.recorder:LatencyRecorder",
    "referrers": "signalpost.receivers.referrers:ReferrerLogger",
    "referrer-counter": "signalpost.receivers.referrer_counter:ReferrerCounter",
    "failures": "signalpost.receivers.failures:FailureLogger",
    "watch": "signalpost.receivers.watch:WatchSender",
}


def from_dotted_paths(folder: Path) -> WSGIApplication:
    return new_flask_app(
        SIGNALPOST_FORMAT="logfmt",
        SIGNALPOST_RECEIVERS={
            PATHS["latency"]: {"slow_seconds": 30},
            PATHS["recorder"]: {"max_routes": 20},
            PATHS["referrers"]: {"paths": ["/"]},
            PATHS["referrer-counter"]: {"max_referrers": 50},
            PATHS["failures"]: True,
            PATHS["watch"]: {"folder": str(folder / "watch")},
            "served_here:record": {"signal": "exchange-closed"},
        },
    )


# What comes of the requests that ``visit_all`` makes, in their order.
PATH = ["/", "/items/7", "/export", "/broken", "/missing", "/endless"]
OF_FLASK = {
    "status": [200, 200, 200, 500, 404, 200],
    "outcome": ["complete"] * 5 + ["aborted"],
    "route": ["/", "/items/<int:number>", "/export", "/broken", None, "/endless"],
}
OF_WSGI = {
    "status": [200, 200, 200, None, 404, 200],
    "outcome": ["complete"] * 3 + ["error", "complete", "aborted"],
    "route": [None] * 6,
}


@dataclass(frozen=True)
class Source:
    """How receivers are enabled, and what is served then."""

    app_of: Callable[[Path], WSGIApplication]
    form: str
    expected: dict[str, t.Any] = field(default_factory=lambda: OF_FLASK)
    served: Callable[[WSGIApplication], AbstractContextManager[Client]] = (
        served_by_werkzeug
    )


each_source = pytest.mark.parametrize(
    "source",
    [
        Source(from_mapping, "text"),
        Source(from_toml, "json"),
        Source(from_ini, "logfmt"),
        Source(from_paste, "json", OF_WSGI, served_by_waitress),
        Source(from_dotted_paths, "logfmt"),
    ],
    ids=lambda source: source.app_of.__name__,
)


class Visited:
    """A shop that is served and watched, and the lines of its receivers."""

    def __init__(self, app: WSGIApplication, client: Client, watcher: Watcher) -> None:
        self.enabled: Enabled = enabled_for(app)
        self.app = sender_of(app)
        self.client = client
        self.messages: list[Message] = []
        self._watcher = watcher
        self.fetch()

    def receiver(self, name: str) -> t.Any:
        found = self.enabled.get(name) or self.enabled[PATHS[name]]
        return found.receiver

    def ended(self, *paths: str) -> None:
        """Wait for the ends of exchanges, and return the watcher's messages."""
        until(lambda: len(shop.released) >= len(paths), shop.released)
        assert shop.released == [*paths]
        # Each time, as the system may keep no more than the signals of one exchange.
        self.fetch()

    def fetch(self) -> None:
        self.messages += self._watcher.messages(timeout_seconds=0)

    def visit_all(self) -> None:
        client = self.client
        # Bodies are read to their ends: of a connection that is reset after the last
        # chunk, Werkzeug's server forgets to close the response.
        assert client.get("/", {"Referer": REFERRER.encode()}) == b"hello"
        self.ended(*PATH[:1])
        own = {"Referer": f"{client.origin}/?page=2"}
        assert client.get("/items/7", own) == b"item 7"
        self.ended(*PATH[:2])
        with client.asking("/export") as response:
            assert response.read(3) == b"one"
            assert shop.released == PATH[:2]
            shop.may_go_on.set()
            assert response.read() == b"two"
        self.ended(*PATH[:3])
        with client.asking("/broken") as response:
            assert response.status == 500
            assert response.read()
        self.ended(*PATH[:4])
        with client.asking("/missing") as response:
            assert response.status == 404
            assert response.read()
        self.ended(*PATH[:5])
        client.leave("/endless")
        shop.has_left.set()
        self.ended(*PATH)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> io.StringIO:
    """Replace standard error, to which no server writes."""
    for name in ("waitress", "werkzeug"):
        caplog.set_level(logging.CRITICAL + 1, logger=name)
    return io.StringIO()


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    monkeypatch.setitem(sys.modules, "served_here", sys.modules[__name__])
    monkeypatch.setattr(sys.modules[__name__], "shop", Shop())
    received.clear()
    # pytest's own folders may have too long a path for a socket.
    with tempfile.TemporaryDirectory(prefix="signalpost-") as name:
        yield Path(name).resolve()


@contextlib.contextmanager
def visiting(source: Source, folder: Path, log: io.StringIO) -> Generator[Visited]:
    # Standard error not in the fixture: pytest puts its own in place for the test.
    with contextlib.redirect_stderr(log), Watcher(folder / "watch") as watcher:
        app = source.app_of(folder)
        with contextlib.ExitStack() as stack:
            stack.callback(enabled_for(app).disable_all)
            client = stack.enter_context(source.served(app))
            yield Visited(app, client, watcher)


def sender_of(app: WSGIApplication) -> t.Any:
    return app.sender if isinstance(app, SignalMiddleware) else app


def settings_of_logger() -> tuple[int, bool, bool, list[logging.Handler]]:
    logger = logging.getLogger("signalpost")
    return logger.level, logger.propagate, logger.disabled, [*logger.handlers]


def lines_of(log: io.StringIO, form: str) -> list[dict[str, str]]:
    """Return the lines of a log by their fields; of plain text, as message."""
    lines = log.getvalue().splitlines()
    if form == "json":
        return [
            {key: "" if value is None else str(value) for key, value in line.items()}
            for line in map(json.loads, lines)
        ]
    if form == "logfmt":
        return [
            {key: value.strip('"') for key, value in pairs_of(line)} for line in lines
        ]
    # Date, time, level, logger, message; a traceback is indented.
    records = [line.split(" ", 4) for line in lines if not line.startswith(" ")]
    return [{"logger": one[3], "message": one[4]} for one in records]


def pairs_of(line: str) -> Iterator[tuple[str, str]]:
    while line:
        key, _, rest = line.partition("=")
        if rest.startswith('"'):
            end = 1
            while rest[end] != '"':
                end += 2 if rest[end] == "\\" else 1
            value, line = rest[: end + 1], rest[end + 2 :]
        else:
            value, _, line = rest.partition(" ")
        yield key, value


def of_logger(lines: list[dict[str, str]], name: str) -> list[dict[str, str]]:
    return [line for line in lines if line["logger"] == f"signalpost.{name}"]


@each_source
def test_every_receiver_shows_what_was_served(
    source: Source, folder: Path, log: io.StringIO
) -> None:
    expected = source.expected
    with visiting(source, folder, log) as visited:
        visited.visit_all()
        recorder: LatencyRecorder = visited.receiver("recorder")
        counter: ReferrerCounter = visited.receiver("referrer-counter")
        failures: FailureLogger = visited.receiver("failures")
        sender: WatchSender = visited.receiver("watch")

    lines = lines_of(log, source.form)
    latency = of_logger(lines, "latency")
    (failure,) = of_logger(lines, "failures")
    (referrer,) = of_logger(lines, "referrers")
    assert len(lines) == len(PATH) + 2
    places = [
        route or path for route, path in zip(expected["route"], PATH, strict=True)
    ]
    if source.form == "text":
        assert [" ".join(line["message"].split()[:4]) for line in latency] == [
            f"GET {place} {status} {outcome}"
            for place, status, outcome in zip(
                places, expected["status"], expected["outcome"], strict=True
            )
        ]
        assert referrer["message"] == r"GET / https://Search.example/a\u2028b"
        assert failure["message"].startswith("GET /broken - view KeyError at=")
        indented = [one for one in log.getvalue().splitlines() if one.startswith("  ")]
        assert indented[0].lstrip() == "Traceback (most recent call last):"
        assert indented[-1].lstrip() == "KeyError: 'mug'"
    else:
        assert [line.get("route") or line["path"] for line in latency] == places
        assert [line["outcome"] for line in latency] == expected["outcome"]
        assert [line["status"] for line in latency] == [
            "" if status is None else str(status) for status in expected["status"]
        ]
        escaped = "\u2028" if source.form == "json" else r"\u2028"
        assert referrer["referrer"] == f"https://Search.example/a{escaped}b"
        assert failure["exception_type"] == "KeyError"
        assert failure["exception"].lstrip().startswith("Traceback")

    snapshot = recorder.snapshot()
    assert snapshot.total.requests == len(PATH)
    assert snapshot.total.errors_since_start == 1
    assert snapshot.total.in_flight == 0
    assert {row.route for row in snapshot.routes} == {
        route or UNMATCHED_ROUTE for route in expected["route"]
    }
    assert counter.top() == [ReferrerCount(LOGGED_REFERRER, 1, 0)]
    totals = counter.totals()
    assert (totals.requests, totals.none, totals.own) == (len(PATH), 4, 1)
    (count,) = failures.counts()
    assert (count.exception, count.times) == ("KeyError", 1)
    assert f"{Path(__file__).name}:" in count.location

    assert sender.dropped == 0
    assert visited.messages[0]["signal"] == "post-config-load"
    closed = [one for one in visited.messages if one["signal"] == "exchange-closed"]
    assert [one["path"] for one in closed] == PATH
    for key, values in expected.items():
        assert [one[key] for one in closed] == values
    opened = [one for one in visited.messages if one["signal"] == "exchange-opened"]
    assert [one["path"] for one in opened] == PATH
    (failed,) = (
        one for one in visited.messages if one["signal"] == "got-request-exception"
    )
    assert (failed["path"], failed["exception"]) == ("/broken", "KeyError")
    if source.app_of is from_dotted_paths:
        assert received == [*zip(PATH, expected["status"], strict=True)]


@each_source
def test_what_is_disabled_leaves_nothing_behind(
    source: Source, folder: Path, log: io.StringIO
) -> None:
    settings = settings_of_logger()
    with visiting(source, folder, log) as visited:
        visited.client.get("/")
        visited.ended("/")
        assert log.getvalue()
        assert settings_of_logger() != settings
        recorder: LatencyRecorder = visited.receiver("recorder")
        said, told = log.getvalue(), [*visited.messages]

        visited.enabled.disable_all()

        app = visited.app
        assert len(visited.enabled) == 0
        assert not [one for one in catalogue.values() if one.has_receivers_for(app)]
        if isinstance(app, flask.Flask):
            assert not [one for one in FLASKS if [*theirs(one).receivers_for(app)]]
        assert settings_of_logger() == settings
        assert visited.client.get("/") == b"hello"
        assert visited.client.get("/broken")
        visited.fetch()
        assert log.getvalue() == said
        assert visited.messages == told
        assert recorder.snapshot().total.requests_since_start == 1


# As servers pass on what clients send: the bytes, decoded as latin-1. The number that
# follows makes each text another.
HOSTILE = [
    "\x1b[2J\x1b[31m",
    "a\x00b",
    "a\rGET / forged",
    "a\nGET / 200 complete",
    "a\r\n\tGET / forged",
    "a\x0bb\x0cc\x1cd\x1de\x1ef\x7f",
    "".join(map(chr, range(0x80, 0xA0))),
    "a\xe2\x80\xa8GET / forged",
    "a\xe2\x80\xa9b\xc2\x85c\xe2\x80\xaed",
    "a\xff\xfe\xe2\x80b\xed\xa0\x80c",
    '" 200 complete "',
    "%s%d{0.__class__}\\n",
    "https://a.example/,https://b.example/\n",
]
LONG = ["\xf3\xa0\x80\x81" * 15_000, "x" * 60_000, "\x1b" * 60_000]
FORMATS: dict[str, tuple[logging.Formatter, Callable[[str], object]]] = {
    "text": (TextFormatter(), str),
    "json": (JsonFormatter(), json.loads),
    "logfmt": (LogfmtFormatter(), str),
}
REQUESTS = 10_000
# So many of them at the end are traced, which makes them slow.
TRACED = 1_000
MOST_HELD_BYTES = 200_000
# Two texts of 512 characters, each of which JSON has in a message, as up to 11, and in
# a field, as up to 12.
LONGEST_LINE = 24_500
MOST_REFERRERS = 100
MOST_FAILURES = 50
# More than are distinguished: before one recurs, it was dropped.
FAILURES = [type(f"Failure{n}", (Exception,), {}) for n in range(2 * MOST_FAILURES)]

methods: set[str] = set()


def keep_method(sender: object, *, exchange: Exchange) -> None:
    methods.add(exchange.method)


class LineCounter(io.TextIOBase):
    """A log file of which only numbers are kept.

    :param check: Raises :exc:`ValueError` for a line that it cannot read.
    """

    def __init__(self, check: Callable[[str], object]) -> None:
        self.records = 0
        self.lines = 0
        self.indented = 0
        self.forged = 0
        self.longest = 0
        self._check = check

    def write(self, text: str) -> int:
        self.records += 1
        for line in text.splitlines():
            self.lines += 1
            self.indented += line.startswith("  ")
            self.longest = max(self.longest, len(line))
            try:
                self._check(line)
            except ValueError:
                self.forged += 1
            else:
                self.forged += not line.isprintable()
        return len(text)


@contextlib.contextmanager
def counting() -> Generator[dict[str, LineCounter]]:
    """Count the lines that are logged, in each format."""
    logger = logging.getLogger("signalpost")
    counters = {}
    with contextlib.ExitStack() as stack:
        # Not to pytest, which would keep each record.
        stack.callback(setattr, logger, "propagate", logger.propagate)
        logger.propagate = False
        stack.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.INFO)
        for form, (formatter, check) in FORMATS.items():
            counters[form] = LineCounter(check)
            writer = logging.StreamHandler(counters[form])
            writer.setFormatter(formatter)
            logger.addHandler(writer)
            stack.callback(logger.removeHandler, writer)
        yield counters


@contextlib.contextmanager
def tracing() -> Generator[Callable[[], int]]:
    """Return how many bytes were allocated in the block and are still held."""

    def held_bytes() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    gc.collect()
    tracemalloc.start()
    try:
        yield held_bytes
    finally:
        tracemalloc.stop()


def new_hostile_target(folder: Path) -> flask.Flask:
    app = flask.Flask("shop")
    app.logger.addFilter(has_no_traceback)
    app.config["SIGNALPOST_RECEIVERS"] = {
        "latency": {"slow_seconds": 30},
        "recorder": {"max_routes": 3},
        "referrers": True,
        "referrer-counter": {"max_referrers": MOST_REFERRERS},
        "failures": {"max_fingerprints": MOST_FAILURES},
        "watch": {"folder": str(folder / "watch")},
        "served_here:keep_method": {"signal": "exchange-closed"},
    }

    def broken(number: int) -> str:
        raise FAILURES[number % len(FAILURES)](flask.request.referrer)

    app.add_url_rule("/items/<path:name>", "item", lambda name: "item")
    app.add_url_rule("/broken/<int:number>", "broken", broken)
    Signalpost(app)
    return app


def ask(app: WSGIApplication, numbers: Iterable[int]) -> None:
    """Send hostile requests: one of ten fails, one of three has an unknown method."""
    for number in numbers:
        text = f"{HOSTILE[number % len(HOSTILE)]}{number}"
        if number % 49 == 0:
            text = LONG[number // 49 % len(LONG)]
        if number % 10 == 0:
            method, path = "GET", f"/broken/{number // 10}"
        elif number % 3 == 0:
            method, path = text, f"/items/{text}"
        else:
            method, path = "GET", f"/{'items/' * (number % 2)}{text}"
        # The number is at a place where it is not cut off.
        before = "https://ada:s3cret@a.example/" if number % 4 else ""
        referrer = f"{before}{number}{text}?token=s3cret"
        Server().serve(app, path=path, method=method, HTTP_REFERER=referrer)


def test_hostile_requests_leave_what_was_promised(folder: Path) -> None:
    app = new_hostile_target(folder)
    enabled = enabled_for(app)
    methods.clear()

    with counting() as counters:
        ask(app, range(REQUESTS - TRACED))
        with tracing() as held_bytes:
            ask(app, range(REQUESTS - TRACED, REQUESTS))
            held = held_bytes()

    assert held < MOST_HELD_BYTES
    failed = REQUESTS // 10
    for counter in counters.values():
        assert counter.records == 2 * REQUESTS + failed
        assert counter.lines - counter.indented == counter.records
        assert counter.forged == 0
        assert counter.longest < LONGEST_LINE
    assert counters["json"].indented == counters["logfmt"].indented == 0
    assert methods == {"GET", "_OTHER"}
    snapshot = enabled["recorder"].receiver.snapshot()
    assert {row.route for row in snapshot.routes} == {
        "/items/<path:name>",
        "/broken/<int:number>",
        UNMATCHED_ROUTE,
    }
    assert snapshot.total.requests_since_start == REQUESTS
    assert snapshot.total.errors_since_start == failed
    counter_of_referrers: ReferrerCounter = enabled["referrer-counter"].receiver
    rows = counter_of_referrers.top(2 * MOST_REFERRERS)
    assert len(rows) == MOST_REFERRERS
    assert max(len(row.referrer) for row in rows) <= LONGEST_FIELD
    assert not any("s3cret" in row.referrer for row in rows)
    totals = counter_of_referrers.totals()
    assert (totals.requests, totals.none, totals.own) == (REQUESTS, 0, 0)
    assert len(enabled["failures"].receiver.counts()) == MOST_FAILURES
    enabled.disable_all()
