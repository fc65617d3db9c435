"""The routes of Pyramid's requests."""

from __future__ import annotations

import logging
import typing as t

import pytest
from pyramid.config import Configurator
from pyramid.events import BeforeTraversal
from pyramid.events import NewRequest
from pyramid.httpexceptions import HTTPForbidden
from pyramid.httpexceptions import HTTPNotFound
from pyramid.request import Request
from pyramid.response import Response
from pyramid.wsgi import wsgiapp2
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from signalpost import SignalMiddleware
from signalpost.exchange import current_exchange
from signalpost.exchange import Exchange
from signalpost.exchange import EXCHANGE_KEY
from signalpost.integrations.pyramid import includeme
from signalpost.lifecycle import exchange_closed
from signalpost.testing import capture
from tests.integrations.serving_socket import served_by_werkzeug
from tests.integrations.serving_socket import until
from tests.wsgi.serving import environ_of
from tests.wsgi.serving import exchange_of
from tests.wsgi.serving import Server

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def show(request: t.Any) -> t.Any:
    exchange = current_exchange()
    return Response(str(exchange and exchange.route))


def set_by_hand(request: t.Any) -> t.Any:
    exchange = current_exchange()
    assert exchange is not None
    exchange.route = "/by-hand"
    return Response("")


def ask_itself(request: t.Any) -> t.Any:
    return request.invoke_subrequest(Request.blank("/items/3"), use_tweens=True)


def fail(request: t.Any) -> t.NoReturn:
    raise LookupError("no mugs")


def refuse(request: t.Any) -> t.NoReturn:
    raise HTTPForbidden


def report(error: Exception, request: t.Any) -> t.Any:
    return Response("sorry", status=500)


def add_admin(config: t.Any) -> None:
    config.add_route("admin.one", "/{number}")
    config.add_view(show, route_name="admin.one")


class Folder:
    """A resource of a tree that has every name."""

    def __init__(self, request: t.Any = None) -> None:
        pass

    def __getitem__(self, name: str) -> t.Any:
        if name == "gone":
            raise KeyError(name)
        return Folder()


VIEWS: dict[str, tuple[str, t.Callable[[t.Any], t.Any]]] = {
    "home": ("", show),
    "shop.item": ("/items/{number}", show),
    "relative": ("relative/{name:[a-z]+}", show),
    "fail": ("/fail/{number}", fail),
    "refuse": ("/refuse", refuse),
    "hand": ("/hand/{number}", set_by_hand),
    "inside": ("/inside", ask_itself),
    "files": ("/files/*traverse", show),
}


def new_shop(setup: t.Callable[[t.Any], object] | None = None) -> WSGIApplication:
    with Configurator() as config:
        config.include("signalpost.integrations.pyramid")
        config.add_exception_view(report, context=LookupError)
        config.include(add_admin, route_prefix="admin")
        for name, (pattern, view) in VIEWS.items():
            traversal = {"factory": Folder} if name == "files" else {}
            config.add_route(name, pattern, **traversal)
            config.add_view(view, route_name=name)
        config.add_route("refused", "/refused/{number}", factory=refuse)
        if setup is not None:
            setup(config)
        return t.cast("WSGIApplication", config.make_wsgi_app())


def exchange_for(app: WSGIApplication, path: str, **environ: t.Any) -> Exchange:
    """Return the closed exchange of a request."""
    with capture(exchange_closed) as sent:
        Server().serve(app, path=path, **environ)
    assert len(sent) == 1
    return exchange_of(sent)


@pytest.mark.parametrize(
    ("path", "route", "endpoint", "status"),
    [
        ("/", "/", "home", 200),
        ("/items/3", "/items/{number}", "shop.item", 200),
        ("/items/4711", "/items/{number}", "shop.item", 200),
        ("/relative/mug", "/relative/{name:[a-z]+}", "relative", 200),
        ("/admin/3", "/admin/{number}", "admin.one", 200),
        ("/fail/3", "/fail/{number}", "fail", 500),
        ("/refuse", "/refuse", "refuse", 403),
        ("/refused/3", "/refused/{number}", "refused", 403),
        ("/files/a/b", "/files/*traverse", "files", 200),
        ("/files/gone/a", "/files/*traverse", "files", 404),
    ],
)
def test_a_route_is_the_pattern_whatever_the_answer(
    path: str, route: str, endpoint: str, status: int
) -> None:
    exchange = exchange_for(SignalMiddleware(new_shop()), path)
    assert (exchange.route, exchange.endpoint) == (route, endpoint)
    assert exchange.status == status


@pytest.mark.parametrize("path", ["/nowhere", "/relative/4711", "/items"])
def test_what_matches_no_route_has_none(path: str) -> None:
    exchange = exchange_for(SignalMiddleware(new_shop()), path)
    assert (exchange.route, exchange.endpoint) == (None, None)
    assert exchange.status == 404


def test_what_is_found_by_traversal_alone_has_no_route() -> None:
    def setup(config: t.Any) -> None:
        config.set_root_factory(Folder)
        config.add_view(show, context=Folder)

    exchange = exchange_for(SignalMiddleware(new_shop(setup)), "/a/b/c")
    assert (exchange.route, exchange.status) == (None, 200)


def test_the_route_is_known_in_the_view() -> None:
    with capture(exchange_closed):
        body = Server().serve(SignalMiddleware(new_shop()), path="/items/3")
    assert body == b"/items/{number}"


def test_an_exception_that_leaves_pyramid_has_the_route() -> None:
    def setup(config: t.Any) -> None:
        config.add_route("leave", "/leave/{number}", factory=leave)

    def leave(request: t.Any) -> t.NoReturn:
        raise KeyboardInterrupt

    shop = SignalMiddleware(new_shop(setup))
    with capture(exchange_closed) as sent, pytest.raises(KeyboardInterrupt):
        Server().serve(shop, path="/leave/3")
    assert exchange_of(sent).route == "/leave/{number}"


def test_a_subscriber_that_refuses_before_the_matching_leaves_no_route() -> None:
    def refuse_all(event: t.Any) -> None:
        raise HTTPNotFound

    shop = new_shop(lambda config: config.add_subscriber(refuse_all, NewRequest))
    exchange = exchange_for(SignalMiddleware(shop), "/items/3")
    assert (exchange.route, exchange.status) == (None, 404)


@pytest.mark.parametrize("prefix", ["/shop", "/eu/shop"])
def test_a_pyramid_below_a_dispatcher_has_its_prefix_in_its_route(prefix: str) -> None:
    site = DispatcherMiddleware(new_shop(), {prefix: new_shop()})
    exchange = exchange_for(
        SignalMiddleware(site), f"{prefix}/items/3", SCRIPT_NAME="/own"
    )
    assert exchange.route == f"/own{prefix}/items/{{number}}"


@pytest.mark.parametrize(
    ("path", "route"),
    [("/sub/items/3", "/sub/items/{number}"), ("/sub/nowhere", "/sub/*subpath")],
)
@pytest.mark.parametrize("mount", ["", "/own"])
def test_the_route_of_a_pyramid_in_a_view_is_the_more_exact_one(
    path: str, route: str, mount: str
) -> None:
    def add_sub(config: t.Any) -> None:
        config.add_route("sub", "/sub/*subpath")
        config.add_view(wsgiapp2(new_shop()), route_name="sub")

    shop = SignalMiddleware(new_shop(add_sub))
    assert exchange_for(shop, path, SCRIPT_NAME=mount).route == mount + route


def test_tenants_of_a_pyramid_in_a_view_make_no_more_routes() -> None:
    def add_tenants(config: t.Any) -> None:
        config.add_route("tenant", "/of/{tenant}/*subpath")
        config.add_view(wsgiapp2(new_shop()), route_name="tenant")

    shop = SignalMiddleware(new_shop(add_tenants))
    routes = {exchange_for(shop, f"/of/{name}/items/3").route for name in "abc"}
    assert routes == {"/of/{tenant}/*subpath"}


def test_a_subrequest_does_not_change_the_route() -> None:
    exchange = exchange_for(SignalMiddleware(new_shop()), "/inside")
    assert (exchange.route, exchange.endpoint) == ("/inside", "inside")


def test_a_subrequest_by_a_copy_does_not_change_the_route() -> None:
    def ask(request: t.Any) -> t.Any:
        copy = Request(request.environ.copy())
        copy.path_info = "/items/3"
        return request.invoke_subrequest(copy)

    def setup(config: t.Any) -> None:
        config.add_route("copying", "/copying")
        config.add_view(ask, route_name="copying")

    exchange = exchange_for(SignalMiddleware(new_shop(setup)), "/copying")
    assert (exchange.route, exchange.endpoint) == ("/copying", "copying")


def test_what_the_application_sets_stays() -> None:
    exchange = exchange_for(SignalMiddleware(new_shop()), "/hand/3")
    assert (exchange.route, exchange.endpoint) == ("/by-hand", "hand")


def test_an_integration_that_is_included_twice_is_there_once() -> None:
    shop = new_shop(lambda config: config.include("signalpost.integrations.pyramid"))
    assert exchange_for(SignalMiddleware(shop), "/items/3").route == "/items/{number}"


def test_a_module_is_included_by_its_function_as_well() -> None:
    with Configurator() as config:
        config.include(includeme)
        config.add_route("item", "/items/{number}")
        config.add_view(show, route_name="item")
    app = SignalMiddleware(config.make_wsgi_app())
    assert exchange_for(app, "/items/3").route == "/items/{number}"


def test_without_a_layer_a_reader_does_nothing() -> None:
    environ = environ_of("/items/3")
    assert list(new_shop()(environ, Server().start_response)) == [b"None"]
    assert EXCHANGE_KEY not in environ


@pytest.mark.parametrize("route", [3, object(), "mine"])
def test_a_route_that_cannot_be_read_is_no_error(route: object) -> None:
    def spoil(event: t.Any) -> None:
        event.request.matched_route = route

    with Configurator() as config:
        config.add_subscriber(spoil, BeforeTraversal)
        config.include("signalpost.integrations.pyramid")
        config.add_route("item", "/items/{number}")
        config.add_view(show, route_name="item")
    app = SignalMiddleware(config.make_wsgi_app())
    exchange = exchange_for(app, "/items/3")
    assert (exchange.route, exchange.status) == (None, 200)


def test_a_served_pyramid_is_recorded_by_route(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL, "werkzeug")
    shop = SignalMiddleware(new_shop())
    with (
        capture(exchange_closed, sender=shop.sender) as sent,
        served_by_werkzeug(shop) as client,
    ):
        for number in range(3):
            assert client.get(f"/items/{number}") == b"/items/{number}"
        until(lambda: len(sent) == 3, sent)
    assert [one["exchange"].route for one in sent] == ["/items/{number}"] * 3
