"""Receivers when Python frees a response during other code."""

from __future__ import annotations

import gc
import typing as t
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from contextvars import ContextVar
from wsgiref.util import FileWrapper

import pytest

from signalpost import signal
from signalpost import SignalMiddleware
from signalpost.exchange import current_exchange
from signalpost.exchange import Exchange
from signalpost.lifecycle import exchange_closed
from tests.wsgi.serving import environ_of
from tests.wsgi.serving import hello
from tests.wsgi.serving import Server
from tests.wsgi.serving import streamed
from tests.wsgi.serving import TEXT

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

user: ContextVar[str] = ContextVar("user", default="nobody")


class File:
    def read(self, size: int = -1) -> bytes:
        return b""


def file(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", TEXT)
    return t.cast("Iterable[bytes]", environ["wsgi.file_wrapper"](File()))


def leave_in_a_cycle(app: WSGIApplication) -> None:
    """Call an application, and leave its body to the garbage collection."""
    more = {"wsgi.file_wrapper": FileWrapper}
    holder: list[object] = [Server().call(app, path="/freed", **more)]
    holder.append(holder)


@pytest.fixture
def collections() -> Iterator[None]:
    """Let nothing be collected but on request."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def serve_collecting(receive: Callable[..., object], freed: WSGIApplication) -> None:
    """Free a response within another request, while a receiver is connected."""
    inner = SignalMiddleware(freed)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        user.set("alice")
        leave_in_a_cycle(inner)
        gc.collect()
        assert user.get() == "alice"
        exchange = current_exchange()
        assert exchange is not None
        assert exchange.path == "/outer"
        start_response("200 OK", TEXT)
        return []

    outer = SignalMiddleware(app)
    with (
        exchange_closed.connected_to(receive, inner.sender),
        exchange_closed.connected_to(lambda sender: None, outer.sender),
    ):
        Server().serve(outer, path="/outer")


each_freed = pytest.mark.parametrize("freed", [hello, streamed, file])


@each_freed
@pytest.mark.usefixtures("collections")
def test_receivers_see_no_variable_of_the_request_in_progress(
    freed: WSGIApplication,
) -> None:
    seen: list[str] = []
    serve_collecting(lambda sender: seen.append(user.get()), freed)
    assert seen == ["nobody"]


@each_freed
@pytest.mark.usefixtures("collections")
def test_receivers_see_the_exchange_that_closes(freed: WSGIApplication) -> None:
    seen: list[bool] = []

    def ask(sender: object, exchange: Exchange) -> None:
        seen.append(current_exchange() is exchange)
        exchange.call_on_close(lambda: seen.append(current_exchange() is exchange))

    serve_collecting(ask, freed)
    assert seen == [True, True]


@each_freed
@pytest.mark.usefixtures("collections")
def test_what_receivers_set_is_gone_after_them(freed: WSGIApplication) -> None:
    serve_collecting(lambda sender: user.set("bob"), freed)


@pytest.mark.usefixtures("collections")
def test_muting_of_the_request_in_progress_mutes_no_other() -> None:
    seen: list[object] = []
    inner = SignalMiddleware(streamed)
    with exchange_closed.connected_to(lambda sender: seen.append(1), inner.sender):
        leave_in_a_cycle(inner)
        with exchange_closed.muted():
            gc.collect()
    assert seen == [1]


@pytest.mark.usefixtures("collections")
def test_block_that_holds_sends_holds_none_of_another_request() -> None:
    seen: list[object] = []
    changed = signal("freed-while-held")
    changed.connect(seen.append, weak=False)
    inner = SignalMiddleware(streamed)
    with exchange_closed.connected_to(lambda sender: changed.send("x"), inner.sender):
        leave_in_a_cycle(inner)
        with changed.held() as held:
            gc.collect()
            assert seen == ["x"]
            held.drop()
    changed.disconnect(seen.append)


def test_server_that_keeps_a_list_sees_it_closed_at_its_end() -> None:
    seen: list[str] = []
    app = SignalMiddleware(hello)
    with exchange_closed.connected_to(lambda sender: seen.append("closed"), app.sender):
        body = app(environ_of(), Server().start_response)
        assert seen == []
        del body
    assert seen == ["closed"]
