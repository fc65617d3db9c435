"""Applications that call themselves: each call has its own record."""

from __future__ import annotations

import contextlib
import typing as t
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import flask
import pytest
from werkzeug.exceptions import NotFound
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.test import run_wsgi_app

from signalpost import SignalMiddleware
from signalpost.exchange import Exchange
from signalpost.exchange import EXCHANGE_KEY
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import EXCHANGE_SIGNALS
from signalpost.lifecycle import got_request_exception
from signalpost.lifecycle import request_finished
from signalpost.lifecycle import request_started
from signalpost.testing import capture
from signalpost.testing import Sent
from tests.wsgi.serving import exchange_of
from tests.wsgi.serving import hello
from tests.wsgi.serving import names
from tests.wsgi.serving import Server

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

ALL = ["exchange-opened", "request-started", "request-finished", "exchange-closed"]
FAILED = [*ALL[:2], "got-request-exception", *ALL[2:]]

Prepare = Callable[[flask.Flask], "WSGIApplication"]


class Environ(dict[str, t.Any]):
    """A dict of an application's own."""


def as_it_is(environ: WSGIEnvironment) -> WSGIEnvironment:
    environ["PATH_INFO"] = "/items/3"
    return environ


def copied(environ: WSGIEnvironment) -> WSGIEnvironment:
    return {**environ, "PATH_INFO": "/items/3"}


def of_a_subclass(environ: WSGIEnvironment) -> WSGIEnvironment:
    return Environ(copied(environ))


each_environ = pytest.mark.parametrize("environ_for", [copied, of_a_subclass, as_it_is])


def by_extension(app: flask.Flask) -> WSGIApplication:
    Signalpost(app)
    return app


def by_layer(app: flask.Flask) -> WSGIApplication:
    app.wsgi_app = SignalMiddleware(app)  # type: ignore[method-assign]
    return app


def by_both(app: flask.Flask) -> WSGIApplication:
    Signalpost(app)
    return SignalMiddleware(app)


def by_both_with_a_generator(app: flask.Flask) -> WSGIApplication:
    Signalpost(app)
    inner = app.wsgi_app

    def lazily(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterator[bytes]:
        yield from inner(environ, start_response)

    app.wsgi_app = lazily  # type: ignore[method-assign]
    return SignalMiddleware(app)


each_layer = pytest.mark.parametrize(
    "prepare", [by_extension, by_layer, by_both, by_both_with_a_generator]
)


def new_app() -> flask.Flask:
    app = flask.Flask(__name__)
    app.add_url_rule("/items/<int:number>", "item", lambda number: f"item {number}")
    app.add_url_rule("/fail", "fail", fail)
    app.config["PROPAGATE_EXCEPTIONS"] = False
    return app


def fail() -> t.NoReturn:
    raise LookupError("no such thing")


def redirect_with(
    app: flask.Flask, environ_for: Callable[[WSGIEnvironment], WSGIEnvironment]
) -> None:
    """Give an application a page that another one of its pages answers."""

    def redirect() -> t.Any:
        environ = environ_for(flask.request.environ)
        return flask.Response.from_app(app.wsgi_app, environ, buffered=True)

    app.add_url_rule("/redirect", "redirect", redirect)


def served(
    app: flask.Flask, called: WSGIApplication, path: str
) -> tuple[bytes, list[Sent]]:
    with capture(*EXCHANGE_SIGNALS, sender=app) as sent:
        body = Server().serve(called, path=path)
    return body, sent


def of(exchange: Exchange, sent: list[Sent]) -> list[str]:
    return names([one for one in sent if one["exchange"] is exchange])


@each_layer
@each_environ
def test_a_redirect_inside_has_an_exchange_of_its_own(
    environ_for: Callable[[WSGIEnvironment], WSGIEnvironment], prepare: Prepare
) -> None:
    app = new_app()
    redirect_with(app, environ_for)
    body, sent = served(app, prepare(app), "/redirect")
    assert body == b"item 3"
    inner, outer = (one["exchange"] for one in sent if one.signal is exchange_closed)
    assert sent[0]["exchange"] is outer
    assert (of(outer, sent), of(inner, sent)) == (ALL, ALL)
    assert (outer.path, outer.route, outer.endpoint) == (
        "/redirect",
        "/redirect",
        "redirect",
    )
    assert (inner.path, inner.route) == ("/items/3", "/items/<int:number>")
    assert [one.status for one in (inner, outer)] == [200, 200]
    assert [one.body_bytes for one in (inner, outer)] == [6, 6]
    assert [one.outcome for one in (inner, outer)] == ["complete", "complete"]


@each_layer
def test_the_route_of_a_redirect_is_known_when_its_request_starts(
    prepare: Prepare,
) -> None:
    app = new_app()
    redirect_with(app, as_it_is)
    called = prepare(app)
    seen: list[tuple[str, str | None]] = []

    def note(sender: object, exchange: Exchange) -> None:
        seen.append((exchange.path, exchange.route))

    with request_finished.connected_to(note, app):
        Server().serve(called, path="/redirect")
    assert seen == [("/items/3", "/items/<int:number>"), ("/redirect", "/redirect")]


@each_layer
def test_a_batch_has_an_exchange_for_each_of_its_requests(prepare: Prepare) -> None:
    app = new_app()

    def batch() -> dict[str, t.Any]:
        answers = []
        for path in ("/items/1", "/fail", "/nothing", "/items/2"):
            environ = {**flask.request.environ, "PATH_INFO": path}
            _, status, _ = run_wsgi_app(app.wsgi_app, environ, buffered=True)
            answers.append(status)
        return {"answers": answers}

    app.add_url_rule("/batch", "batch", batch)
    _, sent = served(app, prepare(app), "/batch")
    closed = [one["exchange"] for one in sent if one.signal is exchange_closed]
    assert [(one.path, one.status) for one in closed] == [
        ("/items/1", 200),
        ("/fail", 500),
        ("/nothing", 404),
        ("/items/2", 200),
        ("/batch", 200),
    ]
    assert of(closed[-1], sent) == ALL
    if prepare is not by_layer:  # which sees no exception that Flask handles
        assert of(closed[1], sent) == FAILED
        raised = [type(one.exception) for one in closed]
        assert raised == [type(None), LookupError, *[type(None)] * 3]


@each_layer
def test_a_batch_that_is_streamed_has_an_exchange_for_each_request(
    prepare: Prepare,
) -> None:
    app = new_app()

    def batch() -> flask.Response:
        environ = flask.request.environ

        def answers() -> Iterator[bytes]:
            for number in range(3):
                inner = {**environ, "PATH_INFO": f"/items/{number}"}
                body, _, _ = run_wsgi_app(app.wsgi_app, inner, buffered=True)
                yield from body

        return flask.Response(answers())

    app.add_url_rule("/batch", "batch", batch)
    body, sent = served(app, prepare(app), "/batch")
    assert body == b"item 0item 1item 2"
    closed = [one["exchange"] for one in sent if one.signal is exchange_closed]
    paths = ["/items/0", "/items/1", "/items/2", "/batch"]
    assert [one.path for one in closed] == paths
    assert [one.body_bytes for one in closed] == [6, 6, 6, 18]


@each_layer
def test_a_request_made_in_another_thread_has_an_exchange_of_its_own(
    prepare: Prepare,
) -> None:
    app = new_app()

    def elsewhere() -> bytes:
        environ = copied(flask.request.environ)
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(run_wsgi_app, app.wsgi_app, environ, buffered=True)
            return b"".join(call.result(30)[0])

    app.add_url_rule("/elsewhere", "elsewhere", elsewhere)
    body, sent = served(app, prepare(app), "/elsewhere")
    assert body == b"item 3"
    closed = [one["exchange"] for one in sent if one.signal is exchange_closed]
    assert [one.path for one in closed] == ["/items/3", "/elsewhere"]


@each_layer
def test_an_error_page_that_is_a_page_of_the_application_keeps_its_own_record(
    prepare: Prepare,
) -> None:
    app = new_app()

    @app.errorhandler(404)
    def answer(error: NotFound) -> t.Any:
        environ = copied(flask.request.environ)
        response = flask.Response.from_app(app.wsgi_app, environ, buffered=True)
        response.status_code = 404
        return response

    body, sent = served(app, prepare(app), "/nothing")
    assert body == b"item 3"
    closed = [one["exchange"] for one in sent if one.signal is exchange_closed]
    assert [(one.path, one.route, one.status) for one in closed] == [
        ("/items/3", "/items/<int:number>", 200),
        ("/nothing", None, 404),
    ]


def test_a_request_within_a_request_within_a_request_has_three_exchanges() -> None:
    app = new_app()

    def nested(depth: int) -> t.Any:
        if not depth:
            return "bottom"
        environ = {**flask.request.environ, "PATH_INFO": f"/nested/{depth - 1}"}
        return flask.Response.from_app(app.wsgi_app, environ)

    app.add_url_rule("/nested/<int:depth>", "nested", nested)
    body, sent = served(app, by_extension(app), "/nested/2")
    assert body == b"bottom"
    closed = [one["exchange"] for one in sent if one.signal is exchange_closed]
    assert [one.path for one in closed] == ["/nested/0", "/nested/1", "/nested/2"]


def test_an_exception_that_leaves_both_calls_is_on_both_exchanges() -> None:
    app = new_app()
    app.config["PROPAGATE_EXCEPTIONS"] = True

    def redirect() -> t.Any:
        environ = {**flask.request.environ, "PATH_INFO": "/fail"}
        return flask.Response.from_app(app.wsgi_app, environ)

    app.add_url_rule("/redirect", "redirect", redirect)
    Signalpost(app)
    with (
        capture(got_request_exception, exchange_closed, sender=app) as sent,
        contextlib.suppress(LookupError),
    ):
        Server().serve(app, path="/redirect")
    assert names(sent) == ["got-request-exception", "exchange-closed"] * 2
    inner, outer = sent[1]["exchange"], sent[3]["exchange"]
    assert (inner.path, outer.path) == ("/fail", "/redirect")
    assert inner.exception is outer.exception


def test_an_environment_kept_after_the_close_leads_to_no_closed_exchange() -> None:
    app = new_app()
    kept: list[WSGIEnvironment] = []

    def keep() -> str:
        kept.append(copied(flask.request.environ))
        return "kept"

    app.add_url_rule("/keep", "keep", keep)
    Signalpost(app)
    served(app, app, "/keep")
    assert EXCHANGE_KEY in kept[0]
    with capture(exchange_closed, sender=app) as sent:
        run_wsgi_app(app.wsgi_app, kept[0], buffered=True)
    assert (exchange_of(sent).path, exchange_of(sent).outer) == ("/items/3", None)


class Retrying:
    """A middleware that asks the application a second time."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        body: t.Any = self._app(environ, start_response)
        with contextlib.suppress(AttributeError):
            body.close()
        return self._app({**environ, "PATH_INFO": "/items/2"}, start_response)


def test_a_middleware_between_two_layers_may_call_the_application_again() -> None:
    app = new_app()
    Signalpost(app)
    called = SignalMiddleware(Retrying(app.wsgi_app), sender=app)
    body, sent = served(app, called, "/items/1")
    assert body == b"item 2"
    assert len([one for one in sent if one.signal is exchange_closed]) == 1


def test_a_plain_application_that_calls_itself_has_two_records() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
        if environ["PATH_INFO"] == "/":
            return hello(environ, start_response)
        inner = {**environ, "PATH_INFO": "/"}
        return [b"".join(run_wsgi_app(layer, inner)[0]), *hello(inner, start_response)]

    layer = SignalMiddleware(app)
    with capture(request_started, exchange_closed, sender=app) as sent:
        assert Server().serve(layer, path="/redirect") == b"hellohello"
    closed = [one["exchange"] for one in sent if one.signal is exchange_closed]
    assert [(one.path, one.body_bytes) for one in closed] == [
        ("/", 5),
        ("/redirect", 10),
    ]


def test_a_call_within_goes_through_what_was_put_around_later() -> None:
    app = new_app()
    layer = SignalMiddleware(app)
    app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
    app.add_url_rule("/address", "address", lambda: flask.request.remote_addr or "")

    def outer() -> flask.Response:
        environ = {**flask.request.environ, "PATH_INFO": "/address"}
        return flask.Response.from_app(layer, environ, buffered=True)  # type: ignore[return-value]

    app.add_url_rule("/outer", "outer", outer)
    for path in ("/outer", "/outer", "/address"):
        body = Server().serve(layer, path=path, HTTP_X_FORWARDED_FOR="192.0.2.9")
        assert body == b"192.0.2.9"
