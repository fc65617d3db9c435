"""The application of a layer: any object that a server could call."""

from __future__ import annotations

import functools
import gc
import inspect
import sys
import typing as t
import weakref
from collections.abc import Iterable
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from types import MethodType
from unittest.mock import MagicMock
from unittest.mock import Mock
from unittest.mock import NonCallableMock

import flask
import pytest
from werkzeug.local import LocalProxy
from werkzeug.middleware.proxy_fix import ProxyFix

from signalpost import SignalMiddleware
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import EXCHANGE_SIGNALS
from signalpost.testing import capture
from signalpost.wsgi.finding import sender_of
from tests.wsgi.serving import environ_of
from tests.wsgi.serving import exchange_of
from tests.wsgi.serving import hello
from tests.wsgi.serving import names
from tests.wsgi.serving import Server

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

each_demand = pytest.mark.parametrize("is_recorded", [True, False])


class Answering:
    """An object that has an answer to every name, as Eve's second base gives it."""

    def __getattr__(self, name: str) -> t.Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *arguments, **named: None


class AnsweringFlask(flask.Flask, Answering):
    pass


class AnsweringApp(Answering):
    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        return hello(environ, start_response)


class RaisingApp:
    """An object that raises whatever it is asked."""

    def __getattr__(self, name: str) -> t.Any:
        raise RuntimeError(name)

    @property  # type: ignore[misc]
    def __class__(self) -> t.Any:
        raise RuntimeError

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        return hello(environ, start_response)


class Meta(type):
    """A metaclass that has an answer to every name."""

    def __getattr__(cls, name: str) -> t.Any:
        return lambda *arguments, **named: None


class MadeByMeta(metaclass=Meta):
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    def __bool__(self) -> bool:
        raise RuntimeError

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        return hello(environ, start_response)


def served_once(app: t.Any) -> bytes:
    """Serve an application by a layer, which is checked to send from it."""
    layer = SignalMiddleware(app)
    assert layer.sender is app
    with capture(*EXCHANGE_SIGNALS) as sent:
        body = Server().serve(layer)
    assert [one.sender is app for one in sent] == [True] * 4
    return body


def test_a_flask_application_that_answers_every_name_is_set_up_by_the_extension() -> (
    None
):
    app = AnsweringFlask("answering")
    app.add_url_rule("/items/<int:number>", "item", lambda number: "hello")
    Signalpost(app)
    with capture(exchange_closed, sender=app) as sent:
        assert Server().serve(app, path="/items/3") == b"hello"
    assert exchange_of(sent).route == "/items/<int:number>"


@pytest.mark.parametrize("kind", [AnsweringApp, RaisingApp, MadeByMeta])
def test_any_object_that_can_be_called_is_an_application(kind: type) -> None:
    assert served_once(kind()) == b"hello"


@pytest.mark.parametrize("kind", [Mock, MagicMock])
def test_a_mock_is_an_application(kind: type[Mock]) -> None:
    app = kind(side_effect=hello)
    assert served_once(app) == b"hello"
    app.assert_called_once()
    assert sender_of(app) is app


def test_a_mock_that_cannot_be_called_is_called_by_its_wsgi_app() -> None:
    app = NonCallableMock(wsgi_app=hello)
    assert served_once(app) == b"hello"


@pytest.mark.parametrize("kind", [AnsweringApp, RaisingApp, MadeByMeta])
def test_the_sender_of_any_object_is_the_object(kind: type) -> None:
    app = kind()
    assert sender_of(app) is app
    assert sender_of(SignalMiddleware(app)) is app


def test_a_proxy_is_known_by_its_type() -> None:
    app = flask.Flask("behind")
    proxy = LocalProxy(lambda: app)
    assert sender_of(proxy) is app
    layer = SignalMiddleware(proxy)
    assert layer.sender is app
    assert SignalMiddleware(LocalProxy(lambda: layer)).sender is app


def test_a_method_without_a_name_is_an_application() -> None:
    def answer(
        self: object, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        return hello(environ, start_response)

    app = MethodType(functools.partial(answer), object())
    assert served_once(app) == b"hello"


class Checked(flask.Flask):
    """A Flask application that does more than its ``wsgi_app``."""

    calls = 0

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        self.calls += 1
        if environ["PATH_INFO"] == "/health":
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"healthy"]
        method = environ.get("HTTP_X_METHOD")
        if method is not None:
            environ["REQUEST_METHOD"] = method
        return super().__call__(environ, start_response)


class Decorated(Checked):
    def _decorated(function: t.Any) -> t.Any:  # noqa: N805
        @functools.wraps(function)
        def wrapper(*arguments: t.Any) -> t.Any:
            return function(*arguments)

        return wrapper

    @_decorated
    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        return super().__call__(environ, start_response)


def checked(kind: type[Checked] = Checked) -> Checked:
    app = kind("checked")
    methods = ["GET", "DELETE"]

    def view() -> str:
        return f"{flask.request.method} from {flask.request.remote_addr}"

    app.add_url_rule("/", "view", view, methods=methods)
    return app


each_kind = pytest.mark.parametrize("kind", [Checked, Decorated])


class Counting:
    """A middleware that counts its calls, and hands a copy of the environment on."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app
        self.calls = 0

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        self.calls += 1
        return self._app({**environ}, start_response)


def answers(served: WSGIApplication) -> list[bytes]:
    return [
        Server().serve(served, path="/health"),
        Server().serve(served, HTTP_X_METHOD="DELETE", REMOTE_ADDR="10.0.0.1"),
        Server().serve(served, REMOTE_ADDR="10.0.0.1"),
    ]


AS_WITHOUT_US = [b"healthy", b"DELETE from 10.0.0.1", b"GET from 10.0.0.1"]


def captured(app: object, is_recorded: bool) -> t.Any:
    return capture(exchange_closed, sender=app) if is_recorded else nullcontext([])


@each_demand
@each_kind
def test_an_outermost_layer_calls_the_application_as_the_server_would(
    kind: type[Checked], is_recorded: bool
) -> None:
    app = checked(kind)
    layer = SignalMiddleware(app)
    with captured(app, is_recorded) as sent:
        assert answers(layer) == AS_WITHOUT_US
    assert app.calls == 3
    assert len(sent) == (3 if is_recorded else 0)


@each_demand
@each_kind
def test_a_layer_that_is_the_wsgi_app_leaves_the_call_to_the_application(
    kind: type[Checked], is_recorded: bool
) -> None:
    app = checked(kind)
    app.wsgi_app = SignalMiddleware(app)  # type: ignore[method-assign]
    with captured(app, is_recorded) as sent:
        assert answers(app) == AS_WITHOUT_US
    assert app.calls == 3
    # Earlier responses do not belong to the layer.
    assert len(sent) == (2 if is_recorded else 0)


@each_demand
@each_kind
@pytest.mark.parametrize("is_set_at_once", [True, False])
def test_a_layer_within_another_middleware_is_called_once_a_request(
    kind: type[Checked], is_set_at_once: bool, is_recorded: bool
) -> None:
    app = checked(kind)
    layer = SignalMiddleware(app)
    if not is_set_at_once:
        app.wsgi_app = layer  # type: ignore[method-assign]
    around = Counting(layer)
    app.wsgi_app = around  # type: ignore[method-assign]
    with captured(app, is_recorded) as sent:
        assert answers(app) == AS_WITHOUT_US
    assert (app.calls, around.calls) == (3, 2)
    assert len(sent) == (2 if is_recorded else 0)


@each_demand
def test_an_outermost_layer_sees_a_middleware_that_comes_later(
    is_recorded: bool,
) -> None:
    app = checked()
    layer = SignalMiddleware(app)
    with captured(app, is_recorded) as sent:
        assert answers(layer) == AS_WITHOUT_US
        app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
        for _ in range(2):
            assert (
                Server().serve(
                    layer, REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR="192.0.2.7"
                )
                == b"GET from 192.0.2.7"
            )
    assert app.calls == 5
    assert len(sent) == (5 if is_recorded else 0)


@each_demand
def test_a_layer_follows_a_middleware_put_around_it_and_taken_away(
    is_recorded: bool,
) -> None:
    app = checked()
    app.wsgi_app = layer = SignalMiddleware(app)  # type: ignore[method-assign]
    with captured(app, is_recorded) as sent:
        for _ in range(2):
            app.wsgi_app = around = Counting(layer)  # type: ignore[method-assign]
            assert answers(app) == AS_WITHOUT_US
            app.wsgi_app = layer  # type: ignore[method-assign]
            assert answers(app) == AS_WITHOUT_US
            assert around.calls == 2
    assert app.calls == 12
    assert len(sent) == (8 if is_recorded else 0)


@each_demand
def test_a_wsgi_app_that_the_server_calls_itself_runs_its_layer(
    is_recorded: bool,
) -> None:
    app = checked()
    app.wsgi_app = Counting(SignalMiddleware(app))  # type: ignore[method-assign]
    with captured(app, is_recorded) as sent:
        for _ in range(3):
            body = Server().serve(app.wsgi_app, REMOTE_ADDR="10.0.0.1")
            assert body == b"GET from 10.0.0.1"
    assert len(sent) == (3 if is_recorded else 0)


@each_demand
def test_a_layer_behind_another_thread_is_not_called_for_ever(
    is_recorded: bool,
) -> None:
    class Elsewhere(Counting):
        def __call__(
            self, environ: WSGIEnvironment, start_response: StartResponse
        ) -> Iterable[bytes]:
            with ThreadPoolExecutor(1) as pool:
                call = super().__call__
                return pool.submit(call, environ, start_response).result(30)

    app = checked()
    app.wsgi_app = Elsewhere(SignalMiddleware(app))  # type: ignore[method-assign]
    with captured(app, is_recorded) as sent:
        for _ in range(3):
            assert Server().serve(app, REMOTE_ADDR="10.0.0.1") == AS_WITHOUT_US[2]
    assert len(sent) == (3 if is_recorded else 0)
    # Once for the request that found it out, and once for each.
    assert app.calls == 4


def test_a_layer_around_one_of_the_extension_adds_nothing() -> None:
    app = checked()
    Signalpost(app)
    layer = SignalMiddleware(app)
    with capture(*EXCHANGE_SIGNALS, sender=app) as sent:
        assert Server().serve(layer, REMOTE_ADDR="10.0.0.1") == AS_WITHOUT_US[2]
    assert names(sent) == [
        "exchange-opened",
        "request-started",
        "request-finished",
        "exchange-closed",
    ]
    assert exchange_of(sent).route == "/"
    assert app.calls == 1


# As wrapt does, by which agents patch a framework's class.
def test_a_patched_class_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bound:
        def __init__(self, method: t.Any) -> None:
            self._method = method

        def __getattr__(self, name: str) -> t.Any:
            return getattr(self._method, name)

        def __call__(self, *arguments: t.Any) -> t.Any:
            return self._method(*arguments)

    class Patched(Checked):
        wsgi_app = property(lambda self: Bound(super().wsgi_app))

    app = Patched("patched")
    app.add_url_rule("/", "view", lambda: f"GET from {flask.request.remote_addr}")
    layer = SignalMiddleware(app)
    looks: list[object] = []
    monkeypatch.setattr(sys, "_getframe", looks.append)
    with captured(app, False):
        assert Server().serve(layer, REMOTE_ADDR="10.0.0.1") == AS_WITHOUT_US[2]
    assert looks == []
    assert app.calls == 1


def test_an_object_that_loses_its_wsgi_app_is_called_all_the_same() -> None:
    class Losing(metaclass=Meta):
        is_lost = False

        @property
        def wsgi_app(self) -> WSGIApplication:
            if self.is_lost:
                raise RuntimeError
            return hello

        def __call__(
            self, environ: WSGIEnvironment, start_response: StartResponse
        ) -> Iterable[bytes]:
            return hello(environ, start_response)

    app = Losing()
    layer = SignalMiddleware(app)
    with capture(exchange_closed) as sent:
        for is_lost in (False, True, True, False):
            app.is_lost = is_lost
            assert Server().serve(layer) == b"hello"
    assert len(sent) == 4


def test_a_layer_and_its_application_are_freed_by_reference_count() -> None:
    class App:
        def wsgi_app(
            self, environ: WSGIEnvironment, start_response: StartResponse
        ) -> Iterable[bytes]:
            return hello(environ, start_response)

        def __call__(
            self, environ: WSGIEnvironment, start_response: StartResponse
        ) -> Iterable[bytes]:
            return self.wsgi_app(environ, start_response)

    app = App()
    layer = SignalMiddleware(app)
    with capture(exchange_closed):
        assert Server().serve(layer) == b"hello"
    left = weakref.ref(app), weakref.ref(layer)
    gc.collect()
    gc.disable()
    try:
        del app, layer
        assert [one() for one in left] == [None, None]
    finally:
        gc.enable()


def test_an_application_that_is_a_generator_function_is_called_once() -> None:
    class Lazy:
        def __init__(self) -> None:
            self.wsgi_app: WSGIApplication = hello

        def __call__(
            self, environ: WSGIEnvironment, start_response: StartResponse
        ) -> Iterator[bytes]:
            yield from self.wsgi_app(environ, start_response)

    app = Lazy()
    app.wsgi_app = Counting(SignalMiddleware(app))
    with capture(exchange_closed, sender=app) as sent:
        for _ in range(2):
            assert Server().serve(app) == b"hello"
    assert len(sent) == 2
    assert inspect.isgenerator(app(environ_of(), Server().start_response))
