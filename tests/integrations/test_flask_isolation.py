from __future__ import annotations

import typing as t
from collections.abc import Callable

import flask
import pytest
from webtest import TestApp

from signalpost import NamedSignal
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import appcontext_pushed
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import got_request_exception
from signalpost.lifecycle import request_started
from signalpost.testing import capture
from tests.integrations.serving import ALL
from tests.integrations.serving import response_of
from tests.integrations.serving import sent_of
from tests.integrations.serving import state_of
from tests.integrations.serving import visit
from tests.integrations.shop import Course
from tests.integrations.shop import COURSES
from tests.integrations.shop import new_shop
from tests.wsgi.serving import Server

each_signal = pytest.mark.parametrize("signal", ALL, ids=lambda one: one.name)


@pytest.fixture
def app() -> flask.Flask:
    app = new_shop()
    Signalpost(app)
    return app


class HarmError(Exception):
    pass


def harmful(sender: object, **extra: t.Any) -> None:
    raise HarmError


async def harmful_late(sender: object, **extra: t.Any) -> None:
    raise HarmError


def course_with(signal: NamedSignal) -> Course:
    """Return a course in which a signal is sent exactly once."""
    names = {"message-flashed": "flash", "got-request-exception": "error"}
    return COURSES[names.get(signal.name, "template")]


@each_signal
@pytest.mark.parametrize("receiver", [harmful, harmful_late])
def test_a_raising_receiver_changes_no_response(
    app: flask.Flask,
    signal: NamedSignal,
    receiver: Callable[..., t.Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    course = course_with(signal)
    without = visit(app, course)
    caplog.clear()
    with signal.connected_to(receiver, app), capture(*ALL, sender=app) as sent:
        with_harm = visit(app, course)
    assert response_of(with_harm) == response_of(without)
    assert len(sent_of(sent, signal)) == len(sent_of(sent, exchange_closed)) == 1
    assert state_of(app).middleware.receiver_failures == 1
    (record,) = (one for one in caplog.records if one.name == "signalpost.signals")
    assert record.levelname == "ERROR"
    assert record.exc_info is not None
    assert receiver.__name__ in record.getMessage()
    assert signal.name in record.getMessage()


@each_signal
def test_a_raising_receiver_does_not_stop_the_others(
    app: flask.Flask, signal: NamedSignal
) -> None:
    course = course_with(signal)
    with signal.connected_to(harmful, app), capture(*ALL, sender=app) as sent:
        visit(app, course)
    with capture(*ALL, sender=app) as sent_without:
        visit(app, course)
    assert [one.signal for one in sent] == [one.signal for one in sent_without]


def test_failures_are_counted_for_each_app(app: flask.Flask) -> None:
    other = new_shop(Signalpost)
    with request_started.connected_to(harmful):
        for visited in (app, app, other):
            TestApp(visited).get("/hello")
    assert state_of(app).middleware.receiver_failures == 2
    assert state_of(other).middleware.receiver_failures == 1


@pytest.mark.parametrize(
    "signal",
    [one for one in ALL if one not in (appcontext_pushed, got_request_exception)],
    ids=lambda one: one.name,
)
def test_strict_lets_a_receivers_exception_through(signal: NamedSignal) -> None:
    app = new_shop()
    app.config.update(SIGNALPOST_STRICT=True, TESTING=True)
    Signalpost(app)
    course = course_with(signal)
    # Flask 3.2 raises a group of what is raised while it tears down.
    either = (HarmError, ExceptionGroup)
    with signal.connected_to(harmful, app), pytest.raises(either):
        visit(app, course)
    assert app.test_client().get("/hello").text == "hello"


def test_strict_lets_a_receivers_exception_replace_the_applications() -> None:
    app = new_shop()
    app.config["SIGNALPOST_STRICT"] = True
    Signalpost(app)
    with (
        got_request_exception.connected_to(harmful, app),
        pytest.raises(HarmError),
    ):
        Server().serve(app, path="/fail")
