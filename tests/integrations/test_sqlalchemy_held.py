"""Sends that wait for the commit of a session."""

from __future__ import annotations

import asyncio
import gc
import threading
import typing as t
import weakref
from collections.abc import AsyncGenerator
from collections.abc import Generator
from contextlib import asynccontextmanager
from contextlib import suppress
from pathlib import Path

import flask
import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.ext.asyncio import async_scoped_session
from sqlalchemy.ext.asyncio import async_sessionmaker
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.ext.asyncio import create_async_engine

from signalpost import Signal
from signalpost.errors import AsyncReceiverError
from signalpost.integrations.sqlalchemy import committed
from signalpost.integrations.sqlalchemy import held_until_commit
from signalpost.integrations.sqlalchemy import instrument_models
from signalpost.integrations.sqlalchemy import send_after_commit


class Model(orm.DeclarativeBase): ...


class Order(Model):
    __tablename__ = "orders"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str] = orm.mapped_column(unique=True)


class Log:
    """A receiver that keeps who sent."""

    def __init__(self, *signals: Signal) -> None:
        self.senders: list[t.Any] = []
        for signal in signals:
            signal.connect(self.receive)

    def receive(self, sender: t.Any, **payload: t.Any) -> None:
        self.senders.append(sender)


@pytest.fixture(params=["memory", "file"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[sa.Engine]:
    at = "" if request.param == "memory" else f"/{tmp_path}/shop.db"
    engine = sa.create_engine(f"sqlite://{at}")
    Model.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def session(engine: sa.Engine) -> Generator[orm.Session]:
    with orm.Session(engine) as session:
        yield session


@pytest.fixture
def placed() -> Signal:
    return Signal()


@pytest.fixture
def log(placed: Signal) -> Log:
    return Log(placed)


def names_in(engine: sa.Engine) -> list[str]:
    with orm.Session(engine) as session:
        return list(session.scalars(sa.select(Order.name).order_by(Order.id)))


# Commit and rollback


def test_sends_wait_for_the_commit(
    session: orm.Session, placed: Signal, log: Log
) -> None:
    with held_until_commit(session, placed):
        session.add(Order(name="a"))
        assert placed.send("a") == []
        session.flush()
        assert log.senders == []
        session.commit()
        assert log.senders == ["a"]
    assert log.senders == ["a"]


def test_what_is_sent_is_committed_already(tmp_path: Path, placed: Signal) -> None:
    def look(sender: t.Any) -> None:
        found.append(names_in(engine))

    engine = sa.create_engine(f"sqlite:///{tmp_path}/shop.db")
    Model.metadata.create_all(engine)
    found: list[list[str]] = []
    placed.connect(look)
    with orm.Session(engine) as session, held_until_commit(session, placed):
        session.add(Order(name="a"))
        placed.send("shop")
        session.commit()
    engine.dispose()
    assert found == [["a"]]


def test_each_commit_sends_what_waits(
    session: orm.Session, placed: Signal, log: Log
) -> None:
    with held_until_commit(session, placed):
        placed.send("a")
        session.commit()
        assert log.senders == ["a"]
        placed.send("b")
        session.commit()
        assert log.senders == ["a", "b"]


def test_several_signals_are_sent_in_the_order_of_their_sends(
    session: orm.Session,
) -> None:
    placed, paid = Signal(), Signal()
    log = Log(placed, paid)
    with held_until_commit(session, placed, paid):
        placed.send(1)
        paid.send(2)
        placed.send_robust(3)
        paid.send(4)
        session.commit()
    assert log.senders == [1, 2, 3, 4]


def test_other_signals_do_not_wait(session: orm.Session, placed: Signal) -> None:
    paid = Signal()
    log = Log(paid)
    with held_until_commit(session, placed):
        paid.send("a")
        assert log.senders == ["a"]


def test_rollback_drops_what_waits(
    session: orm.Session, placed: Signal, log: Log
) -> None:
    with held_until_commit(session, placed):
        session.add(Order(name="a"))
        placed.send("a")
        session.rollback()
        placed.send("b")
        session.commit()
    assert log.senders == ["b"]


def test_close_drops_what_waits(session: orm.Session, placed: Signal, log: Log) -> None:
    with held_until_commit(session, placed):
        session.add(Order(name="a"))
        placed.send("a")
        session.close()
        session.commit()
    assert log.senders == []


def test_commit_that_fails_drops_what_waits(
    session: orm.Session, placed: Signal, log: Log
) -> None:
    with held_until_commit(session, placed):
        session.add_all([Order(name="a"), Order(name="a")])
        placed.send("a")
        with pytest.raises(sa.exc.IntegrityError):
            session.commit()
        session.rollback()
        session.commit()
    assert log.senders == []


def test_what_was_not_committed_is_dropped_when_the_block_ends(
    session: orm.Session, placed: Signal, log: Log
) -> None:
    with held_until_commit(session, placed):
        session.add(Order(name="a"))
        placed.send("a")
    session.commit()
    assert log.senders == []


def test_exception_that_leaves_the_block_drops_what_waits(
    session: orm.Session, placed: Signal, log: Log
) -> None:
    with suppress(LookupError), held_until_commit(session, placed):
        placed.send("a")
        session.commit()
        placed.send("b")
        raise LookupError
    session.commit()
    assert log.senders == ["a"]


def test_sends_after_the_block_do_not_wait(
    session: orm.Session, placed: Signal, log: Log
) -> None:
    with held_until_commit(session, placed):
        pass
    placed.send("a")
    assert log.senders == ["a"]


# Savepoints


def test_rollback_of_a_savepoint_drops_only_what_was_sent_since(
    session: orm.Session, placed: Signal, log: Log
) -> None:
    with held_until_commit(session, placed):
        placed.send("a")
        savepoint = session.begin_nested()
        placed.send("b")
        savepoint.rollback()
        placed.send("c")
        session.commit()
    assert log.senders == ["a", "c"]


def test_release_of_a_savepoint_sends_nothing_yet(
    session: orm.Session, placed: Signal, log: Log
) -> None:
    with held_until_commit(session, placed):
        with session.begin_nested():
            session.add(Order(name="a"))
            placed.send("a")
        assert log.senders == []
        session.commit()
        assert log.senders == ["a"]


def test_savepoint_within_one_that_is_rolled_back_is_dropped(
    session: orm.Session, placed: Signal, log: Log
) -> None:
    with held_until_commit(session, placed):
        outer = session.begin_nested()
        with session.begin_nested():
            placed.send("a")
        outer.rollback()
        placed.send("b")
        session.commit()
    assert log.senders == ["b"]


def test_savepoint_that_began_before_the_block_drops_what_the_block_sent(
    session: orm.Session, placed: Signal, log: Log
) -> None:
    savepoint = session.begin_nested()
    with held_until_commit(session, placed):
        placed.send("a")
        savepoint.rollback()
        placed.send("b")
        session.commit()
    assert log.senders == ["b"]


def test_commit_with_an_open_savepoint_sends_everything(
    session: orm.Session, placed: Signal, log: Log
) -> None:
    with held_until_commit(session, placed):
        placed.send("a")
        session.begin_nested()
        placed.send("b")
        session.commit()
    assert log.senders == ["a", "b"]


def test_failed_flush_in_a_savepoint_drops_what_was_sent_since(
    session: orm.Session, placed: Signal, log: Log
) -> None:
    session.add(Order(name="a"))
    with held_until_commit(session, placed):
        placed.send("a")
        with suppress(sa.exc.IntegrityError), session.begin_nested():
            placed.send("b")
            session.add(Order(name="a"))
        session.commit()
    assert log.senders == ["a"]


# Receivers that use the session


def test_receiver_reads_the_order_by_the_same_session(
    session: orm.Session, placed: Signal
) -> None:
    def mail(order: Order) -> None:
        mailed.append(order.name)  # expired by the commit, so loaded again

    mailed: list[str] = []
    placed.connect(mail)
    with held_until_commit(session, placed):
        order = Order(name="a")
        session.add(order)
        placed.send(order)
        session.commit()
    assert mailed == ["a"]


def test_receiver_commits_by_the_same_session(
    session: orm.Session, engine: sa.Engine, placed: Signal
) -> None:
    def keep(sender: str) -> None:
        session.add(Order(name=sender))
        session.commit()

    placed.connect(keep)
    log = Log(placed)
    with held_until_commit(session, placed):
        placed.send("a")
        placed.send("b")
        session.commit()
    assert log.senders == ["a", "b"]
    assert names_in(engine) == ["a", "b"]


def test_receiver_that_rolls_back_drops_nothing_of_the_commit(
    session: orm.Session, placed: Signal
) -> None:
    def spoil(sender: str) -> None:
        session.add(Order(name=sender))
        session.rollback()

    placed.connect(spoil)
    log = Log(placed)
    with held_until_commit(session, placed):
        placed.send("a")
        placed.send("b")
        session.commit()
    assert log.senders == ["a", "b"]


def test_what_a_receiver_sends_goes_out_at_once(session: orm.Session) -> None:
    def invoice(sender: str) -> None:
        paid.send(f"{sender}, paid")
        assert log.senders[-1] == f"{sender}, paid"

    placed, paid = Signal(), Signal()
    placed.connect(invoice)
    log = Log(placed, paid)
    with held_until_commit(session, placed, paid):
        placed.send("a")
        placed.send("b")
        session.commit()
    assert log.senders == ["a, paid", "a", "b, paid", "b"]


def test_receiver_with_a_block_of_its_own_waits_for_its_own_commit(
    session: orm.Session,
) -> None:
    def reserve(sender: str) -> None:
        with held_until_commit(session, reserved):
            session.add(Order(name=sender))
            reserved.send(sender)
            assert log.senders == []
            session.commit()
            assert log.senders == [sender]

    placed, reserved = Signal(), Signal()
    placed.connect(reserve)
    log = Log(reserved)
    with held_until_commit(session, placed, reserved):
        placed.send("a")
        session.commit()
    assert log.senders == ["a"]


def test_exception_of_a_receiver_is_logged_and_does_not_harm_the_commit(
    session: orm.Session,
    engine: sa.Engine,
    placed: Signal,
    log: Log,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(sender: str) -> None:
        raise LookupError(sender)

    placed.connect(fail)
    with held_until_commit(session, placed):
        session.add(Order(name="a"))
        placed.send("a")
        placed.send("b")
        session.commit()
        session.add(Order(name="b"))
        session.commit()
    assert log.senders == ["a", "b"]
    assert names_in(engine) == ["a", "b"]
    assert [one.name for one in caplog.records] == ["signalpost.signals"] * 2
    assert "fail of" in caplog.text


def test_robust_send_keeps_the_exception_of_a_receiver_from_the_commit(
    session: orm.Session, placed: Signal
) -> None:
    def fail(sender: str) -> None:
        raise LookupError(sender)

    placed.connect(fail)
    log = Log(placed)
    with held_until_commit(session, placed):
        placed.send_robust("a")
        placed.send_robust("b")
        session.commit()
    assert log.senders == ["a", "b"]


def test_committed_waits_until_the_session_can_be_used(session: orm.Session) -> None:
    def read(model: type, *, instance: Order) -> None:
        names.append(instance.name)

    names: list[str] = []
    with (
        instrument_models(),
        committed.connected_to(read, Order),
        held_until_commit(session, committed),
    ):
        session.add(Order(name="a"))
        session.commit()
        assert names == ["a"]


# with blocks of begin()


def test_begin_within_the_block_sends_when_it_commits(
    session: orm.Session, engine: sa.Engine, placed: Signal
) -> None:
    def mail(order: Order) -> None:
        mailed.append(order.name)

    mailed: list[str] = []
    placed.connect(mail)
    with held_until_commit(session, placed):
        for name in ("a", "b"):
            with session.begin():
                order = Order(name=name)
                session.add(order)
                placed.send(order)
            assert mailed[-1] == name
    assert names_in(engine) == ["a", "b"]


def test_begin_within_the_block_drops_what_it_rolls_back(
    session: orm.Session, placed: Signal, log: Log
) -> None:
    with held_until_commit(session, placed):
        with suppress(LookupError), session.begin():
            placed.send("a")
            raise LookupError
        with session.begin():
            placed.send("b")
    assert log.senders == ["b"]


def test_block_within_a_sessionmakers_begin_waits_for_its_commit(
    engine: sa.Engine, placed: Signal
) -> None:
    def mail(order: Order) -> None:
        mailed.append(order.name)

    mailed: list[str] = []
    placed.connect(mail)
    maker = orm.sessionmaker(engine)
    with maker.begin() as session, held_until_commit(session, placed):
        order = Order(name="a")
        session.add(order)
        placed.send(order)
    assert mailed == ["a"]
    with maker.begin() as session:
        with held_until_commit(session, placed):
            order = Order(name="b")
            session.add(order)
            placed.send(order)
        assert mailed == ["a"]
    assert mailed == ["a", "b"]


def test_block_within_a_begin_that_is_rolled_back_is_dropped(
    engine: sa.Engine, placed: Signal, log: Log
) -> None:
    maker = orm.sessionmaker(engine)
    with suppress(LookupError), maker.begin() as session:
        with held_until_commit(session, placed):
            placed.send("a")
        raise LookupError
    assert log.senders == []


def test_block_that_raises_within_a_begin_is_dropped(
    engine: sa.Engine, placed: Signal, log: Log
) -> None:
    with orm.sessionmaker(engine).begin() as session:
        with held_until_commit(session, placed):
            placed.send("a")
        with suppress(LookupError), held_until_commit(session, placed):
            placed.send("b")
            raise LookupError
    assert log.senders == ["a"]


def test_receiver_commits_in_a_begin_that_commits(
    session: orm.Session, engine: sa.Engine, placed: Signal
) -> None:
    def keep(sender: str) -> None:
        session.add(Order(name=sender))
        session.commit()
        session.add(Order(name=f"{sender}, not committed"))

    placed.connect(keep)
    with held_until_commit(session, placed), session.begin():
        placed.send("a")
        placed.send("b")
    assert not session.in_transaction()
    assert names_in(engine) == ["a", "a, not committed", "b"]


def test_session_is_refused_as_before_after_a_commit_within_begin(
    session: orm.Session, placed: Signal, log: Log
) -> None:
    with held_until_commit(session, placed), session.begin():
        placed.send("a")
        session.commit()
        assert log.senders == ["a"]
        with pytest.raises(sa.exc.InvalidRequestError, match="closed transaction"):
            session.execute(sa.select(Order))


# Several blocks and sessions


def test_two_sessions_do_not_mix(engine: sa.Engine) -> None:
    placed, paid = Signal(), Signal()
    log = Log(placed, paid)
    with (
        orm.Session(engine) as one,
        orm.Session(engine) as other,
        held_until_commit(one, placed),
        held_until_commit(other, paid),
    ):
        placed.send("placed")
        paid.send("paid")
        other.rollback()
        other.commit()
        assert log.senders == ["paid"]
        one.commit()
        assert log.senders == ["paid", "placed"]


def test_rollback_of_another_session_drops_nothing(
    engine: sa.Engine, placed: Signal, log: Log
) -> None:
    with (
        orm.Session(engine) as one,
        orm.Session(engine) as other,
        held_until_commit(one, placed),
    ):
        placed.send("a")
        other.execute(sa.select(Order))
        other.rollback()
        other.commit()
        assert log.senders == []
        one.commit()
    assert log.senders == ["a"]


def test_send_belongs_to_the_session_of_the_innermost_block(
    engine: sa.Engine, placed: Signal, log: Log
) -> None:
    one, other = orm.Session(engine), orm.Session(engine)
    with one, other, held_until_commit(one, placed):
        placed.send("one")
        with held_until_commit(other, placed):
            placed.send("other")
            other.commit()
        assert log.senders == ["other"]
        one.commit()
    assert log.senders == ["other", "one"]


def test_receiver_in_the_commit_of_another_session_sends_for_its_own(
    engine: sa.Engine,
) -> None:
    def pay(sender: str) -> None:
        paid.send(sender)

    placed, paid = Signal(), Signal()
    placed.connect(pay)
    log = Log(paid)
    one, other = orm.Session(engine), orm.Session(engine)
    with one, other, held_until_commit(one, paid):
        with held_until_commit(other, placed):
            placed.send("a")
            other.commit()
        assert log.senders == []
        one.commit()
    assert log.senders == ["a"]


def test_inner_block_of_the_session_waits_on_in_the_outer_one(
    session: orm.Session,
) -> None:
    placed, paid = Signal(), Signal()
    log = Log(placed, paid)
    with held_until_commit(session, placed):
        placed.send(1)
        with held_until_commit(session, placed, paid):
            placed.send(2)
            paid.send(3)
        placed.send(4)
        assert log.senders == []
        session.commit()
    assert log.senders == [1, 2, 3, 4]


def test_inner_block_that_raises_drops_only_what_it_sent(
    session: orm.Session, placed: Signal, log: Log
) -> None:
    with held_until_commit(session, placed):
        placed.send("a")
        with suppress(LookupError), held_until_commit(session, placed):
            placed.send("b")
            raise LookupError
        session.commit()
        placed.send("c")
        placed.send("d")
        with suppress(LookupError), held_until_commit(session, placed):
            session.commit()
            placed.send("e")
            raise LookupError
        session.commit()
    assert log.senders == ["a", "c", "d"]


def test_plain_held_block_outside_waits_on_after_the_commit(
    session: orm.Session, placed: Signal, log: Log
) -> None:
    with placed.held():
        with held_until_commit(session, placed):
            placed.send("a")
            session.commit()
        assert log.senders == []
    assert log.senders == ["a"]


def test_plain_held_block_inside_waits_for_the_commit(
    session: orm.Session, placed: Signal, log: Log
) -> None:
    with held_until_commit(session, placed):
        with placed.held():
            placed.send("a")
        assert log.senders == []
        session.commit()
    assert log.senders == ["a"]


def test_send_of_another_thread_does_not_wait(
    session: orm.Session, placed: Signal, log: Log
) -> None:
    with held_until_commit(session, placed):
        placed.send("a")
        thread = threading.Thread(target=placed.send, args=("b",))
        thread.start()
        thread.join(30)
        assert log.senders == ["b"]
        session.commit()
    assert log.senders == ["b", "a"]


def test_one_block_over_a_scoped_session_serves_many_threads(
    tmp_path: Path, placed: Signal, log: Log
) -> None:
    def work(number: int) -> None:
        with block:
            placed.send(number)
            inside.wait(30)
            if number % 2:
                scoped.commit()
            inside.wait(30)
        scoped.remove()

    engine = sa.create_engine(f"sqlite:///{tmp_path}/shop.db")
    scoped = orm.scoped_session(orm.sessionmaker(engine))
    block, inside = held_until_commit(scoped, placed), threading.Barrier(4)
    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    engine.dispose()
    assert sorted(log.senders) == [1, 3]


def test_session_joined_to_an_outer_transaction_sends_at_its_own_commit(
    engine: sa.Engine, placed: Signal, log: Log
) -> None:
    # As test suites have it, which roll back everything after each test.
    with engine.connect() as connection:
        outer = connection.begin()
        mode: t.Literal["create_savepoint"] = "create_savepoint"
        with (
            orm.Session(connection, join_transaction_mode=mode) as session,
            held_until_commit(session, placed),
        ):
            session.add(Order(name="a"))
            placed.send("a")
            session.commit()
            assert log.senders == ["a"]
        outer.rollback()


def test_session_is_freed_after_its_blocks(
    engine: sa.Engine, placed: Signal, log: Log
) -> None:
    session = orm.Session(engine)
    with held_until_commit(session, placed):
        session.begin_nested()
        placed.send("a")
        session.commit()
        placed.send("b")
    session.close()
    alive = weakref.ref(session)
    del session
    gc.collect()
    assert alive() is None


# The forms of a session, and what is refused


def test_decorated_function_sends_when_it_commits(
    engine: sa.Engine, placed: Signal, log: Log
) -> None:
    scoped = orm.scoped_session(orm.sessionmaker(engine))

    @held_until_commit(scoped, placed)
    def place(name: str, *, is_committed: bool) -> str:
        scoped.add(Order(name=name))
        placed.send(name)
        if is_committed:
            scoped.commit()
        return name

    assert place("a", is_committed=True) == "a"
    assert place("b", is_committed=False) == "b"
    scoped.remove()
    assert log.senders == ["a"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((orm.Session(),), "got none"),
        ((orm.Session(), "order-placed"), "got 'order-placed'"),
        ((orm.sessionmaker(), Signal()), "call a sessionmaker"),
        ((None, Signal()), "got None"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: t.Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        held_until_commit(*arguments)


# Flask-SQLAlchemy


class Shop(t.NamedTuple):
    app: flask.Flask
    log: Log


@pytest.fixture
def shop(placed: Signal, tmp_path: Path) -> Generator[Shop]:
    flask_sqlalchemy = pytest.importorskip(
        "flask_sqlalchemy", reason="Flask-SQLAlchemy is not installed"
    )

    def note(sender: flask.Flask, *, order: t.Any) -> None:
        log.senders.append((order.name, db.session.get(Placed, order.id) is order))

    app, log = flask.Flask(__name__), Log()
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{tmp_path}/shop.db"
    db = flask_sqlalchemy.SQLAlchemy(app)

    class Placed(db.Model):  # type: ignore[misc, name-defined]  # made at run time
        id = db.Column(db.Integer, primary_key=True)
        name = db.Column(db.String, unique=True)

    placed.connect(note, app)

    @app.post("/orders/<name>")
    @held_until_commit(db.session, placed)
    def place(name: str) -> str:
        order = Placed(name=name)
        db.session.add(order)
        placed.send(app, order=order)
        db.session.commit()
        return f"{len(log.senders)} sent"

    with app.app_context():
        db.create_all()
    yield Shop(app, log)
    with app.app_context():
        db.engine.dispose()


def test_view_sends_when_flask_sqlalchemy_has_committed(shop: Shop) -> None:
    client = shop.app.test_client()
    assert client.post("/orders/a").text == "1 sent"
    assert client.post("/orders/b").text == "2 sent"
    assert shop.log.senders == [("a", True), ("b", True)]


def test_view_that_fails_to_commit_sends_nothing(shop: Shop) -> None:
    client = shop.app.test_client()
    client.post("/orders/a")
    assert client.post("/orders/a").status_code == 500
    assert shop.log.senders == [("a", True)]


# AsyncSession


@asynccontextmanager
async def async_sessions(
    place: Path,
) -> AsyncGenerator[async_sessionmaker[AsyncSession]]:
    engine = create_async_engine(f"sqlite+aiosqlite:///{place}/shop.db")
    async with engine.begin() as connection:
        await connection.run_sync(Model.metadata.create_all)
    yield async_sessionmaker(engine)
    await engine.dispose()


def test_async_sends_are_awaited_in_the_commit_of_an_async_session(
    tmp_path: Path,
) -> None:
    async def work() -> None:
        async with async_sessions(tmp_path) as maker, maker() as session:

            async def mail(sender: str) -> None:
                await asyncio.sleep(0)
                mailed.append((sender, await session.scalar(count)))

            count = sa.select(sa.func.count()).select_from(Order)
            placed.connect(mail)
            with held_until_commit(session, placed, paid):
                session.add(Order(name="a"))
                assert await placed.send_async("a") == []
                paid.send("b")
                await placed.send_robust_async("c")
                assert mailed == log.senders == []
                await session.commit()
                assert mailed == [("a", 1), ("c", 1)]
                await placed.send_async("d")
                await session.rollback()
        assert log.senders == ["b"]

    placed, paid, mailed = Signal(), Signal(), list[tuple[str, int | None]]()
    log = Log(paid)
    asyncio.run(work())
    assert [sender for sender, _ in mailed] == ["a", "c"]


def test_block_within_an_async_sessionmakers_begin_waits_for_its_commit(
    tmp_path: Path, placed: Signal
) -> None:
    async def work() -> None:
        async with async_sessions(tmp_path) as maker:
            async with maker.begin() as session:

                async def mail(order: Order) -> None:
                    await session.refresh(order)
                    mailed.append(order.name)

                placed.connect(mail)
                with held_until_commit(session, placed):
                    order = Order(name="a")
                    session.add(order)
                    await placed.send_async(order)
                assert mailed == []
            assert mailed == ["a"]

    mailed: list[str] = []
    asyncio.run(work())
    assert mailed == ["a"]


def test_async_function_is_decorated_with_an_async_scoped_session(
    tmp_path: Path, placed: Signal, log: Log
) -> None:
    async def work() -> None:
        async with async_sessions(tmp_path) as maker:
            scoped = async_scoped_session(maker, asyncio.current_task)

            @held_until_commit(scoped, placed)
            async def place(name: str) -> None:
                scoped.add(Order(name=name))
                await placed.send_async(name)
                await asyncio.sleep(0)
                await (scoped.commit if name != "b" else scoped.rollback)()
                await scoped.remove()

            await asyncio.gather(*(place(name) for name in ("a", "b", "c")))

    asyncio.run(work())
    assert sorted(log.senders) == ["a", "c"]


def test_sync_session_of_an_async_session_sends_after_its_commit(
    tmp_path: Path, placed: Signal, log: Log
) -> None:
    async def work() -> None:
        async with async_sessions(tmp_path) as maker, maker() as session:
            with held_until_commit(session.sync_session, placed):
                await session.run_sync(lambda _: placed.send("a"))
                assert log.senders == []
                await session.commit()
                assert log.senders == ["a"]

    asyncio.run(work())
    assert log.senders == ["a"]


def test_async_send_is_refused_at_once_where_nothing_could_await_it(
    session: orm.Session, placed: Signal
) -> None:
    async def work() -> None:
        with held_until_commit(session, placed):
            await placed.send_async("a")

    with pytest.raises(AsyncReceiverError, match="pass the AsyncSession"):
        asyncio.run(work())


# One send without a block


def test_single_send_waits_for_the_commit(
    session: orm.Session, engine: sa.Engine, placed: Signal
) -> None:
    def mail(sender: str, *, order: Order, session: str) -> None:
        mailed.append((sender, order.name, session, names_in(engine)))

    mailed: list[t.Any] = []
    placed.connect(mail)
    order = Order(name="a")
    session.add(order)
    send_after_commit(session, placed, "shop", order=order, session="spring")
    session.flush()
    assert mailed == []
    session.commit()
    assert mailed == [("shop", "a", "spring", ["a"])]
    session.commit()
    assert len(mailed) == 1


@pytest.mark.parametrize("end", ["rollback", "close", "invalidate"])
def test_single_send_is_dropped_without_a_commit(
    session: orm.Session, placed: Signal, log: Log, end: str
) -> None:
    session.add(Order(name="a"))
    session.flush()
    send_after_commit(session, placed, "a")
    getattr(session, end)()
    session.commit()
    assert log.senders == []


def test_single_send_is_dropped_with_its_savepoint(
    session: orm.Session, placed: Signal, log: Log
) -> None:
    outer = session.begin_nested()
    # The first one of the session: no savepoint was followed before it.
    send_after_commit(session, placed, "a")
    outer.rollback()
    send_after_commit(session, placed, "b")
    with suppress(LookupError), session.begin_nested():
        send_after_commit(session, placed, "c")
        raise LookupError
    with session.begin_nested():
        send_after_commit(session, placed, "d")
    session.commit()
    assert log.senders == ["b", "d"]


def test_single_send_of_a_receiver_is_sent_after_its_own_commit(
    session: orm.Session, placed: Signal
) -> None:
    def keep(sender: str) -> None:
        senders.append(sender)
        if sender == "a":
            session.add(Order(name="b"))
            send_after_commit(session, placed, "b")
            assert senders == ["a"]
            session.commit()
            assert senders == ["a", "b"]

    senders: list[str] = []
    placed.connect(keep)
    send_after_commit(session, placed, "a")
    session.commit()
    assert senders == ["a", "b"]


def test_single_send_waits_for_the_commit_of_a_begin(
    engine: sa.Engine, placed: Signal, log: Log
) -> None:
    with orm.sessionmaker(engine).begin() as session:
        send_after_commit(session, placed, "a")
        assert log.senders == []
    assert log.senders == ["a"]


def test_single_send_waits_for_the_session_of_the_thread(
    engine: sa.Engine, placed: Signal, log: Log
) -> None:
    def work(name: str, *, is_committed: bool) -> None:
        scoped.add(Order(name=name))
        scoped.flush()
        send_after_commit(scoped, placed, name)
        if is_committed:
            scoped.commit()
        scoped.remove()

    scoped = orm.scoped_session(orm.sessionmaker(engine))
    for name, is_committed in (("a", True), ("b", False)):
        work(name, is_committed=is_committed)
    work("c", is_committed=True)
    assert log.senders == ["a", "c"]


def test_single_send_of_an_async_session_awaits_its_receivers(placed: Signal) -> None:
    async def mail(sender: str) -> None:
        await asyncio.sleep(0)
        senders.append(sender)

    async def work() -> None:
        engine = create_async_engine("sqlite+aiosqlite://")
        async with AsyncSession(engine) as session:
            await session.execute(sa.text("SELECT 1"))
            send_after_commit(session, placed, "a")
            await session.rollback()
            send_after_commit(session, placed, "b")
            await session.commit()
        await engine.dispose()

    senders: list[str] = []
    placed.connect(mail)
    asyncio.run(work())
    assert senders == ["b"]


def test_what_a_block_holds_and_single_sends_keep_their_order(
    session: orm.Session, placed: Signal, log: Log
) -> None:
    with held_until_commit(session, placed):
        placed.send("a")
        send_after_commit(session, placed, "b")
        placed.send("c")
        session.commit()
    assert log.senders == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((orm.sessionmaker(), Signal()), "session must be a Session"),
        ((None, Signal()), "session must be a Session"),
        ((orm.Session(), "placed"), "expects a signal after the session, got 'placed'"),
        ((orm.Session(), None), "expects a signal after the session, got None"),
    ],
)
def test_single_send_of_something_else_is_refused(
    arguments: tuple[t.Any, t.Any], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        send_after_commit(*arguments)


def test_send_that_fails_leaves_the_session_as_after_a_commit(
    session: orm.Session, placed: Signal, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(sender: str) -> None:
        session.execute(sa.text("SELECT * FROM cups"))

    placed.connect(fail)
    log = Log(placed)
    with held_until_commit(session, placed):
        placed.send("a")
        placed.send_robust("b")
    send_after_commit(session, placed, "c")
    send_after_commit(session, placed, "d")
    session.commit()
    assert not session.in_transaction()
    assert log.senders == []
    assert len(caplog.records) == 2
    with held_until_commit(session, placed):
        placed.send_robust("e")
        session.commit()
    assert not session.in_transaction()
    assert log.senders == ["e"]
