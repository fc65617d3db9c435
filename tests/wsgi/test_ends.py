from __future__ import annotations

import gc
import typing as t
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator

import pytest

from signalpost import SignalMiddleware
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import EXCHANGE_SIGNALS
from signalpost.lifecycle import got_request_exception
from signalpost.lifecycle import request_finished
from signalpost.testing import capture
from tests.wsgi.serving import answer_with
from tests.wsgi.serving import Closable
from tests.wsgi.serving import exchange_of
from tests.wsgi.serving import hello
from tests.wsgi.serving import names
from tests.wsgi.serving import Server
from tests.wsgi.serving import streamed
from tests.wsgi.serving import streamed_by_list
from tests.wsgi.serving import TEXT

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment


def test_unread_body_is_aborted() -> None:
    with capture(exchange_closed) as sent:
        body = Server().call(SignalMiddleware(streamed))
        t.cast("t.Any", body).close()
    assert len(sent) == 1
    assert exchange_of(sent).outcome == "aborted"


def test_a_body_closed_in_the_middle_is_aborted() -> None:
    with capture(*EXCHANGE_SIGNALS) as sent:
        body = Server().call(SignalMiddleware(streamed))
        next(iter(body))
        t.cast("t.Any", body).close()
    exchange = exchange_of(sent)
    assert (exchange.outcome, exchange.status, exchange.body_bytes) == (
        "aborted",
        200,
        3,
    )
    assert "got-request-exception" not in names(sent)


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", "200 OK"), ("GET", "304 Not Modified")]
)
def test_an_unread_body_that_is_not_sent_is_complete(method: str, status: str) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response(status, TEXT)
        return [b""]

    with capture(exchange_closed) as sent:
        body = Server().call(SignalMiddleware(app), method=method)
        t.cast("t.Any", body).close()
    assert exchange_of(sent).outcome == "complete"


def test_a_body_read_as_far_as_its_content_length_is_complete() -> None:
    with capture(exchange_closed) as sent:
        body = Server().call(SignalMiddleware(hello))
        next(iter(body))
        t.cast("t.Any", body).close()
    assert exchange_of(sent).outcome == "complete"


def test_closing_twice_closes_the_application_once() -> None:
    body = Closable([b"one"])
    app = SignalMiddleware(answer_with(body))
    with capture(exchange_closed) as sent:
        returned = t.cast("t.Any", Server().call(app))
        returned.close()
        returned.close()
    assert body.closed == 1
    assert len(sent) == 1


def test_next_after_the_end_ends_again() -> None:
    with capture(exchange_closed):
        body = iter(Server().call(SignalMiddleware(streamed)))
        assert list(body) == [b"one", b"two"]
        assert list(body) == []


def test_a_failing_call_is_sent_closed_and_raised() -> None:
    error = LookupError("no")

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        raise error

    with capture(*EXCHANGE_SIGNALS) as sent, pytest.raises(LookupError) as raised:
        Server().call(SignalMiddleware(app))
    assert raised.value is error
    assert names(sent)[2:] == ["got-request-exception", "exchange-closed"]
    assert (sent[2]["exception"], sent[2]["where"]) == (error, "call")
    exchange = exchange_of(sent)
    assert (exchange.outcome, exchange.exception, exchange.status) == (
        "error",
        error,
        None,
    )


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_what_is_no_exception_is_recorded_too(kind: type[BaseException]) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        raise kind

    with capture(got_request_exception, exchange_closed) as sent, pytest.raises(kind):
        Server().call(SignalMiddleware(app))
    assert names(sent) == ["got-request-exception", "exchange-closed"]


def test_stop_iteration_out_of_the_call_is_a_hijacked_connection() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        raise StopIteration

    with capture(*EXCHANGE_SIGNALS) as sent, pytest.raises(StopIteration):
        Server().call(SignalMiddleware(app))
    assert exchange_of(sent).outcome == "hijacked"
    assert "got-request-exception" not in names(sent)


# As Flask-SocketIO ends a WebSocket under Werkzeug's server.
@pytest.mark.parametrize(
    ("kind", "upgrade", "starts", "outcome"),
    [
        (ConnectionError, "WebSocket", False, "hijacked"),
        (ConnectionError, "websocket", True, "error"),
        (ConnectionError, None, False, "error"),
        (ConnectionRefusedError, "websocket", False, "error"),
    ],
)
def test_a_bare_connection_error_ends_a_web_socket(
    kind: type[Exception], upgrade: str | None, starts: bool, outcome: str
) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if starts:
            start_response("200 OK", TEXT)
        raise kind

    more = {} if upgrade is None else {"HTTP_UPGRADE": upgrade}
    with capture(*EXCHANGE_SIGNALS) as sent, pytest.raises(kind):
        Server().call(SignalMiddleware(app), **more)
    assert exchange_of(sent).outcome == outcome
    assert ("got-request-exception" in names(sent)) == (outcome == "error")


def test_an_error_in_the_body_is_sent_and_raised() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        yield b"one"
        raise LookupError("no")

    with (
        capture(got_request_exception, exchange_closed) as sent,
        pytest.raises(LookupError),
    ):
        Server().serve(SignalMiddleware(app))
    assert sent[0]["where"] == "iteration"
    assert exchange_of(sent).outcome == "error"
    assert exchange_of(sent).body_bytes == 3


def test_a_body_that_is_not_iterable_fails_as_without_us() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
        start_response("200 OK", TEXT)

    with capture(exchange_closed) as sent, pytest.raises(TypeError, match="iterable"):
        Server().serve(SignalMiddleware(app))
    assert exchange_of(sent).outcome == "error"


def test_an_error_in_close_is_sent_and_raised() -> None:
    body = Closable([b"one"], LookupError("no"))
    with (
        capture(got_request_exception, exchange_closed) as sent,
        pytest.raises(LookupError),
    ):
        Server().serve(SignalMiddleware(answer_with(body)))
    assert sent[0]["where"] == "close"
    assert names(sent)[1:] == ["exchange-closed"]


def test_a_body_that_ends_without_a_status_is_an_error() -> None:
    app = SignalMiddleware(lambda environ, start_response: iter([b"x"]))
    with capture(exchange_closed) as sent:
        Server().serve(app)
    assert (exchange_of(sent).outcome, exchange_of(sent).status) == ("error", None)


def test_a_whole_body_that_is_never_closed_is_complete_at_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = 0.0
    monkeypatch.setattr("time.perf_counter", lambda: clock)
    with capture(exchange_closed) as sent:
        body = Server().call(SignalMiddleware(streamed))
        assert list(body) == [b"one", b"two"]
        clock = 60.0
        del body
        gc.collect()
    assert exchange_of(sent).outcome == "complete"
    assert exchange_of(sent).duration_seconds == 0.0


def test_a_body_that_is_never_closed_is_lost() -> None:
    with capture(exchange_closed) as sent:
        body = Server().call(SignalMiddleware(streamed))
        del body
        gc.collect()
    assert exchange_of(sent).outcome == "lost"


def test_a_list_that_is_never_closed_was_handed_over_whole() -> None:
    with capture(exchange_closed) as sent:
        body = Server().call(SignalMiddleware(hello))
        del body
        gc.collect()
    exchange = exchange_of(sent)
    assert (exchange.outcome, exchange.body_bytes) == ("complete", 5)


@pytest.mark.parametrize("kind", [list, iter])
def test_a_chunk_without_a_length_is_left_to_the_server(
    kind: Callable[[list[t.Any]], Iterable[bytes]],
) -> None:
    app = SignalMiddleware(answer_with(kind([b"one", 7])))
    with capture(exchange_closed) as sent:
        body = Server().call(app)
        assert list(body) == [b"one", 7]
        t.cast("t.Any", body).close()
    assert exchange_of(sent).body_bytes == 3


@pytest.mark.parametrize("app", [hello, streamed])
def test_a_body_that_is_read_after_its_close_is_empty(app: WSGIApplication) -> None:
    with capture(exchange_closed):
        body = Server().call(SignalMiddleware(app))
        t.cast("t.Any", body).close()
        assert list(iter(body)) == []


def test_an_iterator_that_ends_after_the_close_changes_nothing() -> None:
    with capture(exchange_closed) as sent:
        body = t.cast("t.Any", Server().call(SignalMiddleware(streamed_by_list)))
        chunks = iter(body)
        next(chunks)
        body.close()
        assert list(chunks) == [b"two"]
    assert (exchange_of(sent).outcome, exchange_of(sent)._is_complete) == (
        "aborted",
        False,
    )


def test_a_response_that_is_started_after_the_close_reaches_the_server() -> None:
    kept: list[StartResponse] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        kept.append(start_response)
        return []

    server = Server()
    with capture(exchange_closed) as sent:
        server.serve(SignalMiddleware(app))
    kept[0]("200 OK", TEXT)(b"late")
    assert (server.status, server.written) == ("200 OK", b"late")
    assert (exchange_of(sent).status, exchange_of(sent).body_bytes) == (None, 0)


def test_headers_that_can_be_read_once_are_left_to_the_server() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", t.cast("t.Any", iter(TEXT)))
        return [b"one"]

    server = Server()
    with capture(request_finished) as sent:
        server.serve(SignalMiddleware(app))
    assert list(server.headers) == TEXT
    assert sent[0]["response"].headers.items() == []
