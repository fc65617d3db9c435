"""Committed events are published, in order; others are not.

The broker here is the outbox of another database: it can be made to fail by a trigger.
"""

from __future__ import annotations

import threading
import time
import typing as t
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from signalpost.errors import OutboxError
from signalpost.errors import RelayError
from signalpost.integrations.relay import relay_delayed
from signalpost.integrations.relay import relay_failed
from signalpost.integrations.relay import relay_sent
from signalpost.integrations.relay.outbox import Dispatcher
from signalpost.integrations.relay.outbox import OutboxTable
from signalpost.testing import capture
from tests.integrations.relay.outboxes import open_shop
from tests.integrations.relay.outboxes import order_of
from tests.integrations.relay.outboxes import OUTBOX
from tests.integrations.relay.outboxes import running
from tests.integrations.relay.outboxes import Shop
from tests.integrations.relay.outboxes import wait_until

REFUSE = """
CREATE TRIGGER refuse BEFORE INSERT ON signalpost_outbox WHEN {when}
BEGIN SELECT RAISE(ABORT, 'refused'); END
"""


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with open_shop(tmp_path / "shop.db") as shop:
        yield shop


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Shop]:
    with open_shop(tmp_path / "broker.db") as broker:
        yield broker


@pytest.fixture
def dispatcher_with(shop: Shop, broker: Shop) -> Iterator[Callable[..., Dispatcher]]:
    opened = []

    def make(**options: t.Any) -> Dispatcher:
        own: dict[str, t.Any] = {"database": shop.engine, "poll_seconds": 0.01}
        one = Dispatcher(broker.url, **(own | options))
        opened.append(one)
        return one

    yield make
    for one in opened:
        one.close()


Made = Callable[..., Dispatcher]


# Publishing


def test_committed_events_are_published_once_and_in_order(
    shop: Shop, broker: Shop, dispatcher_with: Made
) -> None:
    shop.place_all(*range(25))
    dispatcher = dispatcher_with(batch=10)
    with capture(relay_sent, sender=dispatcher) as sent:
        assert [dispatcher.dispatch() for _ in range(4)] == [10, 10, 5, 0]
    assert broker.orders() == [*range(25)]
    assert shop.orders() == []
    assert dispatcher.sent == len(sent) == 25
    assert order_of(sent[0]["event"].body) == 0


def test_published_event_is_the_one_that_was_written(
    shop: Shop, broker: Shop, dispatcher_with: Made
) -> None:
    shop.place(1, sender="till")
    shop.session.commit()
    (written,) = shop.rows()
    dispatcher_with().dispatch()
    (published,) = broker.rows()
    for name in ("id", "type", "key", "event"):
        assert getattr(published, name) == getattr(written, name)


def test_thousand_transactions_and_a_broker_that_fails(
    shop: Shop, broker: Shop, dispatcher_with: Made
) -> None:
    broker.execute(REFUSE.format(when="random() % 50 = 0"))
    expected = [number for number in range(1000) if number % 5]
    with running(dispatcher_with(), dispatcher_with()):
        for number in range(1000):
            shop.place(number)
            if number % 5:
                shop.session.commit()
            else:
                shop.session.rollback()
        wait_until(lambda: not shop.rows())
    assert broker.orders() == expected


def test_rows_that_wait_are_counted(shop: Shop, dispatcher_with: Made) -> None:
    dispatcher = dispatcher_with()
    assert dispatcher.waiting() == (0, None)
    shop.place_all(1, 2)
    count, seconds = dispatcher.waiting()
    assert count == 2
    assert seconds is not None
    assert 0 <= seconds < 30


# A broker that refuses, or is away


def test_event_that_is_refused_holds_up_those_behind_it_of_the_same_sender(
    shop: Shop, broker: Shop, dispatcher_with: Made
) -> None:
    broker.execute(REFUSE.format(when="""NEW.event LIKE '%"order":2}%'"""))
    for number, sender in ((1, "a"), (2, "a"), (3, "b"), (4, "a"), (5, "b")):
        shop.place(number, sender)
    shop.session.commit()
    with running(dispatcher_with()):
        wait_until(lambda: len(shop.rows()) == 2 and shop.rows()[0].tries > 1)
        assert broker.orders() == [1, 3, 5]
        assert shop.orders() == [2, 4]
        assert "refused" in shop.rows()[0].error
        broker.execute("DROP TRIGGER refuse")
        wait_until(lambda: not shop.rows())
    assert broker.orders() == [1, 3, 5, 2, 4]


@settings(max_examples=15, deadline=None)
@given(
    placed=st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=12),
    batch=st.integers(1, 5),
)
def test_each_sender_is_published_up_to_its_first_event_that_is_refused(
    placed: list[tuple[str, bool]], batch: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("any")
    expected: dict[str, list[int]] = {"a": [], "b": [], "c": []}
    refused: set[str] = set()
    with open_shop(folder / "shop.db") as shop, open_shop(folder / "b.db") as broker:
        broker.execute("CREATE TABLE refused (number INTEGER)")
        among = "SELECT 1 FROM refused WHERE NEW.event LIKE '%:' || number || '}%'"
        broker.execute(REFUSE.format(when=f"EXISTS ({among})"))
        for number, (sender, is_refused) in enumerate(placed):
            shop.place(number, sender)
            if is_refused:
                broker.execute(f"INSERT INTO refused VALUES ({number})")
                refused.add(sender)
            if sender not in refused:
                expected[sender].append(number)
        shop.session.commit()
        dispatcher = Dispatcher(broker.url, database=shop.engine, batch=batch)
        for _ in range(40):
            dispatcher.dispatch()
        published = [(row.key, order_of(row.event)) for row in broker.rows()]
        dispatcher.close()
    for sender, numbers in expected.items():
        assert [number for key, number in published if key == sender] == numbers


def test_event_that_is_refused_too_often_is_set_aside(
    shop: Shop, broker: Shop, dispatcher_with: Made, caplog: pytest.LogCaptureFixture
) -> None:
    broker.execute(REFUSE.format(when="""NEW.event LIKE '%"order":1}%'"""))
    shop.place_all(1, 2)
    dispatcher = dispatcher_with(max_tries=2)
    with capture(relay_failed, sender=dispatcher) as failed, running(dispatcher):
        wait_until(lambda: len(shop.rows()) == 1)
    (row,) = shop.rows()
    assert (order_of(row.event), row.next_at, row.tries) == (1, None, 2)
    assert broker.orders() == [2]
    assert len(failed) == 1
    assert "is set aside after 2 tries" in caplog.text
    broker.execute("DROP TRIGGER refuse")
    shop.execute(OUTBOX.events.update().values(next_at=0))
    assert dispatcher.dispatch() == 1


def test_broker_that_is_away_is_waited_for_and_logged_once(
    shop: Shop, broker: Shop, dispatcher_with: Made, caplog: pytest.LogCaptureFixture
) -> None:
    broker.execute("ALTER TABLE signalpost_outbox RENAME TO away")
    shop.place_all(1, 2)
    dispatcher = dispatcher_with()
    with pytest.raises(RelayError, match="there is no table signalpost_outbox"):
        dispatcher.dispatch()
    with capture(relay_delayed, sender=dispatcher) as delayed, running(dispatcher):
        wait_until(lambda: len(delayed) >= 2)
        broker.execute("ALTER TABLE away RENAME TO signalpost_outbox")
        wait_until(lambda: not shop.rows())
    assert broker.orders() == [1, 2]
    assert {one.payload["waiting"] for one in delayed} == {None}
    assert "there is no table" in delayed[0].payload["reason"]
    # It is not the events' fault.
    assert caplog.text.count("nothing can be published") == 1
    assert caplog.text.count("published again") == 1


def test_database_that_is_locked_is_waited_for(
    shop: Shop, broker: Shop, dispatcher_with: Made
) -> None:
    engine = sa.create_engine(shop.url, connect_args={"timeout": 0.05})
    shop.place_all(1)
    with shop.engine.connect() as holder, running(dispatcher_with(database=engine)):
        holder.exec_driver_sql("BEGIN EXCLUSIVE")
        time.sleep(0.2)
        holder.rollback()
        wait_until(lambda: not shop.rows())
    engine.dispose()
    assert broker.orders() == [1]


# Several at once


def test_dispatchers_of_one_sqlite_file_take_turns(
    shop: Shop, broker: Shop, dispatcher_with: Made
) -> None:
    with running(*(dispatcher_with(batch=3) for _ in range(3))):
        shop.place_all(*range(100))
        wait_until(lambda: not shop.rows())
    assert broker.orders() == [*range(100)]


def test_dispatcher_stops_while_it_waits(
    shop: Shop, broker: Shop, dispatcher_with: Made
) -> None:
    dispatcher = dispatcher_with(poll_seconds=600)
    shop.place_all(1)
    with running(dispatcher):
        wait_until(broker.rows)


# Mistakes


def test_database_without_the_tables_is_a_clear_error(
    tmp_path: Path, broker: Shop
) -> None:
    dispatcher = Dispatcher(broker.url, database=f"sqlite:///{tmp_path / 'empty.db'}")
    with pytest.raises(OutboxError, match=r"no table signalpost_outbox at sqlite:"):
        dispatcher.run()


def test_outbox_that_listeners_read_is_not_dispatched(
    shop: Shop, dispatcher_with: Made
) -> None:
    group = {"name": "shipping", "type": "order-placed", "seen_at": 0}
    shop.execute(OUTBOX.groups.insert().values(group))
    with pytest.raises(OutboxError, match="listeners read this outbox themselves"):
        dispatcher_with().run()


def test_table_with_another_name_is_dispatched(tmp_path: Path, broker: Shop) -> None:
    other = OutboxTable(sa.MetaData(), name="letters")
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'shop.db'}")
    other.events.metadata.create_all(engine)
    row = {"id": "1", "type": "order-placed", "event": "{}", "made_at": 0}
    with engine.begin() as connection:
        connection.execute(other.events.insert(), row)
    dispatcher = Dispatcher(broker.url, database=engine, outbox=other)
    assert dispatcher.dispatch() == 1
    dispatcher.close()
    engine.dispose()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 0}, "batch must be a positive number, got 0"),
        ({"poll_seconds": -1}, "poll_seconds must be a positive number, got -1"),
        ({"max_tries": -1}, "max_tries must be a positive number, got -1"),
        ({"database": "shop.db"}, "must be as sqlite:///shop.db"),
        ({"database": "nosuch:///shop.db"}, "must be as sqlite:///shop.db"),
    ],
)
def test_option_that_cannot_be_is_refused(
    dispatcher_with: Made, options: dict[str, t.Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        dispatcher_with(**options)


def test_database_that_cannot_lock_rows_is_refused(broker: Shop) -> None:
    class Engine(sa.Engine):
        def __init__(self) -> None:
            self.dialect = sa.engine.default.DefaultDialect()
            self.dialect.name = "oracle"

    with pytest.raises(OutboxError, match="MariaDB or SQLite, got oracle"):
        Dispatcher(broker.url, database=Engine())


def test_driver_that_is_not_installed_is_named(broker: Shop) -> None:
    with pytest.raises(ImportError, match="pip install pg8000"):
        Dispatcher(broker.url, database="postgresql+pg8000://broker/shop")


def test_dispatcher_that_is_stopped_before_it_runs_returns(
    shop: Shop, dispatcher_with: Made
) -> None:
    shop.place_all(1)
    dispatcher = dispatcher_with()
    dispatcher.stop()
    thread = threading.Thread(target=dispatcher.run, daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    assert dispatcher.sent == 0
    with running(dispatcher):
        wait_until(lambda: dispatcher.sent == 1)


def test_password_of_the_database_is_not_shown(
    broker: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    dispatcher = Dispatcher(
        broker.url, database="postgresql+psycopg://shop:Zq7351@127.0.0.1:1/shop"
    )
    thread = threading.Thread(target=dispatcher.run)
    thread.start()
    wait_until(lambda: "nothing can be published" in caplog.text)
    dispatcher.stop()
    thread.join()
    assert "Zq7351" not in caplog.text
