"""Measures what it costs to send an event, and how many cross a Redis in a second.

``python -m benchmarks.relay`` starts a redis-server of its own, measures all in one
run, beside Celery's ``delay`` and a bare ``XADD`` of redis-py, and prints a table. Each
is measured in turns, several rounds; the best round is that with the least disturbance.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
import typing as t
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Sequence
from contextlib import contextmanager

import celery
import redis

from signalpost import NamedSignal
from signalpost import Namespace
from signalpost.integrations.relay import Listener
from signalpost.integrations.relay import Relay

from .report import head_line

PAYLOAD: t.Final[dict[str, t.Any]] = {
    "order": 5,
    "total": "9.99",
    "items": [{"sku": "teapot", "number": 1}],
}
# Few at a time, with pauses: as requests send them, and not the queue that is measured.
BURST = 20


class Measured(t.NamedTuple):
    """What one round has found."""

    background: float
    """A send in the background, microseconds."""
    now: float
    """A send with sends="now", microseconds."""
    bare: float
    """XADD by redis-py, of a body of the same length, microseconds."""
    delay: float
    """Celery's delay with the same payload, microseconds."""
    out: float
    """Events that a relay sends in a second, when they wait already."""
    received: float
    """Events that a listener receives in a second; its receiver does nothing."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table, and return the exit code.

    :param arguments: Those of the command line, without the program's name.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.relay")
    parser.add_argument("--rounds", type=int, default=5, help="how many")
    parser.add_argument("--events", type=int, default=10_000, help="in each round")
    options = parser.parse_args(arguments)
    if shutil.which("redis-server") is None:
        print("redis-server is missing; on Debian or Ubuntu: apt install redis-server")
        return 1
    with tempfile.TemporaryDirectory() as folder, _redis(folder) as url:
        rounds = [
            _measured(url, f"round{number}", options.events)
            for number in range(options.rounds)
        ]
    print(head_line())
    print("\n".join(_lines(rounds)))
    return 0


def _lines(rounds: Sequence[Measured]) -> Generator[str]:
    rows = [
        ("send in the background", "background", "µs", min),
        ('send with sends="now"', "now", "µs", min),
        ("XADD of redis-py, bare", "bare", "µs", min),
        ("Celery's delay", "delay", "µs", min),
        ("events out in a second", "out", "", max),
        ("events received in a second", "received", "", max),
    ]
    yield f"{'':28} {'best':>10} {'median':>10}"
    for text, name, unit, best in rows:
        found = [getattr(one, name) for one in rounds]
        of_all = statistics.median(found)
        yield f"{text:28} {best(found):>10,.1f} {of_all:>10,.1f} {unit}".rstrip()


def _measured(url: str, prefix: str, events: int) -> Measured:
    some = max(events // 10, BURST)
    relay, placed = _relay(url, prefix, "thread", events)
    try:
        background = _paced(lambda: placed.send("till", **PAYLOAD), some)
        _wait(relay)
        out = _out(relay, placed, events)
        received = _received(url, prefix, relay.sent)
    finally:
        relay.close()
    relay, placed = _relay(url, f"{prefix}now", "now", 1)
    try:
        now = _paced(lambda: placed.send("till", **PAYLOAD), some)
    finally:
        relay.close()
    with redis.Redis.from_url(url) as client:
        found: t.Any = client.xrange(f"{prefix}:order-placed", count=1)
        body = found[0][1][b"event"]
        bare = _paced(lambda: client.xadd(f"{prefix}bare", {"event": body}), some)
    return Measured(background, now, bare, _delay(url, some), out, received)


def _relay(
    url: str, prefix: str, sends: t.Literal["thread", "now"], events: int
) -> tuple[Relay, NamedSignal]:
    placed = _signal()
    relay = Relay(
        url, source="shop", sends=sends, prefix=prefix, max_waiting=2 * events
    ).forward(placed)
    placed.send("till", **PAYLOAD)
    _wait(relay)
    return relay, placed


def _signal() -> NamedSignal:
    return Namespace().signal("order-placed", payload=PAYLOAD)


def _wait(relay: Relay) -> None:
    while relay.waiting:
        time.sleep(0.0005)


def _paced(call: Callable[[], object], times: int) -> float:
    """Return how many microseconds a call takes, without the pauses between bursts."""
    costs = []
    for _ in range(times // BURST):
        start = time.perf_counter()
        for _ in range(BURST):
            call()
        costs.append((time.perf_counter() - start) / BURST)
        time.sleep(0.005)
    return statistics.median(costs) * 1e6


def _out(relay: Relay, placed: NamedSignal, events: int) -> float:
    before = relay.sent
    start = time.perf_counter()
    for _ in range(events):
        placed.send("till", **PAYLOAD)
    # From here on the thread has the interpreter for itself.
    waiting, begun = relay.waiting, time.perf_counter()
    _wait(relay)
    if waiting > events // 10:
        return waiting / (time.perf_counter() - begun)
    return (relay.sent - before) / (time.perf_counter() - start)


def _received(url: str, prefix: str, events: int) -> float:
    there = _signal()
    listener = Listener(url, group="shipping", signals=[there], prefix=prefix)

    def ship(sender: object) -> None:
        if listener.received == events - 1:
            listener.stop()

    there.connect(ship)
    start = time.perf_counter()
    listener.run()
    return events / (time.perf_counter() - start)


def _delay(url: str, times: int) -> float:
    app = celery.Celery("shop", broker=url)
    app.conf.task_ignore_result = True

    def place(**payload: object) -> None:
        """Do nothing."""

    task: t.Any = app.task(name="place")(place)
    task.delay(**PAYLOAD)
    try:
        return _paced(lambda: task.delay(**PAYLOAD), times)
    finally:
        app.close()


@contextmanager
def _redis(folder: str) -> Generator[str]:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    server = subprocess.Popen(  # noqa: S603  # no input of others is in it
        [
            *("redis-server", "--port", str(port), "--bind", "127.0.0.1"),
            *("--dir", folder, "--save", "", "--appendonly", "yes"),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        url = f"redis://127.0.0.1:{port}/0"
        with redis.Redis.from_url(url) as client:
            while not _is_ready(client):
                time.sleep(0.02)
        yield url
    finally:
        server.kill()
        server.wait()


def _is_ready(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


if __name__ == "__main__":
    raise SystemExit(main())
