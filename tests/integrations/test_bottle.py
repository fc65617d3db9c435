"""The routes of Bottle's requests."""

from __future__ import annotations

import logging
import typing as t

import bottle
import flask
import pytest
from webtest import TestApp
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from signalpost import NamedSignal
from signalpost import SignalMiddleware
from signalpost.exchange import current_exchange
from signalpost.exchange import Exchange
from signalpost.exchange import EXCHANGE_KEY
from signalpost.integrations.bottle import RouteReader
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import got_request_exception
from signalpost.lifecycle import request_finished
from signalpost.testing import capture
from tests.integrations.serving_socket import served_by_werkzeug
from tests.integrations.serving_socket import until
from tests.wsgi.serving import environ_of
from tests.wsgi.serving import exchange_of
from tests.wsgi.serving import Server

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def fail() -> t.NoReturn:
    raise LookupError("no mugs")


def chunks() -> t.Iterator[bytes]:
    yield b"one"
    yield b"two"


def route_in_view(number: int) -> str:
    exchange = current_exchange()
    return str(exchange and exchange.route)


def new_shop() -> t.Any:
    app = bottle.Bottle()
    app.install(RouteReader())
    app.route("/", callback=lambda: "home")
    app.route("/items/<number:int>", callback=lambda number: "item", name="shop.item")
    app.route("/files/<path:path>", callback=lambda path: path)
    app.route("/seen/<number:int>", callback=route_in_view)
    app.route("/fail/<number:int>", callback=lambda number: fail())
    app.route("/refuse", callback=lambda: bottle.abort(403))
    app.route("/missing/<name>", callback=lambda name: bottle.abort(404))
    app.route("/stream/<name>", callback=lambda name: chunks())
    app.route("/old", ["POST"], callback=lambda: bottle.redirect("/"))
    return app


def exchange_for(app: WSGIApplication, path: str, **environ: t.Any) -> Exchange:
    """Return the closed exchange of a request."""
    with capture(exchange_closed) as sent:
        Server().serve(app, path=path, **environ)
    assert len(sent) == 1
    return exchange_of(sent)


@pytest.mark.parametrize(
    ("path", "route", "status"),
    [
        ("/", "/", 200),
        ("/items/3", "/items/<number:int>", 200),
        ("/items/4711", "/items/<number:int>", 200),
        ("/files/a/b/c", "/files/<path:path>", 200),
        ("/fail/3", "/fail/<number:int>", 500),
        ("/refuse", "/refuse", 403),
        ("/missing/mug", "/missing/<name>", 404),
        ("/stream/mug", "/stream/<name>", 200),
    ],
)
def test_a_route_is_the_rule_whatever_the_answer(
    path: str, route: str, status: int
) -> None:
    exchange = exchange_for(SignalMiddleware(new_shop()), path)
    assert (exchange.route, exchange.status) == (route, status)


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [("/items/mug", "GET", 404), ("/nowhere", "GET", 404), ("/items/3", "PUT", 405)],
)
def test_what_matches_no_route_has_none(path: str, method: str, status: int) -> None:
    exchange = exchange_for(SignalMiddleware(new_shop()), path, method=method)
    assert (exchange.route, exchange.endpoint) == (None, None)
    assert exchange.status == status


def test_a_head_request_has_the_route_of_its_get() -> None:
    exchange = exchange_for(SignalMiddleware(new_shop()), "/items/3", method="HEAD")
    assert exchange.route == "/items/<number:int>"


def test_an_endpoint_is_the_name_of_the_route() -> None:
    shop = SignalMiddleware(new_shop())
    assert exchange_for(shop, "/items/3").endpoint == "shop.item"
    assert exchange_for(shop, "/").endpoint is None


def test_the_route_is_known_in_the_view() -> None:
    with capture(exchange_closed):
        body = Server().serve(SignalMiddleware(new_shop()), path="/seen/3")
    assert body == b"/seen/<number:int>"


@pytest.mark.parametrize("signal", [request_finished, got_request_exception])
def test_the_route_is_known_to_the_signals_of_a_failure(signal: NamedSignal) -> None:
    found = []

    def note(sender: object, exchange: Exchange) -> None:
        found.append(exchange.route)

    shop = SignalMiddleware(new_shop())
    with signal.connected_to(note, shop.sender):
        Server().serve(shop, path="/fail/3")
    assert found == ["/fail/<number:int>"]


def test_a_request_that_a_later_plugin_refuses_has_its_route() -> None:
    app = new_shop()
    app.install(lambda callback: lambda **named: bottle.abort(401))
    exchange = exchange_for(SignalMiddleware(app), "/items/3")
    assert (exchange.route, exchange.status) == ("/items/<number:int>", 401)


@pytest.mark.parametrize("is_debugging", [False, True])
@pytest.mark.parametrize("is_installed_late", [False, True])
def test_a_mounted_bottle_has_its_prefix_in_its_route(
    *, is_debugging: bool, is_installed_late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bottle, "DEBUG", is_debugging)
    site, shop = bottle.Bottle(), new_shop()
    site.mount("/shop/", shop)
    if is_installed_late:
        site.install(RouteReader())
    exchange = exchange_for(SignalMiddleware(site), "/shop/items/3")
    assert exchange.route == "/shop/items/<number:int>"


def test_a_bottle_mounted_as_any_application_has_its_prefix_in_its_route() -> None:
    site = bottle.Bottle()
    site.install(RouteReader())
    site.mount("/eu/shop/", new_shop().wsgi)
    exchange = exchange_for(SignalMiddleware(site), "/eu/shop/items/3")
    assert exchange.route == "/eu/shop/items/<number:int>"


def test_a_layer_around_a_mounted_layer_has_its_route() -> None:
    site = bottle.Bottle()
    site.install(RouteReader())
    site.mount("/eu/shop/", SignalMiddleware(new_shop(), sender="shop"))
    with capture(exchange_closed) as sent:
        Server().serve(SignalMiddleware(site), path="/eu/shop/stream/mug")
    routes = [one["exchange"].route for one in sent]
    assert routes == ["/eu/shop/stream/<name>"] * 2
    assert [one.sender for one in sent] == ["shop", site]


@pytest.mark.parametrize("prefix", ["/shop", "/eu/shop", "/läden"])
def test_a_bottle_below_a_dispatcher_has_its_prefix_in_its_route(prefix: str) -> None:
    mount = prefix.encode().decode("latin-1")
    site = DispatcherMiddleware(bottle.Bottle(), {mount: new_shop()})
    exchange = exchange_for(
        SignalMiddleware(site), f"{mount}/items/3", SCRIPT_NAME="/own"
    )
    assert exchange.route == f"/own{prefix}/items/<number:int>"


def test_a_bottle_that_a_flask_view_calls_leaves_flasks_route() -> None:
    app = flask.Flask("site")
    app.add_url_rule(
        "/items/<int:number>",
        "item",
        lambda number: flask.Response.from_app(new_shop(), flask.request.environ),
    )
    Signalpost(app)
    with capture(exchange_closed) as sent:
        assert TestApp(app).get("/items/3").text == "item"
    exchange = exchange_of(sent)
    assert (exchange.route, exchange.endpoint) == ("/items/<int:number>", "item")


def test_what_the_application_sets_stays() -> None:
    def show(number: int) -> str:
        exchange = current_exchange()
        assert exchange is not None
        exchange.route = "/by-hand"
        return ""

    app = new_shop()
    app.route("/own/<number:int>", callback=show, name="own")
    exchange = exchange_for(SignalMiddleware(app), "/own/3")
    assert (exchange.route, exchange.endpoint) == ("/by-hand", "own")


def test_a_thousand_paths_make_no_more_routes() -> None:
    shop = SignalMiddleware(new_shop())
    paths = [path for n in range(500) for path in (f"/items/{n}", f"/wp-{n}.php")]
    routes = {exchange_for(shop, path).route for path in paths}
    assert routes == {"/items/<number:int>", None}


def test_without_a_layer_a_reader_does_nothing() -> None:
    environ = environ_of("/items/3")
    assert list(new_shop()(environ, Server().start_response)) == [b"item"]
    assert EXCHANGE_KEY not in environ


@pytest.mark.parametrize("value", ["mine", None, 3, object()])
def test_a_foreign_value_in_the_environment_is_left_alone(value: object) -> None:
    environ = environ_of("/items/3")
    environ[EXCHANGE_KEY] = value
    assert list(new_shop()(environ, Server().start_response)) == [b"item"]
    assert environ[EXCHANGE_KEY] is value


def test_a_rule_that_cannot_be_read_is_no_error() -> None:
    class Rule(str):
        __slots__ = ()

        def removeprefix(self, prefix: str, /) -> str:
            raise LookupError(prefix)

    app = new_shop()
    for route in app.routes:
        route.rule = Rule(route.rule)
    exchange = exchange_for(SignalMiddleware(app), "/items/3")
    assert (exchange.route, exchange.status) == (None, 200)


def test_a_served_bottle_is_recorded_by_route(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL, "werkzeug")
    shop = SignalMiddleware(new_shop())
    with (
        capture(exchange_closed, sender=shop.sender) as sent,
        served_by_werkzeug(shop) as client,
    ):
        for number in range(3):
            assert client.get(f"/items/{number}") == b"item"
        assert client.get("/stream/mug") == b"onetwo"
        until(lambda: len(sent) == 4, sent)
    routes = sorted(one["exchange"].route for one in sent)
    assert routes == [*["/items/<number:int>"] * 3, "/stream/<name>"]


def test_a_webtest_client_gets_what_it_got_without_a_reader() -> None:
    bare = bottle.Bottle()
    bare.route("/items/<number:int>", callback=lambda number: {"number": number})
    read = bottle.Bottle()
    read.install(RouteReader())
    read.route("/items/<number:int>", callback=lambda number: {"number": number})
    with capture(exchange_closed):
        with_reader = TestApp(SignalMiddleware(read)).get("/items/3")
    without = TestApp(bare).get("/items/3")
    assert with_reader.body == without.body
    assert list(with_reader.headers.items()) == list(without.headers.items())
