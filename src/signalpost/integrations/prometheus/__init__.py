"""Prometheus: requests, statements and failures counted, in one process or in many.

::

    from signalpost.integrations.prometheus import PrometheusMetrics

    metrics = PrometheusMetrics()
    metrics.connect(app)
    app.add_url_rule("/metrics", view_func=metrics.metrics_view)
"""

from __future__ import annotations

from ._exporter_options import FlaskExporterOptions
from ._figures import OTHER
from ._groups import NO_EXCHANGE
from ._groups import UNMATCHED_ROUTE
from ._metrics import PrometheusMetrics
from ._options import blueprint_of
from ._options import DIRECTORY_VARIABLE
from ._serving import MetricsServer
from ._workers import clear_figures
from ._workers import fold_worker

__all__ = [
    "DIRECTORY_VARIABLE",
    "NO_EXCHANGE",
    "OTHER",
    "UNMATCHED_ROUTE",
    "FlaskExporterOptions",
    "MetricsServer",
    "PrometheusMetrics",
    "blueprint_of",
    "clear_figures",
    "fold_worker",
]
