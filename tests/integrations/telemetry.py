"""OpenTelemetry's SDK in memory, for the tests of spans and metrics."""

from __future__ import annotations

import typing as t
import weakref
from collections.abc import Generator
from contextlib import contextmanager
from contextlib import suppress

from opentelemetry.context import attach
from opentelemetry.context import Context
from opentelemetry.context import detach
from opentelemetry.context import get_current
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace import Span
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import get_current_span
from opentelemetry.trace import StatusCode

from signalpost.integrations.opentelemetry import OpenTelemetry

TRACE_ID = 0x0AF7651916CD43DD8448EB211C80319C
SPAN_ID = 0xB7AD6B7169203331
TRACEPARENT = f"00-{TRACE_ID:032x}-{SPAN_ID:016x}-01"


class Telemetry(SpanProcessor):
    """The recorded spans, and the started ones."""

    def __init__(self) -> None:
        self.begun = 0
        self.spans: list[ReadableSpan] = []
        # Weakly, as tests look whether they go.
        self._connected: list[tuple[weakref.ref[t.Any], weakref.ref[t.Any]]] = []
        self.tracer_provider = TracerProvider(shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(self)
        self.tracer = self.tracer_provider.get_tracer("tests")
        self._reader = InMemoryMetricReader()
        self.meter_provider = MeterProvider([self._reader], shutdown_on_exit=False)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self.begun += 1

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)

    def new(self, **options: t.Any) -> OpenTelemetry:
        return OpenTelemetry(
            tracer_provider=self.tracer_provider,
            meter_provider=self.meter_provider,
            **options,
        )

    def connected(self, application: t.Any, **options: t.Any) -> OpenTelemetry:
        found = self.new(**options)
        found.connect(application)
        # What cannot be referenced is a test's own to disconnect.
        with suppress(TypeError):
            self._connected.append((weakref.ref(found), weakref.ref(application)))
        return found

    def disconnect(self) -> None:
        """Disconnect what is connected, of which a test may have left something."""
        while self._connected:
            found, application = (reference() for reference in self._connected.pop())
            if found is not None and application is not None:
                found.disconnect(application)

    def span(self, name: str | None = None) -> ReadableSpan:
        (found,) = [one for one in self.spans if name is None or one.name == name]
        return found

    def points(self, metric: str) -> list[tuple[dict[str, t.Any], t.Any]]:
        """Return attributes and the count or the value of each point of a metric."""
        return [
            (dict(point.attributes or {}), _value_of(point))
            for point in self._points(metric)
        ]

    def total(self, metric: str) -> float:
        """Return the sum of all that a histogram has counted."""
        return float(sum(point.sum for point in self._points(metric)))

    def bounds(self, metric: str) -> tuple[float, ...]:
        """Return the bounds of a histogram's buckets."""
        (found,) = {tuple(point.explicit_bounds) for point in self._points(metric)}
        return found

    def units(self) -> dict[str, str]:
        """Return the unit of each metric that has points, by its name."""
        data = self._reader.get_metrics_data()
        return {
            one.name: str(one.unit)
            for resource in (data.resource_metrics if data is not None else [])
            for scope in resource.scope_metrics
            for one in scope.metrics
            if one.data.data_points
        }

    def _points(self, metric: str) -> list[t.Any]:
        data = self._reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data is not None else [])
            for scope in resource.scope_metrics
            for one in scope.metrics
            if one.name == metric
            for point in one.data.data_points
        ]


def _value_of(point: t.Any) -> t.Any:
    return point.count if isinstance(point, HistogramDataPoint) else point.value


@contextmanager
def nothing_left(telemetry: Telemetry) -> Generator[None]:
    """Check that every span has ended once, and none stays current."""
    # What other tests have left on this thread is not these tests' doing.
    token = attach(Context())
    before = get_current()
    yield
    assert get_current() is before
    detach(token)
    ids = [identity(one) for one in telemetry.spans]
    assert len(set(ids)) == len(ids) == telemetry.begun
    for _, value in telemetry.points("http.server.active_requests"):
        assert value == 0
    telemetry.disconnect()
    telemetry.tracer_provider.shutdown()
    telemetry.meter_provider.shutdown()


def identity(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.span_id)


def parent(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def has_error(span: ReadableSpan) -> bool:
    return span.status.status_code is StatusCode.ERROR


def about(span: ReadableSpan) -> dict[str, t.Any]:
    return dict(span.attributes or {})


def current_id() -> int:
    """Return the id of the current span; 0 if there is none."""
    return get_current_span().get_span_context().span_id
