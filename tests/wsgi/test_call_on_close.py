from __future__ import annotations

import contextlib
import gc
import threading
import typing as t
import weakref
from collections.abc import Iterable
from collections.abc import Iterator

import flask
import pytest

from signalpost import SignalMiddleware
from signalpost.errors import ExchangeClosedError
from signalpost.exchange import current_exchange
from signalpost.exchange import Exchange
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import exchange_opened
from signalpost.testing import capture
from tests.wsgi.serving import answer_with
from tests.wsgi.serving import Closable
from tests.wsgi.serving import environ_of
from tests.wsgi.serving import exchange_of
from tests.wsgi.serving import hello
from tests.wsgi.serving import Server
from tests.wsgi.serving import streamed
from tests.wsgi.serving import TEXT

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment


class Resource:
    """Something that a request acquires, and how often it was released."""

    def __init__(self) -> None:
        self.released = 0

    def release(self) -> None:
        self.released += 1


@contextlib.contextmanager
def acquired(*resources: Resource) -> Iterator[None]:
    """Let each exchange of the block acquire what is given."""

    def acquire(sender: object, exchange: Exchange) -> None:
        for resource in resources:
            exchange.call_on_close(resource.release)

    with exchange_opened.connected_to(acquire):
        yield


def failing(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    raise LookupError("no such thing")


def failing_late(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterator[bytes]:
    start_response("200 OK", TEXT)
    yield b"one"
    raise LookupError("no such thing")


def leaving(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    raise SystemExit(3)


def hijacking(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    return []


def failing_at_close(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    start_response("200 OK", TEXT)
    return Closable([b"one"], LookupError("no such thing"))


@pytest.mark.parametrize(
    "app",
    [hello, streamed, failing, failing_late, failing_at_close, leaving, hijacking],
)
def test_it_is_called_once_whatever_becomes_of_the_exchange(
    app: WSGIApplication,
) -> None:
    resource = Resource()
    with acquired(resource), contextlib.suppress(LookupError, SystemExit):
        Server().serve(SignalMiddleware(app))
    assert resource.released == 1


def test_a_stream_keeps_it_until_the_close() -> None:
    resource = Resource()
    with acquired(resource):
        body = t.cast("t.Any", Server().call(SignalMiddleware(streamed)))
        assert b"".join(body) == b"onetwo"
        assert resource.released == 0
        body.close()
        assert resource.released == 1
        body.close()
    assert resource.released == 1


def test_a_stream_that_is_aborted_releases_it() -> None:
    resource = Resource()
    with acquired(resource):
        body = t.cast("t.Any", Server().call(SignalMiddleware(streamed)))
        next(iter(body))
        body.close()
    assert resource.released == 1


def test_a_body_that_is_lost_releases_it() -> None:
    resource = Resource()
    with acquired(resource):
        body = Server().call(SignalMiddleware(streamed))
        assert resource.released == 0
        del body
        gc.collect()
    assert resource.released == 1


def test_what_the_body_closes_is_closed_before() -> None:
    body = Closable([b"one"])
    seen: list[int] = []

    def note(sender: object, exchange: Exchange) -> None:
        exchange.call_on_close(lambda: seen.append(body.closed))

    with exchange_opened.connected_to(note):
        Server().serve(SignalMiddleware(answer_with(body)))
    assert seen == [1]


def test_the_last_one_added_is_called_first_after_the_receivers() -> None:
    calls: list[str] = []

    def add(sender: object, exchange: Exchange) -> None:
        for name in ("connection", "transaction"):
            exchange.call_on_close(calls.append, name)

    def close(sender: object, exchange: Exchange) -> None:
        calls.append("receiver")

    with exchange_opened.connected_to(add), exchange_closed.connected_to(close):
        Server().serve(SignalMiddleware(hello))
    assert calls == ["receiver", "transaction", "connection"]


def test_it_is_called_with_what_was_given() -> None:
    calls: list[object] = []

    def release(*arguments: object, **named: object) -> str:
        calls.append((arguments, named))
        return "dropped"

    def add(sender: object, exchange: Exchange) -> None:
        exchange.call_on_close(release, 1, 2, commit=True)

    with exchange_opened.connected_to(add):
        Server().serve(SignalMiddleware(hello))
    assert calls == [((1, 2), {"commit": True})]


def test_it_sees_how_the_exchange_ended() -> None:
    seen: list[object] = []

    def add(sender: object, exchange: Exchange) -> None:
        exchange.call_on_close(
            lambda: seen.extend((exchange.outcome, exchange.environ["PATH_INFO"]))
        )

    with exchange_opened.connected_to(add):
        Server().serve(SignalMiddleware(hello), path="/a")
    assert seen == ["complete", "/a"]


@pytest.mark.parametrize("app", [hello, streamed])
def test_while_it_runs_the_exchange_is_the_current_one(app: WSGIApplication) -> None:
    seen: list[object] = []

    def add(sender: object, exchange: Exchange) -> None:
        exchange.call_on_close(lambda: seen.append(current_exchange() is exchange))

    with exchange_opened.connected_to(add):
        Server().serve(SignalMiddleware(app))
    assert seen == [True]
    assert current_exchange() is None


def test_one_that_fails_is_logged_and_the_others_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, last = Resource(), Resource()

    def harmful() -> None:
        raise OSError("harm")

    def add(sender: object, exchange: Exchange) -> None:
        exchange.call_on_close(first.release)
        exchange.call_on_close(harmful)
        exchange.call_on_close(last.release)

    middleware = SignalMiddleware(hello)
    with exchange_opened.connected_to(add):
        assert Server().serve(middleware) == b"hello"
    assert (first.released, last.released) == (1, 1)
    assert middleware.receiver_failures == 1
    assert [record.name for record in caplog.records] == ["signalpost.exchanges"]
    assert "harmful failed on close" in caplog.text
    assert "OSError: harm" in caplog.text


def test_strict_lets_a_failure_through_after_the_others() -> None:
    resource = Resource()

    def harmful() -> None:
        raise OSError("harm")

    def add(sender: object, exchange: Exchange) -> None:
        exchange.call_on_close(resource.release)
        exchange.call_on_close(harmful)

    with (
        exchange_opened.connected_to(add),
        capture(exchange_closed) as sent,
        pytest.raises(OSError, match="harm"),
    ):
        Server().serve(SignalMiddleware(hello, strict=True))
    assert resource.released == 1
    assert not exchange_of(sent).is_open


def test_what_is_no_exception_goes_on_after_the_others() -> None:
    resource = Resource()

    def leave(code: int) -> None:
        raise SystemExit(code)

    def add(sender: object, exchange: Exchange) -> None:
        exchange.call_on_close(resource.release)
        exchange.call_on_close(leave, 2)
        exchange.call_on_close(leave, 1)

    with (
        exchange_opened.connected_to(add),
        capture(exchange_closed) as sent,
        pytest.raises(SystemExit) as raised,
    ):
        Server().serve(SignalMiddleware(hello))
    assert raised.value.code == 1
    assert resource.released == 1
    assert not exchange_of(sent).is_open


def test_one_that_is_added_by_another_runs_too() -> None:
    resource = Resource()

    def add(sender: object, exchange: Exchange) -> None:
        exchange.call_on_close(exchange.call_on_close, resource.release)

    with exchange_opened.connected_to(add):
        Server().serve(SignalMiddleware(hello))
    assert resource.released == 1


def test_a_receiver_of_the_close_can_add_one() -> None:
    resource = Resource()

    def add(sender: object, exchange: Exchange) -> None:
        exchange.call_on_close(resource.release)

    with exchange_closed.connected_to(add):
        Server().serve(SignalMiddleware(hello))
    assert resource.released == 1


def test_after_the_close_it_is_refused() -> None:
    resource = Resource()
    with capture(exchange_closed) as sent:
        Server().serve(SignalMiddleware(hello))
    with pytest.raises(ExchangeClosedError, match="release the resource"):
        exchange_of(sent).call_on_close(resource.release)
    assert resource.released == 0


def test_one_can_be_added_from_another_thread() -> None:
    resource = Resource()

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        exchange = current_exchange()
        assert exchange is not None
        threads = [
            threading.Thread(target=exchange.call_on_close, args=(resource.release,))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        return hello(environ, start_response)

    with capture(exchange_closed):
        Server().serve(SignalMiddleware(app))
    assert resource.released == 8


def test_each_exchange_releases_its_own() -> None:
    released: list[str] = []

    def add(sender: object, exchange: Exchange) -> None:
        exchange.call_on_close(released.append, exchange.path)

    app = SignalMiddleware(streamed)
    with exchange_opened.connected_to(add):
        one = t.cast("t.Any", Server().call(app, path="/one"))
        other = t.cast("t.Any", Server().call(app, path="/other"))
        other.close()
        assert released == ["/other"]
        one.close()
    assert released == ["/other", "/one"]


@pytest.mark.parametrize("app", [hello, streamed, failing, failing_late])
def test_nothing_that_was_added_is_kept(app: WSGIApplication) -> None:
    kept: list[weakref.ref[Resource]] = []

    def acquire(sender: object, exchange: Exchange) -> None:
        resource = Resource()
        kept.append(weakref.ref(resource))
        exchange.call_on_close(resource.release)

    gc.collect()
    gc.disable()
    try:
        with (
            exchange_opened.connected_to(acquire),
            capture(exchange_closed) as sent,
            contextlib.suppress(LookupError),
        ):
            Server().serve(SignalMiddleware(app))
        # What was sent is kept here, and with it the exchange.
        assert not exchange_of(sent).is_open
        assert [one() for one in kept] == [None]
    finally:
        gc.enable()


def stream_in_context() -> flask.Response:
    def rows() -> Iterator[str]:
        yield "one"
        yield "two"

    return flask.Response(flask.stream_with_context(rows()))


def fail() -> t.NoReturn:
    raise LookupError("no such thing")


@pytest.mark.parametrize(
    ("view", "text"), [(lambda: "hello", "hello"), (stream_in_context, "onetwo")]
)
def test_a_view_of_flasks_releases_what_it_acquired_at_the_close(
    view: t.Any, text: str
) -> None:
    resource = Resource()

    def acquiring() -> t.Any:
        exchange = current_exchange()
        assert exchange is not None
        exchange.call_on_close(resource.release)
        return view()

    app = flask.Flask(__name__)
    app.add_url_rule("/", view_func=acquiring)
    Signalpost(app)
    with capture(exchange_closed, sender=app):
        body = t.cast("t.Any", Server().call(app))
        assert b"".join(body).decode() == text
        assert resource.released == 0
        body.close()
    assert resource.released == 1


def test_a_view_of_flasks_that_fails_releases_what_was_acquired() -> None:
    resource = Resource()
    app = flask.Flask(__name__)
    app.add_url_rule("/", view_func=fail)
    Signalpost(app)
    with acquired(resource):
        assert app.test_client().get("/", buffered=True).status_code == 500
    assert resource.released == 1


def test_what_cannot_be_called_is_refused_at_once() -> None:
    exchange = Exchange(environ_of(), "shop")
    with pytest.raises(TypeError, match="takes a function, got None"):
        exchange.call_on_close(t.cast("t.Any", None))
    assert not exchange._close_callbacks
