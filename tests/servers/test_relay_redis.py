"""Nothing is lost between a relay and its listeners, whatever is killed meanwhile.

All on a Redis of the test's own that writes each change to the disk.
"""

from __future__ import annotations

import collections
import signal
import subprocess
import sys
import time
import typing as t
import urllib.request
from functools import partial
from pathlib import Path

import pytest
import redis

from signalpost import NamedSignal
from signalpost import Namespace
from signalpost.integrations.relay import Listener
from signalpost.integrations.relay import Relay
from tests.integrations.relay.brokers import RedisServer
from tests.integrations.relay.brokers import running_redis
from tests.integrations.relay.commands import new_site
from tests.integrations.relay.commands import start
from tests.integrations.relay.listening import eventually
from tests.integrations.relay.listening import listening
from tests.integrations.relay.listening import order_placed
from tests.integrations.relay.listening import Shipping
from tests.ports import free_port

# Each order is a line of a file of the worker, written before it is acknowledged. It
# takes as many seconds as its total, or until the test makes a file.
NOTING = """
    import os
    import time
    from shop.events import order_placed

    file = os.open(f"orders-{os.getpid()}", os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    @order_placed.connect
    def ship(sender, order, total):
        end = time.monotonic() + total
        if total:
            open("begun", "w").close()
        while time.monotonic() < end and not os.path.exists("go-on"):
            time.sleep(0.001)
        os.write(file, f"{order}\\n".encode())
"""


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[RedisServer]:
    yield from running_redis(tmp_path_factory.mktemp("redis"))


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return new_site(tmp_path, noting=NOTING)


def worker(site: Path, url: str) -> subprocess.Popen[str]:
    return start(
        site,
        *("listen", url, "--group", "shipping", "--import", "noting"),
        "shop.events:order_placed",
    )


def ended(process: subprocess.Popen[str], number: int) -> int:
    process.send_signal(number)
    process.communicate(timeout=30)
    return process.returncode


def noted(site: Path) -> collections.Counter[int]:
    """Return how often each order was received, by all workers together."""
    return collections.Counter(
        int(line)
        for file in site.glob("orders-*")
        for line in file.read_text().splitlines()
    )


def has_noted(site: Path, least: int) -> bool:
    return sum(noted(site).values()) >= least


def sent(url: str, orders: t.Iterable[int], total: float = 0) -> None:
    placed = _placed()
    relay = Relay(url, source="shop").forward(placed)
    for order in orders:
        placed.send(None, order=order, total=total)
    assert relay.close(60) == 0
    assert relay.dropped == 0


def test_ten_thousand_events_are_counted_on_both_sides(server: RedisServer) -> None:
    here, there = order_placed(), order_placed()
    relay = Relay(server.url, source="shop").forward(here)
    shipping = Shipping(there)
    with listening(Listener(server.url, group="shipping", signals=[there])):
        for number in range(10_000):
            here.send(None, order=number)
        eventually(lambda: len(shipping.orders) >= 10_000, 120)
    assert relay.close() == 0
    assert (relay.sent, relay.dropped) == (10_000, 0)
    assert shipping.orders == [*range(10_000)]


def test_worker_that_is_killed_loses_nothing(server: RedisServer, site: Path) -> None:
    url = f"{server.url}?lease_seconds=1"
    sent(url, range(300), total=0.002)
    for least in (30, 60):
        process = worker(site, url)
        eventually(partial(has_noted, site, least), 60)
        ended(process, signal.SIGKILL)
    process = worker(site, url)
    try:
        eventually(lambda: len(noted(site)) == 300, 120)
    finally:
        assert ended(process, signal.SIGTERM) == 0
    # What each killed worker had done and not yet acknowledged: 50 ms of it.
    repeats = sum(noted(site).values()) - 300
    assert repeats <= 2 * 50


def test_two_workers_share_and_stop_without_repeating(
    server: RedisServer, site: Path
) -> None:
    workers = [worker(site, server.url) for _ in range(2)]
    number = 0

    def both_receive() -> bool:
        nonlocal number
        if len(noted(site)) == number:
            sent(server.url, range(number, number + 4), total=0.005)
            number += 4
        return len([one for one in site.glob("orders-*") if one.stat().st_size]) == 2

    try:
        eventually(both_receive, 60)
        sent(server.url, range(number, number + 200), total=0.1)
        number += 200
    finally:
        codes = [ended(one, signal.SIGTERM) for one in workers]
    assert codes == [0, 0]
    # What they had not begun is there for the next one at once, not after a lease.
    assert len(noted(site)) < number
    (site / "go-on").touch()
    process = worker(site, server.url)
    try:
        eventually(lambda: len(noted(site)) == number, 60)
    finally:
        assert ended(process, signal.SIGTERM) == 0
    assert set(noted(site).values()) == {1}


def test_worker_finishes_what_runs_at_sigterm(server: RedisServer, site: Path) -> None:
    sent(server.url, [1], total=60)
    process = worker(site, server.url)
    try:
        eventually((site / "begun").exists, 60)
        with redis.Redis.from_url(server.url) as client:
            assert _pending(client) == 1
        assert not noted(site)
    finally:
        process.send_signal(signal.SIGTERM)
        (site / "go-on").touch()
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert noted(site) == {1: 1}
    with redis.Redis.from_url(server.url) as client:
        assert _pending(client) == 0


def _pending(client: t.Any) -> int:
    groups = client.exists("signalpost:order-placed") and client.xinfo_groups(
        "signalpost:order-placed"
    )
    return sum(one["pending"] for one in groups or ())


def test_broker_that_is_killed_under_load_loses_nothing(server: RedisServer) -> None:
    here, there = order_placed(), order_placed()
    relay = Relay(server.url, source="shop", max_waiting=100_000).forward(here)
    shipping = Shipping(there)
    number = 0
    with listening(Listener(server.url, group="shipping", signals=[there])):
        for _ in range(2):
            end = time.monotonic() + 1
            while time.monotonic() < end:
                here.send(None, order=number)
                number += 1
                time.sleep(0.001)
            server.kill()
            before = relay.failures
            for _ in range(100):
                here.send(None, order=number)
                number += 1
            eventually(lambda least=before: relay.failures > least, 60)  # type: ignore[misc]
            server.start()
        eventually(lambda: relay.waiting == 0, 60)
        eventually(lambda: len(set(shipping.orders)) == number, 120)
    assert relay.close() == 0
    assert (relay.sent, relay.dropped) == (number, 0)
    # A batch whose answer was lost is sent again, and recognised by its ids.
    assert len(shipping.orders) == number
    assert relay.failures >= 2


SHOP = """
    import os
    import flask
    from shop.events import order_placed
    from signalpost.integrations.relay import Relay

    relay = Relay({url!r}, source="shop").forward(order_placed)
    # Before gunicorn forks: the parent has a thread and a connection of its own.
    order_placed.send("parent", order=-1, total=None)

    def application(environ, start_response):
        number = int(environ["QUERY_STRING"])
        order_placed.send(None, order=number, total=os.getpid())
        body = str(os.getpid()).encode()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]
"""


def test_prefork_server_sends_from_each_worker(
    server: RedisServer, tmp_path: Path
) -> None:
    site = new_site(tmp_path, web=SHOP.format(url=server.url))
    port = free_port()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "gunicorn", "web:application", "--preload"),
            *("--workers", "3", "--bind", f"127.0.0.1:{port}", "--no-control-socket"),
        ],
        cwd=site,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    placed = _placed()
    shipped: list[tuple[int, int | None]] = []

    def ship(sender: object, order: int, total: int | None) -> None:
        shipped.append((order, total))

    placed.connect(ship)
    try:
        workers = set[str]()

        def two_answer() -> bool:
            workers.add(_answer(port))
            return len(workers - {""}) > 1

        eventually(two_answer, 60)
        # While the broker hangs, no request waits for it.
        server.suspend()
        try:
            for number in range(200):
                assert _answer(port, number)
        finally:
            server.resume()
        with listening(Listener(server.url, group="shipping", signals=[placed])):
            eventually(lambda: len({one for one, _ in shipped}) >= 201, 60)
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=60)
            assert process.returncode == 0, errors
            # Workers that have ended have sent all they had.
            server_has = 0
            while server_has != len(shipped):
                server_has = len(shipped)
                time.sleep(0.5)
    finally:
        process.kill()
        process.wait()
    assert [one for one, _ in shipped].count(-1) == 1
    numbers = collections.Counter(one for one, _ in shipped if one >= 0)
    assert set(numbers) == {*range(200)}
    # The first number was also sent until the server answered.
    assert all(numbers[one] == 1 for one in range(1, 200))
    assert len({process for _, process in shipped if process}) > 1


def _placed() -> NamedSignal:
    return Namespace().signal("order-placed", payload=("order", "total"))


def _answer(port: int, number: int = 0) -> str:
    """Return the process that has answered; nothing if none has."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/?{number}") as response:
            return str(response.read().decode())
    except OSError:
        return ""


def test_worker_without_its_broker_ends_at_sigterm(site: Path) -> None:
    process = worker(site, "redis://127.0.0.1:1/0")
    try:
        assert process.stderr is not None
        while "waiting for it" not in process.stderr.readline():
            assert process.poll() is None
    finally:
        code = ended(process, signal.SIGTERM)
    assert code == 0
