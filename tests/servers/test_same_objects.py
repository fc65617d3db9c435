"""The objects that server and application pass to each other stay the same."""

from __future__ import annotations

import contextlib
import gc
import sys
import typing as t
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterable
from collections.abc import Iterator
from io import BytesIO
from wsgiref.util import FileWrapper

import pytest

from signalpost import SignalMiddleware
from signalpost.lifecycle import EXCHANGE_SIGNALS
from signalpost.testing import capture
from tests.wsgi.serving import answer_with
from tests.wsgi.serving import Closable
from tests.wsgi.serving import environ_of
from tests.wsgi.serving import Server
from tests.wsgi.serving import TEXT

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

HEARD = pytest.mark.usefixtures("with_receivers")


@pytest.fixture
def with_receivers() -> Generator[None]:
    with capture(*EXCHANGE_SIGNALS):
        yield


def raising(error: BaseException) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> t.NoReturn:
        raise error

    return app


def failing(error: BaseException) -> Iterator[bytes]:
    yield b"one"
    raise error


def finish(body: Iterable[bytes]) -> None:
    """Do with a body what a server does."""
    try:
        for _ in body:
            pass
    finally:
        if hasattr(body, "close"):
            body.close()


@pytest.mark.parametrize(
    "body",
    [
        (b"one",),
        (),
        (chunk for chunk in [b"one"]),
        Closable([b"one"]),
        FileWrapper(BytesIO(b"one")),
        {b"one": None},
        b"one",
    ],
    ids=lambda body: type(body).__name__,
)
def test_a_body_goes_back_as_it_is_without_receivers(body: Iterable[bytes]) -> None:
    assert Server().call(SignalMiddleware(answer_with(body))) is body


def test_the_servers_write_is_used_without_receivers() -> None:
    server = Server()
    seen: list[object] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        seen.append(start_response("200 OK", TEXT))
        return []

    server.call(SignalMiddleware(app))
    assert seen == [server._write]


def test_an_environ_gets_no_key_without_receivers() -> None:
    seen: list[WSGIEnvironment] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        seen.append(dict(environ))
        start_response("200 OK", TEXT)
        return []

    environ = environ_of()
    before = dict(environ)
    SignalMiddleware(app)(environ, Server().start_response)
    assert seen == [before]


@HEARD
@pytest.mark.parametrize(
    "app",
    [
        pytest.param(answer_with([]), id="empty"),
        pytest.param(answer_with(()), id="tuple"),
        pytest.param(answer_with(failing(ValueError())), id="iteration"),
        pytest.param(answer_with(Closable([b"one"], ValueError())), id="close"),
        pytest.param(answer_with(FileWrapper(BytesIO(b"one"))), id="file"),
        pytest.param(answer_with(t.cast("t.Any", None)), id="none"),
        pytest.param(raising(ValueError()), id="call"),
        pytest.param(raising(StopIteration()), id="hijacked"),
        pytest.param(raising(SystemExit()), id="exit"),
        pytest.param(SignalMiddleware(answer_with([b"one"])), id="layers"),
        pytest.param(
            SignalMiddleware(answer_with([b"one"]), sender="mounted"), id="mounted"
        ),
    ],
)
def test_nothing_of_ours_stays_in_the_environ(app: WSGIApplication) -> None:
    environ = environ_of() | {"wsgi.file_wrapper": FileWrapper}
    before = dict(environ)
    with contextlib.suppress(TypeError, ValueError, StopIteration, SystemExit):
        finish(SignalMiddleware(app)(environ, Server().start_response))
    assert environ == before


@HEARD
def test_nothing_of_ours_stays_in_the_environ_of_a_lost_body() -> None:
    environ = environ_of()
    before = dict(environ)
    SignalMiddleware(answer_with([b"one"]))(environ, Server().start_response)
    gc.collect()
    assert environ == before


@HEARD
def test_what_the_application_puts_into_the_environ_stays() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        environ["of.the.application"] = 1
        del environ["SERVER_NAME"]
        start_response("200 OK", TEXT)
        return [b""]

    environ = environ_of()
    finish(SignalMiddleware(app)(environ, Server().start_response))
    assert environ["of.the.application"] == 1
    assert "SERVER_NAME" not in environ


@HEARD
@pytest.mark.parametrize("error", [None, ValueError()], ids=["whole", "failing"])
def test_a_body_is_closed_once(error: Exception | None) -> None:
    chunks = [b"one"] if error is None else failing(error)
    inner = Closable(chunks, error)
    body = t.cast("t.Any", Server().call(SignalMiddleware(answer_with(inner))))
    for _ in range(3):
        with contextlib.suppress(ValueError):
            finish(body)
    assert inner.closed == 1


@HEARD
def test_chunks_are_handed_over_as_they_are() -> None:
    chunks: list[t.Any] = [b"", b"one", bytearray(b"two"), memoryview(b"three")]
    body = Server().call(SignalMiddleware(answer_with(Closable(chunks))))
    assert [id(chunk) for chunk in body] == [id(chunk) for chunk in chunks]
    t.cast("t.Any", body).close()


@HEARD
@pytest.mark.parametrize("chunk", [None, 0, "text"], ids=repr)
def test_what_is_no_chunk_is_the_servers_to_refuse(chunk: object) -> None:
    inner = Closable([t.cast("bytes", chunk)])
    body = t.cast("t.Any", Server().call(SignalMiddleware(answer_with(inner))))
    assert list(body) == [chunk]
    body.close()


@HEARD
def test_a_list_can_be_read_twice_before_its_close() -> None:
    body = t.cast("t.Any", Server().call(SignalMiddleware(answer_with([b"a", b"b"]))))
    assert list(body) == list(body) == [b"a", b"b"]
    body.close()


@HEARD
def test_write_returns_and_raises_what_the_servers_does() -> None:
    data = b"one"
    result = object()
    error = OSError("the client has left")
    written: list[object] = []

    def write(chunk: bytes) -> object:
        written.append(chunk)
        if len(written) == 2:
            raise error
        return result

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        ours = start_response("200 OK", TEXT)
        assert ours(data) is result
        ours(data)
        return []

    with pytest.raises(OSError, match="has left") as raised:
        SignalMiddleware(app)(environ_of(), lambda *_: write)
    assert raised.value is error
    assert [id(chunk) for chunk in written] == [id(data)] * 2


@HEARD
def test_start_response_passes_on_the_very_arguments() -> None:
    got: list[tuple[t.Any, ...]] = []
    status = "200 OK"
    headers = [*TEXT, ("X-More", "1")]
    info: list[t.Any] = []

    def start(*arguments: t.Any) -> Callable[[bytes], object]:
        got.append(arguments)
        return lambda data: None

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        start_response(status, headers)
        try:
            raise ValueError
        except ValueError:
            info.append(sys.exc_info())
            start_response(status, headers, info[0])
        return []

    SignalMiddleware(app)(environ_of(), start)
    assert [len(arguments) for arguments in got] == [2, 3]
    assert all(arguments[0] is status for arguments in got)
    assert all(arguments[1] is headers for arguments in got)
    assert got[1][2] is info[0]
    assert headers == [*TEXT, ("X-More", "1")]


@HEARD
@pytest.mark.parametrize("more", [{}, {"exc_info": None}], ids=["left out", "none"])
def test_no_exc_info_reaches_a_server_that_takes_two(more: dict[str, t.Any]) -> None:
    started: list[str] = []

    def two(status: str, headers: list[tuple[str, str]]) -> Callable[[bytes], None]:
        started.append(status)
        return lambda data: None

    def app(environ: WSGIEnvironment, start_response: t.Any) -> list[bytes]:
        start_response("200 OK", TEXT, **more)
        start_response("201 Created", TEXT, *more.values())
        return []

    SignalMiddleware(app)(environ_of(), t.cast("StartResponse", two))
    assert started == ["200 OK", "201 Created"]


@HEARD
def test_start_response_has_the_attributes_of_the_servers_and_no_others() -> None:
    def start(*_: object) -> Callable[[bytes], None]:
        return lambda data: None

    start.connection = "the connection"  # type: ignore[attr-defined]  # as servers do
    seen: list[object] = []

    def app(environ: WSGIEnvironment, start_response: t.Any) -> list[bytes]:
        seen.append(start_response.connection)
        seen.append(start_response.__name__)
        seen.append(hasattr(start_response, "__self__"))
        start_response("200 OK", TEXT)
        return []

    SignalMiddleware(app)(environ_of(), start)
    assert seen == ["the connection", "start", False]


@HEARD
@pytest.mark.parametrize("where", ["call", "iteration", "close"])
def test_an_error_goes_on_its_way_as_it_is(where: str) -> None:
    error = ValueError("the application's own")
    apps = {
        "call": raising(error),
        "iteration": answer_with(failing(error)),
        "close": answer_with(Closable([b"one"], error)),
    }
    with pytest.raises(ValueError, match="own") as raised:
        finish(Server().call(SignalMiddleware(apps[where])))
    assert raised.value is error
    assert error.__context__ is None
    assert error.__cause__ is None
    assert not hasattr(error, "__notes__")


@HEARD
def test_a_wrapped_file_goes_back_as_the_servers_own_object() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
        start_response("200 OK", TEXT)
        return environ["wsgi.file_wrapper"](BytesIO(b"one"), 2)

    body = Server().call(SignalMiddleware(app), **{"wsgi.file_wrapper": FileWrapper})
    assert type(body) is FileWrapper
    assert list(body) == [b"on", b"e"]
    body.close()


@HEARD
@pytest.mark.parametrize("error", [None, ValueError()], ids=["returning", "raising"])
def test_the_file_wrapper_is_the_servers_after_the_call(
    error: Exception | None,
) -> None:
    app = answer_with([b"one"]) if error is None else raising(error)
    environ = environ_of() | {"wsgi.file_wrapper": FileWrapper}
    try:
        body = SignalMiddleware(app)(environ, Server().start_response)
        assert environ["wsgi.file_wrapper"] is FileWrapper
        finish(body)
    except ValueError:
        assert environ["wsgi.file_wrapper"] is FileWrapper
