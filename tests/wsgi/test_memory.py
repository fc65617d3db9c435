from __future__ import annotations

import contextlib
import gc
import typing as t
import weakref
from collections.abc import Generator
from collections.abc import Iterable
from collections.abc import Iterator

import pytest

from signalpost import SignalMiddleware
from signalpost.exchange import Exchange
from signalpost.lifecycle import exchange_closed
from tests.wsgi.serving import hello
from tests.wsgi.serving import Server
from tests.wsgi.serving import streamed
from tests.wsgi.serving import TEXT

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment


@pytest.fixture
def no_collector() -> Generator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def failing(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", TEXT)
    raise LookupError


def failing_late(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterator[bytes]:
    start_response("200 OK", TEXT)
    yield b"one"
    raise LookupError


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("app", [hello, streamed, failing, failing_late])
def test_nothing_is_kept_after_the_close(app: WSGIApplication) -> None:
    kept: list[weakref.ref[Exchange]] = []

    def remember(sender: object, exchange: Exchange) -> None:
        kept.append(weakref.ref(exchange))

    with exchange_closed.connected_to(remember), contextlib.suppress(LookupError):
        Server().serve(SignalMiddleware(app))
    assert len(kept) == 1
    assert kept[0]() is None
