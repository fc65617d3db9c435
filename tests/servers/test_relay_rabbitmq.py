"""Signals over a real RabbitMQ."""

from __future__ import annotations

import itertools
import logging
import socket
import tempfile
import threading
import time
import typing as t
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

import pytest

from signalpost import console
from signalpost import NamedSignal
from signalpost.errors import RelayError
from signalpost.integrations.relay import Backlog
from signalpost.integrations.relay import current_event
from signalpost.integrations.relay import Listener
from signalpost.integrations.relay import read_backlog
from signalpost.integrations.relay import Relay
from signalpost.integrations.relay._transport import Address
from signalpost.integrations.relay._transport import Message
from signalpost.integrations.relay._transport import opened
from signalpost.integrations.relay._transport import Transport
from signalpost.integrations.relay.outbox import Dispatcher
from tests.integrations.relay.outboxes import new_signal
from tests.integrations.relay.outboxes import open_shop
from tests.integrations.relay.outboxes import PATIENCE_SECONDS
from tests.integrations.relay.outboxes import running
from tests.integrations.relay.outboxes import wait_until
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.rabbitmq import running_rabbitmq
from tests.servers.relaying import Received

kombu = pytest.importorskip("kombu", reason="kombu is not installed")

_numbers = itertools.count()


@pytest.fixture(scope="module")
def broker() -> Iterator[RabbitMQ]:
    # A short path, not shared with others: Erlang keeps a cookie in it.
    with (
        tempfile.TemporaryDirectory(prefix="signalpost-rabbitmq-") as place,
        running_rabbitmq(Path(place)) as broker,
    ):
        yield broker


@pytest.fixture
def prefix() -> str:
    """Return names that no other test uses."""
    return f"test{next(_numbers)}"


Open = Callable[[], Transport]


@pytest.fixture
def open_transport(broker: RabbitMQ, prefix: str) -> Iterator[Open]:
    transports = []

    def open_one() -> Transport:
        transports.append(opened(Address(broker.url, prefix)))
        return transports[-1]

    yield open_one
    for one in transports:
        one.close()


class Sender:
    """The sending application."""

    def __init__(self, broker: RabbitMQ, prefix: str, **options: t.Any) -> None:
        self.order_placed = new_signal()
        self.relay = Relay(broker.url, source="shop", prefix=prefix, **options)
        self.relay.forward(self.order_placed)

    def place(self, *numbers: int) -> None:
        for number in numbers:
            self.order_placed.send("till", order=number)

    def close(self) -> None:
        assert self.relay.close(30) == 0


@pytest.fixture
def sender(broker: RabbitMQ, prefix: str) -> Iterator[Sender]:
    sender = Sender(broker, prefix, sends="now")
    yield sender
    sender.close()


class Worker:
    """The listener of a group, with its own signal, as in another process."""

    def __init__(
        self,
        broker: RabbitMQ,
        prefix: str,
        group: str,
        query: str = "",
        **options: t.Any,
    ) -> None:
        self.orders: list[int] = []
        self.tries: list[int] = []
        self.work: Callable[[int], object] = lambda order: None
        self.signal: NamedSignal = new_signal()
        self.signal.connect(self.receive, weak=False)
        own: dict[str, t.Any] = {"retry_seconds": 0.1, "prefix": prefix}
        self.listener = Listener(
            broker.url + query, group=group, signals=[self.signal], **own | options
        )

    def receive(self, sender: object, order: int) -> None:
        event = current_event()
        assert event is not None
        assert (event.source, sender) == ("shop", "till")
        self.tries.append(event.tries)
        self.work(order)
        self.orders.append(order)


Make = Callable[..., Worker]


@pytest.fixture
def worker_of(broker: RabbitMQ, prefix: str, open_transport: Open) -> Make:
    """Return what makes a worker of a group, whose queue is there."""

    def make(group: str, query: str = "", **options: t.Any) -> Worker:
        transport = open_transport()
        transport.subscribe(group, ["order-placed"])
        transport.close()
        return Worker(broker, prefix, group, query, **options)

    return make


# Groups


def test_ten_thousand_events_are_counted_on_both_sides(
    broker: RabbitMQ, prefix: str, worker_of: Make
) -> None:
    shipping, billing = worker_of("shipping"), worker_of("billing")
    sender = Sender(broker, prefix)
    sender.place(*range(10_000))
    with running(shipping.listener, billing.listener):
        wait_until(lambda: len(shipping.orders) >= 10_000 <= len(billing.orders))
    sender.close()
    assert (sender.relay.sent, sender.relay.dropped) == (10_000, 0)
    assert shipping.orders == billing.orders == [*range(10_000)]


def test_listeners_of_a_group_share_its_events(sender: Sender, worker_of: Make) -> None:
    workers = [worker_of("shipping", "?prefetch=1") for _ in range(2)]
    both = threading.Barrier(2)

    def meet(order: int) -> None:
        # The first order is with one of them until the last is with the other.
        if order == 0 or (order == 99 and not both.broken):
            both.wait(PATIENCE_SECONDS)

    for worker in workers:
        worker.work = meet
    with running(*(worker.listener for worker in workers)):
        sender.place(*range(100))
        wait_until(lambda: sum(len(worker.orders) for worker in workers) >= 100)
    assert sorted(n for worker in workers for n in worker.orders) == [*range(100)]
    assert all(worker.orders for worker in workers)


def test_group_receives_later_what_it_has_missed(
    sender: Sender, worker_of: Make
) -> None:
    shipping = worker_of("shipping")
    sender.place(1, 2)
    with running(shipping.listener):
        wait_until(lambda: shipping.orders == [1, 2])


def test_event_that_no_group_receives_is_reported_once(
    sender: Sender, worker_of: Make, caplog: pytest.LogCaptureFixture
) -> None:
    sender.place(1, 2)
    assert caplog.text.count("no group receives 'order-placed'") == 1
    shipping = worker_of("shipping")
    with running(shipping.listener):
        sender.place(3)
        wait_until(lambda: shipping.orders)
    assert shipping.orders == [3]


def test_committed_event_crosses(
    broker: RabbitMQ, prefix: str, worker_of: Make, tmp_path: Path
) -> None:
    shipping = worker_of("shipping")
    with open_shop(tmp_path / "shop.db") as shop:
        dispatcher = Dispatcher(broker.url, database=shop.url, prefix=prefix)
        with running(dispatcher, shipping.listener):
            for number in range(20):
                shop.place(number, sender="till")
                (shop.session.commit if number % 2 else shop.session.rollback)()
            wait_until(lambda: len(shipping.orders) >= 10)
        assert shop.rows() == []
    assert shipping.orders == [*range(1, 20, 2)]


# Failures


def test_receiver_that_fails_is_tried_again_later(
    sender: Sender, worker_of: Make
) -> None:
    shipping = worker_of("shipping")

    def fail_twice(order: int) -> None:
        if order == 1 and len(shipping.tries) < 4:
            raise LookupError("no such order")

    shipping.work = fail_twice
    sender.place(1, 2)
    with running(shipping.listener):
        wait_until(lambda: shipping.orders == [2, 1])
    assert shipping.tries == [1, 1, 2, 3]


def test_queue_of_retries_that_was_deleted_is_made_again(
    broker: RabbitMQ, prefix: str, sender: Sender, open_transport: Open
) -> None:
    transport = open_transport()
    transport.subscribe("shipping", ["order-placed"])
    sender.place(1)
    for is_there in (True, False, True):
        received: list[Message] = []
        wait_until(lambda to=received: to.extend(transport.receive(1)) or to)  # type: ignore[misc]
        if is_there:
            transport.again(received[0], 0.1)
            continue
        with kombu.Connection(broker.url) as connection:
            connection.channel().queue_delete(f"{prefix}.shipping.retry.0.125s")
        with pytest.raises(RelayError, match=r"no queue '.*retry\.0\.125s'"):
            transport.again(received[0], 0.1)
        transport.subscribe("shipping", ["order-placed"])


def test_event_that_fails_too_often_is_a_dead_letter_of_its_group(
    sender: Sender, worker_of: Make, open_transport: Open
) -> None:
    shipping, billing = worker_of("shipping", max_tries=2), worker_of("billing")

    def fail(order: int) -> None:
        raise LookupError("no such order")

    shipping.work = fail
    sender.place(1, 2, 3)
    with running(shipping.listener, billing.listener):
        wait_until(lambda: shipping.listener.buried == 3 == len(billing.orders))
        transport = open_transport()
        assert list(transport.dead("billing")) == []
        letters = list(transport.dead("shipping"))
        assert {letter.why.reason for letter in letters} == {
            "LookupError: no such order"
        }
        assert {letter.why.tries for letter in letters} == {2}
        assert all("in fail" in letter.why.traceback for letter in letters)
        assert all(letter.at is not None for letter in letters)
        shipping.work = lambda order: None
        # By another connection than the one that has listed them.
        transport.close()
        transport = open_transport()
        transport.retry("shipping", letters[1])
        transport.drop("shipping", letters[0])
        wait_until(lambda: shipping.orders == [2])
        assert [one.id for one in transport.dead("shipping")] == [letters[2].id]
    assert shipping.tries[-1] == 1


def test_dead_letters_outlive_being_listed(
    sender: Sender, worker_of: Make, open_transport: Open
) -> None:
    shipping = worker_of("shipping", max_tries=1)
    shipping.work = lambda order: 1 / 0
    sender.place(1)
    with running(shipping.listener):
        wait_until(lambda: shipping.listener.buried)
    transport = open_transport()
    # RabbitMQ 4 would drop, after 20 times, messages without their own limit.
    assert [len(list(transport.dead("shipping"))) for _ in range(30)] == [1] * 30


def test_group_that_is_not_there_has_no_dead_letters(open_transport: Open) -> None:
    with pytest.raises(RelayError, match="has no group 'shiping'"):
        list(open_transport().dead("shiping"))


def test_wrong_message_by_hand_is_buried_at_once(
    broker: RabbitMQ, prefix: str, worker_of: Make, open_transport: Open
) -> None:
    shipping = worker_of("shipping")
    bodies = [b"not JSON", b"", b"\xff\xfe", b'{"id":"1"}']
    where = {"exchange": prefix, "routing_key": "order-placed"}
    with kombu.Connection(broker.url) as connection:
        producer = connection.Producer()
        for body in bodies:
            for encoding in ("binary", "utf-8"):
                producer.publish(
                    body, content_type="text/plain", content_encoding=encoding, **where
                )
        producer.publish({"any": 1}, serializer="json", **where)
    with running(shipping.listener):
        wait_until(lambda: shipping.listener.buried == 9)
    letters = list(open_transport().dead("shipping"))
    assert {letter.why.tries for letter in letters} == {1}
    assert [letter.body for letter in letters[::2]] == [*bodies, b'{"any": 1}']


def test_long_receiver_is_not_handed_to_another_worker(
    sender: Sender, worker_of: Make
) -> None:
    # Longer than two heartbeats, after which RabbitMQ gives up a silent client.
    first, second = (worker_of("shipping", "?heartbeat=2") for _ in range(2))
    first.work = lambda order: time.sleep(6)
    sender.place(1)
    with running(first.listener):
        wait_until(lambda: first.tries)
        with running(second.listener):
            wait_until(lambda: first.orders)
    assert (first.tries, second.tries) == ([1], [])


def test_worker_that_stops_gives_back_what_it_has_not_come_to(
    sender: Sender, worker_of: Make
) -> None:
    first, second = worker_of("shipping"), worker_of("shipping")
    sender.place(*range(5))
    first.work = lambda order: first.listener.stop()
    with running(first.listener):
        wait_until(lambda: first.orders)
    with running(second.listener):
        # The first has come back, as if it had ended the worker: it goes to the end.
        wait_until(lambda: second.orders == [2, 3, 4, 1])
    assert (first.orders, second.tries) == ([0], [1, 1, 1, 1])


def test_event_that_ends_its_workers_is_buried(
    sender: Sender, worker_of: Make, open_transport: Open
) -> None:
    shipping = worker_of("shipping", max_tries=2)
    sender.place(1)
    tries: list[int] = []
    while not tries or tries[-1] < 3:
        killed = open_transport()
        killed.subscribe("shipping", ["order-placed"])
        received: list[Message] = []
        wait_until(lambda it=killed, to=received: to.extend(it.receive(0.1)) or to)  # type: ignore[misc]
        tries.append(received[0].tries)
        killed.forget()
    # A few times, it may be that others are why the worker has ended.
    assert tries == [1, 1, 1, 1, 2, 3]
    with running(shipping.listener):
        wait_until(lambda: shipping.listener.buried)
    (letter,) = open_transport().dead("shipping")
    assert "no worker has finished with it" in letter.why.reason


def test_events_are_received_although_workers_are_killed(
    broker: RabbitMQ, sender: Sender, worker_of: Make, tmp_path: Path, prefix: str
) -> None:
    worker_of("shipping")
    sender.place(*range(300))
    shipping = Received(tmp_path)
    words = ("--prefix", prefix)
    shipping.kill_in_the_midst(broker.url, 2, 30, *words)
    with shipping.listening(broker.url, *words):
        wait_until(lambda: len(shipping.counted()) == 300)
    assert sum(shipping.counted().values()) <= 300 + 2 * 16


# The broker


def test_broker_that_is_killed_under_load_loses_nothing(
    broker: RabbitMQ,
    prefix: str,
    sender: Sender,
    worker_of: Make,
    caplog: pytest.LogCaptureFixture,
) -> None:
    shipping = worker_of("shipping")
    background = Sender(broker, prefix)
    with running(shipping.listener):
        background.place(*range(500))
        wait_until(lambda: len(shipping.orders) > 100)
        broker.kill()
        background.place(*range(500, 1000))
        for _ in range(2):
            with pytest.raises(RelayError, match="cannot be used"):
                sender.place(0)
        broker.start()
        # A producer of kombu's would be broken for good.
        wait_until(lambda: is_sent(sender, 1000))
        background.place(1001)
        wait_until(lambda: len(set(shipping.orders)) >= 1002)
    background.close()
    assert sorted(set(shipping.orders)) == [*range(1002)]
    assert [
        one.getMessage().partition(";")[2]
        for one in caplog.records
        if one.levelno == logging.ERROR and "waiting for it" in one.getMessage()
    ] == [" waiting for it"]


def is_sent(sender: Sender, order: int) -> bool:
    """Return whether an order could be placed; a broker that starts elects leaders."""
    try:
        sender.place(order)
    except RelayError:
        return False
    return True


def test_silent_broker_is_an_error_in_time(prefix: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        transport = opened(Address(f"amqp://127.0.0.1:{port}//", prefix, seconds=0.2))
        with pytest.raises(RelayError, match="cannot be used"):
            transport.send([])
        transport.close()


def test_check_reports_nothing_about_a_broker_that_is_right(
    open_transport: Open,
) -> None:
    assert open_transport().check() == []


def test_names_that_would_match_other_names_are_refused(open_transport: Open) -> None:
    for name in ("orders.#", "*", "x" * 256):
        with pytest.raises(ValueError, match="no part that is"):
            open_transport().subscribe("shipping", [name])
    open_transport().subscribe("shipping", ["orders.v2", "a#b"])


@pytest.mark.parametrize("query", ["?prefetch=0", "?heartbeat=soon", "?nosuch=1"])
def test_option_of_the_url_that_cannot_be_is_refused(query: str) -> None:
    with pytest.raises(ValueError, match=query[1:].partition("=")[0]):
        opened(Address(f"amqp://broker{query}"))


# Groups


def test_what_waits_for_a_group_is_counted_and_the_group_forgotten(
    broker: RabbitMQ, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def called(*words: str) -> tuple[int, str, str]:
        code = console.main(["relay", words[0], broker.url, *words[1:]])
        found = capsys.readouterr()
        return code, found.out, found.err

    def backlog() -> Backlog:
        return read_backlog(broker.url, "shipping", prefix=prefix)

    def ship(sender: object, order: int) -> None:
        raise LookupError(order)

    own = ("--prefix", prefix)
    there = new_signal()
    there.connect(ship, weak=False)
    with pytest.raises(RelayError, match="has no group 'shipping'"):
        backlog()
    listener = Listener(
        broker.url,
        group="shipping",
        signals=[there],
        prefix=prefix,
        max_tries=2,
        retry_seconds=1,
    )
    sender = Sender(broker, prefix)
    with running(listener):
        check = ("check", "--group", "shipping", *own)
        wait_until(lambda: "1 listener." in called(*check)[1])
        sender.place(1)
        wait_until(lambda: listener.failed == 1)
        # Nothing tries it again before this listener runs again.
        listener.stop()
    wait_until(lambda: backlog().waiting == 1)
    with running(listener):
        wait_until(lambda: backlog().dead == 1)
        wait_until(lambda: backlog().listeners == 1)
        assert (backlog().waiting, backlog().oldest_seconds) == (0, None)
        assert "has 1 listener; stop" in called("forget", "shipping", *own)[2]
    sender.place(2, 3)
    sender.relay.close()
    assert backlog() == Backlog("shipping", 2, None, 1, 0)
    assert "has 1 dead letter" in called("forget", "shipping", *own)[2]
    assert called("forget", "shipping", "--force", *own)[:2] == (
        0,
        "The group 'shipping' is deleted, with 3 events.\n",
    )
    with pytest.raises(RelayError, match="has no group 'shipping'"):
        backlog()
