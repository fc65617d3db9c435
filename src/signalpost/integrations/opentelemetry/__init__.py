"""Traces and metrics of each exchange, by OpenTelemetry's API.

Spans and metrics are named by OpenTelemetry's semantic conventions for HTTP servers
and databases (stable since 1.23.0 and 1.33.0). Install and configure an SDK and an
exporter yourself: without an SDK nothing is recorded, at almost no cost.

If this package is imported, log lines with the current request
(:mod:`signalpost.receivers.context`) have the ids of the current span, too, whichever
instrumentation created the span.
"""

from __future__ import annotations

from ...receivers.context import read_spans_by
from ._span_ids import current_span_ids
from ._tracing import OpenTelemetry

__all__ = ["OpenTelemetry"]

# The package is imported only where OpenTelemetry is used.
read_spans_by(current_span_ids)
