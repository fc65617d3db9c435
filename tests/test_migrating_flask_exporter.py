"""The examples of the page, with those that they are ported from."""

from __future__ import annotations

import doctest
import typing as t
from collections.abc import Generator
from pathlib import Path

import flask
import pytest

pytest.importorskip(
    "prometheus_flask_exporter", reason="prometheus-flask-exporter is not installed"
)

from prometheus_client import CollectorRegistry
from prometheus_flask_exporter import PrometheusMetrics as Original

from signalpost.testing import restored
from tests.integrations.flask_exporter import Figures
from tests.integrations.flask_exporter import figures_of

PAGE = Path(__file__).parents[1] / "docs/migrating/prometheus-flask-exporter.rst"


@pytest.fixture
def page() -> Generator[dict[str, t.Any]]:
    """Run the page up to its list of differences, and give its names."""
    text, found, _ = PAGE.read_text("utf-8").partition("\nIntended differences\n")
    assert found
    names: dict[str, t.Any] = {}
    with restored():
        for example in doctest.DocTestParser().get_examples(text):
            exec(compile(example.source, str(PAGE), "exec"), names)
        yield names


def original_demo(registry: CollectorRegistry) -> flask.Flask:
    app = flask.Flask("original")
    Original(app, registry=registry)
    for path in ("/one", "/two", "/three", "/four"):
        app.add_url_rule(path, endpoint=path, view_func=lambda: "ok")
    app.add_url_rule("/error", view_func=lambda: ("sorry", 500), endpoint="error")
    return app


def original_shop(registry: CollectorRegistry) -> flask.Flask:
    app = flask.Flask("original")
    metrics: t.Any = Original(app, registry=registry)
    metrics.info("app_info", "About the application.", version="1.0.3")
    leave_out = metrics.do_not_track()
    by_type = metrics.counter(
        "invocation_by_type",
        "Requests by type.",
        labels={"item_type": lambda: (flask.request.view_args or {})["item_type"]},
    )
    goes_on = metrics.gauge("in_progress", "Long running requests.")
    status = {"status": lambda response: response.status_code}
    path = {"path": lambda: flask.request.path}
    by_status = metrics.summary("requests_by_status", "Times.", labels=status)
    by_path = metrics.histogram(
        "requests_by_status_and_path", "Times.", labels={**status, **path}
    )

    def item(item_type: str) -> str:
        return item_type

    def long_running() -> str:
        return "done"

    def echo(status: int) -> tuple[str, int]:
        return f"Status: {status}", status

    def main() -> str:
        return "tracked"

    def skip() -> str:
        return "not tracked"

    app.add_url_rule("/", view_func=main)
    app.add_url_rule("/skip", view_func=leave_out(skip))
    app.add_url_rule("/<item_type>", view_func=leave_out(by_type(item)))
    app.add_url_rule("/long-running", view_func=goes_on(long_running))
    echo_view = leave_out(by_status(by_path(echo)))
    app.add_url_rule("/status/<int:status>", view_func=echo_view)
    return app


@pytest.mark.parametrize(
    ("make", "metrics", "visited"),
    [
        (original_demo, "demo_metrics", "demo_paths"),
        (original_shop, "metrics", "paths"),
    ],
)
def test_the_ported_example_has_the_figures_of_the_original(
    page: dict[str, t.Any], make: t.Any, metrics: str, visited: str
) -> None:
    registry = CollectorRegistry()
    app = make(registry)
    page["visit"](app, page[visited])
    expected = figures_of(registry)
    ours = figures_of(page[metrics].registry, {one.name for one in registry.collect()})
    assert ours == expected
    assert sum_of(expected, "flask_http_request_total") > 3


def test_a_request_that_goes_on_is_in_the_gauge(page: dict[str, t.Any]) -> None:
    app, gauge = page["app"], page["in_progress"]
    response = app.test_client().get("/long-running")
    assert gauge._value.get() == 1
    response.close()
    assert gauge._value.get() == 0


def sum_of(figures: Figures, name: str) -> float:
    return sum(value for (sample, _), value in figures.items() if sample == name)
