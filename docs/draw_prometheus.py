"""Draws the picture of a graph of Prometheus: ``python docs/draw_prometheus.py``.

gunicorn serves the example shop, wrk requests its pages for more than a minute, one
that fails and one that is absent among them, and a Prometheus scrapes it each second.
It needs prometheus, wrk and chromium, as Debian has them, gunicorn and Playwright.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlencode

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
PICTURE = Path(__file__).parent / "_static" / "prometheus-graph.png"
WARM_SECONDS = 20
SECONDS = 60
SIZE = (1240, 890)
PATIENCE_SECONDS = 60
PAGES = ("/", "/", "/products/brass-bell", "/cart", "/reviews", "/fail", "/absent")
QUERY = "sum by (route) (rate(http_server_requests_total[15s]))"
CONFIGURATION = """\
global: {{scrape_interval: 1s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: shop
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        shop, prometheus = _free_port(), _free_port()
        stack.enter_context(_shop(shop, folder))
        stack.enter_context(_prometheus(prometheus, shop, folder))
        stack.enter_context(_load(shop, folder))
        time.sleep(WARM_SECONDS + SECONDS)
        _draw(f"http://127.0.0.1:{prometheus}")


def _draw(url: str) -> None:
    graph = {
        "g0.expr": QUERY,
        "g0.tab": "0",
        "g0.stacked": "1",
        "g0.range_input": f"{SECONDS}s",
        "g0.step_input": "1",
    }
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
        page.goto(f"{url}/graph?{urlencode(graph)}", wait_until="networkidle")
        page.wait_for_timeout(1000)
        page.screenshot(path=PICTURE)
        browser.close()


@contextmanager
def _shop(port: int, folder: str) -> Iterator[None]:
    command = [sys.executable, "-m", "gunicorn", "--config"]
    environment = {**os.environ, "PORT": str(port)}
    with _running(
        [*command, "example_app/gunicorn_conf.py"], folder, "shop", environment
    ):
        _wait_for(f"http://127.0.0.1:{port}/metrics")
        yield


@contextmanager
def _prometheus(port: int, shop: int, folder: str) -> Iterator[None]:
    rules = ROOT / "docs" / "monitoring" / "alerts.yml"
    file = Path(folder, "prometheus.yml")
    file.write_text(CONFIGURATION.format(rules=rules, port=shop), encoding="utf-8")
    command = [
        *("prometheus", f"--config.file={file}"),
        *(f"--storage.tsdb.path={folder}/data", "--log.level=error"),
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with _running(command, folder, "prometheus"):
        _wait_for(f"http://127.0.0.1:{port}/-/ready")
        yield


@contextmanager
def _load(port: int, folder: str) -> Iterator[None]:
    script = Path(folder, "pages.lua")
    pages = ", ".join(f'"{page}"' for page in PAGES)
    script.write_text(
        f"local pages = {{{pages}}}\n"
        "function request() return wrk.format('GET', pages[math.random(#pages)]) end\n",
        encoding="utf-8",
    )
    command = [
        *("wrk", "--threads", "2", "--connections", "4", "--script", str(script)),
        *(
            "--duration",
            f"{WARM_SECONDS + SECONDS + PATIENCE_SECONDS}s",
            f"http://127.0.0.1:{port}",
        ),
    ]
    with _running(command, folder, "load"):
        yield


@contextmanager
def _running(
    command: list[str],
    folder: str,
    name: str,
    environment: dict[str, str] | None = None,
) -> Iterator[None]:
    with (
        Path(folder, f"{name}.log").open("ab") as log,
        subprocess.Popen(  # noqa: S603  # the commands above
            command, cwd=ROOT, env=environment, stdout=log, stderr=log
        ) as process,
    ):
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_for(url: str) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS):  # noqa: S310
                return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port: int = bound.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
