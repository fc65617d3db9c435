"""Flask-SQLAlchemy, whose engines and models are SQLAlchemy's."""

from __future__ import annotations

import typing as t
from collections.abc import Generator
from pathlib import Path

import flask
import pytest
import sqlalchemy as sa
from sqlalchemy.pool import QueuePool

from signalpost import Signal
from signalpost.integrations.flask import Signalpost
from signalpost.integrations.sqlalchemy import committed
from signalpost.integrations.sqlalchemy import connection_checked_out
from signalpost.integrations.sqlalchemy import instrument
from signalpost.integrations.sqlalchemy import instrument_models
from signalpost.integrations.sqlalchemy import m2m_changed
from signalpost.integrations.sqlalchemy import post_init
from signalpost.integrations.sqlalchemy import post_save
from signalpost.integrations.sqlalchemy import send_after_commit
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import sql_executed
from signalpost.receivers.sql_pools import pool_states
from signalpost.receivers.sql_totals import count_sql
from signalpost.receivers.sql_totals import sql_totals
from signalpost.testing import capture

flask_sqlalchemy = pytest.importorskip(
    "flask_sqlalchemy", reason="Flask-SQLAlchemy is not installed"
)


class Shop(t.NamedTuple):
    app: flask.Flask
    db: t.Any
    mug: t.Any
    tag: t.Any


def make_shop(place: Path) -> Shop:
    app = flask.Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{place}/shop.db"
    app.config["SQLALCHEMY_BINDS"] = {"log": f"sqlite:///{place}/log.db"}
    pool = {"poolclass": QueuePool, "pool_logging_name": "shop's"}
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = pool
    Signalpost(app)
    db = flask_sqlalchemy.SQLAlchemy(app)

    tagged = db.Table(
        "tagged",
        db.Column("mug_id", db.ForeignKey("mug.id"), primary_key=True),
        db.Column("tag_id", db.ForeignKey("tag.id"), primary_key=True),
    )

    class Tag(db.Model):  # type: ignore[misc, name-defined]  # made at run time
        id = db.Column(db.Integer, primary_key=True)

    class Mug(db.Model):  # type: ignore[misc, name-defined]  # likewise
        id = db.Column(db.Integer, primary_key=True)
        name = db.Column(db.String, unique=True)
        tags = db.relationship(Tag, secondary=tagged)

    class Line(db.Model):  # type: ignore[misc, name-defined]  # likewise
        __bind_key__ = "log"
        id = db.Column(db.Integer, primary_key=True)
        text = db.Column(db.String)

    @app.post("/mugs/<name>")
    def add(name: str) -> dict[str, object]:
        db.session.add(Mug(name=name, tags=[Tag()]))
        db.session.add(Line(text=name))
        db.session.commit()
        return {}

    @app.get("/mugs/<name>")
    def show(name: str) -> dict[str, object]:
        mug = db.first_or_404(db.select(Mug).filter_by(name=name))
        return {"name": mug.name, "pages": db.paginate(db.select(Mug)).pages}

    with app.app_context():
        db.create_all()
    return Shop(app, db, Mug, Tag)


@pytest.fixture
def shop(tmp_path: Path) -> Generator[Shop]:
    with instrument(), instrument_models():
        shop = make_shop(tmp_path)
        yield shop
        with shop.app.app_context():
            for engine in shop.db.engines.values():
                engine.dispose()


def test_statements_know_the_exchange_of_their_request(shop: Shop) -> None:
    client = shop.app.test_client()
    with capture(sql_executed) as sent, capture(exchange_closed) as closed:
        assert client.post("/mugs/blue", buffered=True).status_code == 200
        assert client.get("/mugs/blue", buffered=True).json == {
            "name": "blue",
            "pages": 1,
        }
    added, shown = (one["exchange"] for one in closed)
    assert [one["exchange"] for one in sent].count(added) == 4
    assert {one["exchange"] for one in sent} == {added, shown}
    assert shown.route == "/mugs/<name>"


def test_each_bind_sends_by_its_own_engine(shop: Shop) -> None:
    with capture(sql_executed) as sent:
        shop.app.test_client().post("/mugs/blue", buffered=True)
    with shop.app.app_context():
        shops, log = shop.db.engines[None], shop.db.engines["log"]
    assert {one.sender for one in sent} == {shops, log}
    assert [one["statement"].split()[2] for one in sent if one.sender is log] == [
        "line"
    ]


def test_failed_statement_is_sent_once_with_its_exchange(shop: Shop) -> None:
    client = shop.app.test_client()
    client.post("/mugs/blue", buffered=True)
    with capture(sql_executed) as sent, capture(exchange_closed) as closed:
        response = client.post("/mugs/blue", buffered=True)
    failed = [one for one in sent if one["exception"] is not None]
    assert response.status_code == 500
    assert [type(one["exception"]) for one in failed] == [sa.exc.IntegrityError]
    assert failed[0]["exchange"] is closed[0]["exchange"]


def test_models_send_what_becomes_of_their_objects(shop: Shop) -> None:
    with (
        capture(post_init, post_save, m2m_changed, committed, sender=shop.mug) as sent,
        capture(exchange_closed) as closed,
    ):
        shop.app.test_client().post("/mugs/blue", buffered=True)
    exchange = closed[0]["exchange"]
    assert [one.signal for one in sent] == [
        post_init,
        m2m_changed,
        post_save,
        m2m_changed,
        committed,
    ]
    assert all(one["exchange"] is exchange for one in sent)
    assert all(one["instance"] is sent[0]["instance"] for one in sent)


def test_base_class_of_all_models_is_received_with_them(shop: Shop) -> None:
    received = []

    def note(sender: type) -> None:
        received.append(sender.__name__)

    post_save.connect(note, sender=shop.db.Model, subclasses=True)
    shop.app.test_client().post("/mugs/blue", buffered=True)
    post_save.disconnect(note, sender=shop.db.Model)
    assert sorted(received) == ["Line", "Mug", "Tag"]


def test_requests_are_added_up(shop: Shop) -> None:
    counts = []

    def note(sender: object, *, exchange: t.Any) -> None:
        totals = sql_totals(exchange)
        counts.append(None if totals is None else totals.count)

    with sql_executed.connected_to(count_sql), exchange_closed.connected_to(note):
        shop.app.test_client().post("/mugs/blue", buffered=True)
        shop.app.test_client().get("/mugs/none", buffered=True)
    assert counts == [4, 1]


def test_pools_report_how_long_a_request_waited_for_them(shop: Shop) -> None:
    with (
        capture(connection_checked_out) as sent,
        capture(exchange_closed) as closed,
    ):
        shop.app.test_client().get("/mugs/none", buffered=True)
    (one,) = sent
    assert one["waited_seconds"] > 0
    assert one["exchange"] is closed[0]["exchange"]


def test_pools_are_read_by_the_name_that_the_options_give(shop: Shop) -> None:
    with shop.app.app_context(), shop.db.engines[None].connect():
        (state,) = pool_states("shop's")
        assert (state.used, state.waiting) == (1, 0)


def test_view_commits_and_a_receiver_reads_what_is_not_loaded(shop: Shop) -> None:
    def read(model: type, *, instance: t.Any, identity: object, change: str) -> None:
        found.append((instance.name, len(instance.tags), identity, change))

    found: list[t.Any] = []
    with committed.connected_to(read, shop.mug):
        response = shop.app.test_client().post("/mugs/blue", buffered=True)
    assert response.status_code == 200
    assert found == [("blue", 1, (1,), "created")]


def test_single_send_goes_with_the_session_of_the_request(shop: Shop) -> None:
    placed = Signal()

    @shop.app.post("/orders/<name>")
    def order(name: str) -> dict[str, object]:
        shop.db.session.add(shop.mug(name=name))
        shop.db.session.flush()
        send_after_commit(shop.db.session, placed, name)
        if name == "red":
            raise LookupError(name)
        shop.db.session.commit()
        return {}

    client = shop.app.test_client()
    with capture(placed) as sent:
        for name in ("blue", "red", "green"):
            client.post(f"/orders/{name}", buffered=True)
    assert [one.sender for one in sent] == ["blue", "green"]


def test_statements_of_a_command_have_no_exchange(shop: Shop) -> None:
    with capture(sql_executed) as sent, shop.app.app_context():
        shop.db.session.execute(sa.text("SELECT 1"))
    assert [one["exchange"] for one in sent] == [None]


def test_record_queries_is_left_as_it_is(tmp_path: Path) -> None:
    from flask_sqlalchemy.record_queries import get_recorded_queries

    with instrument():
        app = flask.Flask(__name__)
        app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
        app.config["SQLALCHEMY_RECORD_QUERIES"] = True
        db = flask_sqlalchemy.SQLAlchemy(app)
        with app.app_context(), capture(sql_executed) as sent:
            db.session.execute(sa.text("SELECT 1"))
            assert len(get_recorded_queries()) == 1
            db.session.remove()
            db.engine.dispose()
    assert [one["statement"] for one in sent] == ["SELECT 1"]
