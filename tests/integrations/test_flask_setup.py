from __future__ import annotations

import gc
import typing as t
import weakref

import flask
import pytest
from flask import signals as flasks
from webtest import TestApp

from signalpost import SignalMiddleware
from signalpost.errors import ConfigurationError
from signalpost.errors import ExtensionError
from signalpost.errors import SignalpostError
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import appcontext_pushed
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import exchange_opened
from signalpost.lifecycle import request_started
from signalpost.testing import capture
from tests.integrations.serving import sent_of
from tests.integrations.serving import state_of
from tests.integrations.shop import new_shop


def test_an_app_given_to_signalpost_sends() -> None:
    app = new_shop()
    Signalpost(app)
    with capture(exchange_closed, sender=app) as sent:
        assert TestApp(app).get("/hello").text == "hello"
    assert len(sent) == 1


def test_an_app_given_to_init_app_sends() -> None:
    app = new_shop()
    Signalpost().init_app(app)
    with capture(exchange_closed, sender=app) as sent:
        TestApp(app).get("/hello")
    assert len(sent) == 1


def test_signalpost_without_an_app_sets_nothing_up() -> None:
    app = new_shop()
    Signalpost()
    with capture(exchange_closed, sender=app) as sent:
        TestApp(app).get("/hello")
    assert sent == []


def test_one_signalpost_serves_every_app_of_a_factory() -> None:
    signalpost = Signalpost()
    apps = [new_shop(signalpost.init_app) for _ in range(3)]
    with capture(request_started, exchange_closed) as sent:
        for app in apps:
            TestApp(app).get("/hello")
    assert [one.sender for one in sent_of(sent, request_started)] == apps
    assert [one.sender for one in sent_of(sent, exchange_closed)] == apps


def test_the_extension_object_keeps_nothing() -> None:
    signalpost = Signalpost(new_shop())
    assert vars(signalpost) == {}


def test_what_belongs_to_an_app_is_in_its_extensions() -> None:
    app = new_shop()
    Signalpost(app)
    assert isinstance(state_of(app).middleware, SignalMiddleware)
    assert app.wsgi_app is state_of(app).middleware
    assert state_of(app).middleware.sender is app


@pytest.mark.parametrize("again", [Signalpost, Signalpost().init_app])
def test_a_second_setup_shows_what_to_do(
    again: t.Callable[[flask.Flask], t.Any],
) -> None:
    app = new_shop()
    Signalpost(app)
    with pytest.raises(ExtensionError, match="call init_app once") as raised:
        again(app)
    assert raised.value.application is app
    assert isinstance(raised.value, (SignalpostError, RuntimeError))


def test_a_second_setup_leaves_the_first_working() -> None:
    app = new_shop()
    Signalpost(app)
    with pytest.raises(ExtensionError):
        Signalpost(app)
    with capture(exchange_opened, request_started, sender=app) as sent:
        TestApp(app).get("/hello")
    assert len(sent) == 2


@pytest.mark.parametrize("wrong", ["shop", 3, flask.Flask, new_shop().wsgi_app])
def test_what_is_no_flask_application_is_refused(wrong: t.Any) -> None:
    with pytest.raises(ExtensionError, match="must be a Flask application") as raised:
        Signalpost(wrong)
    assert raised.value.application is wrong


def test_none_given_to_init_app_is_refused() -> None:
    nothing: t.Any = None
    with pytest.raises(ExtensionError, match="got None"):
        Signalpost().init_app(nothing)


def test_current_app_is_set_up_as_its_application() -> None:
    app = new_shop()
    with app.app_context():
        Signalpost(flask.current_app)
    with capture(exchange_closed, request_started) as sent:
        TestApp(app).get("/hello")
    assert {type(one.sender) for one in sent} == {flask.Flask}
    assert [one.sender is app for one in sent] == [True, True]


def test_strict_is_off_unless_configured() -> None:
    app = new_shop()
    Signalpost(app)
    assert app.config["SIGNALPOST_STRICT"] is False
    assert state_of(app).middleware.strict is False


def test_strict_is_read_once() -> None:
    app = new_shop()
    app.config["SIGNALPOST_STRICT"] = True
    Signalpost(app)
    app.config["SIGNALPOST_STRICT"] = False
    assert state_of(app).middleware.strict is True


@pytest.mark.parametrize("wrong", ["yes", "False", 1, 0, None])
def test_strict_of_another_type_is_refused(wrong: object) -> None:
    app = new_shop()
    app.config["SIGNALPOST_STRICT"] = wrong
    with pytest.raises(ConfigurationError) as raised:
        Signalpost(app)
    assert str(raised.value) == (
        f'app.config["SIGNALPOST_STRICT"]: must be True or False, got {wrong!r}'
    )


def test_a_refused_app_is_as_it_was() -> None:
    app = new_shop()
    app.config["SIGNALPOST_STRICT"] = "yes"
    with pytest.raises(ConfigurationError):
        Signalpost(app)
    assert "signalpost" not in app.extensions
    assert "wsgi_app" not in vars(app)


def test_a_refused_app_can_be_set_up_once_it_is_put_right() -> None:
    app = new_shop()
    app.config["SIGNALPOST_STRICT"] = "yes"
    with pytest.raises(ConfigurationError):
        Signalpost(app)
    app.config["SIGNALPOST_STRICT"] = True
    Signalpost(app)
    assert state_of(app).middleware.strict is True


def test_a_subclass_of_flask_is_an_application() -> None:
    class Shop(flask.Flask):
        pass

    app = Shop(__name__)
    Signalpost(app)
    with capture(exchange_closed, sender=app) as sent:
        TestApp(app).get("/nothing", status=404)
    assert sent[0]["exchange"].status == 404


@pytest.mark.parametrize("requests", [0, 1])
def test_an_app_leaves_nothing_in_flasks_signals(requests: int) -> None:
    before = len(flasks.appcontext_pushed.receivers)
    app = new_shop()
    Signalpost(app)
    appcontext_pushed.connect(print, app)
    for _ in range(requests):
        TestApp(app).get("/hello")
    freed = weakref.ref(app)
    del app
    gc.collect()
    assert freed() is None
    assert len(flasks.appcontext_pushed.receivers) <= before + 1
    assert not [one for one in appcontext_pushed.connections if one.receiver is print]


def test_requests_leave_nothing_in_the_tables_of_an_app() -> None:
    app = new_shop()
    Signalpost(app)
    before = set(app.extensions)
    with capture(exchange_closed, sender=app):
        TestApp(app).get("/hello")
    assert set(app.extensions) == before
