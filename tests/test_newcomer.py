"""What a newcomer does first: each thing in a folder and a process of its own."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import textwrap
import time
import typing as t
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.test_readme import blocks

PATIENCE_SECONDS = 60.0

FLASK = ("flask", "--app", "shop", "run", "--debug", "--port", "0")
GUNICORN = ("gunicorn", "--bind", "127.0.0.1:0", "shop:create_app()")


def as_factory(source: str) -> str:
    """Move what a module of the README does into a factory."""
    imports, _, body = source.partition("\n\napp = ")
    inside = textwrap.indent(f"app = {body.strip()}\nreturn app\n", "    ")
    return f"{imports}\n\n\ndef create_app():\n{inside}"


@contextmanager
def started(folder: Path, words: tuple[str, ...]) -> Generator[subprocess.Popen[str]]:
    """Run a command of this environment, and stop all that it has started."""
    command = [str(Path(sys.executable).parent / words[0]), *words[1:]]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "FLASK_SKIP_DOTENV": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.communicate(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


class Output:
    """What a process prints, read as it comes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self._descriptor = process.stdout.fileno()
        self.text = ""

    def find(self, pattern: str) -> re.Match[str]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (found := re.search(pattern, self.text, re.M)) is None:
            left = max(deadline - time.monotonic(), 0)
            ready, _, _ = select.select([self._descriptor], [], [], left)
            chunk = os.read(self._descriptor, 65_536) if ready else b""
            assert chunk, f"{pattern} did not come:\n{self.text}"
            self.text += chunk.decode("utf-8", "replace")
        return found


def visited(folder: Path, words: tuple[str, ...], *patterns: str) -> str:
    """Serve what is in a folder, ask for its homepage, and wait for some lines."""
    with started(folder, words) as process:
        output = Output(process)
        port = output.find(r"http://127\.0\.0\.1:(\d+)")[1]
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/",
            headers={"Referer": "https://search.example/results?q=mug"},
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:
            assert response.read() == b"hello"
        for pattern in patterns:
            output.find(pattern)
    return output.text


LINES = (
    r"^signalpost\.referrers: GET / https://search\.example/results$",
    r"^signalpost\.latency: GET / 200 complete \d+\.\d ms 5 bytes$",
)


@pytest.mark.parametrize("words", [FLASK, GUNICORN], ids=["flask", "gunicorn"])
def test_the_example_of_the_readme_logs_both_lines_in_a_factory(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(as_factory(blocks("python")[1]))
    visited(tmp_path, words, *LINES)


@pytest.mark.parametrize(
    "words", [FLASK, (*GUNICORN[:-1], "shop:app")], ids=["flask", "gunicorn"]
)
def test_the_example_of_the_readme_logs_both_lines_as_it_is(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(blocks("python")[1])
    visited(tmp_path, words, *LINES)


CONFIGURED = """
import flask
from signalpost.integrations.flask import Signalpost

def create_app():
    app = flask.Flask("shop", root_path=".")
    app.config["SIGNALPOST_CONFIG"] = "signalpost.toml"
    Signalpost(app)
    app.add_url_rule("/", "home", lambda: "hello")
    return app
"""


@pytest.mark.parametrize("words", [FLASK, GUNICORN], ids=["flask", "gunicorn"])
def test_a_configuration_that_shows_no_line_is_explained(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(CONFIGURED)
    file = tmp_path / "signalpost.toml"
    file.write_text("[signalpost.receivers]\nlatency = true\n")
    text = visited(tmp_path, words, r"^signalpost: the lines of latency")
    assert 'write format = "text" in the section [signalpost]' in text
    file.write_text(
        '[signalpost]\nformat = "text"\n\n[signalpost.receivers]\nlatency = true\n'
    )
    text = visited(tmp_path, words, r"GET / 200 complete \d+\.\d ms 5 bytes$")
    assert "signalpost: the lines" not in text


def last_line(folder: Path, source: str, **environment: str) -> str:
    """Run a program that fails, and return the last line of what it prints."""
    (folder / "program.py").write_text(textwrap.dedent(source))
    result = subprocess.run(
        [sys.executable, "program.py"],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1, result.stderr
    return result.stderr.strip().splitlines()[-1]


MISTAKES: dict[str, tuple[str, str]] = {
    "a wrong import": (
        "from signalpost import Signalpost",
        (
            "ImportError: signalpost has no Signalpost; write: from"
            " signalpost.integrations.flask import Signalpost"
        ),
    ),
    "a misspelt receiver": (
        """
        import flask
        from signalpost.integrations.flask import Signalpost
        app = flask.Flask("shop")
        app.config["SIGNALPOST_RECEIVERS"] = {"latncy": True}
        Signalpost(app)
        """,
        "unknown receiver 'latncy'; known are",
    ),
    "a misspelt key": (
        """
        import flask
        from signalpost.integrations.flask import Signalpost
        app = flask.Flask("shop")
        app.config["SIGNALPOST_RECIEVERS"] = {"latency": True}
        Signalpost(app)
        """,
        "SIGNALPOST_RECEIVERS",
    ),
    "a layer in the application's place": (
        """
        import flask
        from signalpost import SignalMiddleware
        app = SignalMiddleware(flask.Flask("shop"))
        app.route("/")
        """,
        (
            "AttributeError: a SignalMiddleware has no 'route'; its application has:"
            " keep that object, and put the layer into it, as in app.wsgi_app ="
            " SignalMiddleware(app)"
        ),
    ),
    "a setup that is made twice": (
        """
        import flask
        from signalpost.integrations.flask import Signalpost
        app = flask.Flask("shop")
        Signalpost(app).init_app(app)
        """,
        "set up by Signalpost already; call init_app once for each application",
    ),
    "a receiver that is called": (
        """
        from signalpost.lifecycle import exchange_closed
        def note(sender, exchange): pass
        exchange_closed.connect(note(None, None))
        """,
        "receiver must be callable, got None; pass the function itself, not its result",
    ),
    "a wrong parameter": (
        """
        from signalpost.lifecycle import exchange_closed
        def note(sender, request): pass
        exchange_closed.connect(note)
        """,
        (
            "asks for 'request', which <NamedSignal 'exchange-closed'> does not send;"
            " it sends environ, exchange"
        ),
    ),
    "a factory instead of the application": (
        """
        import flask
        from signalpost.integrations.flask import Signalpost
        def create_app(): return flask.Flask("shop")
        Signalpost(create_app)
        """,
        "if it makes the application, call it, and pass what it returns",
    ),
}


@pytest.mark.parametrize(("source", "expected"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_answered_in_the_last_line(
    source: str, expected: str, tmp_path: Path
) -> None:
    assert expected in last_line(tmp_path, source)


WARNINGS: dict[str, tuple[str, str]] = {
    "a string as the sender": (
        """
        from signalpost import SignalMiddleware
        from signalpost.lifecycle import exchange_closed
        def note(sender, exchange): pass
        exchange_closed.connect(note, "shop")
        """,
        (
            "SenderWarning: __main__.note was connected to 'shop'; a string sends no"
            " signals: write named('shop') for the application"
        ),
    ),
    "an object that dies": (
        """
        from signalpost.lifecycle import exchange_closed
        from signalpost.receivers.latency import LatencyLogger
        exchange_closed.connect(LatencyLogger())
        """,
        "keep it in a variable or connect it with weak=False",
    ),
}


@pytest.mark.parametrize(("source", "expected"), WARNINGS.values(), ids=WARNINGS.keys())
def test_a_mistake_that_is_no_error_is_warned_of(
    source: str, expected: str, tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text(textwrap.dedent(source))
    result = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert expected in result.stderr
    assert "program.py:" in result.stderr


def test_a_disabled_signalpost_leaves_the_example_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(as_factory(blocks("python")[1]))
    program = """
        import shop
        app = shop.create_app()
        assert "signalpost" not in app.extensions
        assert type(app.wsgi_app).__name__ == "method"
        print(app.test_client().get("/").text)
        raise SystemExit(1)
        """
    environment: dict[str, t.Any] = {"SIGNALPOST_DISABLED": "1"}
    (tmp_path / "program.py").write_text(textwrap.dedent(program))
    result = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.stdout, result.stderr) == ("hello\n", "")
