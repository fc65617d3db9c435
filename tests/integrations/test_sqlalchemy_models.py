from __future__ import annotations

import asyncio
import typing as t
from collections.abc import Generator
from collections.abc import Iterable

import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.ext.asyncio import create_async_engine

from signalpost import named
from signalpost import NamedSignal
from signalpost import SignalMiddleware
from signalpost.integrations.sqlalchemy import committed
from signalpost.integrations.sqlalchemy import instrument_models
from signalpost.integrations.sqlalchemy import model_catalogue
from signalpost.integrations.sqlalchemy import post_delete
from signalpost.integrations.sqlalchemy import post_save
from signalpost.integrations.sqlalchemy import pre_delete
from signalpost.integrations.sqlalchemy import pre_save
from signalpost.lifecycle import exchange_closed
from signalpost.testing import capture
from signalpost.testing import Sent
from tests.wsgi.serving import Server


class Model(orm.DeclarativeBase): ...


class Mug(Model):
    __tablename__ = "mugs"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str]
    kind: orm.Mapped[str] = orm.mapped_column(default="mug")
    chips: orm.Mapped[list[Chip]] = orm.relationship(cascade="all")
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "mug"}  # noqa: RUF012  # as SQLAlchemy has it


class Beaker(Mug):
    __mapper_args__ = {"polymorphic_identity": "beaker"}  # noqa: RUF012  # likewise


class Chip(Model):
    __tablename__ = "chips"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    mug_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("mugs.id"))


@pytest.fixture(autouse=True)
def instrumented() -> Generator[None]:
    with instrument_models():
        yield


@pytest.fixture
def session() -> Generator[orm.Session]:
    engine = sa.create_engine("sqlite://")
    Model.metadata.create_all(engine)
    with orm.Session(engine) as session:
        yield session
    engine.dispose()


def steps(sent: list[Sent]) -> list[tuple[str, t.Any]]:
    names = {signal: name for name, signal in model_catalogue.items()}
    return [
        (names[t.cast("NamedSignal", one.signal)], one.payload.get("created"))
        for one in sent
    ]


OF_A_FLUSH = (pre_save, post_save, pre_delete, post_delete)


def test_object_that_is_inserted_is_created(session: orm.Session) -> None:
    mug = Mug(name="blue")
    with capture(*OF_A_FLUSH) as sent:
        session.add(mug)
        session.commit()
    assert steps(sent) == [("pre-save", True), ("post-save", True)]
    assert all(one.sender is Mug and one["instance"] is mug for one in sent)
    assert isinstance(sent[0]["connection"], sa.Connection)


def test_object_that_is_updated_is_not_created(session: orm.Session) -> None:
    mug = Mug(name="blue")
    session.add(mug)
    session.commit()
    with capture(*OF_A_FLUSH) as sent:
        mug.name = "red"
        session.commit()
    assert steps(sent) == [("pre-save", False), ("post-save", False)]


def test_object_that_has_not_changed_is_not_saved(session: orm.Session) -> None:
    mug = Mug(name="blue")
    session.add(mug)
    session.commit()
    with capture(*OF_A_FLUSH, sender=Mug) as sent:
        mug.chips.append(Chip())
        session.commit()
    assert sent == []


def test_object_that_has_not_changed_is_not_committed(session: orm.Session) -> None:
    mug = Mug(name="blue")
    session.add(mug)
    session.commit()
    with capture(committed, sender=Mug) as sent:
        mug.chips.append(Chip())
        session.commit()
    assert sent == []


def test_object_that_is_deleted_is_sent(session: orm.Session) -> None:
    mug = Mug(name="blue")
    session.add(mug)
    session.commit()
    with capture(*OF_A_FLUSH) as sent:
        session.delete(mug)
        session.commit()
    assert steps(sent) == [("pre-delete", None), ("post-delete", None)]
    assert sent[0]["instance"] is mug


def test_column_that_is_set_before_the_save_is_saved(session: orm.Session) -> None:
    def tidy(sender: object, *, instance: Mug) -> None:
        instance.name = instance.name.strip()

    with pre_save.connected_to(tidy, Mug):
        session.add(Mug(name=" blue "))
        session.commit()
    assert session.scalars(sa.select(Mug.name)).all() == ["blue"]


def test_receiver_that_raises_ends_the_flush(session: orm.Session) -> None:
    def refuse(sender: object, *, instance: Mug) -> None:
        raise LookupError(instance.name)

    session.add(Mug(name="blue"))
    with pre_save.connected_to(refuse), pytest.raises(LookupError):
        session.commit()
    session.rollback()
    assert session.scalars(sa.select(Mug)).all() == []


def test_subclasses_are_received_on_request(session: orm.Session) -> None:
    received = []

    def note(sender: type, *, created: bool) -> None:
        received.append(sender)

    post_save.connect(note, sender=Mug, subclasses=True)
    with capture(post_save, sender=Mug) as sent:
        session.add(Beaker(name="blue"))
        session.commit()
    post_save.disconnect(note, sender=Mug)
    assert received == [Beaker]
    assert sent == []


def test_class_is_received_by_a_name_that_was_given_before_it_was_mapped(
    session: orm.Session,
) -> None:
    with capture(post_save, sender=named("Saucer")) as sent:

        class Base(orm.DeclarativeBase): ...

        class Saucer(Base):
            __tablename__ = "saucers"
            id: orm.Mapped[int] = orm.mapped_column(primary_key=True)

        Base.metadata.create_all(session.connection())
        session.add_all([Saucer(), Mug(name="blue")])
        session.commit()
    assert [one.sender for one in sent] == [Saucer]


def test_statements_without_objects_are_not_sent(session: orm.Session) -> None:
    with capture(*OF_A_FLUSH) as sent:
        session.execute(sa.insert(Mug), [{"name": "blue"}])
        session.execute(sa.update(Mug).values(name="red"))
        session.execute(sa.delete(Mug))
        session.bulk_save_objects([Mug(name="green")])
    assert sent == []


def test_objects_know_their_exchange(session: orm.Session) -> None:
    def shop(environ: object, start_response: t.Any) -> Iterable[bytes]:
        session.add(Mug(name="blue"))
        session.commit()
        start_response("200 OK", [])
        return [b"mug"]

    with capture(post_save) as sent, capture(exchange_closed) as closed:
        Server().serve(SignalMiddleware(shop))
    assert sent[0]["exchange"] is closed[0]["exchange"]


def test_objects_of_an_async_session_are_sent() -> None:
    async def work() -> None:
        engine = create_async_engine("sqlite+aiosqlite://")
        async with engine.begin() as connection:
            await connection.run_sync(Model.metadata.create_all)
        async with AsyncSession(engine) as session:
            session.add(Mug(name="blue"))
            await session.commit()
        await engine.dispose()

    with capture(post_save) as sent:
        asyncio.run(work())
    assert [one.sender for one in sent] == [Mug]


def test_instrumenting_again_sends_nothing_twice(session: orm.Session) -> None:
    with instrument_models(), capture(post_save) as sent:
        session.add(Mug(name="blue"))
        session.commit()
    with capture(post_save) as sent_later:
        session.add(Mug(name="red"))
        session.commit()
    assert len(sent) == 1
    assert sent_later == []


def test_undoing_twice_does_nothing(session: orm.Session) -> None:
    first = instrument_models()
    first.undo()
    second = instrument_models()
    first.undo()
    with capture(pre_delete, post_delete, post_save) as sent:
        session.add(Mug(name="blue"))
        session.commit()
    second.undo()
    assert first is not second
    assert len(sent) == 1


def changes(sent: list[Sent]) -> list[tuple[str, str]]:
    return [(one["instance"].name, one["change"]) for one in sent]


def test_what_became_of_an_object_is_sent_when_it_is_committed(
    session: orm.Session,
) -> None:
    with capture(committed) as sent:
        mug = Mug(name="blue")
        session.add(mug)
        session.flush()
        mug.name = "red"
        session.flush()
        assert sent == []
        session.commit()
        mug.name = "green"
        session.commit()
        session.delete(mug)
        session.commit()
    assert [one.sender for one in sent] == [Mug, Mug, Mug]
    assert [one["change"] for one in sent] == ["created", "updated", "deleted"]


def test_what_is_rolled_back_is_not_committed(session: orm.Session) -> None:
    with capture(committed) as sent:
        session.add(Mug(name="blue"))
        session.flush()
        session.rollback()
        session.add(Mug(name="red"))
        session.flush()
        session.close()
        session.commit()
    assert sent == []


def test_what_a_savepoint_undoes_is_not_committed(session: orm.Session) -> None:
    committed_names: list[tuple[str, str]] = []

    def note(sender: object, *, instance: Mug, change: str) -> None:
        committed_names.append((instance.name, change))

    with committed.connected_to(note):
        session.add(Mug(name="blue"))
        with session.begin_nested():
            session.add(Mug(name="red"))
            with session.begin_nested() as inner:
                session.add(Mug(name="green"))
                session.flush()
                inner.rollback()
        assert committed_names == []
        session.commit()
    assert committed_names == [("blue", "created"), ("red", "created")]


def test_object_that_a_savepoint_updates_is_committed_once(
    session: orm.Session,
) -> None:
    with capture(committed) as sent:
        mug = Mug(name="blue")
        session.add(mug)
        session.flush()
        with session.begin_nested():
            mug.name = "red"
        session.commit()
    assert changes(sent) == [("red", "created")]


def test_receiver_that_fails_does_not_harm_the_commit(
    session: orm.Session, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(sender: object, **_: object) -> None:
        raise LookupError

    with committed.connected_to(fail):
        session.add(Mug(name="blue"))
        session.commit()
    assert [record.name for record in caplog.records] == ["signalpost.signals"]
    assert session.scalars(sa.select(Mug.name)).all() == ["blue"]
