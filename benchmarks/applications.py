"""Applications whose requests are timed, called without a server."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextlib import nullcontext
from dataclasses import dataclass
from dataclasses import field
from functools import partial
from itertools import repeat
from types import CodeType
from typing import Any
from typing import TYPE_CHECKING
from wsgiref.util import setup_testing_defaults

from .timing import Batch
from .timing import Row
from .timing import Variant

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

CHUNKS = 1000
"""How many chunks a stream has."""

RAW_HELLO = "raw hello"
RAW_STREAM = "raw stream"
FLASK_HELLO = "Flask hello"
FLASK_STREAM = "Flask stream"

_BODY = b"Hello, world!\n"
_TYPE = ("Content-Type", "text/plain; charset=utf-8")


@dataclass(frozen=True, slots=True)
class Application:
    """An application; every variant creates its own."""

    name: str
    """The heading of its column."""
    new: Callable[[], Any]
    """Return a new one, without a middleware."""
    calls: Mapping[CodeType, int]
    """How often each piece of its code must run in one request."""
    is_flask: bool = False
    """``True`` for a :class:`flask.Flask`, ``False`` for a function."""


@dataclass(frozen=True, slots=True)
class SetUp:
    """One way to watch an application."""

    name: str
    """The label of its line."""
    wrap: Callable[[Any], WSGIApplication]
    """Set a new application up, and return the callable for the server."""
    calls: Mapping[CodeType, int] = field(default_factory=dict)
    """How often each piece of its code must run in one request."""
    setting: Callable[[Any], AbstractContextManager[object]] = nullcontext
    """Return the context that a batch with the application needs."""
    fits_raw: bool = True
    """``True`` if it works with any WSGI application."""
    fits_flask: bool = True
    """``True`` if it works with a Flask application."""


def applications() -> tuple[list[Application], list[str]]:
    """Return the applications, and a line for each framework that is missing."""
    # The last call of a generator only ends it.
    whole = {chunks.__code__: CHUNKS + 1}
    found = [
        Application(RAW_HELLO, lambda: hello, {hello.__code__: 1}),
        Application(RAW_STREAM, lambda: stream, {stream.__code__: 1} | whole),
    ]
    try:
        import flask  # noqa: F401
    except ImportError:
        return found, ["the Flask applications are left out: flask is not installed"]
    for name, view, calls in (
        (FLASK_HELLO, _view_hello, {_view_hello.__code__: 1}),
        (FLASK_STREAM, _view_stream, {_view_stream.__code__: 1} | whole),
    ):
        found.append(Application(name, partial(_flask, view), calls, is_flask=True))
    return found, []


def rows_of(
    served: Sequence[Application],
    set_ups: Sequence[SetUp],
    unused: Sequence[CodeType] = (),
) -> list[Row]:
    """Return a row for each application, with a variant for each set-up that fits.

    :param unused: Code that must not run, except in a set-up that requires it.
    """
    none = dict.fromkeys(unused, 0)
    rows = []
    for application in served:
        variants = []
        for one in set_ups:
            if one.fits_flask if application.is_flask else one.fits_raw:
                app = application.new()
                calls = {**none, **application.calls, **one.calls}
                setting = partial(one.setting, app)
                variants.append(
                    Variant(one.name, requests(one.wrap(app)), calls, setting)
                )
        rows.append(Row(application.name, variants))
    return rows


def around(
    layer: Callable[[WSGIApplication], WSGIApplication],
) -> Callable[[Any], WSGIApplication]:
    """Return a function that wraps an application in a middleware, as users do."""

    def wrap(app: Any) -> WSGIApplication:
        if not hasattr(app, "wsgi_app"):
            return layer(app)
        app.wsgi_app = layer(app.wsgi_app)
        served: WSGIApplication = app
        return served

    return wrap


def alone(app: Any) -> WSGIApplication:
    """Return the application without a middleware."""
    served: WSGIApplication = app
    return served


def hello(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer any request with one line; this takes almost no time."""
    start_response("200 OK", [_TYPE, ("Content-Length", str(len(_BODY)))])
    return [_BODY]


def stream(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer any request with a thousand chunks, without a Content-Length."""
    start_response("200 OK", [_TYPE])
    return chunks()


def chunks() -> Generator[bytes]:
    """Yield the body of a stream."""
    for _ in repeat(None, CHUNKS):
        yield _BODY


def requests(app: WSGIApplication, method: str = "GET") -> Batch:
    """Return a batch of requests, made as a server makes them (:pep:`3333`)."""
    blank: WSGIEnvironment = {"REQUEST_METHOD": method}
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
        raise RuntimeError(f"the page must be there, but its status is {status}")
    return bytes


def _flask(view: Callable[[], Any]) -> Any:
    from flask import Flask

    app = Flask("benchmarks", static_folder=None)
    app.add_url_rule("/", "view", view)
    return app


def _view_hello() -> str:
    return "Hello, world!\n"


def _view_stream() -> Any:
    from flask import Response

    return Response(chunks(), mimetype="text/plain")
