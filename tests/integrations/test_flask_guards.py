"""Receivers that refuse a request, as those of Flask's own signals do."""

from __future__ import annotations

import contextvars
import logging
import typing as t
from collections.abc import Callable
from collections.abc import Iterable

import flask
import pytest
from werkzeug.exceptions import Forbidden
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix

from signalpost import NamedSignal
from signalpost import SignalMiddleware
from signalpost.exchange import Exchange
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import exchange_opened
from signalpost.lifecycle import got_request_exception
from signalpost.lifecycle import request_finished
from signalpost.lifecycle import request_started
from signalpost.testing import capture
from tests.integrations.serving import FLASKS
from tests.integrations.serving import response_of
from tests.integrations.serving import sent_of
from tests.integrations.serving import state_of
from tests.integrations.serving import theirs
from tests.integrations.serving_socket import served_by_werkzeug
from tests.integrations.shop import COURSES
from tests.integrations.shop import new_shop
from tests.wsgi.serving import exchange_of
from tests.wsgi.serving import Server

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

Guard = Callable[..., t.Any]


class RefusalError(Exception):
    """An exception of the application's own, for which it has an error handler."""


def guard(sender: object, **extra: t.Any) -> None:
    flask.abort(403)


async def async_guard(sender: object, **extra: t.Any) -> None:
    flask.abort(403)


def redirecting_guard(sender: object, **extra: t.Any) -> None:
    flask.abort(flask.redirect("/login"))


def own_guard(sender: object, **extra: t.Any) -> None:
    raise RefusalError


def new_safe(
    *,
    is_strict: bool = False,
    around: Callable[[WSGIApplication], t.Any] = lambda app: app,
) -> tuple[flask.Flask, list[str]]:
    """Return an application, and the list of its secrets that were served."""
    app = new_shop()
    app.config["SIGNALPOST_STRICT"] = is_strict
    served: list[str] = []

    def secret() -> str:
        served.append("the secret")
        return "the secret"

    app.add_url_rule("/secret", view_func=secret)
    app.register_error_handler(RefusalError, lambda _: ("refused", 451))
    app.register_error_handler(403, lambda _: ("forbidden here", 403))
    app.wsgi_app = around(app.wsgi_app)  # type: ignore[method-assign]
    Signalpost(app)
    return app, served


def of_a_request(app: flask.Flask, path: str) -> tuple[object, ...]:
    """Return what the server gets, or the kind of exception that it gets instead."""
    server = Server()
    try:
        server.serve(app, path=path)
    # A group, for some signals of Flask 3.2.
    except Exception as error:  # noqa: BLE001  # that is the question
        return type(error), server.written
    return response_of(server)


each_guard = pytest.mark.parametrize("guard", [guard, async_guard])


@each_guard
@pytest.mark.parametrize("is_strict", [False, True])
def test_a_guard_refuses_the_request(guard: Guard, *, is_strict: bool) -> None:
    app, served = new_safe(is_strict=is_strict)
    with (
        request_started.connected_to(guard, app),
        capture(request_finished, got_request_exception, exchange_closed) as sent,
    ):
        response = app.test_client().get("/secret", buffered=True)
    assert (response.status_code, response.text) == (403, "forbidden here")
    assert served == []
    assert [one.signal for one in sent] == [request_finished, exchange_closed]
    exchange = exchange_of(sent)
    assert (exchange.status, exchange.outcome) == (403, "complete")
    assert (exchange.exception, exchange.route) == (None, "/secret")


def test_a_guard_refuses_the_request_of_a_real_client() -> None:
    app, served = new_safe()
    with (
        request_started.connected_to(guard, app),
        served_by_werkzeug(app) as client,
        client.asking("/secret") as response,
    ):
        assert (response.status, response.read()) == (403, b"forbidden here")
    assert served == []


def test_a_guard_that_refuses_is_no_failure_of_a_receiver(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app, _ = new_safe()
    with request_started.connected_to(guard, app):
        app.test_client().get("/secret")
    assert state_of(app).middleware.receiver_failures == 0
    assert caplog.records == []


def test_a_guard_may_refuse_by_a_response_of_its_own() -> None:
    app, served = new_safe()
    with request_started.connected_to(redirecting_guard, app):
        response = app.test_client().get("/secret")
    assert (response.status_code, response.location, served) == (302, "/login", [])


@pytest.mark.parametrize("signal", FLASKS, ids=lambda one: one.name)
@each_guard
def test_a_guard_does_what_it_does_with_flasks_own_signal(
    signal: NamedSignal, guard: Guard
) -> None:
    names = {"message-flashed": "flash", "got-request-exception": "error"}
    path = COURSES[names.get(signal.name, "template")].path
    bare, ours = new_shop(), new_shop(Signalpost)
    # Flask 3.1 leaves a context pushed when a receiver of appcontext_pushed raises.
    with theirs(signal).connected_to(guard, bare):
        without_us = contextvars.copy_context().run(of_a_request, bare, path)
    with signal.connected_to(guard, ours):
        with_us = contextvars.copy_context().run(of_a_request, ours, path)
    assert with_us == without_us
    assert with_us != of_a_request(ours, path)


def test_receivers_before_a_guard_are_called_and_those_after_it_are_not() -> None:
    app, _ = new_safe()
    called: list[str] = []
    with (
        request_started.connected_to(lambda sender: called.append("before"), app),
        request_started.connected_to(guard, app),
        request_started.connected_to(lambda sender: called.append("after"), app),
        request_started.connected_to(
            lambda sender: called.append("first"), app, priority=1
        ),
    ):
        app.test_client().get("/secret")
    assert called == ["first", "before"]


@pytest.mark.parametrize("raised", [RefusalError, PermissionError, LookupError])
def test_an_exception_that_is_no_answer_refuses_nothing(
    raised: type[Exception],
) -> None:
    app, served = new_safe()

    def raise_it(sender: object) -> None:
        raise raised

    with request_started.connected_to(raise_it, app):
        assert app.test_client().get("/secret").text == "the secret"
    assert served == ["the secret"]
    assert state_of(app).middleware.receiver_failures == 1


def test_a_strict_guard_refuses_by_any_exception() -> None:
    app, served = new_safe()
    request_started.connect(own_guard, app, strict=True)
    try:
        response = app.test_client().get("/secret")
    finally:
        request_started.disconnect(own_guard, app)
    assert (response.status_code, response.text, served) == (451, "refused", [])


def test_a_guard_of_every_application_refuses_for_each() -> None:
    app, served = new_safe()
    with request_started.connected_to(guard):
        assert app.test_client().get("/secret").status_code == 403
    assert served == []


def test_a_guard_may_ask_the_exchange() -> None:
    app, _ = new_safe()

    def keep_out(sender: object, exchange: Exchange) -> None:
        if exchange.endpoint == "secret":
            raise Forbidden

    with request_started.connected_to(keep_out, app):
        assert app.test_client().get("/secret").status_code == 403
        assert app.test_client().get("/hello").status_code == 200


@pytest.mark.parametrize("signal", [exchange_opened, exchange_closed])
def test_what_is_no_signal_of_flasks_refuses_nothing(signal: NamedSignal) -> None:
    app, served = new_safe()
    with signal.connected_to(guard, app):
        assert app.test_client().get("/secret", buffered=True).text == "the secret"
    assert served == ["the secret"]
    assert state_of(app).middleware.receiver_failures == 1


def test_an_exception_that_flask_does_not_report_cannot_be_answered() -> None:
    app, _ = new_safe()
    with (
        got_request_exception.connected_to(guard, app),
        capture(got_request_exception, sender=app) as sent,
        pytest.raises(LookupError),
    ):
        Server().serve(app, path="/stream-and-fail")
    assert [one["where"] for one in sent] == ["iteration"]
    assert state_of(app).middleware.receiver_failures == 1


def extension_first(app: flask.Flask) -> WSGIApplication:
    Signalpost(app)
    return SignalMiddleware(ProxyFix(app.wsgi_app), sender=app)


def extension_last(app: flask.Flask) -> WSGIApplication:
    layer = SignalMiddleware(lambda *both: app.wsgi_app(*both), sender=app)
    # The layer has worked without it before.
    with capture(exchange_closed, sender=app):
        Server().serve(layer, path="/hello")
    Signalpost(app)
    return layer


@pytest.mark.parametrize("setup", [extension_first, extension_last])
def test_a_guard_refuses_though_a_layer_further_out_does_the_work(
    setup: Callable[[flask.Flask], WSGIApplication],
) -> None:
    app, server = new_shop(), Server()
    layer = setup(app)
    signals = (request_started, request_finished, exchange_closed)
    with request_started.connected_to(guard, app), capture(*signals) as sent:
        server.serve(layer, path="/hello")
    assert server.status == "403 FORBIDDEN"
    assert tuple(one.signal for one in sent) == signals
    assert exchange_of(sent).route == "/hello"
    assert exchange_of(sent).has_started
    assert exchange_of(sent).has_finished


def test_a_layer_without_the_extension_takes_no_refusal() -> None:
    app = new_shop()
    layer = SignalMiddleware(app.wsgi_app, sender=app)
    with request_started.connected_to(guard, app):
        assert Server().serve(layer, path="/hello") == b"hello"
    assert layer.receiver_failures == 1


def test_a_refusal_names_the_receiver_that_raised_it() -> None:
    app, _ = new_safe()
    kept: list[HTTPException] = []

    def keep(error: HTTPException) -> HTTPException:
        kept.append(error)
        return error

    app.register_error_handler(403, keep)
    with request_started.connected_to(guard, app):
        app.test_client().get("/secret")
    (note,) = kept[0].__notes__
    assert "guard" in note
    assert "request-started" in note


def test_a_guard_keeps_refusing_though_its_signal_changes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app, served = new_safe()
    client = app.test_client()
    with (
        caplog.at_level(logging.ERROR),
        request_started.connected_to(guard, app),
    ):
        for _ in range(3):
            with capture(exchange_closed, sender=app) as sent:
                assert client.get("/secret", buffered=True).status_code == 403
            assert len(sent_of(sent, exchange_closed)) == 1
    assert served == []
    assert client.get("/secret").status_code == 200


def with_error_page(app: WSGIApplication) -> WSGIApplication:
    """Let a page of the application answer for those that are not found."""

    def answer(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        started: list[tuple[str, t.Any]] = []

        def note(status: str, headers: t.Any, exc_info: object = None) -> t.Any:
            started.append((status, headers))

        body = app(environ, note)
        if started[0][0].startswith("404"):
            getattr(body, "close", int)()
            environ["PATH_INFO"] = "/secret"
            return app(environ, start_response)
        start_response(*started[0])
        return body

    return answer


@pytest.mark.parametrize("is_ours", [True, False])
def test_a_guard_is_asked_for_the_page_of_an_error_too(*, is_ours: bool) -> None:
    app, served = new_safe(around=with_error_page)
    asked: list[str] = []

    def guard_of_secrets(sender: object, **extra: object) -> None:
        asked.append(flask.request.path)
        if flask.request.path == "/secret":
            flask.abort(403)

    signal: t.Any = request_started if is_ours else flask.request_started
    with signal.connected_to(guard_of_secrets, app):
        status, _, body = of_a_request(app, "/no-such-page")
    assert served == []
    assert asked == ["/no-such-page", "/secret"]
    assert (status, body) == ("403 FORBIDDEN", b"forbidden here")
