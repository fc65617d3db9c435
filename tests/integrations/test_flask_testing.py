"""The test client whose responses are closed when the call returns."""

from __future__ import annotations

from collections.abc import Generator
from collections.abc import Iterator
from typing import Any

import flask
import pytest
from flask.testing import FlaskClient

from signalpost.exchange import Exchange
from signalpost.integrations.flask import Signalpost
from signalpost.integrations.flask_testing import ClosingClient
from signalpost.testing import finished_exchanges
from signalpost.testing import request_failures


@pytest.fixture
def app() -> flask.Flask:
    app = flask.Flask("shop")
    app.secret_key = "for tests"
    app.test_client_class = ClosingClient
    Signalpost(app)

    @app.route("/", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
    def index() -> str:
        return "mugs"

    @app.get("/json")
    def as_json() -> dict[str, int]:
        return {"mugs": 7}

    @app.get("/old")
    def old() -> Any:
        return flask.redirect("/")

    @app.get("/stream")
    def stream() -> Any:
        def lines() -> Iterator[str]:
            for number in range(3):
                yield f"mug {number}\n"

        return lines()

    @app.get("/endless")
    def endless() -> Any:
        def lines() -> Iterator[str]:
            while True:
                yield "mug\n"

        return lines()

    @app.get("/broken")
    def broken() -> Any:
        def lines() -> Iterator[str]:
            yield "mug\n"
            raise LookupError("no more mugs")

        return lines()

    @app.get("/file")
    def file() -> Any:
        return flask.send_file(__file__)

    return app


@pytest.fixture
def exchanges() -> Generator[list[Exchange]]:
    with finished_exchanges() as exchanges:
        yield exchanges


@pytest.mark.parametrize("path", ["/", "/json", "/stream", "/old", "/file", "/none"])
def test_exchange_is_closed_when_the_call_returns(
    app: flask.Flask, exchanges: list[Exchange], path: str
) -> None:
    response = app.test_client().get(path)
    assert [one.outcome for one in exchanges] == ["complete"]
    assert response.status_code == exchanges[0].status


@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete", "head"])
def test_every_method_closes_its_response(
    app: flask.Flask, exchanges: list[Exchange], method: str
) -> None:
    _kept = getattr(app.test_client(), method)("/")
    assert [one.method for one in exchanges] == [method.upper()]


def test_flasks_own_client_leaves_it_open(
    app: flask.Flask, exchanges: list[Exchange]
) -> None:
    app.test_client_class = None
    response = app.test_client().get("/")
    assert exchanges == []
    response.close()
    assert len(exchanges) == 1


def test_response_reads_as_before(app: flask.Flask) -> None:
    client = app.test_client()
    assert client.get("/").text == "mugs"
    assert client.get("/json").json == {"mugs": 7}
    assert client.get("/stream").data == b"mug 0\nmug 1\nmug 2\n"
    assert client.get("/none").status == "404 NOT FOUND"
    response = client.get("/stream")
    assert [*response.iter_encoded()] == [b"mug 0\n", b"mug 1\n", b"mug 2\n"]
    response.close()


def test_each_response_of_a_redirect_is_closed(
    app: flask.Flask, exchanges: list[Exchange]
) -> None:
    response = app.test_client().get("/old", follow_redirects=True)
    assert [one.path for one in exchanges] == ["/old", "/"]
    assert [one.status_code for one in response.history] == [302]


def test_stream_that_is_asked_for_stays_open(
    app: flask.Flask, exchanges: list[Exchange]
) -> None:
    response = app.test_client().get("/endless", buffered=False)
    assert next(iter(response.response)) == b"mug\n"
    assert exchanges == []
    response.close()
    assert [one.outcome for one in exchanges] == ["aborted"]


def test_exception_of_the_body_leaves_the_call(
    app: flask.Flask, exchanges: list[Exchange]
) -> None:
    with request_failures() as failures, pytest.raises(LookupError):
        app.test_client().get("/broken")
    assert [one.where for one in failures] == ["iteration"]
    assert [one.outcome for one in exchanges] == ["error"]


def test_context_is_there_within_a_with_block(
    app: flask.Flask, exchanges: list[Exchange]
) -> None:
    with app.test_client() as client:
        client.get("/?colour=blue")
        assert flask.request.args["colour"] == "blue"
        assert len(exchanges) == 1


def test_cookies_and_sessions_work(app: flask.Flask) -> None:
    @app.get("/session")
    def show() -> str:
        return str(flask.session.get("user"))

    client = app.test_client()
    with client.session_transaction() as session:
        session["user"] = "ann"
    assert client.get("/session").text == "ann"


def test_request_may_be_given_whole(
    app: flask.Flask, exchanges: list[Exchange]
) -> None:
    with app.test_request_context("/json") as context:
        request = context.request
    response = app.test_client().open(request)
    assert response.json == {"mugs": 7}
    assert len(exchanges) == 1


def test_another_client_class_may_be_mixed_in(
    app: flask.Flask, exchanges: list[Exchange]
) -> None:
    class Authenticated(FlaskClient):
        def open(self, *args: Any, **kwargs: Any) -> Any:
            kwargs.setdefault("headers", {"X-User": "ann"})
            return super().open(*args, **kwargs)

    class Client(ClosingClient, Authenticated):
        pass

    @app.get("/user")
    def user() -> str:
        return flask.request.headers["X-User"]

    app.test_client_class = Client
    response = app.test_client().get("/user")
    assert len(exchanges) == 1
    assert response.text == "ann"
