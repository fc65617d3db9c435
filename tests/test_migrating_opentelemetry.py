"""The names in the page's table are those of OpenTelemetry's own instrumentation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip(
    "opentelemetry.instrumentation.flask",
    reason="opentelemetry-instrumentation-flask is not installed",
)

PAGE = Path(__file__).parents[1] / "docs/migrating/opentelemetry.rst"

# In a separate process: the choice of names is read once.
PROGRAM = """
import json
import flask
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(SimpleSpanProcessor(exporter))
meters = MeterProvider([reader], shutdown_on_exit=False)
app = flask.Flask("shop")
app.add_url_rule("/items/<int:number>", view_func=lambda number: "x", endpoint="item")
FlaskInstrumentor().instrument_app(
    app, tracer_provider=provider, meter_provider=meters
)
app.test_client().get("/items/3").close()
names = [name for span in exporter.get_finished_spans() for name in span.attributes]
for resource in reader.get_metrics_data().resource_metrics:
    for scope in resource.scope_metrics:
        names += [metric.name for metric in scope.metrics]
print(json.dumps(names))
"""


def names_with(opt_in: str | None) -> list[str]:
    variables = {
        name: value
        for name, value in os.environ.items()
        if name != "OTEL_SEMCONV_STABILITY_OPT_IN"
    }
    if opt_in is not None:
        variables["OTEL_SEMCONV_STABILITY_OPT_IN"] = opt_in
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM]
    done = subprocess.run(
        command, env=variables, capture_output=True, text=True, check=True
    )
    names: list[str] = json.loads(done.stdout)
    return names


@pytest.mark.parametrize(("opt_in", "column"), [(None, 0), ("http", 1)])
def test_each_name_is_in_its_column(opt_in: str | None, column: int) -> None:
    table = PAGE.read_text("utf-8").partition("signalpost\n   * - ``http.method``")
    text = table[1] + table[2].partition("\nOptions\n")[0]
    rows = [row.split("\n     - ") for row in text.split("   * - ")[1:]]
    named = " ".join(row[column] for row in rows)
    names = names_with(opt_in)
    assert len(names) > 8
    same = {"http.route", "http.server.active_requests"}
    missing = [one for one in names if f"``{one}``" not in named and one not in same]
    assert not missing
