"""Nothing stays in memory after very many requests of all kinds."""

from __future__ import annotations

import contextlib
import gc
import itertools
import tracemalloc
import typing as t
import weakref
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import ExitStack
from wsgiref.util import FileWrapper

import flask
import pytest

from signalpost import SignalMiddleware
from signalpost._current import context_exchange
from signalpost._current import producing
from signalpost.exchange import current_exchange
from signalpost.exchange import Exchange
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import EXCHANGE_SIGNALS
from tests.wsgi.serving import environ_of
from tests.wsgi.serving import hello
from tests.wsgi.serving import streamed
from tests.wsgi.serving import TEXT

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

# In ten thousand requests, or a thousand and more by the extension. An exchange takes
# some hundred bytes, so that a few of a thousand would be seen.
MOST_BYTES_GROWN = 4_000

Finish = Callable[[t.Any], object]


class Body:
    """A body that is no generator, and can be weakly referenced."""

    def __init__(self) -> None:
        self._rest = iter((b"one", b"two"))

    def __iter__(self) -> Iterator[bytes]:
        return self._rest

    def close(self) -> None:
        pass


class File:
    def __init__(self) -> None:
        self._rest = [b"one"]

    def read(self, size: int = -1) -> bytes:
        return self._rest.pop() if self._rest else b""

    def close(self) -> None:
        pass


def bodied(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", TEXT)
    return Body()


def sending(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", TEXT)
    return t.cast("Iterable[bytes]", environ["wsgi.file_wrapper"](File()))


def failing(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    raise LookupError


def failing_late(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterator[bytes]:
    start_response("200 OK", TEXT)
    yield b"one"
    raise LookupError


def to_the_end(body: t.Any) -> None:
    try:
        for _ in body:
            pass
    finally:
        close(body)


def after_a_chunk(body: t.Any) -> None:
    chunks = iter(body)
    next(chunks)
    close(body)


def dropped(body: t.Any) -> None:
    next(iter(body))


def unread(body: t.Any) -> None:
    close(body)


def close(body: t.Any) -> None:
    if hasattr(body, "close"):
        body.close()


KINDS: tuple[tuple[WSGIApplication, Finish], ...] = (
    (hello, to_the_end),
    (streamed, to_the_end),
    (streamed, after_a_chunk),
    (streamed, unread),
    (streamed, dropped),
    (bodied, to_the_end),
    (failing, to_the_end),
    (failing_late, to_the_end),
    (sending, to_the_end),
    (sending, unread),
)
each_kind = pytest.mark.parametrize(
    ("app", "finish"),
    KINDS,
    ids=[f"{t.cast('t.Any', app).__name__}-{finish.__name__}" for app, finish in KINDS],
)


class Environs:
    """Makes environments, quickly."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._pattern = environ_of()

    def __call__(self) -> WSGIEnvironment:
        number = next(self._numbers)
        return {
            **self._pattern,
            "PATH_INFO": f"/{number}",
            "QUERY_STRING": f"number={number}",
            "wsgi.file_wrapper": FileWrapper,
        }


def start_response(
    status: str, headers: list[tuple[str, str]], exc_info: t.Any = None
) -> Callable[[bytes], object]:
    return len


def serve(app: WSGIApplication, environ: WSGIEnvironment, finish: Finish) -> None:
    with contextlib.suppress(LookupError):
        finish(app(environ, start_response))


def receive(sender: object, exchange: Exchange) -> None:
    # Not the exchange itself, which would be a cycle of the receiver's making.
    exchange.state["is current"] = current_exchange() is exchange


@pytest.fixture(autouse=True)
def received() -> Generator[None]:
    with ExitStack() as stack:
        for signal in EXCHANGE_SIGNALS:
            stack.enter_context(signal.connected_to(receive))
        # Other tests may have left some.
        token = context_exchange.set(None)
        producing.clear()
        yield
        context_exchange.reset(token)


@pytest.fixture
def no_collector() -> Generator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def memory() -> Generator[Callable[[], int]]:
    """Return a function that returns how many bytes are in use."""
    tracemalloc.start()

    def bytes_in_use() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    yield bytes_in_use
    tracemalloc.stop()


def exchanges_left() -> int:
    return sum(type(one) is Exchange for one in gc.get_objects())


def test_a_hundred_thousand_requests_leave_nothing() -> None:
    kinds = [(SignalMiddleware(app), finish) for app, finish in KINDS]
    environs = Environs()
    before = exchanges_left()
    objects: list[int] = []
    for _ in range(10):
        for _ in range(1000):
            for app, finish in kinds:
                serve(app, environs(), finish)
        gc.collect()
        objects.append(len(gc.get_objects()))
    assert exchanges_left() == before
    assert producing == {}
    # In ninety thousand requests: one that stayed of each kind would be a thousand.
    assert objects[-1] - objects[0] < 100


def test_memory_does_not_grow(memory: Callable[[], int]) -> None:
    kinds = [(SignalMiddleware(app), finish) for app, finish in KINDS]
    environs = Environs()
    in_use: list[int] = []
    for _ in range(2):
        for _ in range(1000):
            for app, finish in kinds:
                serve(app, environs(), finish)
        in_use.append(memory())
    assert in_use[-1] - in_use[0] < MOST_BYTES_GROWN


def test_memory_does_not_grow_through_the_extension(memory: Callable[[], int]) -> None:
    app = flask.Flask("growing")
    Signalpost(app)
    app.add_url_rule("/plain", view_func=lambda: "one", endpoint="plain")

    @app.get("/stream")
    def stream() -> flask.Response:
        chunks = (str(current_exchange()) for _ in range(3))
        return flask.Response(flask.stream_with_context(chunks))

    @app.get("/fail")
    def fail() -> str:
        raise LookupError

    app.logger.disabled = True
    before = exchanges_left()
    in_use: list[int] = []
    for _ in range(4):
        for _ in range(75):
            for path in ("/plain", "/stream", "/fail", "/missing"):
                for finish in (to_the_end, unread):
                    serve(app, environ_of(path), finish)
        in_use.append(memory())
    assert exchanges_left() == before
    assert producing == {}
    assert in_use[-1] - in_use[1] < MOST_BYTES_GROWN


class Environ(dict[str, t.Any]):
    """An environment that can be weakly referenced."""


@pytest.mark.usefixtures("no_collector")
@each_kind
def test_all_of_a_request_is_free_as_soon_as_it_is_over(
    app: WSGIApplication, finish: Finish
) -> None:
    kept: list[weakref.ref[t.Any]] = []

    def remember(sender: object, exchange: Exchange) -> None:
        kept.append(weakref.ref(exchange))

    def wrapped(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        body = app(environ, start_response)
        if type(body) is not list:
            kept.append(weakref.ref(body))
        return body

    environ = Environ(Environs()())
    kept.append(weakref.ref(environ))
    with exchange_closed.connected_to(remember):
        serve(SignalMiddleware(wrapped), environ, finish)
    del environ
    assert len(kept) >= 2
    assert [one() for one in kept if one() is not None] == []
    assert context_exchange.get() is None


@pytest.mark.usefixtures("no_collector")
def test_an_environ_that_the_server_uses_again_keeps_nothing() -> None:
    environ = Environs()()
    names = set(environ)
    for app, finish in KINDS:
        serve(SignalMiddleware(app), environ, finish)
        assert set(environ) == names


@pytest.mark.usefixtures("no_collector")
def test_an_exchange_that_a_receiver_keeps_keeps_nothing_else() -> None:
    exchanges: list[Exchange] = []
    files: list[weakref.ref[File]] = []

    def keep(sender: object, exchange: Exchange) -> None:
        exchanges.append(exchange)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        file = File()
        files.append(weakref.ref(file))
        return t.cast("Iterable[bytes]", environ["wsgi.file_wrapper"](file))

    environ = Environ(Environs()())
    environ_left = weakref.ref(environ)
    with exchange_closed.connected_to(keep):
        serve(SignalMiddleware(app), environ, to_the_end)
    del environ
    assert len(exchanges) == len(files) == 1
    assert (environ_left(), files[0]()) == (None, None)
    assert exchanges[0].sender is None
