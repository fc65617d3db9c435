from __future__ import annotations

import gc
import time
import typing as t
import weakref
from collections.abc import Generator
from wsgiref.validate import validator

import flask
import pytest
from webtest import TestApp
from werkzeug import Response
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from signalpost.exchange import Exchange
from signalpost.exchange import EXCHANGE_KEY
from signalpost.exchange import ExchangeOutcome
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import exchange_opened
from signalpost.lifecycle import EXCHANGE_SIGNALS
from signalpost.lifecycle import got_request_exception
from signalpost.lifecycle import request_finished
from signalpost.lifecycle import request_started
from signalpost.lifecycle import template_rendered
from signalpost.testing import capture
from tests.integrations.serving import exchange_for
from tests.integrations.serving import response_of
from tests.integrations.serving import sent_of
from tests.integrations.serving import visit
from tests.integrations.shop import Course
from tests.integrations.shop import COURSES
from tests.integrations.shop import each_course
from tests.integrations.shop import new_shop
from tests.integrations.shop import until_one_context
from tests.wsgi.serving import environ_of
from tests.wsgi.serving import exchange_of
from tests.wsgi.serving import Server


def close(body: t.Any) -> None:
    body.close()


STATUS: dict[str, tuple[int | None, ExchangeOutcome]] = {
    "plain": (200, "complete"),
    "not-found": (404, "complete"),
    "template": (200, "complete"),
    "flash": (200, "complete"),
    "abort": (403, "complete"),
    "error": (500, "complete"),
    "error-handled": (418, "complete"),
    "error-500-handled": (500, "complete"),
    "error-propagated": (None, "error"),
    "system-exit": (None, "error"),
    "before-request-returns": (503, "complete"),
    "after-request-raises": (500, "complete"),
    "open-session-raises": (500, "complete"),
    "stream": (200, "complete"),
    "stream-in-context": (200, "complete"),
    "stream-fails": (200, "error"),
}


@pytest.mark.parametrize("name", COURSES)
def test_status_and_outcome_show_how_a_request_ended(name: str) -> None:
    exchange = exchange_for(COURSES[name])
    assert (exchange.status, exchange.outcome) == STATUS[name]


EXCEPTIONS: dict[str, type[BaseException]] = {
    "error": LookupError,
    "error-500-handled": LookupError,
    "error-propagated": LookupError,
    "system-exit": SystemExit,
    "after-request-raises": LookupError,
    "open-session-raises": ConnectionError,
    "stream-fails": LookupError,
}


@pytest.mark.parametrize("name", COURSES)
def test_an_exception_is_recorded_though_only_the_close_is_received(name: str) -> None:
    exception = exchange_for(COURSES[name]).exception
    assert type(exception) is EXCEPTIONS.get(name, type(None))


@each_course
def test_each_exchange_that_opens_closes_once(course: Course) -> None:
    app = new_shop(course.prepare)
    Signalpost(app)
    with capture(exchange_opened, exchange_closed, sender=app) as sent:
        visit(app, course)
        visit(app, course)
    assert [one.signal for one in sent] == [exchange_opened, exchange_closed] * 2
    assert sent[0]["exchange"] is sent[1]["exchange"]
    assert sent[2]["exchange"] is sent[3]["exchange"]


@each_course
def test_all_signals_of_a_request_carry_one_exchange(course: Course) -> None:
    app = new_shop(course.prepare)
    Signalpost(app)
    with capture(*EXCHANGE_SIGNALS, sender=app) as sent:
        visit(app, course)
    assert len({id(one["exchange"]) for one in sent}) == 1


@each_course
def test_nothing_is_left_in_the_environ(course: Course) -> None:
    app = new_shop(course.prepare)
    Signalpost(app)
    environs: list[dict[str, t.Any]] = []

    def keep(sender: object, environ: dict[str, t.Any]) -> None:
        assert EXCHANGE_KEY in environ
        environs.append(environ)

    with exchange_closed.connected_to(keep, app):
        visit(app, course)
    assert len(environs) == 1
    assert EXCHANGE_KEY not in environs[0]


@pytest.mark.parametrize("path", ["/stream", "/stream-in-context"])
@pytest.mark.parametrize("chunks_read", [0, 1])
def test_a_stream_that_is_closed_early_is_aborted(path: str, chunks_read: int) -> None:
    app = new_shop()
    Signalpost(app)
    with capture(*EXCHANGE_SIGNALS, sender=app) as sent:
        body: t.Any = Server().call(app, path=path)
        chunks = iter(body)
        for _ in range(chunks_read):
            next(chunks)
        body.close()
    exchange = exchange_of(sent)
    assert exchange.outcome == "aborted"
    assert exchange.body_bytes == 3 * chunks_read
    assert len(sent_of(sent, exchange_closed)) == 1
    assert sent_of(sent, got_request_exception) == []


def test_the_duration_covers_the_body() -> None:
    app = new_shop()
    Signalpost(app)
    opened: list[float] = []

    def note(sender: object) -> None:
        opened.append(time.perf_counter())

    with exchange_opened.connected_to(note, app), capture(exchange_closed) as sent:
        body: t.Any = Server().call(app, path="/stream")
        chunks = iter(body)
        called = time.perf_counter()
        assert list(chunks) == [b"one", b"two"]
        read = time.perf_counter()
        body.close()
    exchange = exchange_of(sent)
    assert exchange.duration_seconds is not None
    assert exchange.duration_seconds >= read - opened[0]
    assert exchange.seconds_to_first_byte is not None
    assert exchange.seconds_to_first_byte >= called - opened[0]


def test_times_are_in_order() -> None:
    exchange = exchange_for(COURSES["stream"])
    times = [
        exchange.seconds_to_headers,
        exchange.seconds_to_first_byte,
        exchange.duration_seconds,
    ]
    known = [one for one in times if one is not None]
    assert len(known) == 3
    assert known == sorted(known)
    assert known[0] > 0


@pytest.mark.parametrize(
    ("name", "count"),
    [("plain", 5), ("stream", 6), ("stream-in-context", 6), ("stream-fails", 3)],
)
def test_the_bytes_of_a_body_are_counted(name: str, count: int) -> None:
    exchange = exchange_for(COURSES[name])
    assert (exchange.body_bytes, exchange.body_bytes_exact) == (count, True)


@pytest.mark.parametrize("name", ["plain", "stream", "stream-in-context"])
def test_a_head_request_is_complete_without_a_byte(name: str) -> None:
    exchange = exchange_for(COURSES[name], "HEAD")
    assert (exchange.method, exchange.status) == ("HEAD", 200)
    assert (exchange.outcome, exchange.body_bytes) == ("complete", 0)
    assert exchange.seconds_to_first_byte is None


def test_an_invented_method_is_no_label() -> None:
    exchange = exchange_for(COURSES["plain"], "BREW")
    assert (exchange.method, exchange.status) == ("_OTHER", 405)


def test_an_environ_that_is_used_again_gets_a_new_exchange() -> None:
    app = new_shop()
    Signalpost(app)
    environ = environ_of("/hello")
    with capture(exchange_closed, sender=app) as sent:
        for _ in range(2):
            close(app(environ, Server().start_response))
    assert len({id(one["exchange"]) for one in sent}) == 2


def test_an_environ_is_recorded_again_after_a_connect_in_mid_request() -> None:
    app = new_shop()
    Signalpost(app)

    def note(sender: object) -> None: ...

    @app.before_request
    def connect() -> None:
        request_finished.connect(note, app)

    environ = environ_of("/hello")
    close(app(environ, Server().start_response))
    with capture(exchange_closed, sender=app) as sent:
        close(app(environ, Server().start_response))
    assert len(sent) == 1


def test_each_mounted_application_closes_its_own_exchange() -> None:
    root, mounted = new_shop(Signalpost), new_shop(Signalpost)
    site = DispatcherMiddleware(root, {"/shop": mounted})
    with capture(request_started, exchange_closed) as sent:
        TestApp(site).get("/hello")
        TestApp(site).get("/shop/hello")
    assert [one.sender for one in sent] == [root, root, mounted, mounted]
    assert [one["exchange"].route for one in sent_of(sent, exchange_closed)] == [
        "/hello",
        "/shop/hello",
    ]


def test_an_application_called_by_a_view_has_an_exchange_within_the_views() -> None:
    inner, outer = new_shop(Signalpost), new_shop(Signalpost)

    def forward() -> Response:
        return Response.from_app(inner, environ_of("/hello"))

    outer.add_url_rule("/forward", view_func=forward)
    with capture(exchange_opened, exchange_closed) as sent:
        assert TestApp(outer).get("/forward").text == "hello"
    assert [one.sender for one in sent_of(sent, exchange_opened)] == [outer, inner]
    assert [one["exchange"].route for one in sent_of(sent, exchange_closed)] == [
        "/hello",
        "/forward",
    ]


def test_an_application_that_shares_its_callers_environ_does_not_mix() -> None:
    inner, outer = new_shop(Signalpost), new_shop(Signalpost)

    def forward() -> Response:
        return Response.from_app(inner, flask.request.environ)

    outer.add_url_rule("/no-such-page", view_func=forward)
    with capture(exchange_closed) as sent:
        TestApp(outer).get("/no-such-page", status=404)
    assert [one.sender for one in sent] == [inner, outer]
    assert [one["exchange"].route for one in sent] == [None, "/no-such-page"]


def test_a_request_within_a_request_has_an_exchange_of_its_own() -> None:
    app = new_shop()
    Signalpost(app)
    with capture(*EXCHANGE_SIGNALS, sender=app) as sent:
        assert TestApp(app).get("/ask-itself").text == "hello inside"
    assert [(one.signal, one["exchange"].path) for one in sent] == [
        (exchange_opened, "/ask-itself"),
        (request_started, "/ask-itself"),
        (exchange_opened, "/hello"),
        (request_started, "/hello"),
        (request_finished, "/hello"),
        (exchange_closed, "/hello"),
        (request_finished, "/ask-itself"),
        (exchange_closed, "/ask-itself"),
    ]
    inner, outer = (one["exchange"] for one in sent_of(sent, exchange_closed))
    assert (inner.route, inner.body_bytes) == ("/hello", 5)
    assert (outer.route, outer.body_bytes) == ("/ask-itself", 12)


def test_a_receiver_of_flasks_moments_finds_the_exchange_of_its_request() -> None:
    app = new_shop()
    Signalpost(app)
    found: list[object] = []

    def find(sender: object) -> None:
        found.append(flask.request.environ[EXCHANGE_KEY])

    with template_rendered.connected_to(find, app), capture(exchange_closed) as sent:
        TestApp(app).get("/template")
    assert found == [exchange_of(sent)]


@until_one_context
def test_a_request_dispatched_without_wsgi_still_starts_and_finishes() -> None:
    app = new_shop()
    Signalpost(app)
    with (
        capture(*EXCHANGE_SIGNALS, sender=app) as sent,
        app.test_request_context("/hello"),
    ):
        assert app.full_dispatch_request().data == b"hello"
    assert [one.signal for one in sent] == [request_started, request_finished]
    assert sent[0]["exchange"] is sent[1]["exchange"]
    assert sent[0]["exchange"].route == "/hello"


def test_a_receiver_connected_in_mid_request_receives_its_end() -> None:
    app = new_shop()
    Signalpost(app)
    routes: list[str | None] = []

    def note(sender: object, exchange: Exchange) -> None:
        routes.append(exchange.route)

    def connect() -> str:
        request_finished.connect(note, app)
        return "connected"

    app.add_url_rule("/connect", view_func=connect)
    assert TestApp(app).get("/connect").text == "connected"
    assert routes == ["/connect"]


def test_a_server_and_flask_get_what_pep_3333_promises() -> None:
    app = new_shop()
    app.wsgi_app = validator(app.wsgi_app)  # type: ignore[assignment,method-assign]  # as Flask's docs do
    Signalpost(app)
    site = validator(app)
    with capture(*EXCHANGE_SIGNALS, sender=app) as sent:
        for name in ("plain", "stream", "stream-in-context", "error", "not-found"):
            server = Server()
            server.serve(site, path=COURSES[name].path, SCRIPT_NAME="", QUERY_STRING="")
            assert server.status.startswith(str(STATUS[name][0]))
    assert len(sent_of(sent, exchange_closed)) == 5


@each_course
def test_a_response_is_the_same_with_receivers(course: Course) -> None:
    bare, received = new_shop(course.prepare), new_shop(course.prepare)
    Signalpost(received)
    without = visit(bare, course)
    with capture(*EXCHANGE_SIGNALS, sender=received):
        with_us = visit(received, course)
    assert response_of(with_us) == response_of(without)


def test_without_receivers_the_response_object_is_left_alone() -> None:
    app = new_shop()
    plain = new_shop()
    Signalpost(app)
    body = app(environ_of("/stream"), Server().start_response)
    same = plain(environ_of("/stream"), Server().start_response)
    assert type(body) is type(same)
    close(body)
    close(same)


@pytest.fixture
def no_collector() -> Generator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
@each_course
def test_an_exchange_is_freed_as_soon_as_it_is_closed(course: Course) -> None:
    app = new_shop(course.prepare)
    Signalpost(app)
    kept: list[weakref.ref[Exchange]] = []

    def remember(sender: object, exchange: Exchange) -> None:
        kept.append(weakref.ref(exchange))

    with exchange_closed.connected_to(remember, app):
        visit(app, course)
    assert len(kept) == 1
    assert kept[0]() is None
