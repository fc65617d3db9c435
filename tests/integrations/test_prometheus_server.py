"""The metrics of gunicorn's workers, without gunicorn."""

from __future__ import annotations

import typing as t
from pathlib import Path
from types import SimpleNamespace

import pytest

from signalpost import Namespace
from signalpost.errors import ConfigurationError

pytest.importorskip("prometheus_client", reason="prometheus-client is not installed")

from signalpost.integrations.prometheus import DIRECTORY_VARIABLE
from signalpost.integrations.prometheus import GunicornMetrics
from signalpost.integrations.prometheus import PrometheusMetrics
from tests.integrations.test_prometheus import figure

EXITS = "gunicorn_worker_exits_total"
STARTS = "gunicorn_worker_starts_total"


@pytest.fixture
def signals() -> Namespace:
    """Return signals of the names and payloads of gunicorn's hooks."""
    found = Namespace()
    found.signal("pre-fork", payload=("worker",))
    found.signal("child-exit", payload=("worker", "is_silent", "requests"))
    found.signal("post-worker-init", payload=())
    found.signal("pre-request", payload=("req", "queue_seconds"))
    found.signal("post-request", payload=("req", "environ", "resp"))
    return found


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(tmp_path))
    return tmp_path


def end(signals: Namespace, *, aborted: bool = False, is_silent: t.Any = False) -> None:
    worker = SimpleNamespace(aborted=aborted)
    signals["child-exit"].send(
        "server", worker=worker, is_silent=is_silent, requests=()
    )


@pytest.mark.usefixtures("directory")
def test_an_exit_has_one_reason(signals: Namespace) -> None:
    metrics = GunicornMetrics()
    metrics.connect(signals)
    end(signals)
    end(signals, is_silent=None)
    end(signals, is_silent=True)
    end(signals, is_silent=True, aborted=True)
    scraped = PrometheusMetrics()
    assert figure(scraped, EXITS, reason="exited") == 2
    assert figure(scraped, EXITS, reason="silent") == 1
    assert figure(scraped, EXITS, reason="aborted") == 1
    metrics.disconnect()


@pytest.mark.usefixtures("directory")
def test_a_worker_is_busy_until_its_last_request_is_over(signals: Namespace) -> None:
    metrics, scraped = GunicornMetrics(namespace="shop"), PrometheusMetrics()
    metrics.connect(signals)
    signals["post-worker-init"].send("worker")
    one, other = object(), object()
    assert figure(scraped, "shop_gunicorn_workers") == 1
    for req in (one, other):
        signals["pre-request"].send("worker", req=req, queue_seconds=None)
    signals["post-request"].send("worker", req=one, environ={}, resp=None)
    assert figure(scraped, "shop_gunicorn_busy_workers") == 1
    signals["post-request"].send("worker", req=other, environ={}, resp=None)
    assert figure(scraped, "shop_gunicorn_busy_workers") == 0
    metrics.disconnect()
    metrics.disconnect()
    assert not any(signal.receivers for signal in signals.values())


@pytest.mark.usefixtures("directory")
def test_a_configuration_that_is_run_again_counts_once(signals: Namespace) -> None:
    earlier, later = GunicornMetrics(), GunicornMetrics()
    earlier.connect(signals)
    signals["pre-fork"].send("server", worker=None)
    later.connect(signals)
    later.connect(signals)
    signals["pre-fork"].send("server", worker=None)
    assert figure(PrometheusMetrics(), STARTS) == 2
    later.disconnect()


def test_without_a_directory_it_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DIRECTORY_VARIABLE, raising=False)
    with pytest.raises(ConfigurationError, match=f"set {DIRECTORY_VARIABLE}"):
        GunicornMetrics()


@pytest.mark.usefixtures("directory")
@pytest.mark.parametrize("signals", [{}, None, "server_signals"])
def test_other_signals_are_an_error(signals: t.Any) -> None:
    with pytest.raises(ConfigurationError, match="server_signals"):
        GunicornMetrics().connect(signals)


@pytest.mark.usefixtures("directory")
def test_options_are_checked() -> None:
    with pytest.raises(ConfigurationError, match="buckets"):
        GunicornMetrics(buckets=[2, 1])
    with pytest.raises(ConfigurationError, match="namespace"):
        GunicornMetrics(namespace="a shop")
