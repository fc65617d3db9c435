from __future__ import annotations

import logging
import typing as t

import flask
import pytest

from signalpost.integrations.flask import Signalpost

flask_login: t.Any = pytest.importorskip("flask_login")


class User:
    is_active = is_authenticated = True
    is_anonymous = False

    is_expired = False

    def __init__(self, name: str) -> None:
        self.name = name

    def get_id(self) -> str:
        if self.is_expired:
            raise LookupError("the row would be read again")
        return self.name


class Shop(flask.Flask):
    loaded = 0


@pytest.fixture
def app() -> Shop:
    app = Shop("shop")
    app.secret_key = "of this test"
    app.config["SIGNALPOST_RECEIVERS"] = {
        "flask-login": True,
        "latency": {"fields": ["user"]},
    }
    Signalpost(app)
    manager = flask_login.LoginManager(app)

    @manager.user_loader  # type: ignore[untyped-decorator]  # it has no types
    def load(name: str) -> User:
        app.loaded += 1
        return User(name)

    @app.get("/in/<name>")
    def sign_in(name: str) -> str:
        flask_login.login_user(User(name))
        return "in"

    @app.get("/own")
    def own() -> str:
        return str(flask_login.current_user.is_authenticated)

    @app.get("/commit")
    def commit() -> str:
        flask_login.current_user.is_expired = True
        return "done"

    @app.get("/open")
    def open_to_all() -> str:
        return "open"

    @app.get("/fail")
    def fail() -> str:
        raise LookupError(flask_login.current_user.get_id())

    return app


def users(caplog: pytest.LogCaptureFixture) -> list[str]:
    lines = [one for one in caplog.records if one.name == "signalpost.latency"]
    return [line.getMessage().rpartition(" user=")[2] for line in lines]


@pytest.fixture(autouse=True)
def logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="signalpost")


def test_the_user_is_on_the_line(app: Shop, caplog: pytest.LogCaptureFixture) -> None:
    client = app.test_client()
    for path in ("/in/ada", "/own", "/fail"):
        client.get(path, buffered=True)
    assert users(caplog) == ["ada", "ada", "ada"]


def test_an_anonymous_user_is_none(app: Shop, caplog: pytest.LogCaptureFixture) -> None:
    app.test_client().get("/own", buffered=True)
    assert users(caplog) == ["-"]


def test_no_user_is_loaded_for_a_line(
    app: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    client = app.test_client()
    client.get("/in/ada", buffered=True)
    client.get("/open", buffered=True)
    assert users(caplog) == ["ada", "-"]
    assert app.loaded == 0


def test_a_row_that_a_commit_has_expired_is_not_read_again(
    app: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    client = app.test_client()
    for path in ("/in/ada", "/commit"):
        client.get(path, buffered=True)
    assert users(caplog) == ["ada", "ada"]
    assert "would be read again" not in caplog.text


def test_the_user_of_a_token_need_not_be_the_sessions(
    app: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    manager = t.cast("t.Any", app).login_manager
    manager.user_loader(lambda name: None)
    manager.request_loader(lambda request: User(request.headers["X-Token"]))
    client = app.test_client()
    client.get("/in/ada", buffered=True)
    client.get("/own", headers={"X-Token": "bob"}, buffered=True)
    assert users(caplog) == ["ada", "bob"]


def test_a_hostile_name_is_escaped(app: Shop, caplog: pytest.LogCaptureFixture) -> None:
    app.test_client().get("/in/a%0Ab", buffered=True)
    assert users(caplog) == [r"a\nb"]
