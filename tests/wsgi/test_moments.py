from __future__ import annotations

import typing as t
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator

import pytest
import webtest

from signalpost import SignalMiddleware
from signalpost.exchange import current_exchange
from signalpost.exchange import Exchange
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import exchange_opened
from signalpost.lifecycle import EXCHANGE_SIGNALS
from signalpost.lifecycle import request_finished
from signalpost.testing import capture
from tests.wsgi.serving import exchange_of
from tests.wsgi.serving import hello
from tests.wsgi.serving import names
from tests.wsgi.serving import sandwiched
from tests.wsgi.serving import Server
from tests.wsgi.serving import streamed
from tests.wsgi.serving import streamed_by_list
from tests.wsgi.serving import TEXT

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment


def test_a_plain_request_sends_each_signal_once_in_order() -> None:
    app = SignalMiddleware(hello)
    with capture(*EXCHANGE_SIGNALS) as sent:
        assert Server().serve(app) == b"hello"
    assert names(sent) == [
        "exchange-opened",
        "request-started",
        "request-finished",
        "exchange-closed",
    ]
    assert {one.sender for one in sent} == {hello}
    assert len({id(one["exchange"]) for one in sent}) == 1


def test_validators_on_both_sides_find_nothing() -> None:
    with capture(*EXCHANGE_SIGNALS) as sent:
        response = webtest.TestApp(sandwiched(hello)).get("/")
    assert response.text == "hello"
    assert response.content_length == 5
    assert len(sent) == 4


def test_validators_on_both_sides_find_nothing_in_a_stream() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        return iter([b"one", b"two"])

    with capture(exchange_closed) as sent:
        assert webtest.TestApp(sandwiched(app)).get("/").text == "onetwo"
    assert exchange_of(sent).outcome == "complete"


def test_a_closed_exchange_has_all_values() -> None:
    with capture(exchange_closed) as sent:
        Server().serve(
            SignalMiddleware(hello), path="/a", SCRIPT_NAME="/shop", method="POST"
        )
    exchange = exchange_of(sent)
    assert (exchange.method, exchange.script_name, exchange.path) == (
        "POST",
        "/shop",
        "/a",
    )
    assert (exchange.status, exchange.outcome) == (200, "complete")
    assert (exchange.body_bytes, exchange.body_bytes_exact) == (5, True)
    assert exchange.exception is None
    assert exchange.route is None
    times = (
        exchange.seconds_to_headers,
        exchange.seconds_to_first_byte,
        exchange.duration_seconds,
    )
    assert None not in times
    assert [0.0, *times] == sorted([0.0, *(one for one in times if one is not None)])
    assert exchange.started_at > 1_700_000_000


def test_request_finished_comes_before_the_body() -> None:
    app = SignalMiddleware(streamed_by_list)
    with capture(request_finished) as sent:
        body = Server().call(app)
        assert len(sent) == 1
    response = sent[0]["response"]
    assert (response.status, response.status_code) == ("200 OK", 200)
    assert response.headers["content-type"] == "text/plain"
    assert list(body) == [b"one", b"two"]


@pytest.mark.parametrize("app", [hello, streamed_by_list, streamed])
def test_the_status_is_known_within_request_finished(app: WSGIApplication) -> None:
    seen: list[object] = []

    def read(sender: object, exchange: Exchange) -> None:
        seen.append((exchange.status, exchange.seconds_to_headers is not None))
        seen.append((exchange.outcome, exchange.seconds_to_first_byte))

    with request_finished.connected_to(read):
        Server().serve(SignalMiddleware(app))
    assert seen == [(200, True), (None, None)]


@pytest.mark.parametrize("app", [hello, streamed_by_list, streamed])
def test_a_header_set_in_request_finished_changes_nothing(app: WSGIApplication) -> None:
    def mark(sender: object, response: t.Any) -> None:
        response.headers["X-Marked"] = "yes"
        del response.headers["Content-Type"]

    expected, server = Server(), Server()
    expected.serve(app)
    with request_finished.connected_to(mark):
        server.serve(SignalMiddleware(app))
    assert (server.status, server.headers) == (expected.status, expected.headers)


@pytest.mark.parametrize("app", [hello, streamed_by_list, streamed])
def test_a_middleware_inside_sets_a_header_of_the_exchange(
    app: WSGIApplication,
) -> None:
    def marking(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *error: t.Any) -> t.Any:
            exchange = current_exchange()
            assert exchange is not None
            return start_response(status, [*headers, ("X-Path", exchange.path)], *error)

        return app(environ, start)

    server = Server()
    with capture(exchange_closed):
        server.serve(SignalMiddleware(marking), path="/items")
    assert ("X-Path", "/items") in server.headers


def test_request_finished_waits_for_a_late_start_response() -> None:
    app = SignalMiddleware(streamed)
    with capture(*EXCHANGE_SIGNALS) as sent:
        body = iter(Server().call(app))
        assert "request-finished" not in names(sent)
        assert next(body) == b"one"
        assert names(sent)[-1] == "request-finished"
        assert sent[-1]["response"].status_code == 200


def test_a_late_start_without_a_chunk_still_finishes() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("204 No Content", [])
        yield from ()

    with capture(request_finished, exchange_closed) as sent:
        Server().serve(SignalMiddleware(app))
    assert names(sent) == ["request-finished", "exchange-closed"]
    assert exchange_of(sent).status == 204


def test_the_duration_covers_the_body(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0
    monkeypatch.setattr("time.perf_counter", lambda: clock)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        nonlocal clock
        start_response("200 OK", TEXT)
        yield b"one"
        clock = 3.0
        yield b"two"

    with capture(exchange_closed) as sent:
        Server().serve(SignalMiddleware(app))
    exchange = exchange_of(sent)
    assert exchange.seconds_to_first_byte == 0.0
    assert exchange.duration_seconds == 3.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that advances the clock."""
    now = 0.0

    def wait(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr("time.perf_counter", lambda: now)
    return wait


def test_the_return_is_known_once_the_call_has_ended(
    clock: Callable[[float], None],
) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        clock(2)
        return iter([b"one"])

    with capture(exchange_opened, request_finished, exchange_closed) as sent:
        seen: list[float | None] = []

        def note(sender: object, exchange: Exchange) -> None:
            seen.append(exchange.seconds_to_return)
            clock(1)

        with (
            exchange_opened.connected_to(note),
            request_finished.connected_to(note),
            exchange_closed.connected_to(note),
        ):
            Server().serve(SignalMiddleware(app))
    assert seen == [None, 3, 3]
    assert exchange_of(sent).seconds_to_headers == 1


@pytest.mark.parametrize("error", [LookupError, SystemExit, StopIteration])
def test_a_call_that_raises_has_ended(
    clock: Callable[[float], None], error: type[BaseException]
) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> t.NoReturn:
        start_response("200 OK", TEXT)
        clock(2)
        raise error

    with capture(exchange_closed) as sent, pytest.raises(error):
        Server().serve(SignalMiddleware(app))
    assert exchange_of(sent).seconds_to_return == 2


def test_a_receiver_that_raises_after_the_return_does_not_move_it(
    clock: Callable[[float], None],
) -> None:
    def refuse(sender: object) -> t.NoReturn:
        clock(5)
        raise LookupError

    with (
        capture(exchange_closed) as sent,
        request_finished.connected_to(refuse),
        pytest.raises(LookupError),
    ):
        Server().serve(SignalMiddleware(hello, strict=True))
    assert exchange_of(sent).seconds_to_return == 0


@pytest.mark.parametrize("app", [hello, streamed, streamed_by_list])
def test_the_return_comes_before_the_body(
    app: WSGIApplication, clock: Callable[[float], None]
) -> None:
    with capture(exchange_closed) as sent:
        body = Server().call(SignalMiddleware(app))
        clock(4)
        list(body)
        body.close()  # type: ignore[attr-defined]  # as in PEP 3333
    exchange = exchange_of(sent)
    assert (exchange.seconds_to_return, exchange.duration_seconds) == (0, 4)
