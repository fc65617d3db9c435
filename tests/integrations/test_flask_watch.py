from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import typing as t
from collections.abc import Callable
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.client import HTTPConnection
from pathlib import Path

import pytest

from signalpost.lifecycle import catalogue
from tests.missing import needs
from tests.ports import free_port
from tests.short_folders import short_folder

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 20.0
SHOP = """
import pathlib
import os
import time

import flask

from signalpost.integrations.flask import Signalpost

app = flask.Flask("shop")
app.config["SIGNALPOST_RECEIVERS"] = {"watch": True, "latency": {"slow_seconds": 0.5}}
Signalpost(app)


@app.get("/")
def home():
    return "hello"


@app.get("/meet/<int:number>")
def meet(number):
    # Answers once two processes have been asked, so that each has one request.
    folder = pathlib.Path(__file__).parent
    (folder / f"{os.getpid()}.came").touch()
    until = time.monotonic() + 10
    while len([*folder.glob("*.came")]) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    return "met"
"""
# A shell may have had Python ignore what Ctrl-C sends.
FLASK = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    "{} from flask.cli import main; main()"
)
CLOSED = ("--signal", "exchange-closed")
SIGNALS = tuple(catalogue)

in_tmux = needs("tmux", "tmux")


def environment(*, is_measured: bool = True) -> dict[str, str]:
    own = {
        name: value
        for name, value in os.environ.items()
        # A killed process must not leave half a file of coverage.
        if (is_measured or not name.startswith("COVERAGE_"))
        and name not in ("NO_COLOR", "PYTHONWARNINGS", "TMUX")
    }
    return own | {"PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1"}


def is_so_soon(is_so: Callable[[], bool]) -> bool:
    """Wait a little for a condition, and return whether it is true."""
    deadline = time.monotonic() + PATIENCE_SECONDS / 5
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.01)
    return is_so()


def until(is_so: Callable[[], bool]) -> None:
    """Wait for a condition that nothing else reports."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "it has not come true in time"
        time.sleep(0.02)


@pytest.fixture
def folder() -> Generator[Path]:
    with short_folder() as folder:
        (folder / "shop.py").write_text(SHOP)
        yield folder


def sockets_in(folder: Path) -> list[Path]:
    return [*(folder / "instance" / "signalpost-watch").glob("*")]


class Watching:
    """``flask signalpost watch`` in a separate process, and its lines so far.

    :param reads: After how many lines the pipe is closed.
    :param ignores: The signal of the system that is ignored from the start.
    """

    def __init__(
        self,
        folder: Path,
        *words: str,
        reads: int | None = None,
        ignores: str | None = None,
    ) -> None:
        self.lines: list[str] = []
        self.notes: list[str] = []
        ignore = f"signal.signal(signal.{ignores}, signal.SIG_IGN);" if ignores else ""
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-c", FLASK.format(ignore), "--app", "shop"),
                *("signalpost", "watch", *words),
            ],
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._threads = [
            threading.Thread(target=_keep, args=arguments, daemon=True)
            for arguments in (
                (self.process.stdout, self.lines, reads),
                (self.process.stderr, self.notes, None),
            )
        ]

    def __enter__(self) -> t.Self:
        for thread in self._threads:
            thread.start()
        with contextlib.ExitStack() as stack:
            stack.callback(self.__exit__)
            until(lambda: any(one.startswith("Watching") for one in self.notes))
            stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_SECONDS)

    def end_by(self, number: int) -> int:
        """Send a signal of the system, and return the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE_SECONDS)
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)
        return code

    def has_shown(self, text: str) -> bool:
        """Return whether a text is in one of the lines."""
        return any(text in line for line in self.lines)

    def has_missed(self, count: int) -> bool:
        return len(self.missed()) >= count

    def missed(self) -> set[str]:
        """Return the paths that no page was found for, as they are shown."""
        return {line.split()[3] for line in self.lines if " 404 " in line}

    def shown(self) -> list[str]:
        """Return the lines without the time."""
        return [line.partition(" ")[2] for line in self.lines]


def _keep(stream: t.TextIO, lines: list[str], reads: int | None) -> None:
    with stream:
        while len(lines) != reads and (line := stream.readline()):
            lines.append(line.rstrip("\n"))


def tell(folder: Path, *messages: bytes | dict[str, t.Any]) -> None:
    """Send to each watcher, as a server would."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
        for path in sockets_in(folder):
            for one in messages:
                data = one if isinstance(one, bytes) else json.dumps(one).encode()
                link.sendto(data, str(path))


class Served:
    """A real server of the shop, in a separate process."""

    def __init__(self, folder: Path, port: int, *command: str) -> None:
        self._port = port
        self._log = (folder / "server.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=folder,
            env=environment(is_measured=False),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def __enter__(self) -> t.Self:
        with contextlib.ExitStack() as stack:
            stack.callback(self.__exit__)
            until(self._is_accepting)
            stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(PATIENCE_SECONDS)
        finally:
            self._process.kill()
            self._process.wait(PATIENCE_SECONDS)
            self._log.close()

    def _is_accepting(self) -> bool:
        assert self._process.poll() is None, "the server has ended"
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
            return True
        return False

    def get(self, path: str) -> int:
        link = HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_SECONDS)
        try:
            link.request("GET", path)
            return link.getresponse().status
        finally:
            link.close()

    def get_until(self, path: str, is_so: Callable[[], bool]) -> None:
        """Ask again and again: a server looks for watchers once a second."""

        def ask() -> bool:
            self.get(path)
            return is_so()

        until(ask)


def development(folder: Path, port: int | None = None) -> Served:
    port = port or free_port()
    return Served(folder, port, "flask", "--app", "shop", "run", "--port", str(port))


def two_workers(folder: Path) -> Served:
    port = free_port()
    return Served(
        *(folder, port, "gunicorn", "shop:app", "--bind", f"127.0.0.1:{port}"),
        *("--workers", "2", "--no-control-socket", "--graceful-timeout", "1"),
    )


class Terminal:
    """A shell in tmux."""

    def __init__(self, folder: Path, columns: int = 60) -> None:
        self._columns = str(columns)
        self._command = ["tmux", "-u", "-f", "/dev/null", "-S", str(folder / "tmux")]
        self._folder = folder

    def __enter__(self) -> t.Self:
        shell = ["env", "PS1=READY> ", "ENV=", "sh"]
        self._run("new-session", "-d", "-x", self._columns, "-y", "60", *shell)
        with contextlib.ExitStack() as stack:
            stack.callback(self.__exit__)
            until(lambda: self.screen().startswith("READY>"))
            stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._run("kill-server")

    def _run(self, *words: str) -> str:
        done = subprocess.run(
            [*self._command, *words],
            cwd=self._folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=True,
        )
        return done.stdout

    def type(self, *keys: str) -> None:
        self._run("send-keys", *keys)

    def screen(self, *options: str) -> str:
        return self._run("capture-pane", "-p", *options).rstrip("\n")

    def flask(self, words: str) -> None:
        self._python("flask", f"--app shop signalpost {words}")

    def signalpost(self, words: str) -> None:
        self._python("signalpost", words)

    def _python(self, module: str, words: str) -> None:
        script = self._folder / module
        if not script.exists():
            script.write_text(f'exec "{sys.executable}" -m {module} "$@"\n')
        self.type(f"clear; sh ./{module} {words}; echo code $?", "Enter")

    def until_code(self, code: int) -> list[str]:
        """Return the lines of a command that has ended with a code."""
        until(lambda: f"code {code}" in self.screen())
        # Its beginning may have left the screen.
        lines = self.screen("-S", "-").splitlines()
        return lines[: lines.index(f"code {code}")]


def test_requests_of_a_development_server_are_shown_to_each_watcher(
    folder: Path,
) -> None:
    with (
        development(folder) as server,
        Watching(folder, *CLOSED) as watching,
        Watching(folder, *CLOSED, "--status", "4xx", "--path", "/n*") as filtered,
    ):
        server.get_until("/", lambda: len(watching.lines) > 0)
        server.get_until("/never", lambda: len(filtered.lines) > 0)
        # A watcher may be too slow for one, which is then dropped for it.
        for one in (filtered, watching):
            server.get_until("/nowhere?secret=1", partial(one.has_shown, "/nowhere"))
        assert server.get("/nowhere?secret=1") == 404
    seen = [line.rpartition(" complete ")[0] for line in watching.shown()]
    assert set(seen) == {
        "exchange-closed GET / 200",
        "exchange-closed GET /never 404",
        "exchange-closed GET /nowhere 404",
    }
    seen = [line.rpartition(" complete ")[0] for line in filtered.shown()]
    assert set(seen) == {
        "exchange-closed GET /never 404",
        "exchange-closed GET /nowhere 404",
    }


def test_a_server_that_is_restarted_is_followed(folder: Path) -> None:
    port = free_port()
    with Watching(folder, *CLOSED) as watching:
        for path in ("/before", "/after"):
            with development(folder, port) as server:
                server.get_until(path, partial(watching.has_shown, path))


def test_both_workers_of_gunicorn_are_followed(folder: Path) -> None:
    with (
        Watching(folder, *CLOSED) as watching,
        two_workers(folder) as server,
        ThreadPoolExecutor(2) as threads,
    ):
        # Each of them looks for watchers when it receives its first signal.
        def have_met() -> bool:
            """Ask both at once, and again if need be: some may be dropped."""
            for file in folder.glob("*.came"):
                file.unlink()
            watching.lines.clear()
            codes = [*threads.map(server.get, ["/meet/1", "/meet/2"])]
            assert codes == [200, 200]
            assert len([*folder.glob("*.came")]) == 2
            return is_so_soon(lambda: len(watching.lines) == 2)

        until(have_met)
    seen = [line.rpartition(" complete ")[0] for line in watching.shown()]
    assert sorted(seen) == [
        "exchange-closed GET /meet/1 200",
        "exchange-closed GET /meet/2 200",
    ]


def test_hostile_paths_of_a_server_give_one_line_each(folder: Path) -> None:
    paths = ["/%1b%5b31mred", "/a%0d%0ab", "/%e2%80%a8", "/%c2%9b", "/" + "x" * 60_000]
    with development(folder) as server, Watching(folder, *CLOSED) as watching:
        server.get_until("/", lambda: len(watching.lines) > 0)
        # One after the other, and again if need be: what finds no room is dropped.
        for count, path in enumerate(paths, 1):
            server.get_until(path, partial(watching.has_missed, count))
    *escaped, long = sorted(watching.missed())
    assert escaped == sorted([r"/\x1b[31mred", r"/a\r\nb", r"/\u2028", r"/\x9b"])
    assert long.startswith("/xxx")
    assert all(line.isprintable() and len(line) < 700 for line in watching.lines)


def test_broken_messages_are_no_end(folder: Path) -> None:
    with Watching(folder) as watching:
        tell(folder, b"", b"\xff\x00", b"{", b"[1]", b'{"no": "signal"}', b"[" * 8000)
        tell(folder, {"signal": {}}, {"signal": "last"})
        until(lambda: "- last" in watching.lines)
        assert watching.lines == ["- -", "- last"]
        assert watching.process.poll() is None


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=["Ctrl-C", "SIGTERM", "closed-terminal"],
)
def test_what_ends_it_leaves_nothing_behind(
    folder: Path, number: int, code: int
) -> None:
    with Watching(folder) as watching:
        assert len(sockets_in(folder)) == 1
        assert watching.end_by(number) == code
    assert sockets_in(folder) == []
    notes = "".join(watching.notes)
    assert "Traceback" not in notes
    assert notes.endswith("(Ctrl-C ends it)")


def test_a_second_ctrl_c_interrupts_no_cleaning_up(folder: Path) -> None:
    with Watching(folder) as watching:
        for _ in range(3):
            watching.process.send_signal(signal.SIGINT)
        assert watching.end_by(signal.SIGINT) == 0
    assert sockets_in(folder) == []
    assert "Aborted" not in "".join(watching.notes)


def test_what_nohup_protects_goes_on(folder: Path) -> None:
    with Watching(folder, ignores="SIGHUP") as watching:
        watching.process.send_signal(signal.SIGHUP)
        tell(folder, {"signal": "still"})
        until(lambda: watching.lines == ["- still"])
        assert watching.end_by(signal.SIGTERM) == 143


def test_a_pipe_that_is_closed_ends_it_without_a_word(folder: Path) -> None:
    with Watching(folder, reads=1) as watching:
        tell(folder, {"signal": "first"}, {"signal": "second"})
        until(lambda: watching.lines == ["- first"])
        # The second may have been printed before the pipe was closed.
        with contextlib.suppress(OSError):
            tell(folder, {"signal": "third"})
        assert watching.process.wait(PATIENCE_SECONDS) == 1
    assert sockets_in(folder) == []
    assert len(watching.notes) == 1


@in_tmux
def test_a_terminal_shows_it_in_colour_until_ctrl_c(folder: Path) -> None:
    with Terminal(folder) as terminal, development(folder) as server:
        terminal.flask("watch --signal exchange-closed")
        until(lambda: "(Ctrl-C ends it)" in " ".join(terminal.screen("-J").split()))
        server.get_until("/", lambda: "GET / 200" in terminal.screen())
        # Again if need be: what finds no room is dropped.
        hostile = "/%1b%5b2J%1b%5bH"
        server.get_until(hostile, lambda: "404 complete" in terminal.screen("-J"))
        coloured = terminal.screen("-e", "-J")
        terminal.type("C-c")
        until(lambda: terminal.screen().endswith("READY>"))
        plain = [line.rstrip() for line in terminal.screen("-J").splitlines()]
    # Broken between words, where depends on the length of the path.
    words = " ".join(plain).split()
    assert words[:2] == ["Watching", f"{folder}/instance/signalpost-watch"]
    assert any("exchange-closed GET / 200 complete" in line for line in plain)
    assert "\x1b[32mcomplete\x1b[39m" in coloured
    assert any(r"GET /\x1b[2J\x1b[H 404 complete" in line for line in plain)
    assert plain[-2:] == ["code 0", "READY>"]
    assert "Traceback" not in "".join(plain)
    assert sockets_in(folder) == []


@in_tmux
def test_a_narrow_terminal_shows_whole_words_and_colour(folder: Path) -> None:
    with Terminal(folder) as terminal:
        terminal.flask("receivers")
        until(lambda: "code 0" in terminal.screen())
        # Its beginning has left the screen.
        lines = terminal.screen("-S", "-").splitlines()
        coloured = terminal.screen("-e", "-S", "-")
    start = next(i for i, line in enumerate(lines) if line.startswith("on  latency"))
    assert lines[start : start + 8] == [
        "on  latency(slow_seconds=None, levels=None, exclude=(),",
        "        sample=None, slow_stream_seconds=None, fields=(),",
        "        trusted_proxies=0,",
        "        forwarded_header='X-Forwarded-For', logger=None)",
        "    Log one line for each exchange; connect it to",
        "    exchange-closed.",
        '    enabled by app.config["SIGNALPOST_RECEIVERS"],',
        "      [signalpost.receivers] latency, with slow_seconds=0.5",
    ]
    assert "\x1b[32mon" in coloured
    assert "\x1b[1mlatency\x1b[0m" in coloured


@in_tmux
def test_a_list_fits_a_narrow_terminal(folder: Path) -> None:
    module = folder / "shop.py"
    module.write_text(
        f"{module.read_text()}\n"
        "from signalpost.lifecycle import exchange_closed\n"
        "class ShelvesOfTheWarehouse:\n"
        "    def reserve_until_the_order_is_paid(self, sender): ...\n"
        "shelves = ShelvesOfTheWarehouse()\n"
        "exchange_closed.connect(shelves.reserve_until_the_order_is_paid)\n"
    )
    with Terminal(folder) as terminal:
        terminal.flask("list")
        until(lambda: "code 0" in terminal.screen())
        lines = terminal.screen().splitlines()
        coloured = terminal.screen("-e")
    # A longer line continues in the first column of the next one.
    starts = ("  ", *SIGNALS, "Receivers that", "code", "READY>")
    assert all(line.startswith(starts) for line in lines)
    number = module.read_text().count("\n")
    start = next(i for i, one in enumerate(lines) if one.startswith("exchange-closed"))
    assert lines[start + 2 : start + 5] == [
        '  latency   strong  app.config["SIGNALPOST_RECEIVERS"]',
        "  shop.ShelvesOfTheWarehouse.reserve_until_the_order_is_paid",
        f"    weak, any sender  shop.py:{number}",
    ]
    assert "\x1b[1mlatency" in coloured


MISTAKES = """
[signalpst]
x = 1

[signalpost]
fromat = "text"

[signalpost.receivers]
latncy = true
latency = {slow = 1, slow_seconds = "much"}
"a.module.whose.name.has.no.space.for.more.than.the.columns.of.a.terminal.of.eighty:x" = true
"漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字" = true
"""  # noqa: E501  # a name that is longer than the terminal is wide


def columns_of(line: str) -> int:
    return sum(2 if "一" <= one <= "龥" else 1 for one in line)


@in_tmux
@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("by_flask", [False, True], ids=["signalpost", "flask"])
def test_many_mistakes_of_a_file_are_broken_between_words(
    folder: Path, columns: int, by_flask: bool
) -> None:
    (folder / "bad.toml").write_text(MISTAKES)
    with Terminal(folder, columns) as terminal:
        (terminal.flask if by_flask else terminal.signalpost)("check bad.toml")
        lines = terminal.until_code(1)
    done = subprocess.run(
        [sys.executable, "-m", "signalpost", "check", "bad.toml"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    piped = done.stderr.splitlines()
    assert lines[0] == piped[0] == "Error: 7 mistakes in the configuration:"
    assert len(piped) == 8
    assert len(lines) > 8
    assert "".join("".join(lines).split()) == "".join("".join(piped).split())
    assert all(columns_of(line) <= columns for line in lines)
    # Each mistake begins in the same column, and continues indented.
    starts = [line for line in lines[1:] if not line.startswith("    ")]
    assert len(starts) == 7
    assert all(line.startswith("  bad.toml, line ") for line in starts)
    broken = [line for line in lines if columns_of(line) > columns - 20]
    assert broken


@in_tmux
@pytest.mark.parametrize("command", ["list", "receivers", "check"])
def test_mistakes_of_an_application_are_broken_between_words(
    folder: Path, command: str
) -> None:
    module = folder / "shop.py"
    key = 'app.config["SIGNALPOST_RECEIVERS"]'
    module.write_text(
        module.read_text().replace(
            "Signalpost(app)",
            f"{key}['latncy'] = {key}['recoder'] = True\nSignalpost(app)",
        )
    )
    with Terminal(folder, 80) as terminal:
        terminal.flask(command)
        lines = terminal.until_code(1 if command == "check" else 0)
    assert lines[:3] == [
        "Error: 2 mistakes in the configuration:",
        f"  {key}, [signalpost.receivers] latncy: unknown",
        "    receiver 'latncy'; known are failures, flask-login, id-header, latency,",
    ]
    assert "recoder" in " ".join(lines[3:9])


@in_tmux
@pytest.mark.parametrize("columns", [80, 120])
def test_both_workers_of_gunicorn_are_shown_in_colour(
    folder: Path, columns: int
) -> None:
    with (
        Terminal(folder, columns) as terminal,
        two_workers(folder) as server,
        ThreadPoolExecutor(2) as threads,
    ):
        terminal.flask("watch --signal exchange-closed --path '/meet/*'")
        until(lambda: "(Ctrl-C ends it)" in " ".join(terminal.screen("-J").split()))

        def have_met() -> bool:
            for file in folder.glob("*.came"):
                file.unlink()
            assert [*threads.map(server.get, ["/meet/1", "/meet/2"])] == [200, 200]
            return is_so_soon(
                lambda: all(f"/meet/{one} 200" in terminal.screen() for one in "12")
            )

        until(have_met)
        workers = {file.name for file in folder.glob("*.came")}
        coloured = terminal.screen("-e").splitlines()
        terminal.type("C-c")
        until(lambda: "code 0" in terminal.screen())
        plain = terminal.screen().splitlines()
    assert len(workers) == 2
    shown = [line for line in coloured if "exchange-closed" in line]
    assert shown
    green = re.compile(
        r"[\d:.]{12} exchange-closed GET /meet/[12] \x1b\[32m200\x1b\[39m"
        r" \x1b\[32mcomplete\x1b\[39m [\d.]+ ms"
    )
    assert all(green.fullmatch(line) for line in shown)
    assert plain[-2] == "code 0"
    assert "Traceback" not in "".join(plain)
