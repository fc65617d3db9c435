from __future__ import annotations

import errno
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
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
        self.url = self.wait_for(r"example_app serving on (http://127\.0\.0\.1:\d+) ")

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


@contextmanager
def started(tmp_path: Path, **environment: str) -> Generator[subprocess.Popen[str]]:
    own = {"SHOP_DATABASE": str(tmp_path / "shop.sqlite"), "PYTHONUNBUFFERED": ""}
    with subprocess.Popen(
        [sys.executable, "-m", "example_app"],
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


def refusal(tmp_path: Path, port: str) -> str:
    """Return what a start on this port writes to stderr."""
    with started(tmp_path, PORT=port) as process:
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1
    assert out == ""
    assert not (tmp_path / "shop.sqlite").exists()
    return err


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_serves_and_says_what_it_is_doing(tmp_path: Path, by: signal.Signals) -> None:
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
    assert [re.sub(r"[\d.]+ ms \d+", "N ms N", line) for line in server.lines[1:]] == [
        "signalpost.referrers GET / https://search.example/results",
        "example_app rendered catalogue.html",
        "signalpost.latency GET / 200 complete N ms N bytes",
    ]


def test_port_in_use_is_told_in_one_line(tmp_path: Path) -> None:
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
def test_bad_port_is_told_in_one_line(tmp_path: Path, port: str) -> None:
    err = refusal(tmp_path, port)
    assert err.startswith("example_app: PORT must be a number from 0 to 65535, got ")
    assert err.count("\n") == 1
