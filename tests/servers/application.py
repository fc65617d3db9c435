"""The application of the servers, and the lines that its receivers write."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
import time
import typing as t
from collections.abc import Iterable
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs

import flask

from signalpost import SignalMiddleware
from signalpost.exchange import Exchange
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import exchange_opened
from signalpost.lifecycle import got_request_exception

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIEnvironment

RECORDS = "SIGNALPOST_RECORDS"
"""The environment variable that names the file of the lines."""
BINARY = ("Content-Type", "application/octet-stream")
PLAIN = b"plain"
CHUNK = b"x" * 65536
CHUNKS = 3
"""The length of a stream, in chunks."""
MOST_CHUNKS = 400
"""The length of one that its client leaves: far more than any buffer holds."""
FILE_BYTES = 400_000
LARGE_FILE_BYTES = 20_000_000
"""Of a file whose client leaves: again more than any buffer holds."""
WAIT_SECONDS = 20.0


class CountedFile(io.FileIO):
    """A file that counts how often Python has read from it: not for sendfile."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes | t.Any:
        self.reads += 1
        return super().read(-1 if size is None else size)

    def readinto(self, buffer: t.Any, /) -> int | t.Any:
        self.reads += 1
        return super().readinto(buffer)

    def __next__(self) -> bytes:
        self.reads += 1
        return super().__next__()


def argument(environ: WSGIEnvironment, name: str) -> str | None:
    values = parse_qs(environ.get("QUERY_STRING", "")).get(name)
    return values[0] if values else None


def wait_for_gate(environ: WSGIEnvironment) -> None:
    """Wait until the file exists that the client makes when it has left."""
    gate = argument(environ, "gate")
    deadline = time.monotonic() + WAIT_SECONDS
    while gate is not None and time.monotonic() < deadline:
        if Path(gate).exists():
            return
        time.sleep(0.01)


def chunks(environ: WSGIEnvironment) -> Iterator[bytes]:
    """Yield a stream; one that is to be left is slow, and longer."""
    is_to_be_left = argument(environ, "left") is not None
    for _ in range(MOST_CHUNKS if is_to_be_left else CHUNKS):
        yield CHUNK
        time.sleep(0.005 if is_to_be_left else 0)


def a_file(size: int = FILE_BYTES) -> Path:
    """Return a file of lines next to those of the records."""
    path = Path(os.environ[RECORDS]).with_name(f"{size}-bytes")
    if not path.exists():
        path.write_bytes((b"f" * 7999 + b"\n") * (size // 8000))
    return path


def plain(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    wait_for_gate(environ)
    start_response("200 OK", [BINARY, ("Content-Length", str(len(PLAIN)))])
    return [PLAIN]


def stream(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    wait_for_gate(environ)
    start_response("200 OK", [BINARY])
    return chunks(environ)


def drop(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    wait_for_gate(environ)
    start_response("200 OK", [BINARY])
    return iter([PLAIN])


def drops(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    wait_for_gate(environ)
    start_response("200 OK", [BINARY])
    return [PLAIN, PLAIN]


def late(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    start_response("203 Late", [BINARY])
    yield from chunks(environ)


def written(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    write = start_response("200 OK", [BINARY, ("Content-Length", "10")])
    write(PLAIN)
    return [PLAIN]


def file(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    is_to_be_left = argument(environ, "left") is not None
    size = LARGE_FILE_BYTES if is_to_be_left else FILE_BYTES
    opened = environ["tests.file"] = CountedFile(a_file(size))
    start_response("200 OK", [BINARY, ("Content-Length", str(size))])
    wrapper = environ.get("wsgi.file_wrapper", FileChunks)
    return t.cast("Iterable[bytes]", wrapper(opened, 8192))


class FileChunks:
    """An application's own wrapper, for servers that offer none."""

    def __init__(self, opened: CountedFile, block_size: int) -> None:
        self._opened = opened
        self._block_size = block_size

    def __iter__(self) -> Iterator[bytes]:
        while block := self._opened.read(self._block_size):
            yield block

    def close(self) -> None:
        self._opened.close()


def fail(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    raise LookupError("before the body")


def fail_in_body(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterator[bytes]:
    start_response("200 OK", [BINARY])
    yield CHUNK
    raise LookupError("in the body")


def upload(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Read what is uploaded in pieces; one in chunks has no length."""
    left = int(environ.get("CONTENT_LENGTH") or sys.maxsize)
    while piece := environ["wsgi.input"].read(min(4096, left)):
        left -= len(piece)
    start_response("200 OK", [BINARY, ("Content-Length", "5")])
    return [PLAIN]


PAGES = {
    "/raw/upload": upload,
    "/raw/plain": plain,
    "/raw/stream": stream,
    "/raw/drop": drop,
    "/raw/drops": drops,
    "/raw/late": late,
    "/raw/write": written,
    "/raw/file": file,
    "/raw/fail": fail,
    "/raw/fail-in-body": fail_in_body,
}


def raw(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    return PAGES[environ["PATH_INFO"]](environ, start_response)


shop = flask.Flask("tests.servers.shop")
Signalpost(shop)


@shop.get("/items/<int:item>")
def show_item(item: int) -> str:
    return f"item {item}"


@shop.get("/stream")
def show_stream() -> flask.Response:
    return flask.Response(chunks(flask.request.environ), mimetype=BINARY[1])


@shop.get("/file")
def show_file() -> flask.Response:
    return flask.send_file(a_file(), mimetype=BINARY[1])


@shop.get("/fail")
def show_failure() -> str:
    raise LookupError("in the view")


@shop.get("/fail-in-body")
def show_half() -> flask.Response:
    def body() -> Iterator[bytes]:
        yield CHUNK
        raise LookupError("in the body")

    return flask.Response(body())


@shop.post("/upload")
def take_upload() -> bytes:
    flask.request.get_data()
    return PLAIN


@shop.get("/slow/<int:seconds>")
def show_slowly(seconds: int) -> str:
    time.sleep(seconds)
    return "slow"


def append(line: dict[str, object]) -> None:
    """Append a line, by one write: other threads and processes append, too."""
    opened = os.open(os.environ[RECORDS], os.O_WRONLY | os.O_APPEND)
    try:
        os.write(opened, json.dumps(line).encode() + b"\n")
    finally:
        os.close(opened)


def is_present(seconds: float | None) -> bool:
    return seconds is not None and seconds >= 0


def note_opened(app: object, environ: WSGIEnvironment, exchange: Exchange) -> None:
    exchange.state["thread"] = threading.get_ident()
    exchange.state["failures"] = 0
    append({"signal": "opened", "request": argument(environ, "request")})


def note_failure(app: object, exchange: Exchange) -> None:
    exchange.state["failures"] += 1


def note_closed(app: object, environ: WSGIEnvironment, exchange: Exchange) -> None:
    exception = exchange.exception
    opened = environ.get("tests.file")
    append(
        {
            "signal": "closed",
            "request": argument(environ, "request"),
            "method": exchange.method,
            "path": exchange.path,
            "route": exchange.route,
            "status": exchange.status,
            "outcome": exchange.outcome,
            "body_bytes": exchange.body_bytes,
            "body_bytes_exact": exchange.body_bytes_exact,
            "has_seconds_to_headers": is_present(exchange.seconds_to_headers),
            "has_seconds_to_first_byte": is_present(exchange.seconds_to_first_byte),
            "has_duration_seconds": is_present(exchange.duration_seconds),
            "exception": None if exception is None else type(exception).__name__,
            "failures": exchange.state["failures"],
            "is_same_thread": exchange.state["thread"] == threading.get_ident(),
            "file_reads": opened.reads if isinstance(opened, CountedFile) else None,
        }
    )


recorded = SignalMiddleware(raw)


def application(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    """Serve the plain application below /raw, and Flask's elsewhere."""
    if environ["PATH_INFO"].startswith("/raw/"):
        return recorded(environ, start_response)
    return shop(environ, start_response)


# In a server only: the tests import this module to know what to expect of it.
if RECORDS in os.environ:
    exchange_opened.connect(note_opened)
    exchange_closed.connect(note_closed)
    got_request_exception.connect(note_failure)
