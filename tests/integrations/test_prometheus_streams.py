"""Prometheus has the response times that the log and the recorder have."""

from __future__ import annotations

import typing as t
from collections.abc import Generator
from pathlib import Path

import pytest

from signalpost.errors import ConfigurationError
from signalpost.exchange import Exchange
from signalpost.integrations.prometheus import PrometheusMetrics
from tests.receivers.slow_responses import Clock
from tests.receivers.slow_responses import serve
from tests.receivers.slow_responses import SLOW
from tests.receivers.slow_responses import Slow

DURATION = "http_server_request_duration_seconds"
HEADERS = "http_server_time_to_headers_seconds"
STREAMS = "http_server_stream_duration_seconds"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("time.perf_counter", clock)
    return clock


@pytest.fixture
def metrics() -> Generator[PrometheusMetrics]:
    metrics = PrometheusMetrics()
    metrics.connect()
    yield metrics
    metrics.disconnect()


def samples_of(metrics: PrometheusMetrics, name: str) -> list[float]:
    return [
        sample.value
        for metric in metrics.registry.collect()
        for sample in metric.samples
        if sample.name == name
    ]


def close(
    metrics: PrometheusMetrics,
    environ: dict[str, str] | None = None,
    **values: t.Any,
) -> None:
    exchange = Exchange({"REQUEST_METHOD": "GET", **(environ or {})}, "shop")
    exchange.status = 200
    exchange.outcome = "complete"
    exchange.seconds_to_headers = 0.25
    exchange.duration_seconds = 600.0
    for name, value in values.items():
        setattr(exchange, name, value)
    metrics.closed("shop", exchange=exchange)


@pytest.mark.parametrize("slow", SLOW.values(), ids=SLOW)
def test_a_response_is_observed_with_its_times(
    clock: Clock, slow: Slow, metrics: PrometheusMetrics
) -> None:
    serve(slow, slow.make(clock), clock)
    assert sum(samples_of(metrics, "http_server_requests_total")) == 1
    for name, seconds in (
        (DURATION, slow.response_seconds),
        (STREAMS, slow.stream_seconds),
    ):
        assert sum(samples_of(metrics, f"{name}_count")) == (seconds is not None)
        assert sum(samples_of(metrics, f"{name}_sum")) == (seconds or 0)


@pytest.mark.parametrize(
    "name", [name for name, slow in SLOW.items() if slow.response_seconds is None]
)
def test_no_websocket_has_a_time_to_its_headers(
    clock: Clock, name: str, metrics: PrometheusMetrics
) -> None:
    serve(SLOW[name], SLOW[name].make(clock), clock)
    assert sum(samples_of(metrics, f"{HEADERS}_count")) == 0


def test_only_what_streams_has_series_of_streams() -> None:
    metrics = PrometheusMetrics()
    close(metrics, duration_seconds=0.25)
    assert samples_of(metrics, f"{STREAMS}_count") == []
    close(metrics)
    assert samples_of(metrics, f"{STREAMS}_count") == [1]


def test_long_streams_fill_no_late_bucket_of_the_duration() -> None:
    metrics = PrometheusMetrics(buckets=[0.5, 1])
    for _ in range(3):
        close(metrics)
    assert samples_of(metrics, f"{DURATION}_bucket") == [3, 3, 3]


def test_streams_have_buckets_of_their_own() -> None:
    metrics = PrometheusMetrics(stream_buckets=[60, 600, 3600])
    close(metrics)
    assert samples_of(metrics, f"{STREAMS}_bucket") == [0, 1, 1, 1]


def test_streams_have_the_labels_of_requests() -> None:
    metrics = PrometheusMetrics(labels={"tenant": lambda exchange: "red"})
    close(metrics, route="/feed")
    (labels,) = (
        sample.labels
        for metric in metrics.registry.collect()
        for sample in metric.samples
        if sample.name == f"{STREAMS}_count"
    )
    assert labels == {
        "method": "GET",
        "route": "/feed",
        "status": "200",
        "outcome": "complete",
        "tenant": "red",
    }


@pytest.mark.parametrize("wrong", [[], [2, 1], ["long"], [0], None])
def test_wrong_buckets_of_streams_are_refused(wrong: t.Any) -> None:
    with pytest.raises(ConfigurationError, match="stream_buckets must be") as raised:
        PrometheusMetrics(stream_buckets=wrong)
    assert raised.value.key == "stream_buckets"


def test_an_exemplar_of_a_stream_is_in_the_bucket_of_its_response_time() -> None:
    metrics = PrometheusMetrics(
        buckets=[0.1, 0.5, 1000], exemplar=lambda exchange: {"trace_id": "7"}
    )
    close(metrics)
    found = {
        sample.labels["le"]: sample.exemplar.value
        for metric in metrics.registry.collect()
        for sample in metric.samples
        if sample.exemplar is not None
    }
    assert found == {"0.5": 0.25}


def test_what_has_no_response_time_asks_for_no_exemplar() -> None:
    asked: list[Exchange] = []

    def exemplar(exchange: Exchange) -> dict[str, str]:
        asked.append(exchange)
        return {"trace_id": "7"}

    metrics = PrometheusMetrics(exemplar=exemplar)
    close(metrics, {"HTTP_UPGRADE": "websocket"})
    close(metrics, outcome="hijacked")
    close(metrics, outcome="lost")
    assert not asked


@pytest.mark.parametrize(
    ("name", "metric"),
    [("duration_seconds", DURATION), ("seconds_to_headers", HEADERS)],
)
@pytest.mark.parametrize(
    "value", ["long", [], object()], ids=["text", "list", "object"]
)
def test_a_time_that_is_no_number_is_counted_but_not_timed(
    name: str, metric: str, value: object, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = PrometheusMetrics()
    values: dict[str, t.Any] = {name: value}
    close(metrics, **values)
    assert samples_of(metrics, "http_server_requests_total") == [1]
    assert samples_of(metrics, f"{metric}_count") == [0]
    assert not caplog.records


def test_streams_of_all_processes_have_one_sum(tmp_path: Path) -> None:
    workers = [PrometheusMetrics(directory=str(tmp_path)) for _ in range(2)]
    for worker in workers:
        close(worker, duration_seconds=0.25)
        assert samples_of(worker, f"{STREAMS}_count") == []
    for worker in workers:
        close(worker)
    assert samples_of(workers[0], f"{STREAMS}_count") == [2]
    assert samples_of(workers[0], f"{STREAMS}_sum") == [1200]
    assert samples_of(workers[0], f"{DURATION}_sum") == [1]
