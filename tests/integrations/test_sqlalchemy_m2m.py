"""The signal of many-to-many relationships."""

from __future__ import annotations

import typing as t
from collections.abc import Generator
from collections.abc import Iterable

import pytest
import sqlalchemy as sa
from sqlalchemy import orm

from signalpost import named
from signalpost import SignalMiddleware
from signalpost.integrations.sqlalchemy import instrument_models
from signalpost.integrations.sqlalchemy import m2m_changed
from signalpost.lifecycle import exchange_closed
from signalpost.testing import capture
from signalpost.testing import Sent
from tests.wsgi.serving import Server


class Model(orm.DeclarativeBase): ...


def between(name: str, first: str, second: str) -> sa.Table:
    return sa.Table(
        name,
        Model.metadata,
        sa.Column("first_id", sa.ForeignKey(f"{first}.id"), primary_key=True),
        sa.Column("second_id", sa.ForeignKey(f"{second}.id"), primary_key=True),
    )


mugs_of_tags = between("mugs_of_tags", "mugs", "tags")
mugs_of_shelves = between("mugs_of_shelves", "mugs", "shelves")
mugs_of_crates = between("mugs_of_crates", "mugs", "crates")
mugs_of_lists = between("mugs_of_lists", "mugs", "lists")
likenesses = between("likenesses", "mugs", "mugs")


class Mug(Model):
    __tablename__ = "mugs"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str | None]
    kind: orm.Mapped[str] = orm.mapped_column(default="mug")
    tags: orm.Mapped[list[Tag]] = orm.relationship(
        secondary=lambda: mugs_of_tags, back_populates="mugs"
    )
    shelves: orm.Mapped[set[Shelf]] = orm.relationship(
        secondary=lambda: mugs_of_shelves
    )
    crates: orm.DynamicMapped[Crate] = orm.relationship(
        secondary=lambda: mugs_of_crates, lazy="dynamic"
    )
    lists: orm.WriteOnlyMapped[List] = orm.relationship(
        secondary=lambda: mugs_of_lists, passive_deletes=True
    )
    alike: orm.Mapped[list[Mug]] = orm.relationship(
        secondary=lambda: likenesses,
        primaryjoin=lambda: Mug.id == likenesses.c.first_id,
        secondaryjoin=lambda: Mug.id == likenesses.c.second_id,
    )
    seen: orm.Mapped[list[Tag]] = orm.relationship(
        secondary=lambda: mugs_of_tags, viewonly=True, sync_backref=False
    )
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "mug"}  # noqa: RUF012  # as SQLAlchemy has it


class Beaker(Mug):
    __mapper_args__ = {"polymorphic_identity": "beaker"}  # noqa: RUF012  # likewise


class Tag(Model):
    __tablename__ = "tags"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    mugs: orm.Mapped[list[Mug]] = orm.relationship(
        secondary=lambda: mugs_of_tags, back_populates="tags"
    )


class Shelf(Model):
    __tablename__ = "shelves"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)


class Crate(Model):
    __tablename__ = "crates"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)


class List(Model):
    __tablename__ = "lists"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)


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


def kept(session: orm.Session, mug: Mug) -> Mug:
    """Return a mug that is written, and of which nothing is loaded any more."""
    session.add(mug)
    session.commit()
    return mug


def steps(sent: list[Sent]) -> list[tuple[str, str, tuple[t.Any, ...]]]:
    return [(one["relationship"], one["action"], one["objects"]) for one in sent]


def test_object_that_is_put_in_is_sent_before_and_after_it_is_written(
    session: orm.Session,
) -> None:
    mug, tag = Mug(), Tag()
    session.add(mug)
    with capture(m2m_changed, sender=Mug) as sent:
        mug.tags.append(tag)
        assert sent == []
        session.commit()
    assert steps(sent) == [("tags", "pre_add", (tag,)), ("tags", "post_add", (tag,))]
    assert sent[0].payload == {
        "instance": mug,
        "relationship": "tags",
        "action": "pre_add",
        "objects": (tag,),
        "model": Tag,
        "exchange": None,
    }


def test_rows_are_there_only_after_the_flush(session: orm.Session) -> None:
    counts = []

    def count(sender: type) -> None:
        rows = sa.select(sa.func.count()).select_from(mugs_of_tags)
        counts.append(session.connection().scalar(rows))

    session.add(Mug(tags=[Tag()]))
    with m2m_changed.connected_to(count, Mug):
        session.commit()
    assert counts == [0, 1]


def test_object_that_is_taken_out_is_sent(session: orm.Session) -> None:
    blue, red = Tag(), Tag()
    mug = kept(session, Mug(tags=[blue, red]))
    with capture(m2m_changed, sender=Mug) as sent:
        mug.tags.remove(blue)
        session.commit()
    assert steps(sent) == [
        ("tags", "pre_remove", (blue,)),
        ("tags", "post_remove", (blue,)),
    ]


def test_collection_that_is_cleared_is_sent_as_removals(session: orm.Session) -> None:
    tags = [Tag(), Tag()]
    mug = kept(session, Mug(tags=[*tags]))
    with capture(m2m_changed, sender=Mug) as sent:
        mug.tags.clear()
        session.commit()
    assert [one["action"] for one in sent] == ["pre_remove", "post_remove"]
    assert {*sent[0]["objects"]} == {*tags}


def test_collection_that_is_assigned_is_sent_as_its_differences(
    session: orm.Session,
) -> None:
    old, both, new = Tag(), Tag(), Tag()
    mug = kept(session, Mug(tags=[old, both]))
    with capture(m2m_changed, sender=Mug) as sent:
        mug.tags = [both, new]
        session.commit()
    assert steps(sent) == [
        ("tags", "pre_remove", (old,)),
        ("tags", "pre_add", (new,)),
        ("tags", "post_remove", (old,)),
        ("tags", "post_add", (new,)),
    ]


def test_what_is_put_in_and_taken_out_again_is_not_sent(session: orm.Session) -> None:
    tag = Tag()
    mug = kept(session, Mug())
    session.add(tag)
    session.commit()
    with capture(m2m_changed) as sent:
        mug.tags.append(tag)
        mug.tags.remove(tag)
        session.commit()
    assert sent == []


def test_what_is_not_written_is_not_sent(session: orm.Session) -> None:
    mug = kept(session, Mug())
    with capture(m2m_changed) as sent:
        mug.tags.append(Tag())
        session.rollback()
        session.commit()
    assert sent == []


@pytest.mark.parametrize("is_loaded", [False, True])
@pytest.mark.parametrize("by_mug", [False, True])
def test_relationship_that_both_know_is_sent_by_each_whichever_is_changed(
    session: orm.Session, by_mug: bool, is_loaded: bool
) -> None:
    mug, tag = kept(session, Mug()), Tag()
    session.add(tag)
    session.commit()
    if is_loaded:
        assert [*mug.tags, *tag.mugs] == []
    with capture(m2m_changed) as sent:
        if by_mug:
            mug.tags.append(tag)
        else:
            tag.mugs.append(mug)
        session.commit()
    sides = [(one.sender, one["instance"], one["objects"]) for one in sent]
    for side in (Mug, mug, (tag,)), (Tag, tag, (mug,)):
        assert sides.count(side) == 2
    assert len(sent) == 4


def test_relationship_of_a_class_with_itself_is_sent_by_who_has_it(
    session: orm.Session,
) -> None:
    one, other = Mug(), Mug()
    with capture(m2m_changed) as sent:
        session.add(one)
        one.alike.append(other)
        session.commit()
    assert {one["relationship"] for one in sent} == {"alike"}
    assert [one["objects"] for one in sent] == [(other,), (other,)]


def test_set_is_sent_as_a_list_is(session: orm.Session) -> None:
    shelf = Shelf()
    mug = kept(session, Mug())
    with capture(m2m_changed) as sent:
        mug.shelves.add(shelf)
        session.commit()
        mug.shelves.discard(shelf)
        session.commit()
    assert [action for _, action, _ in steps(sent)] == [
        "pre_add",
        "post_add",
        "pre_remove",
        "post_remove",
    ]


@pytest.mark.parametrize("name", ["crates", "lists"])
def test_collection_that_is_never_loaded_is_sent(
    session: orm.Session, name: str
) -> None:
    thing = Crate() if name == "crates" else List()
    mug = kept(session, Mug())
    with capture(m2m_changed) as sent:
        getattr(mug, name).add(thing)
        session.commit()
        getattr(mug, name).remove(thing)
        session.commit()
    assert steps(sent) == [
        (name, "pre_add", (thing,)),
        (name, "post_add", (thing,)),
        (name, "pre_remove", (thing,)),
        (name, "post_remove", (thing,)),
    ]


def test_collection_that_is_loaded_is_not_sent(session: orm.Session) -> None:
    mug = kept(session, Mug(tags=[Tag()]))
    with capture(m2m_changed) as sent:
        assert len(mug.tags) == 1
        mug.name = "blue"
        session.commit()
        session.expunge_all()
        loading = sa.select(Mug).options(orm.selectinload(Mug.tags))
        assert len(session.scalars(loading).one().tags) == 1
        session.commit()
    assert sent == []


def test_receiving_loads_nothing(session: orm.Session) -> None:
    mug = kept(session, Mug(tags=[Tag()]))
    mug.name = "blue"
    with capture(m2m_changed) as sent:
        session.flush()
    assert "tags" not in vars(mug)
    assert sent == []


def test_merge_is_sent_as_its_differences(session: orm.Session) -> None:
    old, new = Tag(id=1), Tag(id=2)
    session.add_all([Mug(id=1, tags=[old]), new])
    session.commit()
    with capture(m2m_changed, sender=Mug) as sent:
        session.merge(Mug(id=1, tags=[Tag(id=2)]))
        session.commit()
    assert steps(sent) == [
        ("tags", "pre_remove", (old,)),
        ("tags", "pre_add", (new,)),
        ("tags", "post_remove", (old,)),
        ("tags", "post_add", (new,)),
    ]


def test_statements_on_the_table_between_are_not_sent(session: orm.Session) -> None:
    kept(session, Mug(id=1))
    with capture(m2m_changed) as sent:
        session.execute(mugs_of_tags.insert(), [{"first_id": 1, "second_id": 1}])
        session.execute(mugs_of_tags.delete())
        session.commit()
    assert sent == []


def test_relationship_that_is_only_viewed_is_not_sent(session: orm.Session) -> None:
    mug = kept(session, Mug())
    with capture(m2m_changed) as sent:
        mug.seen.append(Tag())
        session.commit()
    assert sent == []


def test_rows_that_go_with_their_object_are_not_sent(session: orm.Session) -> None:
    mug = kept(session, Mug(tags=[Tag()]))
    with capture(m2m_changed) as sent:
        session.delete(mug)
        session.commit()
    assert session.scalars(sa.select(mugs_of_tags.c.first_id)).all() == []
    assert sent == []


def test_receiver_that_raises_before_ends_the_flush(session: orm.Session) -> None:
    def refuse(sender: type, *, action: str) -> None:
        assert action == "pre_add"
        raise LookupError

    session.add(Mug(tags=[Tag()]))
    with m2m_changed.connected_to(refuse, Mug), pytest.raises(LookupError):
        session.commit()
    session.rollback()
    assert session.scalars(sa.select(Mug)).all() == []


def test_what_a_receiver_changes_before_is_written(session: orm.Session) -> None:
    def name(sender: type, *, instance: Mug, action: str) -> None:
        if action == "pre_add":
            instance.name = "tagged"

    session.add(Mug(tags=[Tag()]))
    with m2m_changed.connected_to(name, Mug):
        session.commit()
    assert session.scalars(sa.select(Mug.name)).all() == ["tagged"]


def test_subclasses_are_received_on_request(session: orm.Session) -> None:
    received = []

    def note(sender: type) -> None:
        received.append(sender)

    m2m_changed.connect(note, sender=Mug, subclasses=True)
    with capture(m2m_changed, sender=Mug) as sent:
        session.add(Beaker(tags=[Tag()]))
        session.commit()
    m2m_changed.disconnect(note, sender=Mug)
    assert received == [Beaker, Beaker]
    assert sent == []


def test_class_is_received_by_a_name_that_was_given_before_it_was_mapped(
    session: orm.Session,
) -> None:
    with capture(m2m_changed, sender=named("Teapot")) as sent:

        class Base(orm.DeclarativeBase): ...

        class Lid(Base):
            __tablename__ = "lids"
            id: orm.Mapped[int] = orm.mapped_column(primary_key=True)

        class Teapot(Base):
            __tablename__ = "teapots"
            id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
            lids = orm.relationship(
                Lid,
                secondary=sa.Table(
                    "lids_of_teapots",
                    Base.metadata,
                    sa.Column("teapot_id", sa.ForeignKey("teapots.id")),
                    sa.Column("lid_id", sa.ForeignKey("lids.id")),
                ),
            )

        Base.metadata.create_all(session.connection())
        session.add(Teapot(lids=[Lid()]))
        session.add(Mug(tags=[Tag()]))
        session.commit()
    assert [one.sender for one in sent] == [Teapot, Teapot]


def test_sqlalchemy_has_nothing_to_call_without_receivers(
    session: orm.Session,
) -> None:
    assert not [*session.dispatch.before_flush]
    with capture(m2m_changed):
        assert [*session.dispatch.before_flush]


def test_nothing_is_sent_after_it_is_undone(session: orm.Session) -> None:
    models = instrument_models()
    with capture(m2m_changed) as sent:
        models.undo()
        session.add(Mug(tags=[Tag()]))
        session.commit()
    assert sent == []


def test_relationship_has_its_exchange(session: orm.Session) -> None:
    def shop(environ: object, start_response: t.Any) -> Iterable[bytes]:
        session.add(Mug(tags=[Tag()]))
        session.commit()
        start_response("200 OK", [])
        return [b"mug"]

    with capture(m2m_changed) as sent, capture(exchange_closed) as closed:
        Server().serve(SignalMiddleware(shop))
    exchange = closed[0]["exchange"]
    assert {one["exchange"] for one in sent} == {exchange}
