"""Failures that are left out, and responses that are failures without an exception."""

from __future__ import annotations

import contextlib
import logging
import typing as t
from collections.abc import Generator
from collections.abc import Iterable
from email.message import Message
from pathlib import Path
from urllib.error import HTTPError

import flask
import pytest
import werkzeug.exceptions

from signalpost import SignalMiddleware
from signalpost.config import Configuration
from signalpost.errors import ConfigurationError
from signalpost.exchange import Exchange
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import got_request_exception
from signalpost.receivers.failures import FailureLogger
from tests.wsgi.serving import environ_of
from tests.wsgi.serving import Server
from tests.wsgi.serving import TEXT

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment


class ExpectedError(Exception):
    class WithinError(Exception):
        pass


class DerivedError(ExpectedError):
    pass


class CodedError(Exception):
    get_response: t.Any = "makes a response if it is a method"

    def __init__(self, code: object) -> None:
        super().__init__()
        self._code = code

    @property
    def code(self) -> object:
        if self._code is None:
            raise RuntimeError("no code")
        return self._code


class AnsweringError(CodedError):
    def get_response(self) -> None:
        raise NotImplementedError


def reported(
    exception: BaseException, status: int | None = None, **options: t.Any
) -> int:
    """Return how many failures are counted of an exception."""
    exchange = Exchange(environ_of(), "shop")
    exchange.status = status
    receiver = FailureLogger(logger=logging.Logger("unseen"), **options)
    receiver("shop", exception=exception, where="view", exchange=exchange)
    return len(receiver.counts())


@pytest.mark.parametrize(
    "ignore",
    [
        [ExpectedError],
        (LookupError, ExpectedError),
        {f"{__name__}:ExpectedError"},
        [f"{__name__}.ExpectedError"],
        [f"{__name__}.DerivedError", f"{__name__}:ExpectedError"],
        [Exception],
        ["Exception"],
        ["builtins.Exception"],
        ["builtins:BaseException"],
    ],
)
def test_a_class_and_its_subclasses_are_left_out(ignore: t.Any) -> None:
    assert reported(ExpectedError(), ignore=ignore) == 0
    assert reported(DerivedError(), ignore=ignore) == 0


def test_others_are_not_left_out() -> None:
    assert reported(ExpectedError(), ignore=[DerivedError, "KeyError"]) == 1
    assert reported(LookupError(), ignore=["KeyError"]) == 1
    assert reported(KeyError(), ignore=["LookupError"]) == 0
    assert reported(ExpectedError()) == 1


def test_a_class_within_another_is_found() -> None:
    ignore = [f"{__name__}:ExpectedError.WithinError"]
    assert reported(ExpectedError.WithinError(), ignore=ignore) == 0
    assert reported(ExpectedError(), ignore=ignore) == 1


def test_a_group_is_left_out_if_it_holds_nothing_else() -> None:
    inner: Exception = ExceptionGroup("inner", [KeyError(), IndexError()])
    alike = ExceptionGroup("outer", [inner, inner, LookupError()])
    assert reported(alike, ignore=[LookupError]) == 0
    mixed = ExceptionGroup("outer", [inner, OSError()])
    assert reported(mixed, ignore=[LookupError]) == 1
    assert reported(mixed, ignore=[ExceptionGroup]) == 0
    for _ in range(200):
        inner = ExceptionGroup("inner", [inner, inner])
    assert reported(inner, ignore=[LookupError]) == 0


@pytest.mark.parametrize(
    ("exception", "status", "count"),
    [
        (LookupError(), 503, 0),
        (LookupError(), 200, 1),
        (LookupError(), None, 1),
        (werkzeug.exceptions.ServiceUnavailable(), None, 0),
        (werkzeug.exceptions.BadGateway(), None, 1),
        (werkzeug.exceptions.ServiceUnavailable(), 200, 1),
        (AnsweringError(503), None, 0),
        (AnsweringError("503"), None, 1),
        (AnsweringError([503]), None, 1),
        (AnsweringError(None), None, 1),
        (CodedError(503), None, 1),
        (HTTPError("https://h", 503, "down", Message(), None), None, 1),
        (SystemExit(503), None, 1),
    ],
)
def test_a_status_is_left_out(
    exception: BaseException, status: int | None, count: int
) -> None:
    assert reported(exception, status, ignore_statuses=[503]) == count


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"ignore": "KeyError"}, TypeError, "ignore must be a collection"),
        ({"ignore": KeyError}, TypeError, "ignore must be a collection"),
        ({"ignore": [7]}, TypeError, "must hold classes of exceptions"),
        ({"ignore": [int]}, TypeError, "must hold classes of exceptions"),
        ({"ignore": ["int"]}, ValueError, "must hold paths of exceptions"),
        ({"ignore": ["KeyEror"]}, ValueError, "'KeyEror'.*cannot be imported"),
        ({"ignore": ["no_such:Error"]}, ValueError, "ModuleNotFoundError"),
        ({"ignore": ["os.path:Error"]}, ValueError, "AttributeError"),
        ({"ignore": [""]}, ValueError, "cannot be imported"),
        ({"ignore": [":"]}, ValueError, "cannot be imported"),
        ({"ignore_statuses": 503}, TypeError, "collection of statuses"),
        ({"ignore_statuses": "503"}, TypeError, "collection of statuses"),
        ({"ignore_statuses": ["503"]}, TypeError, "must be a whole number"),
        ({"ignore_statuses": [True]}, TypeError, "must be a whole number"),
        ({"ignore_statuses": [5]}, ValueError, "from 100 to 999"),
        ({"handled": "yes"}, TypeError, "handled must be True or False"),
        ({"handled": 1}, TypeError, "handled must be True or False"),
    ],
)
def test_a_wrong_choice_is_refused(
    options: dict[str, t.Any], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        FailureLogger(**options)


class Log(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.fields: list[t.Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))
        self.fields.append(dict(getattr(record.msg, "fields", {})))


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def receiver(log: Log) -> FailureLogger:
    logger = logging.Logger("unseen")
    logger.addHandler(log)
    return FailureLogger(handled=True, logger=logger)


@contextlib.contextmanager
def connected(receiver: FailureLogger) -> Generator[None]:
    with (
        got_request_exception.connected_to(receiver),
        exchange_closed.connected_to(receiver.closed),
    ):
        yield


def shop() -> flask.Flask:
    app = flask.Flask("shop")
    Signalpost(app)

    @app.get("/items/<int:number>")
    def item(number: int) -> t.Any:
        if number == 0:
            raise ExpectedError
        if number == 1:
            raise LookupError("no such thing")
        return "down", number

    app.register_error_handler(ExpectedError, lambda _: ("sorry", 502))
    return app


def get(app: flask.Flask, path: str) -> int:
    return app.test_client().get(path, buffered=True).status_code


def test_a_handler_that_makes_a_5xx_is_a_failure_once(
    receiver: FailureLogger, log: Log
) -> None:
    app = shop()
    with connected(receiver):
        assert get(app, "/items/0") == 502
    (text,) = log.texts
    (count,) = receiver.counts()
    assert text == (
        "GET /items/<int:number> 502 response - at=/items/<int:number> times=1"
        f" fingerprint={count.fingerprint} message=-"
    )
    assert count.exception == "status 502"
    assert log.fields[0]["exception_type"] is None
    assert log.fields[0]["status"] == 502


def test_an_exception_is_not_a_second_failure_by_its_response(
    receiver: FailureLogger, log: Log
) -> None:
    app = shop()
    with connected(receiver):
        assert get(app, "/items/1") == 500
    assert [count.exception for count in receiver.counts()] == ["LookupError"]
    assert len(log.texts) == 1


@pytest.mark.parametrize(("number", "count"), [(200, 0), (499, 0), (500, 1), (599, 1)])
def test_a_response_from_500_up_is_a_failure(
    receiver: FailureLogger, number: int, count: int
) -> None:
    app = shop()
    with connected(receiver):
        assert get(app, f"/items/{number}") == number
    assert len(receiver.counts()) == count


def test_those_of_one_route_and_status_are_the_same(
    receiver: FailureLogger, log: Log
) -> None:
    app = shop()
    with connected(receiver):
        for number in [503] * 10 + [504]:
            get(app, f"/items/{number}")
    assert [(one.exception, one.times) for one in receiver.counts()] == [
        ("status 503", 10),
        ("status 504", 1),
    ]
    assert [fields["times"] for fields in log.fields] == [1, 10, 1]


def test_a_handled_failure_is_left_out_by_its_status() -> None:
    app = shop()
    receiver = FailureLogger(handled=True, ignore_statuses=(503,))
    with connected(receiver):
        get(app, "/items/503")
        get(app, "/items/500")
    assert [one.exception for one in receiver.counts()] == ["status 500"]


def test_an_ignored_exception_is_no_failure_by_its_response() -> None:
    app = shop()
    receiver = FailureLogger(handled=True, ignore=(LookupError,))
    with connected(receiver):
        assert get(app, "/items/1") == 500
    assert receiver.counts() == []


def test_without_the_option_a_response_is_no_failure() -> None:
    app = shop()
    receiver = FailureLogger()
    assert [*FailureLogger.signals] == ["got-request-exception", "work-finished"]
    assert [*receiver.signals] == ["got-request-exception", "work-finished"]
    with connected(receiver):
        get(app, "/items/0")
    assert receiver.counts() == []


def failing(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    raise LookupError


def down(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("503 Down", TEXT)
    return [b"down"]


@pytest.mark.parametrize("inner", [failing, down], ids=["raises", "answers"])
def test_a_request_through_two_layers_is_one_failure(
    receiver: FailureLogger, inner: WSGIApplication
) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body = SignalMiddleware(inner)(environ, lambda *_: lambda _: None)
        try:
            made = [*body]
        finally:
            if hasattr(body, "close"):
                body.close()
        start_response("500 Failed", TEXT)
        return made

    def quiet(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        try:
            return app(environ, start_response)
        except LookupError:
            start_response("500 Failed", TEXT)
            return [b"failed"]

    with connected(receiver):
        Server().serve(SignalMiddleware(quiet))
    assert sum(count.times for count in receiver.counts()) == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "shop.toml",
            """
            [signalpost.receivers.failures]
            handled = true
            ignore = ["builtins.LookupError"]
            ignore_statuses = [503]
            logger = "shop.unseen"
            """,
        ),
        (
            "shop.ini",
            """
[signalpost.receivers.failures]
handled = yes
ignore = builtins.LookupError
ignore_statuses = 503 504
logger = shop.unseen
""",
        ),
    ],
)
def test_a_file_can_give_each_choice(tmp_path: Path, name: str, text: str) -> None:
    file = tmp_path / name
    file.write_text(text)
    app = shop()
    one = Configuration.from_file(file).load(app)
    assert one["failures"].signals == (
        "got-request-exception",
        "work-finished",
        "exchange-closed",
    )
    get(app, "/items/1")
    get(app, "/items/503")
    get(app, "/items/502")
    assert [count.exception for count in one["failures"].receiver.counts()] == [
        "status 502"
    ]
    one.disable_all()
    get(app, "/items/502")


def test_a_path_that_leads_nowhere_is_an_error_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "shop.toml"
    file.write_text('[signalpost.receivers]\nfailures = {ignore = ["shop:Nothing"]}\n')
    with pytest.raises(ConfigurationError, match=r"shop\.toml.*'shop:Nothing'"):
        Configuration.from_file(file).load(shop())
