from __future__ import annotations

import errno
import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

PATIENCE_SECONDS = 30
ROOT = Path(__file__).parents[2]


class Server:
    """A running ``python -m example_app`` and the lines that it has written."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._unread: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        address = r"(?:\[\d+\] )?example_app serving on (http://127\.0\.0\.1:\d+) "
        self.url = self.wait_for(address)

    def wait_for(self, pattern: str) -> str:
        """Read lines until one matches; return its first group, or all of it."""
        while True:
            line = self._unread.get(timeout=PATIENCE_SECONDS)
            assert line is not None, f"ended without {pattern!r}: {self.lines}"
            self.lines.append(line)
            if match := re.match(pattern, line):
                return match[match.lastindex or 0]

    def stop(self, by: signal.Signals) -> int:
        """Return the exit code; every line is read then."""
        self.process.send_signal(by)
        code = self.process.wait(PATIENCE_SECONDS)
        self._reader.join(PATIENCE_SECONDS)
        while line := self._unread.get(timeout=PATIENCE_SECONDS):
            self.lines.append(line)
        return code

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._unread.put(line.rstrip("\n"))
        self._unread.put(None)


BY_ITSELF = ("example_app",)
BY_GUNICORN = ("gunicorn", "--config", "example_app/gunicorn_conf.py")


@contextmanager
def started(
    tmp_path: Path, module: tuple[str, ...] = BY_ITSELF, /, **environment: str
) -> Generator[subprocess.Popen[str]]:
    own = {"SHOP_DATABASE": str(tmp_path / "shop.sqlite"), "PYTHONUNBUFFERED": ""}
    with subprocess.Popen(
        [sys.executable, "-m", *module],
        cwd=ROOT,
        env=os.environ | own | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def refusal(tmp_path: Path, port: str, **environment: str) -> str:
    """Return what a start on this port writes to stderr."""
    with started(tmp_path, PORT=port, **environment) as process:
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1
    assert out == ""
    assert not (tmp_path / "shop.sqlite").exists()
    return err


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_and_prints_its_address(tmp_path: Path, by: signal.Signals) -> None:
    with started(tmp_path, PORT="0") as process:
        server = Server(process)
        asked = urllib.request.Request(
            server.url, headers={"Referer": "https://search.example/results?q=secret"}
        )
        with urllib.request.urlopen(asked, timeout=PATIENCE_SECONDS) as answer:
            assert "Brass bell" in answer.read().decode()
        server.wait_for("signalpost.latency ")
        code = server.stop(by)
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert code == 0
    # A slow machine may be recorded when the headers left.
    without_figures = re.compile(r"( \(headers [\d.]+ ms\))|[\d.]+(?= ms| bytes)")
    assert [
        without_figures.sub(lambda found: "" if found[1] else "N", line)
        for line in server.lines[2:]
    ] == [
        "signalpost.referrers GET / https://search.example/results",
        "example_app rendered catalogue.html",
        "signalpost.latency GET / 200 complete N ms N bytes 1 statement in N ms",
    ]


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as answer:
        return str(answer.read().decode())


def test_failure_is_reported_by_its_receiver_alone(tmp_path: Path) -> None:
    with started(tmp_path, PORT="0") as process:
        server = Server(process)
        with pytest.raises(urllib.error.HTTPError, match="500") as refused:
            get(f"{server.url}/fail")
        # Werkzeug may leave a response open whose client leaves before its end.
        with refused.value as answer:
            assert "Something broke on our side" in answer.read().decode()
        server.wait_for(r"signalpost\.latency GET /fail 500 ")
        server.stop(signal.SIGTERM)
    recorded = [line for line in server.lines if "CollapsedShelfError: a shelf" in line]
    assert len(recorded) == 1
    assert recorded[0].startswith("  ")


def test_page_that_repeats_a_statement_is_reported(tmp_path: Path) -> None:
    with started(tmp_path, PORT="0") as process:
        server = Server(process)
        assert "The guard did not." in get(f"{server.url}/reviews")
        server.wait_for(r"signalpost\.latency GET /reviews 200 .* 9 statements in ")
        server.stop(signal.SIGTERM)
    (recorded,) = [line for line in server.lines if line.startswith("signalpost.sql ")]
    assert recorded.startswith("signalpost.sql GET /reviews repeated 6 times at=")
    template = ROOT / "example_app" / "templates" / "reviews.html"
    place = re.search(r"at=(\S+):(\d+):", recorded)
    assert place is not None
    assert Path(place[1]) == template
    line = template.read_text(encoding="utf-8").splitlines()[int(place[2]) - 1]
    assert "in product.reviews" in line


def test_behind_gunicorn_the_workers_signals_are_reported(tmp_path: Path) -> None:
    with started(tmp_path, BY_GUNICORN, PORT="0") as process:
        server = Server(process)
        assert "Brass bell" in get(server.url)
        # A worker that has just been forked may lose a signal that asks it to stop.
        begun = r"\[\d+\] example_app post-worker-init"
        while sum(re.match(begun, line) is not None for line in server.lines) < 2:
            server.wait_for(begun)
        closed = r"\[\d+\] signalpost\.latency GET / 200 complete "
        if not any(re.match(closed, line) for line in server.lines):
            server.wait_for(closed)
        code = server.stop(signal.SIGTERM)
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert code == 0
    said = [line.partition(" example_app ")[2] for line in server.lines]
    for moment in ("post-fork worker", "worker-exit worker", "child-exit worker"):
        workers = {line.split()[-1] for line in said if line.startswith(moment)}
        assert len(workers) == 2
    assert said[-1] == "on-exit"


@pytest.mark.parametrize("module", [BY_ITSELF, BY_GUNICORN])
def test_the_live_page_opens_by_its_link(
    tmp_path: Path, module: tuple[str, ...]
) -> None:
    with started(tmp_path, module, PORT="0") as process:
        server = Server(process)
        links = [line for line in server.lines if "its live page is" in line]
        link, _, token = links[0].rpartition(" ")[2].partition("#token=")
        get(f"{server.url}/products/brass-bell")
        asked = urllib.request.Request(
            f"{link}data.json", headers={"Authorization": f"Bearer {token}"}
        )
        # A client may have the response before the server has closed it.
        for _ in range(100):
            with urllib.request.urlopen(asked, timeout=PATIENCE_SECONDS) as answer:
                routes = json.loads(answer.read())["routes"]
            if found := [row for row in routes if row["route"] == "/products/<slug>"]:
                break
            time.sleep(0.05)
        server.stop(signal.SIGTERM)
    assert link == f"{server.url}/_signalpost/"
    (route,) = found
    assert route["requests_since_start"] >= 1


def test_the_live_page_is_closed_without_the_token(tmp_path: Path) -> None:
    with started(tmp_path, PORT="0") as process:
        server = Server(process)
        assert "/_signalpost/" in get(server.url)
        with pytest.raises(urllib.error.HTTPError, match="401") as refused:
            get(f"{server.url}/_signalpost/")
        refused.value.close()
        server.stop(signal.SIGTERM)


def test_another_file_chooses_other_receivers_and_their_format(tmp_path: Path) -> None:
    config = tmp_path / "other.toml"
    config.write_text(
        '[signalpost]\nformat = "json"\n[signalpost.receivers]\nlatency = true\n'
    )
    with started(
        tmp_path, PORT="0", SHOP_SIGNALPOST_CONFIG=str(config), PYTHONUNBUFFERED="1"
    ) as process:
        server = Server(process)
        page = get(f"{server.url}/cart")
        assert process.stderr is not None
        recorded = json.loads(process.stderr.readline())
        server.stop(signal.SIGTERM)
    assert "/_signalpost/" not in page
    assert (recorded["route"], recorded["status"]) == ("/cart", 200)
    assert len(server.lines) == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[signalpost.receivers]\nlatencies = true\n", "did you mean 'latency'?"),
        ("[signalpost.receivers]\nlatency = {slow = 1}\n", "unknown option 'slow'"),
        ("[signalpost]\nauto-import = ['example_app.audits']\n", "cannot be imported"),
        (
            "signalpost.auto-import = ['example_app.audit']\nshop.audit.routes = '/'\n",
            "routes must be a list",
        ),
        ("[signalpost\n", "not TOML"),
    ],
)
def test_mistake_in_the_file_is_reported_in_one_line(
    tmp_path: Path, text: str, reason: str
) -> None:
    config = tmp_path / "wrong.toml"
    config.write_text(text)
    err = refusal(tmp_path, "0", SHOP_SIGNALPOST_CONFIG=str(config))
    assert err.startswith("example_app: ")
    assert reason in err
    assert err.count("\n") == 1


def run_command(tmp_path: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "example_app", *arguments],
        cwd=ROOT,
        env=os.environ | {"SHOP_DATABASE": str(tmp_path / "shop.sqlite")},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout


def test_commands_of_the_readme_know_the_shop(tmp_path: Path) -> None:
    listed = run_command(tmp_path, "signalpost", "list")
    receivers = run_command(tmp_path, "signalpost", "receivers")
    checked = run_command(tmp_path, "signalpost", "check")
    assert "  example_app.audit:AuditLogger  strong  " in listed
    assert "on  latency(slow_seconds=None" in receivers
    assert checked.startswith("The configuration is right; it enables latency, ")


def test_port_in_use_is_reported_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        err = refusal(tmp_path, str(port))
    reason = os.strerror(errno.EADDRINUSE)
    assert err == (
        f"example_app: cannot serve on 127.0.0.1:{port}: {reason};"
        " choose another port, as in PORT=8000\n"
    )


@pytest.mark.parametrize(
    "port", ["http", "-1", "65536", "80.5", "\N{SUPERSCRIPT TWO}", " ", "0000000065536"]
)
def test_bad_port_is_reported_in_one_line(tmp_path: Path, port: str) -> None:
    err = refusal(tmp_path, port)
    assert err.startswith("example_app: PORT must be a number from 0 to 65535, got ")
    assert err.count("\n") == 1
