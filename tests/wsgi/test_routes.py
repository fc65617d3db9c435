"""Routes that a framework's reader records."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable

import pytest

from signalpost import SignalMiddleware
from signalpost.exchange import EXCHANGE_KEY
from signalpost.lifecycle import exchange_closed
from signalpost.testing import capture
from signalpost.wsgi.routes import record_route
from tests.wsgi.serving import environ_of
from tests.wsgi.serving import exchange_of
from tests.wsgi.serving import Server

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment


def recording(*routes: tuple[str | None, str, str | None]) -> WSGIApplication:
    """Return an application that records routes, each with a mount point."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        for mount, template, endpoint in routes:
            if mount is not None:
                environ["SCRIPT_NAME"] = mount
            record_route(environ, template, endpoint)
        start_response("200 OK", [])
        return [b"hello"]

    return app


def route_of(app: WSGIApplication, **environ: t.Any) -> tuple[object, ...]:
    with capture(exchange_closed) as sent:
        Server().serve(SignalMiddleware(app), **environ)
    exchange = exchange_of(sent)
    return exchange.route, exchange.endpoint, exchange.blueprints


@pytest.mark.parametrize(
    ("mount", "template", "route"),
    [
        ("", "/", "/"),
        ("", "", "/"),
        ("", "items/{number}", "/items/{number}"),
        ("/shop", "/items/{number}", "/shop/items/{number}"),
        ("/shop/", "/items/{number}", "/shop/items/{number}"),
        ("/", "/items/{number}", "/items/{number}"),
        ("/shop", "/", "/shop/"),
        ("/l\xc3\xa4den", "/", "/läden/"),
    ],
)
def test_a_route_is_the_template_below_the_mount_point(
    mount: str, template: str, route: str
) -> None:
    app = recording((None, template, None))
    assert route_of(app, SCRIPT_NAME=mount) == (route, None, ())


def test_an_endpoint_is_recorded_with_its_groups() -> None:
    app = recording((None, "/items", "shop.items.all"))
    blueprints = ("shop.items", "shop")
    assert route_of(app) == ("/items", "shop.items.all", blueprints)


def test_the_first_route_stays() -> None:
    app = recording((None, "/first", "one"), (None, "/second", "two"))
    assert route_of(app) == ("/first", "one", ())


def test_the_route_of_what_is_mounted_further_down_replaces_it() -> None:
    app = recording((None, "/shop/<path>", "one"), ("/shop", "/items", "two"))
    assert route_of(app) == ("/shop/items", "two", ())


def test_the_route_of_what_is_mounted_by_a_placeholder_does_not() -> None:
    app = recording((None, "/<shop>/<path>", "one"), ("/mugs", "/items", "two"))
    assert route_of(app) == ("/<shop>/<path>", "one", ())


def test_an_outer_exchange_has_the_route_unless_it_has_its_own() -> None:
    inner = SignalMiddleware(recording(("/shop", "/items", None)), sender="inner")

    def outer(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/own":
            record_route(environ, "/own")
        return inner(environ, start_response)

    for path, expected in (("/", "/shop/items"), ("/own", "/own")):
        with capture(exchange_closed) as sent:
            Server().serve(SignalMiddleware(outer), path=path)
        routes = [one["exchange"].route for one in sent]
        assert routes == ["/shop/items", expected]


def test_a_route_is_recorded_behind_a_copy_of_the_environment() -> None:
    inner = recording((None, "/items", None))
    assert route_of(lambda e, s: inner(e.copy(), s))[0] == "/items"


def test_a_closed_exchange_keeps_its_route() -> None:
    kept: list[WSGIEnvironment] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        kept.append(environ.copy())
        start_response("200 OK", [])
        return []

    with capture(exchange_closed) as sent:
        Server().serve(SignalMiddleware(app))
    record_route(kept[0], "/items")
    assert exchange_of(sent).route is None


@pytest.mark.parametrize("value", [None, "mine", object()])
def test_an_environment_without_an_exchange_is_left_as_it_is(value: object) -> None:
    environ = environ_of()
    environ[EXCHANGE_KEY] = value
    record_route(environ, "/items")
    assert environ[EXCHANGE_KEY] is value
