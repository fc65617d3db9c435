"""The files of docs/monitoring, tried on the shop by Prometheus itself."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
import signal
import subprocess
import time
import types
import typing as t
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Generator
from pathlib import Path

import flask
import prometheus_client
import pytest
import sqlalchemy

from signalpost.integrations.flask import Signalpost
from signalpost.integrations.gunicorn import server_signals
from signalpost.integrations.prometheus import GunicornMetrics
from signalpost.integrations.prometheus import PrometheusMetrics
from signalpost.integrations.sqlalchemy import instrument
from signalpost.receivers.response_times import STREAMED_SECONDS
from signalpost.work import work
from tests.missing import needs
from tests.ports import free_port

from .test_main import BY_GUNICORN
from .test_main import PATIENCE_SECONDS
from .test_main import Server
from .test_main import started

MONITORING = Path(__file__).parents[2] / "docs" / "monitoring"

needs_prometheus = needs("prometheus", "prometheus", "promtool")


def dashboard_maker() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(
        "make_dashboard", MONITORING / "make_dashboard.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def queries() -> dict[str, str]:
    """Return the dashboard's queries, with what Grafana would put into them."""
    dashboard = json.loads((MONITORING / "dashboard.json").read_text("utf-8"))
    return {
        f"{panel['title']}: {target['legendFormat']}": target["expr"]
        .replace("$__rate_interval", "1m")
        .replace("$job", ".*")
        for panel in dashboard["panels"]
        for target in panel["targets"]
    }


def run(*words: str) -> str:
    done = subprocess.run(
        words,
        cwd=MONITORING,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def get(url: str, **parameters: str) -> str:
    # As a server in front does, for the time in the queue.
    begun = {"X-Request-Start": f"t={time.time():.3f}"}
    encoded = urllib.parse.urlencode(parameters)
    request = urllib.request.Request(f"{url}?{encoded}", headers=begun)
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
        return str(answer.read().decode())


@contextlib.contextmanager
def prometheus(folder: Path, address: str) -> Generator[str]:
    """Let Prometheus scrape an address; give where it answers."""
    port = free_port()
    config = folder / "prometheus.yml"
    config.write_text(
        json.dumps(
            {
                "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"},
                "rule_files": [str(MONITORING / "alerts.yml")],
                "scrape_configs": [
                    {"job_name": "shop", "static_configs": [{"targets": [address]}]}
                ],
            }
        )
    )
    run("promtool", "check", "config", str(config))
    with subprocess.Popen(
        [
            "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'series'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=error",
        ],
    ) as process:
        try:
            yield f"http://127.0.0.1:{port}/api/v1"
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def answer_of(api: str, query: str) -> list[t.Any]:
    found: list[t.Any] = json.loads(get(f"{api}/query", query=query))["data"]["result"]
    return found


def origin_of(api: str) -> str:
    return api.removesuffix("/api/v1")


def wait_for(api: str, query: str) -> list[t.Any]:
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            found = answer_of(api, query)
            if found:
                return found
        time.sleep(0.1)
    raise AssertionError(f"nothing for {query}")


def wait_for_text(api: str, query: str, *, is_empty: bool) -> None:
    """Wait until Prometheus' own tool has an answer, or check that it has none."""
    until = time.monotonic() + PATIENCE_SECONDS
    while bool(run("promtool", "query", "instant", origin_of(api), query).strip()) is (
        is_empty
    ):
        assert time.monotonic() < until, query


def visit(url: str) -> None:
    for path in ("/", "/reviews", "/export.csv", "/products/brass-bell"):
        get(url + path)
    for path in ("/fail", "/no-such-page"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            get(url + path)
        with refused.value as answer:
            answer.read()


def test_dashboard_is_what_its_maker_makes() -> None:
    made = json.loads((MONITORING / "dashboard.json").read_text("utf-8"))
    assert made == dashboard_maker().dashboard()


def test_dashboard_names_its_panels_and_lines_apart() -> None:
    dashboard = dashboard_maker().dashboard()
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(
        dashboard["panels"]
    )
    assert all(panel["targets"] for panel in dashboard["panels"])


@needs_prometheus
def test_alerts_are_sound_and_fire_for_their_causes() -> None:
    run("promtool", "check", "rules", "alerts.yml")
    run("promtool", "test", "rules", "alerts_test.yml")


# No statement failed, the pool has no limit, and there is no work besides requests.
EMPTY = [
    "Failed SQL statements: {{operation}}",
    "Pool connections: {{pool}} at most",
    "Units of work by outcome: {{name}} {{outcome}}",
    "Duration of units of work, p99: {{name}}",
    "Units of work in flight: {{name}}",
]


@needs_prometheus
def test_each_query_finds_what_the_shop_has_counted(tmp_path: Path) -> None:
    with started(tmp_path, BY_GUNICORN, PORT="0") as process:
        server = Server(process)
        address = server.url.removeprefix("http://")
        visit(server.url)
        # A rate has no increase from what its first reading lacks.
        wait_until_counted(server.url, 6)
        with prometheus(tmp_path, address) as api:
            # A rate takes two readings, the later one of which has counted more.
            wait_for(api, "http_server_requests_total")
            visit(server.url)
            wait_for(api, "sum(http_server_requests_total) >= 12")
            wait_for(api, 'rate(http_server_requests_total{route="/fail"}[1m]) > 0')
            wait_for(api, "job:http_server_requests:rate5m > 0")
            # What a worker counts comes with the next time that it is read. A reading
            # that takes too long has nothing.
            found = {
                name: answer_of(api, query) if name in EMPTY else wait_for(api, query)
                for name, query in queries().items()
            }
            for name, query in queries().items():
                wait_for_text(api, query, is_empty=name in EMPTY)
            wait_for(api, "job:http_server_requests_failed:rate5m > 0")
        server.stop(signal.SIGTERM)
    assert [name for name, result in found.items() if not result] == EMPTY
    (alive,) = found["gunicorn workers: alive"]
    assert float(alive["value"][1]) == 2
    (errors,) = found["Share of errors and of disconnects: errors"]
    assert 0.1 < float(errors["value"][1]) < 0.3
    (disconnects,) = found["Share of errors and of disconnects: disconnects"]
    assert float(disconnects["value"][1]) == 0
    routes = {one["metric"]["route"] for one in found["Busiest routes: {{route}}"]}
    assert {"/", "/products/<slug>", "/fail", "<unmatched>"} <= routes
    wheres = found["Exceptions by where: {{where}} {{route}}"]
    assert {one["metric"]["where"] for one in wheres} == {"view"}


def asked_for() -> dict[str, str]:
    """Return the queries of the dashboard, of the rules and of the alerts."""
    rules = (MONITORING / "alerts.yml").read_text("utf-8")
    parts = re.split(r"\n      - (?:record|alert): (.*)\n", rules)
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    return queries() | found


def labels_in(query: str) -> set[str]:
    """Return the labels that a query, and the name of its line, ask for."""
    grouped = re.findall(r"\bby \(([^)]*)\)", query)
    found = {one.strip() for part in grouped for one in part.split(",")}
    found |= set(re.findall(r'[{,]\s*(\w+)\s*(?:=~|!~|!=|=)"', query))
    found |= set(re.findall(r"\$labels\.(\w+)", query))
    return found - {"job"}  # Prometheus' own


@pytest.fixture
def everything(tmp_path: Path) -> Generator[str]:
    """Give a scrape of what counts all that there is."""
    metrics = PrometheusMetrics(directory=str(tmp_path))
    workers = GunicornMetrics(directory=str(tmp_path))
    app = flask.Flask("shop")
    Signalpost(app)
    metrics.connect(app)
    workers.connect(server_signals)
    engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.QueuePool)

    @app.get("/orders")
    def orders() -> t.Any:
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text("SELECT 1"))

        def body() -> Generator[str]:
            time.sleep(STREAMED_SECONDS)
            yield "order"

        return flask.Response(body())

    @app.get("/fail")
    def fail() -> t.NoReturn:
        raise LookupError

    with instrument(engine, pool_name="orders"), work("report", app):
        for path in ("/orders", "/fail"):
            app.test_client().get(path, buffered=True)
        with work("ship", app):
            pass
        server_signals["pre-fork"].send("server", worker=None)
        server_signals["post-worker-init"].send("worker")
        server_signals["pre-request"].send("worker", req=app, queue_seconds=0.1)
        yield prometheus_client.generate_latest(metrics.registry).decode()
    engine.dispose()
    workers.disconnect()
    metrics.disconnect(app)


def test_each_metric_and_label_that_is_asked_for_is_in_a_scrape(
    everything: str,
) -> None:
    labels: dict[str, set[str]] = {}
    for line in everything.splitlines():
        if found := re.match(r"(\w+)(?:\{(.*)\})? \S+$", line):
            names = re.findall(r'(\w+)="', found[2] or "")
            labels.setdefault(found[1], set()).update(names)
    asked = asked_for()
    assert len(asked) > 40
    for name, query in asked.items():
        metrics = re.findall(r"(?<![:\w])(?:http|sql|work|gunicorn)_\w+", query)
        assert metrics or "job:" in query, name
        assert {*metrics} <= labels.keys(), name
        if metrics:
            there = set.union(*(labels[one] for one in metrics))
            assert labels_in(f"{query} {name}") <= there, name


def test_connections_that_were_taken_over_are_left_out() -> None:
    for name, query in asked_for().items():
        selectors = re.findall(r"http_server_requests_total(\{.*?\})?\[", query)
        for selector in selectors:
            is_apart = 'outcome!="hijacked"' in selector or 'outcome="' in selector
            assert is_apart or "by outcome" in name, name


def counted_at(url: str) -> dict[str, float]:
    """Return how many requests a scrape has, by route."""
    return {
        found[1]: float(found[2])
        for found in re.finditer(
            r'^http_server_requests_total\{.*route="([^"]*)".*\} (.*)$',
            get(f"{url}/metrics"),
            re.M,
        )
    }


def wait_until_counted(url: str, number: int) -> dict[str, float]:
    """Wait until so many requests are counted, and return how many, by route.

    The last one may have been answered, and not be closed yet.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    while sum((counted := counted_at(url)).values()) < number:
        assert time.monotonic() < until, counted
    return counted


def test_two_workers_are_read_as_one(tmp_path: Path) -> None:
    with started(tmp_path, BY_GUNICORN, PORT="0") as process:
        server = Server(process)
        for _ in range(10):
            visit(server.url)
        counted = wait_until_counted(server.url, 60)
        server.stop(signal.SIGTERM)
    assert counted == {
        "/": 10,
        "/reviews": 10,
        "/export.csv": 10,
        "/products/<slug>": 10,
        "/fail": 10,
        "<unmatched>": 10,
    }


def test_metrics_are_not_there_unless_enabled(tmp_path: Path) -> None:
    config = tmp_path / "other.toml"
    config.write_text("[signalpost.receivers]\nlatency = true\n")
    with started(tmp_path, PORT="0", SHOP_SIGNALPOST_CONFIG=str(config)) as process:
        server = Server(process)
        with pytest.raises(urllib.error.HTTPError, match="404") as refused:
            get(f"{server.url}/metrics")
        with refused.value as answer:
            answer.read()
        server.stop(signal.SIGTERM)
