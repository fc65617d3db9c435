"""Receivers of committed, and the objects that are kept until the commit."""

from __future__ import annotations

import asyncio
import gc
import typing as t
import weakref
from collections.abc import Callable
from collections.abc import Generator
from contextlib import contextmanager
from contextlib import suppress
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.ext.asyncio import async_scoped_session
from sqlalchemy.ext.asyncio import async_sessionmaker
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.ext.asyncio import create_async_engine

from signalpost import Signal
from signalpost.integrations.sqlalchemy import committed
from signalpost.integrations.sqlalchemy import held_until_commit
from signalpost.integrations.sqlalchemy import instrument
from signalpost.integrations.sqlalchemy import instrument_models
from signalpost.integrations.sqlalchemy import send_after_commit
from signalpost.lifecycle import sql_executed
from signalpost.testing import capture
from signalpost.testing import Sent


class Model(orm.DeclarativeBase): ...


class Mug(Model):
    __tablename__ = "mugs"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str] = orm.mapped_column()
    price: orm.Mapped[int] = orm.mapped_column(server_default="250")
    kind: orm.Mapped[str] = orm.mapped_column(default="mug")
    chips: orm.Mapped[list[Chip]] = orm.relationship(cascade="all")
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "mug"}  # noqa: RUF012  # as SQLAlchemy has it


class Beaker(Mug):
    __mapper_args__ = {"polymorphic_identity": "beaker"}  # noqa: RUF012  # likewise


class Chip(Model):
    __tablename__ = "chips"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    mug_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("mugs.id"))


class Place(Model):
    __tablename__ = "places"
    shelf: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    row: orm.Mapped[str] = orm.mapped_column(primary_key=True)
    note: orm.Mapped[str] = orm.mapped_column(default="")


@pytest.fixture(autouse=True)
def instrumented() -> Generator[None]:
    with instrument_models():
        yield


@pytest.fixture
def engine(tmp_path: Path) -> Generator[sa.Engine]:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/shop.db")
    Model.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def session(engine: sa.Engine) -> Generator[orm.Session]:
    with orm.Session(engine) as session:
        yield session


class Reader:
    """A receiver that reads columns and a relationship that are not loaded."""

    def __init__(self) -> None:
        self.found: list[tuple[t.Any, ...]] = []

    def __call__(
        self, model: type, *, instance: t.Any, identity: t.Any, change: str
    ) -> None:
        chips = len(instance.chips)
        self.found.append((instance.name, instance.price, chips, identity, change))


@pytest.fixture
def reader() -> Generator[Reader]:
    reader = Reader()
    committed.connect(reader, Mug)
    yield reader
    committed.disconnect(reader, Mug)


BLUE = ("blue", 250, 1, (1,), "created")


def blue() -> Mug:
    return Mug(name="blue", chips=[Chip()])


def fates(sent: list[Sent]) -> list[tuple[t.Any, str]]:
    return [(one["identity"], one["change"]) for one in sent]


@contextmanager
def identities() -> Generator[list[tuple[t.Any, str]]]:
    """Note what a receiver is called with that reads no instance."""

    def note(model: type, *, identity: t.Any, change: str) -> None:
        found.append((identity, change))

    found: list[tuple[t.Any, str]] = []
    with committed.connected_to(note):
        yield found


# Ways to commit, after each of which everything can be read


def commit(engine: sa.Engine) -> None:
    with orm.Session(engine) as session:
        session.add(blue())
        session.commit()


def commit_by_begin(engine: sa.Engine) -> None:
    with orm.Session(engine) as session, session.begin():
        session.add(blue())


def commit_by_the_makers_begin(engine: sa.Engine) -> None:
    with orm.sessionmaker(engine).begin() as session:
        session.add(blue())


def commit_in_a_savepoint(engine: sa.Engine) -> None:
    with orm.Session(engine) as session:
        with session.begin_nested(), session.begin_nested():
            session.add(blue())
        session.commit()


def commit_of_this_thread(engine: sa.Engine) -> None:
    session = orm.scoped_session(orm.sessionmaker(engine))
    session.add(blue())
    session.commit()
    session.remove()


def commit_of_a_connection(engine: sa.Engine) -> None:
    with engine.connect() as connection, orm.Session(connection) as session:
        session.add(blue())
        session.commit()


def commit_of_what_nobody_keeps(engine: sa.Engine) -> None:
    with orm.Session(engine) as session:
        session.add(blue())
        session.flush()
        gc.collect()
        assert not session.identity_map.keys()
        session.commit()


WAYS = [
    commit,
    commit_by_begin,
    commit_by_the_makers_begin,
    commit_in_a_savepoint,
    commit_of_this_thread,
    commit_of_a_connection,
    commit_of_what_nobody_keeps,
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_receiver_may_read_everything(
    engine: sa.Engine, reader: Reader, way: Callable[[sa.Engine], None]
) -> None:
    way(engine)
    assert reader.found == [BLUE]


@pytest.mark.parametrize("way", ["commit", "begin", "maker", "scoped"])
def test_receiver_may_read_everything_of_an_async_session(
    tmp_path: Path, reader: Reader, way: str
) -> None:
    async def work() -> None:
        engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/shop.db")
        async with engine.begin() as connection:
            await connection.run_sync(Model.metadata.create_all)
        maker = async_sessionmaker(engine)
        if way == "commit":
            async with maker() as session:
                session.add(blue())
                await session.commit()
        elif way == "begin":
            async with maker() as session, session.begin():
                session.add(blue())
        elif way == "maker":
            async with maker.begin() as session:
                session.add(blue())
        else:
            scoped = async_scoped_session(maker, asyncio.current_task)
            scoped.add(blue())
            await scoped.commit()
            await scoped.remove()
        await engine.dispose()

    asyncio.run(work())
    assert reader.found == [BLUE]


def test_what_is_read_is_what_was_committed(
    session: orm.Session, engine: sa.Engine
) -> None:
    def look(model: type, *, identity: tuple[int]) -> None:
        with orm.Session(engine) as other:
            found.append(other.scalar(sa.select(Mug.name).filter_by(id=identity[0])))

    found: list[str | None] = []
    with committed.connected_to(look, Mug):
        session.add(blue())
        session.commit()
    assert found == ["blue"]


def test_column_of_a_deleted_object_can_be_read(session: orm.Session) -> None:
    def read(model: type, *, instance: Mug, change: str) -> None:
        found.append((instance.name, change))

    found: list[tuple[str, str]] = []
    session.add(Mug(name="blue"))
    session.commit()
    with committed.connected_to(read, Mug):
        session.delete(session.scalars(sa.select(Mug)).one())
        session.flush()
        gc.collect()
        session.commit()
    assert found == [("blue", "deleted")]


def test_deleted_object_of_a_class_without_receivers_is_not_kept(
    session: orm.Session,
) -> None:
    session.add(Mug(name="blue"))
    session.commit()
    mug = session.scalars(sa.select(Mug)).one()
    gone = weakref.ref(mug)
    with identities() as found:
        session.delete(mug)
        session.flush()
        del mug
        gc.collect()
        assert gone() is None
        session.commit()
    assert found == [((1,), "deleted")]


# The state of an object


def test_identity_has_all_columns_of_the_key(session: orm.Session) -> None:
    with capture(committed) as sent:
        session.add_all([Place(shelf=2, row="b"), Place(shelf=1, row="a")])
        session.flush()
        gc.collect()
        session.commit()
    assert fates(sent) == [((2, "b"), "created"), ((1, "a"), "created")]
    # They were not kept, so they were loaded again.
    assert [(one["instance"].shelf, one["instance"].row) for one in sent] == [
        *((2, "b"), (1, "a"))
    ]


def test_object_that_is_created_and_deleted_is_not_sent(session: orm.Session) -> None:
    with capture(committed) as sent:
        mug = Mug(name="blue")
        session.add(mug)
        session.flush()
        session.delete(mug)
        session.add(Mug(name="red"))
        session.commit()
    assert [one["instance"].name for one in sent] == ["red"]


@pytest.mark.parametrize("is_created_within", [True, False])
def test_object_that_a_savepoint_deletes_is_not_sent(
    session: orm.Session, is_created_within: bool
) -> None:
    with identities() as found:
        mug = Mug(name="blue")
        if not is_created_within:
            session.add(mug)
            session.flush()
        with session.begin_nested():
            session.add(mug)
            session.flush()
            session.delete(mug)
        session.commit()
    assert found == []


def test_object_whose_deletion_is_rolled_back_is_sent(session: orm.Session) -> None:
    with identities() as found:
        mug = Mug(name="blue")
        session.add(mug)
        session.flush()
        savepoint = session.begin_nested()
        session.delete(mug)
        session.flush()
        savepoint.rollback()
        session.commit()
    assert found == [((1,), "created")]


def test_object_that_takes_the_place_of_a_deleted_one_is_an_update(
    session: orm.Session,
) -> None:
    session.add(Mug(id=1, name="blue"))
    session.commit()
    with identities() as found:
        session.delete(session.get(Mug, 1))
        session.flush()
        session.add(Mug(id=1, name="red"))
        session.commit()
    assert found == [((1,), "updated")]


def test_object_whose_key_is_changed_is_sent_once_with_the_new_one(
    session: orm.Session,
) -> None:
    with capture(committed) as sent:
        mug = Mug(id=1, name="blue")
        session.add(mug)
        session.flush()
        mug.id = 7
        session.commit()
    assert fates(sent) == [((7,), "created")]
    assert sent[0]["instance"] is mug


def test_order_is_that_of_the_first_change(session: orm.Session) -> None:
    mugs = [Mug(name=name) for name in "abc"]
    session.add_all(mugs)
    session.commit()
    with identities() as found:
        mugs[2].name = "d"
        session.flush()
        session.delete(mugs[0])
        session.flush()
        mugs[2].name = "e"
        session.commit()
    assert found == [((3,), "updated"), ((1,), "deleted")]


def test_subclass_that_is_loaded_again_is_sent_by_itself(session: orm.Session) -> None:
    with capture(committed) as sent:
        session.add(Beaker(name="blue"))
        session.flush()
        gc.collect()
        session.commit()
    assert [one.sender for one in sent] == [Beaker]
    assert isinstance(sent[0]["instance"], Beaker)


@pytest.mark.parametrize("end", ["rollback", "close", "invalidate", "fail"])
def test_what_is_not_committed_is_not_sent(engine: sa.Engine, end: str) -> None:
    with identities() as found, orm.Session(engine) as session:
        session.add(Mug(name="blue"))
        session.flush()
        if end == "fail":
            session.add_all([Mug(id=5, name="red"), Mug(id=5, name="red")])
            with pytest.raises(sa.exc.IntegrityError):
                session.commit()
            session.rollback()
        else:
            getattr(session, end)()
        session.commit()
        assert found == []
        session.add(Mug(name="green"))
        session.commit()
    assert len(found) == 1


def test_commit_that_the_database_refuses_sends_nothing(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/late.db")

    @sa.event.listens_for(engine, "connect")
    def check_keys(connection: t.Any, _: object) -> None:
        connection.execute("PRAGMA foreign_keys = ON")

    class Late(orm.DeclarativeBase): ...

    class Cup(Late):
        __tablename__ = "cups"
        id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
        of: orm.Mapped[int] = orm.mapped_column(
            sa.ForeignKey("cups.id", deferrable=True, initially="DEFERRED")
        )

    Late.metadata.create_all(engine)
    with identities() as found, orm.Session(engine) as session:
        session.add(Cup(id=1, of=7))
        with pytest.raises(sa.exc.IntegrityError):
            session.commit()
        session.rollback()
    engine.dispose()
    assert found == []


def test_session_in_a_transaction_of_the_application_sends_at_its_own_commit(
    engine: sa.Engine,
) -> None:
    with identities() as found, engine.connect() as connection:
        outer = connection.begin()
        with orm.Session(
            connection, join_transaction_mode="create_savepoint"
        ) as session:
            session.add(Mug(name="blue"))
            session.commit()
        outer.rollback()
    assert found == [((1,), "created")]


# What is kept, and loaded again


def test_objects_are_not_kept_until_the_commit(session: orm.Session) -> None:
    with identities() as found:
        mugs = [Mug(name=str(number)) for number in range(3)]
        references = [weakref.ref(mug) for mug in mugs]
        session.add_all(mugs)
        session.flush()
        mugs.clear()
        gc.collect()
        assert [reference() for reference in references] == [None] * 3
        session.commit()
    assert found == [((number,), "created") for number in (1, 2, 3)]


def test_receiver_of_identities_causes_no_statement(
    session: orm.Session, engine: sa.Engine
) -> None:
    with identities() as found, instrument(engine):
        session.add_all([Mug(name="blue"), Mug(name="red")])
        session.flush()
        gc.collect()
        with capture(sql_executed) as sent:
            session.commit()
        assert not session.in_transaction()
    assert len(found) == 2
    assert sent == []


def test_objects_that_are_not_kept_are_loaded_many_at_once(
    session: orm.Session, engine: sa.Engine
) -> None:
    def read(model: type, *, instance: Mug) -> None:
        names.append(instance.name)

    names: list[str] = []
    with instrument(engine), committed.connected_to(read, Mug):
        session.add_all([Mug(name=str(number)) for number in range(1200)])
        session.flush()
        gc.collect()
        with capture(sql_executed) as sent:
            session.commit()
    assert names == [str(number) for number in range(1200)]
    assert len(sent) == 3


def test_object_that_the_application_keeps_is_the_same(session: orm.Session) -> None:
    with capture(committed) as sent:
        mug = Mug(name="blue")
        session.add(mug)
        session.commit()
    assert sent[0]["instance"] is mug


def test_condition_that_reads_the_object_gets_it(session: orm.Session) -> None:
    def note(model: type, *, identity: t.Any) -> None:
        found.append(identity)

    def is_red(model: type, *, instance: Mug) -> bool:
        return instance.name == "red"

    found: list[t.Any] = []
    committed.connect(note, Mug, when=is_red)
    session.add_all([Mug(name="blue"), Mug(name="red")])
    session.flush()
    gc.collect()
    session.commit()
    committed.disconnect(note, Mug)
    assert found == [(2,)]


def test_object_that_is_not_there_any_more_is_none(session: orm.Session) -> None:
    with capture(committed) as sent:
        session.add_all([Mug(name="blue"), Mug(name="red")])
        session.flush()
        gc.collect()
        session.execute(sa.delete(Mug).where(Mug.name == "blue"))
        session.commit()
    assert fates(sent) == [((1,), "created"), ((2,), "created")]
    assert [one["instance"] and one["instance"].name for one in sent] == [None, "red"]


def test_database_that_fails_to_load_again_does_not_harm_the_commit(
    session: orm.Session, engine: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(connection: object, cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("SELECT"):
            raise LookupError

    with capture(committed) as sent:
        session.add(Mug(name="blue"))
        session.flush()
        gc.collect()
        sa.event.listen(engine, "before_cursor_execute", fail)
        session.commit()
        sa.event.remove(engine, "before_cursor_execute", fail)
    assert [one["instance"] for one in sent] == [None]
    # PostgreSQL would refuse everything in the one that failed.
    assert not session.in_transaction()
    assert "cannot be loaded again" in caplog.text
    assert session.scalars(sa.select(Mug.name)).all() == ["blue"]


# What receivers do


def test_receiver_may_write_and_commit(session: orm.Session) -> None:
    def chip(model: type, *, identity: tuple[int]) -> None:
        session.add(Chip(mug_id=identity[0]))
        session.commit()

    with committed.connected_to(chip, Mug), identities() as found:
        session.add_all([Mug(name="blue"), Mug(name="red")])
        session.commit()
    assert sorted(found) == [((1,), "created")] * 2 + [((2,), "created")] * 2
    assert session.scalar(sa.select(sa.func.count(Chip.id))) == 2


def test_receiver_may_roll_back(session: orm.Session) -> None:
    def roll_back(model: type) -> None:
        session.execute(sa.select(Mug)).all()
        session.rollback()

    placed = Signal()
    sent: list[t.Any] = []
    placed.connect(sent.append, weak=False)
    with committed.connected_to(roll_back), held_until_commit(session, placed):
        session.add_all([Mug(name="blue"), Mug(name="red")])
        placed.send("order")
        session.commit()
    assert sent == ["order"]


def test_receivers_in_a_begin_do_not_drop_what_waits_for_the_commit(
    session: orm.Session, reader: Reader
) -> None:
    placed = Signal()
    sent: list[t.Any] = []
    placed.connect(sent.append, weak=False)
    with held_until_commit(session, placed), session.begin():
        session.add(blue())
        placed.send("order")
    assert reader.found == [BLUE]
    assert sent == ["order"]


@pytest.mark.parametrize("fails", [True, False])
def test_objects_that_stay_loaded_after_a_commit_stay_so(
    engine: sa.Engine, fails: bool
) -> None:
    def read(model: type, *, instance: Mug) -> None:
        found.append(len(instance.chips))
        if fails:
            raise LookupError

    found: list[int] = []
    with committed.connected_to(read, Mug):
        with orm.Session(engine, expire_on_commit=False) as session, session.begin():
            mug = Mug(name="blue")
            session.add(mug)
        assert not session.in_transaction()
    assert mug.name == "blue"
    assert found == [0]


def test_receiver_that_fails_leaves_the_session_as_after_a_commit(
    session: orm.Session, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(model: type) -> None:
        session.execute(sa.text("SELECT * FROM cups"))

    with committed.connected_to(fail), identities() as found:
        session.add_all([Mug(name="blue"), Mug(name="red")])
        session.commit()
        assert not session.in_transaction()
    assert len(found) == 2
    assert {record.name for record in caplog.records} == {"signalpost.signals"}
    with session.begin():
        session.add(Mug(name="green"))


def test_flush_of_a_receiver_that_fails_leaves_the_session_as_after_a_commit(
    session: orm.Session, caplog: pytest.LogCaptureFixture
) -> None:
    def add_again(model: type) -> None:
        with suppress(sa.exc.IntegrityError):
            session.execute(sa.insert(Mug), [{"id": 1, "name": "again"}])
        session.add(Mug(id=1, name="again"))
        session.flush()

    with committed.connected_to(add_again, Mug):
        session.add(Mug(id=1, name="blue"))
        session.commit()
    assert session.scalars(sa.select(Mug.name)).all() == ["blue"]
    assert len(caplog.records) == 1


def test_what_a_receiver_adds_does_not_harm_what_is_loaded_after_it(
    session: orm.Session,
) -> None:
    def add(model: type, *, instance: Mug | None) -> None:
        if not found:
            session.add(Chip())  # of no mug, so that its flush would fail
        found.append(instance is not None)

    found: list[bool] = []
    with committed.connected_to(add, Mug):
        session.add_all([Mug(name=str(number)) for number in range(501)])
        session.flush()
        gc.collect()
        session.commit()
    session.expunge_all()
    assert found == [True] * 501


@pytest.mark.parametrize("is_flushed", [True, False])
def test_what_a_receiver_that_fails_has_added_is_forgotten(
    session: orm.Session, is_flushed: bool
) -> None:
    def fail(model: type, *, identity: tuple[int]) -> None:
        session.add(chips[0])
        if is_flushed:
            session.flush()
        raise LookupError

    chips = [Chip(mug_id=1)]
    with committed.connected_to(fail, Mug):
        session.add(Mug(name="blue"))
        session.commit()
    assert chips[0] not in session
    session.commit()
    assert session.scalars(sa.select(Chip)).all() == []


def test_savepoint_of_a_receiver_that_fails_is_ended(session: orm.Session) -> None:
    def fail(model: type) -> None:
        session.begin_nested()
        raise LookupError

    with committed.connected_to(fail, Mug):
        session.add(Mug(name="blue"))
        session.commit()
    assert not session.in_nested_transaction()
    assert not session.in_transaction()
    with session.begin():
        session.add(Mug(name="red"))


def test_send_of_a_receiver_waits_for_the_next_commit(session: orm.Session) -> None:
    def note(sender: str) -> None:
        senders.append(sender)
        if sender == "a":
            send_after_commit(session, placed, "b")

    placed, senders = Signal(), list[str]()
    placed.connect(note)
    with identities():
        session.add(Mug(name="blue"))
        send_after_commit(session, placed, "a")
        session.commit()
        assert senders == ["a"]
        session.commit()
    assert senders == ["a", "b"]


def test_async_session_is_left_as_after_a_commit(tmp_path: Path) -> None:
    def fail(model: type, *, instance: Mug) -> None:
        raise LookupError(instance.name)

    async def work() -> str:
        engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/shop.db")
        async with engine.begin() as connection:
            await connection.run_sync(Model.metadata.create_all)
        async with AsyncSession(engine, expire_on_commit=False) as session:
            mug = Mug(name="blue")
            session.add(mug)
            await session.commit()
            assert not session.in_transaction()
            name = mug.name
        await engine.dispose()
        return name

    with committed.connected_to(fail):
        assert asyncio.run(work()) == "blue"
