"""An application that does on each path one nasty thing an application may do.

``torture`` is bare and ``wrapped`` is instrumented. The latter has receivers
only if the environment variable ``TORTURE_HAS_RECEIVERS`` is set.
"""

from __future__ import annotations

import os
import sys
import tempfile
import typing as t
from collections import deque
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from io import BytesIO
from wsgiref.util import FileWrapper

from signalpost import SignalMiddleware
from signalpost.lifecycle import catalogue
from signalpost.lifecycle import exchange_closed

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

PATHS: dict[str, WSGIApplication] = {}
TEXT = ("Content-Type", "text/plain")
FIVE = ("Content-Length", "5")
MEGABYTE = bytes(range(256)) * 4096
FILE = b"".join(b"line %d\n" % number for number in range(20_000))

_closed: list[str] = []


def _add(app: t.Any) -> t.Any:
    PATHS[app.__name__.strip("_").replace("_", "-")] = app
    return app


def _add_answer(
    name: str, status: str, headers: t.Any, body: Callable[[], t.Any]
) -> None:
    """Add a path that starts the response and returns a body."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
        start_response(status, headers)
        return body()

    PATHS[name] = answer


class Text(str):
    """A string that records its changes, as those of templates."""

    __slots__ = ()


class Apart:
    """An iterable that is not its own iterator."""

    def __init__(self, *chunks: t.Any) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[t.Any]:
        return iter(self._chunks)


class Sized(Apart):
    def __len__(self) -> int:
        return len(self._chunks)


class Indexed:
    """Iterable by the protocol of sequences alone."""

    def __getitem__(self, index: int) -> bytes:
        return (b"by ", b"index")[index]


class Closing(Apart):
    def close(self) -> None:
        _closed.append("body")


class FailingClose(Apart):
    def close(self) -> None:
        raise ValueError("in close")


class Itself:
    """Its own iterator, which fails when it is asked again after its end."""

    def __init__(self) -> None:
        self._left = 2

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        self._left -= 1
        if self._left == -2:
            raise RuntimeError("asked after the end")
        if self._left < 0:
            raise StopIteration
        return b"chunk"


class ChunkList(list[t.Any]):
    pass


def _generated() -> Iterator[bytes]:
    yield b"one "
    yield b"two"


def _generated_with_error() -> Iterator[bytes]:
    yield b"one "
    raise ValueError("between chunks")


def _fail() -> t.NoReturn:
    raise ValueError("before the body")


for _name, _status in {
    "reason-odd": "299 So, it's (fairly) good: \xe9t\xe9!",
    "reason-absent": "200",
    "reason-blank": "200 ",
    "reason-spaces": "200  two  spaces ",
    "status-999": "999 Beyond",
    "status-499": "499 Gone Early",
    "status-words": "OK then",
    "status-empty": "",
    "status-newline": "200 OK\r\nX-Split: yes",
}.items():
    _add_answer(_name, _status, [TEXT, FIVE], lambda: [b"hello"])

_add_answer("status-bytes", t.cast("str", b"200 OK"), [TEXT], lambda: [b"hello"])
_add_answer("status-text", Text("200 OK"), [TEXT], lambda: [b"hello"])

for _name, _headers in {
    "headers-none": [],
    "headers-repeated": [
        ("Set-Cookie", "a=1; Path=/"),
        TEXT,
        ("Set-Cookie", "b=2"),
        ("Set-Cookie", "a=1; Path=/"),
    ],
    "headers-order": [(f"X-{letter}", letter) for letter in "zMaQbZ"],
    "headers-odd-case": [("content-TYPE", "text/plain"), ("x-lower", "1")],
    "headers-blank": [TEXT, ("X-Blank", ""), ("X-Spaces", "  in  side  ")],
    "headers-latin": [TEXT, ("X-Latin", "\xe9t\xe9")],
    "headers-wide": [TEXT, ("X-Wide", "\N{SNOWMAN}")],
    "headers-newline": [TEXT, ("X-Split", "a\r\nX-More: b")],
    "headers-date-server": [("Date", "yesterday"), ("Server", "ours"), TEXT],
    "headers-long": [TEXT, ("X-Long", "x" * 6000)],
    "headers-many": [(f"X-{number}", str(number)) for number in range(90)],
    "headers-tuple": (TEXT, FIVE),
    "headers-of-three": [TEXT, ("X-Three", "a", "b")],
    "headers-of-lists": [["Content-Type", "text/plain"]],
    "headers-int": [TEXT, ("X-Number", 5)],
    "headers-int-length": [TEXT, ("Content-Length", 5)],
    "headers-none-value": [TEXT, ("X-None", None)],
    "headers-bytes": [(b"Content-Type", b"text/plain")],
    "headers-text": [(Text("Content-Type"), Text("text/plain"))],
    "hop-close": [TEXT, FIVE, ("Connection", "close")],
    "hop-keep-alive": [TEXT, FIVE, ("Keep-Alive", "timeout=5")],
    "hop-upgrade": [TEXT, FIVE, ("Upgrade", "something")],
    "length-right": [TEXT, FIVE],
    "length-absent": [TEXT],
    "length-too-big": [TEXT, ("Content-Length", "9")],
    "length-too-small": [TEXT, ("Content-Length", "3")],
    "length-zero": [TEXT, ("Content-Length", "0")],
    "length-words": [TEXT, ("Content-Length", "five")],
    "length-twice": [TEXT, FIVE, FIVE],
}.items():
    _add_answer(_name, "200 OK", _headers, lambda: [b"hello"])

_BODIES: dict[str, Callable[[], t.Any]] = {
    "body-list-of-one": lambda: [b"one"],
    "body-list-of-several": lambda: [b"one ", b"two ", b"three"],
    "body-list-empty": list,
    "body-list-of-nothing": lambda: [b""],
    "body-list-own-kind": lambda: ChunkList([b"one"]),
    "body-list-own-kind-empty": ChunkList,
    "body-tuple-of-one": lambda: (b"one",),
    "body-tuple-of-several": lambda: (b"one ", b"two"),
    "body-tuple-empty": tuple,
    "body-deque": lambda: deque([b"one"]),
    "body-keys": lambda: {b"one": None}.keys(),
    "body-dict": lambda: {b"one": None},
    "body-set": lambda: {b"one"},
    "body-generator": _generated,
    "body-generator-empty": lambda: iter(()),
    "body-map": lambda: map(bytes, [b"one ", b"two"]),
    "body-file": lambda: BytesIO(b"one\ntwo\n"),
    "body-apart": lambda: Apart(b"one ", b"two"),
    "body-indexed": Indexed,
    "body-itself": Itself,
    "body-sized-one": lambda: Sized(b"one"),
    "body-sized-several": lambda: Sized(b"one ", b"two"),
    "body-sized-empty": Sized,
    "body-closing": lambda: Closing(b"one ", b"two"),
    "body-bytes": lambda: b"bytes",
    "body-str": lambda: "text",
    "body-none": lambda: None,
    "body-number": lambda: 5,
    "chunks-empty": lambda: Apart(b"", b"one ", b"", b"two", b""),
    "chunks-only-empty": lambda: Apart(b"", b""),
    "chunks-none": lambda: Apart(b"one ", None, b"two"),
    "chunks-zero": lambda: Apart(b"one ", 0, b"two"),
    "chunks-str": lambda: Apart(b"one ", "two"),
    "chunks-bytearray": lambda: Apart(bytearray(b"one "), bytearray(b"two")),
    "chunks-memoryview": lambda: Apart(memoryview(b"one "), memoryview(b"two")),
    "large-list": lambda: [MEGABYTE * 5],
    "large-generator": lambda: (MEGABYTE for _ in range(5)),
    "error-at-once": lambda: (_fail() for _ in "once"),
    "error-between-chunks": _generated_with_error,
    "error-in-close": lambda: FailingClose(b"one ", b"two"),
    "error-after-start": _fail,
}
for _name, _body in _BODIES.items():
    _add_answer(_name, "200 OK", [TEXT], _body)

_add_answer("204", "204 No Content", [], list)
_add_answer("204-generator", "204 No Content", [], lambda: iter(()))
_add_answer("204-with-body", "204 No Content", [TEXT], lambda: [b"nobody asked"])
_add_answer("304", "304 Not Modified", [("ETag", '"x"')], list)
_add_answer("304-tuple", "304 Not Modified", [("ETag", '"x"')], tuple)
_add_answer("304-with-length", "304 Not Modified", [FIVE], list)
_add_answer("205", "205 Reset Content", [("Content-Length", "0")], list)


@_add
def written(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
    write = start_response("200 OK", [TEXT])
    write(b"written ")
    write(b"")
    write(b"twice ")
    return [b"and returned"]


@_add
def written_alone(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
    start_response("200 OK", [TEXT])(b"written")
    return []


@_add
def written_text(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
    start_response("200 OK", [TEXT])(t.cast("bytes", "text"))
    return []


@_add
def written_in_body(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
    write = start_response("200 OK", [TEXT])

    def body() -> Iterator[bytes]:
        yield b"one "
        write(b"written ")
        yield b"two"

    return body()


@_add
def write_gives(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
    write = start_response("200 OK", [TEXT])
    return [repr(write(b"")).encode()]


@_add
def started_twice(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
    start_response("200 OK", [TEXT])
    start_response("201 Created", [TEXT])
    return [b"twice"]


@_add
def restarted(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
    start_response("200 OK", [TEXT, FIVE])
    try:
        _fail()
    except ValueError:
        start_response("500 Sorry", [TEXT, ("X-Second", "1")], sys.exc_info())
    return [b"an error page"]


@_add
def restarted_by_name(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
    try:
        _fail()
    except ValueError:
        # The specification has no names, but most servers call it so.
        t.cast("t.Any", start_response)("500 Sorry", [TEXT], exc_info=sys.exc_info())
    return [b"an error page"]


@_add
def restarted_with_none(
    environ: WSGIEnvironment, start_response: StartResponse
) -> t.Any:
    start_response("200 OK", [TEXT], None)
    start_response("202 Accepted", [TEXT], (None, None, None))
    return [b"accepted"]


@_add
def restarted_too_late(
    environ: WSGIEnvironment, start_response: StartResponse
) -> t.Any:
    write = start_response("200 OK", [TEXT])
    write(b"sent already ")
    try:
        _fail()
    except ValueError:
        start_response("500 Sorry", [TEXT], sys.exc_info())
    return [b"an error page"]


@_add
def restarted_in_body(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterator[bytes]:
    start_response("200 OK", [TEXT])
    yield b"sent already "
    try:
        _fail()
    except ValueError:
        start_response("500 Sorry", [TEXT], sys.exc_info())
    yield b"an error page"


@_add
def started_late(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterator[bytes]:
    start_response("200 OK", [TEXT])
    yield b"late"


@_add
def started_later(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterator[bytes]:
    yield b""
    start_response("200 OK", [TEXT])
    yield b"later"


@_add
def started_never(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
    return [b"no status"]


@_add
def started_never_nor_body(
    environ: WSGIEnvironment, start_response: StartResponse
) -> t.Any:
    return []


@_add
def error_before_start(
    environ: WSGIEnvironment, start_response: StartResponse
) -> t.Any:
    _fail()


@_add
def error_stop_iteration(
    environ: WSGIEnvironment, start_response: StartResponse
) -> t.Any:
    raise StopIteration


@_add
def error_after_write(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
    start_response("200 OK", [TEXT])(b"written ")
    _fail()


@_add
def headers_changed_later(
    environ: WSGIEnvironment, start_response: StartResponse
) -> t.Any:
    headers = [TEXT]
    start_response("200 OK", headers)
    headers.append(("X-Later", "1"))
    return [b"hello"]


@_add
def headers_generated(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
    start_response("200 OK", t.cast("t.Any", (one for one in [TEXT, FIVE])))
    return [b"hello"]


@_add
def reach(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
    """Return the owner of the server's start_response, as WebSocket libraries ask."""
    owner = getattr(start_response, "__self__", None)
    name = getattr(start_response, "__name__", "nameless")
    start_response("200 OK", [TEXT])
    return [f"{type(owner).__name__} {name} {callable(start_response)}".encode()]


@_add
def environment(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
    """Return the request, without values that differ between processes."""
    start_response("200 OK", [TEXT])
    return [
        f"{name}={environ.get(name)!a}\n".encode()
        for name in (
            "REQUEST_METHOD",
            "SCRIPT_NAME",
            "PATH_INFO",
            "QUERY_STRING",
            "CONTENT_TYPE",
            "CONTENT_LENGTH",
            "HTTP_X_TWICE",
            "HTTP_RANGE",
            "SERVER_PROTOCOL",
            "wsgi.url_scheme",
            "wsgi.input_terminated",
        )
    ]


@_add
def ranges(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
    if environ.get("HTTP_RANGE") != "bytes=1-3":
        start_response("200 OK", [TEXT, FIVE, ("Accept-Ranges", "bytes")])
        return [b"hello"]
    headers = [TEXT, ("Content-Range", "bytes 1-3/5"), ("Content-Length", "3")]
    start_response("206 Partial Content", headers)
    return [b"ell"]


@_add
def read_whole(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
    start_response("200 OK", [TEXT])
    return [b"read ", _read(environ)]


@_add
def read_partly(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
    start_response("200 OK", [TEXT])
    return [b"read ", _read(environ, 4)]


@_add
def read_in_body(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterator[bytes]:
    start_response("200 OK", [TEXT])
    yield b"reading "
    yield _read(environ)


def _read(environ: WSGIEnvironment, size: int = 100) -> bytes:
    """Read a short body; not past the end of one whose end the server does not show."""
    if not environ.get("wsgi.input_terminated"):
        size = min(size, int(environ.get("CONTENT_LENGTH") or 0))
    return bytes(environ["wsgi.input"].read(size))


def _file() -> t.BinaryIO:
    file = tempfile.TemporaryFile()  # noqa: SIM115  # the server closes it
    file.write(FILE)
    file.seek(0)
    return t.cast("t.BinaryIO", file)


def _seeked(file: t.BinaryIO) -> t.BinaryIO:
    file.seek(1000)
    return file


def _add_file(name: str, headers: t.Any, open_file: Callable[[], t.Any]) -> None:
    def serve(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
        start_response("200 OK", headers)
        file = open_file()
        return environ.get("wsgi.file_wrapper", FileWrapper)(file, 4096)

    PATHS[name] = serve


_WHOLE = ("Content-Length", str(len(FILE)))
_add_file("file-with-length", [TEXT, _WHOLE], _file)
_add_file("file-without-length", [TEXT], _file)
_add_file("file-from-its-middle", [TEXT], lambda: _seeked(_file()))
_add_file("file-partly", [TEXT, ("Content-Length", "5000")], _file)
_add_file("file-in-memory", [TEXT], lambda: BytesIO(FILE))
_add_file("file-304", [TEXT, _WHOLE], _file)


@_add
def file_wrapped_unused(
    environ: WSGIEnvironment, start_response: StartResponse
) -> t.Any:
    wrapper = environ.get("wsgi.file_wrapper")
    if wrapper is not None:
        wrapper(BytesIO(FILE))
    start_response("200 OK", [TEXT])
    return [b"something else"]


@_add
def file_wrapper_kind(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
    """Return the offers of the server; applications recognise servers by them."""
    wrapper = environ.get("wsgi.file_wrapper")
    start_response("200 OK", [TEXT])
    return [f"{wrapper is not None} {isinstance(wrapper, type)}".encode()]


@_add
def exchanges(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
    """Return how many exchanges have closed, and the failures of receivers."""
    counts = f"{_closed.count('exchange')} {wrapped.receiver_failures}".encode()
    start_response("200 OK", [TEXT, ("Content-Length", str(len(counts)))])
    return [counts]


def torture(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Do the nasty thing that the first segment of the path names."""
    name = str(environ["PATH_INFO"]).split("/")[1]
    return PATHS[name](environ, start_response)


wrapped = SignalMiddleware(torture)


def _read_all(sender: object, **payload: t.Any) -> None:
    """Look at all that was sent, as receivers do."""
    response = payload.get("response")
    if response is not None:
        dict(response.headers)
    exchange = payload.get("exchange")
    if exchange is not None:
        exchange.state["seen"] = (repr(exchange), exchange.referrer)
    for value in payload.values():
        repr(value)


def _count(sender: object, **_: object) -> None:
    _closed.append("exchange")


if os.environ.get("TORTURE_HAS_RECEIVERS"):
    for _signal in catalogue.values():
        _signal.connect(_read_all, sender=torture)
    exchange_closed.connect(_count, sender=torture)
