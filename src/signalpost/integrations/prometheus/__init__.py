"""Prometheus: requests, statements and failures counted, in one process or in many.

::

    from signalpost.integrations.prometheus import PrometheusMetrics

    metrics = PrometheusMetrics()
    metrics.connect(app)
    app.add_url_rule("/metrics", view_func=metrics.metrics_view)
"""

from __future__ import annotations

from ._exporter_options import FlaskExporterOptions
from ._gunicorn import GunicornMetrics
from ._hooks import clear_metrics
from ._hooks import merge_worker
from ._metrics import PrometheusMetrics
from ._options import blueprint_of
from ._options import DIRECTORY_VARIABLE
from ._requests import NO_EXCHANGE
from ._serving import MetricsServer
from ._values import OTHER

__all__ = [
    "DIRECTORY_VARIABLE",
    "NO_EXCHANGE",
    "OTHER",
    "FlaskExporterOptions",
    "GunicornMetrics",
    "MetricsServer",
    "PrometheusMetrics",
    "blueprint_of",
    "clear_metrics",
    "merge_worker",
]
