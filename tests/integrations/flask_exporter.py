"""An application that prometheus-flask-exporter and signalpost count at once."""

from __future__ import annotations

import typing as t
from collections.abc import Callable

import flask
from prometheus_client import CollectorRegistry

from signalpost.integrations.flask import Signalpost
from signalpost.integrations.prometheus import FlaskExporterOptions
from signalpost.integrations.prometheus import PrometheusMetrics

Figures: t.TypeAlias = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Both:
    """An application that both packages count.

    :param original: Sets prometheus-flask-exporter up for an application and a
        registry.
    :param options: Options of signalpost for the names of the original.
    :param more: Other options of signalpost.
    """

    def __init__(
        self,
        original: Callable[[flask.Flask, CollectorRegistry], object],
        options: FlaskExporterOptions | bool,
        **more: t.Any,
    ) -> None:
        self.app = flask.Flask("shop")
        self.registry = CollectorRegistry()
        self.original = original(self.app, self.registry)
        Signalpost(self.app)
        self.metrics = PrometheusMetrics(flask_exporter=options, **more)
        self.metrics.connect(self.app)
        self.app.add_url_rule("/figures", view_func=self.metrics.metrics_view)

    def visit(self, path: str, method: str = "GET", **given: t.Any) -> int:
        """Make a request, read the response, and close it."""
        client = self.app.test_client()
        with client.open(path, method=method, buffered=True, **given) as response:
            return response.status_code

    def figures(self) -> tuple[Figures, Figures]:
        """Return those of the original, and ours of the same names."""
        names = {metric.name for metric in self.registry.collect()}
        return figures_of(self.registry), figures_of(self.metrics.registry, names)


def figures_of(
    registry: CollectorRegistry, names: t.Container[str] | None = None
) -> Figures:
    """Return the values of a registry's samples by their names and labels.

    Without what is the time: sums are 0, and so are the buckets but the last. Without
    ``flask_exporter_info``, which has the version of its package.
    """
    found: Figures = {}
    for metric in registry.collect():
        if names is not None and metric.name not in names:
            continue
        for sample in metric.samples:
            is_time = sample.name.endswith("_sum") or (
                sample.labels.get("le", "+Inf") != "+Inf"
            )
            if sample.name.endswith(("_created", "exporter_info")):
                continue
            key = (sample.name, tuple(sorted(sample.labels.items())))
            found[key] = 0.0 if is_time else sample.value
    return found
