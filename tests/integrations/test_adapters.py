"""Adapters that never close a response, and the layer that does it for them."""

from __future__ import annotations

import gc
import importlib
import typing as t
from collections.abc import Iterator

import flask
import pytest
from werkzeug.test import EnvironBuilder

from signalpost import ReadAndClose
from signalpost.exchange import current_exchange
from signalpost.exchange import Exchange
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import exchange_closed
from signalpost.testing import capture

Handle = t.Callable[[t.Any, dict[str, t.Any]], dict[str, t.Any]]


def event_for(path: str) -> dict[str, t.Any]:
    """Return a request as API Gateway describes it."""
    return {
        "httpMethod": "GET",
        "path": path,
        "headers": {"Host": "localhost"},
        "queryStringParameters": {},
        "body": "",
        "requestContext": {},
        "isBase64Encoded": False,
    }


def by_serverless_wsgi(app: t.Any, event: dict[str, t.Any]) -> dict[str, t.Any]:
    handle: t.Any = importlib.import_module("serverless_wsgi").handle_request
    return t.cast("dict[str, t.Any]", handle(app, event, None))


def by_aws_wsgi(app: t.Any, event: dict[str, t.Any]) -> dict[str, t.Any]:
    respond: t.Any = importlib.import_module("awsgi").response
    return t.cast("dict[str, t.Any]", respond(app, event, None))


def by_hand(app: t.Any, event: dict[str, t.Any]) -> dict[str, t.Any]:
    """Do as most of them do."""
    environ = EnvironBuilder(event["path"]).get_environ()
    response = flask.Response.from_app(app, environ)
    return {"body": response.get_data(as_text=True)}


@pytest.fixture(params=[by_hand, by_serverless_wsgi, by_aws_wsgi])
def handle(request: pytest.FixtureRequest) -> Handle:
    """Return what an adapter does with an event."""
    module = {by_serverless_wsgi: "serverless_wsgi", by_aws_wsgi: "awsgi"}
    if request.param in module:
        pytest.importorskip(module[request.param])
    return t.cast("Handle", request.param)


@pytest.fixture
def collections() -> Iterator[None]:
    """Let nothing be collected but on request."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def new_app() -> flask.Flask:
    app = flask.Flask(__name__)

    @app.get("/hello")
    def hello() -> str:
        return "hello"

    @app.get("/stream")
    def stream() -> flask.Response:
        return flask.Response(iter(["one", "two"]))

    @app.get("/fail")
    def fail() -> flask.Response:
        def chunks() -> Iterator[str]:
            yield "one"
            raise LookupError

        return flask.Response(chunks())

    @app.get("/collect")
    def collect() -> str:
        gc.collect()
        return "collected"

    Signalpost(app)
    return app


@pytest.mark.parametrize(("path", "text"), [("/hello", "hello"), ("/stream", "onetwo")])
def test_exchange_is_closed_with_its_request(
    handle: Handle, path: str, text: str
) -> None:
    app = new_app()
    app.wsgi_app = ReadAndClose(app.wsgi_app)  # type: ignore[method-assign]  # as users do
    seen: list[tuple[str, str | None, int]] = []

    def note(sender: object, exchange: Exchange) -> None:
        seen.append((exchange.path, exchange.outcome, exchange.body_bytes))

    kept: list[object] = []

    def keeping(environ: t.Any, start_response: t.Any) -> t.Any:
        # As an adapter that holds its response for longer.
        kept.append(app(environ, start_response))
        return kept[-1]

    with exchange_closed.connected_to(note, app):
        assert handle(keeping, event_for(path))["body"] == text
        assert seen == [(path, "complete", len(text))]
    assert len(seen) == 1


def test_without_the_layer_it_is_closed_once_the_response_is_freed(
    handle: Handle,
) -> None:
    app = new_app()
    kept: list[object] = []

    def keeping(environ: t.Any, start_response: t.Any) -> t.Any:
        kept.append(app(environ, start_response))
        return kept[-1]

    with capture(exchange_closed) as sent:
        handle(keeping, event_for("/stream"))
        assert sent == []
        kept.clear()
        gc.collect()
    assert sent[0]["exchange"].outcome == "complete"


def test_body_that_fails_leaves_the_adapter_as_without_us(handle: Handle) -> None:
    app = new_app()
    app.wsgi_app = ReadAndClose(app.wsgi_app)  # type: ignore[method-assign]  # as users do
    with capture(exchange_closed) as sent, pytest.raises(LookupError):
        handle(app, event_for("/fail"))
    assert sent[0]["exchange"].outcome == "error"


@pytest.mark.usefixtures("collections")
def test_receivers_see_no_request_that_is_in_progress(handle: Handle) -> None:
    app, other = new_app(), new_app()
    seen: list[object] = []

    def note(sender: object, exchange: Exchange) -> None:
        seen.append(
            (
                exchange.path,
                current_exchange() is exchange,
                flask.has_request_context(),
                flask.has_app_context(),
            )
        )

    def left_in_a_cycle(environ: t.Any, start_response: t.Any) -> t.Any:
        body = app(environ, start_response)
        holder: list[object] = [body]
        holder.append(holder)
        return body

    with exchange_closed.connected_to(note, app):
        handle(left_in_a_cycle, event_for("/stream"))
        assert seen == []
        assert other.test_client().get("/collect", buffered=True).text == "collected"
    assert seen == [("/stream", True, False, False)]
