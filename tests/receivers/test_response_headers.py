from __future__ import annotations

import io
import re
import sys
import typing as t
from collections.abc import Generator
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import contextmanager
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import flask
import pytest
import sqlalchemy as sa

from signalpost import SignalMiddleware
from signalpost.config import enabled_for
from signalpost.exchange import current_exchange
from signalpost.exchange import Exchange
from signalpost.integrations.flask import Signalpost
from signalpost.integrations.sqlalchemy import instrument
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import exchange_opened
from signalpost.lifecycle import sql_executed
from signalpost.receivers.response_headers import IdHeader
from signalpost.receivers.response_headers import ServerTiming
from signalpost.receivers.sql_totals import count_sql
from tests.wsgi.serving import environ_of
from tests.wsgi.serving import hello
from tests.wsgi.serving import Server
from tests.wsgi.serving import streamed
from tests.wsgi.serving import TEXT

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment


@pytest.fixture
def ids() -> Generator[list[str]]:
    """Send ids in responses, and keep those of the exchanges."""
    kept: list[str] = []

    def keep(sender: object, *, exchange: Exchange) -> None:
        kept.append(exchange.id)

    with (
        exchange_opened.connected_to(IdHeader()),
        exchange_closed.connected_to(keep),
    ):
        yield kept


@pytest.fixture
def timed() -> Generator[None]:
    with exchange_opened.connected_to(ServerTiming()):
        yield


def values_of(server: Server, name: str = "X-Request-ID") -> list[str]:
    return [value for key, value in server.headers if key.lower() == name.lower()]


def serve(app: WSGIApplication, **environ: t.Any) -> Server:
    server = Server()
    server.serve(app, **environ)
    return server


def starting_late(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterator[bytes]:
    yield from hello(environ, start_response)


def writing(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [*TEXT])(b"hello")
    return []


def starting_again(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    start_response("200 OK", [*TEXT, ("X-First", "yes")])
    try:
        raise LookupError("no mug")
    except LookupError:
        start_response("500 Oh No", [*TEXT], sys.exc_info())
    return [b"hello"]


def empty(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("204 No Content", [])
    return []


@pytest.mark.parametrize(
    "app", [hello, streamed, starting_late, writing, starting_again, empty]
)
def test_the_id_is_sent_once_with_whatever_is_answered(
    app: WSGIApplication, ids: list[str]
) -> None:
    bare, server = serve(app), serve(SignalMiddleware(app))
    assert values_of(server) == ids
    assert len(ids) == 1
    others = [one for one in server.headers if one[0] != "X-Request-ID"]
    assert (server.status, others, server.written) == (
        bare.status,
        bare.headers,
        bare.written,
    )


def test_the_id_of_the_front_is_sent_back(ids: list[str]) -> None:
    server = serve(SignalMiddleware(hello), HTTP_X_REQUEST_ID="f3-09")
    assert values_of(server) == ["f3-09"] == ids


@pytest.mark.parametrize("sent", ["a\r\nSet-Cookie: b=c", "x" * 10_000, "a b", "é"])
def test_a_hostile_id_is_not_sent_back(sent: str, ids: list[str]) -> None:
    server = serve(SignalMiddleware(hello), HTTP_X_REQUEST_ID=sent)
    assert values_of(server) == ids != [sent]


def test_a_header_of_the_applications_own_stays(ids: list[str]) -> None:
    def app(environ: t.Any, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [*TEXT, ("x-request-id", "own")])
        return [b"hello"]

    assert values_of(serve(SignalMiddleware(app))) == ["own"]


def test_the_name_of_the_header_can_be_chosen() -> None:
    with exchange_opened.connected_to(IdHeader(name="X-Trace")):
        server = serve(SignalMiddleware(hello), HTTP_X_REQUEST_ID="f3-09")
    assert server.headers == [*TEXT, ("Content-Length", "5"), ("X-Trace", "f3-09")]


def test_two_applications_within_each_other_send_one_id(ids: list[str]) -> None:
    mounted = SignalMiddleware(hello, sender="mounted")
    app = SignalMiddleware(lambda *given: mounted(*given), sender="outer")
    server = serve(app)
    assert [*{*ids}] == values_of(server)
    assert len(ids) == 2


def test_the_headers_of_the_application_are_left_as_they_are(ids: list[str]) -> None:
    headers = [*TEXT]

    def app(environ: t.Any, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", headers)
        return [b"hello"]

    for _ in range(2):
        assert len(values_of(serve(SignalMiddleware(app)))) == 1
    assert headers == TEXT


@pytest.mark.parametrize(
    "headers", [None, (("a", "b"),), [None], [("a",)], [(1, 2)], "ab", iter([])]
)
def test_headers_that_are_none_go_to_the_server(headers: t.Any, ids: list[str]) -> None:
    def app(environ: t.Any, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", headers)
        return [b"hello"]

    server = serve(SignalMiddleware(app))
    assert server.headers is headers
    assert server.written == b"hello"


def test_a_file_stays_that_of_the_server(ids: list[str]) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> t.Any:
        start_response("200 OK", [*TEXT])
        return environ["wsgi.file_wrapper"](io.BytesIO(b"hello"))

    server = Server()
    environ = environ_of()
    environ["wsgi.file_wrapper"] = FileWrapper
    body = SignalMiddleware(app)(environ, server.start_response)
    assert type(body) is FileWrapper
    body.close()
    assert values_of(server) == ids


def test_the_exception_of_a_second_start_reaches_the_server(ids: list[str]) -> None:
    seen: list[object] = []

    class Strict(Server):
        def start_response(self, status: str, headers: t.Any, *more: t.Any) -> t.Any:
            seen.append(more)
            return super().start_response(status, headers)

    Strict().serve(SignalMiddleware(starting_again))
    first, ((kind, error, traceback),) = t.cast("t.Any", seen)
    assert first == ()
    assert kind is LookupError
    assert str(error) == "no mug"
    assert traceback is not None


def test_a_server_finds_its_own_start_response(ids: list[str]) -> None:
    seen = []

    def app(environ: t.Any, start_response: t.Any) -> list[bytes]:
        seen.append(start_response.__self__)
        return [*hello(environ, start_response)]

    server = serve(SignalMiddleware(app))
    assert seen == [server]


def test_what_goes_between_is_as_wsgi_has_it(ids: list[str], timed: None) -> None:
    app = validator(SignalMiddleware(validator(hello), sender="shop"))
    assert len(values_of(serve(app, QUERY_STRING="", SCRIPT_NAME=""))) == 1


def new_shop() -> flask.Flask:
    app = flask.Flask("shop")
    Signalpost(app)

    @app.get("/stream")
    def stream() -> flask.Response:
        return flask.Response(iter(["one", "two"]))

    @app.get("/file")
    def file() -> flask.Response:
        return flask.send_file(__file__)

    @app.get("/fail")
    def fail() -> str:
        raise LookupError("no mug")

    @app.get("/refuse")
    def refuse() -> str:
        flask.abort(403)

    return app


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/stream", 200),
        ("/file", 200),
        ("/fail", 500),
        ("/refuse", 403),
        ("/none", 404),
        ("/stream/", 404),
    ],
)
def test_flasks_answers_have_the_id(path: str, status: int, ids: list[str]) -> None:
    app = new_shop()
    response = app.test_client().get(path, buffered=True)
    assert response.status_code == status
    assert response.headers.getlist("X-Request-ID") == ids
    assert len(ids) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "X Id",
        "X_Id",
        "X-Id:",
        "é",
        "Content-Length",
        "content-type",
        "Connection",
        "Transfer-Encoding",
        "Set-Cookie",
        "Status",
        "Date",
    ],
)
def test_a_name_that_no_header_of_ours_has_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="name must be the name of a header"):
        IdHeader(name=wrong)


def test_a_name_of_a_wrong_type_is_refused() -> None:
    wrong: t.Any = True
    with pytest.raises(TypeError, match="name must be the name of a header"):
        IdHeader(name=wrong)


def test_both_are_enabled_by_name() -> None:
    app = new_shop()
    enabled = enabled_for(app)
    enabled.enable("id-header", name="X-Trace")
    enabled.enable("server-timing")
    with app.test_client() as client:
        response = client.get("/none", headers={"X-Request-ID": "f3-09"}, buffered=True)
    assert response.headers["X-Trace"] == "f3-09"
    assert "total;dur=" in response.headers["Server-Timing"]
    enabled.disable_all()


# W3C Server Timing, 2: names and unquoted values are tokens of HTTP.
TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
METRIC = rf'{TOKEN}(?:;{TOKEN}=(?:{TOKEN}|"[^"\\]*"))*'
is_timing = re.compile(rf"{METRIC}(?:, {METRIC})*").fullmatch


@pytest.mark.parametrize("app", [hello, streamed, starting_late, writing])
def test_the_time_until_the_headers_is_sent(app: WSGIApplication, timed: None) -> None:
    (value,) = values_of(serve(SignalMiddleware(app)), "Server-Timing")
    assert is_timing(value)
    assert re.fullmatch(r"total;dur=\d+\.\d", value)


@contextmanager
def database() -> Generator[sa.Engine]:
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    instrumentation = instrument(engine)
    try:
        with sql_executed.connected_to(count_sql):
            yield engine
    finally:
        instrumentation.undo()
        engine.dispose()


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, ""),
        (1, r', sql;dur=\d+\.\d;desc="1 statement"'),
        (3, r', sql;dur=\d+\.\d;desc="3 statements"'),
    ],
)
def test_the_time_of_statements_is_sent(count: int, shown: str, timed: None) -> None:
    with database() as engine:

        def app(environ: t.Any, start_response: StartResponse) -> Iterable[bytes]:
            with engine.connect() as connection:
                for _ in range(count):
                    connection.execute(sa.text("SELECT 1"))
            return hello(environ, start_response)

        (value,) = values_of(serve(SignalMiddleware(app)), "Server-Timing")
    assert is_timing(value)
    assert re.fullmatch(r"total;dur=\d+\.\d" + shown, value)


def test_the_applications_own_times_stay(timed: None) -> None:
    def app(environ: t.Any, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [*TEXT, ("Server-Timing", "cache;dur=1")])
        return [b"hello"]

    own, ours = values_of(serve(SignalMiddleware(app)), "Server-Timing")
    assert own == "cache;dur=1"
    assert ours.startswith("total;")


def test_one_of_two_applications_within_each_other_sends_times(timed: None) -> None:
    mounted = SignalMiddleware(hello, sender="mounted")
    app = SignalMiddleware(lambda *given: mounted(*given), sender="outer")
    assert len(values_of(serve(app), "Server-Timing")) == 1


def test_a_time_that_cannot_be_is_left_out(timed: None) -> None:
    def app(environ: t.Any, start_response: StartResponse) -> Iterable[bytes]:
        exchange: t.Any = current_exchange()
        exchange.start = "never"
        return hello(environ, start_response)

    assert serve(SignalMiddleware(app)).headers == [*TEXT, ("Content-Length", "5")]
