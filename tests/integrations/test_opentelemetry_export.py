"""A real exporter, and a collector of the tests' own."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from signalpost import SignalMiddleware
from signalpost.integrations.flask import Signalpost
from tests.integrations.collecting import attributes_of
from tests.integrations.collecting import Collector
from tests.integrations.collecting import exporting_to
from tests.integrations.collecting import TRACES
from tests.integrations.serving_socket import until
from tests.integrations.shop import new_shop
from tests.integrations.telemetry import SPAN_ID
from tests.integrations.telemetry import TRACE_ID
from tests.integrations.telemetry import TRACEPARENT
from tests.wsgi.serving import hello
from tests.wsgi.serving import Server

pytest.importorskip(
    "opentelemetry.exporter.otlp.proto.http",
    reason="opentelemetry-exporter-otlp-proto-http is not installed",
)


@pytest.fixture
def collector() -> Generator[Collector]:
    found = Collector()
    with found.running():
        yield found


def test_collector_gets_what_was_recorded(collector: Collector) -> None:
    app = new_shop()
    Signalpost(app)
    with exporting_to(collector) as opentelemetry:
        opentelemetry.connect(app)
        Server().serve(app, path="/items/3", HTTP_TRACEPARENT=TRACEPARENT)
        Server().serve(app, path="/fail")
    first, second = collector.spans()
    assert first.name == "GET /items/<int:number>"
    assert first.trace_id == TRACE_ID.to_bytes(16, "big")
    assert first.parent_span_id == SPAN_ID.to_bytes(8, "big")
    assert attributes_of(first.attributes)["http.response.status_code"] == 200
    assert second.status.code == second.status.STATUS_CODE_ERROR
    assert [one.name for one in second.events] == ["exception"]
    measured = {metric.name: metric for metric in collector.metrics()}
    points = measured["http.server.request.duration"].histogram.data_points
    assert sorted(point.count for point in points) == [1, 1]
    assert list(points[0].explicit_bounds)[:2] == [0.005, 0.01]
    routes = {attributes_of(point.attributes)["http.route"] for point in points}
    assert routes == {"/items/<int:number>", "/fail"}
    (active,) = measured["http.server.active_requests"].sum.data_points
    assert active.as_int == 0


def test_hostile_request_can_be_exported(collector: Collector) -> None:
    app = SignalMiddleware(lambda *given: hello(*given))
    with exporting_to(collector) as opentelemetry:
        opentelemetry.connect(app)
        Server().serve(
            app,
            method="\ud800\x00",
            path="/\ud800\x00\xff" + "x" * 100_000,
            HTTP_USER_AGENT="\ud800\x00\xff" + "x" * 100_000,
            HTTP_HOST="\ud800",
            SERVER_NAME="\ud800",
            REMOTE_ADDR="\ud800",
        )
    (span,) = collector.spans()
    assert span.name == "HTTP"
    assert len(span.SerializeToString()) < 10_000


def test_collector_that_hangs_holds_no_request_up(collector: Collector) -> None:
    app = SignalMiddleware(lambda *given: hello(*given))
    with exporting_to(collector) as opentelemetry:
        opentelemetry.connect(app)
        collector.may_answer.clear()
        Server().serve(app)
        until(lambda: bool(collector.bodies[TRACES]), collector.bodies)
        assert Server().serve(app) == b"hello"
        assert not collector.may_answer.is_set()
    assert len(collector.spans()) == 2
