from __future__ import annotations

import contextlib
import typing as t
from collections.abc import Callable

import flask
import pytest
from webtest import TestApp
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.test import create_environ

from signalpost import NamedSignal
from signalpost import SignalMiddleware
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import EXCHANGE_SIGNALS
from signalpost.lifecycle import request_finished
from signalpost.lifecycle import request_started
from signalpost.testing import capture
from tests.integrations.serving import ALL
from tests.integrations.serving import visit
from tests.integrations.shop import Course
from tests.integrations.shop import COURSES
from tests.integrations.shop import each_course
from tests.integrations.shop import new_shop


def middleware_first(app: flask.Flask) -> None:
    app.wsgi_app = SignalMiddleware(app)  # type: ignore[method-assign]
    Signalpost(app)


def extension_first(app: flask.Flask) -> None:
    Signalpost(app)
    app.wsgi_app = SignalMiddleware(app)  # type: ignore[method-assign]


@pytest.mark.parametrize("setup", [middleware_first, extension_first])
@each_course
def test_middleware_and_extension_together_send_as_one(
    course: Course, setup: Callable[[flask.Flask], None]
) -> None:
    alone, both = new_shop(course.prepare), new_shop(course.prepare)
    Signalpost(alone)
    setup(both)
    sent_by: list[list[tuple[str, int]]] = []
    for app in (alone, both):
        with capture(*ALL, sender=app) as sent:
            visit(app, course)
        names = [one.signal for one in sent]
        sent_by.append([(one.name, names.count(one)) for one in ALL])
    assert sent_by[0] == sent_by[1]


@pytest.mark.parametrize("setup", [middleware_first, extension_first])
def test_request_started_keeps_flasks_moment_beside_the_middleware(
    setup: Callable[[flask.Flask], None],
) -> None:
    app = new_shop()
    setup(app)
    seen: list[bool] = []

    def note(sender: object) -> None:
        seen.append(flask.has_request_context())

    with request_started.connected_to(note, app):
        TestApp(app).get("/hello")
    assert seen == [True]


@pytest.mark.parametrize("setup", [middleware_first, extension_first])
def test_the_response_of_request_finished_is_flasks_beside_the_middleware(
    setup: Callable[[flask.Flask], None],
) -> None:
    app = new_shop()
    setup(app)
    with capture(request_finished, sender=app) as sent:
        TestApp(app).get("/hello")
    assert [type(one["response"]) for one in sent] == [flask.Response]


@pytest.mark.parametrize("setup", [middleware_first, extension_first])
@pytest.mark.parametrize("signal", EXCHANGE_SIGNALS, ids=lambda one: one.name)
def test_async_receivers_run_beside_the_middleware(
    setup: Callable[[flask.Flask], None], signal: NamedSignal
) -> None:
    app = new_shop()
    setup(app)
    seen: list[object] = []

    async def note(sender: object) -> None:
        seen.append(sender)

    with signal.connected_to(note, app):
        visit(app, COURSES["error"])
    assert seen == [app]


class Marking:
    """A middleware that keeps what it is around under Flask's own name for it."""

    def __init__(self, wsgi_app: t.Any) -> None:
        self.wsgi_app = wsgi_app

    def __call__(self, environ: t.Any, start_response: t.Any) -> t.Any:
        environ["REQUEST_METHOD"] = environ.pop("HTTP_X_METHOD", "GET")
        return self.wsgi_app(environ, start_response)


# As Flask-SocketIO's; it was left out without a word.
@pytest.mark.parametrize("setup", [Signalpost, middleware_first, extension_first])
def test_a_middleware_with_a_wsgi_app_stays(
    setup: Callable[[flask.Flask], t.Any],
) -> None:
    app = new_shop()
    marking = Marking(app.wsgi_app)
    app.wsgi_app = marking  # type: ignore[method-assign]
    setup(app)
    with capture(exchange_closed, sender=app) as sent:
        for _ in range(2):
            headers = {"X-Method": "DELETE"}
            TestApp(app).get("/hello", headers=headers, status=405)
            # As Flask-SocketIO does for the debugger.
            marking.wsgi_app = ProxyFix(marking.wsgi_app)
    assert [one.payload["exchange"].status for one in sent] == [405, 405]


def test_a_proxy_represents_the_application() -> None:
    app = new_shop()
    with app.app_context():
        layer = SignalMiddleware(flask.current_app)
    assert layer.sender is app
    with capture(exchange_closed, sender=app) as sent:
        assert TestApp(layer).get("/hello").text == "hello"
    assert len(sent) == 1


def behind_a_proxy_fix(app: flask.Flask) -> t.Any:
    Signalpost(app)
    return SignalMiddleware(ProxyFix(app.wsgi_app))


def behind_a_function(app: flask.Flask) -> t.Any:
    Signalpost(app)
    inner = app.wsgi_app
    return SignalMiddleware(lambda *given: inner(*given), sender=app)


def around_the_application(app: flask.Flask) -> t.Any:
    Signalpost(app)
    return SignalMiddleware(app)


def made_before(app: flask.Flask) -> t.Any:
    layer = SignalMiddleware(lambda *given: app.wsgi_app(*given), sender=app)
    Signalpost(app)
    return layer


OUTER_LAYERS = [
    behind_a_proxy_fix,
    behind_a_function,
    around_the_application,
    made_before,
]


@pytest.mark.parametrize(
    ("set_up", "is_inside"),
    # One that calls what app.wsgi_app is by then would call itself.
    [(one, False) for one in OUTER_LAYERS] + [(one, True) for one in OUTER_LAYERS[:3]],
)
def test_an_outer_layer_records_as_the_extension_does(
    set_up: Callable[[flask.Flask], t.Any], is_inside: bool
) -> None:
    app = flask.Flask("shop")

    @app.get("/items/<int:number>")
    def item(number: int) -> str:
        raise SystemExit(number)

    layer = set_up(app)
    if is_inside:
        app.wsgi_app = layer  # type: ignore[method-assign]
    called: t.Any = app if is_inside else layer
    awaited = []

    async def note(sender: object, exchange: t.Any) -> None:
        awaited.append((sender, exchange.route))

    with exchange_closed.connected_to(note, app):
        for _ in range(2):
            with pytest.raises(SystemExit):
                called(create_environ("/items/3"), lambda *_: None)
    # Where nothing leads from the layer to the extension, a request does.
    assert awaited[-1] == (app, "/items/<int:number>")
    assert len(awaited) == 2 or set_up in {behind_a_function, made_before}


@pytest.mark.parametrize("set_up", OUTER_LAYERS)
def test_an_outer_layer_is_as_strict_as_the_extension(
    set_up: Callable[[flask.Flask], t.Any],
) -> None:
    app = new_shop()
    app.config["SIGNALPOST_STRICT"] = True
    layer = set_up(app)

    def refuse(sender: object, exchange: object) -> None:
        raise ZeroDivisionError

    TestApp(layer).get("/hello")
    with exchange_closed.connected_to(refuse, app):
        if set_up in {behind_a_function, made_before}:
            with contextlib.suppress(ZeroDivisionError):
                TestApp(layer).get("/hello")
        with pytest.raises(ZeroDivisionError):
            TestApp(layer).get("/hello")
