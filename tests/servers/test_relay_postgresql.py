"""The outbox with a real PostgreSQL: rows that are locked, and several at once."""

from __future__ import annotations

import threading
import typing as t
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from signalpost.integrations.relay.outbox import Dispatcher
from tests.integrations.postgresql import running_postgresql
from tests.integrations.relay.outboxes import Base
from tests.integrations.relay.outboxes import order_of
from tests.integrations.relay.outboxes import OUTBOX
from tests.integrations.relay.outboxes import running
from tests.integrations.relay.outboxes import Shop
from tests.integrations.relay.outboxes import wait_until
from tests.servers.relaying import Received
from tests.servers.relaying import relay_command
from tests.servers.relaying import repeated

SENDERS = ("till", "web", "phone")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    with running_postgresql() as address:
        yield f"postgresql+psycopg://{address}"


@pytest.fixture
def database_named(server: str) -> Iterator[Callable[[str], Shop]]:
    """Return what makes a database with the tables of a shop."""
    admin = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    shops: list[Shop] = []

    def make(name: str) -> Shop:
        with admin.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        shops.append(Shop(f"{server.rpartition('/')[0]}/{name}"))
        return shops[-1]

    yield make
    for shop in shops:
        shop.close()
    admin.dispose()


@pytest.fixture
def shop(database_named: Callable[[str], Shop]) -> Shop:
    return database_named("shop")


@pytest.fixture
def broker(database_named: Callable[[str], Shop]) -> Shop:
    return database_named("broker")


def place_from(shop: Shop, sender: str, most: int) -> None:
    """Place orders in separate transactions, and roll each fifth back."""
    other = Shop(shop.url)
    first = SENDERS.index(sender) * 1000
    for number in range(first, first + most):
        other.place(number, sender)
        (other.session.commit if number % 5 else other.session.rollback)()
    other.close()


def test_dispatchers_at_once_publish_each_event_once_in_the_order_of_its_sender(
    shop: Shop, broker: Shop
) -> None:
    dispatchers = [
        Dispatcher(broker.url, database=shop.url, batch=7, poll_seconds=0.01)
        for _ in range(3)
    ]
    writers = [
        threading.Thread(target=place_from, args=(shop, sender, 100))
        for sender in SENDERS
    ]
    with running(*dispatchers):
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        wait_until(lambda: not shop.rows())
    assert sum(one.sent for one in dispatchers) == 3 * 80
    for place, sender in enumerate(SENDERS):
        published = [order_of(row.event) for row in broker.rows() if row.key == sender]
        assert published == [1000 * place + n for n in range(100) if n % 5]


def test_rows_that_another_dispatcher_has_hold_up_those_behind_them(
    shop: Shop, broker: Shop
) -> None:
    for number, sender in ((1, "till"), (2, "web"), (3, "till")):
        shop.place(number, sender)
    shop.session.commit()
    dispatcher = Dispatcher(broker.url, database=shop.engine)
    first = sa.select(OUTBOX.events).order_by(OUTBOX.events.c.number).limit(1)
    with shop.engine.begin() as other:
        other.execute(first.with_for_update())
        assert dispatcher.dispatch() == 1
        assert broker.orders() == [2]
        assert dispatcher.dispatch() == 0
    assert dispatcher.dispatch() == 2
    dispatcher.close()
    assert broker.orders() == [2, 1, 3]


def test_committed_events_are_published_although_dispatchers_are_killed(
    shop: Shop, broker: Shop, tmp_path: Path
) -> None:
    words = ("dispatch", broker.url, "--database", shop.url, "--batch", "3")
    place_from(shop, "till", 250)
    with relay_command(tmp_path, *words), relay_command(tmp_path, *words) as killed:
        wait_until(lambda: len(broker.rows()) > 30)
        killed.kill()
        killed.wait()
        wait_until(lambda: not shop.rows())
    assert broker.orders() == [number for number in range(250) if number % 5]


def test_groups_receive_every_event_although_listeners_are_killed(
    shop: Shop, tmp_path: Path
) -> None:
    # A listener that stalls for a lease would have its events received by another.
    url = f"{shop.url}?lease_seconds=3&poll_seconds=0.02"
    shipping, billing = Received(tmp_path), Received(tmp_path, "billing")
    expected = [number for number in range(200) if number % 5]
    with (
        billing.listening(url),
        shipping.listening(url),
        shipping.listening(url, RECEIVER_SECONDS="0.002") as killed,
    ):
        # An event is deleted once each group that is known has received it.
        wait_until(lambda: shop.groups() == {"shipping", "billing"})
        place_from(shop, "till", 200)
        wait_until(lambda: len(shipping.orders()) > 30)
        killed.kill()
        for one in (shipping, billing):
            wait_until(lambda group=one: len(group.counted()) == len(expected))  # type: ignore[misc]
        wait_until(lambda: not shop.rows())
    assert billing.orders() == expected
    assert sorted(shipping.counted()) == expected
    assert repeated(shipping.counted()) <= 10


def test_transaction_that_is_open_hides_its_event_and_no_other(
    shop: Shop, broker: Shop
) -> None:
    shop.place(1)
    shop.session.flush()
    later = Shop(shop.url)
    later.place_all(2)
    dispatcher = Dispatcher(broker.url, database=shop.engine)
    assert dispatcher.dispatch() == 1
    shop.session.commit()
    assert dispatcher.dispatch() == 1
    dispatcher.close()
    later.close()
    # Its number is the first, and it came later: nothing is passed over for ever.
    assert broker.orders() == [2, 1]


def test_tables_are_as_they_are_declared(shop: Shop) -> None:
    alembic: t.Any = sa.inspect(shop.engine)
    for table in Base.metadata.tables.values():
        columns = {one["name"] for one in alembic.get_columns(table.name)}
        assert columns == set(table.columns.keys())


def test_an_event_crosses_through_tables_that_alembic_has_made(
    shop: Shop, broker: Shop, tmp_path: Path
) -> None:
    pytest.importorskip("alembic", reason="alembic is not installed")
    from alembic import command

    from tests.integrations.relay.migrations import migrate

    Base.metadata.drop_all(shop.engine)
    url = shop.engine.url.render_as_string(hide_password=False)
    config = migrate(tmp_path / "migrations", url)
    command.check(config)
    shop.place_all(1, 2)
    dispatcher = Dispatcher(broker.url, database=shop.engine)
    assert dispatcher.dispatch() == 2
    dispatcher.close()
    assert broker.orders() == [1, 2]
    assert shop.rows() == []
