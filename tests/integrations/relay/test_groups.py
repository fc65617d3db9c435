"""The backlog of a group is counted, shown and exported; a group can be deleted."""

from __future__ import annotations

import threading
import time
import typing as t
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import prometheus_client
import pytest
import redis
from prometheus_client import CollectorRegistry

from signalpost import console
from signalpost import NamedSignal
from signalpost.errors import RelayError
from signalpost.integrations.prometheus import PrometheusMetrics
from signalpost.integrations.relay import Backlog
from signalpost.integrations.relay import Listener
from signalpost.integrations.relay import read_backlog
from signalpost.integrations.relay import Relay
from signalpost.integrations.relay.outbox import Dispatcher
from signalpost.integrations.relay.prometheus import RelayCollector
from tests.integrations.relay.brokers import RedisServer
from tests.integrations.relay.listening import eventually
from tests.integrations.relay.listening import listening
from tests.integrations.relay.listening import order_placed
from tests.integrations.relay.listening import Shipping
from tests.integrations.relay.outboxes import open_shop


class Broker(t.NamedTuple):
    """A broker with its own names."""

    url: str
    prefix: str

    def relay(self, signal: NamedSignal) -> Relay:
        relay = Relay(self.url, source="shop", sends="now", prefix=self.prefix)
        return relay.forward(signal)

    def listener(self, signal: NamedSignal, **options: t.Any) -> Listener:
        return Listener(
            self.url, group="shipping", signals=[signal], prefix=self.prefix, **options
        )

    def backlog(self) -> Backlog:
        return read_backlog(self.url, "shipping", prefix=self.prefix)

    def words(self) -> tuple[str, ...]:
        return self.url, "--prefix", self.prefix


@pytest.fixture(params=["redis", "sqlite"])
def broker(
    request: pytest.FixtureRequest, tmp_path: Path, prefix: str
) -> Iterator[Broker]:
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        yield Broker(server.url, prefix)
        return
    with open_shop(tmp_path / "shop.db") as shop:
        yield Broker(shop.url, "signalpost")


@contextmanager
def sending(broker: Broker) -> Iterator[NamedSignal]:
    here = order_placed()
    relay = broker.relay(here)
    try:
        yield here
    finally:
        relay.close()


def receive(signal: NamedSignal, action: t.Any = None) -> None:
    def ship(sender: object, order: int) -> None:
        if action is not None:
            action(order)

    signal.connect(ship, weak=False)


def run_once(broker: Broker, there: NamedSignal) -> None:
    """Have a listener make its group."""
    with listening(broker.listener(there)):
        eventually(lambda: _has_group(broker))


def _has_group(broker: Broker) -> bool:
    try:
        broker.backlog()
    except RelayError:
        return False
    return True


def called(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = console.main(["relay", *words])
    found = capsys.readouterr()
    return code, found.out, found.err


def test_what_waits_for_a_group_is_counted(broker: Broker) -> None:
    there = order_placed()
    shipping = Shipping(there)
    with sending(broker) as here:
        run_once(broker, there)
        assert broker.backlog().waiting == 0
        assert broker.backlog().oldest_seconds is None
        for number in range(3):
            here.send(None, order=number)
        time.sleep(0.05)
        found = broker.backlog()
        assert (found.group, found.waiting, found.dead) == ("shipping", 3, 0)
        assert found.oldest_seconds is not None
        assert 0.04 < found.oldest_seconds < 30
        with listening(broker.listener(there)):
            eventually(lambda: broker.backlog().waiting == 0)
        assert shipping.orders == [0, 1, 2]


def test_what_is_tried_again_waits_and_what_is_dead_does_not(broker: Broker) -> None:
    there = order_placed()
    go_on = threading.Event()

    def fail(order: int) -> None:
        if listener.failed:
            go_on.wait(30)
        raise LookupError(order)

    receive(there, fail)
    listener = broker.listener(there, max_tries=2, retry_seconds=0.5)
    with sending(broker) as here, listening(listener):
        eventually(lambda: _has_group(broker))
        here.send(None, order=1)
        eventually(lambda: listener.failed == 1)
        try:
            assert broker.backlog().waiting == 1
        finally:
            go_on.set()
        eventually(lambda: broker.backlog().dead == 1)
        assert broker.backlog().waiting == 0
        eventually(lambda: listener.buried == 1)


def test_listener_that_runs_is_counted(broker: Broker) -> None:
    there = order_placed()
    go_on = threading.Event()
    shipping = Shipping(there, lambda order: go_on.wait(30))
    with sending(broker) as here, listening(broker.listener(there)):
        eventually(lambda: _has_group(broker) and broker.backlog().listeners)
        assert broker.backlog().listeners == 1
        here.send(None, order=1)
        eventually(lambda: shipping.orders)
        try:
            assert broker.backlog().listeners == 1
            assert broker.backlog().waiting == 1
        finally:
            go_on.set()


def test_listener_that_is_stopped_before_it_runs_returns(broker: Broker) -> None:
    there = order_placed()
    receive(there)
    listener = broker.listener(there)
    listener.stop()
    thread = threading.Thread(target=listener.run, daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    assert not _has_group(broker)
    with listening(listener):
        eventually(lambda: _has_group(broker))


def test_listener_that_only_waits_is_counted(
    redis_server: RedisServer, prefix: str
) -> None:
    broker = Broker(f"{redis_server.url}?lease_seconds=5", prefix)
    there = order_placed()
    receive(there)
    with listening(broker.listener(there), broker.listener(there)):
        eventually(lambda: _has_group(broker) and broker.backlog().listeners == 2)
        time.sleep(6)  # longer than a lease
        assert broker.backlog().listeners == 2
    assert broker.backlog().listeners == 0


def test_group_that_is_not_there_is_an_error(broker: Broker) -> None:
    with pytest.raises(RelayError, match="has no group 'shipping'"):
        broker.backlog()


def test_check_shows_each_group(
    broker: Broker, capsys: pytest.CaptureFixture[str]
) -> None:
    there = order_placed()
    receive(there)
    with sending(broker) as here:
        run_once(broker, there)
        here.send(None, order=1)
    code, out, _ = called(capsys, "check", *broker.words())
    assert code == 0
    assert "Group 'shipping': 1 event waits, the oldest for " in out
    assert "; 0 dead letters; " in out
    code, _, err = called(capsys, "check", *broker.words(), "--group", "billing")
    assert code == 1
    assert "has no group 'billing'" in err


def test_group_is_forgotten(broker: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    there = order_placed()
    receive(there)
    with sending(broker) as here:
        with listening(broker.listener(there)):
            eventually(lambda: _has_group(broker) and broker.backlog().listeners)
            code, out, err = called(capsys, "forget", *broker.words(), "shipping")
            assert (code, out) == (1, "")
            assert "has 1 listener; stop them first" in err
            assert _has_group(broker)
        here.send(None, order=1)
        words = ("forget", *broker.words(), "shipping", "--force")
        assert called(capsys, *words)[1] == (
            "The group 'shipping' is deleted, with 1 event.\n"
        )
    assert not _has_group(broker)
    code, _, err = called(capsys, "forget", *broker.words(), "shipping")
    assert code == 1
    assert "has no group 'shipping'" in err
    code, _, err = called(capsys, "forget", *broker.words())
    assert code == 1
    assert "the name of one group" in err


def test_group_with_dead_letters_is_kept(
    redis_server: RedisServer, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    broker = Broker(redis_server.url, prefix)
    there = order_placed()

    def fail(order: int) -> None:
        raise LookupError(order)

    receive(there, fail)
    with sending(broker) as here, listening(broker.listener(there, max_tries=1)):
        here.send(None, order=1)
        eventually(lambda: _has_group(broker) and broker.backlog().dead)
    code, _, err = called(capsys, "forget", *broker.words(), "shipping")
    assert code == 1
    assert "has 1 dead letter; retry or drop them first" in err
    assert called(capsys, "forget", *broker.words(), "shipping", "--force")[0] == 0
    with redis.Redis(port=redis_server.port) as client:
        assert [*client.scan_iter(f"{prefix}.*")] == []


def test_redis_that_counts_nothing_itself_is_counted(
    redis_server: RedisServer, prefix: str
) -> None:
    broker = Broker(redis_server.url, prefix)
    there = order_placed()
    receive(there)
    with sending(broker) as here:
        run_once(broker, there)
        for number in range(5):
            here.send(None, order=number)
    stream = f"{prefix}:order-placed"
    with redis.Redis(port=redis_server.port) as client:
        entries = t.cast("t.Any", client.xrange(stream))
        # Redis has no number once one in the middle is deleted.
        client.xdel(stream, entries[2][0])
        groups = t.cast("t.Any", client.xinfo_groups(stream))
    assert groups[0]["lag"] is None
    assert broker.backlog().waiting == 4


# Prometheus


def test_metrics_of_relays_listeners_and_groups_are_scraped(broker: Broker) -> None:
    registry = CollectorRegistry()
    collector = RelayCollector(broker.url, prefix=broker.prefix)
    registry.register(collector)
    there = order_placed()
    receive(there)
    value = registry.get_sample_value
    here = order_placed()
    relay = Relay(broker.url, source="metrics", sends="now", prefix=broker.prefix)
    relay.forward(here)
    with listening(broker.listener(there)):
        for number in range(3):
            here.send(None, order=number)
        group = {"group": "shipping"}
        name = "signalpost_listener_received_events_total"
        eventually(lambda: value(name, group) == 3)
        eventually(lambda: value("signalpost_group_waiting_events", group) == 0)
        assert value("signalpost_group_listeners", group) == 1
        assert value("signalpost_group_oldest_seconds", group) == 0
    source = {"source": "metrics"}
    assert value("signalpost_relay_sent_events_total", source) == 3
    assert value("signalpost_relay_tries_total", source) == 3
    assert value("signalpost_relay_dropped_events_total", source) == 0
    assert value("signalpost_relay_waiting_events", source) == 0
    assert value(name, group) is None
    here.send(None, order=4)
    assert value("signalpost_group_waiting_events", group) == 1
    assert value("signalpost_group_dead_letters", group) == 0
    assert value("signalpost_broker_up") == 1
    relay.close()
    collector.close()


def test_metrics_are_served_beside_those_of_requests(
    redis_server: RedisServer, prefix: str
) -> None:
    there = order_placed()
    receive(there)
    run_once(Broker(redis_server.url, prefix), there)
    metrics = PrometheusMetrics()
    collector = RelayCollector(redis_server.url, prefix=prefix)
    metrics.registry.register(collector)
    text = prometheus_client.generate_latest(metrics.registry).decode()
    assert 'signalpost_group_waiting_events{group="shipping"} 0.0' in text
    collector.close()


def test_scrape_without_the_broker_has_the_other_metrics(
    caplog: pytest.LogCaptureFixture,
) -> None:
    registry = CollectorRegistry()
    registry.register(RelayCollector("redis://:secret@127.0.0.1:1/0"))
    with relay_of("away"):
        for _ in range(2):
            assert registry.get_sample_value("signalpost_broker_up") == 0
        source = {"source": "away"}
        assert registry.get_sample_value("signalpost_relay_tries_total", source) == 0
    assert len([one for one in caplog.messages if "no metrics" in one]) == 1
    assert "secret" not in caplog.text


@contextmanager
def relay_of(source: str) -> Iterator[Relay]:
    relay = Relay("redis://127.0.0.1:1/0", source=source)
    try:
        yield relay
    finally:
        relay.close(0)


def test_rows_of_an_outbox_are_scraped(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    value = registry.get_sample_value
    with open_shop(tmp_path / "shop.db") as shop:
        dispatcher = Dispatcher("redis://127.0.0.1:1", database=shop.engine)
        registry.register(RelayCollector(outbox=dispatcher.waiting))
        assert value("signalpost_outbox_oldest_seconds") == 0
        shop.place_all(1, 2)
        assert value("signalpost_outbox_waiting_events") == 2
        assert t.cast("float", value("signalpost_outbox_oldest_seconds")) > 0
        shop.execute("DROP TABLE signalpost_outbox")
        assert value("signalpost_outbox_waiting_events") is None
        dispatcher.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "amqp://127.0.0.1:1"}, "groups must name those"),
        ({"url": "redis://127.0.0.1:1", "groups": "shipping"}, "a collection of names"),
        ({"groups": ["shipping"]}, "give its url"),
        ({"url": "kafka://b"}, "must begin with"),
        ({"outbox": 5}, "must be a function"),
    ],
)
def test_option_of_the_collector_that_cannot_be_is_refused(
    options: dict[str, t.Any], message: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        RelayCollector(**options)
