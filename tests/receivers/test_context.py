from __future__ import annotations

import asyncio
import copy
import gc
import io
import json
import logging
import logging.handlers
import pickle
import queue
import subprocess
import sys
import tracemalloc
import typing as t
from collections import defaultdict
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import flask
import pytest
import structlog

from signalpost import SignalMiddleware
from signalpost.exchange import current_exchange
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import exchange_opened
from signalpost.receivers.context import ABSENT
from signalpost.receivers.context import carried
from signalpost.receivers.context import ContextFilter
from signalpost.receivers.context import ContextProcessor
from signalpost.receivers.context import ContextRecordFactory
from signalpost.receivers.context import outgoing_headers
from signalpost.receivers.context import read_spans_by
from signalpost.receivers.context import request_context
from signalpost.receivers.formats import JsonFormatter
from signalpost.receivers.formats import LogfmtFormatter
from signalpost.receivers.latency import LatencyLogger
from signalpost.receivers.latency import log_latency
from signalpost.receivers.response_headers import IdHeader
from tests.wsgi.serving import hello
from tests.wsgi.serving import Server
from tests.wsgi.serving import TEXT

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

FORMAT = (
    "%(exchange_id)s %(exchange_method)s %(exchange_route)s"
    " %(exchange_trace_id)s %(exchange_span_id)s %(message)s"
)
NOWHERE = "- - - - - "

log = logging.getLogger("shop.stock")


@pytest.fixture(autouse=True)
def no_spans() -> Generator[None]:
    """Leave out the spans of OpenTelemetry, which another test may have imported."""
    from signalpost.receivers import context

    before = context._read_span
    read_spans_by(None)
    yield
    read_spans_by(before)


class Lines(logging.StreamHandler[io.StringIO]):
    """Writes the lines of this page's logger, as some formatter has them."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__(io.StringIO())
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        # As a handler that raises would, but for the application to see.
        self.stream.write(self.format(record) + "\n")

    def __iter__(self) -> t.Iterator[str]:
        return iter(self.stream.getvalue().splitlines())

    @property
    def objects(self) -> list[dict[str, t.Any]]:
        return [json.loads(line) for line in self]


def attached(handler: Lines) -> Generator[Lines]:
    logger = logging.getLogger("shop")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(before)


@pytest.fixture
def lines() -> Generator[Lines]:
    handler = Lines(logging.Formatter(FORMAT))
    handler.addFilter(ContextFilter())
    yield from attached(handler)


@pytest.fixture
def json_lines() -> Generator[Lines]:
    handler = Lines(JsonFormatter())
    handler.addFilter(ContextFilter())
    yield from attached(handler)


@pytest.fixture
def factory() -> Generator[None]:
    before = logging.getLogRecordFactory()
    logging.setLogRecordFactory(ContextRecordFactory())
    yield
    logging.setLogRecordFactory(before)


def doing(work: Callable[[], object]) -> SignalMiddleware:
    """Return an application that does some work in its call."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        work()
        return hello(environ, start_response)

    return SignalMiddleware(app)


def visit(work: Callable[[], object], sent: str = "f3-09", **environ: t.Any) -> None:
    Server().serve(doing(work), HTTP_X_REQUEST_ID=sent, **environ)


def sell() -> str:
    log.info("sold")
    return "sold"


def test_a_line_within_a_request_has_its_id(lines: Lines) -> None:
    visit(sell)
    assert [*lines] == ["f3-09 GET - - - sold"]


def test_a_line_outside_a_request_has_dashes(lines: Lines) -> None:
    sell()
    visit(lambda: None)
    sell()
    assert [*lines] == [NOWHERE + "sold"] * 2


def test_all_lines_of_a_request_have_one_id(lines: Lines) -> None:
    visit(lambda: [sell(), sell()], "not an id")
    first, second = (line.split()[0] for line in lines)
    assert first == second != "-"


@pytest.mark.parametrize("sent", ["a\nb", "\x1b[31m", "x" * 10_000, "a b", "é", ""])
def test_a_hostile_id_is_on_no_line(sent: str, lines: Lines) -> None:
    visit(sell, sent)
    (line,) = lines
    assert len(line.split()[0]) == 36
    assert line.endswith(" GET - - - sold")


def test_an_invented_method_is_on_no_line(lines: Lines) -> None:
    visit(sell, method="BREW\nX")
    assert [*lines] == ["f3-09 _OTHER - - - sold"]


def test_a_route_is_on_the_lines_once_it_is_known(lines: Lines) -> None:
    app = flask.Flask("shop")
    Signalpost(app)
    # Before Flask looks for the route.
    app.wsgi_app = SignalMiddleware(app.wsgi_app)  # type: ignore[method-assign]

    @app.get("/mugs/<int:number>")
    def mug(number: int) -> str:
        log.info("asked")
        return "mug"

    @app.errorhandler(404)
    def missing(error: Exception) -> tuple[str, int]:
        log.info("missing")
        return "none", 404

    headers = {"X-Request-ID": "f3-09"}
    app.test_client().get("/mugs/7", headers=headers, buffered=True)
    app.test_client().get("/flags/7\n", headers=headers, buffered=True)
    assert [*lines] == [
        "f3-09 GET /mugs/<int:number> - - asked",
        "f3-09 GET - - - missing",
    ]


def test_a_hostile_mount_is_escaped(lines: Lines) -> None:
    app = flask.Flask("shop")
    Signalpost(app)
    app.add_url_rule("/mugs", view_func=sell, endpoint="mugs")
    environ = {"SCRIPT_NAME": "/a\nb\xe2\x80\xa8" + "c" * 1_000}
    Server().serve(app, path="/mugs", HTTP_X_REQUEST_ID="f3-09", **environ)
    (line,) = lines
    assert line.startswith(r"f3-09 GET /a\nb")
    assert line.isprintable()
    assert len(line) < 700


@pytest.mark.parametrize("route", [7, b"x", ["/a"]])
def test_a_route_of_a_wrong_type_is_on_no_line(route: t.Any, lines: Lines) -> None:
    def work() -> None:
        exchange: t.Any = current_exchange()
        exchange.route = route
        sell()

    visit(work)
    assert [*lines] == ["f3-09 GET - - - sold"]


def test_lines_of_the_body_and_of_the_close_have_the_id(lines: Lines) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
        start_response("200 OK", TEXT)

        def body() -> Generator[bytes]:
            try:
                log.info("first")
                yield b"hello"
                log.info("second")
            finally:
                log.info("closed")

        return body()

    Server().serve(SignalMiddleware(app), HTTP_X_REQUEST_ID="f3-09")
    assert [*lines] == [f"f3-09 GET - - - {word}" for word in _words]


_words = ("first", "second", "closed")


def test_bodies_that_are_sent_in_turns_have_their_own_ids(lines: Lines) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
        start_response("200 OK", TEXT)
        return (sell().encode() for _ in range(2))

    layer, server = SignalMiddleware(app), Server()
    bodies = [server.call(layer, HTTP_X_REQUEST_ID=one) for one in "ab"]
    for _ in zip(*bodies, strict=True):
        sell()
    for body in bodies:
        body.close()  # type: ignore[attr-defined]  # it is our own
    assert [line.split()[0] for line in lines] == ["a", "b", "-"] * 2


def test_a_thread_with_the_context_has_the_id(lines: Lines) -> None:
    def work() -> None:
        pool.submit(sell).result()
        pool.submit(copy_context().run, sell).result()

    with ThreadPoolExecutor(1) as pool:
        visit(work)
        pool.submit(sell).result()
    assert [line.split()[0] for line in lines] == ["-", "f3-09", "-"]


def test_a_task_of_an_async_view_has_the_id(lines: Lines) -> None:
    async def soon() -> None:
        await asyncio.sleep(0)
        sell()

    async def both() -> None:
        await asyncio.gather(soon(), asyncio.to_thread(sell))

    visit(lambda: asyncio.run(both()))
    assert [line.split()[0] for line in lines] == ["f3-09", "f3-09"]


def test_a_receiver_of_the_close_has_the_id(lines: Lines) -> None:
    def receive(sender: object) -> None:
        sell()

    with exchange_closed.connected_to(receive):
        visit(lambda: None)
    assert [*lines] == ["f3-09 GET - - - sold"]


def test_what_others_have_put_on_a_record_stays(lines: Lines) -> None:
    visit(lambda: log.info("sold", extra={"exchange_id": "own"}))
    own = {"exchange_id": "own", "exchange_route": "/own"}
    visit(lambda: log.info("sold", extra=own))
    assert [*lines] == [
        "own GET - - - sold",
        "own GET /own - - sold",
    ]


@pytest.mark.parametrize(
    "name",
    [
        "exchange_id",
        "exchange_method",
        "exchange_route",
        "exchange_trace_id",
        "exchange_span_id",
    ],
)
def test_any_one_field_of_a_record_stays(
    name: str, lines: Lines, json_lines: Lines
) -> None:
    visit(lambda: log.info("sold", extra={name: "/own"}))
    log.info("sold", extra={name: "/own"})
    own = FORMAT.replace(f"%({name})s", "/own")
    values = {"exchange_id": "f3-09", "exchange_method": "GET", "message": "sold"}
    inside, outside = lines
    assert inside == own % defaultdict(lambda: "-", values)
    assert outside == own % defaultdict(lambda: "-", message="sold")
    for entry in json_lines.objects:
        assert "/own" in entry.values()


def test_a_field_stays_without_a_filter() -> None:
    handler = Lines(JsonFormatter())
    for _ in attached(handler):
        log.info("sold", extra={"exchange_route": "/own"})
    (entry,) = handler.objects
    assert "/own" in entry.values()


def test_exchanges_are_recorded_while_a_filter_lives() -> None:
    for _ in range(2):  # those of other tests, and what their end frees
        gc.collect()
    layer = SignalMiddleware(hello, sender=object())
    assert not layer.is_recorded()
    one = ContextFilter()
    assert layer.is_recorded()
    del one
    assert not layer.is_recorded()


def test_a_record_factory_does_the_same(factory: None) -> None:
    handler = Lines(logging.Formatter(FORMAT))
    for _ in attached(handler):
        visit(sell)
        sell()
    assert [*handler] == ["f3-09 GET - - - sold", NOWHERE + "sold"]


def test_a_record_factory_keeps_the_one_before() -> None:
    class Record(logging.LogRecord):
        pass

    record = ContextRecordFactory(Record)("shop", 20, "", 1, "sold", (), None)
    assert type(record) is Record
    assert record.__dict__["exchange_id"] == "-"


def test_a_record_factory_in_another_adds_nothing() -> None:
    factory = ContextRecordFactory(logging.LogRecord)
    for _ in range(2_000):  # applications of tests
        factory = ContextRecordFactory(factory)
    record = factory("shop", 20, "", 1, "sold", (), None)
    assert record.__dict__["exchange_id"] == "-"


def test_a_factory_and_a_filter_agree(factory: None, lines: Lines) -> None:
    visit(sell)
    assert [*lines] == ["f3-09 GET - - - sold"]


def test_a_record_keeps_its_request_in_another_thread() -> None:
    records: queue.Queue[t.Any] = queue.Queue()
    sending = logging.handlers.QueueHandler(records)
    sending.addFilter(ContextFilter())
    receiving = Lines(JsonFormatter())
    receiving.addFilter(ContextFilter())
    logger = logging.getLogger("shop")
    logger.addHandler(sending)
    try:
        visit(lambda: log.warning("sold"))
    finally:
        logger.removeHandler(sending)
    log.warning("another")
    listener = logging.handlers.QueueListener(records, receiving)
    listener.start()
    listener.stop()
    (entry,) = receiving.objects
    assert entry["request_id"] == "f3-09"
    assert "route" not in entry


def test_what_is_absent_is_so_in_another_process() -> None:
    assert pickle.loads(pickle.dumps(ABSENT)) is ABSENT
    assert copy.deepcopy(ABSENT) is ABSENT


def test_a_json_line_has_the_request_as_fields(json_lines: Lines) -> None:
    visit(sell)
    (entry,) = json_lines.objects
    del entry["time"]
    assert entry == {
        "level": "INFO",
        "logger": "shop.stock",
        "message": "sold",
        "request_id": "f3-09",
        "method": "GET",
    }


def test_a_json_line_outside_a_request_has_none(json_lines: Lines) -> None:
    sell()
    (entry,) = json_lines.objects
    assert {*entry} == {"time", "level", "logger", "message"}


def test_a_field_of_the_applications_own_stays(json_lines: Lines) -> None:
    visit(lambda: log.info("sold", extra={"method": "card", "route": "sea"}))
    (entry,) = json_lines.objects
    assert entry["method"] == "card"
    assert entry["route"] == "sea"
    assert entry["request_id"] == "f3-09"
    assert "method_" not in entry


def test_a_logfmt_line_has_the_request_as_fields() -> None:
    handler = Lines(LogfmtFormatter())
    handler.addFilter(ContextFilter())
    for _ in attached(handler):
        visit(sell)
        sell()
    inside, outside = (line.partition(" logger=shop.stock ")[2] for line in handler)
    assert inside == "message=sold request_id=f3-09 method=GET"
    assert outside == "message=sold"


def test_the_line_of_a_request_has_each_field_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    handler = Lines(JsonFormatter())
    handler.addFilter(ContextFilter())
    logger = logging.getLogger("signalpost.latency")
    caplog.set_level(logging.INFO, logger.name)
    logger.addHandler(handler)
    try:
        with exchange_closed.connected_to(log_latency):
            visit(lambda: None, path="/mugs")
    finally:
        logger.removeHandler(handler)
    (entry,) = handler.objects
    assert entry["request_id"] == "f3-09"
    assert (entry["method"], entry["path"]) == ("GET", "/mugs")
    assert not [key for key in entry if key.endswith("_")]
    assert not [key for key in entry if key.startswith("exchange")]


def test_structlogs_entries_have_the_request() -> None:
    with structlog.testing.capture_logs(processors=[ContextProcessor()]) as entries:
        stock = structlog.get_logger()
        visit(lambda: stock.info("sold", method="card"))
        stock.info("closed")
    assert entries == [
        {
            "event": "sold",
            "log_level": "info",
            "method": "card",
            "request_id": "f3-09",
        },
        {"event": "closed", "log_level": "info"},
    ]


def test_the_ids_of_the_span_are_on_the_line(lines: Lines, json_lines: Lines) -> None:
    read_spans_by(lambda: ("0af7", "b7ad"))
    visit(sell)
    sell()
    assert [*lines] == ["f3-09 GET - 0af7 b7ad sold", NOWHERE + "sold"]
    inside, outside = json_lines.objects
    assert (inside["trace_id"], inside["span_id"]) == ("0af7", "b7ad")
    assert "trace_id" not in outside


def test_a_request_without_a_span_has_dashes(lines: Lines) -> None:
    read_spans_by(lambda: None)
    visit(sell)
    assert [*lines] == ["f3-09 GET - - - sold"]


def test_what_fails_in_a_hook_reaches_no_application(lines: Lines) -> None:
    def fail() -> t.NoReturn:
        raise LookupError("no span")

    read_spans_by(fail)
    visit(sell)
    assert [line.split()[-1] for line in lines] == ["sold"]


def test_a_context_is_plain_values() -> None:
    seen: list[dict[str, str]] = []
    one = ContextFilter()
    visit(lambda: seen.append(request_context()))
    assert seen == [{"request_id": "f3-09", "method": "GET"}]
    assert json.loads(json.dumps(seen)) == seen
    assert request_context() == {}
    del one


def test_lines_have_the_request_that_work_was_carried_from(lines: Lines) -> None:
    values = {"request_id": "f3-09", "method": "GET", "route": "/mugs"}
    with carried(values):
        sell()
        assert request_context() == values
        with carried({}):
            sell()
    sell()
    assert [*lines] == [
        "f3-09 GET /mugs - - sold",
        NOWHERE + "sold",
        NOWHERE + "sold",
    ]


def test_the_current_exchange_is_on_the_lines_within_what_is_carried(
    lines: Lines,
) -> None:
    with carried({"request_id": "of another"}):
        visit(sell)
    assert [*lines] == ["f3-09 GET - - - sold"]


def test_a_thread_that_goes_on_can_carry_the_request(lines: Lines) -> None:
    works: list[Callable[[], None]] = []

    def view() -> None:
        values = request_context()

        def later() -> None:
            sell()
            with carried(values):
                sell()

        context = copy_context()
        works.append(lambda: context.run(later))

    visit(view)
    works[0]()
    assert [line.split()[0] for line in lines] == ["-", "f3-09"]


@pytest.mark.parametrize(
    "values",
    [
        None,
        "f3-09",
        7,
        [],
        {},
        {"request_id": "a\nb"},
        {"request_id": "x" * 129},
        {"request_id": 7},
        {"method": "GET", "route": "/a"},
    ],
)
def test_what_is_no_context_is_carried_as_none(values: object, lines: Lines) -> None:
    with carried(values):
        sell()
    assert [*lines] == [NOWHERE + "sold"]


@pytest.mark.parametrize("method", ["get", "G\n", "G" * 30, 7, None, ""])
@pytest.mark.parametrize("route", ["", 7, None])
def test_what_is_not_well_formed_is_left_out(
    method: object, route: object, lines: Lines
) -> None:
    with carried({"request_id": "f3-09", "method": method, "route": route}):
        sell()
    assert [*lines] == ["f3-09 - - - - sold"]


def test_a_hostile_route_that_is_carried_is_escaped(lines: Lines) -> None:
    with carried({"request_id": "f3-09", "route": "/a\n" + "b" * 1_000}):
        sell()
    (line,) = lines
    assert line.isprintable()
    assert len(line) < 700


def test_another_process_has_the_request_that_it_was_given() -> None:
    code = (
        "import json, logging, sys\n"
        "from signalpost.receivers.context import ContextFilter, carried\n"
        "handler = logging.StreamHandler(sys.stdout)\n"
        "handler.addFilter(ContextFilter())\n"
        "handler.setFormatter(logging.Formatter('%(exchange_id)s %(message)s'))\n"
        "logging.getLogger().addHandler(handler)\n"
        "with carried(json.loads(sys.argv[1])):\n"
        "    logging.warning('sold')\n"
    )
    outputs: list[str] = []

    def view() -> None:
        run = subprocess.run(
            [sys.executable, "-c", code, json.dumps(request_context())],
            check=True,
            capture_output=True,
            text=True,
        )
        outputs.append(run.stdout)

    one = ContextFilter()
    visit(view)
    del one
    assert outputs == ["f3-09 sold\n"]


def test_the_id_goes_to_other_services() -> None:
    seen: list[dict[str, str]] = []
    one = ContextFilter()
    visit(lambda: seen.extend([outgoing_headers(), outgoing_headers("X-Trace")]))
    del one
    assert seen == [{"X-Request-ID": "f3-09"}, {"X-Trace": "f3-09"}]
    assert outgoing_headers() == {}


@pytest.mark.parametrize("wrong", ["", "X Id", "X-Id\r\nA: b"])
def test_a_name_that_no_header_has_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="name must be the name of a header"):
        outgoing_headers(wrong)


def test_10000_ids_leave_nothing_behind() -> None:
    lines = Lines(JsonFormatter())
    lines.addFilter(ContextFilter())
    # In no hierarchy, as pytest keeps what is logged there.
    logger = logging.Logger("alone")
    logger.addHandler(lines)
    app: WSGIApplication = doing(lambda: logger.info("sold"))

    def serve(numbers: Iterable[int]) -> int:
        for number in numbers:
            Server().serve(app, HTTP_X_REQUEST_ID=f"{number:036}")
            lines.stream.seek(0)
            lines.stream.truncate()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        with (
            exchange_opened.connected_to(IdHeader()),
            exchange_closed.connected_to(LatencyLogger(logger=logger)),
        ):
            before = serve(range(1_000))
            after = serve(range(1_000, 11_000))
    finally:
        tracemalloc.stop()
    # The ids alone would be 850,000 bytes.
    assert after - before < 100_000


def test_two_fields_of_a_record_do_not_leave_the_others_out(lines: Lines) -> None:
    own = {"exchange_id": "own", "exchange_span_id": "own"}
    visit(lambda: log.info("sold", extra=own))
    values = {**own, "exchange_method": "GET", "message": "sold"}
    assert [*lines] == [FORMAT % defaultdict(lambda: "-", values)]
