"""Signals cross a real Redis: to each group, once a group, and again if need be."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import threading
import time
import typing as t
from pathlib import Path

import pytest
import redis

from signalpost import Namespace
from signalpost.errors import RelayError
from signalpost.integrations.relay import Codec
from signalpost.integrations.relay import current_event
from signalpost.integrations.relay import Event
from signalpost.integrations.relay import Listener
from signalpost.integrations.relay import Relay
from signalpost.integrations.relay import relay_buried
from signalpost.integrations.relay import relay_failed
from signalpost.integrations.relay import relay_received
from signalpost.integrations.relay import relay_sent
from signalpost.integrations.relay._transport import Address
from signalpost.integrations.relay._transport import DeadLetter
from signalpost.integrations.relay._transport import Message
from signalpost.integrations.relay._transport import opened
from signalpost.integrations.relay.outbox import Dispatcher
from signalpost.testing import capture
from tests.integrations.relay.brokers import RedisServer
from tests.integrations.relay.listening import eventually
from tests.integrations.relay.listening import listening
from tests.integrations.relay.listening import order_placed
from tests.integrations.relay.listening import Shipping
from tests.integrations.relay.outboxes import open_shop
from tests.integrations.relay.outboxes import running

PATIENCE_SECONDS = 30


@pytest.fixture
def url(redis_server: RedisServer) -> str:
    return redis_server.url


@pytest.fixture
def client(redis_server: RedisServer) -> t.Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_server.url) as client:
        yield client


@pytest.fixture
def relay(url: str, prefix: str) -> t.Iterator[Relay]:
    relay = Relay(url, source="shop", sends="now", prefix=prefix)
    yield relay
    relay.close()


def dead_letters(url: str, prefix: str, group: str = "shipping") -> list[DeadLetter]:
    transport = opened(Address(url, prefix))
    found = [*transport.dead(group)]
    transport.close()
    return found


def test_event_crosses(url: str, prefix: str, relay: Relay) -> None:
    here, there = order_placed(), order_placed()
    relay.forward(here)
    shipping = Shipping(there)
    listener = Listener(url, group="shipping", signals=[there], prefix=prefix)
    with (
        capture(relay_sent) as sent,
        capture(relay_received) as received,
        listening(listener),
    ):
        here.send("till", order={"number": 5})
        eventually(lambda: received)
    assert shipping.orders == [{"number": 5}]
    assert shipping.senders == ["till"]
    [event] = shipping.events
    assert event is not None
    assert (event.source, event.name, event.tries) == ("shop", "order-placed", 1)
    assert (relay.sent, relay.waiting, relay.dropped) == (1, 0, 0)
    assert listener.received == 1
    [one] = sent
    assert one.sender is relay
    assert one.payload["event"].id == event.id
    [one] = received
    assert one.sender is listener
    assert one.payload["event"] == event
    assert one.payload["exception"] is None
    assert one.payload["duration_seconds"] >= 0


def test_each_group_gets_each_event(url: str, prefix: str, relay: Relay) -> None:
    here, one, other = order_placed(), order_placed(), order_placed()
    relay.forward(here)
    shipping, billing = Shipping(one), Shipping(other)
    with listening(
        Listener(url, group="shipping", signals=[one], prefix=prefix),
        Listener(url, group="billing", signals=[other], prefix=prefix),
    ):
        for number in range(20):
            here.send(None, order=number)
        eventually(lambda: len(shipping.orders) == len(billing.orders) == 20)
    assert shipping.orders == billing.orders == [*range(20)]


def test_listeners_of_a_group_share_events(url: str, prefix: str, relay: Relay) -> None:
    here, one, other = order_placed(), order_placed(), order_placed()
    relay.forward(here)
    both = threading.Barrier(2)

    def meet(order: int) -> None:
        if order == 0 or (order == 199 and not both.broken):
            both.wait(20)

    first, second = Shipping(one, meet), Shipping(other, meet)
    with listening(
        Listener(url, group="shipping", signals=[one], prefix=prefix),
        Listener(url, group="shipping", signals=[other], prefix=prefix),
    ):
        # The first order is with one of them until the last is with the other.
        for number in range(200):
            here.send(None, order=number)
        eventually(lambda: len(first.orders) + len(second.orders) == 200)
    assert sorted(first.orders + second.orders) == [*range(200)]
    assert first.orders
    assert second.orders


def test_slow_workers_of_a_group_each_have_some_of_a_backlog(
    url: str, prefix: str, relay: Relay
) -> None:
    here, one, other = order_placed(), order_placed(), order_placed()
    relay.forward(here)
    for number in range(60):
        here.send(None, order=number)

    both = threading.Barrier(2)

    def work(own: Shipping) -> None:
        # It is slow until the other has as many.
        if len(own.orders) == 5:
            both.wait(20)
        time.sleep(0.02)

    first: Shipping = Shipping(one, lambda order: work(first))
    second: Shipping = Shipping(other, lambda order: work(second))
    with listening(
        Listener(url, group="shipping", signals=[one], prefix=prefix),
        Listener(url, group="shipping", signals=[other], prefix=prefix),
    ):
        eventually(lambda: len(first.orders) + len(second.orders) == 60)
    assert sorted(first.orders + second.orders) == [*range(60)]
    assert len(first.orders) >= 5
    assert len(second.orders) >= 5


def test_listener_that_starts_later_gets_what_was_missed(
    url: str, prefix: str, relay: Relay
) -> None:
    here, there = order_placed(), order_placed()
    relay.forward(here)
    here.send(None, order=1)  # before the group was ever there
    shipping = Shipping(there)
    listener = Listener(url, group="shipping", signals=[there], prefix=prefix)
    with listening(listener):
        eventually(lambda: shipping.orders == [1])
    here.send(None, order=2)  # while it is away
    here.send(None, order=3)
    with listening(listener):
        eventually(lambda: shipping.orders == [1, 2, 3])


def test_failed_event_is_tried_again_later(url: str, prefix: str, relay: Relay) -> None:
    here, there = order_placed(), order_placed()
    relay.forward(here)
    failures = iter([LookupError("stock"), LookupError("stock")])
    times = []

    def fail_twice(order: object) -> None:
        times.append(time.monotonic())
        for error in failures:
            raise error

    shipping = Shipping(there, fail_twice)
    listener = Listener(
        url, group="shipping", signals=[there], prefix=prefix, retry_seconds=0.2
    )
    with capture(relay_received) as received, listening(listener):
        here.send(None, order=1)
        here.send(None, order=2)  # does not wait for the other
        eventually(lambda: listener.received == 2)
    assert shipping.orders.count(1) + shipping.orders.count(2) == 4
    assert listener.failed == 2
    assert {type(one.payload["exception"]) for one in received} == {
        LookupError,
        type(None),
    }
    assert dead_letters(url, prefix) == []


def test_event_is_a_dead_letter_after_its_tries(
    url: str, prefix: str, relay: Relay
) -> None:
    here, there = order_placed(), order_placed()
    relay.forward(here)

    def fail(order: object) -> None:
        raise LookupError("no stock")

    shipping = Shipping(there, fail)
    listener = Listener(
        url,
        group="shipping",
        signals=[there],
        prefix=prefix,
        max_tries=3,
        retry_seconds=0.05,
    )
    with capture(relay_buried) as buried, listening(listener):
        here.send(None, order=1)
        eventually(lambda: buried)
    assert [one.tries for one in shipping.events if one] == [1, 2, 3]
    [letter] = dead_letters(url, prefix)
    assert letter.why.tries == 3
    assert letter.why.reason == "LookupError: no stock"
    assert "in fail" in letter.why.traceback
    assert letter.at is not None
    [one] = buried
    assert one.payload["why"] == letter.why
    assert one.payload["body"] == letter.body
    assert one.payload["event"].payload == {"order": 1}
    assert listener.buried == 1


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise LookupError("no text")


@pytest.mark.parametrize(
    "error",
    [
        UnprintableError(),
        ValueError("\ud800 of a file's name"),
        ValueError("a" * 1_000_000),
        ExceptionGroup("two", [ValueError("a\nb"), LookupError("c")]),
    ],
)
def test_any_exception_of_a_receiver_can_be_buried(
    url: str, prefix: str, relay: Relay, error: Exception
) -> None:
    # pytest-xdist cannot pass such text on.
    logging.getLogger("signalpost.signals").disabled = True
    here, there = order_placed(), order_placed()
    relay.forward(here)

    def fail(order: object) -> None:
        if order == 1:
            raise error

    shipping = Shipping(there, fail)
    listener = Listener(
        url, group="shipping", signals=[there], prefix=prefix, max_tries=1
    )
    with listening(listener):
        here.send(None, order=1)
        here.send(None, order=2)
        eventually(lambda: shipping.orders == [1, 2])
    [letter] = dead_letters(url, prefix)
    assert type(error).__name__ in letter.why.reason
    assert "\n" not in letter.why.reason
    assert len(letter.why.reason) <= 1100


def test_dead_letter_is_retried_by_its_group_only(
    url: str, prefix: str, relay: Relay
) -> None:
    here, one, other = order_placed(), order_placed(), order_placed()
    relay.forward(here)
    is_broken = True

    def fail(order: object) -> None:
        if is_broken:
            raise LookupError("no stock")

    shipping, billing = Shipping(one, fail), Shipping(other)
    with listening(
        Listener(url, group="shipping", signals=[one], prefix=prefix, max_tries=1),
        Listener(url, group="billing", signals=[other], prefix=prefix),
    ):
        here.send(None, order=1)
        eventually(lambda: dead_letters(url, prefix) and billing.orders)
        is_broken = False
        [letter] = dead_letters(url, prefix)
        transport = opened(Address(url, prefix))
        transport.retry("shipping", letter)
        transport.close()
        eventually(lambda: shipping.orders == [1, 1])
        here.send(None, order=2)
        eventually(lambda: billing.orders[-1] == 2)
    assert billing.orders == [1, 2]
    assert dead_letters(url, prefix) == []
    assert [one.tries for one in shipping.events if one][:2] == [1, 1]


def test_dropped_dead_letter_is_gone(url: str, prefix: str, relay: Relay) -> None:
    here, there = order_placed(), order_placed()
    relay.forward(here)

    def fail(order: object) -> None:
        raise LookupError(order)

    shipping = Shipping(there, fail)
    listener = Listener(
        url, group="shipping", signals=[there], prefix=prefix, max_tries=1
    )
    with listening(listener):
        for number in range(3):
            here.send(None, order=number)
        eventually(lambda: listener.buried == 3)
    assert len(shipping.orders) == 3
    letters = dead_letters(url, prefix)
    transport = opened(Address(url, prefix))
    transport.drop("shipping", letters[1])
    transport.close()
    assert dead_letters(url, prefix) == [letters[0], letters[2]]


@pytest.mark.parametrize(
    "fields",
    [
        {"event": b"{"},
        {"event": b"\xff\x00"},
        {"event": b"{}"},
        {"event": b"[" * 50_000},
        {"other": b"x"},
        {
            "event": b'{"specversion": "1.0", "id": "1", "source": "s",'
            b' "type": "unknown", "data": {}}'
        },
        {
            "event": b'{"specversion": "1.0", "id": "1", "source": "s",'
            b' "type": "order-placed", "data": {}}'
        },
        {
            "event": b'{"specversion": "1.0", "id": "1", "source": "s",'
            b' "type": "order-placed", "data": {"order": {"$uuid": "1"}}}'
        },
        {
            "event": b'{"specversion": "1.0", "id": "1", "source": "s",'
            b' "type": "order-placed", "data": {"\\ud800": {"$uuid": "1"}}}'
        },
        {
            "event": b'{"specversion": "1.0", "id": "1", "source": "s",'
            b' "type": "order-placed", "data": {"order": '
            + b"[" * 700
            + b"]" * 700
            + b"}}"
        },
    ],
)
def test_poison_is_buried_at_once(
    url: str,
    prefix: str,
    relay: Relay,
    client: redis.Redis,
    fields: dict[t.Any, t.Any],
) -> None:
    here, there = order_placed(), order_placed()
    relay.forward(here)
    client.xadd(f"{prefix}:order-placed", fields)
    shipping = Shipping(there)
    listener = Listener(url, group="shipping", signals=[there], prefix=prefix)
    with capture(relay_buried) as buried, listening(listener):
        here.send(None, order=2)
        eventually(lambda: shipping.orders == [2])
    [letter] = dead_letters(url, prefix)
    assert letter.why.tries == 1
    assert letter.why.reason
    assert letter.body == next(iter(fields.values()))
    [one] = buried
    assert one.payload["event"] is None
    assert listener.failed == 0


def test_repeat_is_recognised(
    url: str, prefix: str, relay: Relay, client: redis.Redis
) -> None:
    here, there = order_placed(), order_placed()
    relay.forward(here)
    here.send(None, order=1)
    [(_, fields)] = t.cast("t.Any", client.xrange(f"{prefix}:order-placed"))
    for _ in range(3):
        client.xadd(f"{prefix}:order-placed", fields)
    here.send(None, order=2)
    shipping = Shipping(there)
    listener = Listener(url, group="shipping", signals=[there], prefix=prefix)
    with listening(listener):
        eventually(lambda: 2 in shipping.orders)
    assert shipping.orders == [1, 2]
    assert listener.repeated == 3
    forgetful = Listener(url, group="other", signals=[there], prefix=prefix, dedupe=0)
    with listening(forgetful):
        eventually(lambda: forgetful.received == 5)


def test_newer_sender_and_older_listener_live_together(
    url: str, prefix: str, relay: Relay, caplog: pytest.LogCaptureFixture
) -> None:
    newer = Namespace().signal("order-placed", payload=("order", "coupon"))
    older = order_placed()
    relay.forward(newer)
    shipping = Shipping(older)
    listener = Listener(url, group="shipping", signals=[older], prefix=prefix)
    with listening(listener), caplog.at_level(logging.WARNING, "signalpost.relay"):
        for number in range(5):
            newer.send(None, order=number, coupon="SUMMER")
        eventually(lambda: len(shipping.orders) == 5)
    warnings = [one for one in caplog.messages if "coupon" in one]
    assert len(warnings) == 1


def test_older_sender_lacks_what_newer_listener_needs(
    url: str, prefix: str, relay: Relay
) -> None:
    older = order_placed()
    newer = Namespace().signal("order-placed", payload=("order", "coupon"))
    relay.forward(older)
    newer.connect(print)
    listener = Listener(url, group="shipping", signals=[newer], prefix=prefix)
    with listening(listener):
        older.send(None, order=1)
        eventually(lambda: listener.buried == 1)
    [letter] = dead_letters(url, prefix)
    assert "lacks 'coupon'" in letter.why.reason


def test_long_receiver_is_not_handed_out_twice(
    url: str, prefix: str, relay: Relay
) -> None:
    here, one, other = order_placed(), order_placed(), order_placed()
    relay.forward(here)

    def take_long(order: object) -> None:
        time.sleep(5)  # two leases and a half

    first, second = Shipping(one, take_long), Shipping(other, take_long)
    soon = f"{url}?lease_seconds=2"
    with listening(
        Listener(soon, group="shipping", signals=[one], prefix=prefix),
        Listener(soon, group="shipping", signals=[other], prefix=prefix),
    ):
        here.send(None, order=1)
        eventually(lambda: first.orders or second.orders)
        time.sleep(5)
    assert first.orders + second.orders == [1]


def test_event_of_dead_worker_is_received_by_another(
    url: str, prefix: str, relay: Relay
) -> None:
    here, there = order_placed(), order_placed()
    relay.forward(here)
    here.send(None, order=1)
    soon = f"{url}?lease_seconds=1"
    gone = opened(Address(soon, prefix))
    gone.subscribe("shipping", ["order-placed"])
    assert len(gone.receive(1)) == 1
    gone.forget()  # as a worker that is killed
    shipping = Shipping(there)
    with listening(Listener(soon, group="shipping", signals=[there], prefix=prefix)):
        eventually(lambda: shipping.orders == [1])
    [event] = shipping.events
    assert event is not None
    assert event.tries == 2


def test_what_was_handed_out_as_the_connection_broke_comes_at_once(
    url: str, prefix: str, relay: Relay, client: redis.Redis
) -> None:
    here = order_placed()
    relay.forward(here)
    for number in range(3):
        here.send(None, order=number)
    transport = opened(Address(f"{url}?lease_seconds=600", prefix))
    transport.subscribe("shipping", ["order-placed"])
    # Redis has answered, and the answer was lost.
    consumer = t.cast("t.Any", transport)._consumer
    client.xreadgroup("shipping", consumer, {f"{prefix}:order-placed": ">"}, count=2)
    transport.subscribe("shipping", ["order-placed"])
    found = transport.receive(1)
    assert [one.tries for one in found] == [1, 1]
    transport.again(found[0], 300)
    transport.done(found[1:])
    transport.subscribe("shipping", ["order-placed"])
    [message] = transport.receive(1)  # neither of them, but the third
    assert b'"order":2' in message.body
    transport.close()


def test_event_that_ends_each_worker_is_buried(
    url: str, prefix: str, relay: Relay
) -> None:
    here, there = order_placed(), order_placed()
    relay.forward(here)
    here.send(None, order=1)
    address = Address(f"{url}?lease_seconds=0.05", prefix)
    for tries in (1, 2, 3):
        gone = opened(address)
        gone.subscribe("shipping", ["order-placed"])
        received: list[Message] = []
        eventually(lambda it=gone, to=received: to.extend(it.receive(0.1)) or to)  # type: ignore[misc]
        [message] = received
        assert message.tries == tries
        time.sleep(0.1)  # two leases
        gone.forget()
    shipping = Shipping(there)
    listener = Listener(
        address.url, group="shipping", signals=[there], prefix=prefix, max_tries=3
    )
    with listening(listener):
        eventually(lambda: listener.buried == 1)
    assert shipping.orders == []
    [letter] = dead_letters(url, prefix)
    assert "end the process" in letter.why.reason


def test_stopped_listener_gives_back_what_it_has_not_begun(
    url: str, prefix: str, relay: Relay
) -> None:
    here, there = order_placed(), order_placed()
    relay.forward(here)
    for number in range(5):
        here.send(None, order=number)
    long = Address(f"{url}?lease_seconds=600", prefix)
    listener = Listener(long.url, group="shipping", signals=[there], prefix=prefix)
    shipping = Shipping(there, lambda order: listener.stop())
    listener.run()
    assert shipping.orders == [0]
    other = Listener(long.url, group="shipping", signals=[there], prefix=prefix)
    there.disconnect(shipping.ship)
    rest = Shipping(there)
    with listening(other):
        eventually(lambda: len(rest.orders) == 4)
    assert rest.orders == [1, 2, 3, 4]


def test_every_receiver_of_an_event_is_called(
    url: str, prefix: str, relay: Relay
) -> None:
    here, there = order_placed(), order_placed()
    relay.forward(here)

    def fail(order: object) -> None:
        raise LookupError(order)

    failing, shipping = Shipping(there, fail), Shipping(there)
    listener = Listener(
        url, group="shipping", signals=[there], prefix=prefix, max_tries=1
    )
    with listening(listener):
        here.send(None, order=1)
        eventually(lambda: listener.buried)
    assert failing.orders == shipping.orders == [1]


def test_async_receiver_is_called_by_the_wrapper(
    url: str, prefix: str, relay: Relay
) -> None:
    import asyncio

    here, there = order_placed(), order_placed()
    relay.forward(here)
    found: list[tuple[object, Event | None]] = []

    async def ship(sender: object, order: object) -> None:
        await asyncio.sleep(0)
        found.append((order, current_event()))

    there.connect(ship)

    def wrapper(function: t.Any) -> t.Any:
        return lambda *args, **kwargs: asyncio.run(function(*args, **kwargs))

    with listening(
        Listener(
            url,
            group="shipping",
            signals=[there],
            prefix=prefix,
            async_wrapper=wrapper,
        )
    ):
        here.send(None, order=1)
        eventually(lambda: found)
    assert found[0][0] == 1
    assert found[0][1] is not None


def test_values_of_own_types_cross(url: str, prefix: str) -> None:
    codecs = {
        complex: Codec("complex", lambda z: [z.real, z.imag], lambda p: complex(*p))
    }
    here, there = order_placed(), order_placed()
    relay = Relay(url, source="shop", sends="now", prefix=prefix, codecs=codecs)
    relay.forward(here)
    shipping = Shipping(there)
    with listening(
        Listener(url, group="a", signals=[there], prefix=prefix, codecs=codecs)
    ):
        here.send(None, order=1 + 2j)
        eventually(lambda: shipping.orders == [1 + 2j])
    relay.close()


def test_chain_to_another_broker_does_not_come_back(url: str, prefix: str) -> None:
    here, there = order_placed(), order_placed()
    sender = Relay(url, source="shop", sends="now", prefix=prefix).forward(here)
    # As if the other broker were the same one: it would go round for ever.
    chain = Relay(url, source=f"bridge-{prefix}", sends="now", prefix=prefix)
    chain.forward(there, again=True)
    shipping = Shipping(there)
    listener = Listener(url, group="bridge", signals=[there], prefix=prefix)
    with listening(listener):
        here.send(None, order=1)
        eventually(lambda: listener.repeated == 1)
    assert shipping.orders == [1]
    assert chain.sent == 1
    sender.close()
    chain.close()


def test_broker_that_is_away_is_waited_for_and_logged_once(
    prefix: str, tmp_path: t.Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = RedisServer(tmp_path)
    server.start()
    here, there = order_placed(), order_placed()
    relay = Relay(server.url, source="shop", prefix=prefix).forward(here)
    shipping = Shipping(there)
    listener = Listener(server.url, group="a", signals=[there], prefix=prefix)
    try:
        with listening(listener), caplog.at_level(logging.INFO, "signalpost.relay"):
            here.send(None, order=1)
            eventually(lambda: shipping.orders == [1])
            server.kill()
            for number in range(2, 5):
                here.send(None, order=number)
            eventually(lambda: relay.failures > 1)
            # Both have found out before it is back.
            eventually(lambda: any("waiting for it" in one for one in caplog.messages))
            eventually(lambda: any("events wait" in one for one in caplog.messages))
            assert relay.waiting == 3
            assert relay.oldest_seconds > 0
            server.start()
            eventually(lambda: shipping.orders == [1, 2, 3, 4])
            eventually(lambda: relay.waiting == 0)
    finally:
        assert relay.close() == 0
        server.kill()
    assert [one.levelname for one in caplog.records].count("ERROR") == 2
    assert [one.levelname for one in caplog.records].count("WARNING") == 2


def test_sends_now_raises_while_the_broker_is_away(prefix: str) -> None:
    here = order_placed()
    relay = Relay(
        "redis://127.0.0.1:1/0", source="shop", sends="now", prefix=prefix
    ).forward(here)
    with (
        capture(relay_failed) as failed,
        pytest.raises(RelayError, match=r"127\.0\.0\.1"),
    ):
        here.send(None, order=1)
    assert len(failed) == 1
    assert (relay.dropped, relay.failures, relay.tries) == (1, 1, 1)
    relay.close()


def test_check_names_what_could_lose_events(url: str, client: redis.Redis) -> None:
    transport = opened(Address(url))
    assert [*transport.check()] == []
    client.config_set("appendonly", "no")
    client.config_set("maxmemory", "100mb")
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        problems = transport.check()
    finally:
        client.config_set("appendonly", "yes")
        client.config_set("maxmemory", "0")
        client.config_set("maxmemory-policy", "noeviction")
        transport.close()
    assert len(problems) == 2
    assert "appendonly is no" in problems[0]
    assert "allkeys-lru" in problems[1]


def test_stream_has_only_what_some_group_needs(
    redis_server: RedisServer, prefix: str, client: redis.Redis
) -> None:
    here, one = order_placed(), order_placed()
    url = f"{redis_server.url}?keep_seconds=0.001"
    relay = Relay(url, source="shop", sends="now", prefix=prefix).forward(here)
    for number in range(10):
        here.send(None, order=number)
    stream = f"{prefix}:order-placed"
    client.xgroup_create(stream, "billing", "0")
    [(_, entries)] = t.cast(
        "t.Any", client.xreadgroup("billing", "one", {stream: ">"}, count=5)
    )
    client.xack(stream, "billing", *(id_ for id_, _ in entries[:4]))
    shipping = Shipping(one)
    listener = Listener(url, group="shipping", signals=[one], prefix=prefix)
    with listening(listener):
        eventually(lambda: len(shipping.orders) == 10)
    with listening(listener):  # it trims when it starts
        # The one that is not done, and those that the other group has not read.
        eventually(lambda: client.xlen(stream) == 6)
    relay.close()


def test_fork_sends_nothing_of_its_parent(url: str, prefix: str) -> None:
    here, there = order_placed(), order_placed()
    relay = Relay(url, source="shop", prefix=prefix).forward(here)
    shipping = Shipping(there)
    here.send(None, order="parent")
    eventually(lambda: relay.sent == 1)
    child = os.fork()
    if child == 0:
        here.send(None, order="child")
        counts = (relay.close(10), relay.sent, relay.dropped)
        os._exit(0 if counts == (0, 1, 0) else 1)
    assert os.waitpid(child, 0)[1] == 0
    here.send(None, order="parent again")
    with listening(Listener(url, group="a", signals=[there], prefix=prefix)):
        eventually(lambda: len(shipping.orders) == 3)
    assert sorted(shipping.orders) == ["child", "parent", "parent again"]
    assert relay.close() == 0


def test_fork_while_events_wait(prefix: str, tmp_path: t.Any) -> None:
    server = RedisServer(tmp_path)
    here, there = order_placed(), order_placed()
    relay = Relay(server.url, source="shop", prefix=prefix).forward(here)
    for number in range(3):
        here.send(None, order=number)
    eventually(lambda: relay.failures)
    child = os.fork()
    if child == 0:
        is_empty = relay.waiting == 0
        here.send(None, order="child")
        eventually(lambda: relay.sent == 1)
        os._exit(0 if is_empty and relay.close(10) == 0 else 1)
    server.start()
    shipping = Shipping(there)
    try:
        assert os.waitpid(child, 0)[1] == 0
        with listening(Listener(server.url, group="a", signals=[there], prefix=prefix)):
            eventually(lambda: len(shipping.orders) == 4)
        assert relay.close() == 0
    finally:
        server.kill()
    assert shipping.orders.count("child") == 1
    assert [one for one in shipping.orders if one != "child"] == [0, 1, 2]


@contextlib.contextmanager
def held_pools() -> t.Iterator[None]:
    """Hold the lock of each pool of connections, in another thread."""
    pools: list[t.Any] = [
        one for one in gc.get_objects() if isinstance(one, redis.ConnectionPool)
    ]
    assert pools
    is_held, is_over = threading.Event(), threading.Event()

    def hold() -> None:
        with contextlib.ExitStack() as held:
            for pool in pools:
                held.enter_context(pool._lock)
            is_held.set()
            is_over.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    assert is_held.wait(PATIENCE_SECONDS)
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def status_of(child: int) -> int:
    """Return the status that a child ends with; end it if it does not."""
    ended: list[tuple[int, int]] = []

    def has_ended() -> bool:
        ended.append(os.waitpid(child, os.WNOHANG))
        return ended[-1][0] == child

    try:
        eventually(has_ended)
    except AssertionError:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    return ended[-1][1]


def test_fork_waits_for_no_lock_of_its_parent(url: str, prefix: str) -> None:
    here = order_placed()
    relay = Relay(url, source="shop", prefix=prefix).forward(here)
    here.send(None, order="parent")
    eventually(lambda: relay.sent == 1)
    with held_pools():
        child = os.fork()
        if child == 0:
            here.send(None, order="child")
            os._exit(relay.close(10))
    assert status_of(child) == 0
    assert relay.close() == 0


@pytest.mark.parametrize("kind", ["listener", "dispatcher"])
def test_fork_leaves_the_connection_of_a_worker_to_its_parent(
    kind: str, url: str, prefix: str, tmp_path: Path
) -> None:
    there = order_placed()
    shipping = Shipping(there)
    # Those of other tests may still be there.
    others = clients()
    with open_shop(tmp_path / "shop.db") as shop:
        listener = Listener(url, group="shipping", signals=[there], prefix=prefix)
        dispatcher = Dispatcher(url, database=shop.engine, prefix=prefix)
        workers: list[Listener | Dispatcher] = [listener, dispatcher]
        worker, other = workers if kind == "listener" else workers[::-1]
        with running(worker):
            if worker is dispatcher:
                shop.place_all(0)  # it does not connect before
            eventually(lambda: len(clients()) > len(others))
            own = [one for one in clients() if all(one is not it for it in others)]
            with held_pools():
                child = os.fork()
                if child == 0:
                    for one in own:
                        one.__del__()  # as at the end of the interpreter
                    os._exit(0)
                assert status_of(child) == 0
            with running(other):
                shop.place_all(1)
                eventually(lambda: 1 in shipping.orders)


def clients() -> list[t.Any]:
    """Return the clients of this process."""
    return [one for one in gc.get_objects() if isinstance(one, redis.Redis)]


def test_fork_sends_at_once_by_a_connection_of_its_own(
    url: str, prefix: str, relay: Relay
) -> None:
    here, there = order_placed(), order_placed()
    relay.forward(here)
    here.send(None, order="parent")
    child = os.fork()
    if child == 0:
        before = relay.sent
        here.send(None, order="child")
        os._exit(0 if (before, relay.sent) == (0, 1) else 1)
    assert os.waitpid(child, 0)[1] == 0
    here.send(None, order="parent again")
    shipping = Shipping(there)
    with listening(Listener(url, group="a", signals=[there], prefix=prefix)):
        eventually(lambda: len(shipping.orders) == 3)
    assert shipping.orders == ["parent", "child", "parent again"]


def test_failure_around_an_event_is_its_failure(
    url: str, prefix: str, relay: Relay
) -> None:
    here, there = order_placed(), order_placed()
    relay.forward(here)
    shipping = Shipping(there)

    @contextlib.contextmanager
    def around() -> t.Iterator[None]:
        entered.append(current_event())
        if len(entered) == 1:
            raise LookupError("no context")
        yield

    entered: list[Event | None] = []
    listener = Listener(
        url,
        group="shipping",
        signals=[there],
        prefix=prefix,
        retry_seconds=0.01,
        around=around,
    )
    with listening(listener):
        here.send(None, order=1)
        eventually(lambda: shipping.orders == [1])
    assert entered == [None, None]
    assert listener.failed == 1


def test_consumers_that_are_gone_are_removed(
    url: str, prefix: str, relay: Relay, client: redis.Redis
) -> None:
    here, there = order_placed(), order_placed()
    relay.forward(here)
    here.send(None, order=1)
    stream = f"{prefix}:order-placed"
    shipping = Shipping(there)
    with listening(Listener(url, group="a", signals=[there], prefix=prefix)):
        eventually(lambda: shipping.orders)
        consumers: t.Any = client.xinfo_consumers(stream, "a")
        assert len(consumers) == 1
    assert client.xinfo_consumers(stream, "a") == []


def test_check_without_rights_reports_it(
    redis_server: RedisServer, client: redis.Redis
) -> None:
    t.cast("t.Any", client).execute_command(
        "ACL", "SETUSER", "shop", "on", ">shop", "~*", "+@all", "-config"
    )
    transport = opened(Address(redis_server.url.replace("//", "//shop:shop@")))
    [problem] = transport.check()
    transport.close()
    assert "CONFIG GET is not allowed" in problem
