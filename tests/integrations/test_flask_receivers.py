from __future__ import annotations

import typing as t

import flask
import pytest
from webtest import TestApp

from signalpost import NamedSignal
from signalpost.exchange import Exchange
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import appcontext_pushed
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import got_request_exception
from signalpost.lifecycle import message_flashed
from signalpost.lifecycle import request_finished
from signalpost.lifecycle import request_started
from signalpost.lifecycle import request_tearing_down
from signalpost.lifecycle import template_rendered
from signalpost.testing import capture
from tests.integrations.serving import ALL
from tests.integrations.serving import sent_of
from tests.integrations.serving import state_of
from tests.integrations.serving import visit
from tests.integrations.shop import COURSES
from tests.integrations.shop import new_shop

each_signal = pytest.mark.parametrize("signal", ALL, ids=lambda one: one.name)


@pytest.fixture
def app() -> flask.Flask:
    app = new_shop()
    Signalpost(app)
    return app


def test_a_recorder_of_templates_works(app: flask.Flask) -> None:
    recorded: list[tuple[t.Any, t.Any]] = []

    def record(sender: object, template: t.Any, context: t.Any, **extra: t.Any) -> None:
        recorded.append((template, context))

    template_rendered.connect(record, app)
    try:
        app.test_client().get("/template")
    finally:
        template_rendered.disconnect(record, app)
    assert len(recorded) == 1
    assert recorded[0][0].render() == "2"
    assert "request" in recorded[0][1]


def test_a_receiver_of_the_response_works(app: flask.Flask) -> None:
    seen: list[tuple[int, str]] = []

    def log_response(sender: flask.Flask, response: t.Any, **extra: t.Any) -> None:
        seen.append((response.status_code, response.status))

    with request_finished.connected_to(log_response, app):
        response = app.test_client().get("/refuse")
    assert seen == [(403, response.status)]


def test_a_receiver_of_the_exception_works(app: flask.Flask) -> None:
    seen: list[str] = []

    def log_exception(sender: flask.Flask, exception: t.Any, **extra: t.Any) -> None:
        seen.append(f"{sender.name} {flask.request.path} {exception}")

    with got_request_exception.connected_to(log_exception, app):
        app.test_client().get("/fail")
    assert seen == [f"{app.name} /fail no such thing"]


def test_a_receiver_of_flashed_messages_works(app: flask.Flask) -> None:
    seen: list[tuple[str, str]] = []

    def record(sender: object, message: str, category: str, **extra: t.Any) -> None:
        seen.append((message, category))

    with message_flashed.connected_to(record, app):
        app.test_client().get("/flash")
    assert seen == [("saved", "info")]


@each_signal
def test_a_receiver_that_takes_only_the_sender_and_extra_works(
    app: flask.Flask, signal: NamedSignal
) -> None:
    seen: list[object] = []

    def log(sender: object, **extra: t.Any) -> None:
        seen.append(sender)

    with signal.connected_to(log, app):
        for name in ("template", "flash", "error"):
            visit(app, COURSES[name])
    assert seen
    assert set(seen) == {app}
    assert state_of(app).middleware.receiver_failures == 0


def test_a_receiver_of_the_teardown_finds_exc_in_extra(app: flask.Flask) -> None:
    seen: list[object] = []

    def close(sender: object, **extra: t.Any) -> None:
        seen.append(extra.get("exc"))

    with request_tearing_down.connected_to(close, app):
        app.test_client().get("/hello")
    assert seen == [None]


def test_a_receiver_of_pushed_contexts_can_prepare_g(app: flask.Flask) -> None:
    def prepare(sender: object, **extra: t.Any) -> None:
        flask.g.user = "ada"

    app.add_url_rule("/user", view_func=lambda: flask.g.user)
    with appcontext_pushed.connected_to(prepare, app):
        assert app.test_client().get("/user").text == "ada"


def test_connect_via_decorates_for_an_app(app: flask.Flask) -> None:
    seen: list[object] = []

    @request_started.connect_via(app)
    def note(sender: object, **extra: t.Any) -> None:
        seen.append(sender)

    other = new_shop(Signalpost)
    TestApp(other).get("/hello")
    TestApp(app).get("/hello")
    request_started.disconnect(note, app)
    TestApp(app).get("/hello")
    assert seen == [app]


def test_connected_to_holds_a_lambda_for_its_block(app: flask.Flask) -> None:
    seen: list[object] = []
    with template_rendered.connected_to(lambda sender, **_: seen.append(sender), app):
        TestApp(app).get("/template")
    TestApp(app).get("/template")
    assert seen == [app]


def test_an_app_can_be_sent_from_by_hand_as_with_flask(app: flask.Flask) -> None:
    seen: list[str] = []

    def record(sender: object, message: str, **extra: t.Any) -> None:
        seen.append(message)

    with message_flashed.connected_to(record, app):
        message_flashed.send(app, message="by hand", category="message")
    assert seen == ["by hand"]


@each_signal
def test_an_async_receiver_runs(app: flask.Flask, signal: NamedSignal) -> None:
    seen: list[object] = []

    async def note(sender: object, **extra: t.Any) -> None:
        seen.append(sender)

    with signal.connected_to(note, app):
        for name in ("template", "flash", "error"):
            visit(app, COURSES[name])
    assert set(seen) == {app}
    assert state_of(app).middleware.receiver_failures == 0


def test_sync_and_async_receivers_run_in_the_order_of_connection(
    app: flask.Flask,
) -> None:
    seen: list[str] = []

    async def second(sender: object) -> None:
        seen.append("second")

    with (
        request_started.connected_to(lambda sender: seen.append("first"), app),
        request_started.connected_to(second, app),
        request_started.connected_to(lambda sender: seen.append("third"), app),
    ):
        TestApp(app).get("/hello")
    assert seen == ["first", "second", "third"]


def test_an_async_view_sends_what_any_view_does(app: flask.Flask) -> None:
    async def view() -> str:
        flask.flash("saved")
        return flask.render_template_string("async")

    app.add_url_rule("/async", view_func=view)
    with capture(*ALL, sender=app) as sent:
        assert TestApp(app).get("/async").text == "async"
    for signal in (message_flashed, template_rendered, request_finished):
        assert len(sent_of(sent, signal)) == 1
    assert sent[-1]["exchange"].route == "/async"


def test_an_async_view_that_fails_sends_its_exception_once(app: flask.Flask) -> None:
    async def view() -> str:
        raise LookupError("late")

    app.add_url_rule("/async", view_func=view)
    with capture(got_request_exception, sender=app) as sent:
        TestApp(app).get("/async", status=500)
    assert [str(one["exception"]) for one in sent] == ["late"]


def test_an_async_view_and_an_async_receiver_work_together(app: flask.Flask) -> None:
    seen: list[str | None] = []

    async def view() -> str:
        return "async"

    async def note(sender: object, exchange: Exchange) -> None:
        seen.append(exchange.endpoint)

    app.add_url_rule("/async", view_func=view)
    with (
        request_started.connected_to(note, app),
        request_finished.connected_to(note, app),
        exchange_closed.connected_to(note, app),
    ):
        assert TestApp(app).get("/async").text == "async"
    assert seen == ["view"] * 3


def test_an_async_receiver_within_an_async_view_fails_alone(app: flask.Flask) -> None:
    async def view() -> str:
        flask.flash("saved")
        return "async"

    async def note(sender: object) -> None: ...

    app.add_url_rule("/async", view_func=view)
    with message_flashed.connected_to(note, app), capture(message_flashed) as sent:
        assert TestApp(app).get("/async").text == "async"
    assert len(sent) == 1
    # No event loop can be entered from within a running one.
    assert state_of(app).middleware.receiver_failures == 1
