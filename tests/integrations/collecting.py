"""A real exporter of OpenTelemetry's, and a collector for it."""

from __future__ import annotations

import gzip
import threading
import typing as t
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from signalpost.integrations.opentelemetry import OpenTelemetry
from tests.integrations.serving_socket import PATIENCE_SECONDS

TRACES = "/v1/traces"
METRICS = "/v1/metrics"


class Collector:
    """The exported data, by the path that it was sent to."""

    def __init__(self) -> None:
        self.bodies: dict[str, list[bytes]] = {TRACES: [], METRICS: []}
        self.may_answer = threading.Event()
        self.may_answer.set()
        collector = self

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # the standard library's
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers["Content-Encoding"] == "gzip":
                    body = gzip.decompress(body)
                collector.bodies[self.path].append(body)
                collector.may_answer.wait(PATIENCE_SECONDS)
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_request(self, code: object = "-", size: object = "-") -> None:
                """Keep the tests' output clean."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        self.origin = f"http://127.0.0.1:{self._server.server_address[1]}"

    @contextmanager
    def running(self) -> Generator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self.may_answer.set()
            self._server.shutdown()
            self._thread.join(PATIENCE_SECONDS)
            self._server.server_close()

    def spans(self) -> list[t.Any]:
        service = pytest.importorskip(
            "opentelemetry.proto.collector.trace.v1.trace_service_pb2"
        )
        return [
            span
            for body in self.bodies[TRACES]
            for resource in service.ExportTraceServiceRequest.FromString(
                body
            ).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def metrics(self) -> list[t.Any]:
        service = pytest.importorskip(
            "opentelemetry.proto.collector.metrics.v1.metrics_service_pb2"
        )
        return [
            metric
            for body in self.bodies[METRICS]
            for resource in service.ExportMetricsServiceRequest.FromString(
                body
            ).resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]


@contextmanager
def exporting_to(
    collector: Collector, delay_millis: float = 20, **options: t.Any
) -> Generator[OpenTelemetry]:
    """Give what exports as users set it up, and shut that down, which sends all."""
    traces = pytest.importorskip(
        "opentelemetry.exporter.otlp.proto.http.trace_exporter"
    )
    meters = pytest.importorskip(
        "opentelemetry.exporter.otlp.proto.http.metric_exporter"
    )
    tracer_provider = TracerProvider(shutdown_on_exit=False)
    tracer_provider.add_span_processor(
        BatchSpanProcessor(
            traces.OTLPSpanExporter(collector.origin + TRACES),
            schedule_delay_millis=delay_millis,
        )
    )
    meter_provider = MeterProvider(
        [
            PeriodicExportingMetricReader(
                meters.OTLPMetricExporter(collector.origin + METRICS),
                export_interval_millis=60_000,
            )
        ],
        shutdown_on_exit=False,
    )
    try:
        yield OpenTelemetry(
            tracer_provider=tracer_provider, meter_provider=meter_provider, **options
        )
    finally:
        collector.may_answer.set()
        tracer_provider.shutdown()
        meter_provider.shutdown()


def attributes_of(attributes: t.Any) -> dict[str, t.Any]:
    return {
        one.key: getattr(one.value, str(one.value.WhichOneof("value")))
        for one in attributes
    }
