"""CherryPy's applications and its tree, served by its own server."""

from __future__ import annotations

import contextlib
import logging
import threading
import typing as t
from collections.abc import Generator
from collections.abc import Iterator

import cherrypy
import flask
import pytest
from cheroot import wsgi

from signalpost import SignalMiddleware
from signalpost.exchange import current_exchange
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import exchange_opened
from signalpost.lifecycle import request_started
from signalpost.testing import capture
from signalpost.wsgi.routes import record_route
from tests.integrations.serving_socket import Client
from tests.integrations.serving_socket import PATIENCE_SECONDS
from tests.wsgi.serving import exchange_of

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


@contextlib.contextmanager
def served(app: WSGIApplication) -> Generator[Client]:
    """Serve an application with cheroot, as CherryPy does."""
    server = wsgi.Server(("127.0.0.1", 0), app, numthreads=2)
    server.prepare()
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield Client(server.bind_addr[1])
    finally:
        server.stop()
        thread.join(PATIENCE_SECONDS)


def read_route(template: str) -> None:
    record_route(cherrypy.request.wsgi_environ, template)


class Shop:
    """Pages that set their route, by a tool or by hand."""

    def items(self, number: str) -> str:
        return f"item {number}"

    def fail(self) -> str:
        raise LookupError("no mugs")

    def lines(self) -> Iterator[bytes]:
        yield b"one"
        yield b"two"

    def hand(self, number: str) -> str:
        exchange = current_exchange()
        assert exchange is not None
        exchange.route = "/by-hand"
        return ""

    def plain(self) -> str:
        return "plain"


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> None:
    new = cherrypy.Tool("before_handler", read_route)
    monkeypatch.setattr(cherrypy.tools, "route", new, raising=False)


def new_shop(mount: str) -> t.Any:
    """Return an application, set up as CherryPy's configuration files do."""
    pages: list[t.Any] = [Shop.items, Shop.fail, Shop.lines, Shop.hand, Shop.plain]
    for page in pages:
        page.exposed = True  # what cherrypy.expose sets, which has no types
    config: dict[str, dict[str, object]] = {
        path: {"tools.route.on": True, "tools.route.template": template}
        for path, template in {
            "/items": "/items/{number}",
            "/fail": "/fail",
            "/lines": "/lines",
        }.items()
    }
    config["/lines"]["response.stream"] = True
    shop = cherrypy.Application(Shop(), mount, config)
    shop.log.screen = False
    shop.log.error_log.setLevel(logging.CRITICAL)
    return shop


def new_tree(**apps: WSGIApplication) -> t.Any:
    tree = type(cherrypy.tree)()
    for name, app in apps.items():
        tree.graft(app, f"/{name}")
    return tree


@pytest.mark.usefixtures("tool")
@pytest.mark.parametrize(
    ("path", "route", "status", "body"),
    [
        ("/items/3", "/shop/items/{number}", 200, b"item 3"),
        ("/items/4711", "/shop/items/{number}", 200, b"item 4711"),
        ("/lines", "/shop/lines", 200, b"onetwo"),
        ("/fail", "/shop/fail", 500, None),
        ("/hand/3", "/by-hand", 200, b""),
        ("/plain", None, 200, b"plain"),
        ("/nowhere", None, 404, None),
    ],
)
def test_a_grafted_application_is_recorded_with_the_route_of_its_tool(
    path: str, route: str | None, status: int, body: bytes | None
) -> None:
    shop = new_shop("/shop")
    tree = new_tree(shop=SignalMiddleware(shop))
    with capture(exchange_closed, sender=shop) as sent, served(tree) as client:
        answer = client.get(f"/shop{path}")
    assert body is None or answer == body
    assert len(sent) == 1
    exchange = exchange_of(sent)
    assert (exchange.route, exchange.status) == (route, status)
    assert (exchange.script_name, exchange.path) == ("/shop", path)
    assert exchange.outcome == "complete"


@pytest.mark.usefixtures("tool")
def test_a_layer_around_the_tree_records_what_is_mounted() -> None:
    tree = new_tree(shop=new_shop("/shop"))
    with (
        capture(exchange_closed, sender=tree) as sent,
        served(SignalMiddleware(tree)) as client,
    ):
        assert client.get("/shop/items/3") == b"item 3"
        client.get("/nowhere")
    found = {(one["exchange"].route, one["exchange"].status) for one in sent}
    assert found == {("/shop/items/{number}", 200), (None, 404)}


@pytest.mark.usefixtures("tool")
def test_a_layer_around_the_tree_and_one_inside_have_the_same_route() -> None:
    shop = new_shop("/shop")
    tree = new_tree(shop=SignalMiddleware(shop))
    with capture(exchange_closed) as sent, served(SignalMiddleware(tree)) as client:
        assert client.get("/shop/items/3") == b"item 3"
    assert [one.sender for one in sent] == [shop, tree]
    routes = [one["exchange"].route for one in sent]
    assert routes == ["/shop/items/{number}"] * 2


def new_flask() -> flask.Flask:
    app = flask.Flask("mugs")
    app.add_url_rule("/<int:number>", "mug", lambda number: f"mug {number}")
    Signalpost(app)
    return app


def test_a_flask_application_in_the_tree_has_its_route_with_the_mount() -> None:
    app = new_flask()
    with (
        capture(exchange_opened, request_started, exchange_closed) as sent,
        served(new_tree(mugs=app)) as client,
    ):
        assert client.get("/mugs/3") == b"mug 3"
    assert {one.sender for one in sent} == {app}
    assert len(sent) == 3
    exchange = exchange_of(sent)
    assert (exchange.route, exchange.endpoint) == ("/mugs/<int:number>", "mug")


def test_a_layer_around_the_tree_has_the_route_of_a_flask_application() -> None:
    app = new_flask()
    tree = new_tree(mugs=app)
    with capture(exchange_closed) as sent, served(SignalMiddleware(tree)) as client:
        assert client.get("/mugs/3") == b"mug 3"
    assert [one.sender for one in sent] == [app, tree]
    routes = [one["exchange"].route for one in sent]
    assert routes == ["/mugs/<int:number>"] * 2
