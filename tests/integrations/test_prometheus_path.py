from __future__ import annotations

import gc
import logging
import typing as t
import weakref
from collections.abc import Generator
from pathlib import Path

import flask
import pytest
from flask.testing import FlaskClient
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from signalpost import SignalMiddleware
from signalpost.config import Configuration
from signalpost.config import enabled_for
from signalpost.errors import ConfigurationError
from signalpost.integrations.flask import Signalpost
from tests.integrations.serving import state_of
from tests.wsgi.serving import hello
from tests.wsgi.serving import Server

pytest.importorskip("prometheus_client", reason="prometheus-client is not installed")

from signalpost.integrations.prometheus import PrometheusMetrics

apps: list[flask.Flask] = []


@pytest.fixture(autouse=True)
def nothing_is_left() -> Generator[None]:
    yield
    for app in apps:
        enabled_for(app).disable_all()
    apps.clear()
    gc.collect()


def new_app(name: str = "shop") -> flask.Flask:
    app = flask.Flask(name)
    app.add_url_rule("/items/<name>", "item", lambda name: name)
    apps.append(app)
    return app


def configured(app: flask.Flask, **options: t.Any) -> FlaskClient:
    app.config["SIGNALPOST_RECEIVERS"] = {"prometheus": options}
    Signalpost(app)
    return app.test_client()


def text_at(client: FlaskClient, path: str) -> str:
    with client.get(path) as response:
        return response.get_data(as_text=True)


def refusal(app: flask.Flask, **options: t.Any) -> str:
    with pytest.raises(ConfigurationError) as raised:
        configured(app, **options)
    assert "wsgi_app" not in vars(app)
    assert "signalpost" not in app.extensions
    return str(raised.value)


@pytest.mark.parametrize("path", ["/metrics", "/internal/metrics", "/metrics/", "/"])
def test_the_configuration_serves_the_metrics_at_a_path(path: str) -> None:
    client = configured(new_app(), path=path)
    assert text_at(client, "/items/mug") == "mug"
    text = text_at(client, path)
    assert 'http_server_requests_total{method="GET",outcome="complete",route="/it' in (
        text
    )
    assert client.get("/metricsx", buffered=True).status_code == 404
    assert client.post(path, buffered=True).status_code == 405


def test_a_file_serves_the_metrics_at_a_path(tmp_path: Path) -> None:
    texts = {
        "a.toml": 'prometheus = {path = "/metrics"}',
        "a.ini": "prometheus = path = /metrics",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(f"[signalpost.receivers]\n{text}\n")
        app = new_app()
        app.config["SIGNALPOST_CONFIG"] = tmp_path / name
        Signalpost(app)
        assert "# TYPE http_server_requests" in text_at(app.test_client(), "/metrics")


def test_without_a_path_nothing_is_served() -> None:
    client = configured(new_app())
    assert client.get("/metrics", buffered=True).status_code == 404


def test_a_scrape_is_an_exchange_unless_it_is_not_to_be() -> None:
    for with_scrapes, count in ((True, 1), (False, 0)):
        app = new_app()
        client = configured(app, path="/metrics", with_scrapes=with_scrapes)
        text_at(client, "/metrics")
        text = text_at(client, "/metrics")
        assert text.count('http_server_requests_total{method="GET"') == count


def test_a_scrape_has_the_path_as_its_route() -> None:
    client = configured(new_app(), path="/metrics")
    text_at(client, "/metrics")
    text = text_at(client, "/metrics")
    assert 'outcome="complete",route="/metrics"' in text
    assert "unmatched" not in text


def test_who_may_read_is_decided_there_too() -> None:
    client = configured(new_app(), path="/metrics", token="open-sesame")
    assert client.get("/metrics", buffered=True).status_code == 401
    headers = {"Authorization": "Bearer open-sesame"}
    assert client.get("/metrics", headers=headers, buffered=True).status_code == 200


@pytest.mark.parametrize("rule", ["/metrics", "/metrics/"])
@pytest.mark.parametrize("path", ["/metrics", "/metrics/"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_route_that_is_there_is_an_error(rule: str, path: str, method: str) -> None:
    app = new_app()
    app.add_url_rule(rule, "own", lambda: "own", methods=[method])
    message = refusal(app, path=path)
    assert f"path: the application has a route '{rule}' already; choose" in message
    assert message.startswith('app.config["SIGNALPOST_RECEIVERS"], [signalpost.rec')


def test_a_route_of_a_blueprint_is_an_error() -> None:
    app = new_app()
    inner = flask.Blueprint("inner", "inner", url_prefix="/internal")
    inner.add_url_rule("/metrics", "own", lambda: "own")
    app.register_blueprint(inner)
    assert "already" in refusal(app, path="/internal/metrics")


def test_a_route_with_variables_has_lower_precedence() -> None:
    app = new_app()
    app.add_url_rule("/<path:page>", "page", lambda page: page)
    client = configured(app, path="/metrics")
    assert "# TYPE" in text_at(client, "/metrics")
    assert text_at(client, "/metricsx") == "metricsx"


def test_a_route_with_defaults_is_a_route_too() -> None:
    app = new_app()
    app.add_url_rule("/metrics", "own", lambda page: "own", defaults={"page": 1})
    assert "already" in refusal(app, path="/metrics")


def test_a_route_that_is_added_later_is_served_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = new_app()
    client = configured(app, path="/metrics")
    app.add_url_rule("/metrics", "own", lambda: "own")
    assert [text_at(client, "/metrics") for _ in range(3)] == ["own"] * 3
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == (
        "the metrics cannot be served, as the application has got a route /metrics;"
        " choose another path, or remove that route"
    )


def test_a_mistake_elsewhere_leaves_the_application_as_it_was() -> None:
    app = new_app()
    app.config["SIGNALPOST_FORMAT"] = "jason"
    assert "format: expected one of" in refusal(app, path="/metrics")
    assert app.test_client().get("/metrics", buffered=True).status_code == 404


def test_disabling_serves_it_no_more_and_enabling_does_again() -> None:
    app = new_app()
    client = configured(app, path="/metrics")
    enabled = state_of(app).enabled
    enabled.disable("prometheus")
    assert client.get("/metrics", buffered=True).status_code == 404
    enabled.enable("prometheus", path="/figures")
    assert "# TYPE" in text_at(client, "/figures")
    enabled.disable("prometheus")
    assert client.get("/figures", buffered=True).status_code == 404
    assert text_at(client, "/items/mug") == "mug"


def test_enabling_and_disabling_leaves_no_layer() -> None:
    app = new_app()
    Signalpost(app)
    layer = app.wsgi_app
    for _ in range(3):
        enabled_for(app).enable("prometheus", path="/metrics")
        enabled_for(app).disable("prometheus")
    assert app.wsgi_app is layer


def test_middlewares_are_around_it() -> None:
    app = new_app()
    client = configured(app, path="/metrics")
    app.wsgi_app = DispatcherMiddleware(hello, {"/shop": app.wsgi_app})  # type: ignore[method-assign]
    assert "# TYPE" in text_at(client, "/shop/metrics")
    assert text_at(client, "/shop/items/mug") == "mug"
    assert "# TYPE" not in text_at(client, "/metrics")


def test_an_application_goes_with_its_metrics() -> None:
    app = new_app()
    client = configured(app, path="/metrics")
    text_at(client, "/metrics")
    gone = weakref.ref(app)
    apps.clear()
    del app, client
    gc.collect()
    assert gone() is None


def test_an_application_that_is_gone_is_reported() -> None:
    app = new_app()
    PrometheusMetrics(path="/metrics").connect(app)
    layer = app.wsgi_app
    apps.clear()
    del app
    gc.collect()
    with pytest.raises(RuntimeError, match=r"the application is gone.*; keep the app"):
        Server().serve(layer)


def test_one_object_serves_several_applications() -> None:
    metrics = PrometheusMetrics(path="/metrics")
    both = [new_app("one"), new_app("other")]
    for app in both:
        metrics.connect(app)
        metrics.connect(app)
    for app in both:
        text_at(app.test_client(), "/items/mug")
        assert "# TYPE" in text_at(app.test_client(), "/metrics")
        metrics.disconnect(app)
        assert "wsgi_app" not in vars(app)


def test_an_application_without_wsgi_app_is_refused() -> None:
    layer = SignalMiddleware(hello)
    mapping = {"signalpost": {"receivers": {"prometheus": {"path": "/metrics"}}}}
    with pytest.raises(
        ConfigurationError, match=r"path takes an application with a ws"
    ):
        Configuration.from_mapping(mapping).load(layer)
    with pytest.raises(ConfigurationError, match="mount metrics_app where your"):
        PrometheusMetrics(path="/metrics").connect()
    Server().serve(layer)


@pytest.mark.parametrize(
    "path",
    ["metrics", "", "/a b", "/a?b", "/a#b", "/<x>", "/a\n", "/\xe9", 3, True, []],
)
def test_what_is_no_path_is_refused(path: object) -> None:
    message = refusal(new_app(), path=path)
    assert "path must begin with / and have no variables and no query" in message
