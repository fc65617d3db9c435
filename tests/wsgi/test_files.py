from __future__ import annotations

import gc
import io
import typing as t
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterable
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from wsgiref.util import FileWrapper

import pytest

from signalpost import SignalMiddleware
from signalpost._current import context_exchange
from signalpost.exchange import Exchange
from signalpost.lifecycle import exchange_closed
from signalpost.testing import capture
from signalpost.testing import Sent
from tests.wsgi.serving import environ_of
from tests.wsgi.serving import exchange_of
from tests.wsgi.serving import Server
from tests.wsgi.serving import TEXT

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

KEY = "wsgi.file_wrapper"
WAIT_SECONDS = 30

Answer = Callable[["WSGIEnvironment"], t.Any]


class Wrapped:
    """A server's wrapper of a file, which it recognises by its type."""

    block_bytes = 4096

    def __init__(self, file: t.Any, size: int = 8192) -> None:
        self.file = file
        self.size = size

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self.file.read(self.size):
            yield chunk

    def close(self) -> None:
        if hasattr(self.file, "close"):
            self.file.close()


def wrapping(file: t.Any, size: int = 8192) -> Wrapped:
    return Wrapped(file, size)


each_wrapper = pytest.mark.parametrize("wrap", [Wrapped, wrapping])


class File(io.BytesIO):
    """A file that counts its closings."""

    def __init__(self, data: bytes = b"data") -> None:
        super().__init__(data)
        self.closings = 0

    def close(self) -> None:
        self.closings += 1
        super().close()


class Bare:
    """The least of a file: it can be read."""

    def __init__(self) -> None:
        self._rest = [b"da", b"ta"]

    def read(self, size: int = -1) -> bytes:
        return self._rest.pop(0) if self._rest else b""


class FailingFile(File):
    def close(self) -> None:
        super().close()
        raise OSError


@pytest.fixture
def sent() -> Generator[list[Sent]]:
    # Other tests may have left some.
    token = context_exchange.set(None)
    with capture(exchange_closed) as sent:
        yield sent
    gc.collect()
    left = context_exchange.get()
    context_exchange.reset(token)
    assert left is None


def app_of(answer: Answer, headers: Iterable[tuple[str, str]] = ()) -> SignalMiddleware:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [*TEXT, *headers])
        return t.cast("Iterable[bytes]", answer(environ))

    return SignalMiddleware(app)


def sending(file: t.Any, *size: int) -> Answer:
    return lambda environ: environ[KEY](file, *size)


def environ_with(wrap: t.Any, **more: t.Any) -> WSGIEnvironment:
    more[KEY] = wrap
    return environ_of(**more)


def call(app: WSGIApplication, wrap: t.Any = Wrapped, **more: t.Any) -> t.Any:
    return app(environ_with(wrap, **more), Server().start_response)


def outcome_of(sent: list[Sent]) -> str | None:
    assert len(sent) == 1
    return exchange_of(sent).outcome


def read_and_close(body: t.Any) -> bytes:
    try:
        return b"".join(body)
    finally:
        body.close()


@each_wrapper
@pytest.mark.parametrize("size", [(), (2,)])
def test_the_server_gets_its_own_object(
    wrap: t.Any, size: tuple[int, ...], sent: list[Sent]
) -> None:
    file = File()
    body = call(app_of(sending(file, *size)), wrap)
    assert type(body) is Wrapped
    assert body.size == (*size, 8192)[0]
    assert sent == []
    assert read_and_close(body) == b"data"
    assert file.closings == 1
    assert outcome_of(sent) == "complete"


@each_wrapper
@pytest.mark.parametrize("fails", [False, True])
def test_the_environ_has_the_servers_wrapper_again(
    wrap: t.Any, fails: bool, sent: list[Sent]
) -> None:
    seen: list[object] = []

    def answer(environ: WSGIEnvironment) -> t.Any:
        seen.append(environ[KEY])
        if fails:
            raise LookupError
        return []

    environ = environ_with(wrap)
    if fails:
        with pytest.raises(LookupError):
            app_of(answer)(environ, Server().start_response)
    else:
        app_of(answer)(environ, Server().start_response)
    assert environ[KEY] is wrap
    assert seen[0] is not wrap


def test_a_wrapper_that_the_application_puts_there_stays(sent: list[Sent]) -> None:
    def answer(environ: WSGIEnvironment) -> t.Any:
        environ[KEY] = FileWrapper
        return []

    environ = environ_with(Wrapped)
    app_of(answer)(environ, Server().start_response)
    assert environ[KEY] is FileWrapper


def test_a_wrapper_that_the_application_takes_away_stays_away(
    sent: list[Sent],
) -> None:
    environ = environ_with(Wrapped)
    app_of(lambda environ: environ.pop(KEY) and [])(environ, Server().start_response)
    assert KEY not in environ


def test_no_wrapper_is_put_where_there_is_none(sent: list[Sent]) -> None:
    seen: list[bool] = []

    def answer(environ: WSGIEnvironment) -> t.Any:
        seen.append(KEY in environ)
        return []

    environ = environ_of()
    app_of(answer)(environ, Server().start_response)
    assert seen == [False]
    assert KEY not in environ


def test_a_class_looks_like_the_servers(sent: list[Sent]) -> None:
    seen: list[object] = []

    def answer(environ: WSGIEnvironment) -> t.Any:
        kind = environ[KEY]
        body = kind(File())
        seen.extend(
            [isinstance(body, kind), isinstance([], kind), isinstance(kind, type)]
        )
        seen.extend([kind.block_bytes, kind.__name__, hasattr(kind, "missing")])
        return body

    read_and_close(call(app_of(answer)))
    assert seen == [True, False, True, 4096, "Wrapped", False]


def test_the_block_size_may_be_given_by_name(sent: list[Sent]) -> None:
    body = call(app_of(lambda environ: environ[KEY](File(), size=3)))
    assert body.size == 3
    read_and_close(body)


@each_wrapper
@pytest.mark.parametrize(
    "returned",
    [0, 1],
)
def test_of_two_files_the_one_returned_is_the_servers_own(
    wrap: t.Any, returned: int, sent: list[Sent]
) -> None:
    files = [File(), File()]

    def answer(environ: WSGIEnvironment) -> t.Any:
        return [environ[KEY](file) for file in files][returned]

    body = call(app_of(answer), wrap)
    kind = type(body)
    files[1 - returned].close()
    assert sent == []
    assert read_and_close(body) == b"data"
    assert outcome_of(sent) == "complete"
    assert kind is Wrapped


def test_a_file_inside_another_iterable_is_part_of_a_body(sent: list[Sent]) -> None:
    file = File()

    def answer(environ: WSGIEnvironment) -> Iterator[bytes]:
        inside = environ[KEY](file)
        return (chunk for chunk in inside)

    body = call(app_of(answer))
    assert b"".join(body) == b"data"
    file.close()
    assert sent == []
    body.close()
    exchange = exchange_of(sent)
    assert (exchange.outcome, exchange.body_bytes) == ("complete", 4)
    assert exchange.body_bytes_exact


@each_wrapper
@pytest.mark.parametrize("kind", [list, iter, tuple])
def test_a_file_wrapped_and_not_returned_leaves_the_record_to_the_body(
    wrap: t.Any, kind: t.Any, sent: list[Sent]
) -> None:
    file = File()

    def answer(environ: WSGIEnvironment) -> t.Any:
        environ[KEY](file).close()
        return kind([b"other", b"!"])

    body = call(app_of(answer, LENGTH), wrap)
    assert file.closings == 1
    assert sent == []
    assert read_and_close(body) == b"other!"
    exchange = exchange_of(sent)
    assert (len(sent), exchange.outcome, exchange.body_bytes) == (1, "complete", 6)
    assert exchange.body_bytes_exact
    assert exchange.seconds_to_first_byte is not None


def test_a_file_wrapped_and_not_returned_does_not_close_an_empty_body(
    sent: list[Sent],
) -> None:
    def answer(environ: WSGIEnvironment) -> t.Any:
        environ[KEY](File())
        return []

    assert call(app_of(answer)) == []
    exchange = exchange_of(sent)
    assert (len(sent), exchange.outcome, exchange.body_bytes) == (1, "complete", 0)
    assert exchange.body_bytes_exact


def test_a_wrapper_called_after_the_call_is_the_servers(sent: list[Sent]) -> None:
    inner: list[Wrapped] = []

    def answer(environ: WSGIEnvironment) -> Iterator[bytes]:
        wrap = environ[KEY]

        def chunks() -> Iterator[bytes]:
            inner.append(wrap(File(), 2))
            yield from inner[0]

        return chunks()

    assert read_and_close(call(app_of(answer))) == b"data"
    assert type(inner[0]) is Wrapped
    assert type(inner[0].file) is File
    assert outcome_of(sent) == "complete"


def test_a_wrapper_called_in_a_thread_gives_the_same_bytes(sent: list[Sent]) -> None:
    def answer(environ: WSGIEnvironment) -> t.Any:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(environ[KEY], File()).result(WAIT_SECONDS)

    assert read_and_close(call(app_of(answer))) == b"data"
    assert outcome_of(sent) == "complete"


@each_wrapper
def test_a_file_that_can_only_be_read_is_sent_and_closed(
    wrap: t.Any, sent: list[Sent]
) -> None:
    body = call(app_of(sending(Bare())), wrap)
    assert not hasattr(body.file, "fileno")
    assert read_and_close(body) == b"data"
    assert outcome_of(sent) == "complete"


def test_what_a_file_raises_at_its_close_goes_through(sent: list[Sent]) -> None:
    body = call(app_of(sending(FailingFile())))
    with pytest.raises(OSError):  # noqa: PT011  # it has no text
        body.close()
    assert len(sent) == 1
    body.file.__del__()
    assert len(sent) == 1


def test_closing_twice_sends_once(sent: list[Sent]) -> None:
    file = File()
    body = call(app_of(sending(file)))
    body.close()
    body.close()
    assert len(sent) == 1
    assert file.closings == 2


@pytest.mark.parametrize("collects", [True, False])
def test_a_file_that_is_never_closed_is_lost(collects: bool, sent: list[Sent]) -> None:
    class Plain:
        def read(self, size: int = -1) -> bytes:
            return b""

    body = call(app_of(sending(Plain())))
    assert sent == []
    if collects:
        del body
        gc.collect()
        assert outcome_of(sent) == "lost"
    else:
        body.close()
        assert outcome_of(sent) == "complete"


def test_a_file_closed_for_an_exception_is_aborted(sent: list[Sent]) -> None:
    body = call(app_of(sending(File())))
    try:
        raise ConnectionResetError
    except ConnectionResetError:
        body.close()
    assert outcome_of(sent) == "aborted"


def test_an_exception_that_the_server_handles_all_along_is_not_the_files(
    sent: list[Sent],
) -> None:
    try:
        raise LookupError
    except LookupError:
        call(app_of(sending(File()))).close()
    assert outcome_of(sent) == "complete"


def test_a_file_for_an_exception_that_the_application_handled_is_complete(
    sent: list[Sent],
) -> None:
    def answer(environ: WSGIEnvironment) -> t.Any:
        try:
            raise LookupError
        except LookupError:
            return environ[KEY](File())

    assert read_and_close(call(app_of(answer))) == b"data"
    assert outcome_of(sent) == "complete"


LENGTH = [("Content-Length", "4")]


@pytest.mark.parametrize(
    ("method", "headers", "body_bytes"),
    [("GET", LENGTH, 4), ("GET", [], 0), ("HEAD", LENGTH, 0), ("HEAD", [], 0)],
)
def test_the_length_of_a_file_is_that_of_the_header(
    method: str, headers: list[tuple[str, str]], body_bytes: int, sent: list[Sent]
) -> None:
    call(app_of(sending(File()), headers), method=method).close()
    exchange = exchange_of(sent)
    assert (exchange.outcome, exchange.body_bytes, exchange.body_bytes_exact) == (
        "complete",
        body_bytes,
        False,
    )


def test_a_file_can_do_all_that_it_could(sent: list[Sent]) -> None:
    body = call(app_of(sending(File(b"1\n2\n3\n4\n"))))
    file = body.file
    assert next(file) == b"1\n"
    assert next(iter(file)) == b"2\n"
    assert file.tell() == 4
    assert file.seekable()
    assert list(file) == [b"3\n", b"4\n"]
    with pytest.raises(io.UnsupportedOperation):
        file.fileno()
    with file as entered:
        assert entered is file
        assert sent == []
    assert outcome_of(sent) == "complete"


def test_a_file_of_a_mounted_application_is_the_servers_own(sent: list[Sent]) -> None:
    mounted = app_of(sending(File()))
    body = SignalMiddleware(lambda environ, start: mounted(environ, start))
    returned = call(body)
    kind = type(returned)
    assert read_and_close(returned) == b"data"
    assert len(sent) == 2
    assert kind is Wrapped


def test_a_file_is_the_servers_own_once_more_in_a_request_inside(
    sent: list[Sent],
) -> None:
    inner = app_of(sending(File(b"inner")))

    def answer(environ: WSGIEnvironment) -> t.Any:
        body = environ[KEY](File(b"outer"))
        assert read_and_close(call(inner)) == b"inner"
        assert len(sent) == 1
        return body

    body = call(app_of(answer), path="/outer")
    assert type(body) is Wrapped
    assert read_and_close(body) == b"outer"
    assert [one["exchange"].path for one in sent] == ["/", "/outer"]


def test_a_receiver_of_a_files_close_sees_its_exchange_open(sent: list[Sent]) -> None:
    seen: list[tuple[bool, bool]] = []

    def ask(sender: object, exchange: Exchange) -> None:
        seen.append((exchange.is_open, context_exchange.get() is exchange))

    body = call(app_of(sending(File())))
    with exchange_closed.connected_to(ask):
        body.close()
    assert seen == [(True, True)]
    assert not exchange_of(sent).is_open
