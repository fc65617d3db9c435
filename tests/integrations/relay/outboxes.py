"""A shop with an outbox in its database, and what reads it."""

from __future__ import annotations

import json
import threading
import time
import typing as t
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import mapped_column
from sqlalchemy.orm import Session

from signalpost import NamedSignal
from signalpost import Namespace
from signalpost.integrations.relay import Listener
from signalpost.integrations.relay import Relay
from signalpost.integrations.relay.outbox import Dispatcher
from signalpost.integrations.relay.outbox import OutboxTable

PATIENCE_SECONDS = 60.0


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"

    number: Mapped[int] = mapped_column(primary_key=True)
    item: Mapped[str]


OUTBOX = OutboxTable(Base.metadata)


class Shop:
    """A database with orders, and a relay that writes into its outbox."""

    def __init__(self, url: str, journal: str = "wal") -> None:
        self.url = url
        self.engine = sa.create_engine(url)
        if self.engine.dialect.name == "sqlite":
            with self.engine.connect() as connection:
                connection.exec_driver_sql(f"PRAGMA journal_mode = {journal}")
        Base.metadata.create_all(self.engine)
        self.session = Session(self.engine)
        self.order_placed = new_signal()
        self.relay = Relay(
            source="shop",
            sends="outbox",
            outbox=OUTBOX,
            session_of=lambda: self.session,
        ).forward(self.order_placed)

    def place(self, number: int, sender: object = None) -> None:
        """Place an order, in the transaction that is open then."""
        self.session.add(Order(number=number, item="mug"))
        self.order_placed.send(sender, order=number)

    def place_all(self, *numbers: int) -> None:
        """Place orders, each in a separate transaction."""
        for number in numbers:
            self.place(number)
            self.session.commit()

    def rows(self) -> list[t.Any]:
        """Return the rows of the outbox."""
        with self.engine.connect() as connection:
            query = sa.select(OUTBOX.events).order_by(OUTBOX.events.c.number)
            return list(connection.execute(query))

    def groups(self) -> set[str]:
        """Return the groups that read the outbox."""
        with self.engine.connect() as connection:
            return set(connection.scalars(sa.select(OUTBOX.groups.c.name)))

    def orders(self) -> list[int]:
        """Return the numbers of the orders in the outbox, in order."""
        return [order_of(row.event) for row in self.rows()]

    def execute(self, statement: t.Any) -> None:
        """Execute a statement by hand."""
        with self.engine.begin() as connection:
            if isinstance(statement, str):
                connection.exec_driver_sql(statement)
            else:
                connection.execute(statement)

    def close(self) -> None:
        self.relay.close()
        self.session.close()
        self.engine.dispose()


def new_signal() -> NamedSignal:
    return Namespace().signal("order-placed", payload=("order",))


def order_of(event: str) -> int:
    return int(json.loads(event)["data"]["order"])


@contextmanager
def open_shop(path: Path, journal: str = "wal") -> Iterator[Shop]:
    shop = Shop(f"sqlite:///{path}", journal)
    try:
        yield shop
    finally:
        shop.close()


@contextmanager
def running(*workers: Dispatcher | Listener) -> Iterator[None]:
    """Run dispatchers and listeners, each in a thread, until the block ends."""
    errors: list[BaseException] = []

    def run(worker: Dispatcher | Listener) -> None:
        try:
            worker.run()
        except BaseException as error:  # noqa: BLE001 - for the test
            errors.append(error)

    threads = [threading.Thread(target=run, args=(one,)) for one in workers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for worker in workers:
            worker.stop()
        for thread in threads:
            thread.join(PATIENCE_SECONDS)
    assert errors == []
    assert not any(thread.is_alive() for thread in threads)


def wait_until(is_so: Callable[[], object]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)
