from __future__ import annotations

import contextlib
import dataclasses
import gc
import io
import logging
import os
import sys
import threading
import typing as t
import weakref
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterable
from collections.abc import Iterator
from functools import partial
from importlib.machinery import EXTENSION_SUFFIXES

import flask
import jinja2
import pytest
import sqlalchemy as sa
from sqlalchemy import orm

from signalpost import SignalMiddleware
from signalpost.exchange import Exchange
from signalpost.exchange import Where
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import got_request_exception
from signalpost.receivers.failures import FailureLogger
from signalpost.receivers.failures import log_failure
from signalpost.receivers.formats import JsonFormatter
from signalpost.receivers.formats import Line
from signalpost.receivers.formats import LogfmtFormatter
from signalpost.receivers.formats import TextFormatter
from tests.wsgi.serving import answer_with
from tests.wsgi.serving import Closable
from tests.wsgi.serving import environ_of
from tests.wsgi.serving import Server
from tests.wsgi.serving import TEXT

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment


class Log(logging.Handler):
    """The logged lines, as text; records are not kept, as those keep exceptions."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.fields: list[dict[str, t.Any]] = []
        self.places: list[tuple[str, int, str | None]] = []

    def emit(self, record: logging.LogRecord) -> None:
        assert isinstance(record.msg, Line)
        assert record.levelno == logging.ERROR
        self.texts.append(self.format(record))
        self.fields.append({"line": record.msg.name, **record.msg.fields})
        self.places.append((record.pathname, record.lineno, record.funcName))

    @property
    def lines(self) -> list[str]:
        """The first line of each record."""
        return [text.split("\n")[0] for text in self.texts]

    @property
    def has_traceback(self) -> list[bool]:
        return ["\n  Traceback " in text for text in self.texts]


def unseen_logger() -> logging.Logger:
    """Return a logger that pytest does not know, whose records it would keep."""
    logger = logging.Logger("unseen")
    logger.addHandler(Log())
    return logger


@pytest.fixture
def log() -> Generator[Log]:
    log = Log()
    logger = logging.getLogger("signalpost.failures")
    logger.addHandler(log)
    yield log
    logger.removeHandler(log)


def raised(function: Callable[..., object], *arguments: t.Any) -> Exception:
    try:
        function(*arguments)
    except (ExceptionGroup, LookupError, OSError, RecursionError) as error:
        return error
    raise AssertionError("nothing was raised")


def fail() -> t.NoReturn:
    raise LookupError("no such thing")


def send_failure(
    receiver: FailureLogger,
    exception: BaseException,
    where: Where = "view",
    **environ: t.Any,
) -> None:
    exchange = Exchange(environ_of(**environ), "shop")
    receiver("shop", exception=exception, where=where, exchange=exchange)


def tell_often(receiver: FailureLogger, times: int) -> None:
    for number in range(times):
        send_failure(receiver, raised(fail), path=f"/{number}")


def failing(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    raise LookupError("no such thing")


def failing_late(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterator[bytes]:
    start_response("200 OK", TEXT)
    yield b"one"
    raise LookupError("no such thing")


def failing_at_close() -> WSGIApplication:
    return answer_with(Closable([b"one"], LookupError("no such thing")))


def visit(receiver: FailureLogger, app: WSGIApplication, **environ: t.Any) -> None:
    with got_request_exception.connected_to(receiver), contextlib.suppress(LookupError):
        Server().serve(SignalMiddleware(app), **environ)


@pytest.mark.parametrize(
    ("app", "where", "status"),
    [
        (failing, "call", None),
        (failing_late, "iteration", 200),
        (failing_at_close(), "close", 200),
    ],
)
def test_an_exception_is_logged_with_its_place_and_exchange(
    log: Log, app: WSGIApplication, where: str, status: int | None
) -> None:
    visit(FailureLogger(), app, path="/a", SCRIPT_NAME="/shop", method="POST")
    (fields,) = log.fields
    assert "tests" in fields.pop("location")
    assert len(fields.pop("fingerprint")) == 12
    assert fields == {
        "line": "failure",
        "method": "POST",
        "path": "/shop/a",
        "status": status,
        "where": where,
        "exception_type": "LookupError",
        "exception_message": "no such thing",
        "times": 1,
    }
    assert log.has_traceback == [True]


def test_the_line_reads_as_documented(log: Log) -> None:
    receiver = FailureLogger()
    send_failure(receiver, raised(fail), path="/a")
    (count,) = receiver.counts()
    number = fail.__code__.co_firstlineno + 1
    (line,) = log.lines
    assert line == (
        f"GET /a - view LookupError at={__file__}:{number}:fail times=1"
        f' fingerprint={count.fingerprint} message="no such thing"'
    )
    assert log.places == [(__file__, number, "fail")]


def test_a_view_that_fails_is_logged_once_with_its_route(log: Log) -> None:
    app = flask.Flask(__name__)
    app.add_url_rule("/items/<int:number>", view_func=lambda number: fail())
    Signalpost(app)
    receiver = FailureLogger()
    with got_request_exception.connected_to(receiver, app):
        assert app.test_client().get("/items/3", buffered=True).status_code == 500
    assert len(log.lines) == 1
    assert log.lines[0].startswith("GET /items/<int:number> - view LookupError at=")
    assert f"{__file__}:" in receiver.counts()[0].location


def test_an_error_that_is_handled_is_not_logged(log: Log) -> None:
    app = flask.Flask(__name__)
    app.add_url_rule("/", view_func=fail)
    app.register_error_handler(LookupError, lambda _: ("handled", 418))
    Signalpost(app)
    with got_request_exception.connected_to(log_failure, app):
        assert app.test_client().get("/", buffered=True).status_code == 418
    assert log.texts == []


def test_the_logger_shows_what_it_receives(log: Log) -> None:
    assert FailureLogger.signals == {
        "got-request-exception": "__call__",
        "work-finished": "finished",
    }


def test_repeats_are_counted_instead_of_printed(log: Log) -> None:
    receiver = FailureLogger()
    tell_often(receiver, 1_000)
    assert [fields["times"] for fields in log.fields] == [1, 10, 100, 1_000]
    assert log.has_traceback == [True, False, False, False]
    (count,) = receiver.counts()
    assert (count.times, count.exception) == (1_000, "LookupError")
    assert count.location == f"{__file__}:{fail.__code__.co_firstlineno + 1}:fail"
    assert count.first_at <= count.last_at
    assert {fields["fingerprint"] for fields in log.fields} == {count.fingerprint}


def test_a_traceback_is_printed_again_after_a_while(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    receiver = FailureLogger(again_seconds=60)
    tell_often(receiver, 2)
    now = 59.0
    tell_often(receiver, 1)
    now = 60.0
    tell_often(receiver, 2)
    assert [fields["times"] for fields in log.fields] == [1, 4]
    assert log.has_traceback == [True, True]


def test_a_traceback_need_not_be_printed_again(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    receiver = FailureLogger(again_seconds=None)
    tell_often(receiver, 1)
    now = 1e9
    tell_often(receiver, 1)
    assert log.has_traceback == [True]


def test_what_the_log_drops_is_counted_all_the_same() -> None:
    logger = logging.Logger("quiet", logging.CRITICAL)
    receiver = FailureLogger(logger=logger)
    tell_often(receiver, 3)
    assert [count.times for count in receiver.counts()] == [3]


def test_the_message_does_not_distinguish_failures(log: Log) -> None:
    def fail_with(message: str) -> t.NoReturn:
        raise LookupError(message)

    receiver = FailureLogger()
    for message in ("one", "two"):
        send_failure(receiver, raised(fail_with, message))
    assert [count.times for count in receiver.counts()] == [2]


def test_the_type_and_the_line_distinguish_failures(log: Log) -> None:
    def fail_here_or_there(kind: type[Exception], is_here: bool) -> t.NoReturn:
        if is_here:
            raise kind
        raise kind

    receiver = FailureLogger()
    for kind in (LookupError, KeyError):
        for is_here in (True, False):
            send_failure(receiver, raised(fail_here_or_there, kind, is_here))
    assert [count.times for count in receiver.counts()] == [1, 1, 1, 1]


def test_the_most_frequent_failure_comes_first(log: Log) -> None:
    receiver = FailureLogger()
    send_failure(receiver, KeyError("one"))
    tell_often(receiver, 2)
    assert [count.exception for count in receiver.counts()] == [
        "LookupError",
        "KeyError",
    ]


def function_of(file: str, source: str, **names: t.Any) -> t.Any:
    """Return the function ``run`` of a file that need not be there."""
    scope: dict[str, t.Any] = dict(names)
    exec(compile(source, file, "exec"), scope)
    return scope["run"]


def test_frames_of_libraries_do_not_count(log: Log) -> None:
    source = "def run(is_here):\n if is_here:\n  raise OSError\n raise OSError"
    library = function_of("/srv/venv/lib/site-packages/library.py", source)
    receiver = FailureLogger()

    def use(is_here: bool) -> None:
        library(is_here)

    for is_here in (True, False):
        send_failure(receiver, raised(use, is_here))
    (count,) = receiver.counts()
    assert count.location.endswith(
        f"{use.__code__.co_firstlineno + 1}:{use.__qualname__}"
    )


def test_compiled_code_that_is_installed_is_never_the_place(log: Log) -> None:
    # As of psycopg's: a file of the machine on which it was compiled.
    compiled = function_of(
        "psycopg_binary/_psycopg/waiting.pyx",
        "def run():\n raise OSError",
        __file__=f"/srv/lib/python3/site-packages/psycopg{EXTENSION_SUFFIXES[0]}",
    )
    receiver = FailureLogger()

    def one() -> None:
        compiled()

    def other() -> None:
        compiled()

    for view in (one, other):
        send_failure(receiver, raised(view))
        line = view.__code__.co_firstlineno + 1
        assert log.places[-1] == (__file__, line, view.__qualname__)
    assert len(receiver.counts()) == 2


def test_compiled_code_of_the_application_is_a_place(log: Log) -> None:
    compiled = function_of(
        "shop/fast.pyx",
        "def run():\n raise OSError",
        __file__=os.path.join(os.sep, "srv", "shop", f"fast{EXTENSION_SUFFIXES[0]}"),
    )
    send_failure(FailureLogger(), raised(compiled))
    assert log.places == [(os.path.join(os.sep, "srv", "shop", "fast.pyx"), 2, "run")]


def test_place_of_rows_that_sqlalchemy_cannot_convert_is_in_the_application(
    log: Log,
) -> None:
    column = sa.column("number", sa.Uuid(native_uuid=False))
    rows = sa.text("SELECT 'no uuid' AS number").columns(column)
    engine = sa.create_engine("sqlite://")

    def read() -> None:
        with engine.connect() as connection:
            connection.execute(rows).all()

    with pytest.raises(ValueError, match="hexadecimal") as caught:
        read()
    send_failure(FailureLogger(), caught.value)
    ((file, _, function),) = log.places
    assert (file, function) == (__file__, read.__qualname__)
    engine.dispose()


GENERATED = [
    "<string>",
    "<sqlalchemy generated orm.Session.commit>",
    "<attrs generated init shop.Mug>",
    "<decorator-gen-7>",
    "<werkzeug routing>",
]


@pytest.mark.parametrize("file", GENERATED)
def test_code_that_was_made_by_exec_is_never_the_place(log: Log, file: str) -> None:
    generated = function_of(file, "def run():\n raise OSError")
    receiver = FailureLogger()

    def use() -> None:
        generated()

    send_failure(receiver, raised(use))
    line = use.__code__.co_firstlineno + 1
    assert receiver.counts()[0].location == f"{__file__}:{line}:{use.__qualname__}"
    assert log.places == [(__file__, line, use.__qualname__)]


@pytest.mark.parametrize("file", GENERATED)
def test_code_that_was_made_by_exec_does_not_push_out_the_application(
    log: Log, file: str
) -> None:
    source = "def run(step):\n step()"
    wrappers = [function_of(file, source) for _ in range(10)]

    def wrapped(step: Callable[[], object]) -> Callable[[], object]:
        for wrapper in wrappers:
            step = partial(wrapper, step)
        return step

    def one() -> None:
        wrapped(fail)()

    def other() -> None:
        wrapped(fail)()

    receiver = FailureLogger()
    for view in (one, other, one):
        send_failure(receiver, raised(view))
    assert [count.times for count in receiver.counts()] == [2, 1]
    assert log.has_traceback == [True, True]


def test_lines_of_code_that_was_made_by_exec_are_different_failures(log: Log) -> None:
    source = "def run(is_here):\n if is_here:\n  raise OSError\n raise OSError"
    generated = function_of("<string>", source)

    def use(is_here: bool) -> None:
        generated(is_here)

    receiver = FailureLogger()
    for is_here in (True, False, True):
        send_failure(receiver, raised(use, is_here))
    first, second = receiver.counts()
    assert (first.times, second.times) == (2, 1)
    assert first.fingerprint != second.fingerprint
    assert first.location == second.location


def test_place_of_an_object_that_refuses_its_values_is_where_it_is_made(
    log: Log,
) -> None:
    @dataclasses.dataclass
    class Mug:
        name: str

        def __post_init__(self) -> None:
            raise LookupError(self.name)

    def make() -> None:
        Mug("blue")

    receiver = FailureLogger()
    send_failure(receiver, raised(make))
    assert receiver.counts()[0].location.endswith("Mug.__post_init__")


def test_a_template_is_a_place(log: Log) -> None:
    templates = {"mug.html": "<p>\n{{ fail() }}", "cup.html": "<p>\n\n{{ fail() }}"}
    loader = jinja2.DictLoader(templates)
    environment = jinja2.Environment(loader=loader, autoescape=True)

    # What the template calls is no place, so that its own line is the innermost.
    raise_installed = function_of(
        "/srv/lib/python3/site-packages/cups.py", "def run():\n raise LookupError"
    )
    receiver = FailureLogger()
    for name in templates:
        template = environment.get_template(name)
        send_failure(receiver, raised(template.render, {"fail": raise_installed}))
    assert [count.location.rsplit(":", 1)[0] for count in receiver.counts()] == [
        "<template>:2",
        "<template>:3",
    ]


class Model(orm.DeclarativeBase): ...


class Mug(Model):
    __tablename__ = "mugs"
    id = orm.mapped_column(sa.Integer, primary_key=True)
    name = orm.mapped_column(sa.String, unique=True)


@pytest.mark.parametrize("finish", [orm.Session.commit, orm.Session.flush])
def test_sessions_that_fail_in_two_views_are_two_failures(
    log: Log, finish: Callable[[orm.Session], None]
) -> None:
    def work(session: orm.Session) -> None:
        finish(session)

    def one(session: orm.Session) -> None:
        work(session)

    def other(session: orm.Session) -> None:
        work(session)

    engine = sa.create_engine("sqlite://")
    Model.metadata.create_all(engine)
    receiver = FailureLogger()
    for view in (one, other):
        with orm.Session(engine) as session:
            session.add_all([Mug(name="blue"), Mug(name="blue")])
            with pytest.raises(sa.exc.IntegrityError) as it:
                view(session)
        send_failure(receiver, it.value)
    engine.dispose()
    first, second = receiver.counts()
    line = work.__code__.co_firstlineno + 1
    place = f"{__file__}:{line}:{work.__qualname__}"
    assert (first.location, second.location) == (place, place)
    assert first.fingerprint != second.fingerprint
    assert log.has_traceback == [True, True]


def insert_twice() -> t.NoReturn:
    engine = sa.create_engine("sqlite://")
    Model.metadata.create_all(engine)
    secret = "".join(("Zq", "7351"))  # not in a line of source of the traceback
    try:
        with engine.begin() as connection:
            for _ in range(2):
                connection.execute(sa.insert(Mug), {"name": secret})
    finally:
        engine.dispose()
    raise AssertionError


def failure_of(work: Callable[[], object]) -> BaseException:
    with pytest.raises(sa.exc.IntegrityError) as caught:
        work()
    return caught.value


def test_values_of_the_database_are_not_logged(log: Log) -> None:
    send_failure(FailureLogger(), failure_of(insert_twice))
    (text,) = log.texts
    assert "Zq7351" not in text
    assert "Zq7351" not in str(log.fields)
    assert log.fields[0]["exception_message"] == (
        "(sqlite3.IntegrityError) UNIQUE constraint failed: mugs.name\n"
        "[SQL: INSERT INTO mugs (name) VALUES (?)]"
    )
    assert "  [SQL: INSERT INTO mugs (name) VALUES (?)]" in text
    assert "sqlite3.IntegrityError: UNIQUE constraint failed: mugs.name" in text


def test_values_of_the_database_are_logged_where_asked_for(log: Log) -> None:
    send_failure(FailureLogger(with_values=True), failure_of(insert_twice))
    assert "[parameters: ('Zq7351',)]" in log.texts[0]
    assert "Zq7351" in str(log.fields[0]["exception_message"])


# A file system gives names that are no text: surrogates replace their bytes.
@pytest.mark.parametrize("name", ["caf\udce9.py", "\udcff\udcfe.py"])
def test_a_file_name_that_is_not_utf_8_is_a_place_like_others(
    name: str, log: Log
) -> None:
    fail = function_of(f"/srv/{name}", "def run():\n raise OSError")
    receiver = FailureLogger()
    for _ in range(2):
        send_failure(receiver, raised(fail))
    (count,) = receiver.counts()
    assert (count.location, count.times) == (f"/srv/{name}:2:run", 2)
    other = FailureLogger()
    send_failure(
        other, raised(function_of("/srv/other.py", "def run():\n raise OSError"))
    )
    assert other.counts()[0].fingerprint != count.fingerprint
    for line in log.lines:
        # A stream or a file has to take it.
        assert " at=" in line.encode("utf-8").decode()


def test_frames_of_libraries_count_if_there_are_no_others(log: Log) -> None:
    library = function_of("/usr/lib/dist-packages/x.py", "def run():\n raise OSError")
    error = raised(library)
    # The frame of raised() is the application's: it is left out here.
    trace = error.__traceback__
    assert trace is not None
    receiver = FailureLogger()
    send_failure(receiver, error.with_traceback(trace.tb_next))
    assert receiver.counts()[0].location == "/usr/lib/dist-packages/x.py:2:run"


def test_an_exception_that_was_never_raised_has_no_place(log: Log) -> None:
    receiver = FailureLogger()
    send_failure(receiver, LookupError("given"))
    assert receiver.counts()[0].location == "-"
    assert " at=- times=1 " in log.lines[0]


def test_a_recursion_is_one_failure_wherever_it_ends(log: Log) -> None:
    def even(number: int) -> None:
        odd(number + 1)

    def odd(number: int) -> None:
        even(number + 1)

    receiver = FailureLogger()
    limit = sys.getrecursionlimit()
    for extra in (0, 1):
        sys.setrecursionlimit(limit + extra)
        try:
            send_failure(receiver, raised(even, 0))
        finally:
            sys.setrecursionlimit(limit)
    assert [count.times for count in receiver.counts()] == [2]
    assert len(log.texts[0]) < 50_000


def test_the_failure_not_seen_for_longest_is_forgotten(log: Log) -> None:
    receiver = FailureLogger(max_fingerprints=2)
    for kind in (KeyError, IndexError, KeyError, OSError):
        send_failure(receiver, kind())
    assert {count.exception: count.times for count in receiver.counts()} == {
        "KeyError": 2,
        "OSError": 1,
    }


def test_ten_thousand_failures_leave_a_bounded_table() -> None:
    logger = logging.Logger("quiet", logging.CRITICAL)
    receiver = FailureLogger(max_fingerprints=10, logger=logger)
    for number in range(10_000):
        send_failure(receiver, type(f"Error{number}", (Exception,), {})())
    assert len(receiver.counts()) == 10


def test_causes_and_contexts_are_in_the_traceback(log: Log) -> None:
    def wrap() -> None:
        try:
            fail()
        except LookupError as error:
            raise OSError("while asking") from error

    send_failure(FailureLogger(), raised(wrap))
    assert "  LookupError: no such thing\n" in log.texts[0]
    assert "direct cause" in log.texts[0]
    assert log.texts[0].endswith("\n  OSError: while asking")


def test_a_group_shows_what_it_holds(log: Log) -> None:
    def fail_together() -> None:
        raise ExceptionGroup("two", [LookupError("one"), OSError("other")])

    send_failure(FailureLogger(), raised(fail_together))
    assert "LookupError: one" in log.texts[0]
    assert "OSError: other" in log.texts[0]
    assert " ExceptionGroup at=" in log.lines[0]


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_what_is_no_exception_is_logged_too(
    log: Log, kind: type[BaseException]
) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        raise kind(3)

    with got_request_exception.connected_to(FailureLogger()), pytest.raises(kind):
        Server().serve(SignalMiddleware(app))
    assert f" call {kind.__name__} at=" in log.lines[0]


@pytest.mark.parametrize(
    "message",
    [
        "x" * 70_000,
        "x\n" * 70_000,
        "\x1b[2J\r\x85\u2028\u2029\u202e\ud800\x00" * 5_000,
        'a" times=1000 message="b',
        "%s%d{0.__class__}",
    ],
)
def test_a_hostile_message_is_one_line_and_its_traceback_bounded(
    log: Log, message: str
) -> None:
    error = LookupError(message)
    error.add_note(message)
    send_failure(FailureLogger(), error, path="/" + message)
    first, *rest = log.texts[0].split("\n")
    assert first.isprintable()
    assert first.startswith("GET ")
    assert first.count(" times=1 ") == 1
    assert len(log.texts[0]) < 250_000
    assert len(rest) <= 201
    for line in rest:
        assert line.startswith("  ") or not line
        assert line.isprintable()
    assert all(len(str(value)) <= 513 for value in log.fields[0].values())


def test_a_long_traceback_shows_beginning_and_end(log: Log) -> None:
    send_failure(FailureLogger(), LookupError("\n".join(map(str, range(1_000)))))
    assert "  LookupError: 0\n" in log.texts[0]
    assert "  … 800 lines are left out here …\n" in log.texts[0]
    assert log.texts[0].endswith("\n  999")


class SpeechlessError(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


def test_an_exception_that_cannot_be_formatted_is_logged(log: Log) -> None:
    send_failure(FailureLogger(), SpeechlessError())
    assert log.lines[0].endswith('message="<str() of it failed>"')
    assert "SpeechlessError" in log.texts[0]


def test_a_traceback_that_cannot_be_made_is_left_out(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> t.NoReturn:
        raise RecursionError

    monkeypatch.setattr("traceback.TracebackException.__init__", refuse)
    send_failure(FailureLogger(), raised(fail))
    assert log.texts[0].endswith("\n  <the traceback cannot be shown>")


def test_the_log_gets_the_exception_itself() -> None:
    kept: list[t.Any] = []
    logger = logging.Logger("for tests")

    def keep(record: logging.LogRecord) -> bool:
        kept.append(record.exc_info)
        return False

    logger.addFilter(keep)
    error = raised(fail)
    send_failure(FailureLogger(logger=logger), error)
    assert kept == [(LookupError, error, error.__traceback__)]


def test_nothing_of_a_failure_is_kept() -> None:
    kept: list[weakref.ref[t.Any]] = []

    class PassingError(Exception):
        pass

    class Thing:
        pass

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        thing = Thing()
        error = PassingError()
        kept.extend((weakref.ref(thing), weakref.ref(error)))
        raise error

    def remember(sender: object, exchange: Exchange) -> None:
        kept.append(weakref.ref(exchange))

    receiver = FailureLogger(logger=unseen_logger())
    gc.collect()
    gc.disable()
    try:
        with (
            got_request_exception.connected_to(receiver),
            exchange_closed.connected_to(remember),
            contextlib.suppress(PassingError),
        ):
            Server().serve(SignalMiddleware(app))
        # The application's own frame holds the exception that holds the frame.
        gc.collect()
    finally:
        gc.enable()
    assert [one() for one in kept] == [None, None, None]
    assert len(receiver.counts()) == 1


def test_the_type_of_an_exception_is_not_kept() -> None:
    kind = type("Passing", (Exception,), {})
    receiver = FailureLogger(logger=unseen_logger())
    send_failure(receiver, kind())
    kept = weakref.ref(kind)
    del kind
    gc.collect()
    assert kept() is None
    assert receiver.counts()[0].exception.endswith(".Passing")


def test_threads_lose_no_count() -> None:
    receiver = FailureLogger(logger=logging.Logger("quiet", logging.CRITICAL))
    threads = [
        threading.Thread(target=tell_often, args=(receiver, 200)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [count.times for count in receiver.counts()] == [1_600]


def test_another_logger_can_be_given() -> None:
    text = io.StringIO()
    logger = logging.Logger("shop.failures")
    logger.addHandler(logging.StreamHandler(text))
    send_failure(FailureLogger(logger=logger), raised(fail))
    assert text.getvalue().startswith("GET / - view LookupError ")


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"again_seconds": -1}, ValueError, "again_seconds must be"),
        ({"again_seconds": float("nan")}, ValueError, "again_seconds must be"),
        ({"again_seconds": "60"}, TypeError, "again_seconds must be"),
        ({"again_seconds": True}, TypeError, "again_seconds must be"),
        ({"max_fingerprints": 0}, ValueError, "max_fingerprints must be"),
        ({"max_fingerprints": 1.5}, TypeError, "max_fingerprints must be"),
        ({"max_fingerprints": True}, TypeError, "max_fingerprints must be"),
        ({"logger": 3}, TypeError, "logger must be"),
    ],
)
def test_a_wrong_option_is_refused(
    options: dict[str, t.Any], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        FailureLogger(**options)


def test_connecting_is_one_line() -> None:
    got_request_exception.connect(log_failure)
    assert got_request_exception.disconnect(log_failure)


@pytest.mark.parametrize(
    "formatter", [TextFormatter(), JsonFormatter(), LogfmtFormatter()]
)
def test_no_format_unbinds_a_traceback(formatter: logging.Formatter) -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(formatter)
    logger = logging.Logger("test")
    logger.addHandler(handler)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        raise LookupError("x\n" * 500_000)

    with (
        got_request_exception.connected_to(FailureLogger(logger=logger)),
        pytest.raises(LookupError),
    ):
        Server().serve(SignalMiddleware(app))
    assert 0 < len(written.getvalue()) < 200_000
