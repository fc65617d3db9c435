from __future__ import annotations

import gc
import logging
import typing as t
import weakref
from collections.abc import Generator
from collections.abc import Iterable
from pathlib import Path

import flask
import pytest
from opentelemetry import baggage
from opentelemetry.context import attach
from opentelemetry.context import Context
from opentelemetry.context import detach
from opentelemetry.context import get_current
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import get_current_span
from opentelemetry.trace import NoOpTracerProvider
from opentelemetry.trace import SpanKind
from opentelemetry.trace import use_span
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

from signalpost import SignalMiddleware
from signalpost.config import Configuration
from signalpost.config import enabled_for
from signalpost.errors import ApplicationError
from signalpost.errors import ConfigurationError
from signalpost.integrations.flask import Signalpost
from signalpost.integrations.opentelemetry import OpenTelemetry
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import exchange_opened
from signalpost.lifecycle import got_request_exception
from signalpost.lifecycle import sql_executed
from tests.integrations.shop import COURSES
from tests.integrations.shop import new_shop
from tests.integrations.telemetry import about
from tests.integrations.telemetry import current_id
from tests.integrations.telemetry import has_error
from tests.integrations.telemetry import identity
from tests.integrations.telemetry import nothing_left
from tests.integrations.telemetry import parent
from tests.integrations.telemetry import SPAN_ID
from tests.integrations.telemetry import Telemetry
from tests.integrations.telemetry import TRACE_ID
from tests.integrations.telemetry import TRACEPARENT
from tests.wsgi.serving import answer_with
from tests.wsgi.serving import environ_of
from tests.wsgi.serving import hello
from tests.wsgi.serving import Server
from tests.wsgi.serving import streamed
from tests.wsgi.serving import TEXT

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

PATH = "signalpost.integrations.opentelemetry:OpenTelemetry"


@pytest.fixture
def telemetry() -> Generator[Telemetry]:
    found = Telemetry()
    with nothing_left(found):
        yield found


@pytest.fixture(autouse=True)
def nothing_current() -> Generator[None]:
    token = attach(Context())
    yield
    detach(token)


@pytest.fixture
def shop(telemetry: Telemetry) -> flask.Flask:
    app = new_shop()
    Signalpost(app)
    telemetry.connected(app)
    return app


def layered(app: WSGIApplication) -> SignalMiddleware:
    # Each is a separate sender, freed with its test.
    def application(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        return app(environ, start_response)

    return SignalMiddleware(application)


def raise_out_of(server: Server, app: WSGIApplication, **environ: t.Any) -> None:
    try:
        server.serve(app, **environ)
    except BaseException as error:  # noqa: BLE001  # also those that are no Exception
        error.__traceback__ = None


def test_request_is_a_server_span(shop: flask.Flask, telemetry: Telemetry) -> None:
    Server().serve(
        shop,
        path="/items/3",
        QUERY_STRING="token=secret",
        HTTP_HOST="shop.example:8080",
        HTTP_USER_AGENT="tests",
        REMOTE_ADDR="192.0.2.7",
        SERVER_PROTOCOL="HTTP/1.1",
    )
    span = telemetry.span()
    assert (span.name, span.kind) == ("GET /items/<int:number>", SpanKind.SERVER)
    assert parent(span) is None
    assert not has_error(span)
    assert about(span) == {
        "client.address": "192.0.2.7",
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.route": "/items/<int:number>",
        "network.protocol.version": "1.1",
        "server.address": "shop.example",
        "server.port": 8080,
        "signalpost.outcome": "complete",
        "url.path": "/items/3",
        "url.scheme": "http",
        "user_agent.original": "tests",
    }


@pytest.mark.parametrize("name", COURSES)
def test_span_ends_once_whatever_becomes_of_a_request(
    telemetry: Telemetry, name: str
) -> None:
    course = COURSES[name]
    app = new_shop(course.prepare)
    Signalpost(app)
    telemetry.connected(app)
    raise_out_of(Server(), app, path=course.path)
    span = telemetry.span()
    status = about(span).get("http.response.status_code")
    is_error = course.raises is not None or (status or 0) >= 500
    assert has_error(span) is is_error
    assert ("error.type" in about(span)) is is_error
    ((attributes, count),) = telemetry.points("http.server.request.duration")
    assert count == 1
    assert attributes.get("error.type") == about(span).get("error.type")
    assert attributes.get("http.response.status_code") == status


def test_span_lasts_as_long_as_the_exchange(telemetry: Telemetry) -> None:
    seconds: list[float] = []

    def note(sender: object, exchange: t.Any) -> None:
        seconds.append(exchange.duration_seconds)

    app = layered(streamed)
    telemetry.connected(app)
    with exchange_closed.connected_to(note, app.sender):
        Server().serve(app)
    span = telemetry.span()
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.end_time - span.start_time == pytest.approx(seconds[0] * 1e9, abs=1000)


def test_exception_of_a_view_is_recorded_once(
    shop: flask.Flask, telemetry: Telemetry
) -> None:
    Server().serve(shop, path="/fail")
    span = telemetry.span()
    (recorded,) = span.events
    assert recorded.name == "exception"
    assert (recorded.attributes or {})["exception.type"] == "LookupError"
    assert has_error(span)
    assert about(span)["error.type"] == "LookupError"
    assert about(span)["http.response.status_code"] == 500


def test_exception_of_a_body_is_an_error_after_a_good_status(
    shop: flask.Flask, telemetry: Telemetry
) -> None:
    raise_out_of(Server(), shop, path="/stream-and-fail")
    span = telemetry.span()
    assert has_error(span)
    assert len(span.events) == 1
    assert about(span)["http.response.status_code"] == 200
    assert about(span)["signalpost.outcome"] == "error"


def test_exception_without_a_text_is_an_error(telemetry: Telemetry) -> None:
    class UnprintableError(Exception):
        def __str__(self) -> str:
            raise ValueError

    def fail(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
        raise UnprintableError

    app = layered(fail)
    telemetry.connected(app)
    raise_out_of(Server(), app)
    assert has_error(telemetry.span())
    assert about(telemetry.span())["error.type"].endswith("UnprintableError")


def test_error_type_of_a_class_of_ones_own_has_its_module(telemetry: Telemetry) -> None:
    class OutOfStockError(Exception):
        pass

    def fail(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
        raise OutOfStockError

    app = layered(fail)
    telemetry.connected(app)
    raise_out_of(Server(), app)
    name = about(telemetry.span())["error.type"]
    assert name == f"{__name__}.{OutOfStockError.__qualname__}"


def test_status_of_500_is_an_error_without_an_exception(telemetry: Telemetry) -> None:
    def refuse(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
        start_response("503 Service Unavailable", TEXT)
        return [b"later"]

    app = layered(refuse)
    telemetry.connected(app)
    Server().serve(app)
    assert has_error(telemetry.span())
    assert about(telemetry.span())["error.type"] == "503"


def test_application_that_never_starts_its_response_is_an_error(
    telemetry: Telemetry,
) -> None:
    app = layered(lambda environ, start_response: [b"what is this?"])
    telemetry.connected(app)
    Server().serve(app)
    assert has_error(telemetry.span())
    assert about(telemetry.span())["error.type"] == "_OTHER"


def test_client_that_left_is_no_error(telemetry: Telemetry) -> None:
    app = layered(streamed)
    telemetry.connected(app)
    body: t.Any = Server().call(app)
    chunks = iter(body)
    next(chunks)
    chunks.close()
    body.close()
    span = telemetry.span()
    assert not has_error(span)
    assert about(span)["signalpost.outcome"] == "aborted"
    ((attributes, _),) = telemetry.points("http.server.request.duration")
    assert "error.type" not in attributes


def test_response_that_is_never_closed_ends_its_span(telemetry: Telemetry) -> None:
    app = layered(streamed)
    telemetry.connected(app)
    body = Server().call(app)
    assert telemetry.spans == []
    del body
    gc.collect()
    assert about(telemetry.span())["signalpost.outcome"] == "lost"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_ends_a_worker_ends_the_span(
    telemetry: Telemetry, error: type[BaseException]
) -> None:
    def leave(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
        raise error

    app = layered(leave)
    telemetry.connected(app)
    with pytest.raises(error):
        Server().call(app)
    assert about(telemetry.span())["error.type"] == error.__name__
    assert current_id() == 0


def test_connection_that_was_taken_over_is_no_error(telemetry: Telemetry) -> None:
    def take_over(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
        raise StopIteration

    app = layered(take_over)
    telemetry.connected(app)
    with pytest.raises(StopIteration):
        Server().call(app)
    span = telemetry.span()
    assert not has_error(span)
    assert about(span)["signalpost.outcome"] == "hijacked"


@pytest.mark.parametrize("error", [StopIteration, ConnectionError, LookupError])
def test_length_of_a_websocket_is_in_its_span_and_in_no_metric(
    telemetry: Telemetry, error: type[Exception]
) -> None:
    def talk(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
        raise error

    app = layered(talk)
    telemetry.connected(app)
    with pytest.raises(error):
        Server().call(app, HTTP_UPGRADE="websocket")
    assert telemetry.span().end_time is not None
    assert telemetry.points("http.server.request.duration") == []
    ((_, active),) = telemetry.points("http.server.active_requests")
    assert active == 0


def test_what_no_route_matches_has_no_path_in_its_name(
    shop: flask.Flask, telemetry: Telemetry
) -> None:
    Server().serve(shop, path="/wp-admin.php")
    span = telemetry.span()
    assert span.name == "GET"
    assert not has_error(span)
    assert "http.route" not in about(span)


def test_method_that_a_client_invented_is_no_name(
    shop: flask.Flask, telemetry: Telemetry
) -> None:
    Server().serve(shop, path="/hello", method="BREW" * 100)
    span = telemetry.span()
    assert span.name == "HTTP"
    assert about(span)["http.request.method"] == "_OTHER"
    assert about(span)["http.request.method_original"] == "BREW" * 8
    ((attributes, _),) = telemetry.points("http.server.request.duration")
    assert attributes["http.request.method"] == "_OTHER"
    assert "http.request.method_original" not in attributes


def test_name_that_the_application_chose_is_kept(telemetry: Telemetry) -> None:
    app = new_shop()
    app.before_request(lambda: get_current_span().update_name("checkout"))
    Signalpost(app)
    telemetry.connected(app)
    Server().serve(app, path="/hello")
    assert telemetry.span().name == "checkout"


def test_receiver_of_the_close_adds_to_the_span(
    shop: flask.Flask, telemetry: Telemetry
) -> None:
    def tell(app: flask.Flask, exchange: t.Any) -> None:
        get_current_span().set_attribute("shop.bytes", exchange.body_bytes)

    with exchange_closed.connected_to(tell, shop):
        Server().serve(shop, path="/hello")
    assert about(telemetry.span())["shop.bytes"] == 5
    assert current_id() == 0


# What the client sent


def test_span_is_below_that_of_the_client(
    shop: flask.Flask, telemetry: Telemetry
) -> None:
    Server().serve(shop, path="/hello", HTTP_TRACEPARENT=TRACEPARENT)
    span = telemetry.span()
    assert parent(span) == SPAN_ID
    assert span.context is not None
    assert span.context.trace_id == TRACE_ID
    assert span.parent is not None
    assert span.parent.is_remote


def test_baggage_reaches_the_view(telemetry: Telemetry) -> None:
    app = flask.Flask(__name__)
    app.add_url_rule("/", view_func=lambda: str(baggage.get_baggage("tenant")))
    Signalpost(app)
    telemetry.connected(app)
    assert Server().serve(app, HTTP_BAGGAGE="tenant=blue") == b"blue"
    assert baggage.get_all() == {}


def test_request_of_a_trace_that_is_not_sampled_is_counted_and_not_recorded(
    telemetry: Telemetry,
) -> None:
    app = flask.Flask(__name__)
    app.add_url_rule("/", view_func=lambda: f"{current_trace():x}")
    Signalpost(app)
    telemetry.connected(app)
    header = TRACEPARENT[:-1] + "0"
    seen = Server().serve(app, HTTP_TRACEPARENT=header)
    assert int(seen, 16) == TRACE_ID
    assert telemetry.begun == 0
    ((_, count),) = telemetry.points("http.server.request.duration")
    assert count == 1


def current_trace() -> int:
    return get_current_span().get_span_context().trace_id


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        "00-" + "0" * 32 + "-" + "0" * 16 + "-01",
        "ff" + TRACEPARENT[2:],
        TRACEPARENT + "-more",
        "\xff\xfe" * 10_000,
        "00-" + "f" * 100_000,
    ],
)
def test_header_that_is_no_traceparent_begins_a_trace(
    shop: flask.Flask, telemetry: Telemetry, header: str
) -> None:
    environ = {"HTTP_TRACEPARENT": header, "HTTP_BAGGAGE": header}
    assert Server().serve(shop, path="/hello", **environ) == b"hello"
    assert parent(telemetry.span()) is None


class Failing(TextMapPropagator):
    """A propagator that a header brings to fall."""

    def extract(
        self, carrier: t.Any, context: t.Any = None, getter: t.Any = None
    ) -> t.Any:
        raise ValueError("no such header")

    def inject(
        self, carrier: t.Any, context: t.Any = None, setter: t.Any = None
    ) -> None:
        """Never called: a server sends nothing on."""

    @property
    def fields(self) -> set[str]:
        return set()


def test_propagator_that_fails_is_logged_once_and_changes_nothing(
    telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    app = layered(hello)
    telemetry.connected(app, propagator=Failing())
    assert Server().serve(app) == b"hello"
    assert Server().serve(app) == b"hello"
    assert len(telemetry.spans) == 2
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("signalpost.opentelemetry", logging.ERROR)


class Named(Failing):
    """One that reads its own header, and requests all of them."""

    def extract(
        self, carrier: t.Any, context: t.Any = None, getter: t.Any = None
    ) -> t.Any:
        names = getter.keys(carrier)
        found = getter.get(carrier, "X-Tenant")
        assert "x-tenant" in names
        assert getter.get(carrier, "x-absent") is None
        return baggage.set_baggage("tenant", found[0], context)


def test_propagator_of_ones_own_reads_the_headers(telemetry: Telemetry) -> None:
    seen = []

    def look(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
        seen.append(baggage.get_baggage("tenant"))
        return hello(environ, start_response)

    app = layered(look)
    telemetry.connected(app, propagator=Named())
    Server().serve(app, HTTP_X_TENANT="blue")
    assert seen == ["blue"]


def test_query_string_is_not_recorded(shop: flask.Flask, telemetry: Telemetry) -> None:
    Server().serve(
        shop,
        path="/fail",
        QUERY_STRING="token=secret",
        RAW_URI="/fail?token=secret",
        REQUEST_URI="/fail?token=secret",
        HTTP_REFERER="http://shop.example/?token=secret",
    )
    assert "secret" not in str(about(telemetry.span()))
    assert "secret" not in str(telemetry.points("http.server.request.duration"))


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("page=2&token=secret", "page=2&token=REDACTED"),
        ("p%61ge=2&flag", "page=2&flag"),
        ("page=%0d%0aforged&=&&", "page=%0D%0Aforged&=REDACTED&&"),
        ("", None),
    ],
)
def test_query_string_is_recorded_with_the_values_of_known_keys(
    telemetry: Telemetry, query: str, told: str | None
) -> None:
    app = layered(hello)
    telemetry.connected(app, query_keys=("page",))
    Server().serve(app, QUERY_STRING=query)
    assert about(telemetry.span()).get("url.query") == told


def test_long_query_string_is_cut(telemetry: Telemetry) -> None:
    app = layered(hello)
    telemetry.connected(app, query_keys=())
    Server().serve(app, QUERY_STRING="&".join(f"k{n}=v" for n in range(100_000)))
    assert len(about(telemetry.span())["url.query"]) <= 1024


def test_keys_that_are_one_string_are_refused() -> None:
    with pytest.raises(TypeError, match=r'write \["page"\]'):
        OpenTelemetry(query_keys="page")


def test_what_a_client_sends_is_cut_and_can_be_encoded(telemetry: Telemetry) -> None:
    app = layered(hello)
    telemetry.connected(app)
    Server().serve(
        app,
        path="/caf\xc3\xa9/\n\ud800" + "x" * 100_000,
        HTTP_USER_AGENT="\ud800caf\xc3\xa9" + "x" * 100_000,
        HTTP_HOST="b\xfccher/<script>",
        SERVER_NAME="caf\xc3\xa9",
        SERVER_PORT="no port",
        SERVER_PROTOCOL="HTTP/6.6",
        REMOTE_ADDR=7,
        **{"wsgi.url_scheme": "gopher"},
    )
    found = about(telemetry.span())
    assert found["url.path"].startswith("/caf")
    assert found["url.path"].isascii()
    assert len(found["url.path"]) <= 3 * 1024
    assert len(found["user_agent.original"]) == 1024
    assert found["server.address"] == "caf\xe9"
    assert "server.port" not in found
    assert "network.protocol.version" not in found
    assert "client.address" not in found
    assert found["url.scheme"] == "_OTHER"
    for value in found.values():
        assert str(value).encode()


@pytest.mark.parametrize(
    ("host", "address", "port"),
    [
        ("shop.example", "shop.example", 80),
        ("shop.example:8080", "shop.example", 8080),
        ("[2001:db8::1]:8080", "2001:db8::1", 8080),
        ("[2001:db8::1]", "2001:db8::1", 80),
        ("shop.example:", "127.0.0.1", 5000),
        ("user@shop.example", "127.0.0.1", 5000),
        ("x" * 300, "127.0.0.1", 5000),
        (7, "127.0.0.1", 5000),
    ],
)
def test_server_is_the_host_that_was_asked_for(
    telemetry: Telemetry, host: object, address: str, port: int
) -> None:
    app = layered(hello)
    telemetry.connected(app)
    Server().serve(app, HTTP_HOST=host, SERVER_NAME="127.0.0.1", SERVER_PORT="5000")
    found = about(telemetry.span())
    assert (found["server.address"], found["server.port"]) == (address, port)


def test_environment_without_what_a_server_must_give_is_recorded(
    telemetry: Telemetry,
) -> None:
    app = layered(hello)
    telemetry.connected(app)
    list(app({"REQUEST_METHOD": "GET"}, Server().start_response))
    gc.collect()
    assert about(telemetry.span())["url.path"] == ""


# Spans around and within


def test_mounted_application_is_a_part_and_counted_once(telemetry: Telemetry) -> None:
    inner = new_shop()
    Signalpost(inner)
    outer = flask.Flask("outer")
    outer.wsgi_app = DispatcherMiddleware(  # type: ignore[method-assign]
        outer.wsgi_app, {"/shop": inner}
    )
    Signalpost(outer)
    opentelemetry = telemetry.connected(outer)
    opentelemetry.connect(inner)
    Server().serve(outer, path="/shop/hello", HTTP_TRACEPARENT=TRACEPARENT)
    part, whole = telemetry.spans
    assert (part.kind, whole.kind) == (SpanKind.INTERNAL, SpanKind.SERVER)
    assert part.name == "GET /shop/hello"
    assert parent(part) == identity(whole)
    assert parent(whole) == SPAN_ID
    assert about(part)["url.path"] == "/shop/hello"
    ((_, count),) = telemetry.points("http.server.request.duration")
    assert count == 1


def test_mounted_application_alone_is_a_server(telemetry: Telemetry) -> None:
    inner = new_shop()
    Signalpost(inner)
    telemetry.connected(inner)

    def outermost(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
        return DispatcherMiddleware(hello, {"/shop": inner})(environ, start_response)

    app = SignalMiddleware(outermost)
    with exchange_closed.connected_to(lambda sender: None, outermost):
        Server().serve(app, path="/shop/hello")
    assert telemetry.span().kind is SpanKind.SERVER
    ((_, count),) = telemetry.points("http.server.request.duration")
    assert count == 1


def test_parts_of_parts_are_counted_once(telemetry: Telemetry) -> None:
    innermost = layered(hello)
    middle = layered(innermost)
    outermost = layered(middle)
    opentelemetry = telemetry.connected(outermost)
    opentelemetry.connect(innermost)
    with exchange_closed.connected_to(lambda sender: None, middle.sender):
        Server().serve(outermost)
    assert len(telemetry.spans) == 2
    ((_, count),) = telemetry.points("http.server.request.duration")
    assert count == 1


def test_request_of_a_test_client_is_below_the_view_that_asks(
    shop: flask.Flask, telemetry: Telemetry
) -> None:
    assert Server().serve(shop, path="/ask-itself") == b"hello inside"
    gc.collect()
    asked = telemetry.span("GET /hello")
    assert asked.kind is SpanKind.SERVER
    assert parent(asked) == identity(telemetry.span("GET /ask-itself"))


def test_span_around_the_server_is_the_parent(
    shop: flask.Flask, telemetry: Telemetry
) -> None:
    with telemetry.tracer.start_as_current_span("around") as around:
        Server().serve(shop, path="/hello")
    span = telemetry.span("GET /hello")
    assert parent(span) == around.get_span_context().span_id


def test_span_around_in_the_trace_of_the_client_is_nearer_than_it(
    shop: flask.Flask, telemetry: Telemetry
) -> None:
    with telemetry.tracer.start_as_current_span("around") as around:
        found = around.get_span_context()
        header = f"00-{found.trace_id:032x}-{SPAN_ID:016x}-01"
        Server().serve(shop, path="/hello", HTTP_TRACEPARENT=header)
    assert parent(telemetry.span("GET /hello")) == found.span_id


def test_client_of_another_trace_is_nearer_than_the_span_around(
    shop: flask.Flask, telemetry: Telemetry
) -> None:
    with telemetry.tracer.start_as_current_span("around"):
        Server().serve(shop, path="/hello", HTTP_TRACEPARENT=TRACEPARENT)
    assert parent(telemetry.span("GET /hello")) == SPAN_ID


def test_span_that_was_left_on_the_thread_joins_no_stranger(
    shop: flask.Flask, telemetry: Telemetry
) -> None:
    span = telemetry.tracer.start_span("left")
    with use_span(span):
        span.end()
        Server().serve(shop, path="/hello")
    assert parent(telemetry.span("GET /hello")) is None


def test_context_that_a_view_leaves_attached_goes_with_the_call(
    telemetry: Telemetry,
) -> None:
    def leak(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
        attach(Context({"left": True}))
        return hello(environ, start_response)

    app = layered(leak)
    telemetry.connected(app)
    Server().serve(app)
    assert "left" not in get_current()


# Without an SDK


def test_without_an_sdk_the_context_of_the_client_reaches_the_view() -> None:
    app = flask.Flask(__name__)
    app.add_url_rule("/", view_func=lambda: f"{current_trace():x}")
    Signalpost(app)
    opentelemetry = OpenTelemetry(
        tracer_provider=NoOpTracerProvider(), meter_provider=NoOpMeterProvider()
    )
    opentelemetry.connect(app)
    assert Server().serve(app) == b"0"
    seen = Server().serve(app, HTTP_TRACEPARENT=TRACEPARENT)
    assert int(seen, 16) == TRACE_ID
    assert current_id() == 0
    opentelemetry.disconnect(app)


def test_requests_are_counted_without_a_tracer(telemetry: Telemetry) -> None:
    app = flask.Flask(__name__)
    app.add_url_rule("/", view_func=lambda: "")
    Signalpost(app)
    opentelemetry = OpenTelemetry(
        tracer_provider=NoOpTracerProvider(), meter_provider=telemetry.meter_provider
    )
    opentelemetry.connect(app)
    Server().serve(app)
    ((_, count),) = telemetry.points("http.server.request.duration")
    assert count == 1
    opentelemetry.disconnect(app)


def test_without_an_sdk_baggage_reaches_the_view() -> None:
    app = flask.Flask(__name__)
    app.add_url_rule("/", view_func=lambda: str(baggage.get_baggage("tenant")))
    Signalpost(app)
    opentelemetry = OpenTelemetry(tracer_provider=NoOpTracerProvider())
    opentelemetry.connect(app)
    assert Server().serve(app, HTTP_BAGGAGE="tenant=blue") == b"blue"
    assert baggage.get_all() == {}
    opentelemetry.disconnect(app)


@pytest.mark.parametrize("path", ["/hello", "/fail", "/stream", "/no-such-page"])
def test_api_alone_changes_nothing(path: str) -> None:
    bare, watched = new_shop(), new_shop()
    Signalpost(watched)
    opentelemetry = OpenTelemetry()
    opentelemetry.connect(watched)
    expected, got = Server(), Server()
    assert got.serve(watched, path=path) == expected.serve(bare, path=path)
    assert got.status == expected.status
    opentelemetry.disconnect(watched)


class FailingToEnd(SpanProcessor):
    """A user's addition to the SDK that is broken."""

    def on_end(self, span: ReadableSpan) -> None:
        raise LookupError("no such processor")


class FailingToStart(FailingToEnd):
    def on_start(self, span: t.Any, parent_context: Context | None = None) -> None:
        raise LookupError("no such processor")


@pytest.mark.parametrize("kind", [FailingToStart, FailingToEnd])
def test_what_fails_in_the_sdk_reaches_no_client(
    caplog: pytest.LogCaptureFixture, kind: type[SpanProcessor]
) -> None:
    telemetry = Telemetry()
    telemetry.tracer_provider.add_span_processor(kind())
    app = layered(streamed)
    telemetry.connected(app)
    assert Server().serve(app) == b"onetwo"
    assert current_id() == 0
    for _, value in telemetry.points("http.server.active_requests"):
        assert value == 0
    assert caplog.records


# Connecting


def spans_of(app: t.Any, telemetry: Telemetry) -> int:
    Server().serve(app, path="/hello")
    return len(telemetry.spans)


def test_connecting_twice_records_once(telemetry: Telemetry, shop: flask.Flask) -> None:
    opentelemetry = telemetry.connected(shop)
    opentelemetry.connect(shop)
    opentelemetry.disconnect(shop)
    opentelemetry.connect(shop)
    # The fixture's is another, which records for itself.
    assert spans_of(shop, telemetry) == 2


def test_disconnected_application_is_as_it_was(telemetry: Telemetry) -> None:
    app = new_shop()
    Signalpost(app)
    before = app.wsgi_app
    opentelemetry = telemetry.connected(app)
    assert app.wsgi_app is before
    assert opentelemetry.disconnect(app)
    assert not opentelemetry.disconnect(app)
    assert spans_of(app, telemetry) == 0
    for signal in (exchange_opened, exchange_closed, got_request_exception):
        assert not signal.has_receivers_for(app)


def test_statements_are_received_until_the_last_application_is_disconnected(
    telemetry: Telemetry,
) -> None:
    gc.collect()  # what other tests have left
    one, other = layered(hello), layered(hello)
    opentelemetry = telemetry.connected(one)
    opentelemetry.connect(other)
    opentelemetry.disconnect(one)
    assert sql_executed.has_receivers_for("engine")
    opentelemetry.disconnect(other)
    assert not sql_executed.has_receivers_for("engine")


def test_layer_below_another_stays_and_does_nothing(telemetry: Telemetry) -> None:
    app = layered(hello)
    first = telemetry.connected(app)
    second = telemetry.connected(app)
    first.disconnect(app)
    assert spans_of(app, telemetry) == 1
    first.connect(app)
    assert spans_of(app, telemetry) == 3
    second.disconnect(app)
    first.disconnect(app)
    assert spans_of(app, telemetry) == 3


def test_exchange_that_is_open_when_disconnected_is_recorded_to_its_end(
    telemetry: Telemetry,
) -> None:
    app = layered(streamed)
    opentelemetry = telemetry.connected(app)
    body: t.Any = Server().call(app)
    opentelemetry.disconnect(app)
    list(body)
    body.close()
    assert about(telemetry.span())["signalpost.outcome"] == "complete"


def test_exchange_that_was_open_when_connected_is_left_out(
    telemetry: Telemetry,
) -> None:
    app = layered(streamed)
    with exchange_closed.connected_to(lambda sender: None, app.sender):
        body: t.Any = Server().call(app)
        opentelemetry = telemetry.connected(app)
        list(body)
        body.close()
    opentelemetry.disconnect(app)
    assert telemetry.begun == 0


def test_failure_in_an_exchange_that_was_open_when_connected_is_left_out(
    telemetry: Telemetry,
) -> None:
    app = new_shop()
    Signalpost(app)
    with exchange_closed.connected_to(lambda sender: None, app):
        body: t.Any = Server().call(app, path="/stream-and-fail")
        telemetry.connected(app)
        with pytest.raises(LookupError):
            list(body)
        body.close()
    assert telemetry.begun == 0


def test_muted_close_still_ends_the_span(telemetry: Telemetry) -> None:
    app = layered(hello)
    telemetry.connected(app)
    with exchange_closed.muted():
        Server().serve(app)
    assert telemetry.span().end_time is not None


@pytest.mark.parametrize("given", [None, 7, "shop", flask.Flask, object()])
def test_what_is_no_application_is_refused(given: object) -> None:
    with pytest.raises(ApplicationError):
        OpenTelemetry().connect(given)


def seen_in(app: flask.Flask) -> list[int]:
    seen: list[int] = []
    app.before_request(lambda: seen.append(current_id()))
    return seen


def test_span_is_current_whatever_was_set_up_first(telemetry: Telemetry) -> None:
    def connect_first(app: flask.Flask) -> t.Any:
        telemetry.connected(app)
        Signalpost(app)
        return app

    def connect_last(app: flask.Flask) -> t.Any:
        Signalpost(app)
        app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
        telemetry.connected(app)
        return app

    def hide(app: flask.Flask) -> t.Any:
        Signalpost(app)
        inner = app.wsgi_app
        app.wsgi_app = lambda *given: inner(*given)  # type: ignore[method-assign]
        telemetry.connected(app)
        return app

    def layer_twice(app: flask.Flask) -> t.Any:
        app.wsgi_app = SignalMiddleware(app)  # type: ignore[method-assign]
        Signalpost(app)
        telemetry.connected(app)
        return app

    def by_middleware(app: flask.Flask) -> t.Any:
        found = SignalMiddleware(app)
        telemetry.connected(found)
        return found

    def by_proxy(app: flask.Flask) -> t.Any:
        Signalpost(app)
        with app.app_context():
            telemetry.connected(flask.current_app)
        return app

    ways = (connect_first, connect_last, hide, layer_twice, by_middleware, by_proxy)
    for way in ways:
        app = new_shop()
        seen = seen_in(app)
        Server().serve(way(app), path="/hello")
        assert seen == [identity(telemetry.spans[-1])], way
    assert len(telemetry.spans) == len(ways)


def test_span_is_current_though_the_function_alone_was_connected(
    telemetry: Telemetry,
) -> None:
    seen = []

    def look(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
        seen.append(current_id())
        return hello(environ, start_response)

    app = SignalMiddleware(look)
    telemetry.connected(look)
    Server().serve(app)
    assert telemetry.span().name == "GET"
    assert seen == [identity(telemetry.span())]


def test_span_is_current_in_a_function_that_a_configuration_is_loaded_for(
    telemetry: Telemetry,
) -> None:
    seen = []

    def look(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
        seen.append(current_id())
        return hello(environ, start_response)

    options = {"tracer_provider": telemetry.tracer_provider}
    configuration = {"signalpost": {"receivers": {"opentelemetry": options}}}
    app = SignalMiddleware(look)
    enabled = Configuration.from_mapping(configuration).load(app)
    Server().serve(app)
    enabled.disable_all()
    assert seen == [identity(telemetry.span())]


def test_configuration_enables_and_disables_it() -> None:
    app = new_shop()
    app.config["SIGNALPOST_RECEIVERS"] = {PATH: {"with_sql_spans": False}}
    Signalpost(app)
    assert exchange_opened.has_receivers_for(app)
    assert Server().serve(app, path="/hello") == b"hello"
    enabled_for(app).disable(PATH)
    assert not exchange_opened.has_receivers_for(app)


def test_configuration_as_text_is_understood(tmp_path: Path) -> None:
    file = tmp_path / "shop.ini"
    section = f"signalpost.receivers.{PATH}"
    options = "query_keys = page size\nwith_size_metrics = yes\n"
    file.write_text(f"[{section}]\n{options}")
    app = new_shop()
    enabled = Configuration.from_ini(file).load(app)
    assert enabled[PATH].options == {
        "query_keys": "page size",
        "with_size_metrics": "yes",
    }
    enabled.disable_all()


def test_configuration_names_a_wrong_option() -> None:
    mapping = {"signalpost": {"receivers": {PATH: {"has_sql": True}}}}
    with pytest.raises(ConfigurationError, match="with_sql_spans"):
        Configuration.from_mapping(mapping).load(new_shop())


def test_application_is_collected_with_all_that_was_connected(
    telemetry: Telemetry,
) -> None:
    app = new_shop()
    Signalpost(app)
    opentelemetry = telemetry.connected(app)
    Server().serve(app, path="/hello")
    kept = weakref.ref(app), weakref.ref(opentelemetry)
    del app, opentelemetry
    gc.collect()
    assert [one() for one in kept] == [None, None]
    assert not sql_executed.has_receivers_for("engine")


def test_applications_that_are_gone_are_forgotten(telemetry: Telemetry) -> None:
    opentelemetry = telemetry.connected(new_shop())
    gc.collect()
    assert sql_executed.has_receivers_for("engine")
    assert not opentelemetry.disconnect(None)
    assert not sql_executed.has_receivers_for("engine")


def test_application_that_cannot_be_weakly_referenced_is_recorded(
    telemetry: Telemetry,
) -> None:
    class Application:
        __slots__ = ("wsgi_app",)

        def __init__(self) -> None:
            self.wsgi_app: WSGIApplication = hello

    app = Application()
    opentelemetry = telemetry.connected(app)
    Server().serve(SignalMiddleware(app))
    assert telemetry.span().name == "GET"
    assert opentelemetry.disconnect(app)


def test_nothing_holds_the_environment_after_the_close(telemetry: Telemetry) -> None:
    class Environment(dict[str, t.Any]):
        pass

    app = layered(answer_with([b"one"]))
    telemetry.connected(app)
    environ = Environment(environ_of())
    body: t.Any = app(environ, Server().start_response)
    list(body)
    body.close()
    kept = weakref.ref(environ)
    gc.disable()
    try:
        del environ, body
        assert kept() is None
    finally:
        gc.enable()
