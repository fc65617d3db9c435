"""One bad value loses a whole batch of spans: signalpost sends none."""

from __future__ import annotations

import typing as t
from collections.abc import Callable
from collections.abc import Generator
from contextlib import nullcontext
from http import HTTPStatus

import pytest
import sqlalchemy as sa

from signalpost import SignalMiddleware
from signalpost.exchange import Exchange
from signalpost.integrations.opentelemetry import OpenTelemetry
from signalpost.integrations.sqlalchemy import instrument
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import exchange_opened
from signalpost.lifecycle import sql_executed
from signalpost.lifecycle import sql_failed
from tests.integrations.collecting import attributes_of
from tests.integrations.collecting import Collector
from tests.integrations.collecting import exporting_to
from tests.wsgi.serving import hello
from tests.wsgi.serving import Server

pytest.importorskip(
    "opentelemetry.exporter.otlp.proto.http",
    reason="opentelemetry-exporter-otlp-proto-http is not installed",
)

HUGE = "x" * 10_000_000
MOST_BYTES = 64_000


@pytest.fixture
def collector() -> Generator[Collector]:
    found = Collector()
    with found.running():
        yield found


class Loud(str):
    """Text whose class gives another one, if any."""

    def __str__(self) -> str:
        raise LookupError("no text")

    def __format__(self, spec: str) -> str:
        return HUGE

    def encode(self, *_: object) -> bytes:
        raise LookupError("no bytes")


class Mute:
    def __str__(self) -> str:
        raise LookupError("no text")


TEXTS = [
    "/graphql#\ud800",
    "/\ud83d\ude00",
    b"/\xff\xfe",
    bytearray(b"/\xff"),
    HUGE,
    HUGE.encode(),
    Loud("/loud"),
    Loud(HUGE),
    Mute(),
    7,
    ["/list"],
    "",
]


def ids_of(values: list[t.Any]) -> list[str]:
    return [f"{type(value).__name__.encode('ascii', 'replace')!r}" for value in values]


def batch_of(
    opentelemetry: OpenTelemetry, changed: Callable[[Exchange], object], app: t.Any
) -> None:
    """Serve three requests, the one in the middle with what is bad."""

    def change(sender: object, exchange: Exchange) -> None:
        if exchange.path == "/2":
            changed(exchange)

    opentelemetry.connect(app)
    with exchange_closed.connected_to(change, app.sender):
        for number in range(1, 4):
            Server().serve(app, path=f"/{number}")


def spans_by_path(collector: Collector) -> dict[str, t.Any]:
    """Return the spans of requests; each is small."""
    spans = collector.spans()
    assert all(len(span.SerializeToString()) < MOST_BYTES for span in spans)
    found = {attributes_of(span.attributes).get("url.path", ""): span for span in spans}
    return {path: span for path, span in found.items() if path}


def count_of(collector: Collector) -> int:
    (one,) = [
        metric
        for metric in collector.metrics()
        if metric.name == "http.server.request.duration"
    ]
    return sum(point.count for point in one.histogram.data_points)


@pytest.mark.parametrize("value", TEXTS, ids=ids_of(TEXTS))
@pytest.mark.parametrize("name", ["route", "method", "outcome"])
def test_bad_text_of_one_request_loses_no_batch(
    name: str, value: t.Any, collector: Collector
) -> None:
    app = SignalMiddleware(lambda *given: hello(*given))
    with exporting_to(collector, 60_000) as opentelemetry:
        batch_of(opentelemetry, lambda one: setattr(one, name, value), app)
    assert {*spans_by_path(collector)} == {"/1", "/2", "/3"}
    assert count_of(collector) == 3


@pytest.mark.parametrize(
    "value", [10**30, -(10**30), "500", True, 5.5, Loud("500")], ids=range(6)
)
def test_bad_status_loses_no_batch(value: t.Any, collector: Collector) -> None:
    app = SignalMiddleware(lambda *given: hello(*given))
    with exporting_to(collector, 60_000) as opentelemetry:
        batch_of(opentelemetry, lambda one: setattr(one, "status", value), app)
    spans = spans_by_path(collector)
    assert {*spans} == {"/1", "/2", "/3"}
    assert "http.response.status_code" not in attributes_of(spans["/2"].attributes)
    assert count_of(collector) == 3


def test_status_of_the_standard_library_is_a_number(collector: Collector) -> None:
    app = SignalMiddleware(lambda *given: hello(*given))
    with exporting_to(collector, 60_000) as opentelemetry:
        batch_of(
            opentelemetry, lambda one: setattr(one, "status", HTTPStatus(503)), app
        )
    span = spans_by_path(collector)["/2"]
    assert attributes_of(span.attributes)["http.response.status_code"] == 503
    assert attributes_of(span.attributes)["error.type"] == "503"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300, -5, "soon"])
@pytest.mark.parametrize("name", ["duration_seconds", "started_at"])
def test_bad_time_loses_no_batch(name: str, value: t.Any, collector: Collector) -> None:
    app = SignalMiddleware(lambda *given: hello(*given))

    def change(sender: object, exchange: Exchange) -> None:
        if exchange.path == "/2":
            setattr(exchange, name, value)

    with exporting_to(collector, 60_000) as opentelemetry:
        # Before the span begins.
        exchange_opened.connect(change, app.sender, priority=2_000_000)
        batch_of(opentelemetry, lambda one: setattr(one, name, value), app)
    spans = spans_by_path(collector)
    assert {*spans} == {"/1", "/2", "/3"}
    first, second = spans["/1"], spans["/2"]
    assert second.end_time_unix_nano >= second.start_time_unix_nano
    assert abs(second.start_time_unix_nano - first.start_time_unix_nano) < 60e9


def raising(error: BaseException) -> t.Any:
    def app(environ: dict[str, t.Any], start_response: t.Any) -> t.Any:
        if environ["PATH_INFO"] == "/2":
            raise error
        return hello(environ, start_response)

    return SignalMiddleware(app)


def noted() -> Exception:
    error = LookupError("noted")
    error.add_note("x" * 3_000_000)
    error.add_note("\ud800")
    return error


def chained() -> Exception:
    error: Exception = LookupError("x" * 3_000_000)
    for number in range(30):
        outer = ValueError(f"{number}\ud800" + "x\n" * 100_000)
        outer.__cause__ = error
        error = outer
    return error


def deep() -> Exception:
    def again(depth: int) -> None:
        if depth:
            again(depth - 1)
        raise LookupError("deep")

    try:
        again(300)
    except LookupError as error:
        return error
    raise AssertionError


def nameless() -> Exception:
    class Nameless(type):
        def __getattribute__(cls, name: str) -> t.Any:
            if name in ("__qualname__", "__module__"):
                raise LookupError("no name")
            return super().__getattribute__(name)

    return t.cast("Exception", Nameless("Error", (Exception,), {})("odd"))


ERRORS: list[Callable[[], BaseException]] = [
    lambda: LookupError("\ud800"),
    lambda: LookupError("x" * 3_000_000),
    lambda: LookupError("x\n" * 1_500_000),
    lambda: LookupError(Mute()),
    lambda: LookupError(b"\xff" * 3_000_000),
    lambda: KeyError("\ud800" * 3_000_000),
    lambda: SyntaxError("bad", ("\ud800", 1, 1, "x" * 3_000_000)),
    lambda: type("E", (Exception,), {"__module__": "\ud800" + HUGE})("named"),
    lambda: type("E", (Exception,), {"__qualname__": "\ud800" + HUGE})("named"),
    nameless,
    noted,
    chained,
    deep,
    lambda: ExceptionGroup("\ud800", [LookupError(HUGE) for _ in range(100)]),
    lambda: sa.exc.OperationalError("SELECT '\ud800'", {}, LookupError(HUGE)),
    lambda: SystemExit("\ud800" + HUGE),
]


@pytest.mark.parametrize("new", ERRORS)
@pytest.mark.parametrize("with_values", [False, True])
def test_bad_exception_loses_no_batch(
    new: Callable[[], BaseException],
    with_values: bool,
    collector: Collector,
) -> None:
    app = raising(new())
    with exporting_to(collector, 60_000, with_sql_values=with_values) as opentelemetry:
        opentelemetry.connect(app)
        for number in range(1, 4):
            refused = (
                pytest.raises(BaseException, check=bool)
                if number == 2
                else nullcontext()
            )
            with refused:
                Server().serve(app, path=f"/{number}")
    spans = spans_by_path(collector)
    assert {*spans} == {"/1", "/2", "/3"}
    (event,) = spans["/2"].events
    assert event.name == "exception"
    about = attributes_of(event.attributes)
    assert {*about} == {
        "exception.type",
        "exception.message",
        "exception.stacktrace",
    }
    assert about["exception.type"]
    assert len(about["exception.message"].encode()) <= 4 * 1024
    assert about["exception.stacktrace"]
    assert count_of(collector) == 3


def test_huge_message_is_cut_in_both_attributes(collector: Collector) -> None:
    app = raising(LookupError("begin " + "x" * 3_000_000))
    with exporting_to(collector, 60_000) as opentelemetry:
        opentelemetry.connect(app)
        with pytest.raises(LookupError):
            Server().serve(app, path="/2")
    (span,) = collector.spans()
    about = attributes_of(span.events[0].attributes)
    assert about["exception.message"].startswith("begin xxx")
    assert len(about["exception.message"]) == 1024
    trace = about["exception.stacktrace"]
    assert trace.startswith("Traceback (most recent call last):\n  File ")
    assert "LookupError: begin xxx" in trace
    assert trace.count("begin") == 1
    assert len(trace) < 4_096


def test_long_stack_trace_keeps_its_beginning_and_its_end(
    collector: Collector,
) -> None:
    app = raising(chained())
    with exporting_to(collector, 60_000) as opentelemetry:
        opentelemetry.connect(app)
        with pytest.raises(ValueError, match="29"):
            Server().serve(app, path="/2")
    (span,) = collector.spans()
    trace = attributes_of(span.events[0].attributes)["exception.stacktrace"]
    assert len(trace) < 20_000
    assert trace.startswith("LookupError: xxx")
    assert "lines left out>\n" in trace
    assert "ValueError: 29?" in trace


@pytest.mark.parametrize("with_values", [False, True])
@pytest.mark.parametrize(
    "text", ["SELECT '\ud800'", f"SELECT '{HUGE}'", f"SELECT \ud800{HUGE}"]
)
def test_bad_statement_loses_no_batch(
    text: str, with_values: bool, collector: Collector
) -> None:
    engine = sa.create_engine("sqlite://")
    url = engine.url.set(database="\ud800" + HUGE, host="\ud800")
    engine.url = url
    engine.dialect.name = "odd\ud800"

    def query(environ: dict[str, t.Any], start_response: t.Any) -> t.Any:
        error = LookupError("\ud800" + HUGE)
        for exception in (None, error):
            sql_executed.send(
                engine,
                statement=text,
                parameters=None,
                parameters_count=1,
                duration_seconds=0.1,
                row_count=None,
                is_executemany=False,
                exception=exception,
                exchange=environ["signalpost.exchange"],
            )
        sql_failed.send(
            engine,
            operation="fetch\ud800" + HUGE,
            statement=text,
            exception=error,
            exchange=environ["signalpost.exchange"],
        )
        return hello(environ, start_response)

    app = SignalMiddleware(query)
    with exporting_to(collector, 60_000, with_sql_values=with_values) as opentelemetry:
        opentelemetry.connect(app)
        Server().serve(app, path="/1")
        opentelemetry.disconnect(app)
    engine.dispose()
    spans = collector.spans()
    assert len(spans) == 4
    assert all(len(span.SerializeToString()) < MOST_BYTES for span in spans)


def test_statement_with_half_a_surrogate_loses_no_batch(collector: Collector) -> None:
    engine = sa.create_engine("sqlite://")
    instrumentation = instrument(engine)

    def query(environ: dict[str, t.Any], start_response: t.Any) -> t.Any:
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT 1"))
            with pytest.raises(UnicodeEncodeError):
                connection.execute(sa.text("SELECT '\ud800'"))
        return hello(environ, start_response)

    app = SignalMiddleware(query)
    try:
        with exporting_to(collector, 60_000, with_sql_values=True) as opentelemetry:
            opentelemetry.connect(app)
            Server().serve(app, path="/1")
            opentelemetry.disconnect(app)
    finally:
        instrumentation.undo()
        engine.dispose()
    names = [span.name for span in collector.spans()]
    assert names == ["SELECT", "SELECT", "GET"]


def test_receiver_with_a_bad_name_loses_no_batch(collector: Collector) -> None:
    def note(sender: object) -> None:
        raise LookupError("\ud800" + HUGE)

    note.__qualname__ = "note\ud800" + HUGE
    app = SignalMiddleware(lambda *given: hello(*given))
    with exporting_to(collector, 60_000, with_receiver_spans=True) as opentelemetry:
        opentelemetry.connect(app)
        with exchange_closed.connected_to(note, app.sender):
            Server().serve(app, path="/1")
        opentelemetry.disconnect(app)
    spans = collector.spans()
    assert [span.name for span in spans] == ["receiver of exchange-closed", "GET"]
    assert all(len(span.SerializeToString()) < MOST_BYTES for span in spans)
