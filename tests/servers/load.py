"""Drives gunicorn with everything on, and compares who counted what.

``python -m tests.servers.load`` takes a minute and ends with 1 if the counts differ:
the clients' own, gunicorn's access log, the log lines of exchanges that closed,
Prometheus' counter, and the live page. The load comes from wrk and from clients that
leave in the middle of a body; it stays on the loopback interface.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import typing as t
import urllib.request
from collections.abc import Generator
from collections.abc import Sequence
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from signalpost.live import read_live

PATIENCE_SECONDS = 30
CONNECTIONS = 8
MOST_GROWTH = 1.05
"""How much larger the workers may be at the end than after a third of the time."""

APPLICATION = "tests.servers.load_application"
ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_suffix(".lua")


class Counts(t.NamedTuple):
    """How many requests were counted, by whom."""

    sent: int
    answered: int
    access_log: int
    exchange_closed: int
    prometheus: int
    live_page: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Drive the server, print what was counted, and return the exit code.

    :param arguments: Those of the command line, without the program's name.
    """
    options = _parser().parse_args(arguments)
    if shutil.which("wrk") is None:
        _say("wrk is missing; on Debian or Ubuntu: apt install wrk")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        return _drive(Path(folder), options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.servers.load")
    parser.add_argument("--seconds", type=int, default=60, help="how long")
    parser.add_argument("--workers", type=int, default=4, help="gunicorn's")
    parser.add_argument(
        "--worker-class", default="gthread", help="gunicorn's: sync, gthread, gevent"
    )
    parser.add_argument(
        "--max-requests",
        type=int,
        default=0,
        help="replace each worker after so many, give or take a tenth; 0 for never",
    )
    return parser


def _drive(folder: Path, options: argparse.Namespace) -> int:
    with _served(folder, options) as (address, arbiter):
        leavers = Leavers(address)
        memory = Memory(arbiter)
        wrk = _wrk(address, options.seconds)
        until = time.monotonic() + options.seconds
        while time.monotonic() < until:
            leavers.visit()
            memory.look()
            time.sleep(0.1)
        said = _said_by(wrk)
        _settle(address, said["answered"] + leavers.count)
        counted = _prometheus(address)
    # The server has stopped: what it logs and records is all there.
    live = read_live(folder / "live").total
    logged = collections.Counter(_access_log(folder))
    # Each line has an id: what looks at the workers is left out.
    closed = [
        one
        for one in _exchange_lines(folder)
        if str(one["request_id"]).startswith(("wrk-", "leaver-"))
    ]
    counts = Counts(
        sent=said["sent"] + leavers.count,
        answered=said["answered"] + leavers.count,
        access_log=sum(logged.values()),
        exchange_closed=len(closed),
        prometheus=sum(counted.values()),
        # All but the first one.
        live_page=live.requests_since_start - 1,
    )
    _report(counts, closed, counted, memory)
    complaints = _complaints(counts, logged, closed, counted, memory, options)
    for complaint in complaints:
        _say(f"WRONG: {complaint}")
    _say("the counts differ" if complaints else "the counts agree")
    return 1 if complaints else 0


@contextlib.contextmanager
def _served(
    folder: Path, options: argparse.Namespace
) -> Generator[tuple[tuple[str, int], int]]:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        address = bound.getsockname()
        figures = folder / "figures"
        figures.mkdir()
        command = [
            *(
                sys.executable,
                "-m",
                "gunicorn",
                "tests.servers.load_application:create_app()",
            ),
            *("--bind", f"fd://{bound.fileno()}", "--worker-tmp-dir", str(folder)),
            *("--workers", str(options.workers), "--threads", "4"),
            *("--worker-class", options.worker_class, "--log-level", "error"),
            *("--keep-alive", str(PATIENCE_SECONDS)),
            *("--max-requests", str(options.max_requests)),
            *("--max-requests-jitter", str(options.max_requests // 10)),
            *("--access-logfile", str(folder / "access.log")),
            *("--access-logformat", "%({x-request-id}i)s"),
            *("--config", f"python:{APPLICATION}"),
        ]
        environment = {
            **os.environ,
            "PROMETHEUS_MULTIPROC_DIR": str(figures),
            "LIVE_FOLDER": str(folder / "live"),
        }
        with (
            (folder / "lines.log").open("ab") as lines,
            subprocess.Popen(  # the lines above
                command,
                cwd=ROOT,
                env=environment,
                stderr=lines,
                pass_fds=[bound.fileno()],
            ) as server,
        ):
            try:
                _get(address, "/hello/first")
                yield address, server.pid
            finally:
                server.send_signal(signal.SIGTERM)
                try:
                    server.wait(PATIENCE_SECONDS)
                except subprocess.TimeoutExpired:
                    server.kill()
                    raise


class Leavers:
    """Clients that leave in the middle of a body, or are left by the application."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self.count = 0

    def visit(self) -> None:
        """Ask for a long body and leave; for one that breaks; and for none."""
        with socket.create_connection(self._address, PATIENCE_SECONDS) as client:
            self._ask(client, "/stream/10000")
            # Closed with something unread, it is reset.
            how = struct.pack("ii", 1, 0)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, how)
        with socket.create_connection(self._address, PATIENCE_SECONDS) as client:
            self._ask(client, "/fail/3")
            while client.recv(65_536):
                pass
        with socket.create_connection(self._address, PATIENCE_SECONDS) as client:
            self._ask(client, "/hello/head", "HEAD")

    def _ask(self, client: socket.socket, path: str, method: str = "GET") -> None:
        self.count += 1
        client.sendall(
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            f"X-Request-ID: leaver-{self.count}\r\n\r\n".encode()
        )
        # What has begun to be answered was counted by the server, too.
        if not client.recv(1):
            raise RuntimeError(f"no answer to {path}")


class Memory:
    """The resources of gunicorn's workers, over time."""

    def __init__(self, arbiter: int) -> None:
        self._arbiter = arbiter
        self.seen: list[int] = []
        """In kB, all workers together."""

    def look(self) -> None:
        """Note what they use now."""
        children = Path(f"/proc/{self._arbiter}/task/{self._arbiter}/children")
        sizes = []
        for pid in children.read_text().split():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                status = Path(f"/proc/{pid}/status").read_text()
                found = status.partition("VmRSS:")[2].split()
                sizes.append(int(found[0]) if found else 0)
        self.seen.append(sum(sizes))

    @property
    def growth(self) -> float:
        """The size at the end by that after a third of the time."""
        third, tenth = len(self.seen) // 3, max(1, len(self.seen) // 10)
        before = sorted(self.seen[third : third + tenth])[tenth // 2]
        return sorted(self.seen[-tenth:])[tenth // 2] / before


def _wrk(address: tuple[str, int], seconds: int) -> subprocess.Popen[str]:
    # One connection a thread, which ends between an answer and the next request.
    return subprocess.Popen(  # the lines below
        [
            *("wrk", "--threads", str(CONNECTIONS), "--connections", str(CONNECTIONS)),
            # The script ends it; so much later wrk itself looks whether it has.
            *("--duration", f"{seconds + 4}s", "--timeout", f"{PATIENCE_SECONDS}s"),
            *("--script", str(SCRIPT), f"http://{address[0]}:{address[1]}"),
            *("--", str(seconds)),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )


def _said_by(wrk: subprocess.Popen[str]) -> dict[str, int]:
    """Return what wrk has counted; ``"status 404"`` and its like among it."""
    out, _ = wrk.communicate(timeout=PATIENCE_SECONDS)
    if wrk.returncode:
        raise RuntimeError(f"wrk failed: {out}")
    said = {}
    for line in out.splitlines():
        name, _, number = line.rpartition(" ")
        if name in ("sent", "answered", "errors") or name.startswith("status "):
            said[name] = int(number)
    _say(out)
    return said


def _settle(address: tuple[str, int], answered: int) -> None:
    """Wait until no request is in flight, and those that were answered are counted.

    A request that closes is counted just after it is in flight no more. If some are
    never counted, the counts differ.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    while _samples(address, "http_server_requests_in_flight") != [({}, 0.0)]:
        if time.monotonic() > until:
            raise RuntimeError("requests are in flight though nobody asks any more")
        time.sleep(0.05)
    while _prometheus(address).total() < answered and time.monotonic() < until:
        time.sleep(0.05)


def _get(address: tuple[str, int], path: str) -> str:
    url = f"http://{address[0]}:{address[1]}{path}"
    with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as answer:
        return str(answer.read().decode())


def _samples(address: tuple[str, int], name: str) -> list[tuple[dict[str, str], float]]:
    """Return the labels and values of a metric's samples in a scrape."""
    return [
        (sample.labels, sample.value)
        for family in text_string_to_metric_families(_get(address, "/metrics"))
        for sample in family.samples
        if sample.name == name
    ]


def _prometheus(address: tuple[str, int]) -> collections.Counter[tuple[str, str]]:
    """Return requests by status and outcome, but for the first one."""
    counted: collections.Counter[tuple[str, str]] = collections.Counter()
    for labels, value in _samples(address, "http_server_requests_total"):
        counted[labels["status"], labels["outcome"]] += int(value)
    counted["200", "complete"] -= 1
    return counted


def _access_log(folder: Path) -> list[str]:
    names = (folder / "access.log").read_text().split()
    return [name for name in names if name != "-"]


def _exchange_lines(folder: Path) -> list[dict[str, t.Any]]:
    lines = []
    for line in (folder / "lines.log").read_text().splitlines():
        # gunicorn logs bodies that break, with their tracebacks.
        if line.startswith("{"):
            found = json.loads(line)
            lines.append({"request_id": None, **found})
    return lines


def _report(
    counts: Counts,
    closed: list[dict[str, t.Any]],
    counted: collections.Counter[tuple[str, str]],
    memory: Memory,
) -> None:
    for name, number in counts._asdict().items():
        _say(f"{name.replace('_', ' '):<16} {number:>9,}")
    by_kind = _by_kind(closed)
    _say(f"\n{'status outcome':<16} {'exchanges':>9} {'prometheus':>10}")
    for kind in sorted({*by_kind, *counted}):
        _say(f"{' '.join(kind):<16} {by_kind[kind]:>9,} {counted[kind]:>10,}")
    _say(
        f"\nworkers' memory: {memory.seen[0] / 1024:.1f} MiB at first,"
        f" {memory.seen[-1] / 1024:.1f} at the end; × {memory.growth:.3f} since a third"
        " of the time"
    )


def _by_kind(
    closed: list[dict[str, t.Any]],
) -> collections.Counter[tuple[str, str]]:
    return collections.Counter((str(one["status"]), one["outcome"]) for one in closed)


def _complaints(
    counts: Counts,
    logged: collections.Counter[str],
    closed: list[dict[str, t.Any]],
    counted: collections.Counter[tuple[str, str]],
    memory: Memory,
    options: argparse.Namespace,
) -> list[str]:
    found = []
    if len({counts.access_log, counts.exchange_closed, counts.prometheus}) > 1:
        found.append("the server's own counts differ")
    # Of the workers that were replaced, the page has the latest only.
    if not options.max_requests and counts.live_page != counts.access_log:
        found.append("the live page has counted another number than the access log")
    if collections.Counter(one["request_id"] for one in closed) != logged:
        found.append("the access log and the exchanges are not of the same requests")
    if logged and max(logged.values()) > 1:
        found.append("a request was counted twice")
    if _by_kind(closed) != +counted:
        found.append("Prometheus has other statuses and outcomes than the exchanges")
    # A worker that is replaced closes connections, maybe just as one is used again.
    lost = counts.sent - counts.answered
    if not counts.answered <= counts.exchange_closed <= counts.answered + lost:
        found.append("the clients have counted another number than the server")
    if lost and not options.max_requests:
        found.append(f"{lost} requests were not answered")
    if not options.max_requests and memory.growth > MOST_GROWTH:
        found.append(f"memory has grown to {memory.growth:.3f} times")
    return found


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
