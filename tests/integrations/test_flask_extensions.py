"""Flask extensions and frameworks, together with signalpost's."""

from __future__ import annotations

import http.client
import logging
import typing as t
from collections.abc import Callable
from contextlib import closing

import eve
import flask
import flask_restx
import flask_socketio
import pytest
import simple_websocket
from eve.io.base import DataLayer
from webtest import TestApp

from signalpost import SignalMiddleware
from signalpost.exchange import Exchange
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import exchange_opened
from signalpost.lifecycle import got_request_exception
from signalpost.lifecycle import request_finished
from signalpost.lifecycle import request_started
from signalpost.testing import capture
from signalpost.testing import Sent
from tests.integrations.serving import sent_of
from tests.integrations.serving_socket import Client
from tests.integrations.serving_socket import PATIENCE_SECONDS
from tests.integrations.serving_socket import served_by_werkzeug
from tests.integrations.serving_socket import until
from tests.wsgi.serving import exchange_of

POLLING = "/socket.io/?EIO=4&transport=polling"


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "werkzeug")


# Flask-SocketIO.


class Talk:
    """An application whose pages and messages are served by one server.

    :param prepare: Sets the application up, given it and what makes it talk.
    """

    def __init__(self, prepare: Callable[[flask.Flask, Callable[[], None]], None]):
        self.received: list[str] = []
        self.app = flask.Flask("talk")
        self.app.add_url_rule("/items/<int:number>", "item", lambda number: "item")
        prepare(self.app, self._add_socketio)

    def _add_socketio(self) -> None:
        socketio = flask_socketio.SocketIO(
            self.app, async_mode="threading", monitor_clients=False
        )
        socketio.on_event("message", self.received.append)


def signalpost_last(app: flask.Flask, add_socketio: Callable[[], None]) -> None:
    add_socketio()
    Signalpost(app)


def signalpost_first(app: flask.Flask, add_socketio: Callable[[], None]) -> None:
    Signalpost(app)
    add_socketio()


def layer_last(app: flask.Flask, add_socketio: Callable[[], None]) -> None:
    add_socketio()
    app.wsgi_app = SignalMiddleware(app)  # type: ignore[method-assign]


each_order = pytest.mark.parametrize("prepare", [signalpost_last, signalpost_first])


def post(client: Client, path: str, body: str) -> bytes:
    connection = http.client.HTTPConnection(
        "127.0.0.1", int(client.origin.rpartition(":")[2]), timeout=PATIENCE_SECONDS
    )
    with closing(connection):
        connection.request("POST", path, body, {"Content-Type": "text/plain"})
        with connection.getresponse() as response:
            return response.read()


def routes_of(sent: list[Sent]) -> set[str | None]:
    return {one["exchange"].route for one in sent}


def connected(client: Client) -> str:
    """Open a connection by polling, and return the path of the next requests."""
    opened = client.get(POLLING).decode()
    path = f"{POLLING}&sid={flask.json.loads(opened.removeprefix('0'))['sid']}"
    assert post(client, path, "40") == b"OK"
    assert client.get(path).startswith(b"40")
    return path


@each_order
def test_a_page_beside_socketio_is_one_record_with_its_route(
    prepare: Callable[[flask.Flask, Callable[[], None]], None],
) -> None:
    app = Talk(prepare).app
    with (
        capture(exchange_opened, request_started, exchange_closed) as sent,
        served_by_werkzeug(app) as client,
    ):
        assert client.get("/items/3") == b"item"
        until(lambda: len(sent) == 3, sent)
    assert [one.signal for one in sent] == [
        exchange_opened,
        request_started,
        exchange_closed,
    ]
    assert {one.sender for one in sent} == {app}
    exchange = exchange_of(sent)
    assert (exchange.route, exchange.endpoint) == ("/items/<int:number>", "item")
    assert (exchange.status, exchange.outcome) == (200, "complete")


def test_a_plain_layer_around_socketio_sends_from_the_application() -> None:
    app = Talk(layer_last).app
    with (
        capture(exchange_opened, exchange_closed) as sent,
        served_by_werkzeug(app) as client,
    ):
        assert client.get("/items/3") == b"item"
        until(lambda: len(sent) == 2, sent)
    assert {one.sender for one in sent} == {app}
    assert exchange_of(sent).status == 200


@each_order
def test_messages_are_delivered_whatever_the_order(
    prepare: Callable[[flask.Flask, Callable[[], None]], None],
) -> None:
    talk = Talk(prepare)
    with capture(exchange_closed) as sent, served_by_werkzeug(talk.app) as client:
        path = connected(client)
        assert post(client, path, '42["message","mugs"]') == b"OK"
        until(lambda: talk.received == ["mugs"], talk.received)
        assert client.get("/items/3") == b"item"
        assert post(client, path, "41") == b"OK"
        until(lambda: "/items/<int:number>" in routes_of(sent), sent)
    assert routes_of(sent) <= {"/items/<int:number>", None}
    assert {one["exchange"].outcome for one in sent} == {"complete"}


@pytest.mark.parametrize("prepare", [signalpost_last, layer_last])
def test_the_requests_of_socketio_itself_are_recorded_by_a_later_layer(
    prepare: Callable[[flask.Flask, Callable[[], None]], None],
) -> None:
    talk = Talk(prepare)
    with (
        capture(got_request_exception, exchange_closed, sender=talk.app) as sent,
        served_by_werkzeug(talk.app) as client,
    ):
        connected(client)
        until(lambda: len(sent) == 3, sent)
    assert {one.signal for one in sent} == {exchange_closed}
    found = {(one["exchange"].path, one["exchange"].route) for one in sent}
    assert found == {("/socket.io/", None)}


def test_the_requests_of_socketio_itself_pass_an_earlier_layer_by() -> None:
    talk = Talk(signalpost_first)
    with (
        capture(exchange_opened, exchange_closed) as sent,
        served_by_werkzeug(talk.app) as client,
    ):
        connected(client)
    assert sent == []


def test_a_receiver_gives_the_requests_of_socketio_a_route() -> None:
    def name_polling(sender: object, exchange: Exchange) -> None:
        if exchange.path == "/socket.io/":
            exchange.route = "/socket.io/"

    talk = Talk(signalpost_last)
    with (
        exchange_opened.connected_to(name_polling, talk.app),
        capture(exchange_closed, sender=talk.app) as sent,
        served_by_werkzeug(talk.app) as client,
    ):
        connected(client)
        client.get("/items/3")
        until(lambda: len(sent) == 4, sent)
    assert routes_of(sent) == {"/socket.io/", "/items/<int:number>"}


def test_a_websocket_of_socketio_is_hijacked_and_no_failure() -> None:
    talk = Talk(signalpost_last)
    with (
        capture(got_request_exception, exchange_closed, sender=talk.app) as sent,
        served_by_werkzeug(talk.app) as client,
    ):
        origin = client.origin.replace("http", "ws")
        path = "/socket.io/?EIO=4&transport=websocket"
        socket = simple_websocket.Client(origin + path)
        # What comes in one read with the handshake waits there until more comes.
        socket.send("40")
        assert str(socket.receive(timeout=PATIENCE_SECONDS)).startswith("0")
        socket.close()
        until(lambda: bool(sent), sent)
    assert [one.signal for one in sent] == [exchange_closed]
    assert exchange_of(sent).outcome == "hijacked"


# Flask-RESTX.


class Item(flask_restx.Resource):  # type: ignore[misc]  # it has no types
    """A resource that answers in each way that Flask-RESTX has."""

    def get(self, number: int) -> dict[str, int]:
        if number == 0:
            raise LookupError("no mugs")
        if number >= 400:
            flask_restx.abort(number)
        return {"number": number}


def new_restx(setup: Callable[[flask.Flask], object] | None) -> flask.Flask:
    app = flask.Flask("restx")
    app.logger.disabled = True
    blueprint = flask.Blueprint("v1", __name__, url_prefix="/v1")
    api = flask_restx.Api(blueprint)
    api.namespace("items").add_resource(Item, "/<int:number>")
    app.register_blueprint(blueprint)
    if setup is not None:
        setup(app)
    return app


def asked(app: flask.Flask, path: str, method: str = "GET") -> list[Sent]:
    """Return what an application sends in the course of a request."""
    with capture(got_request_exception, exchange_closed, sender=app) as sent:
        app.test_client().open(path, method=method, buffered=True)
    assert len(sent_of(sent, exchange_closed)) == 1
    return sent


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/v1/items/3", "GET", 200),
        ("/v1/items/400", "GET", 400),
        ("/v1/items/404", "GET", 404),
        ("/v1/items/409", "GET", 409),
        ("/v1/items/3", "PUT", 405),
        ("/v1/nowhere", "GET", 404),
    ],
)
def test_what_restx_answers_below_500_is_no_failure(
    path: str, method: str, status: int
) -> None:
    sent = asked(new_restx(Signalpost), path, method)
    assert sent_of(sent, got_request_exception) == []
    exchange = exchange_of(sent)
    assert (exchange.status, exchange.exception) == (status, None)
    assert exchange.outcome == "complete"


@pytest.mark.parametrize(("number", "status"), [(0, 500), (500, 500), (503, 503)])
def test_what_restx_answers_from_500_on_is_a_failure(number: int, status: int) -> None:
    sent = asked(new_restx(Signalpost), f"/v1/items/{number}")
    failed = sent_of(sent, got_request_exception)
    assert len(failed) == 1
    exchange = exchange_of(sent)
    assert exchange.exception is failed[0]["exception"]
    assert (exchange.status, exchange.route) == (status, "/v1/items/<int:number>")


def test_a_resource_of_restx_has_its_route_and_its_blueprint() -> None:
    exchange = exchange_of(asked(new_restx(Signalpost), "/v1/items/3"))
    assert exchange.route == "/v1/items/<int:number>"
    assert (exchange.endpoint, exchange.blueprints) == ("v1.items_item", ("v1",))


@pytest.mark.parametrize(
    "path", ["/v1/items/3", "/v1/items/400", "/v1/items/0", "/v1/swagger.json"]
)
def test_restx_answers_as_without_us(path: str) -> None:
    ours, bare = new_restx(Signalpost), new_restx(None)
    with capture(got_request_exception, exchange_closed, sender=ours):
        answer = TestApp(ours).get(path, status="*")
    expected = TestApp(bare).get(path, status="*")
    assert (answer.status, answer.body) == (expected.status, expected.body)


# Eve.


class Stock(DataLayer):  # type: ignore[misc]  # it has no types
    """Data without a database; the item 0 cannot be read."""

    def init_app(self, app: object) -> None:
        pass

    def find(self, *_: object, **__: object) -> tuple[list[object], int]:
        return [], 0

    def find_one(self, *_: object, **lookup: object) -> None:
        if lookup.get("_id") == "0":
            raise LookupError("no mugs")


def new_eve(setup: Callable[[flask.Flask], object] | None = None) -> t.Any:
    items = {"item_url": 'regex("[0-9]+")'}
    app = eve.Eve(settings={"DOMAIN": {"items": items}}, data=Stock)
    app.logger.disabled = True
    if setup is not None:
        setup(app)
    return app


def put_layer(app: flask.Flask) -> None:
    app.wsgi_app = SignalMiddleware(app)  # type: ignore[method-assign]  # as users do


@pytest.mark.parametrize("setup", [Signalpost, put_layer])
@pytest.mark.parametrize(
    ("path", "method", "status", "route", "endpoint"),
    [
        ("/", "GET", 200, "/", "home"),
        ("/items", "GET", 200, "/items", "items|resource"),
        ("/items/3", "GET", 404, '/items/<regex("[0-9]+"):_id>', "items|item_lookup"),
        ("/items", "DELETE", 405, None, None),
        ("/nowhere", "GET", 404, None, None),
    ],
)
def test_eve_is_set_up_as_flask_is(
    setup: Callable[[flask.Flask], object],
    path: str,
    method: str,
    status: int,
    route: str | None,
    endpoint: str | None,
) -> None:
    sent = asked(new_eve(setup), path, method)
    assert [one.signal for one in sent] == [exchange_closed]
    exchange = exchange_of(sent)
    assert (exchange.status, exchange.exception) == (status, None)
    assert (exchange.route, exchange.endpoint) == (route, endpoint)


def test_an_error_of_eves_data_is_a_failure() -> None:
    sent = asked(new_eve(Signalpost), "/items/0")
    assert [one.signal for one in sent] == [got_request_exception, exchange_closed]
    assert isinstance(exchange_of(sent).exception, LookupError)
    assert exchange_of(sent).status == 500


def test_a_header_set_in_request_finished_reaches_the_client_of_eve() -> None:
    app = new_eve(Signalpost)

    def mark(sender: object, response: flask.Response) -> None:
        response.headers["X-Marked"] = "yes"

    with request_finished.connected_to(mark, app):
        assert TestApp(app).get("/items").headers["X-Marked"] == "yes"


def test_eve_answers_as_without_us() -> None:
    ours, bare = new_eve(Signalpost), new_eve()
    with capture(exchange_closed, sender=ours):
        answer = TestApp(ours).get("/items")
    expected = TestApp(bare).get("/items")
    assert (answer.status, answer.body) == (expected.status, expected.body)
