"""Routes behind middlewares that hand a copy of the environment on."""

from __future__ import annotations

import contextlib
import typing as t
from collections.abc import Callable
from collections.abc import Iterable

import flask
import pytest
from webtest import TestApp
from werkzeug.debug import DebuggedApplication
from werkzeug.wrappers import Request

from signalpost import NamedSignal
from signalpost import SignalMiddleware
from signalpost.exchange import current_exchange
from signalpost.exchange import Exchange
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import exchange_opened
from signalpost.lifecycle import got_request_exception
from signalpost.lifecycle import request_finished
from signalpost.lifecycle import request_started
from signalpost.testing import capture
from tests.integrations.shop import new_shop
from tests.wsgi.serving import environ_of
from tests.wsgi.serving import exchange_of
from tests.wsgi.serving import Server

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

Middleware = Callable[["WSGIApplication"], "WSGIApplication"]


def plainly(app: WSGIApplication) -> WSGIApplication:
    return lambda environ, start_response: app(environ.copy(), start_response)


class SocketIO:
    """A middleware as Flask-SocketIO's is, put around ``app.wsgi_app``."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        environ = environ.copy()
        environ["flask.app"] = self._app
        return self._app(environ, start_response)


class Environ(dict[str, t.Any]):
    """A dict of a middleware's own."""


def as_subclass(app: WSGIApplication) -> WSGIApplication:
    return lambda environ, start_response: app(Environ(environ), start_response)


def twice(app: WSGIApplication) -> WSGIApplication:
    return plainly(SocketIO(app))


COPIES: dict[str, Middleware] = {
    "plainly": plainly,
    "as-flask-socketio": SocketIO,
    "as-a-subclass": as_subclass,
    "twice": twice,
}
each_copy = pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES.keys())


def mounted(prefix: str, app: WSGIApplication) -> WSGIApplication:
    """Mount an application as CherryPy's tree and cheroot's dispatcher do."""

    def dispatch(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        environ = environ.copy()
        environ["SCRIPT_NAME"] = environ.get("SCRIPT_NAME", "") + prefix
        environ["PATH_INFO"] = environ["PATH_INFO"].removeprefix(prefix)
        return app(environ, start_response)

    return dispatch


def new_site(copy: Middleware) -> flask.Flask:
    """Return a shop whose items are in a blueprint, behind a copying middleware."""
    app = new_shop()
    stock = flask.Blueprint("stock", __name__, url_prefix="/stock")
    stock.add_url_rule("/<int:number>", view_func=lambda number: "", endpoint="one")
    app.register_blueprint(stock)
    around: t.Any = copy(app.wsgi_app)
    app.wsgi_app = around  # type: ignore[method-assign]  # as users do
    Signalpost(app)
    return app


def route_of(exchange: Exchange) -> tuple[object, ...]:
    return exchange.route, exchange.endpoint, exchange.blueprints


STOCK = ("/stock/<int:number>", "stock.one", ("stock",))


@each_copy
@pytest.mark.parametrize(
    "signal",
    [request_started, request_finished, exchange_closed],
    ids=lambda one: one.name,
)
def test_a_route_behind_a_copy_is_known_to_each_signal_alone(
    copy: Middleware, signal: NamedSignal
) -> None:
    app = new_site(copy)
    found = []

    def note(sender: object, exchange: Exchange) -> None:
        found.append(route_of(exchange))

    with signal.connected_to(note, app):
        assert app.test_client().get("/stock/3", buffered=True).status_code == 200
    assert found == [STOCK]


@each_copy
def test_a_route_behind_a_copy_is_known_in_the_view(copy: Middleware) -> None:
    app = new_site(copy)

    def show() -> str:
        exchange = current_exchange()
        assert exchange is not None
        return f"{exchange.route} {exchange.endpoint}"

    app.add_url_rule("/shown", view_func=show)
    with capture(exchange_closed, sender=app) as sent:
        assert TestApp(app).get("/shown").text == "/shown show"
    assert exchange_of(sent).has_started


@each_copy
@pytest.mark.parametrize("path", ["/fail", "/leave", "/refuse", "/stream-and-fail"])
def test_a_route_behind_a_copy_is_known_of_what_fails(
    copy: Middleware, path: str
) -> None:
    app = new_site(copy)
    with (
        capture(exchange_closed, sender=app) as sent,
        contextlib.suppress(SystemExit, LookupError),
    ):
        Server().serve(app, path=path)
    assert exchange_of(sent).route == path
    assert exchange_of(sent).has_started


@each_copy
def test_a_path_that_nothing_matches_behind_a_copy_has_no_route(
    copy: Middleware,
) -> None:
    app = new_site(copy)
    with capture(exchange_closed, sender=app) as sent:
        TestApp(app).get("/nowhere", status=404)
    assert route_of(exchange_of(sent)) == (None, None, ())
    assert exchange_of(sent).has_started


@each_copy
def test_a_copy_changes_no_record_and_no_number_of_signals(copy: Middleware) -> None:
    app = new_site(copy)
    signals = (exchange_opened, request_started, request_finished, exchange_closed)
    with capture(*signals, sender=app) as sent:
        TestApp(app).get("/hello")
    assert tuple(one.signal for one in sent) == signals
    assert len({id(one["exchange"]) for one in sent}) == 1


@pytest.mark.parametrize("path", ["/shop/hello", "/shop/leave", "/shop/fail"])
def test_a_copy_with_another_mount_point_has_it_in_its_route(path: str) -> None:
    app = new_site(lambda inner: mounted("/shop", inner))
    with (
        capture(exchange_closed, sender=app) as sent,
        contextlib.suppress(SystemExit),
    ):
        Server().serve(app, path=path)
    assert exchange_of(sent).route == path
    assert exchange_of(sent).path == path


def test_a_layer_around_a_tree_of_copies_has_the_route_of_what_it_mounts() -> None:
    app = new_shop(Signalpost)
    tree = SignalMiddleware(mounted("/shop", app))
    with capture(exchange_closed) as sent:
        TestApp(tree).get("/shop/items/3")
    routes = [one["exchange"].route for one in sent]
    assert routes == ["/shop/items/<int:number>"] * 2
    assert [one.sender is app for one in sent] == [True, False]


def test_a_layer_around_a_copy_has_the_route_of_the_one_inside() -> None:
    app = new_shop(Signalpost)
    outer = SignalMiddleware(plainly(app.wsgi_app), sender=app)
    with capture(exchange_closed, sender=app) as sent:
        TestApp(outer).get("/items/3")
    assert len(sent) == 1
    assert exchange_of(sent).route == "/items/<int:number>"


def test_the_request_of_another_application_gives_no_route() -> None:
    inner = flask.Flask("inner")
    around: t.Any = plainly(inner.wsgi_app)
    inner.wsgi_app = around  # type: ignore[method-assign]  # as users do
    inner.add_url_rule("/<path:path>", view_func=lambda path: path, endpoint="inside")
    Signalpost(inner)
    outer = new_site(plainly)

    def ask() -> bytes:
        environ = flask.request.environ.copy()
        return b"".join(inner(environ, lambda *_: lambda _: None))

    outer.add_url_rule("/ask", view_func=ask)
    with capture(exchange_closed) as sent:
        TestApp(outer).get("/ask")
    routes = {one.sender: one["exchange"].endpoint for one in sent}
    assert routes == {inner: "inside", outer: "ask"}


def test_a_closed_exchange_in_a_copy_that_was_kept_is_left_alone() -> None:
    app = new_site(SocketIO)
    kept: list[WSGIEnvironment] = []
    app.before_request(lambda: kept.append(flask.request.environ.copy()))
    with capture(got_request_exception, exchange_closed, sender=app) as sent:
        TestApp(app).get("/hello")
        # As Flask-SocketIO does for each message of a connection.
        with app.request_context(kept[0]):
            app.handle_exception(LookupError("in a message"))
    first, second = (one["exchange"] for one in sent)
    assert (first.exception, first.route) == (None, "/hello")
    assert second is not first
    assert second.route == "/hello"


def test_a_plain_layer_takes_no_route_from_a_request_that_is_not_its_own() -> None:
    class Request:
        environ: t.ClassVar[dict[str, t.Any]] = {}
        url_rule = object()

    environ = {**environ_of(), "werkzeug.request": Request()}
    exchange = Exchange(environ, "shop")
    assert exchange.route is None


def with_request(app: WSGIApplication) -> WSGIApplication:
    """Put a middleware around an application that creates its own request."""

    def look(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        assert Request(environ).method == "GET"
        return app(environ, start_response)

    return look


def of_the_debugger(app: WSGIApplication) -> WSGIApplication:
    return DebuggedApplication(app)


@pytest.mark.parametrize("is_outside", [True, False])
@pytest.mark.parametrize("looking", [with_request, of_the_debugger])
@each_copy
def test_the_route_is_known_if_a_middleware_has_made_a_request(
    copy: Middleware, looking: Middleware, *, is_outside: bool
) -> None:
    app = new_shop()
    app.wsgi_app = copy(app.wsgi_app)  # type: ignore[method-assign, assignment]
    if not is_outside:
        app.wsgi_app = looking(app.wsgi_app)  # type: ignore[method-assign, assignment]
    Signalpost(app)
    if is_outside:
        app.wsgi_app = looking(app.wsgi_app)  # type: ignore[method-assign, assignment]
    with capture(exchange_closed, sender=app) as sent:
        Server().serve(app, path="/items/3")
    exchange = exchange_of(sent)
    assert (exchange.route, exchange.endpoint) == ("/items/<int:number>", "item")
