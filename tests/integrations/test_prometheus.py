from __future__ import annotations

import contextlib
import gc
import logging
import os
import threading
import typing as t
import weakref
from collections.abc import Generator
from collections.abc import Iterable
from collections.abc import Iterator
from pathlib import Path

import flask
import pytest

from signalpost import SignalMiddleware
from signalpost.config import Configuration
from signalpost.config import enabled_for
from signalpost.errors import ConfigurationError
from signalpost.exchange import Exchange
from signalpost.exchange import ExchangeOutcome
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import exchange_opened
from signalpost.lifecycle import got_request_exception
from signalpost.lifecycle import sql_executed
from signalpost.lifecycle import sql_failed
from signalpost.receivers.statements import OPERATIONS
from tests.wsgi.serving import hello
from tests.wsgi.serving import Server
from tests.wsgi.serving import streamed

pytest.importorskip("prometheus_client", reason="prometheus-client is not installed")

from prometheus_client import CollectorRegistry
from prometheus_client import Counter
from prometheus_client import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from signalpost.integrations.prometheus import blueprint_of
from signalpost.integrations.prometheus import NO_EXCHANGE
from signalpost.integrations.prometheus import OTHER
from signalpost.integrations.prometheus import PrometheusMetrics
from signalpost.integrations.prometheus._log import warn
from signalpost.receivers.paths import UNMATCHED_ROUTE

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIEnvironment

REQUESTS = "http_server_requests_total"
DURATION = "http_server_request_duration_seconds"
HEADERS = "http_server_time_to_headers_seconds"
IN_FLIGHT = "http_server_requests_in_flight"
FAILURES = "http_server_failures_total"
STATEMENTS = "sql_statements_total"
ITEM = "/items/<int:number>"


@pytest.fixture(autouse=True)
def nothing_is_left() -> Generator[None]:
    gc.collect()  # applications of other tests, with their receivers
    yield
    for signal in (
        *(exchange_opened, exchange_closed, got_request_exception),
        *(sql_executed, sql_failed),
    ):
        assert not signal.receivers


@contextlib.contextmanager
def counting(*applications: t.Any, **options: t.Any) -> Generator[PrometheusMetrics]:
    metrics = PrometheusMetrics(**options)
    for application in applications:
        metrics.connect(application)
    try:
        yield metrics
    finally:
        for application in applications:
            metrics.disconnect(application)


def figure(metrics: PrometheusMetrics, name: str, /, **labels: str) -> float:
    """Return the sum of the samples that have these labels."""
    return sum(
        sample.value
        for metric in metrics.registry.collect()
        for sample in metric.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def values_of(metrics: PrometheusMetrics, name: str, label: str) -> set[str]:
    return {
        sample.labels[label]
        for metric in metrics.registry.collect()
        for sample in metric.samples
        if sample.name == name
    }


def record(
    metrics: PrometheusMetrics,
    route: t.Any = "/a",
    *,
    method: str = "GET",
    status: int | None = 200,
    outcome: ExchangeOutcome = "complete",
    seconds: float | None = 0.1,
) -> None:
    """Send the signals of an exchange, as the middleware does."""
    exchange = Exchange({"REQUEST_METHOD": method, "PATH_INFO": "/"}, "shop")
    metrics.opened("shop", exchange=exchange)
    exchange.route = route
    exchange.status = status
    exchange.outcome = outcome
    exchange.duration_seconds = seconds
    metrics.closed("shop", exchange=exchange)
    exchange._release()


def new_shop() -> flask.Flask:
    app = flask.Flask("shop")
    Signalpost(app)

    @app.get("/items/<int:number>")
    def item(number: int) -> str:
        return "x" * number

    @app.get("/fail")
    def fail() -> t.NoReturn:
        raise LookupError

    return app


def test_a_request_is_counted_with_its_labels() -> None:
    app = new_shop()
    with counting(app) as metrics:
        app.test_client().get("/items/7", buffered=True)
    labels = {"method": "GET", "route": ITEM, "status": "200", "outcome": "complete"}
    read = metrics.registry.get_sample_value
    assert read(REQUESTS, labels) == 1
    assert read("http_server_response_body_bytes_total", labels) == 7
    assert read(f"{DURATION}_count", labels) == 1
    assert read(f"{DURATION}_bucket", {**labels, "le": "+Inf"}) == 1
    duration = read(f"{DURATION}_sum", labels)
    headers = read(f"{HEADERS}_sum", labels)
    assert duration is not None
    assert headers is not None
    assert 0 < headers < duration < 5


def test_a_stream_is_timed_to_its_close_and_to_its_headers() -> None:
    with counting(streamed) as metrics:
        body = Server().call(SignalMiddleware(streamed))
        assert figure(metrics, REQUESTS) == 0
        assert figure(metrics, IN_FLIGHT) == 1
        b"".join(body)
        body.close()  # type: ignore[attr-defined]  # as in PEP 3333
    assert figure(metrics, IN_FLIGHT) == 0
    assert figure(metrics, f"{HEADERS}_sum") < figure(metrics, f"{DURATION}_sum")


def test_a_disconnect_of_the_client_is_distinguished() -> None:
    with counting(streamed) as metrics:
        body = Server().call(SignalMiddleware(streamed))
        next(iter(body))
        body.close()  # type: ignore[attr-defined]  # as in PEP 3333
    assert figure(metrics, REQUESTS, outcome="aborted", status="200") == 1


def test_what_matched_no_route_shares_one() -> None:
    app = new_shop()
    with counting(app) as metrics:
        for number in range(20):
            app.test_client().get(f"/random/{number}", buffered=True)
    assert figure(metrics, REQUESTS, route=UNMATCHED_ROUTE, status="404") == 20


def test_an_invented_method_is_no_label() -> None:
    app = new_shop()
    with counting(app) as metrics:
        app.test_client().open("/items/7", method="HACK", buffered=True)
    assert values_of(metrics, REQUESTS, "method") == {"_OTHER"}


def test_a_failure_is_counted_by_place() -> None:
    app = new_shop()
    with counting(app) as metrics:
        app.test_client().get("/fail", buffered=True)
    assert figure(metrics, FAILURES, route="/fail", where="view") == 1
    assert figure(metrics, REQUESTS, route="/fail", status="500") == 1


def failing_late(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterator[bytes]:
    start_response("200 OK", [])
    yield b"one"
    raise LookupError


def test_an_error_in_the_body_is_no_success() -> None:
    with counting(failing_late) as metrics, pytest.raises(LookupError):
        Server().serve(SignalMiddleware(failing_late))
    assert figure(metrics, FAILURES, where="iteration") == 1
    assert figure(metrics, REQUESTS, outcome="error", status="200") == 1


def silent(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    raise LookupError


def test_an_answer_that_never_began_has_no_status() -> None:
    with counting(silent) as metrics, pytest.raises(LookupError):
        Server().serve(SignalMiddleware(silent))
    assert figure(metrics, REQUESTS, status="none", outcome="error") == 1
    assert figure(metrics, f"{HEADERS}_count") == 0


@pytest.mark.parametrize("outcome", ["hijacked", "lost"])
def test_what_was_not_closed_by_a_server_is_counted_and_not_timed(
    outcome: ExchangeOutcome,
) -> None:
    metrics = PrometheusMetrics()
    record(metrics, outcome=outcome)
    assert figure(metrics, REQUESTS, outcome=outcome) == 1
    assert figure(metrics, f"{DURATION}_count") == 0


@pytest.mark.parametrize("status", [0, 99, 600, 10**30, -1])
def test_a_status_that_is_none_is_another(status: int) -> None:
    metrics = PrometheusMetrics()
    record(metrics, status=status)
    assert values_of(metrics, REQUESTS, "status") == {"other"}


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(0.1, "0.1"), (0.11, "0.2"), (0.2, "0.2"), (7.0, "+Inf")]
)
def test_a_bucket_holds_its_bound(seconds: float, bucket: str) -> None:
    metrics = PrometheusMetrics(buckets=[0.1, 0.2, float("inf")])
    record(metrics, seconds=seconds)
    filled = [
        bound
        for bound in ("0.1", "0.2", "+Inf")
        if figure(metrics, f"{DURATION}_bucket", le=bound) == 1
    ]
    assert filled[0] == bucket


def test_routes_beyond_the_bound_share_one() -> None:
    metrics = PrometheusMetrics(max_routes=3)
    for number in range(100):
        record(metrics, f"/{number}")
    record(metrics, None)
    routes = values_of(metrics, REQUESTS, "route")
    assert routes == {"/0", "/1", "/2", OTHER, UNMATCHED_ROUTE}
    assert figure(metrics, REQUESTS, route=OTHER) == 97


def test_label_sets_beyond_the_bound_share_one() -> None:
    metrics = PrometheusMetrics(max_label_sets=5)
    for status in range(100, 600):
        record(metrics, status=status)
    record(metrics, status=100)
    assert figure(metrics, REQUESTS) == 501
    assert figure(metrics, REQUESTS, status="100") == 2
    others = {"method": OTHER, "route": OTHER, "status": OTHER, "outcome": OTHER}
    assert metrics.registry.get_sample_value(REQUESTS, others) == 495


@pytest.mark.parametrize("route", [7, "\ud800", '/a\n"\\', "x" * 100_000, ["/a"]])
def test_no_route_breaks_a_scrape(route: t.Any) -> None:
    metrics = PrometheusMetrics()
    record(metrics, route)
    text = generate_latest(metrics.registry).decode()
    assert len(text) < 40_000
    families = {one.name: one for one in text_string_to_metric_families(text)}
    assert families["http_server_requests"].samples[0].value == 1


def test_what_cannot_be_counted_harms_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    metrics = PrometheusMetrics()
    for _ in range(3):
        record(metrics, status=t.cast("int", ["no status"]))
    record(metrics)
    assert figure(metrics, REQUESTS) == 1
    assert [one.levelno for one in caplog.records] == [logging.WARNING]


def test_a_label_of_ones_own_is_bounded() -> None:
    def tenant(exchange: Exchange) -> str:
        return exchange.path

    with counting(hello, labels={"tenant": tenant}, max_values=3) as metrics:
        app = SignalMiddleware(hello)
        for number in range(10):
            Server().serve(app, path=f"/{number}")
    assert values_of(metrics, REQUESTS, "tenant") == {"/0", "/1", "/2", OTHER}


def test_a_label_is_found_by_the_name_of_its_function() -> None:
    app = new_shop()
    blueprint = flask.Blueprint("cart", __name__)
    blueprint.add_url_rule("/cart", view_func=lambda: "empty", endpoint="show")
    app.register_blueprint(blueprint)
    labels = {"blueprint": "signalpost.integrations.prometheus:blueprint_of"}
    with counting(app, labels=labels) as metrics:
        app.test_client().get("/cart", buffered=True)
        app.test_client().get("/items/7", buffered=True)
    assert figure(metrics, REQUESTS, blueprint="cart", route="/cart") == 1
    assert figure(metrics, REQUESTS, blueprint="", route=ITEM) == 1


@pytest.mark.parametrize(("value", "text"), [(None, ""), (7, "7"), ("\ud800", "?")])
def test_a_label_takes_what_its_function_returns(value: t.Any, text: str) -> None:
    metrics = PrometheusMetrics(labels={"tenant": lambda exchange: value})
    record(metrics)
    assert values_of(metrics, REQUESTS, "tenant") == {text}


def test_a_label_that_fails_costs_no_count(caplog: pytest.LogCaptureFixture) -> None:
    def tenant(exchange: Exchange) -> t.NoReturn:
        raise LookupError("no tenant")

    metrics = PrometheusMetrics(labels={"tenant": tenant})
    for _ in range(3):
        record(metrics)
    assert figure(metrics, REQUESTS, tenant="<failed>") == 3
    assert len(caplog.records) == 1
    assert "no tenant" in caplog.text


def test_a_log_is_not_flooded(caplog: pytest.LogCaptureFixture) -> None:
    metrics = PrometheusMetrics()
    for number in range(300):
        warn(metrics._store.logged, f"{number} is wrong", "so it is")
    assert len(caplog.records) == 100


def exemplars_of(metrics: PrometheusMetrics) -> list[t.Any]:
    return [
        sample.exemplar.labels
        for metric in metrics.registry.collect()
        for sample in metric.samples
        if sample.exemplar
    ]


def test_a_duration_has_an_exemplar_where_asked_for() -> None:
    traces = iter("67")
    metrics = PrometheusMetrics(exemplar=lambda exchange: {"trace_id": next(traces)})
    record(metrics)
    record(metrics)
    assert exemplars_of(metrics) == [{"trace_id": "7"}]
    write: t.Callable[[CollectorRegistry], bytes] = openmetrics.generate_latest
    assert b'# {trace_id="7"} 0.1 ' in write(metrics.registry)
    assert b"trace_id" not in generate_latest(metrics.registry)


@pytest.mark.parametrize(
    "labels",
    [
        {"trace_id": "x" * 120},
        {"trace_id": "é" * 120},
        {"a": "x" * 63, "b": "y" * 63},
        {"a": "", "b" * 127: ""},
    ],
)
def test_an_exemplar_has_up_to_128_characters(
    labels: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    fitting = PrometheusMetrics(exemplar=lambda exchange: labels)
    record(fitting)
    assert exemplars_of(fitting) == [labels]
    assert caplog.records == []
    first, *others = labels
    longer = {first: labels[first] + "z", **{name: labels[name] for name in others}}
    too_long = PrometheusMetrics(exemplar=lambda exchange: longer)
    record(too_long)
    assert exemplars_of(too_long) == []
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    "labels",
    [{"trace_id": "x" * 130}, {"trace-id": "7"}, {"trace_id": 7}, "7", {"a": "\ud800"}],
)
def test_an_exemplar_that_does_not_fit_is_left_out(
    labels: t.Any, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = PrometheusMetrics(exemplar=lambda exchange: labels)
    record(metrics)
    record(metrics)
    assert figure(metrics, REQUESTS) == 2
    assert exemplars_of(metrics) == []
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("labels", "seconds"), [(None, 0.1), ({}, 0.1), ({"trace_id": "7"}, None)]
)
def test_there_need_be_no_exemplar(
    labels: dict[str, str] | None, seconds: float | None
) -> None:
    metrics = PrometheusMetrics(exemplar=lambda exchange: labels)
    record(metrics, seconds=seconds)
    assert figure(metrics, REQUESTS) == 1
    assert exemplars_of(metrics) == []


def executed(
    statement: str = "SELECT 1",
    exception: Exception | None = None,
    exchange: Exchange | None = None,
) -> None:
    sql_executed.send(
        "engine",
        statement=statement,
        parameters=None,
        parameters_count=0,
        duration_seconds=0.5,
        row_count=None,
        is_executemany=False,
        exception=exception,
        exchange=exchange,
    )


def test_statements_are_counted_by_the_route_that_executed_them() -> None:
    app = new_shop()

    @app.get("/stock")
    def stock() -> str:
        exchange = flask.request.environ["signalpost.exchange"]
        executed("select * from stock", exchange=exchange)
        executed("\n (INSERT INTO stock ...)", LookupError(), exchange)
        return "much"

    with counting(app) as metrics:
        app.test_client().get("/stock", buffered=True)
    assert figure(metrics, STATEMENTS, route="/stock", operation="SELECT") == 1
    assert figure(metrics, STATEMENTS, operation="INSERT", outcome="error") == 1
    assert figure(metrics, "sql_statement_seconds_total", outcome="ok") == 0.5


def test_statements_outside_of_requests_are_counted_apart() -> None:
    with counting(hello) as metrics:
        executed("REINDEX")
        executed("x" * 1_000_000)
    assert figure(metrics, STATEMENTS, route=NO_EXCHANGE, operation="other") == 2


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT\n1",
        "select\t1",
        "/* x */ SELECT 1",
        "-- x\nSELECT 1",
        "((SELECT 1))",
        " " * 60 + "SELECT 1",
    ],
)
def test_statements_are_counted_by_their_operation(statement: str) -> None:
    with counting(hello) as metrics:
        executed(statement)
    assert figure(metrics, STATEMENTS, operation="SELECT") == 1


def fail(operation: str = "commit", exchange: Exchange | None = None) -> None:
    sql_failed.send(
        "engine",
        operation=operation,
        statement=None,
        exception=LookupError(),
        exchange=exchange,
    )


def test_failures_beside_statements_are_counted_as_errors() -> None:
    exchange = Exchange({}, hello)
    with counting(hello) as metrics:
        fail("commit", exchange)
        fail("connect")
        fail("commit", Exchange({}, "other"))
        executed("COMMIT", exchange=exchange)
    assert figure(metrics, STATEMENTS, outcome="error") == 2
    assert figure(metrics, STATEMENTS, operation="commit", outcome="error") == 1
    assert figure(metrics, STATEMENTS, operation="connect", route=NO_EXCHANGE) == 1
    fail()
    assert figure(metrics, STATEMENTS, outcome="error") == 2


def test_every_operation_is_counted_apart() -> None:
    operations = sorted(OPERATIONS)
    beside = ["connect", "pool", "fetch", "begin", "prepare", "commit", "rollback"]
    with counting(hello) as metrics:
        for operation in [*operations, "FROBNICATE"]:
            executed(f"{operation} it")
        for operation in beside:
            fail(operation)
    for operation in [*operations, *beside, "other"]:
        assert figure(metrics, STATEMENTS, operation=operation) == 1


def test_statements_of_another_application_are_not_counted() -> None:
    with counting(hello) as metrics, counting() as all_there_are:
        all_there_are.connect()
        executed(exchange=Exchange({}, "other"))
        all_there_are.disconnect()
    assert figure(metrics, STATEMENTS) == 0
    assert figure(all_there_are, STATEMENTS) == 1


def test_statements_need_not_be_counted() -> None:
    with counting(hello, with_sql=False) as metrics:
        assert not sql_executed.receivers
        assert not sql_failed.receivers
        assert b"sql_" not in generate_latest(metrics.registry)


def test_receivers_are_watched_where_asked_for() -> None:
    def broken(sender: object) -> t.NoReturn:
        raise LookupError

    with (
        counting(hello, with_receivers=True) as metrics,
        exchange_closed.connected_to(broken),
    ):
        Server().serve(SignalMiddleware(hello))
    name = f"{__name__}.{broken.__qualname__}"
    read = "signalpost_receiver_{}_total".format
    assert figure(metrics, read("failures"), receiver=name) == 1
    assert figure(metrics, read("calls"), signal="exchange-closed") == 2
    assert figure(metrics, read("failures")) == 1
    assert figure(metrics, read("seconds")) > 0
    calls = figure(metrics, read("calls"))
    with exchange_closed.connected_to(broken):
        Server().serve(SignalMiddleware(hello))
    assert figure(metrics, read("calls")) == calls


def test_two_applications_have_one_sum_or_two() -> None:
    shop, site = new_shop(), new_shop()
    with counting(shop, site) as both, counting(site) as one:
        shop.test_client().get("/items/1", buffered=True)
        site.test_client().get("/items/1", buffered=True)
    assert (figure(both, REQUESTS), figure(one, REQUESTS)) == (2, 1)


def test_a_middleware_or_a_proxy_represents_its_application() -> None:
    app = new_shop()
    layer = SignalMiddleware(hello)
    with app.app_context():
        proxy: t.Any = flask.current_app
        with counting(layer, proxy) as metrics:
            Server().serve(layer)
            app.test_client().get("/items/1", buffered=True)
    assert figure(metrics, REQUESTS) == 2


def test_connecting_twice_counts_once() -> None:
    with counting(hello, hello) as metrics:
        Server().serve(SignalMiddleware(hello))
    assert figure(metrics, REQUESTS) == 1


def test_metrics_live_and_go_with_their_application() -> None:
    app = new_shop()
    PrometheusMetrics(with_receivers=True).connect(app)
    gc.collect()
    closing = [one.receiver for one in exchange_closed.connections]
    metrics = weakref.ref(t.cast("t.Any", closing[0]).__self__)
    del closing
    app.test_client().get("/items/1", buffered=True)
    assert figure(t.cast("PrometheusMetrics", metrics()), REQUESTS) == 1
    del app
    # First the application, and then what was held for it.
    gc.collect()
    gc.collect()
    assert metrics() is None


def test_an_end_that_was_not_received_is_not_in_flight_forever() -> None:
    metrics = PrometheusMetrics()
    for _ in range(2000):
        metrics.opened("shop", exchange=Exchange({}, "shop"))
    assert len(metrics._store._open) < 300
    assert figure(metrics, IN_FLIGHT) == 0


def test_an_exchange_that_was_opened_before_is_not_counted_below_zero() -> None:
    metrics = PrometheusMetrics()
    exchange = Exchange({}, "shop")
    exchange.outcome = "complete"
    metrics.closed("shop", exchange=exchange)
    assert figure(metrics, IN_FLIGHT) == 0
    assert figure(metrics, REQUESTS) == 1


def test_registries_of_ones_own_do_not_collide() -> None:
    assert PrometheusMetrics().registry is not PrometheusMetrics().registry


def test_a_shared_registry_takes_the_same_names_once() -> None:
    registry = CollectorRegistry()
    Counter("shop_orders", "Orders.", registry=registry)
    PrometheusMetrics(registry=registry)
    PrometheusMetrics(registry=registry, namespace="shop")
    with pytest.raises(ConfigurationError, match="give a namespace"):
        PrometheusMetrics(registry=registry)
    text = generate_latest(registry)
    assert b"shop_orders_total" in text
    assert b"shop_http_server_requests_in_flight 0.0" in text


def test_some_metrics_can_be_asked_for() -> None:
    metrics = PrometheusMetrics()
    record(metrics)
    restricted = metrics.registry.restricted_registry([REQUESTS])
    assert [one.name for one in restricted.collect()] == ["http_server_requests"]


def test_threads_lose_no_count() -> None:
    metrics = PrometheusMetrics(max_label_sets=10)
    scrapes = threading.Event()

    def work(number: int) -> None:
        for _ in range(500):
            record(metrics, f"/{number}")

    def read() -> None:
        while not scrapes.is_set():
            generate_latest(metrics.registry)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    reader = threading.Thread(target=read)
    reader.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    scrapes.set()
    reader.join()
    assert figure(metrics, REQUESTS) == 4000
    assert figure(metrics, f"{DURATION}_bucket", le="+Inf") == 4000
    assert figure(metrics, IN_FLIGHT) == 0


def test_a_request_does_not_wait_for_a_scrape() -> None:
    metrics = PrometheusMetrics()
    done = threading.Event()

    def work() -> None:
        record(metrics)
        done.set()

    # As while a scrape copies the values; also by the same thread, as when the
    # garbage collection finds a lost response during it.
    with metrics._store._lock:
        thread = threading.Thread(target=work)
        thread.start()
        assert done.wait(10)
        record(metrics)
    thread.join()
    assert figure(metrics, REQUESTS) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"namespace": "my shop"}, "namespace must be letters"),
        ({"namespace": 7}, "namespace must be letters"),
        ({"buckets": []}, "buckets must be"),
        ({"buckets": 7}, "buckets must be"),
        ({"buckets": ["slow"]}, "buckets must be"),
        ({"buckets": [2, 1]}, "buckets must be"),
        ({"buckets": [1, 1]}, "buckets must be"),
        ({"buckets": [0, 1]}, "buckets must be"),
        ({"buckets": [1, float("nan")]}, "buckets must be"),
        ({"buckets": range(1, 200)}, "buckets must be"),
        ({"labels": ["tenant"]}, "labels must be functions by names"),
        ({"labels": {"le": blueprint_of}}, "a label's name must be"),
        ({"labels": {"__x": blueprint_of}}, "a label's name must be"),
        ({"labels": {7: blueprint_of}}, "a label's name must be"),
        ({"labels": {"tenant": 7}}, "must have a function"),
        ({"labels": {"tenant": "nowhere:at_all"}}, "is not found"),
        ({"labels": {"tenant": "signalpost:nothing"}}, "is not found"),
        ({"max_routes": 0}, "max_routes must be a whole number from 1"),
        ({"max_values": 1.5}, "max_values must be"),
        ({"max_label_sets": True}, "max_label_sets must be"),
        ({"with_sql": "no"}, "with_sql must be True or False"),
        ({"exemplar": "trace"}, "exemplar must be callable"),
        ({"registry": "mine"}, "registry must be a CollectorRegistry"),
        ({"token": ""}, "token must be"),
        ({"token": "a b"}, "token must be"),
        ({"token": "a", "token_file": "b"}, "both given"),
        ({"token_file": "/no/such/file"}, "file that can be read, got .*No such file"),
        ({"token_file": os.devnull}, "token must be"),
        ({"token_env": "NOT_SET_ANYWHERE"}, "NOT_SET_ANYWHERE, which is not set"),
        ({"token_env": ""}, "token_env must be the name of an environment variable"),
        ({"token_env": "A", "token_file": "b"}, "token_env and token_file were both"),
        ({"networks": "10.0.0.0/8"}, "networks must be a collection"),
        ({"networks": ["10.0.0.1/8"]}, "has host bits set"),
        ({"allows": True}, "allows must be callable"),
        ({"directory": "/no/such/directory"}, "must be there before"),
        ({"directory": ""}, "must be there before"),
    ],
)
def test_an_option_that_does_not_fit_is_refused(
    options: dict[str, t.Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        PrometheusMetrics(**options)


def test_no_message_has_a_token() -> None:
    with pytest.raises(ConfigurationError) as caught:
        PrometheusMetrics(token="my secret")
    assert "secret." not in str(caught.value).replace("secrets.", "")
    assert "my " not in str(caught.value)
    assert repr(PrometheusMetrics(token="hidden")) == (
        "<PrometheusMetrics of this process>"
    )


def test_a_configuration_enables_it() -> None:
    app = new_shop()
    path = "signalpost.integrations.prometheus:PrometheusMetrics"
    options = {
        "namespace": "shop",
        "buckets": [0.1, 1],
        "labels": {"blueprint": "signalpost.integrations.prometheus:blueprint_of"},
        "networks": ["127.0.0.0/8"],
        "max_routes": 20,
        "with_scrapes": False,
    }
    receivers = {"signalpost": {"receivers": {path: options}}}
    enabled = Configuration.from_mapping(receivers).load(app)
    app.test_client().get("/items/1", buffered=True)
    metrics = enabled[path].receiver
    assert figure(metrics, f"shop_{REQUESTS}", blueprint="") == 1
    assert enabled_for(app).disable(path)
    app.test_client().get("/items/1", buffered=True)
    assert figure(metrics, f"shop_{REQUESTS}") == 1


def test_a_file_of_text_enables_it(tmp_path: Path) -> None:
    path = "signalpost.integrations.prometheus:PrometheusMetrics"
    (tmp_path / "token").write_text("s3cret")
    (tmp_path / "shop.ini").write_text(f"""
[signalpost.receivers.{path}]
namespace = shop
buckets = 0.1 1
labels = blueprint = signalpost.integrations.prometheus:blueprint_of
networks = 127.0.0.0/8 10.0.0.0/8
with_sql = no
max_routes = 20
token_file = {tmp_path / "token"}
""")
    app = new_shop()
    enabled = Configuration.from_file(tmp_path / "shop.ini").load(app)
    app.test_client().get("/items/1", buffered=True)
    metrics = enabled[path].receiver
    bounds = values_of(metrics, f"shop_{DURATION}_bucket", "le")
    assert bounds == {"0.1", "1.0", "+Inf"}
    assert figure(metrics, f"shop_{REQUESTS}", blueprint="") == 1
    enabled.disable_all()


def test_an_enabled_one_goes_with_its_application() -> None:
    app = new_shop()
    enabled_for(app).enable("signalpost.integrations.prometheus:PrometheusMetrics")
    assert exchange_closed.receivers
    del app
    gc.collect()
    assert not sql_executed.receivers
