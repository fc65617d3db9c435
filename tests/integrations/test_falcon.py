"""The routes of Falcon's requests."""

from __future__ import annotations

import logging
import typing as t
from pathlib import Path

import falcon
import pytest
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from signalpost import SignalMiddleware
from signalpost.exchange import current_exchange
from signalpost.exchange import Exchange
from signalpost.exchange import EXCHANGE_KEY
from signalpost.integrations.falcon import RouteReader
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import request_finished
from signalpost.testing import capture
from tests.integrations.serving_socket import served_by_werkzeug
from tests.integrations.serving_socket import until
from tests.wsgi.serving import environ_of
from tests.wsgi.serving import exchange_of
from tests.wsgi.serving import Server

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


class Item:
    """A resource that answers with what it found in the current exchange."""

    def on_get(self, req: falcon.Request, resp: falcon.Response, number: int) -> None:
        exchange = current_exchange()
        resp.text = str(exchange and exchange.route)

    def on_post(self, req: falcon.Request, resp: falcon.Response, number: int) -> None:
        exchange = current_exchange()
        assert exchange is not None
        exchange.route = "/by-hand"


class Broken:
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        raise LookupError("no mugs")

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        raise falcon.HTTPConflict(title="sold")


class Refusing:
    """A middleware that refuses what has a resource."""

    def process_resource(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        resource: object,
        params: dict[str, t.Any],
    ) -> None:
        raise falcon.HTTPUnauthorized


def sink(req: falcon.Request, resp: falcon.Response, **found: t.Any) -> None:
    resp.text = "sink"


def new_shop(*more: t.Any) -> falcon.App[falcon.Request, falcon.Response]:
    app = falcon.App(middleware=[RouteReader(), *more])
    app.add_route("/items/{number:int}", Item())
    app.add_route("/broken", Broken())
    app.add_sink(sink, "/sink")
    return app


def exchange_for(app: WSGIApplication, path: str, **environ: t.Any) -> Exchange:
    """Return the closed exchange of a request."""
    with capture(exchange_closed) as sent:
        Server().serve(app, path=path, **environ)
    assert len(sent) == 1
    return exchange_of(sent)


@pytest.mark.parametrize(
    ("path", "method", "route", "status"),
    [
        ("/items/3", "GET", "/items/{number:int}", 200),
        ("/items/4711", "GET", "/items/{number:int}", 200),
        ("/items/3", "PUT", "/items/{number:int}", 405),
        ("/items/3", "OPTIONS", "/items/{number:int}", 200),
        ("/broken", "GET", "/broken", 500),
        ("/broken", "POST", "/broken", 409),
    ],
)
def test_a_route_is_the_template_whatever_the_answer(
    path: str, method: str, route: str, status: int
) -> None:
    exchange = exchange_for(SignalMiddleware(new_shop()), path, method=method)
    assert (exchange.route, exchange.status) == (route, status)
    assert exchange.endpoint is None


@pytest.mark.parametrize("path", ["/items/mug", "/nowhere", "/sink/mug", "/static/a"])
def test_what_matches_no_route_has_none(path: str, tmp_path: Path) -> None:
    app = new_shop()
    app.add_static_route("/static", tmp_path)
    assert exchange_for(SignalMiddleware(app), path).route is None


def test_the_route_is_known_in_the_resource() -> None:
    with capture(exchange_closed):
        body = Server().serve(SignalMiddleware(new_shop()), path="/items/3")
    assert body == b"/items/{number:int}"


def test_the_route_is_known_to_request_finished() -> None:
    shop = SignalMiddleware(new_shop())
    found = []

    def note(sender: object, exchange: Exchange) -> None:
        found.append(exchange.route)

    with request_finished.connected_to(note, shop.sender):
        Server().serve(shop, path="/broken")
    assert found == ["/broken"]


def test_a_request_that_a_later_middleware_refuses_has_its_route() -> None:
    exchange = exchange_for(SignalMiddleware(new_shop(Refusing())), "/items/3")
    assert (exchange.route, exchange.status) == ("/items/{number:int}", 401)


def test_a_mounted_falcon_has_its_prefix_in_its_route() -> None:
    site = DispatcherMiddleware(falcon.App(), {"/eu/shop": new_shop()})
    exchange = exchange_for(
        SignalMiddleware(site), "/eu/shop/items/3", SCRIPT_NAME="/own"
    )
    assert exchange.route == "/own/eu/shop/items/{number:int}"


def test_what_the_application_sets_stays() -> None:
    exchange = exchange_for(SignalMiddleware(new_shop()), "/items/3", method="POST")
    assert exchange.route == "/by-hand"


def test_without_a_layer_a_reader_does_nothing() -> None:
    environ = environ_of("/items/3")
    assert list(new_shop()(environ, Server().start_response)) == [b"None"]
    assert EXCHANGE_KEY not in environ


def test_a_router_without_templates_is_no_error() -> None:
    class Router(falcon.routing.CompiledRouter):
        def find(self, uri: str, req: falcon.Request | None = None) -> t.Any:
            resource = Broken()
            return resource, {"GET": sink}, {}, self.template

        template: t.Any = None

    for template in (None, 3, b"/items"):
        router = Router()
        router.template = template
        app = falcon.App(middleware=[RouteReader()], router=router)
        exchange = exchange_for(SignalMiddleware(app), "/items/3")
        assert (exchange.route, exchange.status) == (None, 200)


def test_a_served_falcon_is_recorded_by_route(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL, "werkzeug")
    shop = SignalMiddleware(new_shop())
    with (
        capture(exchange_closed, sender=shop.sender) as sent,
        served_by_werkzeug(shop) as client,
    ):
        for number in range(3):
            assert client.get(f"/items/{number}") == b"/items/{number:int}"
        until(lambda: len(sent) == 3, sent)
    assert [one["exchange"].route for one in sent] == ["/items/{number:int}"] * 3
