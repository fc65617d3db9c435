"""The live page has both sides of a relay, of processes as users run them."""

from __future__ import annotations

import signal
import subprocess
import typing as t
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from signalpost import NamedSignal
from signalpost import Namespace
from signalpost.integrations.relay import Relay
from signalpost.live import LiveRecorder
from signalpost.live import LiveSnapshot
from signalpost.live import read_live
from signalpost.live.background import RelayRow
from tests.integrations.relay.brokers import RedisServer
from tests.integrations.relay.brokers import running_redis
from tests.integrations.relay.commands import new_site
from tests.integrations.relay.commands import start
from tests.integrations.relay.listening import eventually
from tests.integrations.relay.outboxes import open_shop

SHIPPING = """
    from shop.events import order_placed

    @order_placed.connect
    def ship(sender, order, total):
        if order == 3:
            raise LookupError("no stock")
"""

FLASK = """
    import flask
    from signalpost.integrations.flask import Signalpost
    from signalpost import Namespace

    order_placed = Namespace().signal("order-placed", payload=("order",))
    app = flask.Flask("shop", instance_path={instance!r})
    app.config["SIGNALPOST_RECEIVERS"] = {{"live": True}}
    Signalpost(app)

    @order_placed.connect
    def ship(sender, order):
        pass
"""


@pytest.fixture
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    yield from running_redis(tmp_path_factory.mktemp("redis"))


@contextmanager
def started(site: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command of the relay until the block ends."""
    process = start(site, *words)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert process.returncode in {0, -signal.SIGKILL}, errors


def row_of(snapshot: LiveSnapshot, direction: str) -> RelayRow | None:
    rows = [one for one in snapshot.relay if one.direction == direction]
    return rows[0] if rows else None


def received_at(folder: Path) -> int:
    row = row_of(read_live(folder), "received")
    return 0 if row is None else row.events


def states_of(folder: Path) -> dict[int, str]:
    return {one.pid: one.state for one in read_live(folder).workers}


def test_both_sides_of_a_relay_are_shown(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    site = new_site(tmp_path, shipping=SHIPPING)
    folder = tmp_path / "live"
    placed: NamedSignal = Namespace().signal("order-placed", payload=("order", "total"))
    recorder = LiveRecorder(folder=folder)
    recorder.connect()
    relay = Relay(redis_server.url, source="shop").forward(placed)
    words = ("--import", "shipping", "--max-tries", "2", "--live", str(folder))
    with started(
        site,
        *("listen", redis_server.url, "--group", "shipping", *words),
        "shop.events:order_placed",
    ) as worker:
        # It is there before there is any event.
        eventually(lambda: states_of(folder).get(worker.pid) == "alive")
        for number in range(10):
            placed.send("till", order=number, total=1)

        def received() -> t.Any:
            return row_of(read_live(folder), "received")

        # The tries of the third may be over before the others have come.
        eventually(lambda: received() and received().given_up_since_start)
        eventually(lambda: received().events == 9)
        row = received()
        assert (row.name, row.party) == ("order-placed", "shipping")
        assert (row.events, row.failed, row.retried, row.given_up) == (9, 2, 1, 1)
        assert {one.kind: one.reason for one in row.faults} == {
            "failed": "LookupError: no stock",
            "buried": "LookupError: no stock",
        }
        assert 0 <= row.mean_age_seconds <= row.longest_age_seconds < 30
        assert relay.flush(30) == 0
        sent = row_of(read_live(folder), "sent")
        assert sent is not None
        assert (sent.name, sent.party, sent.events) == ("order-placed", "shop", 10)

        redis_server.kill()
        placed.send("till", order=10, total=1)
        placed.send("till", order=11, total=1)
        # No request comes that would write it.
        eventually(lambda: queue_of(folder).waiting == 2 and queue_of(folder).faults)
        assert [one.kind for one in queue_of(folder).faults] == ["delayed"]
        assert queue_of(folder).oldest_seconds < 30
        redis_server.start()
        eventually(lambda: queue_of(folder).waiting == 0)
        worker.send_signal(signal.SIGTERM)
        worker.wait(30)
    assert states_of(folder)[worker.pid] == "ended"
    assert relay.close() == 0
    recorder.disconnect()


def queue_of(folder: Path) -> t.Any:
    [queue] = read_live(folder).relay_queues
    return queue


def test_a_configured_listener_is_shown_and_that_it_was_killed(tmp_path: Path) -> None:
    instance = tmp_path / "instance"
    text = FLASK.format(instance=str(instance))
    site = new_site(tmp_path, shipping=text)
    folder = instance / "signalpost-live"
    with open_shop(tmp_path / "shop.db") as shop:
        shop.place_all(1, 2)
        with started(
            site,
            *("listen", shop.url, "--group", "shipping", "--import", "shipping"),
            "shipping:order_placed",
        ) as worker:
            eventually(lambda: folder.exists() and received_at(folder) == 2)
            eventually(lambda: not shop.rows())
            worker.kill()
    snapshot = read_live(folder)
    row = row_of(snapshot, "received")
    assert row is not None
    assert (row.events, row.party) == (2, "shipping")
    assert states_of(folder) == {worker.pid: "killed"}
