"""Applications whose requests the tests of the live page record."""

from __future__ import annotations

import contextlib
import typing as t
from collections.abc import Generator
from collections.abc import Iterable
from pathlib import Path

from signalpost import SignalMiddleware
from signalpost.exchange import current_exchange
from signalpost.lifecycle import sql_executed
from signalpost.live import LiveRecorder
from signalpost.wsgi.routes import record_route

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

TOKEN = "a-token-that-is-long-enough"


class Engine:
    """Sends statements, as an engine of SQLAlchemy's does."""

    class dialect:  # noqa: N801  # as SQLAlchemy has it
        name = "sqlite"


def execute(
    statement: str, seconds: float = 0.001, exception: BaseException | None = None
) -> None:
    """Execute a statement on a database that is not there."""
    sql_executed.send(
        Engine(),
        statement=statement,
        parameters=None,
        parameters_count=1,
        duration_seconds=seconds,
        row_count=1,
        is_executemany=False,
        exception=exception,
        exchange=current_exchange(),
    )


def shop(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer by the path: a status, statements, or an exception."""
    _, kind, *rest = environ["PATH_INFO"].split("/")
    if kind == "items":
        record_route(environ, "/items/<name>")
    if kind == "sql":
        record_route(environ, "/sql/<times>")
        for number in range(int(rest[0])):
            execute(f"SELECT * FROM mugs WHERE id = {number}")
    if kind == "boom":
        raise LookupError("the secret is 42")
    status = rest[0] if kind == "status" else "200"
    start_response(f"{status} Status", [("Content-Length", "2")])
    return [b"ok"]


@contextlib.contextmanager
def recorded(
    folder: Path, app: WSGIApplication = shop, **options: t.Any
) -> Generator[SignalMiddleware]:
    """Record the requests of an application, in a folder."""

    # Each its own, as signals are sent by it.
    def application(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        return app(environ, start_response)

    layer = SignalMiddleware(application)
    recorder = LiveRecorder(folder=folder, **options)
    recorder.connect(application)
    try:
        yield layer
    finally:
        recorder.disconnect()
