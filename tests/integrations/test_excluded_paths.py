from __future__ import annotations

import gc
import logging
import typing as t
from collections.abc import Generator
from pathlib import Path

import flask
import pytest
from opentelemetry.trace import SpanKind

from signalpost.config import BUILTIN_RECEIVERS
from signalpost.errors import ConfigurationError
from signalpost.exchange import current_exchange
from signalpost.integrations.flask import Signalpost
from tests.integrations.serving import state_of
from tests.integrations.telemetry import Telemetry

pytest.importorskip("prometheus_client", reason="prometheus-client is not installed")

from signalpost.integrations.prometheus import PrometheusMetrics
from tests.integrations.test_prometheus import executed
from tests.integrations.test_prometheus import figure

EXCLUDE = ["/healthz", "/static/**"]
EXCLUDING = ("latency", "live", "opentelemetry", "prometheus", "recorder")
PATHS = ("/items", "/healthz", "/static/shop.css", "/healthz/fail", "/healthzz")


@pytest.fixture(autouse=True)
def nothing_is_left() -> Generator[None]:
    yield
    gc.collect()


def item(path: str = "") -> str:
    if path == "healthz/fail":
        raise LookupError("no such thing")
    executed("SELECT 1", exchange=current_exchange())
    return path


def new_app(**config: t.Any) -> flask.Flask:
    app = flask.Flask("shop", static_folder=None)
    app.add_url_rule("/<path:path>", "item", item)
    app.config.update(config)
    Signalpost(app)
    return app


def visit(app: flask.Flask) -> None:
    for path in PATHS:
        app.test_client().get(path, buffered=True)


def with_exclude(name: str) -> flask.Flask:
    return new_app(SIGNALPOST_RECEIVERS={name: {"exclude": EXCLUDE}})


def test_latency_leaves_out_what_is_excluded(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="signalpost")
    app = with_exclude("latency")
    visit(app)
    lines = [one for one in caplog.records if one.name == "signalpost.latency"]
    assert len(lines) == 3


def test_the_recorder_leaves_out_what_is_excluded() -> None:
    app = with_exclude("recorder")
    recorder = state_of(app).enabled["recorder"].receiver
    in_flight: list[float] = []
    app.before_request(lambda: in_flight.append(recorder.snapshot().total.in_flight))
    visit(app)
    assert in_flight == [1, 0, 0, 1, 1]
    total = recorder.snapshot().total
    assert (total.requests, total.error_share) == (3, 1 / 3)


def test_prometheus_leaves_out_what_is_excluded() -> None:
    app = with_exclude("prometheus")
    metrics: PrometheusMetrics = state_of(app).enabled["prometheus"].receiver
    in_flight: list[float] = []
    app.before_request(
        lambda: in_flight.append(figure(metrics, "http_server_requests_in_flight"))
    )
    visit(app)
    executed("SELECT 1")
    shown = [
        figure(metrics, "http_server_requests_total", route="/<path:path>"),
        figure(metrics, "http_server_request_duration_seconds_count"),
        figure(metrics, "http_server_failures_total"),
        figure(metrics, "sql_statements_total", route="/<path:path>"),
        figure(metrics, "sql_statements_total", route="<none>"),
    ]
    state_of(app).enabled.disable_all()
    assert shown == [3, 3, 1, 2, 1]
    assert in_flight == [1, 0, 0, 1, 1]


def test_opentelemetry_leaves_out_what_is_excluded() -> None:
    telemetry = Telemetry()
    options = {
        "exclude": EXCLUDE,
        "tracer_provider": telemetry.tracer_provider,
        "meter_provider": telemetry.meter_provider,
    }
    app = new_app(SIGNALPOST_RECEIVERS={"opentelemetry": options})
    visit(app)
    executed("SELECT 1")
    kinds = [span.kind for span in telemetry.spans]
    state_of(app).enabled.disable_all()
    assert kinds.count(SpanKind.SERVER) == 3
    assert kinds.count(SpanKind.CLIENT) == 2


@pytest.mark.parametrize("name", EXCLUDING)
def test_a_file_names_the_patterns(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.ini").write_text(
        f"[signalpost.receivers.{name}]\nexclude =\n  /healthz\n  /static/**\n"
    )
    (tmp_path / "a.toml").write_text(
        f'[signalpost.receivers]\n{name} = {{exclude = ["/healthz", "/static/**"]}}\n'
    )
    for path in tmp_path.iterdir():
        app = new_app(SIGNALPOST_CONFIG=path)
        assert list(state_of(app).enabled) == [name]
        state_of(app).enabled.disable_all()


@pytest.mark.parametrize("name", EXCLUDING)
@pytest.mark.parametrize(
    ("exclude", "message"),
    [
        ("/healthz", "exclude must be a collection of patterns, got '/healthz'"),
        (3, "exclude must be a collection of patterns, got 3"),
        ([3], "each of the patterns in exclude must be a string, got 3"),
        (["/static/.*"], "a pattern of exclude must be a path that begins with /"),
        (["healthz"], "a pattern of exclude must be a path that begins with /"),
        (["/**/a/**"], "a pattern of exclude takes ** once"),
    ],
)
def test_each_refuses_the_same_patterns(
    name: str, exclude: object, message: str
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        new_app(SIGNALPOST_RECEIVERS={name: {"exclude": exclude}})
    assert f"{name}: {message}" in str(raised.value)
    assert len(raised.value.errors) == 1


@pytest.mark.parametrize(
    "name", [name for name in BUILTIN_RECEIVERS if name not in EXCLUDING]
)
def test_no_other_receiver_ignores_patterns(name: str) -> None:
    with pytest.raises(ConfigurationError, match="unknown option 'exclude'"):
        new_app(SIGNALPOST_RECEIVERS={name: {"exclude": EXCLUDE}})
