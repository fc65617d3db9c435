"""An application is freed as soon as nothing refers to it, as one of Flask's alone is.

Flask itself leaves some cycles, as after a request that fails: what each test expects
is what becomes of the same application without the extension.
"""

from __future__ import annotations

import gc
import logging
import typing as t
import weakref
from collections.abc import Callable
from collections.abc import Generator
from contextlib import ExitStack
from contextlib import suppress

import flask
import pytest
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.test import run_wsgi_app

from signalpost import ANY
from signalpost import named
from signalpost.config import BUILTIN_RECEIVERS
from signalpost.errors import ApplicationGoneError
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import catalogue
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import exchange_opened
from signalpost.lifecycle import SENT_BY_OTHERS
from signalpost.testing import capture
from tests.integrations.shop import new_shop
from tests.wsgi.serving import environ_of

Prepare = Callable[[flask.Flask], object]
OURS = [signal for signal in catalogue.values() if signal not in SENT_BY_OTHERS]
PATHS = (
    "/hello",
    "/nothing",
    "/refuse",
    "/fail",
    "/template",
    "/flash",
    "/stream",
    "/stream-in-context",
    "/stream-and-fail",
)


@pytest.fixture(autouse=True)
def no_collector() -> Generator[None]:
    logging.disable(logging.CRITICAL)
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    logging.disable(logging.NOTSET)


def receive(sender: object, **extra: object) -> None: ...


def nothing(app: flask.Flask) -> None: ...


def is_freed(prepare: Prepare, use: Prepare, **config: object) -> bool:
    """Return whether an application is gone with the last reference to it."""
    app = new_shop()
    app.config.update(config)
    prepare(app)
    with suppress(LookupError):
        use(app)
    freed = weakref.ref(app)
    del app
    return freed() is None


def visit(*paths: str) -> Prepare:
    def visit_each(app: flask.Flask) -> None:
        client = app.test_client()
        for path in paths:
            with suppress(LookupError), client.get(path) as response:
                response.get_data()

    return visit_each


def leave_unread(app: flask.Flask) -> None:
    app.test_client().get("/stream").close()


def open_contexts(app: flask.Flask) -> None:
    with app.app_context(), app.test_request_context("/hello"):
        pass
    with app.test_client() as client:
        client.get("/hello").close()


USES = {
    "no request": nothing,
    "contexts": open_contexts,
    "unread stream": leave_unread,
    "many": visit("/hello", "/stream", "/template", "/hello"),
    **{path: visit(path) for path in PATHS},
}
each_use = pytest.mark.parametrize("use", USES.values(), ids=USES)


def with_own_receivers(app: flask.Flask) -> None:
    Signalpost(app)
    for signal in OURS:
        signal.connect(receive, app)


def with_a_name(app: flask.Flask) -> None:
    exchange_closed.connect(receive, named(app.name))
    Signalpost(app)


def with_a_later_name(app: flask.Flask) -> None:
    Signalpost(app)
    exchange_closed.connect(receive, named("later"))
    named("later").bind(app)


def with_a_proxy_around(app: flask.Flask) -> None:
    Signalpost(app)
    app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]


def with_a_capture(app: flask.Flask) -> None:
    Signalpost(app)
    with capture(*OURS, sender=app), capture(*OURS):
        visit("/hello")(app)


PREPARATIONS: tuple[Prepare, ...] = (
    Signalpost,
    with_own_receivers,
    with_a_name,
    with_a_later_name,
    with_a_proxy_around,
    with_a_capture,
)
each_preparation = pytest.mark.parametrize(
    "prepare", PREPARATIONS, ids=lambda one: one.__name__
)


@each_use
@each_preparation
def test_an_app_is_freed_as_one_without_signalpost(
    prepare: Prepare, use: Prepare
) -> None:
    assert is_freed(prepare, use) is is_freed(nothing, use)
    for signal in OURS:
        signal.disconnect(receive)


@pytest.mark.parametrize("option", ["DEBUG", "TESTING", "SIGNALPOST_STRICT"])
@each_use
def test_an_app_is_freed_in_each_mode(option: str, use: Prepare) -> None:
    config = {option: True}
    assert is_freed(Signalpost, use, **config) is is_freed(nothing, use, **config)


@each_use
def test_an_app_is_freed_while_receivers_of_every_app_are_connected(
    use: Prepare,
) -> None:
    with ExitStack() as stack:
        for signal in catalogue.values():
            stack.enter_context(signal.connected_to(receive, ANY))
        assert is_freed(Signalpost, use) is is_freed(nothing, use)


# Nothing is compared in vain: these are free without the extension.
@pytest.mark.parametrize("use", [nothing, visit("/hello"), visit("/stream-in-context")])
@each_preparation
def test_an_app_is_freed_by_its_last_reference(prepare: Prepare, use: Prepare) -> None:
    assert is_freed(prepare, use)
    for signal in OURS:
        signal.disconnect(receive)


@pytest.mark.parametrize("name", BUILTIN_RECEIVERS)
def test_an_app_is_freed_with_what_is_enabled_for_it(name: str) -> None:
    use = visit("/hello", "/stream")
    before = [len(signal.connections) for signal in catalogue.values()]
    assert is_freed(Signalpost, use, SIGNALPOST_RECEIVERS={name: True})
    assert [len(signal.connections) for signal in catalogue.values()] == before


def test_receivers_go_with_the_app_that_they_were_connected_to() -> None:
    before = [len(signal.connections) for signal in OURS]
    assert is_freed(with_own_receivers, visit("/hello"))
    assert [len(signal.connections) for signal in OURS] == before


def abandoned(app: flask.Flask) -> t.Any:
    """Return what a factory returns that drops the application."""
    Signalpost(app)
    return ProxyFix(app.wsgi_app)


@pytest.mark.parametrize("signals", [(), (exchange_closed,), (exchange_opened,), OURS])
def test_a_layer_without_its_app_shows_what_to_do(signals: t.Any) -> None:
    server_calls = abandoned(new_shop())
    with ExitStack() as stack:
        sent = stack.enter_context(capture(*signals)) if signals else []
        with pytest.raises(ApplicationGoneError, match="keep the application object"):
            run_wsgi_app(server_calls, environ_of("/hello"))
    assert sent == []


def test_a_layer_without_its_app_has_no_sender() -> None:
    layer = abandoned(new_shop()).app
    with pytest.raises(ApplicationGoneError, match="has been freed"):
        _ = layer.sender


def test_an_app_lives_as_long_as_a_response_is_open() -> None:
    app = new_shop(Signalpost)
    with exchange_closed.connected_to(receive):
        body, _, _ = run_wsgi_app(app, environ_of("/stream"))
        freed = weakref.ref(app)
        del app
        assert freed() is not None
        b"".join(body)
        getattr(body, "close", lambda: None)()
        del body
    assert freed() is None


@pytest.mark.parametrize("is_strict", [True, False])
def test_an_exchange_that_is_collected_with_its_app_is_closed(
    *, is_strict: bool
) -> None:
    app = new_shop()
    app.config["SIGNALPOST_STRICT"] = is_strict
    cycle: list[object] = [app]
    app.extensions["cycle"] = cycle
    Signalpost(app)
    with capture(exchange_closed) as sent:
        cycle.append(app(environ_of("/stream"), lambda *_: lambda _: None))
        del app, cycle
        gc.collect()
    assert [one["exchange"].outcome for one in sent] == ["lost"]


def test_a_middleware_put_in_before_keeps_its_app() -> None:
    app = new_shop()
    app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
    Signalpost(app)
    server_calls, freed = app.wsgi_app, weakref.ref(app)
    del app
    body, status, _ = run_wsgi_app(server_calls, environ_of("/hello"))
    assert (b"".join(body), status) == (b"hello", "200 OK")
    assert freed() is not None


def test_the_wsgi_app_of_a_subclass_is_called() -> None:
    class Shop(flask.Flask):
        def wsgi_app(self, environ: t.Any, start_response: t.Any) -> t.Any:
            environ["shop"] = self
            return super().wsgi_app(environ, start_response)

    app = Shop(__name__)
    app.add_url_rule("/", view_func=lambda: repr(flask.request.environ["shop"] is app))
    Signalpost(app)
    assert app.test_client().get("/").text == "True"


def test_another_apps_method_is_called_as_it_is() -> None:
    app, other = new_shop(), new_shop()
    app.wsgi_app = other.wsgi_app  # type: ignore[method-assign]
    Signalpost(app)
    del other
    assert app.test_client().get("/hello").text == "hello"
