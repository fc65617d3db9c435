"""Errors that an application makes a response of, and gives to ``start_response``."""

from __future__ import annotations

import sys
import typing as t
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator

import flask
import pytest

from signalpost import SignalMiddleware
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import EXCHANGE_SIGNALS
from signalpost.lifecycle import got_request_exception
from signalpost.testing import capture
from signalpost.testing import Sent
from tests.integrations.serving_socket import served_by_waitress
from tests.integrations.serving_socket import until
from tests.wsgi.serving import exchange_of
from tests.wsgi.serving import names
from tests.wsgi.serving import Server
from tests.wsgi.serving import TEXT

if t.TYPE_CHECKING:
    from _typeshed import OptExcInfo
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment


class Answer(Exception):  # noqa: N818  # as those of Werkzeug, WebOb and Paste
    """An exception that is a response."""

    code: t.Any = 404


class Catching:
    """A middleware that answers what its application raises, as in :pep:`3333`."""

    def __init__(
        self, app: WSGIApplication, status: str = "500 Internal Server Error"
    ) -> None:
        self._app = app
        self._status = status

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        try:
            return self._app(environ, start_response)
        except Exception:  # noqa: BLE001  # that is its task
            start_response(self._status, TEXT, sys.exc_info())
            return [b"sorry"]


def raising(error: BaseException) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        raise error

    return app


def late(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    try:
        raise LookupError("late")
    except LookupError:
        start_response("500 Internal Server Error", TEXT, sys.exc_info())
    yield b"sorry"


def failures_in(sent: list[Sent]) -> list[tuple[BaseException, str]]:
    return [
        (one["exception"], one["where"])
        for one in sent
        if one.signal is got_request_exception
    ]


def test_an_exception_given_to_start_response_is_sent_once() -> None:
    error = LookupError("no")
    server = Server()
    with capture(*EXCHANGE_SIGNALS) as sent:
        assert server.serve(SignalMiddleware(Catching(raising(error)))) == b"sorry"
    assert names(sent) == [
        "exchange-opened",
        "request-started",
        "got-request-exception",
        "request-finished",
        "exchange-closed",
    ]
    assert failures_in(sent) == [(error, "call")]
    exchange = exchange_of(sent)
    assert (exchange.exception, exchange.status, exchange.outcome) == (
        error,
        500,
        "complete",
    )


def test_it_is_on_the_exchange_with_any_receiver() -> None:
    error = LookupError("no")
    with capture(exchange_closed) as sent:
        Server().serve(SignalMiddleware(Catching(raising(error))))
    assert exchange_of(sent).exception is error


def test_one_given_while_the_body_is_produced_is_of_the_iteration() -> None:
    with capture(*EXCHANGE_SIGNALS) as sent:
        assert Server().serve(SignalMiddleware(late)) == b"sorry"
    ((error, where),) = failures_in(sent)
    assert (str(error), where) == ("late", "iteration")
    exchange = exchange_of(sent)
    assert (exchange.exception, exchange.outcome) == (error, "complete")


def test_an_error_page_that_the_client_leaves_is_aborted() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            raise LookupError
        except LookupError:
            start_response("500 Internal Server Error", TEXT, sys.exc_info())
        return iter([b"one", b"two"])

    with capture(exchange_closed) as sent:
        body = t.cast("t.Any", Server().call(SignalMiddleware(app)))
        next(iter(body))
        body.close()
    assert exchange_of(sent).outcome == "aborted"
    assert isinstance(exchange_of(sent).exception, LookupError)


# A server raises it again once the headers are sent: PEP 3333, "The start_response()
# Callable".
@pytest.mark.parametrize("starts_late", [True, False])
def test_one_that_the_server_raises_again_is_sent_once(starts_late: bool) -> None:
    error = LookupError("no")

    def answer(start_response: StartResponse) -> None:
        start_response("200 OK", TEXT)
        try:
            raise error
        except LookupError:
            start_response("500 Internal Server Error", TEXT, sys.exc_info())

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if not starts_late:
            answer(start_response)
        return produced(start_response)

    def produced(start_response: StartResponse) -> Iterator[bytes]:
        yield b"one"
        answer(start_response)

    class Strict(Server):
        def start_response(
            self, status: str, headers: list[tuple[str, str]], exc_info: t.Any = None
        ) -> Callable[[bytes], object]:
            if exc_info is not None:
                raise exc_info[1].with_traceback(exc_info[2])
            return super().start_response(status, headers)

    with capture(*EXCHANGE_SIGNALS) as sent, pytest.raises(LookupError) as raised:
        Strict().serve(SignalMiddleware(app))
    assert raised.value is error
    assert failures_in(sent) == [(error, "iteration" if starts_late else "call")]
    exchange = exchange_of(sent)
    assert (exchange.exception, exchange.status, exchange.outcome) == (
        error,
        200,
        "error",
    )


def test_two_exceptions_of_one_request_are_both_sent() -> None:
    inner, outer = LookupError("inner"), ValueError("outer")

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        Catching(raising(inner))(environ, start_response)
        return Catching(raising(outer))(environ, start_response)

    with capture(*EXCHANGE_SIGNALS) as sent:
        Server().serve(SignalMiddleware(app))
    assert failures_in(sent) == [(inner, "call"), (outer, "call")]
    assert exchange_of(sent).exception is outer


# A middleware that answers HTTP exceptions may give those, too.
@pytest.mark.parametrize(
    ("code", "status", "is_failure"),
    [
        (404, "404 Not Found", False),
        (302, "302 Found", False),
        (503, "503 Service Unavailable", True),
        (404, "500 Internal Server Error", True),
        ("404", "404 Not Found", True),
        (None, "404 Not Found", True),
    ],
)
def test_an_exception_that_is_the_answer_is_no_failure(
    code: object, status: str, is_failure: bool
) -> None:
    error = Answer()
    error.code = code
    with capture(*EXCHANGE_SIGNALS) as sent:
        Server().serve(SignalMiddleware(Catching(raising(error), status)))
    assert len(failures_in(sent)) == is_failure
    assert exchange_of(sent).exception is (error if is_failure else None)


def test_another_exception_is_a_failure_whatever_the_status() -> None:
    error = LookupError("no")
    app = SignalMiddleware(Catching(raising(error), "400 Bad Request"))
    with capture(*EXCHANGE_SIGNALS) as sent:
        Server().serve(app)
    assert failures_in(sent) == [(error, "call")]


class HostileError(Exception):
    @property  # type: ignore[misc]
    def __class__(self) -> t.Any:
        raise RuntimeError

    @property
    def code(self) -> int:
        raise RuntimeError

    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    __hash__ = None  # type: ignore[assignment]


def test_an_exception_that_raises_when_it_is_asked_is_recorded() -> None:
    error = HostileError()
    with capture(*EXCHANGE_SIGNALS) as sent:
        assert Server().serve(SignalMiddleware(Catching(raising(error)))) == b"sorry"
    assert len(failures_in(sent)) == 1
    assert exchange_of(sent).exception is error


@pytest.mark.parametrize(
    "given", [(None, None, None), (), (1,), (1, 2, 3), True, "error", LookupError()]
)
def test_what_is_no_exception_goes_to_the_server_and_is_not_sent(
    given: object,
) -> None:
    seen: list[object] = []

    class Noting(Server):
        def start_response(
            self, status: str, headers: list[tuple[str, str]], exc_info: t.Any = None
        ) -> Callable[[bytes], object]:
            seen.append(exc_info)
            return super().start_response(status, headers)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", TEXT, t.cast("OptExcInfo", given))
        return [b"one"]

    with capture(*EXCHANGE_SIGNALS) as sent:
        assert Noting().serve(SignalMiddleware(app)) == b"one"
    assert seen == [given]
    assert failures_in(sent) == []
    assert exchange_of(sent).outcome == "complete"


def test_one_that_flask_has_sent_is_not_sent_again() -> None:
    error = LookupError("no")
    app = flask.Flask("failing")
    app.config["PROPAGATE_EXCEPTIONS"] = True

    @app.get("/")
    def fail() -> str:
        raise error

    app.wsgi_app = Catching(app.wsgi_app)  # type: ignore[method-assign]
    Signalpost(app)
    with capture(*EXCHANGE_SIGNALS, sender=app) as sent:
        assert Server().serve(app) == b"sorry"
    assert failures_in(sent) == [(error, "view")]
    assert exchange_of(sent).outcome == "complete"


def test_a_mounted_application_and_what_is_around_it_record_it_both() -> None:
    error = LookupError("no")
    inner = SignalMiddleware(Catching(raising(error)), sender="inner")
    with capture(*EXCHANGE_SIGNALS) as sent:
        Server().serve(SignalMiddleware(inner, sender="outer"))
    failed = [one for one in sent if one.signal is got_request_exception]
    assert [one.sender for one in failed] == ["outer", "inner"]
    assert {one["exception"] for one in failed} == {error}


@pytest.mark.parametrize("app", [Catching(raising(LookupError("no"))), late])
def test_waitress_sends_the_error_page_as_without_us(app: WSGIApplication) -> None:
    answers: list[tuple[int, bytes]] = []
    with capture(*EXCHANGE_SIGNALS, sender=app) as sent:
        for served in (app, SignalMiddleware(app)):
            with served_by_waitress(served) as client, client.asking("/") as response:
                answers.append((response.status, response.read()))
        until(lambda: "exchange-closed" in names(sent), sent)
    assert answers == [(500, b"sorry")] * 2
    assert len(failures_in(sent)) == 1
    assert exchange_of(sent).outcome == "complete"
