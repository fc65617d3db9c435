"""The layer that reads each response to its end and closes it."""

from __future__ import annotations

import io
import typing as t
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from wsgiref.util import FileWrapper

import pytest

from signalpost import ReadAndClose
from signalpost import SignalMiddleware
from signalpost.errors import ApplicationError
from signalpost.exchange import current_exchange
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import EXCHANGE_SIGNALS
from signalpost.testing import capture
from tests.wsgi.serving import answer_with
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


class Closable:
    """A body that counts what is done with it."""

    def __init__(self, *chunks: bytes, error: BaseException | None = None) -> None:
        self._chunks = chunks
        self._error = error
        self.calls: list[str] = []

    def __iter__(self) -> Iterator[bytes]:
        self.calls.append("iter")
        yield from self._chunks
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        self.calls.append("close")


@pytest.mark.parametrize("app", [hello, streamed], ids=["list", "stream"])
def test_exchange_is_closed_when_the_call_returns(app: WSGIApplication) -> None:
    with capture(exchange_closed) as sent:
        body = Server().call(ReadAndClose(SignalMiddleware(app)))
        assert len(sent) == 1
    assert exchange_of(sent).outcome == "complete"
    assert exchange_of(sent).body_bytes == len(b"".join(body))
    assert len(sent) == 1


@pytest.mark.parametrize("app", [hello, streamed], ids=["list", "stream"])
def test_client_gets_what_it_got_without_the_layer(app: WSGIApplication) -> None:
    with_layer, without = Server(), Server()
    assert with_layer.serve(ReadAndClose(app)) == without.serve(app)
    assert with_layer.status == without.status
    assert with_layer.headers == without.headers


def test_chunks_stay_apart() -> None:
    app = ReadAndClose(answer_with(Closable(b"one", b"", b"two")))
    assert Server().call(app) == [b"one", b"", b"two"]


def test_body_is_read_and_closed_once() -> None:
    body = Closable(b"one")
    Server().serve(ReadAndClose(answer_with(body)))
    assert body.calls == ["iter", "close"]


@pytest.mark.parametrize("error", [LookupError("body"), SystemExit(3)])
def test_body_that_fails_is_closed_and_its_exception_goes_on(
    error: BaseException,
) -> None:
    body = Closable(b"one", error=error)
    app = ReadAndClose(SignalMiddleware(answer_with(body)))
    with capture(*EXCHANGE_SIGNALS) as sent, pytest.raises(type(error)) as raised:
        Server().call(app)
    assert raised.value is error
    assert body.calls == ["iter", "close"]
    assert names(sent)[-2:] == ["got-request-exception", "exchange-closed"]
    assert exchange_of(sent).outcome == "error"


def test_exception_of_the_call_goes_on() -> None:
    def failing(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
        raise LookupError

    with capture(exchange_closed) as sent, pytest.raises(LookupError):
        Server().call(ReadAndClose(SignalMiddleware(failing)))
    assert exchange_of(sent).outcome == "error"


def test_late_start_happens_within_the_call() -> None:
    server = Server()
    server.call(ReadAndClose(streamed))
    assert server.status == "200 OK"


def test_written_bytes_come_before_those_of_the_body() -> None:
    def writing(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterator[bytes]:
        write = start_response("200 OK", TEXT)
        write(b"one")
        yield b"two"

    with capture(exchange_closed) as sent:
        assert Server().serve(ReadAndClose(SignalMiddleware(writing))) == b"onetwo"
    assert exchange_of(sent).body_bytes == 6


def test_exc_info_reaches_the_server() -> None:
    def app(environ: WSGIEnvironment, start_response: t.Any) -> Iterable[bytes]:
        start_response("500 Oops", TEXT, (LookupError, LookupError(), None))
        return iter([b"sorry"])

    got: list[object] = []

    def start_response(status: str, headers: object, exc_info: t.Any = None) -> t.Any:
        got.append(exc_info[0])

    ReadAndClose(app)(environ_of(), start_response)
    assert got == [LookupError]


def test_file_is_read_and_closed() -> None:
    file = io.BytesIO(b"one")

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [*TEXT, ("Content-Length", "3")])
        return t.cast("Iterable[bytes]", environ["wsgi.file_wrapper"](file))

    layer = ReadAndClose(SignalMiddleware(app))
    with capture(exchange_closed) as sent:
        body = Server().call(layer, **{"wsgi.file_wrapper": FileWrapper})
    assert body == [b"one"]
    assert file.closed
    assert exchange_of(sent).outcome == "complete"


def test_answer_to_head_is_complete() -> None:
    with capture(exchange_closed) as sent:
        Server().call(ReadAndClose(SignalMiddleware(streamed)), method="HEAD")
    assert exchange_of(sent).outcome == "complete"


def empty_list() -> list[bytes]:
    return []


@pytest.mark.parametrize(
    "make",
    [empty_list, lambda: [b"one"], lambda: (b"one",), lambda: b"one", lambda: ""],
)
def test_what_is_at_hand_is_returned_itself(make: Callable[[], t.Any]) -> None:
    body = make()
    assert Server().call(ReadAndClose(answer_with(body))) is body


def test_body_is_never_asked_for_its_length() -> None:
    class Sized(Closable):
        def __len__(self) -> int:
            raise LookupError

    app = ReadAndClose(answer_with(Sized(b"one")))
    assert Server().call(app) == [b"one"]


def test_current_exchange_is_known_while_the_body_is_read() -> None:
    seen: list[str] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        for chunk in (b"one", b"two"):
            exchange = current_exchange()
            seen.append("none" if exchange is None else exchange.path)
            yield chunk

    with capture(exchange_closed):
        Server().call(ReadAndClose(SignalMiddleware(app)), path="/a")
    assert seen == ["/a", "/a"]


class Site:
    """An application with a ``wsgi_app``, as Flask's."""

    def wsgi_app(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        return streamed(environ, start_response)

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        return self.wsgi_app(environ, start_response)


@pytest.mark.parametrize("given", [lambda site: site, lambda site: site.wsgi_app])
def test_the_layer_may_become_the_wsgi_app(given: Callable[[t.Any], t.Any]) -> None:
    site: t.Any = Site()
    site.wsgi_app = SignalMiddleware(site)
    site.wsgi_app = ReadAndClose(given(site))
    with capture(exchange_closed) as sent:
        assert Server().call(site) == [b"one", b"two"]
    assert len(sent) == 1
    assert sent[0].sender is site


@pytest.mark.parametrize("app", [None, 3, "shop:app", Site])
def test_what_is_no_application_is_refused(app: object) -> None:
    with pytest.raises(ApplicationError, match="app must be"):
        ReadAndClose(app)


def test_a_layer_that_is_inside_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = SignalMiddleware(ReadAndClose(streamed))
    with capture(exchange_closed) as sent:
        assert [Server().serve(app) for _ in range(2)] == [b"onetwo", b"onetwo"]
    assert len(sent) == 2
    (record,) = caplog.records
    assert record.name == "signalpost.exchanges"
    assert "put it around that layer" in record.getMessage()


def test_a_layer_that_is_around_is_not_logged_where_the_application_calls_itself(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/inner":
            return streamed(environ, start_response)
        return layer({**environ, "PATH_INFO": "/inner"}, start_response)

    layer = ReadAndClose(SignalMiddleware(app))
    with capture(exchange_closed) as sent:
        assert Server().serve(layer) == b"onetwo"
    assert sent
    assert caplog.records == []
