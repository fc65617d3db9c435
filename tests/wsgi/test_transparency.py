from __future__ import annotations

import sys
import typing as t
from collections.abc import Callable
from collections.abc import Iterable

import pytest

from signalpost import SignalMiddleware
from signalpost.exchange import EXCHANGE_KEY
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import got_request_exception
from signalpost.testing import capture
from tests.wsgi.serving import environ_of
from tests.wsgi.serving import exchange_of
from tests.wsgi.serving import hello
from tests.wsgi.serving import names
from tests.wsgi.serving import Server
from tests.wsgi.serving import streamed
from tests.wsgi.serving import TEXT

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIEnvironment


def test_without_receivers_the_applications_own_body_is_returned() -> None:
    body = [b"hello"]

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", TEXT)
        return body

    server = Server()
    assert server.call(SignalMiddleware(app)) is body


def test_without_receivers_the_servers_start_response_is_passed_on() -> None:
    seen: list[object] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        seen.append(start_response)
        start_response("200 OK", TEXT)
        return []

    server = Server()
    server.call(SignalMiddleware(app))
    assert seen == [server.start_response]


def test_a_receiver_of_another_sender_is_not_listening() -> None:
    def other(sender: object, **_: object) -> None:
        raise AssertionError

    body = [b"hello"]

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", TEXT)
        return body

    with exchange_closed.connected_to(other, sender=hello):
        assert Server().call(SignalMiddleware(app)) is body


def test_the_application_gets_the_servers_environ() -> None:
    seen: list[WSGIEnvironment] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        seen.append(environ)
        start_response("200 OK", TEXT)
        return [b""]

    environ = environ_of()
    before = dict(environ)
    with capture(exchange_closed):
        body = SignalMiddleware(app)(environ, Server().start_response)
        assert environ[EXCHANGE_KEY].method == "GET"
        t.cast("t.Any", body).close()
    assert seen[0] is environ
    assert environ == before


def test_a_list_keeps_its_length() -> None:
    with capture(exchange_closed):
        body = Server().call(SignalMiddleware(hello))
        assert len(t.cast("list[bytes]", body)) == 1
        assert not hasattr(Server().call(SignalMiddleware(streamed)), "__len__")


def test_an_empty_list_comes_back_as_it_is_and_is_closed() -> None:
    body: list[bytes] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        start_response("204 No Content", [])
        return body

    with capture(exchange_closed) as sent:
        assert Server().call(SignalMiddleware(app)) is body
    assert exchange_of(sent).outcome == "complete"


def test_an_empty_list_without_a_status_is_a_hijacked_connection() -> None:
    with capture(exchange_closed, got_request_exception) as sent:
        Server().call(SignalMiddleware(lambda environ, start_response: []))
    assert exchange_of(sent).outcome == "hijacked"
    assert names(sent) == ["exchange-closed"]


def test_written_bytes_go_through_and_are_counted() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", TEXT)
        write(b"written ")
        return [b"returned"]

    with capture(exchange_closed) as sent:
        assert Server().serve(SignalMiddleware(app)) == b"written returned"
    assert exchange_of(sent).body_bytes == 16
    assert exchange_of(sent).seconds_to_first_byte is not None


def test_the_second_start_response_with_exc_info_decides_the_status() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        try:
            raise LookupError
        except LookupError:
            start_response("500 Internal Server Error", TEXT, sys.exc_info())
        return [b"sorry"]

    server = Server()
    with capture(exchange_closed) as sent:
        server.serve(SignalMiddleware(app))
    assert exchange_of(sent).status == 500
    assert server.status == "500 Internal Server Error"


def test_a_server_whose_start_response_takes_two_arguments_serves() -> None:
    started: list[str] = []

    def two(status: str, headers: list[tuple[str, str]]) -> Callable[[bytes], None]:
        started.append(status)
        return lambda data: None

    with capture(exchange_closed):
        SignalMiddleware(hello)(environ_of(), t.cast("StartResponse", two))
    assert started == ["200 OK"]


def test_a_refused_start_response_is_the_applications_to_see() -> None:
    def refusing(status: str, headers: object, exc_info: object = None) -> t.Any:
        raise RuntimeError("headers already sent")

    with capture(exchange_closed) as sent, pytest.raises(RuntimeError, match="already"):
        SignalMiddleware(hello)(environ_of(), refusing)
    assert exchange_of(sent).status is None


def test_the_server_is_reached_through_start_response() -> None:
    found: list[object] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        found.append(t.cast("t.Any", start_response).__self__)
        start_response("200 OK", TEXT)
        return [b""]

    server = Server()
    with capture(exchange_closed):
        server.serve(SignalMiddleware(app))
    assert found == [server]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("200", 200),
        ("404 Not Found", 404),
        ("200OK", 200),
        ("", None),
        ("OK", None),
        ("\N{FULLWIDTH DIGIT TWO}00 OK", None),
    ],
)
def test_any_status_line_goes_through(status: str, code: int | None) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response(status, TEXT)
        return [b"x"]

    server = Server()
    with capture(exchange_closed) as sent:
        server.serve(SignalMiddleware(app))
    assert server.status == status
    assert exchange_of(sent).status == code


@pytest.mark.parametrize("missing", ["PATH_INFO", "SCRIPT_NAME", "REQUEST_METHOD"])
def test_an_incomplete_environ_is_no_error(missing: str) -> None:
    environ = environ_of()
    environ.pop(missing, None)
    with capture(exchange_closed) as sent:
        body = SignalMiddleware(hello)(environ, Server().start_response)
        t.cast("t.Any", body).close()
    assert len(sent) == 1
