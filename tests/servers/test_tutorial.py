"""The tutorial, followed step by step in an empty folder."""

from __future__ import annotations

import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.pages import code_blocks
from tests.servers.test_newcomer import lines_shown
from tests.servers.test_newcomer import Output
from tests.servers.test_newcomer import PATIENCE_SECONDS
from tests.servers.test_newcomer import run
from tests.servers.test_newcomer import started

SHOP, FACTORY, EVENTS, RECEIPTS, SELL, TEST = code_blocks("tutorial", "python")
EMPTY, LATENCY, FAILURES, SQL, LIVE, METRICS, IMPORT = code_blocks("tutorial", "toml")
SESSIONS = code_blocks("tutorial", "console")

# The environment of this run has all extras of the tutorial.
PROGRAMS = Path(sys.executable).parent


class Reader:
    """A reader of the tutorial, with a folder of files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        before, factory, _ = SHOP.partition("def create_app")
        assert factory, "the factory is the last function of shop.py"
        (folder / "shop.py").write_text(before + FACTORY)
        (folder / "signalpost.toml").write_text(EMPTY)

    def add(self, *lines: str) -> None:
        """Add lines to the end of the configuration."""
        with (self.folder / "signalpost.toml").open("a") as file:
            file.writelines(lines)

    def send_a_signal(self) -> None:
        """Do step 7."""
        with (self.folder / "shop.py").open("a") as file:
            file.write("\n\n" + SELL)
        (self.folder / "events.py").write_text(EVENTS)
        (self.folder / "receipts.py").write_text(RECEIPTS)
        configuration = self.folder / "signalpost.toml"
        heading = '[signalpost]\nformat = "text"\n'
        text = configuration.read_text()
        configuration.write_text(text.replace(heading, heading + IMPORT))

    def run(self, command: str) -> list[str]:
        """Run a command of the tutorial, and return the lines of its output."""
        result = run(PROGRAMS, self.folder, *command.split())
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout.splitlines()

    @contextmanager
    def server(self) -> Iterator[tuple[str, Output]]:
        """Run the shop; yield its URL and its output."""
        words = ("flask", "--app", "shop", "run", "--port", "0")
        with started(PROGRAMS, self.folder, words) as process:
            output = Output(process)
            yield output.find(r"http://127\.0\.0\.1:\d+")[0], output


def visit(url: str, data: bytes | None = None) -> str:
    """Return the text of a response, for any status."""
    try:
        with urllib.request.urlopen(url, data, PATIENCE_SECONDS) as response:
            return str(response.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return str(error.read().decode())


def steps_shown() -> Iterator[list[str]]:
    """Yield the patterns of the lines of each step."""
    lines = iter(lines_shown("tutorial"))
    for block in code_blocks("tutorial", "text"):
        yield [next(lines) for _ in block.splitlines()]


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path)


def test_the_extension_alone_enables_nothing(reader: Reader) -> None:
    command, *shown = SESSIONS[2].splitlines()
    assert reader.run(command.removeprefix("$ ")) == shown


def test_requests_and_failures_are_logged_as_shown(reader: Reader) -> None:
    requests, failure, *_ = steps_shown()
    reader.add(LATENCY, FAILURES)
    with reader.server() as (url, output):
        for path in ("/", "/mugs", "/nothing", "/mugs/7"):
            visit(url + path)
        for line in (*requests, *failure):
            output.find(line)


def test_statements_metrics_and_a_signal_are_shown(reader: Reader) -> None:
    _, _, statements, counter, receipt = steps_shown()
    reader.add(LATENCY, FAILURES, SQL, LIVE, METRICS)
    reader.send_a_signal()
    with reader.server() as (url, output):
        visit(f"{url}/mugs")
        # The request is counted after its client has read the response.
        until = time.monotonic() + PATIENCE_SECONDS
        while not re.search(counter[0], visit(f"{url}/metrics")):
            assert time.monotonic() < until
        assert visit(f"{url}/mugs/blue", b"") == SESSIONS[4].splitlines()[1]
        for line in (*statements, *receipt):
            output.find(line)


def test_the_live_page_opens(reader: Reader) -> None:
    reader.add(LATENCY, LIVE)
    command = SESSIONS[3].splitlines()[1].removeprefix("$ ")
    with reader.server() as (url, _):
        visit(f"{url}/mugs")
        with started(PROGRAMS, reader.folder, (*command.split(),)) as process:
            page = Output(process).find(r"(http://127\.0\.0\.1:\d+/)#token=")[1]
            assert "<html" in visit(page)


def test_the_test_of_the_shop_passes(reader: Reader) -> None:
    reader.add(LATENCY, FAILURES, SQL, LIVE, METRICS)
    reader.send_a_signal()
    (reader.folder / "test_shop.py").write_text(TEST)
    command, *shown = SESSIONS[5].splitlines()
    printed = reader.run(command.removeprefix("$ "))
    assert printed[0].split() == shown[0].split()
    assert re.match("1 passed", printed[1])
