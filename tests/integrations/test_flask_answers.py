"""Exceptions that are answers, where extensions report all that they answer."""

from __future__ import annotations

import contextlib
import typing as t
from collections.abc import Callable

import flask
import pytest
from flask import signals as flasks
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import ServiceUnavailable

from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import got_request_exception
from signalpost.testing import capture
from tests.integrations.serving import sent_of
from tests.integrations.shop import fail
from tests.integrations.shop import hello
from tests.integrations.shop import new_shop
from tests.wsgi.serving import exchange_of
from tests.wsgi.serving import Server


class Api:
    """Answers each error itself and reports it, as Flask-RESTX and Flask-RESTful do."""

    def __init__(self, app: flask.Flask) -> None:
        self._app = app
        answer: t.Any = self._answer
        app.handle_user_exception = answer  # type: ignore[method-assign]  # so they do

    def _answer(self, error: Exception) -> t.Any:
        flasks.got_request_exception.send(self._app, exception=error)
        if isinstance(error, HTTPException):
            return error.get_response()
        return {"message": "Internal Server Error"}, 500


class OddError(HTTPException):
    """One whose code is no number, so that its kind is unknown."""

    code = t.cast("int", "404")

    def get_response(self, *_: object) -> t.Any:
        return flask.Response(status=500)


def raised(error: Exception) -> Callable[[], t.Any]:
    def view() -> t.Any:
        raise error

    return view


def new_api(view: Callable[..., t.Any]) -> flask.Flask:
    app = new_shop()
    app.add_url_rule("/asked", view_func=view, endpoint="asked")
    app.add_url_rule("/list/", view_func=hello, endpoint="list")
    Api(app)
    Signalpost(app)
    return app


@pytest.mark.parametrize(
    ("view", "status"),
    [
        (lambda: flask.abort(404), 404),
        (lambda: flask.abort(405), 405),
        (lambda: flask.abort(400), 400),
        (lambda: flask.abort(429), 429),
        (lambda: flask.request.form["absent"], 400),
        (lambda: flask.abort(flask.Response("gone", 410)), 410),
        (lambda: flask.abort(flask.redirect("/hello")), 302),
    ],
    ids=["404", "405", "400", "429", "absent-field", "response", "redirect"],
)
def test_an_answer_that_an_extension_reports_is_no_failure(
    view: Callable[[], t.Any], status: int
) -> None:
    app = new_api(view)
    with capture(got_request_exception, exchange_closed, sender=app) as sent:
        response = app.test_client().get("/asked", buffered=True)
    assert response.status_code == status
    assert [one.signal for one in sent] == [exchange_closed]
    exchange = exchange_of(sent)
    assert (exchange.status, exchange.exception) == (status, None)
    assert (exchange.outcome, exchange.endpoint) == ("complete", "asked")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("POST", "/hello", 405), ("GET", "/list", 308)],
)
def test_a_request_that_no_route_takes_is_no_failure(
    method: str, path: str, status: int
) -> None:
    app = new_api(hello)
    with capture(got_request_exception, exchange_closed, sender=app) as sent:
        app.test_client().open(path, method=method, buffered=True)
    assert [one.signal for one in sent] == [exchange_closed]
    assert (exchange_of(sent).status, exchange_of(sent).exception) == (status, None)


@pytest.mark.parametrize(
    "view",
    [
        lambda: flask.abort(500),
        lambda: flask.abort(503),
        lambda: flask.abort(flask.Response("down", 502)),
        raised(ServiceUnavailable()),
        raised(OddError()),
        fail,
    ],
    ids=["500", "503", "response", "raised", "odd", "other"],
)
def test_an_answer_of_500_or_more_stays_a_failure(view: Callable[[], t.Any]) -> None:
    app = new_api(view)
    with capture(got_request_exception, exchange_closed, sender=app) as sent:
        app.test_client().get("/asked", buffered=True)
    (failure,) = sent_of(sent, got_request_exception)
    assert failure["where"] == "view"
    assert exchange_of(sent).exception is failure["exception"]


@pytest.mark.parametrize("propagates", [False, True])
def test_an_answer_that_flask_traps_stays_a_failure(*, propagates: bool) -> None:
    app = new_shop()
    app.config.update(TRAP_HTTP_EXCEPTIONS=True, PROPAGATE_EXCEPTIONS=propagates)
    Signalpost(app)
    with (
        capture(got_request_exception, exchange_closed, sender=app) as sent,
        contextlib.suppress(HTTPException),
    ):
        Server().serve(app, path="/refuse")
    (failure,) = sent_of(sent, got_request_exception)
    assert failure["exception"].code == 403
    assert exchange_of(sent).exception is failure["exception"]
    assert exchange_of(sent).outcome == ("error" if propagates else "complete")


def test_a_response_raised_in_a_body_is_a_failure_as_it_cannot_be_sent() -> None:
    def chunks() -> t.Any:
        yield b"one"
        flask.abort(404)

    app = new_api(lambda: flask.Response(chunks()))
    with (
        capture(got_request_exception, sender=app) as sent,
        pytest.raises(HTTPException),
    ):
        Server().serve(app, path="/asked")
    assert [one["where"] for one in sent] == ["iteration"]
