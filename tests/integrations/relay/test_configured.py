"""A relay by configuration: what is asked for is done, or refused with its line."""

from __future__ import annotations

import sys
import textwrap
import typing as t
from pathlib import Path

import flask
import pytest

from signalpost import NamedSignal
from signalpost.config import Configuration
from signalpost.config import enabled_for
from signalpost.config._finding import RELAY
from signalpost.errors import ConfigurationError
from signalpost.integrations.flask import Signalpost
from signalpost.integrations.relay import current_event
from signalpost.integrations.relay import relay_sent
from signalpost.testing import capture
from tests.integrations.relay.commands import new_site


@pytest.fixture
def placed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[NamedSignal]:
    """Return the signal of shop.events, which configurations can name."""
    monkeypatch.syspath_prepend(new_site(tmp_path))
    from importlib import import_module

    signal: NamedSignal = import_module("shop.events").order_placed
    yield signal
    signal.disconnect_all()
    for name in ("shop", "shop.events"):
        sys.modules.pop(name, None)


def loaded(path: Path, text: str, app: object) -> None:
    path.write_text(textwrap.dedent(text), "utf-8")
    Configuration.from_file(path).load(app)


TOML = """
    [signalpost.relay]
    url = "inline://"
    source = "shop"
    forward = ["shop.events:order_placed"]
"""

INI = """
    [signalpost.relay]
    url = inline://
    source = shop
    forward = shop.events:order_placed
"""

UNDER_RECEIVERS = """
    [signalpost.receivers]
    "signalpost.integrations.relay:ConfiguredRelay" = {url = "inline://", \
source = "shop", forward = ["shop.events:order_placed"]}
"""


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.toml", TOML), ("a.ini", INI), ("b.toml", UNDER_RECEIVERS)],
)
def test_configured_signal_is_forwarded(
    tmp_path: Path, placed: NamedSignal, name: str, text: str
) -> None:
    app = flask.Flask("shop")
    loaded(tmp_path / name, text, app)
    events = []

    def receive(sender: object, order: object, total: object) -> None:
        events.append(current_event())

    with placed.connected_to(receive):
        placed.send(app, order=1, total=2)
        assert len(events) == 2
        assert enabled_for(app).disable(RELAY)
        placed.send(app, order=1, total=2)
        assert len(events) == 3


def test_flask_key_configures_relay(placed: NamedSignal) -> None:
    app = flask.Flask("shop")
    app.config["SIGNALPOST_RELAY"] = {
        "url": "inline://",
        "source": "shop",
        "forward": ["shop.events:order_placed"],
    }
    Signalpost(app)
    with capture(relay_sent) as sent:
        placed.send(app, order=1, total=2)
    assert len(sent) == 1
    enabled_for(app).disable(RELAY)


def test_applications_of_a_process_share_the_relay(
    tmp_path: Path, placed: NamedSignal
) -> None:
    apps = [flask.Flask("shop"), flask.Flask("shop")]
    for app in apps:
        loaded(tmp_path / "a.toml", TOML, app)
    with capture(relay_sent) as sent:
        placed.send(None, order=1, total=2)
        assert len(sent) == 1
        enabled_for(apps[0]).disable(RELAY)
        placed.send(None, order=1, total=2)
        assert len(sent) == 2
        enabled_for(apps[1]).disable(RELAY)
        placed.send(None, order=1, total=2)
        assert len(sent) == 2


def test_url_comes_from_the_environment(
    tmp_path: Path, placed: NamedSignal, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = flask.Flask("shop")
    without = TOML.replace('url = "inline://"\n', "")
    with pytest.raises(ConfigurationError, match="set SIGNALPOST_RELAY_URL"):
        loaded(tmp_path / "a.toml", without, app)
    monkeypatch.setenv("SIGNALPOST_RELAY_URL", "inline://")
    loaded(tmp_path / "a.toml", without, app)
    with capture(relay_sent) as sent:
        placed.send(None, order=1, total=2)
    assert len(sent) == 1
    enabled_for(app).disable(RELAY)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"shop"', '"my shop"', "source must be"),
        ("inline://", "kafka://user:secret@b", "must begin with"),
        ("shop.events:order_placed", "shop.events:paid", "has no 'paid'"),
        ("shop.events:order_placed", "shop.sales:paid", "No module named"),
        ("shop.events:order_placed", "shop.events:Namespace", "must be a NamedSignal"),
        ("shop.events:order_placed", "order_placed", "package.module:object"),
        ('["shop.events:order_placed"]', "[]", "must have a path of a signal"),
        ('["shop.events:order_placed"]', '"a:b"', "must be a collection of paths"),
        ("source", "sauce", "unknown option 'sauce'"),
        ("forward =", 'sends = "later"\nforward =', "'thread', 'now' or 'outbox'"),
        ("[signalpost.relay]", "[signalpost.relais]", "did you mean 'relay'"),
        ("forward =", "max_waiting = 0\nforward =", "max_waiting"),
        ("forward =", 'sends = "outbox"\nforward =', "write outbox ="),
        ("forward =", 'outbox = "shop:outbox"\nforward =', "sends = "),
        ("forward =", 'session_of = "shop:session"\nforward =', "sends = "),
        ("forward =", 'sends = "outbox"\noutbox = 5\nforward =', "got 5"),
        (
            "forward =",
            'sends = "outbox"\noutbox = "shop.events:order_placed"\nforward =',
            "needs no url",
        ),
        (
            'url = "redis://127.0.0.1:1"',
            'sends = "outbox"\noutbox = "shop.events:order_placed"',
            "must be an OutboxTable",
        ),
        (
            'url = "redis://127.0.0.1:1"',
            'sends = "outbox"\noutbox = "shop.events:outbox"',
            "has no 'outbox'",
        ),
    ],
)
def test_mistake_is_reported_with_its_line(
    tmp_path: Path, placed: NamedSignal, old: str, new: str, words: str
) -> None:
    app = flask.Flask("shop")
    text = textwrap.dedent(TOML.replace("inline://", "redis://127.0.0.1:1"))
    if old == "inline://":
        old = "redis://127.0.0.1:1"
    with pytest.raises(ConfigurationError) as caught:
        loaded(tmp_path / "a.toml", text.replace(old, new), app)
    assert words in str(caught.value)
    assert "line " in str(caught.value)
    assert "secret" not in str(caught.value)
    assert not placed.receivers


MODELS = """
    import sqlalchemy as sa
    from sqlalchemy.orm import scoped_session, sessionmaker
    from signalpost.integrations.relay.outbox import OutboxTable

    metadata = sa.MetaData()
    outbox = OutboxTable(metadata)
    engine = sa.create_engine("sqlite:///" + __file__ + ".db")
    metadata.create_all(engine)
    session = scoped_session(sessionmaker(engine))
"""


def test_configured_outbox_has_what_is_committed(
    tmp_path: Path, placed: NamedSignal, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")
    # The dispatcher's, in the same environment.
    monkeypatch.setenv("SIGNALPOST_RELAY_URL", "redis://127.0.0.1:1")
    (tmp_path / "shop" / "models.py").write_text(textwrap.dedent(MODELS))
    app = flask.Flask("shop")
    own = """sends = "outbox"
    outbox = "shop.models:outbox"
    session_of = "shop.models:session\""""
    loaded(tmp_path / "a.toml", TOML.replace('url = "inline://"', own), app)
    models = sys.modules.pop("shop.models")
    for number in (1, 2):
        models.session.connection()
        placed.send(app, order=number, total=1)
        if number == 1:
            models.session.rollback()
    models.session.commit()
    (event,) = models.session.scalars(
        models.outbox.events.select().with_only_columns(models.outbox.events.c.event)
    )
    assert '"order":2' in event
    models.session.remove()
    models.engine.dispose()
    assert enabled_for(app).disable(RELAY)
