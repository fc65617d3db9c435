"""The files of the page about deployment, behind gunicorn."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.pages import code_blocks

PATIENCE_SECONDS = 60.0
URL = re.compile(r"Listening at: (http://127\.0\.0\.1:\d+)")


def got(url: str, **headers: str) -> str:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, headers=named)
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:
        return str(response.read().decode())


def found(pattern: re.Pattern[str], log: Path) -> re.Match[str]:
    """Wait until a pattern is in a log."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (match := pattern.search(log.read_text())) is None:
        assert time.monotonic() < deadline, log.read_text()
        assert "Error: " not in log.read_text(), log.read_text()
        time.sleep(0.05)
    return match


@pytest.fixture
def log(tmp_path: Path) -> Generator[Path]:
    """Return the log of the application of the page, served by gunicorn."""
    pytest.importorskip(
        "prometheus_client", reason="prometheus-client is not installed"
    )
    conf, shop = code_blocks("deployment", "python")[::-1]
    (configuration,) = code_blocks("deployment", "toml")
    (tmp_path / "shop.py").write_text(shop)
    (tmp_path / "signalpost.toml").write_text(configuration)
    (tmp_path / "gunicorn.conf.py").write_text(conf)
    (tmp_path / "metrics").mkdir()
    kept = {k: v for k, v in os.environ.items() if not k.startswith("GUNICORN")}
    directory = str(tmp_path / "metrics")
    with (tmp_path / "log").open("w") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "gunicorn", "shop:create_app()"),
                *("--bind", "127.0.0.1:0"),
            ],
            cwd=tmp_path,
            env={**kept, "PROMETHEUS_MULTIPROC_DIR": directory},
            stdout=output,
            stderr=output,
        )
    try:
        yield tmp_path / "log"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_SECONDS)


def test_the_files_of_the_page_log_and_count_each_request(log: Path) -> None:
    url = found(URL, log)[1]
    headers = {"X_Forwarded_For": "203.0.113.9", "X_Request_ID": "f3-09"}
    for _ in range(5):
        assert got(f"{url}/", **headers) == "hello"
    assert got(f"{url}/healthz") == "ok"
    line = json.loads(found(re.compile(r'^\{.*"latency".*\}$', re.M), log)[0])
    assert line["client"] == "203.0.113.9"
    assert line["request_id"] == "f3-09"
    assert line["route"] == "/"
    counted = 'http_server_requests_total{method="GET",outcome="complete",route="/",'
    # A request is counted after its client has the response.
    deadline = time.monotonic() + PATIENCE_SECONDS
    while f'{counted}status="200"}} 5.0' not in (scraped := got(f"{url}/metrics")):
        assert time.monotonic() < deadline, scraped
    assert "/healthz" not in log.read_text()


def test_the_proxy_of_the_page_sets_the_headers_that_are_trusted() -> None:
    (configuration,) = code_blocks("deployment", "toml")
    (proxy,) = code_blocks("deployment", "nginx")
    (name,) = re.findall(r'id-headers = \["(.+)"\]', configuration)
    assert f"proxy_set_header {name} " in proxy
    assert "proxy_set_header X-Forwarded-For $remote_addr;" in proxy
