"""Traces and metrics of each exchange, by OpenTelemetry's API.

Spans and metrics are named by OpenTelemetry's semantic conventions for HTTP servers
and databases (stable since 1.23.0 and 1.33.0). What records and exports them is the
user's to bring: without an SDK nothing is recorded, and next to nothing is done.
"""

from __future__ import annotations

from ._tracing import OpenTelemetry

__all__ = ["OpenTelemetry"]
