"""The record of a client that disconnects during its upload."""

from __future__ import annotations

import errno
import http.client
import io
import socket
import struct
import sys
import typing as t
import weakref
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from importlib import import_module

import pytest
import webob

from signalpost import SignalMiddleware
from signalpost.exchange import Exchange
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import EXCHANGE_SIGNALS
from signalpost.testing import capture
from signalpost.testing import Sent
from tests.wsgi.serving import exchange_of
from tests.wsgi.serving import names
from tests.wsgi.serving import Server
from tests.wsgi.serving import TEXT

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

Read = Callable[[t.Any], object]


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Yield a client's socket and the server's of one connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        server, _ = listening.accept()
        with client, server:
            yield client, server


def reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def chunked_input(server: socket.socket) -> t.Any:
    """Return gunicorn's input for an upload in chunks."""
    http = import_module("gunicorn.http.body")
    unreader = import_module("gunicorn.http.unreader").SocketUnreader(server)
    return http.Body(http.ChunkedReader(None, unreader))


def reading(read: Read) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        read(environ["wsgi.input"])
        start_response("200 OK", TEXT)
        return []

    return app


def serve_failing(
    app: WSGIApplication, raised: type[BaseException], source: object, **more: t.Any
) -> list[Sent]:
    """Serve what raises, and return what was sent."""
    with capture(*EXCHANGE_SIGNALS) as sent, pytest.raises(raised):
        Server().serve(SignalMiddleware(app), **{"wsgi.input": source, **more})
    return sent


def is_aborted(sent: list[Sent]) -> bool:
    """Return whether an exchange was aborted and nothing has failed."""
    exchange = exchange_of(sent)
    return (
        exchange.outcome == "aborted"
        and exchange.exception is None
        and "got-request-exception" not in names(sent)
    )


def is_error(sent: list[Sent], raised: type[BaseException]) -> bool:
    exchange = exchange_of(sent)
    return (
        exchange.outcome == "error"
        and type(exchange.exception) is raised
        and names(sent).count("got-request-exception") == 1
    )


@pytest.mark.parametrize(
    "read",
    [
        lambda source: source.read(),
        lambda source: source.read(10),
        lambda source: source.readline(),
        lambda source: source.readlines(),
        list,
    ],
)
def test_a_reset_connection_that_is_read_is_aborted(
    read: Read, pair: tuple[socket.socket, socket.socket]
) -> None:
    client, server = pair
    reset(client)
    with server.makefile("rb") as source:
        sent = serve_failing(reading(read), ConnectionResetError, source)
    assert is_aborted(sent)
    assert exchange_of(sent).status is None


@pytest.mark.parametrize("begin", [b"5\r\nab", b"5\r\nabcde", b"5\r\nabcde\r", b"5"])
def test_a_chunk_that_ends_too_early_under_gunicorn_is_aborted(
    begin: bytes, pair: tuple[socket.socket, socket.socket]
) -> None:
    client, server = pair
    client.sendall(begin)
    client.close()
    source = chunked_input(server)
    with capture(*EXCHANGE_SIGNALS) as sent, pytest.raises(Exception, match=r"."):
        Server().serve(
            SignalMiddleware(reading(lambda source: source.read())),
            **{"wsgi.input": source},
        )
    assert is_aborted(sent)


@pytest.mark.parametrize("begin", [b"5\r\nabcdefghi", b"what\r\n"])
def test_a_chunk_that_is_wrong_under_gunicorn_is_no_client_that_left(
    begin: bytes, pair: tuple[socket.socket, socket.socket]
) -> None:
    client, server = pair
    client.sendall(begin)
    source = chunked_input(server)
    with capture(*EXCHANGE_SIGNALS) as sent, pytest.raises(Exception, match=r"."):
        Server().serve(
            SignalMiddleware(reading(lambda source: source.read())),
            **{"wsgi.input": source},
        )
    assert exchange_of(sent).outcome == "error"


class Input:
    """A server's input written in Python."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def read(self, size: int = -1) -> bytes:
        raise self._error


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(errno.ECONNRESET, "reset"),
        BrokenPipeError(),
        TimeoutError("timed out"),
        OSError("unexpected end of file while reading request at position 9"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_of_the_connection_that_an_input_raises_is_aborted(
    error: OSError,
) -> None:
    app = reading(lambda source: source.read())
    assert is_aborted(serve_failing(app, type(error), Input(error)))


@pytest.mark.parametrize(
    "error",
    [ValueError("closed file"), TypeError("size"), io.UnsupportedOperation("seek")],
    ids=lambda error: type(error).__name__,
)
def test_a_misuse_of_the_input_is_a_failure(error: Exception) -> None:
    app = reading(lambda source: source.read())
    assert is_error(serve_failing(app, type(error), Input(error)), type(error))


NativeInput = type("_Input", (io.BytesIO,), {"__module__": "uwsgi"})


@pytest.mark.parametrize(
    ("message", "has_left"),
    [
        ("error during read(4096) on wsgi.input", True),
        ("timeout during readline(0) on wsgi.input", True),
        ("disk full", False),
    ],
)
def test_an_input_written_in_c_is_known_by_its_message(
    message: str, has_left: bool
) -> None:
    def read(source: object) -> None:
        raise OSError(message)

    sent = serve_failing(reading(read), OSError, NativeInput())
    assert is_aborted(sent) if has_left else is_error(sent, OSError)


def test_a_failure_of_a_function_that_is_given_the_input_is_its_own() -> None:
    class Shop:
        def read(self, source: object) -> None:
            raise ConnectionResetError

    app = reading(lambda source: Shop.read(source, source))
    sent = serve_failing(app, ConnectionResetError, Input(OSError()))
    assert is_error(sent, ConnectionResetError)


def test_the_message_alone_is_a_failure_behind_another_server() -> None:
    def read(source: object) -> None:
        raise OSError("error during read(4096) on wsgi.input")

    assert is_error(serve_failing(reading(read), OSError, io.BytesIO()), OSError)


def test_a_reset_of_the_application_s_own_connection_is_a_failure(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    def ask_another(source: object) -> None:
        with http.client.HTTPResponse(server) as response:
            reset(client)
            response.begin()

    client, server = pair
    with socket.socket() as own, own.makefile("rb") as source:
        sent = serve_failing(reading(ask_another), ConnectionResetError, source)
    assert is_error(sent, ConnectionResetError)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), BrokenPipeError()])
def test_a_failure_of_what_the_application_put_around_the_input_is_its_own(
    error: OSError,
) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["wsgi.input"] = Input(error)
        return reading(lambda source: source.read())(environ, start_response)

    sent = serve_failing(app, type(error), io.BytesIO())
    assert is_error(sent, type(error))


def test_a_reset_that_passes_what_the_application_put_around_it_is_aborted() -> None:
    class Around:
        def __init__(self, inner: t.Any) -> None:
            self._inner = inner

        def read(self, size: int = -1) -> object:
            return self._inner.read(size)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["wsgi.input"] = Around(environ["wsgi.input"])
        return reading(lambda source: source.read())(environ, start_response)

    source = Input(ConnectionResetError())
    assert is_aborted(serve_failing(app, ConnectionResetError, source))


class UploadError(Exception):
    pass


def test_an_exception_raised_from_that_of_the_input_is_aborted() -> None:
    def read(source: t.Any) -> None:
        try:
            source.read()
        except OSError as error:
            raise UploadError from error

    source = Input(ConnectionResetError())
    assert is_aborted(serve_failing(reading(read), UploadError, source))


def test_a_failure_while_that_of_the_input_is_handled_is_a_failure() -> None:
    def read(source: t.Any) -> None:
        try:
            source.read()
        except OSError:
            raise UploadError  # noqa: B904  # what is tested

    source = Input(ConnectionResetError())
    assert is_error(serve_failing(reading(read), UploadError, source), UploadError)


def test_causes_in_a_ring_are_looked_at_once() -> None:
    def read(source: object) -> None:
        one, other = UploadError(), UploadError()
        one.__cause__, other.__cause__ = other, one
        raise one

    sent = serve_failing(reading(read), UploadError, io.BytesIO())
    assert is_error(sent, UploadError)


def test_an_upload_that_ends_too_early_for_webob_is_aborted() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return [webob.Request(environ).body]

    more = {"REQUEST_METHOD": "POST", "CONTENT_LENGTH": "10"}
    sent = serve_failing(app, OSError, io.BytesIO(b"123"), **more)
    assert is_aborted(sent)


def test_an_upload_read_while_the_body_is_produced_is_aborted() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        yield b"one"
        yield environ["wsgi.input"].read()

    sent = serve_failing(app, OSError, Input(ConnectionResetError()))
    assert is_aborted(sent)
    assert exchange_of(sent).body_bytes == len(b"one")
    assert exchange_of(sent).status == 200


def test_an_error_page_for_a_client_that_left_is_aborted() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            environ["wsgi.input"].read()
        except OSError:
            start_response("500 Oops", TEXT, sys.exc_info())
        return [b"sorry"]

    with capture(*EXCHANGE_SIGNALS) as sent:
        body = Server().serve(
            SignalMiddleware(app), **{"wsgi.input": Input(ConnectionResetError())}
        )
    assert body == b"sorry"
    assert is_aborted(sent)
    # No client gets the page.
    assert exchange_of(sent).status is None


def test_what_fails_after_the_client_left_is_a_failure() -> None:
    class Body:
        def __init__(self, source: t.Any) -> None:
            self._source = source

        def __iter__(self) -> Iterator[bytes]:
            yield self._source.read()

        def close(self) -> None:
            raise UploadError

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        return Body(environ["wsgi.input"])

    source = Input(ConnectionResetError())
    assert is_error(serve_failing(app, UploadError, source), UploadError)


def test_an_exception_that_raises_when_it_is_looked_at_is_a_failure() -> None:
    class OddError(OSError):
        def __getattribute__(self, name: str) -> object:
            raise UploadError

    def read(source: object) -> None:
        raise OddError

    assert is_error(serve_failing(reading(read), OddError, io.BytesIO()), OddError)


def test_an_exchange_keeps_no_input_after_its_close() -> None:
    exchange = Exchange({"wsgi.input": io.BytesIO()}, object())
    exchange._release()
    assert exchange._server_input is None


def test_an_exception_that_is_kept_keeps_no_exchange() -> None:
    kept: list[BaseException] = []
    exchanges: list[weakref.ref[Exchange]] = []

    def note(sender: object, exchange: Exchange) -> None:
        exchanges.append(weakref.ref(exchange))

    def read(source: object) -> None:
        raise ConnectionResetError

    def serve() -> None:
        try:
            Server().serve(SignalMiddleware(reading(read)))
        except ConnectionResetError as error:
            kept.append(error)

    with exchange_closed.connected_to(note):
        serve()
    assert kept
    assert [exchange() for exchange in exchanges] == [None]
