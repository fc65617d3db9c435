"""Listeners that read the outbox themselves: one machine, no broker."""

from __future__ import annotations

import threading
import time
import typing as t
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from signalpost import Namespace
from signalpost.errors import RelayError
from signalpost.integrations.relay import current_event
from signalpost.integrations.relay import Listener
from signalpost.integrations.relay import Relay
from signalpost.integrations.relay import WrittenEvent
from signalpost.integrations.relay._embedded import EmbeddedTransport
from signalpost.integrations.relay._transport import Address
from signalpost.integrations.relay._transport import DeadLetter
from signalpost.integrations.relay._transport import opened
from tests.integrations.relay.outboxes import new_signal
from tests.integrations.relay.outboxes import open_shop
from tests.integrations.relay.outboxes import OUTBOX
from tests.integrations.relay.outboxes import running
from tests.integrations.relay.outboxes import Shop
from tests.integrations.relay.outboxes import wait_until


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    # SQLite's default, in which a writer keeps readers out, too.
    with open_shop(tmp_path / "shop.db", journal="delete") as shop:
        yield shop


class Worker:
    """A listener of a group, with its own signal, as in another process."""

    def __init__(
        self, shop: Shop, group: str, query: str = "", **options: t.Any
    ) -> None:
        self.orders: list[int] = []
        self.tries: list[int] = []
        self.work: Callable[[int], object] = lambda order: None
        signal = new_signal()
        signal.connect(self.receive, weak=False)
        url = f"{shop.url}?poll_seconds=0.01{query}"
        options = {"retry_seconds": 0.01} | options
        self.listener = Listener(url, group=group, signals=[signal], **options)

    def receive(self, _sender: object, order: int) -> None:
        event = current_event()
        assert event is not None
        self.tries.append(event.tries)
        self.work(order)
        self.orders.append(order)


@pytest.fixture
def letters_of(shop: Shop) -> Iterator[Callable[[str], list[DeadLetter]]]:
    transport = opened(Address(shop.url))

    def letters(group: str) -> list[DeadLetter]:
        return list(transport.dead(group))

    yield letters
    transport.close()


# Groups


def test_each_group_receives_every_event_in_order(shop: Shop) -> None:
    shipping, billing = Worker(shop, "shipping"), Worker(shop, "billing")
    with running(shipping.listener, billing.listener):
        wait_until(lambda: shop.groups() == {"shipping", "billing"})
        shop.place_all(*range(50))
        wait_until(lambda: len(shipping.orders) == len(billing.orders) == 50)
        # What each group has done goes.
        wait_until(lambda: not shop.rows())
    assert shipping.orders == billing.orders == [*range(50)]


def test_listeners_of_a_group_share_its_events(shop: Shop) -> None:
    workers = [Worker(shop, "shipping", "&batch=2") for _ in range(3)]
    begun, are_two = set[int](), threading.Event()

    def work(order: int) -> None:
        begun.add(threading.get_ident())
        if len(begun) > 1:
            are_two.set()
        assert are_two.wait(10)

    for worker in workers:
        worker.work = work
    with running(*(worker.listener for worker in workers)):
        shop.place_all(*range(60))
        wait_until(lambda: sum(len(worker.orders) for worker in workers) >= 60)
    assert sorted(n for worker in workers for n in worker.orders) == [*range(60)]
    assert sum(1 for worker in workers if worker.orders) > 1


def test_group_that_is_new_receives_what_is_there(shop: Shop) -> None:
    shop.place_all(1, 2)
    shipping = Worker(shop, "shipping")
    with running(shipping.listener):
        wait_until(lambda: shipping.orders == [1, 2])


def test_group_receives_later_what_it_has_missed(shop: Shop) -> None:
    shipping, billing = Worker(shop, "shipping"), Worker(shop, "billing")
    with running(shipping.listener, billing.listener):
        wait_until(lambda: shop.groups() == {"shipping", "billing"})
        shop.place_all(1)
        wait_until(lambda: shipping.orders == billing.orders == [1])
    with running(shipping.listener):
        shop.place_all(2, 3)
        wait_until(lambda: shipping.orders == [1, 2, 3])
    assert shop.orders()[-2:] == [2, 3]
    with running(billing.listener):
        wait_until(lambda: billing.orders == [1, 2, 3])


def test_event_that_no_group_wants_stays(shop: Shop) -> None:
    other = Relay(
        source="shop", sends="outbox", outbox=OUTBOX, session_of=lambda: shop.session
    )
    order_refunded = Namespace().signal("order-refunded", payload=("order",))
    other.forward(order_refunded)
    shop.place(1)
    order_refunded.send(None, order=2)
    shop.session.commit()
    shipping = Worker(shop, "shipping")
    with running(shipping.listener):
        wait_until(lambda: shop.orders() == [2])
    assert shipping.orders == [1]


def test_event_that_is_rolled_back_is_not_received(shop: Shop) -> None:
    shipping = Worker(shop, "shipping")
    with running(shipping.listener):
        shop.place(1)
        time.sleep(0.1)
        shop.session.rollback()
        shop.place_all(2)
        wait_until(lambda: shipping.orders)
    assert shipping.orders == [2]


def test_receiver_may_write_to_the_same_database(shop: Shop) -> None:
    shop.place_all(1, 2, 3)
    shipping = Worker(shop, "shipping")
    shipping.work = lambda order: shop.execute(
        f"UPDATE orders SET item = 'shipped' WHERE number = {order}"
    )
    with running(shipping.listener):
        wait_until(lambda: shipping.orders == [1, 2, 3])
    with shop.engine.connect() as connection:
        items = set(connection.scalars(sa.text("SELECT item FROM orders")))
    assert items == {"shipped"}


def test_relay_may_send_to_the_table_without_a_transaction(shop: Shop) -> None:
    order_placed = new_signal()
    relay = Relay(shop.url, source="shop").forward(order_placed)
    shipping = Worker(shop, "shipping")
    with running(shipping.listener):
        for number in range(20):
            order_placed.send(None, order=number)
        wait_until(lambda: shipping.orders == [*range(20)])
    assert relay.close() == 0


def test_event_that_is_sent_twice_is_there_once(shop: Shop) -> None:
    shop.place_all(1)
    (row,) = shop.rows()
    transport = EmbeddedTransport(Address(shop.url))
    other = WrittenEvent("other", row.type, None, row.event.encode())
    same = WrittenEvent(row.id, row.type, None, row.event.encode())
    transport.send([same, other])
    transport.close()
    assert [one.id for one in shop.rows()] == [row.id, "other"]


# Failures


def test_receiver_that_fails_is_tried_again(shop: Shop) -> None:
    shipping = Worker(shop, "shipping")

    def fail_twice(order: int) -> None:
        if len(shipping.tries) < 3:
            raise LookupError("no such order")

    shipping.work = fail_twice
    shop.place_all(1)
    with running(shipping.listener):
        wait_until(lambda: shipping.orders == [1])
    assert shipping.tries == [1, 2, 3]


def test_event_that_fails_too_often_is_a_dead_letter_of_its_group(
    shop: Shop, letters_of: Callable[[str], list[DeadLetter]]
) -> None:
    shipping, billing = Worker(shop, "shipping", max_tries=2), Worker(shop, "billing")

    def fail(order: int) -> None:
        if order == 1:
            raise LookupError("no such order")

    shipping.work = fail
    with running(shipping.listener, billing.listener):
        wait_until(lambda: shop.groups() == {"shipping", "billing"})
        shop.place_all(1, 2)
        wait_until(lambda: shipping.listener.buried and len(billing.orders) == 2)
        wait_until(lambda: shop.orders() == [1])
        (letter,) = letters_of("shipping")
        assert letters_of("billing") == []
        assert (letter.why.reason, letter.why.tries) == (
            "LookupError: no such order",
            2,
        )
        assert "in fail" in letter.why.traceback
        assert letter.at is not None
        assert abs(letter.at.timestamp() - time.time()) < 60
        shipping.work = lambda order: None
        transport = opened(Address(shop.url))
        transport.retry("shipping", letter)
        transport.close()
        wait_until(lambda: shipping.orders == [2, 1])
        wait_until(lambda: not shop.rows())
    assert shipping.tries[-1] == 1


def test_dead_letter_that_is_dropped_goes(
    shop: Shop, letters_of: Callable[[str], list[DeadLetter]]
) -> None:
    shop.place_all(1)
    shop.execute(OUTBOX.events.update().values(event="not JSON"))
    shipping = Worker(shop, "shipping")
    with running(shipping.listener):
        wait_until(lambda: shipping.listener.buried)
    (letter,) = letters_of("shipping")
    assert (letter.body, letter.why.tries) == (b"not JSON", 1)
    transport = opened(Address(shop.url))
    transport.drop("shipping", letter)
    transport.close()
    assert letters_of("shipping") == []
    assert shop.rows() == []


def test_long_receiver_is_not_handed_to_another_worker(shop: Shop) -> None:
    first, second = (Worker(shop, "shipping", "&lease_seconds=2") for _ in range(2))
    first.work = lambda order: time.sleep(5)
    shop.place_all(1)
    with running(first.listener):
        wait_until(lambda: first.tries)
        with running(second.listener):
            wait_until(lambda: first.orders)
            time.sleep(0.4)
    assert (first.tries, second.tries) == ([1], [])


def test_events_of_a_worker_that_is_gone_are_received_by_another(shop: Shop) -> None:
    shop.place_all(1, 2, 3)
    gone = EmbeddedTransport(Address(f"{shop.url}?lease_seconds=0.2"))
    gone.subscribe("shipping", ["order-placed"])
    assert len(gone.receive(1)) == 3
    gone._engine.dispose()  # it gives nothing back
    shipping = Worker(shop, "shipping")
    with running(shipping.listener):
        wait_until(lambda: shipping.orders == [1, 2, 3])
    assert shipping.tries == [2, 2, 2]


def test_worker_that_stops_gives_back_what_it_has_not_come_to(shop: Shop) -> None:
    shop.place_all(*range(5))
    first, second = Worker(shop, "shipping"), Worker(shop, "shipping")
    first.work = lambda order: first.listener.stop()
    with running(first.listener):
        wait_until(lambda: first.orders)
    with running(second.listener):
        wait_until(lambda: second.orders == [1, 2, 3, 4])
    assert first.orders == [0]
    assert second.tries == [1, 1, 1, 1]


def test_late_answer_of_a_worker_does_not_count(shop: Shop) -> None:
    shop.place_all(1)
    late = EmbeddedTransport(Address(f"{shop.url}?lease_seconds=0.05"))
    late.subscribe("shipping", ["order-placed"])
    messages = late.receive(1)
    other = EmbeddedTransport(Address(shop.url))
    other.subscribe("shipping", ["order-placed"])
    (taken,) = other.receive(5)
    late.done(messages)
    late.renew(messages)
    other.again(taken, 0.0)
    (again,) = other.receive(5)
    assert (taken.tries, again.tries) == (2, 3)
    for transport in (late, other):
        transport.close()


def test_database_that_is_locked_is_waited_for(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    shipping = Worker(shop, "shipping", "&timeout=0.05")
    shop.place_all(1)
    with shop.engine.connect() as holder, running(shipping.listener):
        holder.exec_driver_sql("BEGIN EXCLUSIVE")
        wait_until(lambda: "database is locked" in caplog.text)
        holder.rollback()
        wait_until(lambda: shipping.orders == [1])


def test_listeners_race_for_a_new_group(shop: Shop) -> None:
    workers = [Worker(shop, "shipping") for _ in range(4)]
    shop.place_all(*range(10))
    with running(*(worker.listener for worker in workers)):
        wait_until(lambda: sum(len(worker.orders) for worker in workers) >= 10)
    assert sorted(n for worker in workers for n in worker.orders) == [*range(10)]


# Mistakes


def test_database_without_the_tables_is_a_clear_error(tmp_path: Path) -> None:
    transport = opened(Address(f"sqlite:///{tmp_path / 'empty.db'}"))
    with pytest.raises(RelayError, match=r"declare\s+OutboxTable\(metadata\)"):
        transport.check()
    transport.close()


def test_option_of_the_url_that_cannot_be_is_refused(shop: Shop) -> None:
    with pytest.raises(ValueError, match="lease_seconds must be a positive number"):
        opened(Address(f"{shop.url}?lease_seconds=-1"))


def test_check_reports_what_could_lose_events(shop: Shop) -> None:
    transport = opened(Address(shop.url))
    assert transport.check() == []
    transport.close()
    transport = opened(Address("sqlite://"))
    assert "in memory" in transport.check()[0]
    transport.close()


def test_transport_may_be_used_by_several_threads(shop: Shop) -> None:
    shop.place_all(1)
    transport = opened(Address(shop.url))
    transport.subscribe("shipping", ["order-placed"])
    messages = transport.receive(1)
    thread = threading.Thread(target=transport.renew, args=(messages,))
    thread.start()
    thread.join()
    transport.done(messages)
    transport.close()
    assert len(messages) == 1
