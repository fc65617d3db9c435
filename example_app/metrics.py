"""Shows the page that Prometheus reads, at the address where it looks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import abort
from flask import Blueprint
from flask import current_app

from signalpost.config import enabled_for

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

    from signalpost.integrations.prometheus import PrometheusMetrics

metrics = Blueprint("metrics", __name__)


@metrics.get("/metrics")
def read() -> WSGIApplication:
    """Answer a scrape, if the receiver ``prometheus`` is enabled.

    Everyone may read it, as this is an example; yours has the option ``token``, or
    ``networks``.
    """
    found = enabled_for(current_app).get("prometheus") or abort(404)
    receiver: PrometheusMetrics = found.receiver
    return receiver.metrics_view()
