"""The signals of objects that are made, and of those that are loaded."""

from __future__ import annotations

import inspect
import pickle
import typing as t
from collections.abc import Generator
from collections.abc import Iterable

import pytest
import sqlalchemy as sa
from sqlalchemy import orm

from signalpost import named
from signalpost import SignalMiddleware
from signalpost.integrations.sqlalchemy import instrument_models
from signalpost.integrations.sqlalchemy import model_catalogue
from signalpost.integrations.sqlalchemy import post_init
from signalpost.integrations.sqlalchemy import pre_init
from signalpost.lifecycle import exchange_closed
from signalpost.testing import capture
from signalpost.testing import Sent
from tests.wsgi.serving import Server


class Model(orm.DeclarativeBase): ...


class Cup(Model):
    __tablename__ = "cups"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str | None]
    kind: orm.Mapped[str] = orm.mapped_column(default="cup")
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "cup"}  # noqa: RUF012  # as SQLAlchemy has it


class Goblet(Cup):
    __mapper_args__ = {"polymorphic_identity": "goblet"}  # noqa: RUF012  # likewise

    def __init__(self, name: str, *, stem_length: int = 3) -> None:
        super().__init__(name=name)
        self.stem_length = stem_length


class Refused(Model):
    __tablename__ = "refused"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)

    def __init__(self) -> None:
        raise LookupError("no such cup")


def constructors() -> list[t.Any]:
    return [vars(model)["__init__"] for model in (Cup, Goblet, Refused)]


@pytest.fixture(autouse=True)
def instrumented() -> Generator[None]:
    before = constructors()
    with instrument_models():
        yield
    assert constructors() == before


@pytest.fixture
def session() -> Generator[orm.Session]:
    engine = sa.create_engine("sqlite://")
    Model.metadata.create_all(engine)
    with orm.Session(engine) as session:
        yield session
    engine.dispose()


def steps(sent: list[Sent]) -> list[tuple[str, type]]:
    names = {id(signal): name for name, signal in model_catalogue.items()}
    return [(names[id(one.signal)], one.sender) for one in sent]


def test_object_is_sent_before_and_after_its_constructor() -> None:
    names: list[str | None] = []

    def note(sender: type, *, instance: Cup) -> None:
        names.append(instance.name)

    with pre_init.connected_to(note), post_init.connected_to(note):
        Cup(name="blue")
    assert names == [None, "blue"]


def test_arguments_of_the_constructor_are_sent() -> None:
    with capture(pre_init, post_init) as sent:
        goblet = Goblet("blue", stem_length=5)
    before, after = sent
    assert before.payload == {
        "instance": goblet,
        "args": ("blue",),
        "kwargs": {"stem_length": 5},
        "exchange": None,
    }
    assert after.payload == {"instance": goblet, "is_loaded": False, "exchange": None}


def test_constructor_that_calls_its_base_s_is_one() -> None:
    with capture(pre_init, post_init) as sent:
        Goblet("blue")
    assert steps(sent) == [("pre-init", Goblet), ("post-init", Goblet)]


def test_constructor_that_is_called_again_makes_nothing() -> None:
    cup = Cup()
    with capture(pre_init, post_init) as sent:
        t.cast("t.Any", cup).__init__(name="blue")
    assert cup.name == "blue"
    assert sent == []


def test_argument_that_is_changed_before_is_what_the_constructor_gets() -> None:
    def tidy(sender: type, *, kwargs: dict[str, t.Any]) -> None:
        kwargs["name"] = kwargs["name"].strip()

    with pre_init.connected_to(tidy, Cup):
        assert Cup(name=" blue ").name == "blue"


def test_object_that_could_not_be_made_is_not_sent_as_made() -> None:
    with capture(pre_init, post_init) as sent, pytest.raises(LookupError):
        Refused()
    assert steps(sent) == [("pre-init", Refused)]


@pytest.mark.parametrize("signal", [pre_init, post_init])
def test_receiver_that_raises_reaches_the_caller_of_the_class(signal: t.Any) -> None:
    def refuse(sender: type) -> None:
        raise LookupError(sender.__name__)

    with signal.connected_to(refuse), pytest.raises(LookupError, match="Cup"):
        Cup()


def test_object_that_is_loaded_is_sent_once_as_loaded(session: orm.Session) -> None:
    session.add(Goblet("blue"))
    session.commit()
    session.expunge_all()
    with capture(pre_init, post_init) as sent:
        goblet = session.scalars(sa.select(Cup)).one()
        session.refresh(goblet)
        session.expire(goblet)
        assert goblet.name == "blue"
        assert session.scalars(sa.select(Cup)).one() is goblet
    assert steps(sent) == [("post-init", Goblet)]
    assert sent[0]["instance"] is goblet
    assert sent[0]["is_loaded"]


def test_columns_of_an_object_that_is_loaded_can_be_read(session: orm.Session) -> None:
    names: list[str | None] = []

    def note(sender: type, *, instance: Cup) -> None:
        names.append(instance.name)

    session.add_all([Cup(name="blue"), Cup(name="red")])
    session.commit()
    session.expunge_all()
    with post_init.connected_to(note, Cup):
        session.scalars(sa.select(Cup).order_by(Cup.id)).all()
    assert names == ["blue", "red"]


def test_object_that_merge_makes_is_sent_as_loaded(session: orm.Session) -> None:
    cup = Cup(id=1, name="blue")
    with capture(pre_init, post_init) as sent:
        copied = session.merge(cup)
        again = session.merge(cup)
    assert again is copied
    assert [(one["instance"], one["is_loaded"]) for one in sent] == [(copied, True)]


def test_object_that_is_unpickled_is_not_sent() -> None:
    pickled = pickle.dumps(Cup(name="blue"))
    with capture(pre_init, post_init) as sent:
        assert pickle.loads(pickled).name == "blue"
    assert sent == []


def test_rows_without_objects_are_not_sent(session: orm.Session) -> None:
    session.add(Cup(name="blue"))
    session.commit()
    session.expunge_all()
    with capture(pre_init, post_init) as sent:
        assert session.scalars(sa.select(Cup.name)).all() == ["blue"]
        session.execute(sa.insert(Cup), [{"name": "red"}])
    assert sent == []


def test_first_object_of_all_can_be_read_before_its_constructor() -> None:
    colours: list[str | None] = []

    def paint(sender: type, *, instance: t.Any) -> None:
        colours.append(instance.colour)
        instance.colour = "white"

    class Base(orm.DeclarativeBase): ...

    class Vase(Base):
        __tablename__ = "vases"
        id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
        colour: orm.Mapped[str | None]

    with pre_init.connected_to(paint, Vase):
        assert Vase().colour == "white"
    assert colours == [None]


def test_subclasses_are_received_on_request() -> None:
    received = []

    def note(sender: type) -> None:
        received.append(sender)

    post_init.connect(note, sender=Cup, subclasses=True)
    with capture(post_init, sender=Cup) as sent:
        Goblet("blue")
    post_init.disconnect(note, sender=Cup)
    assert received == [Goblet]
    assert sent == []


def test_class_that_is_mapped_later_is_received_by_its_name() -> None:
    with capture(pre_init, post_init, sender=named("Flute")) as sent:

        class Base(orm.DeclarativeBase): ...

        class Flute(Base):
            __tablename__ = "flutes"
            id: orm.Mapped[int] = orm.mapped_column(primary_key=True)

        Flute(id=3)
        Cup()
    assert steps(sent) == [("pre-init", Flute), ("post-init", Flute)]


def test_class_that_is_mapped_later_beneath_another_is_sent_once() -> None:
    with capture(pre_init, post_init) as sent:

        class Base(orm.DeclarativeBase): ...

        class Bowl(Base):
            __tablename__ = "bowls"
            id: orm.Mapped[int] = orm.mapped_column(primary_key=True)

        class Plate(Bowl): ...

        Plate(id=3)
    assert steps(sent) == [("pre-init", Plate), ("post-init", Plate)]


def test_class_that_is_mapped_without_a_declaration_is_received() -> None:
    class Jug:
        def __init__(self, name: str) -> None:
            self.name = name

    table = sa.Table(
        "jugs", sa.MetaData(), sa.Column("name", sa.Text, primary_key=True)
    )
    registry = orm.registry()
    with capture(post_init) as sent:
        registry.map_imperatively(Jug, table)
        Jug("blue")
        registry.dispose()
        Jug("red")
    assert [one["instance"].name for one in sent] == ["blue"]


def test_dataclass_is_sent_with_all_that_it_sets() -> None:
    names: list[str] = []

    def note(sender: type, *, instance: t.Any) -> None:
        names.append(instance.name)

    with post_init.connected_to(note):

        class Base(orm.MappedAsDataclass, orm.DeclarativeBase): ...

        class Saucer(Base):
            __tablename__ = "saucers"
            id: orm.Mapped[int] = orm.mapped_column(init=False, primary_key=True)
            name: orm.Mapped[str]

        assert Saucer(name="blue") == Saucer("blue")
    assert names == ["blue", "blue"]


def test_constructor_shows_its_own_arguments_with_a_receiver() -> None:
    before = inspect.signature(Goblet)
    with capture(post_init):
        assert inspect.signature(Goblet) == before
        assert Goblet.__init__.__doc__ == constructors()[1].__doc__


def test_constructors_are_left_alone_without_receivers() -> None:
    before = constructors()
    with capture(pre_init):
        assert constructors() == before
    with capture(post_init):
        assert constructors() != before


def test_constructor_that_was_replaced_since_then_is_left_alone() -> None:
    class Base(orm.DeclarativeBase): ...

    class Tray(Base):
        __tablename__ = "trays"
        id: orm.Mapped[int] = orm.mapped_column(primary_key=True)

    def replaced(tray: t.Any) -> None: ...

    models = instrument_models()
    with capture(post_init):
        t.cast("t.Any", Tray).__init__ = replaced
        models.undo()
    assert vars(Tray)["__init__"] is replaced


def test_nothing_is_sent_after_it_is_undone(session: orm.Session) -> None:
    models = instrument_models()
    with capture(pre_init, post_init) as sent:
        models.undo()
        session.add(Cup())
        session.commit()
        session.expunge_all()
        session.scalars(sa.select(Cup)).one()
    assert sent == []


def test_object_has_its_exchange() -> None:
    def shop(environ: object, start_response: t.Any) -> Iterable[bytes]:
        Cup()
        start_response("200 OK", [])
        return [b"cup"]

    with capture(pre_init, post_init) as sent, capture(exchange_closed) as closed:
        Server().serve(SignalMiddleware(shop))
    exchange = closed[0]["exchange"]
    assert [one["exchange"] for one in sent] == [exchange, exchange]
