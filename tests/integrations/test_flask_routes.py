from __future__ import annotations

import typing as t

import flask
import pytest
from webtest import TestApp
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from signalpost.exchange import Exchange
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import exchange_closed
from signalpost.testing import capture
from tests.integrations.serving import exchange_for
from tests.integrations.shop import Course
from tests.integrations.shop import COURSES
from tests.integrations.shop import hello
from tests.integrations.shop import new_shop
from tests.wsgi.serving import exchange_of
from tests.wsgi.serving import Server


def test_a_route_is_a_template() -> None:
    exchange = exchange_for(Course("/items/3"))
    assert (exchange.route, exchange.endpoint) == ("/items/<int:number>", "item")
    assert exchange.path == "/items/3"
    assert exchange.blueprints == ()


@pytest.mark.parametrize("path", ["/no-such-page", "/items/three"])
def test_a_path_that_nothing_matches_has_no_route(path: str) -> None:
    exchange = exchange_for(Course(path))
    assert (exchange.route, exchange.endpoint) == (None, None)
    assert exchange.path == path


def test_a_redirect_to_a_slash_has_no_route_of_its_own() -> None:
    app = new_shop()
    app.add_url_rule("/list/", view_func=hello, endpoint="list")
    Signalpost(app)
    with capture(exchange_closed, sender=app) as sent:
        TestApp(app).get("/list", status=308)
    assert exchange_of(sent).status == 308
    assert exchange_of(sent).route is None


@pytest.mark.parametrize(
    "name",
    [
        "error",
        "error-propagated",
        "system-exit",
        "after-request-raises",
        "stream-fails",
    ],
)
def test_the_route_of_a_request_that_fails_is_known(name: str) -> None:
    exchange = exchange_for(COURSES[name])
    assert exchange.route == COURSES[name].path


def test_a_request_whose_session_fails_has_no_route() -> None:
    assert exchange_for(COURSES["open-session-raises"]).route is None


def test_blueprints_are_named_from_the_innermost_out() -> None:
    inner = flask.Blueprint("orders", __name__)
    inner.add_url_rule("/<number>", view_func=lambda number: number, endpoint="one")
    outer = flask.Blueprint("admin", __name__)
    outer.register_blueprint(inner, url_prefix="/orders")
    app = flask.Flask(__name__)
    app.register_blueprint(outer, url_prefix="/admin")
    Signalpost(app)
    with capture(exchange_closed, sender=app) as sent:
        TestApp(app).get("/admin/orders/7")
    exchange = exchange_of(sent)
    assert exchange.route == "/admin/orders/<number>"
    assert exchange.endpoint == "admin.orders.one"
    assert exchange.blueprints == ("admin.orders", "admin")


def test_a_mount_point_is_part_of_the_route() -> None:
    app = new_shop()
    Signalpost(app)
    site = DispatcherMiddleware(new_shop(), {"/market/shop": app})
    with capture(exchange_closed) as sent:
        assert TestApp(site).get("/market/shop/items/3").text == "item 3"
    exchange = exchange_of(sent)
    assert exchange.route == "/market/shop/items/<int:number>"
    assert (exchange.script_name, exchange.path) == ("/market/shop", "/items/3")


class BrokenOff(BaseException):
    """As a worker's timeout: not an exception that Flask handles."""


def broken_off(app: flask.Flask, path: str, **environ: t.Any) -> Exchange:
    with capture(exchange_closed) as sent, pytest.raises(BrokenOff):
        Server().serve(app, path=path, **environ)
    return exchange_of(sent)


def test_a_view_that_is_broken_off_has_its_route() -> None:
    app = flask.Flask("shop")
    Signalpost(app)
    blueprint = flask.Blueprint("stock", "stock", url_prefix="/stock")

    @blueprint.get("/<int:number>")
    def wait(number: int) -> str:
        raise BrokenOff

    app.register_blueprint(blueprint)
    exchange = broken_off(app, "/stock/3", SCRIPT_NAME="/shop")
    assert exchange.route == "/shop/stock/<int:number>"
    assert exchange.endpoint == "stock.wait"
    assert exchange.blueprints == ("stock",)
    assert exchange.outcome == "error"


def test_what_is_broken_off_without_a_route_has_none() -> None:
    app = flask.Flask("shop")
    Signalpost(app)

    @app.before_request
    def wait() -> None:
        raise BrokenOff

    assert broken_off(app, "/nowhere").route is None


def test_what_is_broken_off_comes_through_whatever_requests_are_made_of() -> None:
    class Request(flask.Request):
        def __init__(self, *arguments: t.Any, **named: t.Any) -> None:
            if "populate_request" in named:
                raise LookupError
            super().__init__(*arguments, **named)

    app = flask.Flask("shop")
    app.request_class = Request
    Signalpost(app)

    @app.get("/")
    def wait() -> str:
        raise BrokenOff

    # Flask 3.2 has kept its own request, so that nothing need be found out.
    assert broken_off(app, "/").outcome == "error"
