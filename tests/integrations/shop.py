"""A Flask application with a page for each course that a request can take."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Callable
from collections.abc import Iterator
from importlib.metadata import version

import flask
import pytest
from flask.sessions import SecureCookieSessionInterface

Prepare = Callable[[flask.Flask], object]

FLASK = tuple(int(number) for number in re.findall(r"\d+", version("flask"))[:3])
until_one_context = pytest.mark.skipif(
    FLASK >= (3, 2), reason="Flask 3.2 has one context and pops it elsewhere"
)


def hello() -> str:
    return "hello"


def render() -> str:
    return flask.render_template_string("{{ 1 + 1 }}")


def flash() -> str:
    flask.flash("saved", "info")
    return "flashed"


def fail() -> t.Any:
    raise LookupError("no such thing")


def refuse() -> t.Any:
    flask.abort(403)


def leave() -> t.Any:
    raise SystemExit(3)


def stream() -> flask.Response:
    return flask.Response(chunks())


def stream_in_context() -> flask.Response:
    return flask.Response(flask.stream_with_context(chunks()))


def stream_and_fail() -> flask.Response:
    return flask.Response(failing_chunks())


def chunks() -> Iterator[bytes]:
    yield b"one"
    yield b"two"


def failing_chunks() -> Iterator[bytes]:
    yield b"one"
    raise LookupError("no such thing")


def ask_itself() -> str:
    return flask.current_app.test_client().get("/hello").text + " inside"


def item(number: int) -> str:
    return f"item {number}"


PAGES: dict[str, Callable[..., t.Any]] = {
    "/hello": hello,
    "/template": render,
    "/flash": flash,
    "/fail": fail,
    "/refuse": refuse,
    "/leave": leave,
    "/stream": stream,
    "/stream-in-context": stream_in_context,
    "/stream-and-fail": stream_and_fail,
    "/ask-itself": ask_itself,
    "/items/<int:number>": item,
}


def new_shop(prepare: Prepare | None = None) -> flask.Flask:
    app = flask.Flask(__name__)
    app.secret_key = "for tests"
    for path, view in PAGES.items():
        app.add_url_rule(path, view_func=view)
    if prepare is not None:
        prepare(app)
    return app


class NoSessions(SecureCookieSessionInterface):
    """A session interface whose storage is down."""

    def open_session(self, app: flask.Flask, request: flask.Request) -> t.Any:
        raise ConnectionError("no storage")


def handle_lookup_errors(app: flask.Flask) -> None:
    app.register_error_handler(LookupError, lambda _: ("handled", 418))


def handle_server_errors(app: flask.Flask) -> None:
    app.register_error_handler(500, lambda _: ("sorry", 500))


def propagate(app: flask.Flask) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = True


def refuse_before_request(app: flask.Flask) -> None:
    app.before_request(lambda: ("not today", 503))


def fail_after_request(app: flask.Flask) -> None:
    app.after_request(lambda response: fail())


def fail_to_open_sessions(app: flask.Flask) -> None:
    app.session_interface = NoSessions()


class Course(t.NamedTuple):
    """One way for a request to go: how the application is prepared, what is asked."""

    path: str
    prepare: Prepare | None = None
    raises: type[BaseException] | None = None


COURSES = {
    "plain": Course("/hello"),
    "not-found": Course("/no-such-page"),
    "template": Course("/template"),
    "flash": Course("/flash"),
    "abort": Course("/refuse"),
    "error": Course("/fail"),
    "error-handled": Course("/fail", handle_lookup_errors),
    "error-500-handled": Course("/fail", handle_server_errors),
    "error-propagated": Course("/fail", propagate, LookupError),
    "system-exit": Course("/leave", None, SystemExit),
    "before-request-returns": Course("/hello", refuse_before_request),
    "after-request-raises": Course("/hello", fail_after_request),
    "open-session-raises": Course("/hello", fail_to_open_sessions),
    "stream": Course("/stream"),
    "stream-in-context": Course("/stream-in-context"),
    "stream-fails": Course("/stream-and-fail", None, LookupError),
}
"""By name, all that can become of a request that is read to its end."""

each_course = pytest.mark.parametrize("course", COURSES.values(), ids=COURSES.keys())
