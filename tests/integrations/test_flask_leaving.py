"""Clients that leave an application of Flask's: in an upload, under the debugger."""

from __future__ import annotations

import io
import typing as t
from collections.abc import Iterator

import flask
import pytest
from flask.signals import got_request_exception as flasks_exception
from werkzeug.debug import DebuggedApplication
from werkzeug.exceptions import ClientDisconnected
from werkzeug.test import EnvironBuilder

from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import got_request_exception
from signalpost.receivers.failures import FailureLogger
from signalpost.receivers.latency import LatencyLogger
from signalpost.receivers.recorder import LatencyRecorder
from signalpost.testing import capture


class Input(io.RawIOBase):
    """An upload whose client has left."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: t.Any, /) -> int:
        raise ConnectionResetError


def new_app() -> flask.Flask:
    app = flask.Flask(__name__)

    @app.post("/upload")
    def upload() -> str:
        return str(len(flask.request.get_data()))

    @app.post("/own")
    def own() -> t.NoReturn:
        raise ConnectionResetError("of the database")

    @app.get("/stream")
    def stream() -> flask.Response:
        def chunks() -> Iterator[str]:
            yield "one"
            yield "two"

        return flask.Response(chunks())

    Signalpost(app)
    return app


def post(app: flask.Flask, path: str, *, is_guarded: bool = False) -> int:
    """Upload what cannot be read, and return the status.

    :param is_guarded: Whether Werkzeug turns what the input raises into its own, as it
        does behind servers whose input does not end by itself.
    """
    environ = EnvironBuilder(path, method="POST").get_environ()
    environ |= {"CONTENT_LENGTH": "10", "wsgi.input": Input()}
    if not is_guarded:
        environ["wsgi.input_terminated"] = True
    return app.response_class.from_app(app, environ, buffered=True).status_code


def test_an_upload_that_a_client_left_is_no_failure() -> None:
    with capture(exchange_closed, got_request_exception) as sent:
        assert post(new_app(), "/upload") == 500
    (closed,) = sent
    exchange = closed["exchange"]
    assert (exchange.outcome, exchange.exception) == ("aborted", None)
    assert (exchange.status, exchange.route) == (None, "/upload")


def test_an_upload_that_a_client_left_is_none_where_exceptions_are_let_through() -> (
    None
):
    app = new_app()
    app.config["PROPAGATE_EXCEPTIONS"] = True
    with (
        capture(exchange_closed, got_request_exception) as sent,
        pytest.raises(ConnectionResetError),
    ):
        post(app, "/upload")
    (closed,) = sent
    exchange = closed["exchange"]
    assert (exchange.outcome, exchange.exception) == ("aborted", None)
    assert (exchange.status, exchange.route) == (None, "/upload")


def test_a_reset_of_the_view_s_own_connection_is_a_failure() -> None:
    with capture(exchange_closed, got_request_exception) as sent:
        assert post(new_app(), "/own") == 500
    failed, closed = sent
    assert failed["where"] == "view"
    assert closed["exchange"].outcome == "complete"
    assert closed["exchange"].exception is failed["exception"]


def test_a_failure_logger_reports_no_client_that_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log_failure = FailureLogger()
    with got_request_exception.connected_to(log_failure):
        post(new_app(), "/upload")
        assert caplog.records == [
            one for one in caplog.records if one.name.startswith(__name__)
        ]
        post(new_app(), "/own")
    assert [one for one in caplog.records if one.name.startswith("signalpost")]


def test_receivers_count_no_failure_for_a_client_that_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = new_app()
    recorder = LatencyRecorder()
    log_latency = LatencyLogger()
    with (
        caplog.at_level("DEBUG", "signalpost"),
        exchange_closed.connected_to(recorder.closed, app),
        exchange_closed.connected_to(log_latency, app),
    ):
        post(app, "/upload")
    assert recorder.snapshot().total.errors_since_start == 0
    levels = [
        one.levelname for one in caplog.records if one.name.startswith("signalpost")
    ]
    assert levels
    assert "ERROR" not in levels


def test_what_flask_answers_with_400_is_that_answer() -> None:
    with capture(exchange_closed, got_request_exception) as sent:
        assert post(new_app(), "/upload", is_guarded=True) == 400
    (closed,) = sent
    assert (closed["exchange"].outcome, closed["exchange"].status) == ("complete", 400)


def test_what_werkzeug_raises_for_it_is_no_failure_when_trapped() -> None:
    app = new_app()
    app.config["TRAP_HTTP_EXCEPTIONS"] = True
    with capture(exchange_closed, got_request_exception) as sent:
        assert post(app, "/upload", is_guarded=True) == 500
    (closed,) = sent
    assert closed["exchange"].outcome == "aborted"


def test_what_an_extension_reports_for_it_is_a_client_that_left() -> None:
    app = new_app()

    # As Flask-RESTX does with all that it answers.
    @app.errorhandler(ClientDisconnected)
    def report(error: ClientDisconnected) -> tuple[str, int]:
        flasks_exception.send(app, exception=error)
        return "left", 400

    with capture(exchange_closed, got_request_exception) as sent:
        assert post(app, "/upload", is_guarded=True) == 400
    (closed,) = sent
    assert closed["exchange"].outcome == "aborted"


def close_after_one(app: t.Any, path: str) -> None:
    """Take one chunk and close the body, as a server does when the client left."""
    body = app(EnvironBuilder(path).get_environ(), lambda *_: None)
    next(body)
    body.close()


def test_a_stream_left_under_the_debugger_is_aborted_at_once() -> None:
    app = new_app()
    with capture(exchange_closed, got_request_exception) as sent:
        close_after_one(DebuggedApplication(app, evalex=True), "/stream")
    (closed,) = sent
    exchange = closed["exchange"]
    assert (exchange.outcome, exchange.body_bytes) == ("aborted", len("one"))


def test_a_stream_read_under_the_debugger_is_complete() -> None:
    app: t.Any = DebuggedApplication(new_app(), evalex=True)
    with capture(exchange_closed) as sent:
        body = app(EnvironBuilder("/stream").get_environ(), lambda *_: None)
        assert b"".join(body) == b"onetwo"
    assert sent[0]["exchange"].outcome == "complete"
