"""What the middleware adds to a request, served without a server."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterable
from contextlib import AbstractContextManager
from contextlib import contextmanager
from contextlib import nullcontext
from itertools import repeat
from types import CodeType
from typing import Any
from typing import TYPE_CHECKING
from wsgiref.util import setup_testing_defaults

from signalpost import SignalMiddleware
from signalpost.exchange import Exchange
from signalpost.lifecycle import exchange_closed
from signalpost.receivers.latency import LatencyLogger

from .timing import Batch
from .timing import Row
from .timing import Variant

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

BARE = "bare"

_LAYER = SignalMiddleware.__call__.__code__
_LOG_LATENCY = LatencyLogger.__call__.__code__


def rows() -> tuple[list[Row], list[str]]:
    """Return what is timed, and a line for each framework that is missing."""
    found = [_row("raw WSGI hello", hello, SignalMiddleware(hello), hello)]
    try:
        from flask import Flask
    except ImportError:
        return found, ["the Flask hello is left out: flask is not installed"]
    app = Flask("benchmarks", static_folder=None)
    app.add_url_rule("/", "hello", lambda: "Hello, world!\n")
    found.append(_row("Flask hello", app.wsgi_app, SignalMiddleware(app), app.wsgi_app))
    return found, []


def hello(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer any request with one line, which costs next to nothing."""
    body = b"Hello, world!\n"
    start_response(
        "200 OK",
        [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
        ],
    )
    return [body]


def receive(sender: object, *, exchange: Exchange) -> None:
    """Do nothing with an exchange."""


def _row(
    name: str, bare: WSGIApplication, wrapped: WSGIApplication, counted: Any
) -> Row:
    """Return a row: one application alone, then in a layer that more and more hear.

    :param counted: The function that must run once for each request.
    """
    variants = [
        _variant(BARE, bare, counted),
        _variant("nobody listens", wrapped, counted, layers=1),
        _variant(
            "1 receiver",
            wrapped,
            counted,
            layers=1,
            receiver=receive.__code__,
            setting=lambda: exchange_closed.connected_to(receive),
        ),
        _variant(
            "log_latency",
            wrapped,
            counted,
            layers=1,
            receiver=_LOG_LATENCY,
            setting=_logging_latency,
        ),
    ]
    return Row(name, variants)


def _variant(
    name: str,
    app: WSGIApplication,
    counted: Any,
    *,
    layers: int = 0,
    receiver: CodeType | None = None,
    setting: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Variant:
    calls = {
        counted.__code__: 1,
        _LAYER: layers,
        receive.__code__: int(receiver is receive.__code__),
        _LOG_LATENCY: int(receiver is _LOG_LATENCY),
    }
    return Variant(name, _requests(app), calls, setting)


def _requests(app: WSGIApplication) -> Batch:
    """Return what a server does for each request, as :pep:`3333` has it."""
    blank: WSGIEnvironment = {}
    setup_testing_defaults(blank)

    def batch(jobs: int) -> None:
        for _ in repeat(None, jobs):
            body = app(blank.copy(), _start_response)
            try:
                for _chunk in body:
                    pass
            finally:
                close = getattr(body, "close", None)
                if close is not None:
                    close()

    return batch


def _start_response(
    status: str, headers: list[tuple[str, str]], exc_info: object = None, /
) -> Callable[[bytes], object]:
    if exc_info or not status.startswith("200 "):
        raise RuntimeError(f"the hello page must be there, but its status is {status}")
    return bytes


@contextmanager
def _logging_latency() -> Generator[None]:
    """Let :class:`LatencyLogger` write its lines to where nobody reads them."""
    # Not from getLogger: no logger of the process is changed by this.
    logger = logging.Logger("benchmarks.latency", logging.INFO)
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        exchange_closed.connected_to(LatencyLogger(logger=logger)),
    ):
        logger.addHandler(logging.StreamHandler(nowhere))
        yield
