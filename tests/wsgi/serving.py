"""A server and some applications, for the tests of this folder."""

from __future__ import annotations

import typing as t
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

from signalpost import SignalMiddleware
from signalpost.exchange import Exchange
from signalpost.testing import Sent

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

TEXT = [("Content-Type", "text/plain")]


def environ_of(path: str = "/", method: str = "GET", **more: t.Any) -> WSGIEnvironment:
    environ: WSGIEnvironment = {"PATH_INFO": path, "REQUEST_METHOD": method, **more}
    setup_testing_defaults(environ)
    return environ


class Server:
    """A server's use of a response, and the status and headers that it got."""

    def __init__(self) -> None:
        self.status = ""
        self.headers: list[tuple[str, str]] = []
        self.written = b""

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: t.Any = None
    ) -> Callable[[bytes], object]:
        self.status = status
        self.headers = headers
        return self._write

    def _write(self, data: bytes) -> None:
        self.written += data

    def call(self, app: WSGIApplication, **environ: t.Any) -> Iterable[bytes]:
        return app(environ_of(**environ), self.start_response)

    def serve(self, app: WSGIApplication, **environ: t.Any) -> bytes:
        body = self.call(app, **environ)
        try:
            self.written += b"".join(body)
        finally:
            if hasattr(body, "close"):
                body.close()
        return self.written


def hello(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [*TEXT, ("Content-Length", "5")])
    return [b"hello"]


def streamed(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterator[bytes]:
    start_response("200 OK", TEXT)
    yield b"one"
    yield b"two"


def names(sent: list[Sent]) -> list[str]:
    return [getattr(one.signal, "name", "") for one in sent]


def exchange_of(sent: list[Sent]) -> Exchange:
    exchange = sent[-1]["exchange"]
    assert isinstance(exchange, Exchange)
    return exchange


def sandwiched(app: WSGIApplication) -> WSGIApplication:
    """Check what the middleware gives to the server and to the application."""
    return validator(SignalMiddleware(validator(app), sender=app))


def streamed_by_list(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    start_response("200 OK", TEXT)
    return [b"one", b"two"]


class Closable:
    """An iterable that is not its own iterator, and counts its closings."""

    def __init__(self, chunks: Iterable[bytes], error: Exception | None = None) -> None:
        self._chunks = chunks
        self._error = error
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._chunks)

    def close(self) -> None:
        self.closed += 1
        if self._error is not None:
            raise self._error


def answer_with(body: Iterable[bytes]) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        return body

    return app
