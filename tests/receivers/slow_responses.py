"""Responses that take long in each way there is, on a clock of the tests' own."""

from __future__ import annotations

import typing as t
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType

import flask

from signalpost import SignalMiddleware
from signalpost.integrations.flask import Signalpost
from tests.wsgi.serving import environ_of
from tests.wsgi.serving import TEXT

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

WEBSOCKET = {"HTTP_UPGRADE": "WebSocket"}


class Clock:
    """Replaces :func:`time.perf_counter`; advances by a given time."""

    def __init__(self) -> None:
        self.seconds = 64.0

    def __call__(self) -> float:
        return self.seconds

    def wait(self, seconds: float) -> None:
        self.seconds += seconds


class Slow(t.NamedTuple):
    """A response that takes long, and what its times are, in seconds."""

    make: Callable[[Clock], WSGIApplication]
    """Returns the application."""
    response_seconds: float | None
    stream_seconds: float | None = None
    environ: Mapping[str, str] = MappingProxyType({})
    """Additions to the environment."""
    read_seconds: float = 0
    """How long the client takes to read a chunk."""
    chunks: int | None = None
    """How many chunks the client reads before it leaves; ``None`` for all."""


def serve(slow: Slow, app: WSGIApplication, clock: Clock) -> None:
    """Do what a server does, whatever the application raises."""
    environ = environ_of(**slow.environ)
    environ["wsgi.file_wrapper"] = FileWrapper
    with suppress(LookupError, SystemExit, StopIteration, ConnectionError):
        body: t.Any = app(environ, lambda status, headers, exc_info=None: len)
        try:
            for number, _ in enumerate(body, 1):
                clock.wait(slow.read_seconds)
                if number == slow.chunks:
                    break
        finally:
            if hasattr(body, "close"):
                body.close()


class FileWrapper:
    def __init__(self, file: t.Any, size: int = 1) -> None:
        self.file = file
        self.close = file.close

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.file)


class File:
    def __iter__(self) -> Iterator[bytes]:
        return iter([b"one", b"two"])

    def close(self) -> None:
        pass


def wsgi(work: Callable[..., t.Any]) -> Callable[[Clock], WSGIApplication]:
    """Return what makes a layer around an application, which gets the clock."""

    def make(clock: Clock) -> WSGIApplication:
        def app(
            environ: WSGIEnvironment, start_response: StartResponse
        ) -> Iterable[bytes]:
            def start(status: str = "200 OK") -> Callable[[bytes], object]:
                return start_response(status, TEXT)

            return t.cast("Iterable[bytes]", work(clock.wait, start, environ))

        return SignalMiddleware(app)

    return make


def view(work: Callable[..., t.Any]) -> Callable[[Clock], WSGIApplication]:
    """Return what makes a Flask application with a view, which gets the clock."""

    def make(clock: Clock) -> WSGIApplication:
        app = flask.Flask("shop")
        Signalpost(app)
        app.add_url_rule("/", view_func=lambda: work(clock.wait))
        # As a commit, which the client waits for: the body is sent after it.
        app.teardown_request(lambda error: clock.wait(0.25))
        return app

    return make


Wait: t.TypeAlias = Callable[[float], None]
Start: t.TypeAlias = Callable[..., Callable[[bytes], object]]
Environ: t.TypeAlias = dict[str, t.Any]


def of_list(wait: Wait, start: Start, environ: Environ) -> Iterable[bytes]:
    wait(2)
    start()
    return [b"one"]


def of_list_after_start(wait: Wait, start: Start, environ: Environ) -> Iterable[bytes]:
    start()
    wait(2)
    return [b"one"]


def of_nothing_after_start(
    wait: Wait, start: Start, environ: Environ
) -> Iterable[bytes]:
    start("204 No Content")
    wait(2)
    return iter(())


def of_generator(wait: Wait, start: Start, environ: Environ) -> Iterator[bytes]:
    wait(2)
    start()
    yield b"one"


def of_stream(wait: Wait, start: Start, environ: Environ) -> Iterable[bytes]:
    def body() -> Iterator[bytes]:
        yield b"one"
        wait(600)
        yield b"two"

    wait(0.5)
    start()
    return body()


def of_late_stream(wait: Wait, start: Start, environ: Environ) -> Iterator[bytes]:
    wait(0.5)
    start()
    yield b"one"
    wait(600)
    yield b"two"


def of_short_stream(wait: Wait, start: Start, environ: Environ) -> Iterable[bytes]:
    wait(2)
    start()
    wait(1 / 256)
    return iter([b"one"])


def of_failing_stream(wait: Wait, start: Start, environ: Environ) -> Iterator[bytes]:
    start()
    yield b"one"
    wait(600)
    raise LookupError


def of_written(wait: Wait, start: Start, environ: Environ) -> Iterable[bytes]:
    write = start()
    wait(0.5)
    write(b"one")
    wait(600)
    write(b"two")
    return []


def of_written_and_failed(
    wait: Wait, start: Start, environ: Environ
) -> Iterable[bytes]:
    start()(b"one")
    wait(600)
    raise LookupError


def of_timeout(wait: Wait, start: Start, environ: Environ) -> t.NoReturn:
    wait(30)
    raise SystemExit(1)


def of_timeout_after_start(wait: Wait, start: Start, environ: Environ) -> t.NoReturn:
    start()
    wait(30)
    raise SystemExit(1)


def of_file(wait: Wait, start: Start, environ: Environ) -> Iterable[bytes]:
    start()
    return t.cast("Iterable[bytes]", environ["wsgi.file_wrapper"](File()))


def of_websocket(error: Exception) -> Callable[..., t.NoReturn]:
    def work(wait: Wait, start: Start, environ: Environ) -> t.NoReturn:
        wait(3600)
        raise error

    return work


def of_websocket_with_response(
    wait: Wait, start: Start, environ: Environ
) -> Iterable[bytes]:
    wait(3600)
    start()
    return [b""]


def of_switched_protocol(wait: Wait, start: Start, environ: Environ) -> Iterable[bytes]:
    start("101 Switching Protocols")
    wait(3600)
    return []


def of_flask(wait: Wait) -> str:
    wait(2)
    return "one"


def of_flask_stream(wait: Wait) -> flask.Response:
    def body() -> Iterator[str]:
        # Before the first chunk, as a feed without news.
        wait(600)
        yield "one"

    wait(0.5)
    return flask.Response(body())


def of_flask_failure(wait: Wait) -> t.NoReturn:
    wait(3600)
    raise LookupError


SLOW: dict[str, Slow] = {
    "list": Slow(wsgi(of_list), 2),
    "list, read slowly": Slow(wsgi(of_list), 2, 9, read_seconds=7),
    "list after start": Slow(wsgi(of_list_after_start), 2),
    "nothing after start": Slow(wsgi(of_nothing_after_start), 2),
    "generator": Slow(wsgi(of_generator), 2),
    "generator, HEAD": Slow(wsgi(of_generator), 2, environ={"REQUEST_METHOD": "HEAD"}),
    "stream": Slow(wsgi(of_stream), 0.5, 600.5),
    "stream, read slowly": Slow(wsgi(of_stream), 0.5, 614.5, read_seconds=7),
    "stream, aborted": Slow(wsgi(of_stream), 0.5, 7.5, read_seconds=7, chunks=1),
    "stream, aborted at once": Slow(wsgi(of_stream), 0.5, chunks=1),
    "late stream": Slow(wsgi(of_late_stream), 0.5, 600.5),
    "short stream": Slow(wsgi(of_short_stream), 2 + 1 / 256),
    "failing stream": Slow(wsgi(of_failing_stream), 0, 600),
    "written": Slow(wsgi(of_written), 0.5, 600.5),
    "written and failed": Slow(wsgi(of_written_and_failed), 0, 600),
    "timeout": Slow(wsgi(of_timeout), 30),
    "timeout after start": Slow(wsgi(of_timeout_after_start), 30),
    "file": Slow(wsgi(of_file), 0, 14, read_seconds=7),
    "websocket": Slow(wsgi(of_websocket(StopIteration())), None),
    "websocket under Werkzeug": Slow(
        wsgi(of_websocket(ConnectionError())), None, environ=WEBSOCKET
    ),
    "websocket that failed": Slow(
        wsgi(of_websocket(LookupError())), None, environ=WEBSOCKET
    ),
    "websocket with a response": Slow(
        wsgi(of_websocket_with_response), None, environ=WEBSOCKET
    ),
    "switched protocol": Slow(wsgi(of_switched_protocol), None),
    "Flask": Slow(view(of_flask), 2.25),
    "Flask, read slowly": Slow(view(of_flask), 2.25, 9.25, read_seconds=7),
    "Flask stream": Slow(view(of_flask_stream), 0.75, 600.75),
    "Flask failure": Slow(view(of_flask_failure), 3600.25),
    "Flask websocket that failed": Slow(
        view(of_flask_failure), None, environ=WEBSOCKET
    ),
}
