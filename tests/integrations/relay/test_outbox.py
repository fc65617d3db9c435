"""Events that are written in the transaction that they report."""

from __future__ import annotations

import asyncio
import typing as t
from collections.abc import Iterator
from pathlib import Path

import flask
import pytest
import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import scoped_session
from sqlalchemy.orm import Session
from sqlalchemy.orm import sessionmaker

from signalpost import NamedSignal
from signalpost.errors import NotSendableError
from signalpost.errors import OutboxError
from signalpost.integrations.relay import Relay
from signalpost.integrations.relay.outbox import OutboxTable
from tests.integrations.relay.outboxes import Base
from tests.integrations.relay.outboxes import new_signal
from tests.integrations.relay.outboxes import open_shop
from tests.integrations.relay.outboxes import Order
from tests.integrations.relay.outboxes import order_of
from tests.integrations.relay.outboxes import OUTBOX
from tests.integrations.relay.outboxes import Shop


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with open_shop(tmp_path / "shop.db") as shop:
        yield shop


def relay_with(session_of: t.Any, outbox: OutboxTable = OUTBOX) -> NamedSignal:
    """Return a signal that is forwarded into the transaction of a session."""
    signal = new_signal()
    Relay(source="shop", sends="outbox", outbox=outbox, session_of=session_of).forward(
        signal
    )
    return signal


# What is committed


def test_event_is_there_once_its_transaction_is_committed(shop: Shop) -> None:
    shop.place(7, sender="till")
    assert shop.orders() == []
    shop.session.commit()
    (row,) = shop.rows()
    assert order_of(row.event) == 7
    assert (row.type, row.key, row.tries, row.error) == (
        "order-placed",
        "till",
        0,
        None,
    )


def test_event_of_a_transaction_that_is_rolled_back_is_not_there(shop: Shop) -> None:
    shop.place(1)
    shop.session.rollback()
    shop.place_all(2)
    assert shop.orders() == [2]


def test_event_of_a_savepoint_that_is_rolled_back_is_not_there(shop: Shop) -> None:
    shop.place(1)
    inner = shop.session.begin_nested()
    shop.place(2)
    inner.rollback()
    with shop.session.begin_nested():
        shop.place(3)
    shop.session.commit()
    assert shop.orders() == [1, 3]


def test_event_goes_with_a_transaction_that_cannot_be_committed(shop: Shop) -> None:
    shop.session.add(Order(number=1, item="mug"))
    shop.session.commit()
    shop.session.expunge_all()
    shop.session.add(Order(number=1, item="cup"))
    shop.order_placed.send(None, order=1)
    with pytest.raises(sa.exc.IntegrityError):
        shop.session.commit()
    shop.session.rollback()
    assert shop.orders() == []


class Step(t.NamedTuple):
    """A transaction: what is placed, in a savepoint or not, and how each ends."""

    orders: tuple[tuple[bool, bool], ...]  # in a savepoint, which is released
    is_committed: bool


steps = st.builds(
    Step,
    st.lists(st.tuples(st.booleans(), st.booleans()), max_size=4).map(tuple),
    st.booleans(),
)


@settings(max_examples=30, deadline=None)
@given(work=st.lists(steps, max_size=6))
def test_outbox_has_what_is_committed_with_it_in_order(
    work: list[Step], tmp_path_factory: pytest.TempPathFactory
) -> None:
    number = 0
    with open_shop(tmp_path_factory.mktemp("any") / "shop.db") as shop:
        for step in work:
            for is_nested, is_released in step.orders:
                number += 1
                inner = shop.session.begin_nested() if is_nested else None
                shop.place(number)
                if inner is not None:
                    (inner.commit if is_released else inner.rollback)()
            (shop.session.commit if step.is_committed else shop.session.rollback)()
        # Not what should be: Python's sqlite3 begins no transaction at a savepoint.
        placed = sa.select(Order.number).order_by(Order.number)
        assert shop.orders() == shop.session.scalars(placed).all()


# Outside a transaction


def test_send_before_the_first_change_is_refused(shop: Shop) -> None:
    with pytest.raises(OutboxError, match="after the first change and before the"):
        shop.order_placed.send(None, order=1)
    assert shop.orders() == []


def test_send_after_the_commit_is_refused(shop: Shop) -> None:
    shop.session.add(Order(item="mug"))
    shop.session.commit()
    with pytest.raises(OutboxError, match="none is open"):
        shop.order_placed.send(None, order=1)


OF_ITS_OWN = {"isolation_level": "AUTOCOMMIT"}


@pytest.mark.parametrize("is_session", [True, False])
@pytest.mark.parametrize("is_made_so", [True, False])
def test_connection_that_commits_each_statement_is_refused(
    shop: Shop, is_session: bool, is_made_so: bool
) -> None:
    if is_made_so:
        engine = sa.create_engine(shop.url, isolation_level="AUTOCOMMIT")
    else:
        engine = shop.engine.execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection, Session(engine) as session:
        connection.exec_driver_sql("SELECT 1")
        session.execute(sa.text("SELECT 1"))
        order_placed = relay_with(lambda: session if is_session else connection)
        with pytest.raises(OutboxError, match="AUTOCOMMIT"):
            order_placed.send(None, order=1)
    engine.dispose()
    assert shop.orders() == []


def test_only_the_connection_of_a_session_may_commit_each_statement(
    shop: Shop,
) -> None:
    order_placed = relay_with(lambda: shop.session)
    shop.session.connection(execution_options=OF_ITS_OWN)
    with pytest.raises(OutboxError, match="AUTOCOMMIT"):
        order_placed.send(None, order=1)
    shop.session.rollback()
    engine = sa.create_engine(shop.url, isolation_level="AUTOCOMMIT")
    in_a_transaction = engine.execution_options(isolation_level="SERIALIZABLE")
    with in_a_transaction.begin() as connection:
        relay_with(lambda: connection).send(None, order=2)
    engine.dispose()
    assert shop.orders() == [2]


def test_payload_that_cannot_be_sent_is_refused_before_anything_is_written(
    shop: Shop,
) -> None:
    shop.session.add(Order(item="mug"))
    with pytest.raises(NotSendableError, match=r"payload\.order"):
        shop.order_placed.send(None, order=object())
    shop.session.commit()
    assert shop.orders() == []


def test_name_that_is_too_long_for_the_table_is_refused(shop: Shop) -> None:
    signal = new_signal()
    signal.name = "x" * 192
    Relay(
        source="shop", sends="outbox", outbox=OUTBOX, session_of=lambda: shop.session
    ).forward(signal)
    shop.session.add(Order(item="mug"))
    with pytest.raises(NotSendableError, match="at most 191 characters"):
        signal.send(None, order=1)


def test_sender_with_a_long_name_keeps_its_events_together(shop: Shop) -> None:
    shop.place(1, sender="x" * 300)
    shop.place(2, sender="x" * 300)
    shop.place(3, sender="x" * 299 + "y")
    shop.session.commit()
    keys = [row.key for row in shop.rows()]
    assert keys[0] == keys[1] != keys[2]


# Whose transaction


def test_connection_may_be_given_in_place_of_a_session(shop: Shop) -> None:
    with shop.engine.begin() as connection:
        relay_with(lambda: connection).send(None, order=5)
    assert shop.orders() == [5]


def test_scoped_session_is_the_session_of_its_thread(shop: Shop) -> None:
    scoped = scoped_session(sessionmaker(shop.engine))
    order_placed = relay_with(lambda: scoped)
    scoped.add(Order(item="mug"))
    order_placed.send(None, order=6)
    scoped.commit()
    scoped.remove()
    assert shop.orders() == [6]


@pytest.mark.parametrize("returned", [None, "session", 3])
def test_session_of_that_returns_something_else_is_refused(returned: object) -> None:
    with pytest.raises(OutboxError, match="session_of must return a session"):
        relay_with(lambda: returned).send(None, order=1)


def test_session_of_flask_sqlalchemy_is_found(tmp_path: Path) -> None:
    app = flask.Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{tmp_path / 'shop.db'}"
    db: t.Any = SQLAlchemy(metadata=sa.MetaData())
    outbox = OutboxTable(db.metadata)
    orders = sa.Table("orders", db.metadata, sa.Column("item", sa.Text))
    db.init_app(app)
    order_placed = relay_with(None, outbox)
    with app.app_context():
        db.create_all()
        for number, is_kept in ((1, True), (2, False)):
            db.session.execute(orders.insert(), {"item": "mug"})
            order_placed.send(None, order=number)
            if is_kept:
                db.session.commit()
            else:
                db.session.rollback()
        kept = db.session.scalars(sa.select(outbox.events.c.event)).all()
        db.session.remove()
        db.engine.dispose()
    assert [order_of(one) for one in kept] == [1]


def test_application_without_flask_sqlalchemy_has_no_session() -> None:
    order_placed = relay_with(None)
    with pytest.raises(OutboxError, match="session_of"):
        order_placed.send(None, order=1)
    with (
        flask.Flask(__name__).app_context(),
        pytest.raises(OutboxError, match="session_of"),
    ):
        order_placed.send(None, order=1)


def test_async_session_writes_where_it_is_awaited(tmp_path: Path) -> None:
    pytest.importorskip("aiosqlite", reason="aiosqlite is not installed")

    async def work() -> list[str]:
        engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'shop.db'}")
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        async with AsyncSession(engine) as session:
            order_placed = relay_with(lambda: session)
            session.add(Order(item="mug"))
            await session.flush()
            with pytest.raises(OutboxError, match="run_sync"):
                order_placed.send(None, order=1)
            await session.run_sync(lambda _: order_placed.send(None, order=2))
            await session.commit()
            found = await session.scalars(sa.select(OUTBOX.events.c.event))
            kept = list(found)
        await engine.dispose()
        return kept

    assert [order_of(one) for one in asyncio.run(work())] == [2]


# Mistakes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sends": "outbox", "url": "redis://broker"}, "needs no url"),
        ({"sends": "outbox", "outbox": None}, "must be an OutboxTable"),
        ({"sends": "outbox", "outbox": OUTBOX.events}, "must be an OutboxTable"),
        ({"sends": "thread", "url": "redis://broker"}, "for sends='outbox' only"),
        ({"sends": "thread", "outbox": None}, "url must be the URL of the broker"),
        ({"sends": "later"}, "must be 'thread', 'now' or 'outbox'"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    options: dict[str, t.Any], message: str
) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        Relay(source="shop", **({"outbox": OUTBOX} | options))


@pytest.mark.parametrize("dialect", ["postgresql", "mysql", "mariadb", "sqlite"])
def test_event_of_the_greatest_length_fits_into_each_database(dialect: str) -> None:
    column = sa.schema.CreateColumn(OUTBOX.events.c.event)
    made = str(
        column.compile(
            dialect=sa.create_mock_engine(
                f"{dialect}://",
                print,
            ).dialect
        )
    )
    # MySQL's TEXT has 64 KiB, and an event has 256.
    assert made.split()[1] == (
        "MEDIUMTEXT" if dialect in {"mysql", "mariadb"} else "TEXT"
    )
