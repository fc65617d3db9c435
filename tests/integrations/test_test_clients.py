"""WebTest, httpx and Werkzeug's client: which of them close their responses."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterator
from typing import Any

import flask
import httpx
import pytest
import webtest
import werkzeug.test

from signalpost import SignalMiddleware
from signalpost.exchange import Exchange
from signalpost.integrations.flask import Signalpost
from signalpost.testing import finished_exchanges

URL = "http://shop.example"


def shop(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
    """Answer without a framework."""
    status = "200 OK" if environ["PATH_INFO"] == "/mugs" else "404 Not Found"
    start_response(status, [("Content-Type", "text/plain")])
    yield b"blue mug\n"
    yield b"red mug\n"


def plain_shop() -> Any:
    return SignalMiddleware(shop)


def flask_shop() -> Any:
    app = flask.Flask("shop")
    Signalpost(app)

    @app.get("/mugs")
    def mugs() -> Any:
        return iter(["blue mug\n", "red mug\n"])

    return app


def get_by_webtest(app: Any, path: str) -> int:
    response = webtest.TestApp(app).get(path, expect_errors=True)
    status: int = response.status_int
    return status


def get_by_httpx(app: Any, path: str) -> int:
    with httpx.Client(transport=httpx.WSGITransport(app), base_url=URL) as client:
        return client.get(path).status_code


def get_by_werkzeug(app: Any, path: str) -> int:
    return werkzeug.test.Client(app).get(path, buffered=True).status_code


@pytest.fixture
def exchanges() -> Generator[list[Exchange]]:
    with finished_exchanges() as exchanges:
        yield exchanges


@pytest.mark.parametrize("make", [plain_shop, flask_shop])
@pytest.mark.parametrize("get", [get_by_webtest, get_by_httpx, get_by_werkzeug])
@pytest.mark.parametrize(("path", "status"), [("/mugs", 200), ("/cups", 404)])
def test_exchange_is_closed_when_the_call_returns(
    exchanges: list[Exchange],
    make: Callable[[], Any],
    get: Callable[[Any, str], int],
    path: str,
    status: int,
) -> None:
    app = make()
    assert get(app, path) == status
    assert [(one.status, one.outcome) for one in exchanges] == [(status, "complete")]


@pytest.mark.parametrize("make", [plain_shop, flask_shop])
def test_stream_of_httpx_is_closed_at_the_end_of_its_block(
    exchanges: list[Exchange], make: Callable[[], Any]
) -> None:
    transport = httpx.WSGITransport(make())
    with httpx.Client(transport=transport, base_url=URL) as client:
        with client.stream("GET", "/mugs") as response:
            assert exchanges == []
            assert response.read() == b"blue mug\nred mug\n"
        assert [one.outcome for one in exchanges] == ["complete"]


@pytest.mark.parametrize("make", [plain_shop, flask_shop])
def test_webtest_checks_what_the_layer_passes_on(
    exchanges: list[Exchange], make: Callable[[], Any]
) -> None:
    app = webtest.TestApp(make(), lint=True)
    assert app.get("/mugs").text == "blue mug\nred mug\n"
    assert [one.body_bytes for one in exchanges] == [17]
