"""The lines of receivers in a server's standard error."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from pathlib import Path

import pytest

pty = pytest.importorskip("pty", reason="this system has no pseudo-terminals")

PATIENCE_SECONDS = 30.0
SHOP = """
import os
import flask
from signalpost.integrations.flask import Signalpost

def create_app():
    app = flask.Flask("shop")
    app.config["SIGNALPOST_RECEIVERS"] = {"latency": True, "referrers": True}
    app.config["SIGNALPOST_FORMAT"] = os.environ.get("SHOP_FORMAT")
    Signalpost(app)
    app.add_url_rule("/", "home", lambda: "mug")
    return app
"""
FLASK = ("flask", "--app", "shop", "run", "--port", "0")
GUNICORN = ("gunicorn", "--bind", "127.0.0.1:0", "shop:create_app()")
SERVERS = pytest.mark.parametrize("words", [FLASK, GUNICORN], ids=["flask", "gunicorn"])


class Served:
    """A server whose standard error is read as it is written."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.text = ""

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read until a pattern is found."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (found := re.search(pattern, self.text)) is None:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self._descriptor], [], [], max(left, 0))
            assert ready, f"{pattern} did not come: {self.text}"
            assert self._read(), f"{pattern} did not come: {self.text}"
        return found

    def read_to_end(self) -> None:
        while self._read():
            pass

    def _read(self) -> bool:
        try:
            data = os.read(self._descriptor, 4096)
        except OSError:  # the other end of a pseudo-terminal is closed
            return False
        self.text += data.decode()
        return bool(data)

    def get(self, path: str) -> None:
        port = self.wait_for(r"http://127\.0\.0\.1:(\d+)")[1]
        try:
            response = urllib.request.urlopen(f"http://127.0.0.1:{port}{path}")
        except urllib.error.HTTPError as error:
            response = error
        # To its end: Werkzeug's server may not close what a client has reset.
        with response:
            response.read()


@contextlib.contextmanager
def served(
    words: tuple[str, ...], folder: Path, *, is_terminal: bool, **environ: str
) -> Generator[Served]:
    pytest.importorskip(words[0], reason=f"{words[0]} is not installed")
    (folder / "shop.py").write_text(SHOP)
    reader, writer = pty.openpty() if is_terminal else os.pipe()
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in ("NO_COLOR", "FORCE_COLOR")
    }
    process = subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=folder,
        env={**inherited, "TERM": "xterm", **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=writer,
    )
    os.close(writer)
    server = Served(reader)
    try:
        yield server
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_SECONDS)
        server.read_to_end()
    finally:
        process.kill()
        process.wait()
        os.close(reader)


@SERVERS
def test_lines_are_coloured_on_a_terminal(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    with served(words, tmp_path, is_terminal=True, SHOP_FORMAT="text") as server:
        server.get("/")
        server.get("/%1b%5b31mnone")
        server.wait_for(r"latency GET / \x1b\[32m200\x1b\[0m complete")
        server.wait_for(r"latency GET /\\x1b\[31mnone \x1b\[33m404\x1b\[0m complete")


@SERVERS
def test_lines_are_plain_in_a_pipe(words: tuple[str, ...], tmp_path: Path) -> None:
    with served(words, tmp_path, is_terminal=False, SHOP_FORMAT="text") as server:
        server.get("/")
        server.wait_for(r"latency GET / 200 complete")


@pytest.mark.parametrize(
    "environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"SHOP_FORMAT": "logfmt"}]
)
def test_a_terminal_may_want_no_colours(
    environ: dict[str, str], tmp_path: Path
) -> None:
    values = {"SHOP_FORMAT": "text", **environ}
    with served(GUNICORN, tmp_path, is_terminal=True, **values) as server:
        server.get("/")
        server.wait_for(r"signalpost\.latency.*200.*\n")
        assert "\x1b" not in server.text


@SERVERS
def test_one_line_explains_that_lines_are_not_shown(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    with served(words, tmp_path, is_terminal=False) as server:
        for _ in range(3):
            server.get("/")
        # It is written as a request closes, after its client has the response.
        server.wait_for(r"signalpost: the lines of .*\n")
    lines = server.text.splitlines()
    (line,) = [one for one in lines if one.startswith("signalpost")]
    assert line == (
        "signalpost: the lines of latency and referrers (INFO) are shown nowhere:"
        " logging has no handler and the root logger's level is WARNING; write"
        ' app.config["SIGNALPOST_FORMAT"] = "text" before Signalpost(app), or call'
        " logging.basicConfig(level=logging.INFO)"
    )
