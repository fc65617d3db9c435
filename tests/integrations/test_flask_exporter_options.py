"""The options for the names of prometheus-flask-exporter."""

from __future__ import annotations

import typing as t
from pathlib import Path

import flask
import pytest

from signalpost.config import Configuration
from signalpost.errors import ConfigurationError
from signalpost.exchange import Exchange

pytest.importorskip("prometheus_client", reason="prometheus-client is not installed")

from prometheus_client import CollectorRegistry
from prometheus_client import Counter

from signalpost.integrations.prometheus import OTHER
from signalpost.integrations.prometheus import PrometheusMetrics
from tests.integrations.test_prometheus import counting
from tests.integrations.test_prometheus import figure
from tests.integrations.test_prometheus import IN_FLIGHT
from tests.integrations.test_prometheus import new_shop
from tests.integrations.test_prometheus import record
from tests.integrations.test_prometheus import REQUESTS
from tests.integrations.test_prometheus import values_of

TOTAL = "flask_http_request_total"
DURATIONS = "flask_http_request_duration_seconds_count"
EXCEPTIONS = "flask_http_request_exceptions_total"
PROCESS = "process_resident_memory_bytes"


def page(exchange: Exchange) -> str:
    """Return a label for the tests of a configuration."""
    return exchange.path


def read(client_of: flask.Flask, *paths: str) -> None:
    for path in paths:
        client_of.test_client().get(path, buffered=True)


def names_in(metrics: PrometheusMetrics) -> set[str]:
    return {
        sample.name
        for metric in metrics.registry.collect()
        for sample in metric.samples
    }


@pytest.mark.parametrize("choice", [False, None])
def test_without_the_option_there_are_no_such_names(choice: t.Any) -> None:
    app = new_shop()
    with counting(app, flask_exporter=choice) as metrics:
        read(app, "/items/1", "/fail")
    found = names_in(metrics)
    assert not [name for name in found if name.startswith(("flask", "process"))]


def test_both_names_are_served() -> None:
    app = new_shop()
    with counting(app, flask_exporter=True) as metrics:
        read(app, "/items/1", "/items/1", "/fail")
    assert figure(metrics, TOTAL, status="200") == 2
    assert figure(metrics, REQUESTS, status="200") == 2
    assert figure(metrics, EXCEPTIONS, method="GET", status="500") == 1


def test_new_names_can_be_left_out() -> None:
    app = new_shop()
    options = {"with_new_names": False}
    with counting(app, flask_exporter=options) as metrics:
        read(app, "/items/1", "/fail")
    assert figure(metrics, TOTAL) == 2
    assert figure(metrics, IN_FLIGHT) == 0
    assert REQUESTS not in names_in(metrics)


def test_the_namespace_is_not_in_front_of_them() -> None:
    app = new_shop()
    with counting(app, namespace="shop", flask_exporter=True) as metrics:
        read(app, "/items/1")
    assert figure(metrics, TOTAL) == 1
    assert figure(metrics, f"shop_{REQUESTS}") == 1


def test_information_is_served() -> None:
    info = {"app_info": {"version": "1.0.3", "major": "1"}, "empty_info": {}}
    metrics = PrometheusMetrics(flask_exporter={"info": info})
    sample = metrics.registry.get_sample_value
    assert sample("app_info", {"version": "1.0.3", "major": "1"}) == 1
    assert sample("empty_info") == 1


def test_a_scrape_of_some_names_finds_them() -> None:
    app = new_shop()
    info = {"app_info": {"version": "1"}}
    with counting(app, flask_exporter={"info": info}) as metrics:
        app.add_url_rule("/metrics", view_func=metrics.metrics_view)
        read(app, "/items/1")
        path = f"/metrics?name[]={TOTAL}&name[]=app_info"
        text = app.test_client().get(path, buffered=True).text
    samples = [line for line in text.splitlines() if not line.startswith("#")]
    assert sorted(samples) == [
        'app_info{version="1"} 1.0',
        f'{TOTAL}{{method="GET",status="200"}} 1.0',
    ]


def test_metrics_of_the_process_are_in_a_registry_of_its_own() -> None:
    assert PROCESS in names_in(PrometheusMetrics(flask_exporter=True))
    given = PrometheusMetrics(flask_exporter=True, registry=CollectorRegistry())
    assert PROCESS not in names_in(given)
    without = PrometheusMetrics(flask_exporter={"with_process_metrics": False})
    assert PROCESS not in names_in(without)


@pytest.mark.parametrize(
    "name",
    [
        "flask_http_request_duration_seconds_bucket",
        "flask_http_request_duration_seconds_count",
        "flask_http_request_duration_seconds_sum",
        "flask_http_request_total",
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
    ],
)
def test_what_the_dashboards_of_the_exporter_ask_for_is_served(name: str) -> None:
    app = new_shop()
    with counting(app, flask_exporter=True) as metrics:
        read(app, "/items/1")
    assert name in names_in(metrics)


@pytest.mark.parametrize("taken", [TOTAL, "app_info"])
def test_names_that_the_registry_has_already_are_an_error(taken: str) -> None:
    registry = CollectorRegistry()
    Counter(taken, "What another counts.", registry=registry)
    with pytest.raises(ConfigurationError, match="these names already"):
        PrometheusMetrics(
            registry=registry, flask_exporter={"info": {"app_info_total": {}}}
        )


def test_processes_are_summed(tmp_path: Path) -> None:
    app = new_shop()
    options = {"flask_exporter": {"info": {"app_info": {"version": "1"}}}}
    with (
        counting(app, directory=str(tmp_path), **options) as first,
        counting(app, directory=str(tmp_path), **options) as second,
    ):
        read(app, "/items/1", "/items/1", "/fail")
        for metrics in (first, second):
            assert figure(metrics, TOTAL, status="200") == 4
            assert figure(metrics, DURATIONS, path="/items/1") == 4
            assert figure(metrics, EXCEPTIONS) == 2
            assert figure(metrics, "app_info", version="1") == 1
            assert PROCESS not in names_in(metrics)


def test_paths_are_bounded() -> None:
    app = new_shop()
    with counting(app, flask_exporter={"max_groups": 5}) as metrics:
        read(app, *(f"/items/{number}" for number in range(200)))
    assert len(values_of(metrics, DURATIONS, "path")) < 110
    assert figure(metrics, DURATIONS, path=OTHER) > 90
    assert figure(metrics, DURATIONS) == 200


def test_a_path_of_any_length_is_cut() -> None:
    app = new_shop()
    with counting(app, flask_exporter=True) as metrics:
        read(app, f"/{'a' * 5000}", f"/{'é' * 5000}")
    assert {len(path) for path in values_of(metrics, DURATIONS, "path")} == {512}


@pytest.mark.parametrize("path", ["/%0A", "/%00", "/%22", "/%5C", "/%ED%A0%80"])
def test_a_path_of_any_characters_can_be_scraped(path: str) -> None:
    app = new_shop()
    with counting(app, flask_exporter=True) as metrics:
        app.add_url_rule("/metrics", view_func=metrics.metrics_view)
        read(app, path)
        response = app.test_client().get("/metrics", buffered=True)
    assert response.status_code == 200
    assert response.text.count("flask_http_request_duration_seconds_count{") == 1


def test_a_function_that_fails_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def page(exchange: Exchange) -> t.NoReturn:
        raise LookupError

    app = new_shop()
    with counting(app, flask_exporter={"group_by": page}) as metrics:
        read(app, "/items/1", "/items/2")
        assert figure(metrics, DURATIONS, page="<failed>") == 2
    assert len([one for one in caplog.records if "group_by" in one.message]) == 1


def test_a_label_that_fails_does_not_lose_the_exception() -> None:
    def tenant(exchange: Exchange) -> t.NoReturn:
        raise LookupError

    app = new_shop()
    with counting(app, flask_exporter=True, labels={"tenant": tenant}) as metrics:
        read(app, "/fail")
    assert figure(metrics, EXCEPTIONS, tenant="<failed>") == 1
    assert figure(metrics, TOTAL, tenant="<failed>") == 1


@pytest.mark.parametrize(
    ("status", "outcome", "expected"),
    [(None, "error", "500"), (None, "hijacked", "none"), (299, "error", "299")],
)
def test_a_status_that_never_came_is_that_of_the_servers_page(
    status: int | None, outcome: t.Any, expected: str
) -> None:
    metrics = PrometheusMetrics(flask_exporter=True)
    record(metrics, status=status, outcome=outcome)
    assert figure(metrics, TOTAL, status=expected) == 1


def test_what_has_no_response_time_is_counted_and_not_timed() -> None:
    metrics = PrometheusMetrics(flask_exporter=True)
    record(metrics, outcome="lost")
    assert figure(metrics, TOTAL) == 1
    assert figure(metrics, DURATIONS) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("path", "True, False or a mapping"),
        (["path"], "True, False or a mapping"),
        (1, "True, False or a mapping"),
        ({"groupby": "path"}, "takes the options"),
        ({1: "path"}, "takes the options"),
        ({"group_by": "rule"}, "group_by must be one of path, endpoint, url_rule"),
        ({"group_by": lambda exchange: "x"}, "group_by must be one of"),
        ({"group_by": None}, "group_by must be one of"),
        ({"group_by": ["path"]}, "group_by must be one of"),
        ({"group_by": "absent.module:page"}, "is not found"),
        ({"prefix": "shop-"}, "prefix must be letters"),
        ({"prefix": None}, "prefix must be letters"),
        ({"buckets": []}, "buckets must be"),
        ({"buckets": [2, 1]}, "buckets must be"),
        ({"max_groups": 0}, "max_groups must be"),
        ({"max_groups": True}, "max_groups must be"),
        ({"with_new_names": "no"}, "with_new_names must be"),
        ({"with_process_metrics": 1}, "with_process_metrics must be"),
        ({"constant_labels": ["stage"]}, "constant_labels must be"),
        ({"constant_labels": {"my-stage": "test"}}, "constant_labels must be"),
        ({"constant_labels": {"status": "test"}}, "'status' twice"),
        ({"constant_labels": {"path": "test"}}, "'path' twice"),
        ({"constant_labels": {"tenant": "test"}}, "'tenant' twice"),
        ({"group_by": "endpoint", "constant_labels": {"endpoint": ""}}, "twice"),
        ({"info": {"app-info": {}}}, "info must be"),
        ({"info": {"app_info": "1"}}, "info.app_info must be"),
        ({"info": ["app_info"]}, "info must be"),
        ({"exclude_endpoints": "ping"}, "exclude_endpoints must be"),
        ({"exclude_endpoints": [1]}, "exclude_endpoints must be"),
        ({"exclude_endpoints": 1}, "exclude_endpoints must be"),
    ],
)
def test_an_option_that_does_not_fit_is_an_error(options: t.Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        PrometheusMetrics(flask_exporter=options, labels={"tenant": page})


def test_a_configuration_enables_it() -> None:
    app = new_shop()
    options = {
        "group_by": "tests.integrations.test_flask_exporter_options:page",
        "constant_labels": {"stage": "test"},
        "exclude_endpoints": ["fail"],
    }
    receivers = {"prometheus": {"flask_exporter": options}}
    configuration = Configuration.from_mapping({"signalpost": {"receivers": receivers}})
    enabled = configuration.load(app)
    read(app, "/items/1", "/fail")
    metrics = enabled["prometheus"].receiver
    assert figure(metrics, DURATIONS, page="/items/1", stage="test") == 1
    assert figure(metrics, TOTAL) == 1
    enabled.disable_all()


@pytest.mark.parametrize(
    ("text", "label"),
    [("yes", "path"), ("\n  group_by = url_rule\n  prefix = flask", "url_rule")],
)
def test_a_file_of_text_enables_it(tmp_path: Path, text: str, label: str) -> None:
    path = tmp_path / "shop.ini"
    path.write_text(
        f"[signalpost.receivers.prometheus]\nflask_exporter = {text}\n",
        encoding="utf-8",
    )
    app = new_shop()
    enabled = Configuration.from_file(path).load(app)
    read(app, "/items/1")
    metrics = enabled["prometheus"].receiver
    assert len(values_of(metrics, DURATIONS, label)) == 1
    enabled.disable_all()
