"""The first steps of a newcomer, in a fresh environment.

Each test has a separate folder and processes. The environment is made once: it has
this package as a wheel, its extra ``flask``, and gunicorn.
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.pages import code_blocks
from tests.test_readme import blocks
from tests.test_readme import FILE_NAMED
from tests.test_readme import OWN_RECEIVER as RECEIVER
from tests.test_readme import QUICKSTART
from tests.test_readme import WSGI

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 60.0

FLASK = ("flask", "--app", "shop", "run", "--debug", "--port", "0")
GUNICORN = ("gunicorn", "--bind", "127.0.0.1:0", "shop:create_app()")

is_offline = re.compile("NewConnectionError|ConnectTimeout|NameResolution").search


def environment_of(**variables: str) -> dict[str, str]:
    """Return variables in which neither our sources nor this run decide anything."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "PYTEST", "COVERAGE", "FLASK", "GUNICORN"))
    }
    kept |= {"PYTHONUNBUFFERED": "1", "FLASK_SKIP_DOTENV": "1"}
    # The README's configuration reads its token from there.
    return {**kept, "SHOP_LIVE_TOKEN": "a-token-of-16-or-more", **variables}


def pip(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, words)],
        env=environment_of(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=4 * PATIENCE_SECONDS,
        check=False,
    )


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the programs of a fresh environment."""
    folder = tmp_path_factory.mktemp("fresh")
    built = pip(
        *("wheel", "--no-deps", "--no-build-isolation", "--no-index"),
        *("--wheel-dir", folder, ROOT),
    )
    (wheel,) = folder.glob("signalpost-*.whl")
    assert built.returncode == 0, built.stdout
    venv.create(folder / "environment", symlinks=os.name != "nt")
    found = folder / "environment" / ("Scripts" if os.name == "nt" else "bin")
    installed = pip(
        *("--python", found / "python", "install"),
        *("--constraint", ROOT / "constraints.txt"),
        *(f"signalpost[flask] @ {wheel.as_uri()}", "gunicorn"),
    )
    if installed.returncode and is_offline(installed.stdout):
        pytest.skip("what Flask needs cannot be downloaded without a network")
    assert installed.returncode == 0, installed.stdout
    return found


def run(
    programs: Path, folder: Path, *words: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a program of the environment to its end."""
    return subprocess.run(
        [programs / words[0], *words[1:]],
        cwd=folder,
        env=environment_of(**variables),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def as_factory(source: str) -> str:
    """Move what a module of the README does into a factory."""
    imports, _, body = source.partition("\n\napp = ")
    inside = textwrap.indent(f"app = {body.strip()}\nreturn app\n", "    ")
    return f"{imports}\n\n\ndef create_app():\n{inside}"


@contextmanager
def started(
    programs: Path, folder: Path, words: tuple[str, ...]
) -> Generator[subprocess.Popen[str]]:
    """Run a program of the environment, and stop all that it has started."""
    process = subprocess.Popen(
        [programs / words[0], *words[1:]],
        cwd=folder,
        env=environment_of(),
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
    """The output of a process, read as it is printed."""

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


def visited(
    programs: Path, folder: Path, words: tuple[str, ...], *patterns: str
) -> str:
    """Serve what is in a folder, ask for its homepage, and wait for some lines."""
    with started(programs, folder, words) as process:
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


# A slow machine shows the time until the headers, too.
SERVED = r"GET / 200 complete \d+\.\d ms (\(headers \d+\.\d ms\) )?5 bytes"
WSGI_LATENCY = rf"^signalpost\.latency: {SERVED}$"
LATENCY = rf"INFO signalpost\.latency {SERVED}$"
REFERRER = r"INFO signalpost\.referrers GET / https://search\.example/results$"

both_servers = pytest.mark.parametrize(
    "words", [FLASK, GUNICORN], ids=["flask", "gunicorn"]
)


def test_the_environment_has_no_more_than_was_installed(
    programs: Path, tmp_path: Path
) -> None:
    code = "import signalpost, flask; print(signalpost.__file__); import pytest"
    result = run(programs, tmp_path, "python", "-c", code)
    assert Path(result.stdout.strip()).is_relative_to(programs.parent)
    assert result.stderr.endswith("No module named 'pytest'\n")


def test_the_wsgi_example_of_the_readme_logs_its_line(
    programs: Path, tmp_path: Path
) -> None:
    (tmp_path / "greeting.py").write_text(WSGI)
    words = (*GUNICORN[:-1], "greeting:application")
    visited(programs, tmp_path, words, WSGI_LATENCY)


@both_servers
def test_the_example_of_the_readme_logs_both_lines_in_a_factory(
    words: tuple[str, ...], programs: Path, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(as_factory(QUICKSTART))
    visited(programs, tmp_path, words, REFERRER, LATENCY)


@pytest.mark.parametrize(
    "words", [FLASK, (*GUNICORN[:-1], "shop:app")], ids=["flask", "gunicorn"]
)
def test_the_example_of_the_readme_logs_both_lines_as_it_is(
    words: tuple[str, ...], programs: Path, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(QUICKSTART)
    visited(programs, tmp_path, words, REFERRER, LATENCY)


CONFIGURED = f"""
import flask
from signalpost.integrations.flask import Signalpost

def create_app():
    app = flask.Flask("shop", root_path=".")
    {FILE_NAMED.strip()}
    Signalpost(app)
    app.add_url_rule("/", "home", lambda: "hello")
    return app
"""


@both_servers
def test_a_configuration_that_shows_no_line_is_explained(
    words: tuple[str, ...], programs: Path, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(CONFIGURED)
    file = tmp_path / "signalpost.toml"
    file.write_text("[signalpost.receivers]\nlatency = true\n")
    text = visited(programs, tmp_path, words, r"^signalpost: the lines of latency")
    assert 'write format = "text" in the section [signalpost]' in text


def available(toml: str) -> str:
    """Leave out of the README's configuration what this environment has not."""
    return "".join(
        line
        for line in toml.splitlines(keepends=True)
        if not line.startswith(("sqlalchemy", "prometheus", '"example_app'))
    )


@both_servers
def test_the_configuration_of_the_readme_logs_its_lines(
    words: tuple[str, ...], programs: Path, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(CONFIGURED)
    file = tmp_path / "signalpost.toml"
    file.write_text(f'[signalpost]\nformat = "text"\n{available(blocks("toml")[0])}')
    text = visited(
        programs,
        tmp_path,
        words,
        REFERRER,
        LATENCY,
    )
    assert "signalpost: the lines" not in text


def test_the_configuration_of_the_readme_names_the_extras_that_it_needs(
    programs: Path, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(CONFIGURED)
    (tmp_path / "signalpost.toml").write_text(blocks("toml")[0])
    for words in (
        ("flask", "--app", "shop", "run", "--port", "0"),
        ("flask", "--app", "shop", "signalpost", "check"),
        (*GUNICORN, "--check-config"),
    ):
        result = run(programs, tmp_path, *words)
        assert result.returncode, result
        assert "pip install 'signalpost[sqlalchemy]'" in result.stderr
        assert "pip install 'signalpost[prometheus]'" in result.stderr
        assert "No module named 'example_app'" in result.stderr
        assert "3 mistakes in the configuration" in result.stderr


OWN_RECEIVER = f"""
{QUICKSTART}

{RECEIVER}

@app.get("/fail")
def fail():
    raise LookupError("no")


app.test_client().get("/fail")
"""


def test_the_receiver_of_the_readme_reports(programs: Path, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(OWN_RECEIVER)
    result = run(programs, tmp_path, "python", "shop.py")
    assert result.stdout == "GET /fail failed in the view: LookupError('no')\n"


def test_the_sessions_of_the_readme_print_what_is_shown(
    programs: Path, tmp_path: Path
) -> None:
    sessions = blocks("pycon")
    (tmp_path / "sessions.txt").write_text("\n".join(sessions))
    result = run(programs, tmp_path, "python", "-m", "doctest", "sessions.txt")
    assert len(sessions) == 2
    assert (result.returncode, result.stdout) == (0, "")


def test_the_commands_of_the_readme_are_installed(
    programs: Path, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(CONFIGURED)
    made = run(programs, tmp_path, "signalpost", "init", "signalpost.toml")
    assert made.stdout.startswith("Wrote signalpost.toml.")
    received = run(programs, tmp_path, "signalpost", "receivers")
    assert "latency" in received.stdout
    assert "pip install 'signalpost[prometheus]'" in received.stdout
    checked = run(programs, tmp_path, "signalpost", "check", "signalpost.toml")
    assert (checked.returncode, checked.stderr) == (0, "")
    for command, expected in (
        ("list", "exchange-closed"),
        ("receivers", "latency"),
        ("check", "latency"),
    ):
        words = ("flask", "--app", "shop", "signalpost", command)
        result = run(programs, tmp_path, *words)
        assert (result.returncode, result.stderr) == (0, "")
        assert expected in result.stdout
    (tmp_path / "wrong.toml").write_text("[signalpost.receivers]\nlatncy = true\n")
    refused = run(programs, tmp_path, "signalpost", "check", "wrong.toml")
    assert refused.returncode == 1
    assert (
        "wrong.toml, line 2, [signalpost.receivers] latncy: unknown" in refused.stderr
    )


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
    "a dict of settings": (
        """
        import flask
        from signalpost.integrations.flask import Signalpost
        app = flask.Flask("shop")
        app.config["SIGNALPOST"] = {"receivers": {"latency": True}}
        Signalpost(app)
        """,
        'unknown key; write app.config["SIGNALPOST_RECEIVERS"] = …',
    ),
    "a package that is missing": (
        """
        import flask
        from signalpost.integrations.flask import Signalpost
        app = flask.Flask("shop")
        app.config["SIGNALPOST_RECEIVERS"] = {"sqlalchemy": True}
        Signalpost(app)
        """,
        "pip install 'signalpost[sqlalchemy]'",
    ),
    "an object around the application": (
        """
        import flask
        from signalpost.integrations.flask import Signalpost
        class Dash: server = flask.Flask("shop")
        app = Dash()
        Signalpost(app)
        """,
        "its application is its attribute 'server': pass that",
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
            "takes 'request', which <NamedSignal 'exchange-closed'> does not send;"
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
        "if it creates the application, call it, and pass its result",
    ),
}


# Each prints the traceback; with --debug, Flask prints it as soon as it is up.
SERVERS = (
    ("flask", "--app", "shop", "run", "--port", "0"),
    FLASK,
    (*GUNICORN[:-1], "shop:app"),
)


@pytest.mark.parametrize(("source", "expected"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_answered_whatever_runs_the_application(
    source: str, expected: str, programs: Path, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(textwrap.dedent(source))
    with (
        started(programs, tmp_path, SERVERS[0]) as flask,
        started(programs, tmp_path, SERVERS[1]) as debugging,
        started(programs, tmp_path, SERVERS[2]) as gunicorn,
    ):
        alone = run(programs, tmp_path, "python", "shop.py")
        for process in (flask, debugging, gunicorn):
            Output(process).find(re.escape(expected))
    assert alone.returncode == 1
    assert expected in alone.stderr.splitlines()[-1]


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
    "the application as the sender of statements": (
        """
        import flask
        from signalpost.integrations.flask import Signalpost
        from signalpost.lifecycle import sql_executed
        app = flask.Flask("shop")
        Signalpost(app)
        def note(sender, statement): pass
        sql_executed.connect(note, app)
        """,
        "applications do not send it, engines do: connect without a sender",
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
    source: str, expected: str, programs: Path, tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text(textwrap.dedent(source))
    result = run(programs, tmp_path, "python", "program.py")
    assert result.returncode == 0
    assert expected in result.stderr
    assert "program.py:" in result.stderr


def test_a_disabled_signalpost_leaves_the_example_as_it_was(
    programs: Path, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(as_factory(QUICKSTART))
    program = """
        import shop
        app = shop.create_app()
        assert "signalpost" not in app.extensions
        assert type(app.wsgi_app).__name__ == "method"
        print(app.test_client().get("/").text)
        """
    (tmp_path / "program.py").write_text(textwrap.dedent(program))
    words = ("python", "program.py")
    result = run(programs, tmp_path, *words, SIGNALPOST_DISABLED="1")
    assert (result.stdout, result.stderr) == ("hello\n", "")


def lines_shown(page: str) -> list[str]:
    """Return patterns of the lines that a page shows."""
    escaped = map(re.escape, "".join(code_blocks(page, "text")).splitlines())
    milliseconds = r"[\\d.]+ ms( \\(.*\\))?"
    timed = (re.sub(r"\d+\\\.\d\\ ms", milliseconds, line) for line in escaped)
    return [line.replace("…", ".*") for line in timed]


def test_the_quickstart_prints_what_it_shows(programs: Path, tmp_path: Path) -> None:
    shop, receiver = code_blocks("quickstart", "python")
    configuration, more = code_blocks("quickstart", "toml")
    served, failed, large = lines_shown("quickstart")
    (tmp_path / "shop.py").write_text(f"{shop}\n\n{receiver}")
    (tmp_path / "signalpost.toml").write_text(configuration + more)
    words = ("flask", "--app", "shop", "run", "--port", "0")
    with started(programs, tmp_path, words) as process:
        output = Output(process)
        port = output.find(r"http://127\.0\.0\.1:(\d+)")[1]
        url = f"http://127.0.0.1:{port}/items/"
        with urllib.request.urlopen(f"{url}4", timeout=PATIENCE_SECONDS) as response:
            assert response.read() == b"25"
        # Another request's lines could be written into these.
        for line in (served, large):
            output.find(line)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{url}0", timeout=PATIENCE_SECONDS)
        refused.value.close()
        output.find(failed)
    session = code_blocks("quickstart", "console")[-1].splitlines()
    result = run(programs, tmp_path, *session[0].split()[1:])
    assert (result.returncode, result.stdout.splitlines()) == (0, session[1:])
