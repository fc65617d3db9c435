"""The metrics of an HTTP server, by the semantic conventions."""

from __future__ import annotations

from opentelemetry.context import Context
from opentelemetry.metrics import get_meter
from opentelemetry.metrics import get_meter_provider
from opentelemetry.metrics import MeterProvider

from ...exchange import Exchange
from ...receivers.response_times import is_websocket
from ...receivers.response_times import seconds_of
from ._attributes import Attributes
from ._attributes import Bounded
from ._attributes import number_of
from ._attributes import SCHEMA
from ._attributes import version_of
from ._texts import integer_of
from ._texts import text_of

__all__ = ["ServerMetrics"]

# The semantic conventions recommend these, in seconds.
_DURATION_BUCKETS = (
    *(0.005, 0.01, 0.025, 0.05, 0.075),
    *(0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0),
)

# In bytes: they advise none, and the SDK's own end at 10,000.
_SIZE_BUCKETS = tuple(float(16 * 4**power) for power in range(13))


class ServerMetrics:
    """Measure each request.

    :param provider: The provider; ``None`` for the global one, whenever that is set.
    :param version: The version of this package.
    :param has_sizes: Whether the sizes of bodies are measured.
    """

    def __init__(
        self, provider: MeterProvider | None, version: str, *, has_sizes: bool
    ) -> None:
        self._provider = provider
        self._has_sizes = has_sizes
        meter = get_meter("signalpost", version, provider, schema_url=SCHEMA)
        self._active = meter.create_up_down_counter(
            "http.server.active_requests",
            unit="{request}",
            description="Number of active HTTP server requests.",
        )
        self._duration = meter.create_histogram(
            "http.server.request.duration",
            unit="s",
            description="Duration of HTTP server requests.",
            explicit_bucket_boundaries_advisory=_DURATION_BUCKETS,
        )
        if has_sizes:
            self._request_size = meter.create_histogram(
                "http.server.request.body.size",
                unit="By",
                description="Size of HTTP server request bodies.",
                explicit_bucket_boundaries_advisory=_SIZE_BUCKETS,
            )
            self._response_size = meter.create_histogram(
                "http.server.response.body.size",
                unit="By",
                description="Size of HTTP server response bodies.",
                explicit_bucket_boundaries_advisory=_SIZE_BUCKETS,
            )
        self._routes = Bounded(1000)
        self._error_types = Bounded(100)

    @property
    def has_meter(self) -> bool:
        """``True`` if anything is measured: the API alone measures nothing."""
        provider = self._provider or get_meter_provider()
        return not type(provider).__module__.startswith("opentelemetry.metrics")

    def begin(self, active: Attributes, context: Context | None) -> None:
        """Count a request as active."""
        self._active.add(1, active, context)

    def end(
        self,
        exchange: Exchange,
        active: Attributes,
        error_type: str | None,
        context: Context | None,
    ) -> None:
        """Stop counting it as active, and measure it."""
        self._active.add(-1, active, context)
        environ = exchange.environ
        attributes = active.copy()
        if version := version_of(environ.get("SERVER_PROTOCOL")):
            attributes["network.protocol.version"] = version
        if (status := integer_of(exchange.status)) is not None:
            attributes["http.response.status_code"] = status
        if exchange.route is not None:
            route = text_of(exchange.route)
            # A mount point may be the client's to choose.
            attributes["http.route"] = route if route in self._routes else "_OTHER"
        if error_type is not None:
            is_known = error_type in self._error_types
            attributes["error.type"] = error_type if is_known else "_OTHER"
        # The context is for exemplars: a measurement that leads to its trace.
        # The convention measures requests, and to the same end as their spans. So it
        # is the whole of a stream, and a WebSocket's length is left out.
        if exchange.outcome != "hijacked" and not is_websocket(exchange):
            seconds = seconds_of(exchange.duration_seconds) or 0.0
            self._duration.record(seconds, attributes, context)
        if self._has_sizes:
            size = integer_of(exchange.body_bytes) or 0
            self._response_size.record(size, attributes, context)
            request_bytes = number_of(environ.get("CONTENT_LENGTH"))
            if request_bytes is not None:
                self._request_size.record(request_bytes, attributes, context)
