from __future__ import annotations

import contextlib
import typing as t
from collections.abc import Callable
from collections.abc import Generator
from contextlib import contextmanager
from contextlib import ExitStack

import flask
import pytest
from werkzeug.local import LocalProxy

from signalpost import NamedSignal
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import appcontext_tearing_down
from signalpost.lifecycle import before_render_template
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import got_request_exception
from signalpost.lifecycle import request_finished
from signalpost.lifecycle import request_started
from signalpost.lifecycle import request_tearing_down
from signalpost.testing import capture
from tests.integrations.serving import ALL
from tests.integrations.serving import contexts
from tests.integrations.serving import expected
from tests.integrations.serving import FLASKS
from tests.integrations.serving import sent_of
from tests.integrations.serving import theirs
from tests.integrations.serving import visit
from tests.integrations.shop import Course
from tests.integrations.shop import COURSES
from tests.integrations.shop import each_course
from tests.integrations.shop import FLASK
from tests.integrations.shop import new_shop
from tests.wsgi.serving import environ_of
from tests.wsgi.serving import exchange_of
from tests.wsgi.serving import Server


@contextmanager
def noted(app: flask.Flask, *signals: t.Any) -> Generator[list[str]]:
    """Note each send by name, and which contexts its receivers run in."""
    steps: list[str] = []

    def note(name: str) -> Callable[..., None]:
        return lambda sender, **_: steps.append(f"{name} {contexts()}")

    with ExitStack() as stack:
        for signal in signals:
            stack.enter_context(signal.connected_to(note(signal.name), app))
        yield steps


def steps_of(course: Course, method: str = "GET") -> list[str]:
    """Record in order the signals of a request, and the calls of its server."""
    app = new_shop(course.prepare)
    Signalpost(app)
    server = Server()
    with noted(app, *ALL) as steps:

        def start_response(status: str, *others: t.Any) -> t.Any:
            steps.append(f"status {status[:3]}")
            return server.start_response(status, *others)

        with expected(course):
            body: t.Any = app(environ_of(course.path, method), start_response)
            try:
                steps.extend(f"chunk {chunk.decode()}" for chunk in body)
            finally:
                body.close()
    return steps


# Each step of a request, with the contexts that are there: r for the request's, a for
# the application's. From Flask 3.2 on, they are one.
APP = "ra" if FLASK >= (3, 2) else "-a"
OPENING = f"""
    exchange-opened --
    appcontext-pushed {APP}
    request-started ra
"""
TEARDOWN = f"""
    request-tearing-down ra
    appcontext-tearing-down {APP}
    appcontext-popped --
"""
# Flask 3.1.2 and 3.1.3 tear down before the body and push again for it.
TEARDOWN_BEFORE_A_STREAM_IN_CONTEXT = (
    f"{TEARDOWN} appcontext-pushed -a" if (3, 1, 2) <= FLASK < (3, 2) else ""
)
STEPS = {
    "plain": f"""
        {OPENING}
        request-finished ra
        status 200
        {TEARDOWN}
        chunk hello
        exchange-closed --
    """,
    "template": f"""
        {OPENING}
        before-render-template ra
        template-rendered ra
        request-finished ra
        status 200
        {TEARDOWN}
        chunk 2
        exchange-closed --
    """,
    "flash": f"""
        {OPENING}
        message-flashed ra
        request-finished ra
        status 200
        {TEARDOWN}
        chunk flashed
        exchange-closed --
    """,
    "error-handled": f"""
        {OPENING}
        request-finished ra
        status 418
        {TEARDOWN}
        chunk handled
        exchange-closed --
    """,
    "error-500-handled": f"""
        {OPENING}
        got-request-exception ra
        request-finished ra
        status 500
        {TEARDOWN}
        chunk sorry
        exchange-closed --
    """,
    "error-propagated": f"""
        {OPENING}
        got-request-exception ra
        {TEARDOWN}
        exchange-closed --
    """,
    "system-exit": f"""
        {OPENING}
        {TEARDOWN}
        got-request-exception --
        exchange-closed --
    """,
    "before-request-returns": f"""
        {OPENING}
        request-finished ra
        status 503
        {TEARDOWN}
        chunk not today
        exchange-closed --
    """,
    "stream": f"""
        {OPENING}
        request-finished ra
        status 200
        {TEARDOWN}
        chunk one
        chunk two
        exchange-closed --
    """,
    "stream-in-context": f"""
        {OPENING}
        request-finished ra
        status 200
        {TEARDOWN_BEFORE_A_STREAM_IN_CONTEXT}
        chunk one
        chunk two
        {TEARDOWN}
        exchange-closed --
    """,
    "stream-fails": f"""
        {OPENING}
        request-finished ra
        status 200
        {TEARDOWN}
        chunk one
        got-request-exception --
        exchange-closed --
    """,
}
# Their bodies are pages of Werkzeug's.
STEPS_BUT_FOR_THE_BODY = {
    "abort": f"""
        {OPENING}
        request-finished ra
        status 403
        {TEARDOWN}
        exchange-closed --
    """,
    "not-found": f"""
        {OPENING}
        request-finished ra
        status 404
        {TEARDOWN}
        exchange-closed --
    """,
    "error": f"""
        {OPENING}
        got-request-exception ra
        request-finished ra
        status 500
        {TEARDOWN}
        exchange-closed --
    """,
    "after-request-raises": f"""
        {OPENING}
        got-request-exception ra
        status 500
        {TEARDOWN}
        exchange-closed --
    """,
    "open-session-raises": f"""
        exchange-opened --
        appcontext-pushed {APP}
        got-request-exception ra
        status 500
        {TEARDOWN}
        exchange-closed --
    """,
}


def lines_of(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("name", STEPS)
def test_signals_keep_their_order(name: str) -> None:
    assert steps_of(COURSES[name]) == lines_of(STEPS[name])


@pytest.mark.parametrize("name", STEPS_BUT_FOR_THE_BODY)
def test_signals_keep_their_order_around_an_error_page(name: str) -> None:
    steps = steps_of(COURSES[name])
    assert [step for step in steps if not step.startswith("chunk")] == lines_of(
        STEPS_BUT_FOR_THE_BODY[name]
    )


def test_every_course_has_its_order() -> None:
    assert STEPS.keys() | STEPS_BUT_FOR_THE_BODY.keys() == COURSES.keys()


def test_a_head_request_keeps_the_order_of_a_get_request() -> None:
    by_get = steps_of(COURSES["plain"])
    by_head = steps_of(COURSES["plain"], "HEAD")
    assert by_head == [step for step in by_get if not step.startswith("chunk")]


def test_a_context_without_a_request_sends_its_own_three() -> None:
    app = new_shop()
    Signalpost(app)
    with noted(app, *ALL) as steps, app.app_context():
        pass
    assert steps == [
        "appcontext-pushed -a",
        "appcontext-tearing-down -a",
        "appcontext-popped --",
    ]


@each_course
def test_ours_comes_with_flasks_and_in_the_same_contexts(course: Course) -> None:
    app = new_shop(course.prepare)
    Signalpost(app)
    both = [signal for ours in FLASKS for signal in (ours, theirs(ours))]
    with noted(app, *both) as steps:
        visit(app, course)
    # Only the middleware sees an exception that bypasses Flask.
    if course in (COURSES["system-exit"], COURSES["stream-fails"]):
        steps.remove("got-request-exception --")
    assert steps
    assert steps[::2] == steps[1::2]


@pytest.mark.parametrize("signal", FLASKS, ids=lambda one: one.name)
def test_the_sender_is_the_application_itself(signal: NamedSignal) -> None:
    app = new_shop()
    Signalpost(app)
    with capture(signal) as sent:
        for name in ("template", "flash", "error"):
            visit(app, COURSES[name])
    assert {id(one.sender) for one in sent} == {id(app)}
    assert not isinstance(sent[0].sender, LocalProxy)


@pytest.mark.parametrize("signal", FLASKS, ids=lambda one: one.name)
def test_the_payload_holds_what_flask_sends(signal: NamedSignal) -> None:
    app = new_shop()
    Signalpost(app)
    by_flask: list[dict[str, t.Any]] = []

    def keep(sender: object, **payload: t.Any) -> None:
        payload.pop("_async_wrapper", None)
        by_flask.append(payload)

    with theirs(signal).connected_to(keep, app), capture(signal) as sent:
        for name in ("template", "flash", "error", "error-handled"):
            visit(app, COURSES[name])
    assert sent
    for one, same in zip(sent, by_flask, strict=True):
        assert {**one.payload, **same} == one.payload


def test_exc_is_the_unhandled_exception() -> None:
    app = new_shop()
    Signalpost(app)
    with capture(*FLASKS, sender=app) as sent:
        visit(app, COURSES["error"])
    (failed,) = sent_of(sent, got_request_exception)
    for signal in (request_tearing_down, appcontext_tearing_down):
        assert [one["exc"] for one in sent_of(sent, signal)] == [failed["exception"]]


def test_exc_is_none_if_the_error_was_handled() -> None:
    app = new_shop(COURSES["error-handled"].prepare)
    Signalpost(app)
    with capture(request_tearing_down, appcontext_tearing_down) as sent:
        visit(app, COURSES["error-handled"])
    assert [one["exc"] for one in sent] == [None, None]


def test_a_receiver_may_add_to_a_templates_context() -> None:
    app = flask.Flask(__name__)
    app.add_url_rule("/", view_func=lambda: flask.render_template_string("{{ who }}"))
    Signalpost(app)

    def add(sender: object, context: dict[str, t.Any]) -> None:
        context["who"] = "the receiver"

    with before_render_template.connected_to(add, app):
        assert app.test_client().get("/").text == "the receiver"


def test_a_receiver_may_change_the_response_before_it_is_sent() -> None:
    app = new_shop()
    Signalpost(app)

    def mark(sender: object, response: flask.Response) -> None:
        response.headers["X-Marked"] = "yes"

    with request_finished.connected_to(mark, app):
        answer = app.test_client().get("/hello")
    assert answer.headers["X-Marked"] == "yes"


def test_a_status_set_in_request_finished_is_sent_and_recorded() -> None:
    app = new_shop()
    Signalpost(app)

    def mark(sender: object, response: flask.Response) -> None:
        response.status_code = 418

    with (
        request_finished.connected_to(mark, app),
        capture(exchange_closed, sender=app) as sent,
    ):
        assert app.test_client().get("/hello", buffered=True).status_code == 418
    assert sent[0]["exchange"].status == 418


def test_the_route_is_known_when_the_request_starts() -> None:
    app = new_shop()
    Signalpost(app)
    routes: list[str | None] = []

    def note(sender: object, exchange: t.Any) -> None:
        routes.append(exchange.route)

    with request_started.connected_to(note, app):
        app.test_client().get("/items/3")
    assert routes == ["/items/<int:number>"]


def test_no_before_request_function_has_run_when_the_request_starts() -> None:
    app = new_shop()
    Signalpost(app)
    steps: list[str] = []
    app.before_request(lambda: steps.append("before_request"))
    with request_started.connected_to(lambda sender: steps.append("started"), app):
        app.test_client().get("/hello")
    assert steps == ["started", "before_request"]


def fail_to_open(*_: object) -> t.NoReturn:
    raise LookupError("no session")


@pytest.mark.parametrize("path", ["/hello", "/no-such-page", "/stream"])
def test_an_exchange_has_started_without_a_receiver_of_that(path: str) -> None:
    app = new_shop(Signalpost)
    with capture(exchange_closed, sender=app) as sent:
        Server().serve(app, path=path)
    assert exchange_of(sent).has_started


@pytest.mark.parametrize("propagates", [False, True])
def test_an_exchange_whose_view_fails_has_started(propagates: bool) -> None:
    app = flask.Flask("shop")
    app.config["PROPAGATE_EXCEPTIONS"] = propagates
    Signalpost(app)
    app.add_url_rule("/", view_func=fail_to_open)
    with capture(exchange_closed, sender=app) as sent, contextlib.suppress(LookupError):
        Server().serve(app)
    assert exchange_of(sent).has_started
    assert exchange_of(sent).route == "/"


@pytest.mark.parametrize("propagates", [False, True])
def test_an_exchange_without_a_session_has_not_started(
    propagates: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = flask.Flask("shop")
    app.config["PROPAGATE_EXCEPTIONS"] = propagates
    Signalpost(app)
    app.add_url_rule("/", view_func=lambda: "hello")
    monkeypatch.setattr(app.session_interface, "open_session", fail_to_open)
    with (
        capture(exchange_closed, request_started, sender=app) as sent,
        contextlib.suppress(LookupError),
    ):
        Server().serve(app)
    assert sent_of(sent, request_started) == []
    assert not exchange_of(sent).has_started
