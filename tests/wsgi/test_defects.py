"""Known defects of other instrumentations; one in each test."""

from __future__ import annotations

import logging
import threading
import typing as t
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator

import pytest

from signalpost import SignalMiddleware
from signalpost.exchange import Exchange
from signalpost.exchange import EXCHANGE_KEY
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import exchange_opened
from signalpost.lifecycle import EXCHANGE_SIGNALS
from signalpost.lifecycle import got_request_exception
from signalpost.testing import capture
from signalpost.testing import Sent
from tests.wsgi.serving import answer_with
from tests.wsgi.serving import Closable
from tests.wsgi.serving import environ_of
from tests.wsgi.serving import exchange_of
from tests.wsgi.serving import hello
from tests.wsgi.serving import names
from tests.wsgi.serving import Server
from tests.wsgi.serving import streamed
from tests.wsgi.serving import TEXT

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment


def the_exchange(sent: list[Sent]) -> Exchange:
    """Return the exchange of one request, opened once and then closed once."""
    assert [one.signal for one in sent] == [exchange_opened, exchange_closed]
    assert sent[0]["exchange"] is sent[1]["exchange"]
    exchange = exchange_of(sent)
    assert exchange.duration_seconds is not None
    times = (exchange.seconds_to_headers, exchange.seconds_to_first_byte)
    known = [*(one for one in times if one is not None), exchange.duration_seconds]
    assert known == sorted(known)
    # Of a file that the server sends by itself, no code sees the first byte.
    has_first_byte = exchange.body_bytes > 0 and exchange.body_bytes_exact
    assert (exchange.seconds_to_first_byte is not None) == has_first_byte
    return exchange


def result_of(exchange: Exchange) -> tuple[int | None, str | None, int]:
    return exchange.status, exchange.outcome, exchange.body_bytes


def close(body: t.Any) -> None:
    body.close()


class Clock:
    """A clock that a test advances, and that counts its calls."""

    def __init__(self) -> None:
        self.seconds = 100.0
        self.looks = 0

    def __call__(self) -> float:
        self.looks += 1
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("time.perf_counter", clock)
    return clock


# The returned body was a generator, which does nothing if closed before it began.
def test_a_body_closed_before_its_first_chunk_is_not_forgotten() -> None:
    bodies = [Closable([b"one"]), Closable([b"one"])]
    unasked = iter(bodies)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        return next(unasked)

    middleware = SignalMiddleware(app)
    with capture(exchange_opened, exchange_closed) as sent:
        close(Server().call(middleware, method="HEAD"))
        Server().serve(middleware)
    assert [body.closed for body in bodies] == [1, 1]
    head, get = the_exchange(sent[:2]), the_exchange(sent[2:])
    assert (head.method, *result_of(head)) == ("HEAD", 200, "complete", 0)
    assert (get.method, *result_of(get)) == ("GET", 200, "complete", 3)


# The application's close ran for the generator's end and then once more.
@pytest.mark.parametrize("chunks_read", [0, 1, 2])
def test_an_early_close_does_not_reach_the_application_twice(chunks_read: int) -> None:
    body = Closable([b"one", b"two"])
    with capture(exchange_opened, exchange_closed) as sent:
        returned = Server().call(SignalMiddleware(answer_with(body)))
        chunks = iter(returned)
        for _ in range(chunks_read):
            next(chunks)
        close(returned)
        close(chunks)
        close(returned)
    assert body.closed == 1
    assert result_of(the_exchange(sent)) == (200, "aborted", 3 * chunks_read)


# Odd input of the client or the application became an error of the layer.
def test_a_status_without_a_reason_is_no_error() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200", TEXT)
        return [b"hello"]

    server = Server()
    with capture(exchange_opened, exchange_closed) as sent:
        assert server.serve(SignalMiddleware(app)) == b"hello"
    assert server.status == "200"
    assert result_of(the_exchange(sent)) == (200, "complete", 5)


@pytest.mark.parametrize("port", ["http", "", "-1", "80 80", None])
def test_a_port_that_is_no_number_is_no_error(port: str | None) -> None:
    middleware = SignalMiddleware(hello)
    with capture(exchange_opened, exchange_closed) as sent:
        assert Server().serve(middleware, SERVER_PORT=port) == b"hello"
    assert result_of(the_exchange(sent)) == (200, "complete", 5)
    assert middleware.receiver_failures == 0


# Only Exception was caught, and what was begun for the request stayed.
@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_an_exit_out_of_the_call_leaves_nothing_behind(
    kind: type[BaseException],
) -> None:
    error = kind()

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/leave":
            raise error
        return hello(environ, start_response)

    middleware = SignalMiddleware(app)
    environ = environ_of("/leave")
    with capture(exchange_opened, exchange_closed) as sent:
        with pytest.raises(kind) as raised:
            middleware(environ, Server().start_response)
        Server().serve(middleware)
    assert raised.value is error
    assert EXCHANGE_KEY not in environ
    left, served = the_exchange(sent[:2]), the_exchange(sent[2:])
    assert (left.exception, *result_of(left)) == (error, None, "error", 0)
    assert (served.exception, *result_of(served)) == (None, 200, "complete", 5)


@pytest.mark.parametrize(
    "kind",
    [
        SystemExit,
        KeyboardInterrupt,
        GeneratorExit,
    ],
)
def test_an_exit_out_of_the_body_is_an_error_too(kind: type[BaseException]) -> None:
    class Leaving(Closable):
        def __iter__(self) -> Iterator[bytes]:
            yield b"one"
            raise kind

    body = Leaving([])
    with (
        capture(exchange_opened, exchange_closed) as sent,
        capture(got_request_exception) as failed,
        pytest.raises(kind),
    ):
        Server().serve(SignalMiddleware(answer_with(body)))
    assert body.closed == 1
    assert result_of(the_exchange(sent)) == (200, "error", 3)
    assert [(type(one["exception"]), one["where"]) for one in failed] == [
        (kind, "iteration")
    ]


# Something belonging to the thread of the call was given back in another.
@pytest.mark.parametrize("is_read_elsewhere", [False, True])
def test_a_close_in_another_thread_is_no_error(
    caplog: pytest.LogCaptureFixture, *, is_read_elsewhere: bool
) -> None:
    finished: list[int] = []
    middleware = SignalMiddleware(streamed)

    def finish(body: t.Any, chunks: Iterator[bytes]) -> None:
        if is_read_elsewhere:
            list(chunks)
        body.close()
        finished.append(threading.get_ident())

    with capture(exchange_opened, exchange_closed) as sent:
        body = Server().call(middleware)
        chunks = iter(body)
        next(chunks)
        if not is_read_elsewhere:
            list(chunks)
        thread = threading.Thread(target=finish, args=(body, chunks))
        thread.start()
        thread.join(timeout=30)
    assert finished == [thread.ident]
    assert result_of(the_exchange(sent)) == (200, "complete", 6)
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


# The duration ended when the application returned, before its body was sent.
def test_a_stream_of_50_ms_is_not_over_when_the_call_returns(clock: Clock) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        clock.seconds += 1
        start_response("200 OK", TEXT)
        clock.seconds += 0.5
        yield b"one"
        clock.seconds += 0.05
        yield b"two"

    with capture(exchange_opened, exchange_closed) as sent:
        Server().serve(SignalMiddleware(app))
    exchange = the_exchange(sent)
    assert (exchange.seconds_to_headers, exchange.seconds_to_first_byte) == (1, 1.5)
    assert exchange.duration_seconds == pytest.approx(1.55)


# Query strings were kept wherever a server offers the whole address.
def test_a_secret_in_the_address_is_not_kept() -> None:
    address = "/a?token=s3cret&api_key=s3cret"
    with capture(exchange_opened, exchange_closed) as sent:
        Server().serve(
            SignalMiddleware(hello),
            path="/a",
            QUERY_STRING="token=s3cret&api_key=s3cret",
            RAW_URI=address,
            REQUEST_URI=f"https://ada:s3cret@shop.example{address}",
            HTTP_REFERER=f"https://ada:s3cret@shop.example{address}#s3cret",
            HTTP_AUTHORIZATION="Basic s3cret",
        )
    exchange = the_exchange(sent)
    public = [name for name in dir(exchange) if not name.startswith("_")]
    # The environ is let go, and reading it raises.
    kept = {name: getattr(exchange, name) for name in public if name != "environ"}
    assert kept["path"] == "/a"
    assert kept["referrer"] == "https://shop.example/a"
    assert "s3cret" not in repr((kept, exchange))


# Each request started a thread or a timer.
def test_a_request_starts_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[threading.Thread] = []
    monkeypatch.setattr(threading.Thread, "start", started.append)
    app = SignalMiddleware(streamed)
    with capture(*EXCHANGE_SIGNALS) as sent:
        for _ in range(200):
            Server().serve(app)
    assert names(sent).count("exchange-opened") == 200
    assert names(sent).count("exchange-closed") == 200
    assert started == []


# Each chunk of a body cost as much as a request.
def test_a_chunk_costs_no_look_at_the_clock_and_no_send(clock: Clock) -> None:
    costs: list[tuple[int, list[str]]] = []
    for count in (10, 1000):
        clock.looks = 0
        with capture(*EXCHANGE_SIGNALS) as sent:
            Server().serve(SignalMiddleware(answer_with(iter([b"x"] * count))))
        costs.append((clock.looks, names(sent)))
        assert result_of(exchange_of(sent)) == (200, "complete", count)
    assert costs[0] == costs[1]


# The iterator was wrapped in place of the iterable, whose close was forgotten.
def test_a_body_that_is_not_its_own_iterator_is_closed_and_its_error_seen() -> None:
    error = LookupError("no")

    class Failing(Closable):
        def __iter__(self) -> Iterator[bytes]:
            yield b"one"
            raise error

    body = Failing([])
    with (
        capture(exchange_opened, exchange_closed) as sent,
        pytest.raises(LookupError),
    ):
        Server().serve(SignalMiddleware(answer_with(body)))
    assert body.closed == 1
    exchange = the_exchange(sent)
    assert (exchange.exception, *result_of(exchange)) == (error, 200, "error", 3)


# A server's start_response was always given a third argument.
@pytest.mark.parametrize("app", [hello, streamed])
def test_a_start_response_of_two_arguments_is_not_given_a_third(
    app: WSGIApplication,
) -> None:
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def two(status: str, headers: list[tuple[str, str]]) -> Callable[[bytes], None]:
        started.append((status, headers))
        return lambda data: None

    with capture(exchange_opened, exchange_closed) as sent:
        body = SignalMiddleware(app)(environ_of(), t.cast("StartResponse", two))
        count = len(b"".join(body))
        close(body)
    assert [status for status, _ in started] == ["200 OK"]
    assert result_of(the_exchange(sent)) == (200, "complete", count)


# A client could invent labels, and so fill the memory.
def test_a_thousand_invented_methods_and_paths_invent_no_label() -> None:
    app = SignalMiddleware(hello)
    with capture(exchange_opened, exchange_closed) as sent:
        for number in range(1000):
            Server().serve(app, path=f"/{number}", method=f"BREW{number}")
    closed = [one["exchange"] for one in sent if one.signal is exchange_closed]
    assert len(closed) == 1000
    assert len(sent) == 2000
    assert {
        (one.method, one.route, one.endpoint, one.blueprints) for one in closed
    } == {("_OTHER", None, None, ())}


@pytest.mark.parametrize("method", ["get", "GET ", "", "../ESCAPED", "PROPFIND", None])
def test_a_method_that_is_not_a_standard_one_is_other(method: str | None) -> None:
    with capture(exchange_opened, exchange_closed) as sent:
        Server().serve(SignalMiddleware(hello), REQUEST_METHOD=method)
    assert the_exchange(sent).method == "_OTHER"


# An error in the middle of the body was recorded as a success.
def test_an_error_in_the_middle_of_the_body_is_no_success() -> None:
    error = LookupError("no")

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        yield b"one"
        raise error

    with (
        capture(exchange_opened, exchange_closed) as sent,
        capture(got_request_exception) as failed,
        pytest.raises(LookupError),
    ):
        Server().serve(SignalMiddleware(app))
    exchange = the_exchange(sent)
    assert (exchange.exception, *result_of(exchange)) == (error, 200, "error", 3)
    assert [one["exception"] for one in failed] == [error]


# The GeneratorExit of a client that leaves was counted as an exception.
def test_a_client_that_leaves_is_no_exception() -> None:
    seen: list[BaseException] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        try:
            yield b"one"
        except GeneratorExit as error:
            seen.append(error)
            raise

    with (
        capture(exchange_opened, exchange_closed) as sent,
        capture(got_request_exception) as failed,
    ):
        body = Server().call(SignalMiddleware(app))
        next(iter(body))
        close(body)
    assert len(seen) == 1
    exchange = the_exchange(sent)
    assert (exchange.exception, *result_of(exchange)) == (None, 200, "aborted", 3)
    assert failed == []


# The whole body was gathered before the first chunk was passed on.
def test_a_chunk_is_passed_on_before_the_next_is_made() -> None:
    made: list[int] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        for number in range(3):
            made.append(number)
            yield b"x"

    seen: list[int] = []
    with capture(exchange_opened, exchange_closed) as sent:
        body = Server().call(SignalMiddleware(app))
        assert made == []
        seen.extend(len(made) for _ in body)
        close(body)
    assert seen == [1, 2, 3]
    assert result_of(the_exchange(sent)) == (200, "complete", 3)


# Some servers ask once more after the end, which must not be another body.
def test_a_body_asked_again_after_its_end_is_not_counted_twice() -> None:
    body = Closable([b"one", b"two"])
    with capture(exchange_opened, exchange_closed) as sent:
        returned = Server().call(SignalMiddleware(answer_with(body)))
        chunks = iter(returned)
        assert list(chunks) == [b"one", b"two"]
        assert next(chunks, None) is None
        close(returned)
        assert next(chunks, None) is None
        assert list(returned) == []
    assert body.closed == 1
    assert result_of(the_exchange(sent)) == (200, "complete", 6)


class ServerFile:
    """A server's ``wsgi.file_wrapper``, which sends files by itself."""

    def __init__(self, file: t.Any, block_size: int = 8192) -> None:
        self.file = file
        self.block_size = block_size

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.file.read(self.block_size), b"")

    def close(self) -> None:
        self.file.close()


class File:
    """An open file that counts what is done to it."""

    def __init__(self, length: int) -> None:
        self.left = length
        self.reads = 0
        self.closed = 0

    def read(self, size: int) -> bytes:
        self.reads += 1
        size = min(size, self.left)
        self.left -= size
        return b"x" * size

    def fileno(self) -> int:
        return 3

    def close(self) -> None:
        self.closed += 1


def send(file: File) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
        start_response("200 OK", [*TEXT, ("Content-Length", str(file.left))])
        return environ["wsgi.file_wrapper"](file)

    return app


def test_a_file_read_through_its_wrapper_is_counted_and_closed() -> None:
    file = File(400_000)
    with capture(exchange_opened, exchange_closed) as sent:
        Server().serve(
            SignalMiddleware(send(file)), **{"wsgi.file_wrapper": ServerFile}
        )
    assert file.closed == 1
    assert result_of(the_exchange(sent)) == (200, "complete", 400_000)


# What the server sends by itself was wrapped, and so read through Python.
def test_a_servers_own_file_is_not_wrapped() -> None:
    file = File(400_000)
    environ = environ_of()
    environ["wsgi.file_wrapper"] = ServerFile
    with capture(exchange_opened, exchange_closed) as sent:
        body = SignalMiddleware(send(file))(environ, Server().start_response)
        assert environ["wsgi.file_wrapper"] is ServerFile
        assert type(body) is ServerFile
        assert body.file.fileno() == 3
        close(body)
    assert (file.reads, file.closed) == (0, 1)
    assert the_exchange(sent).status == 200


# A file that the server sent by itself had no bytes.
def test_a_file_that_the_server_sends_has_its_content_length() -> None:
    with capture(exchange_opened, exchange_closed) as sent:
        close(
            Server().call(
                SignalMiddleware(send(File(400_000))),
                **{"wsgi.file_wrapper": ServerFile},
            )
        )
    exchange = exchange_of(sent)
    assert result_of(exchange) == (200, "complete", 400_000)
    assert not exchange.body_bytes_exact


# An application object whose wsgi_app is the middleware was called for ever.
def test_an_application_given_as_an_object_does_not_call_itself() -> None:
    class Framework:
        def __init__(self) -> None:
            self.wsgi_app: WSGIApplication = hello

        def __call__(
            self, environ: WSGIEnvironment, start_response: StartResponse
        ) -> Iterable[bytes]:
            return self.wsgi_app(environ, start_response)

    app = Framework()
    app.wsgi_app = SignalMiddleware(app)
    with capture(exchange_opened, exchange_closed) as sent:
        assert Server().serve(app) == b"hello"
    assert result_of(the_exchange(sent)) == (200, "complete", 5)
    assert {one.sender for one in sent} == {app}
