"""Measures an open live page: the polls of eight full workers, in time and bytes."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Sequence
from contextlib import contextmanager
from time import perf_counter
from time import process_time
from typing import Any
from typing import NamedTuple
from typing import TYPE_CHECKING
from wsgiref.util import setup_testing_defaults

from signalpost.live import LivePage

from .live_workers import CHANGES
from .live_workers import WORKERS
from .report import NOTHING
from .report import table

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

TOKEN = "a-token-that-is-long-enough"  # noqa: S105  # of this run only

POLL_AIM_MS = 10
FIRST_LOAD_AIM = 30_000
PAGE_AIM = 90_000

LEGEND = f"""\
A poll is a whole answer of the page, compressed, in a separate process, to {WORKERS}
workers whose files are full, each with requests in flight. "changed" is after {CHANGES}
more requests in each worker, failures among them, and new lists of all. The page has
the files that a browser loads: HTML, styles, scripts and icon, as they are sent. It
shows its first numbers before it loads uPlot, which draws the charts. So the files
without uPlot, and the data of the first poll, are sent "until its numbers"."""

EARLY = ("/", "/live.css", "/live.js", "/icon.svg")
LATE = ("/uplot.js",)

_GZIP = b"\x1f\x8b"


class Poll(NamedTuple):
    """The cost of one response."""

    wall: float
    """Seconds."""
    cpu: float
    """Seconds of processor time."""
    data: dict[str, Any]
    compressed: int
    """Bytes sent."""
    plain: int
    """Bytes before the compression."""


class Workers(NamedTuple):
    """A process with full workers."""

    change: Callable[[], None]
    """Make each worker serve some more requests."""
    facts: dict[str, int]
    """Bytes of a worker: its ``memory``, and its files ``live`` and ``lists``."""


def shown(polls: int) -> list[str]:
    """Measure, and return the tables.

    :param polls: How many polls of each kind; at least 1.
    """
    with (
        tempfile.TemporaryDirectory(prefix="signalpost-bench-") as folder,
        _workers(folder) as workers,
    ):
        page = LivePage(None, path="/", token=TOKEN, folder=f"{folder}/live")
        first = _polled(page, "")
        unchanged = _several(page, first, polls, lambda: None)
        changed = _several(page, first, polls, workers.change)
    early, early_plain = _sizes_of(page, EARLY)
    late, late_plain = _sizes_of(page, LATE)
    in_all = early_plain + late_plain
    return [
        table(
            [
                "a poll",
                "ms",
                "ms of CPU, minimum",
                "ms of CPU, median",
                "bytes",
                "sent",
            ],
            [
                _line("first", [first]),
                _line("unchanged", unchanged),
                _line("changed", changed),
            ],
        ),
        _sizes(workers.facts),
        table(
            ["the page", "aim", "measured", "reached"],
            [
                _with_aim("a changed poll, ms", POLL_AIM_MS, _best_ms(changed)),
                _with_aim(
                    "until its numbers, bytes sent",
                    FIRST_LOAD_AIM,
                    early + first.compressed,
                ),
                _with_aim("all files, bytes sent", FIRST_LOAD_AIM, early + late),
                _with_aim("all files, bytes", PAGE_AIM, in_all),
            ],
        ),
    ]


def _with_aim(what: str, aim: int, measured: float) -> list[str]:
    reached = "yes" if measured <= aim else "no"
    digits = 1 if measured < 1000 else 0
    return [what, f"{aim:,}", f"{measured:,.{digits}f}", reached]


def _sizes(facts: dict[str, int]) -> str:
    return table(
        ["a full worker", "bytes"],
        [
            ["its file, of a fixed size", f"{facts['live']:,}"],
            ["its lists, at most", f"{facts['lists']:,}"],
            ["other memory", f"{facts['memory']:,}"],
        ],
    )


def _line(name: str, polls: list[Poll]) -> list[str]:
    middle = sorted(polls, key=lambda one: one.cpu)[len(polls) // 2]
    return [
        name,
        f"{min(one.wall for one in polls) * 1e3:.1f}",
        f"{_best_ms(polls):.1f}",
        f"{middle.cpu * 1e3:.1f}" if len(polls) > 1 else NOTHING,
        f"{middle.plain:,}",
        f"{middle.compressed:,}",
    ]


def _best_ms(polls: list[Poll]) -> float:
    return min(one.cpu for one in polls) * 1e3


def _several(
    page: LivePage, first: Poll, count: int, change: Callable[[], None]
) -> list[Poll]:
    polls = []
    cursor = first.data["cursor"]
    # The first poll of a page is different: it reads all lists.
    for number in range(count + 1):
        change()
        one = _polled(page, cursor)
        cursor = one.data["cursor"]
        if number:
            polls.append(one)
    return polls


def _polled(page: LivePage, cursor: str) -> Poll:
    query = f"since={cursor}" if cursor else ""
    start, cpu = perf_counter(), process_time()
    sent = _asked(page, "/data.json", query)
    cpu, wall = process_time() - cpu, perf_counter() - start
    plain = gzip.decompress(sent)
    return Poll(wall, cpu, json.loads(plain), len(sent), len(plain))


def _asked(page: LivePage, path: str, query: str = "") -> bytes:
    environ: WSGIEnvironment = {
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "HTTP_ACCEPT_ENCODING": "gzip",
        "HTTP_AUTHORIZATION": f"Bearer {TOKEN}",
    }
    setup_testing_defaults(environ)
    return b"".join(page(environ, _start_response))


def _start_response(
    status: str, headers: list[tuple[str, str]], exc_info: object = None, /
) -> Any:
    if status != "200 OK":
        raise RuntimeError(f"the page must answer, but its status is {status}")
    return bytes


def _sizes_of(page: LivePage, paths: Sequence[str]) -> tuple[int, int]:
    """Return how many bytes of files are sent, and how many these are unpacked."""
    sent = [_asked(page, path) for path in paths]
    return sum(map(len, sent)), sum(len(_unpacked(one)) for one in sent)


def _unpacked(data: bytes) -> bytes:
    # Short files are not compressed.
    return gzip.decompress(data) if data.startswith(_GZIP) else data


@contextmanager
def _workers(folder: str) -> Generator[Workers]:
    process = subprocess.Popen(  # noqa: S603  # no input of others is in it
        [sys.executable, "-m", "benchmarks.live_workers", folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("a process must have pipes, and has none")
        stdin, stdout = process.stdin, process.stdout

        def change() -> None:
            print(file=stdin, flush=True)
            stdout.readline()

        yield Workers(change, json.loads(stdout.readline()))
        stdin.close()
