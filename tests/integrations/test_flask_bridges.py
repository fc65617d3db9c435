from __future__ import annotations

import typing as t

import flask
import pytest
from flask import signals as flasks
from webtest import TestApp

from signalpost import NamedSignal
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import appcontext_pushed
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import exchange_opened
from signalpost.lifecycle import EXCHANGE_SIGNALS
from signalpost.lifecycle import message_flashed
from signalpost.lifecycle import request_tearing_down
from signalpost.lifecycle import template_rendered
from signalpost.testing import capture
from tests.integrations.serving import FLASKS
from tests.integrations.serving import theirs
from tests.integrations.shop import new_shop


def bridged(app: flask.Flask) -> set[str]:
    """Return which of Flask's signals have receivers for an application."""
    return {
        ours.name.replace("-", "_")
        for ours in FLASKS
        if list(theirs(ours).receivers_for(app))
    }


def receive(sender: object, **extra: object) -> None: ...


@pytest.fixture
def app() -> flask.Flask:
    app = new_shop()
    Signalpost(app)
    return app


def test_flasks_signals_are_not_received_while_ours_have_no_receiver(
    app: flask.Flask,
) -> None:
    assert bridged(app) == set()
    TestApp(app).get("/hello")
    assert bridged(app) == set()


@pytest.mark.parametrize("signal", FLASKS, ids=lambda one: one.name)
def test_signals_with_receivers_are_bridged(
    app: flask.Flask, signal: NamedSignal
) -> None:
    with signal.connected_to(receive, app):
        assert signal.name.replace("-", "_") in bridged(app)
    assert bridged(app) == set()


@pytest.mark.parametrize(
    "signal",
    [signal for signal in FLASKS if signal not in EXCHANGE_SIGNALS],
    ids=lambda one: one.name,
)
def test_nothing_else_is_bridged(app: flask.Flask, signal: NamedSignal) -> None:
    with signal.connected_to(receive, app):
        assert bridged(app) == {signal.name.replace("-", "_")}


@pytest.mark.parametrize("signal", EXCHANGE_SIGNALS, ids=lambda one: one.name)
def test_every_signal_of_an_exchange_bridges_what_its_record_needs(
    app: flask.Flask, signal: NamedSignal
) -> None:
    with signal.connected_to(receive, app):
        assert "got_request_exception" in bridged(app)
        assert "template_rendered" not in bridged(app)
    assert bridged(app) == set()


def test_a_bridge_goes_with_the_last_of_its_receivers(app: flask.Flask) -> None:
    template_rendered.connect(receive, app)
    with capture(template_rendered):
        template_rendered.disconnect(receive, app)
        assert bridged(app) == {"template_rendered"}
    assert bridged(app) == set()


def test_a_bridge_goes_with_the_last_of_its_signals(app: flask.Flask) -> None:
    with capture(exchange_closed):
        with capture(exchange_opened):
            pass
        assert "got_request_exception" in bridged(app)
    assert bridged(app) == set()


def test_capture_bridges_for_the_length_of_its_block(app: flask.Flask) -> None:
    with capture(message_flashed, template_rendered):
        assert bridged(app) == {"message_flashed", "template_rendered"}
    assert bridged(app) == set()


def test_capture_that_ends_by_an_error_leaves_no_bridge(app: flask.Flask) -> None:
    with pytest.raises(LookupError), capture(message_flashed):
        raise LookupError
    assert bridged(app) == set()


def test_a_bridge_is_there_for_receivers_connected_before_the_setup() -> None:
    app = new_shop()
    with capture(template_rendered) as sent:
        Signalpost(app)
        TestApp(app).get("/template")
    assert [one.sender for one in sent] == [app]


def test_a_bridge_goes_after_the_send_that_finds_its_receiver_dead(
    app: flask.Flask,
) -> None:
    def passing(sender: object, **extra: object) -> None: ...

    template_rendered.connect(passing)
    assert bridged(app) == {"template_rendered"}
    del passing
    TestApp(app).get("/template")
    assert bridged(app) == set()


def test_a_bridge_comes_back_for_the_next_receiver(app: flask.Flask) -> None:
    for _ in range(2):
        with capture(template_rendered) as sent:
            TestApp(app).get("/template")
        assert len(sent) == 1
        assert bridged(app) == set()


def test_a_receiver_of_every_app_bridges_every_app(app: flask.Flask) -> None:
    other = new_shop(Signalpost)
    with capture(template_rendered):
        assert bridged(app) == bridged(other) == {"template_rendered"}
    assert bridged(app) == bridged(other) == set()


def test_a_receiver_of_one_app_bridges_only_that_app(app: flask.Flask) -> None:
    other = new_shop(Signalpost)
    with capture(template_rendered, exchange_closed, sender=app) as sent:
        assert {"template_rendered", "got_request_exception"} <= bridged(app)
        assert bridged(other) == set()
        TestApp(other).get("/template")
        assert sent == []
        TestApp(app).get("/template")
    assert [one.sender for one in sent] == [app, app]


def test_a_receiver_that_leaves_one_app_still_receives_from_another(
    app: flask.Flask,
) -> None:
    other = new_shop(Signalpost)
    template_rendered.connect(receive, app)
    template_rendered.connect(receive, other)
    template_rendered.disconnect(receive, app)
    assert (bridged(app), bridged(other)) == (set(), {"template_rendered"})
    template_rendered.disconnect(receive, other)
    assert bridged(other) == set()


def test_an_app_that_is_not_set_up_sends_nothing(app: flask.Flask) -> None:
    plain = new_shop()
    with capture(*FLASKS) as sent:
        TestApp(plain).get("/template")
    assert sent == []
    with capture(*FLASKS, sender=plain) as sent:
        TestApp(plain).get("/template")
        assert bridged(plain) == set()
    assert sent == []


def test_a_flask_receiver_of_another_package_is_left_alone(app: flask.Flask) -> None:
    received: list[object] = []

    def other(sender: object, **extra: t.Any) -> None:
        received.append(sender)

    with flasks.template_rendered.connected_to(other, app):
        with capture(template_rendered):
            pass
        TestApp(app).get("/template")
    assert received == [app]


def test_a_receiver_connected_in_a_view_receives_what_follows(app: flask.Flask) -> None:
    received: list[str] = []

    def note(sender: object) -> None:
        received.append("torn down")

    def connect() -> str:
        request_tearing_down.connect(note, app)
        return "connected"

    app.add_url_rule("/connect", view_func=connect)
    TestApp(app).get("/connect")
    assert received == ["torn down"]


def test_a_receiver_disconnected_in_a_view_receives_no_more(app: flask.Flask) -> None:
    def disconnect() -> str:
        request_tearing_down.disconnect(keep, app)
        return "disconnected"

    received: list[object] = []

    def keep(sender: object) -> None:
        received.append(sender)

    request_tearing_down.connect(keep, app)
    app.add_url_rule("/disconnect", view_func=disconnect)
    TestApp(app).get("/disconnect")
    assert received == []
    assert bridged(app) == set()


def test_a_muted_signal_stays_silent_and_bridged(app: flask.Flask) -> None:
    with capture(template_rendered, appcontext_pushed) as sent:
        with template_rendered.muted():
            assert TestApp(app).get("/template").text == "2"
        assert "template_rendered" in bridged(app)
    assert [one.signal for one in sent] == [appcontext_pushed]
