"""Every scenario that Flask signals in its own way, with the record it must leave."""

from __future__ import annotations

import contextlib
import io
import itertools
import typing as t
from collections.abc import Callable
from collections.abc import Iterator

import flask
import pytest

from signalpost.exchange import Exchange
from signalpost.exchange import ExchangeOutcome
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import exchange_opened
from signalpost.lifecycle import EXCHANGE_SIGNALS
from signalpost.lifecycle import got_request_exception
from signalpost.lifecycle import request_tearing_down
from signalpost.testing import capture
from signalpost.testing import Sent
from tests.integrations.serving import sent_of
from tests.integrations.shop import chunks
from tests.integrations.shop import fail
from tests.integrations.shop import fail_after_request
from tests.integrations.shop import fail_to_open_sessions
from tests.integrations.shop import failing_chunks
from tests.integrations.shop import FLASK
from tests.integrations.shop import handle_lookup_errors
from tests.integrations.shop import handle_server_errors
from tests.integrations.shop import hello
from tests.integrations.shop import leave
from tests.integrations.shop import Prepare
from tests.integrations.shop import propagate
from tests.integrations.shop import refuse
from tests.integrations.shop import refuse_before_request
from tests.integrations.shop import render
from tests.integrations.shop import stream
from tests.integrations.shop import stream_and_fail
from tests.integrations.shop import stream_in_context
from tests.wsgi.serving import environ_of
from tests.wsgi.serving import exchange_of
from tests.wsgi.serving import Server

FILE = b"what a file holds"


def interrupt() -> t.Any:
    raise KeyboardInterrupt


def end_generator() -> t.Any:
    raise GeneratorExit


def leaving_chunks(kind: type[BaseException]) -> Iterator[bytes]:
    yield b"one"
    raise kind


def stream_and_leave() -> flask.Response:
    return flask.Response(leaving_chunks(SystemExit))


def stream_and_interrupt() -> flask.Response:
    return flask.Response(leaving_chunks(KeyboardInterrupt))


def stream_in_context_and_fail() -> flask.Response:
    return flask.Response(flask.stream_with_context(failing_chunks()))


def send_file() -> flask.Response:
    return flask.send_file(io.BytesIO(FILE), mimetype="text/plain")


def no_content() -> tuple[str, int]:
    return "", 204


def not_modified() -> tuple[str, int]:
    return "", 304


async def answer_late() -> str:
    return "hello"


async def fail_late() -> str:
    raise LookupError("no such thing")


PAGES: tuple[Callable[..., t.Any], ...] = (
    answer_late,
    end_generator,
    fail,
    fail_late,
    hello,
    interrupt,
    leave,
    no_content,
    not_modified,
    refuse,
    render,
    send_file,
    stream,
    stream_and_fail,
    stream_and_interrupt,
    stream_and_leave,
    stream_in_context,
    stream_in_context_and_fail,
)


def new_site(prepare: Prepare | None = None) -> flask.Flask:
    """Return an application whose pages are in a blueprint within a blueprint."""
    pages = flask.Blueprint("pages", __name__)
    for view in PAGES:
        pages.add_url_rule(f"/{view.__name__}", view_func=view)
    pages.add_url_rule("/slash/", view_func=hello, endpoint="slash")
    site = flask.Blueprint("site", __name__)
    site.register_blueprint(pages, url_prefix="/pages")
    app = flask.Flask(__name__)
    app.secret_key = "for tests"
    # First, so that what it registers runs before the extension's.
    if prepare is not None:
        prepare(app)
    app.register_blueprint(site)
    return app


def handle_everything(app: flask.Flask) -> None:
    app.register_error_handler(Exception, lambda _: ("anything", 418))


def refuse_with_abort(app: flask.Flask) -> None:
    app.before_request(lambda: flask.abort(401))


def fail_before_request(app: flask.Flask) -> None:
    app.before_request(fail)


def fail_in_request_teardown(app: flask.Flask) -> None:
    app.teardown_request(lambda _: fail())


def fail_in_context_teardown(app: flask.Flask) -> None:
    app.teardown_appcontext(lambda _: fail())


def propagate_from_after_request(app: flask.Flask) -> None:
    propagate(app)
    fail_after_request(app)


# Flask 3.2 raises a group of what its functions raise while it tears down.
TEARDOWN_ERROR: type[Exception] = ExceptionGroup if FLASK >= (3, 2) else LookupError


class Scenario(t.NamedTuple):
    """How an application is prepared and asked, and the record it must leave."""

    page: str
    prepare: Prepare | None = None
    method: str = "GET"
    chunks_taken: int | None = None
    """After how many chunks the server closes the body; ``None`` for at its end."""
    raises: type[BaseException] | None = None
    """The exception that reaches the server."""
    status: int | None = 200
    body: bytes | None = None
    """The text that the server gets; ``None`` for a page of Werkzeug, in any words."""
    outcome: ExchangeOutcome = "complete"
    exception: type[BaseException] | None = None
    has_route: bool = True


ABORTED: t.Final = "aborted"
SCENARIOS = {
    "plain": Scenario("hello", body=b"hello"),
    "head": Scenario("hello", method="HEAD", body=b""),
    "options": Scenario("hello", method="OPTIONS", body=b""),
    "not-found": Scenario("no-such-page", status=404, has_route=False),
    "method-not-allowed": Scenario(
        "hello", method="DELETE", status=405, has_route=False
    ),
    "redirect-to-a-slash": Scenario("slash", status=308, has_route=False),
    "abort": Scenario("refuse", status=403),
    "no-content": Scenario("no_content", status=204, body=b""),
    "no-content-unread": Scenario("no_content", status=204, body=b"", chunks_taken=0),
    "not-modified": Scenario("not_modified", status=304, body=b""),
    "not-modified-unread": Scenario(
        "not_modified", status=304, body=b"", chunks_taken=0
    ),
    "head-unread": Scenario("hello", method="HEAD", body=b"", chunks_taken=0),
    "template": Scenario("render", body=b"2"),
    "async-view": Scenario("answer_late", body=b"hello"),
    "async-view-raises": Scenario("fail_late", status=500, exception=LookupError),
    "error-handled": Scenario(
        "fail", handle_lookup_errors, status=418, body=b"handled"
    ),
    "error": Scenario("fail", status=500, exception=LookupError),
    "error-500-handled": Scenario(
        "fail", handle_server_errors, status=500, body=b"sorry", exception=LookupError
    ),
    "error-handled-as-any": Scenario(
        "fail", handle_everything, status=418, body=b"anything"
    ),
    "not-found-handled-as-any": Scenario(
        "no-such-page", handle_everything, status=418, body=b"anything", has_route=False
    ),
    "error-propagated": Scenario(
        "fail",
        propagate,
        raises=LookupError,
        status=None,
        body=b"",
        outcome="error",
        exception=LookupError,
    ),
    "system-exit": Scenario(
        "leave",
        raises=SystemExit,
        status=None,
        body=b"",
        outcome="error",
        exception=SystemExit,
    ),
    "keyboard-interrupt": Scenario(
        "interrupt",
        raises=KeyboardInterrupt,
        status=None,
        body=b"",
        outcome="error",
        exception=KeyboardInterrupt,
    ),
    "generator-exit-in-the-view": Scenario(
        "end_generator",
        raises=GeneratorExit,
        status=None,
        body=b"",
        outcome="error",
        exception=GeneratorExit,
    ),
    "before-request-returns": Scenario(
        "hello", refuse_before_request, status=503, body=b"not today"
    ),
    "before-request-aborts": Scenario("hello", refuse_with_abort, status=401),
    "before-request-raises": Scenario(
        "hello", fail_before_request, status=500, exception=LookupError
    ),
    "after-request-raises": Scenario(
        "hello", fail_after_request, status=500, exception=LookupError
    ),
    "after-request-raises-and-propagates": Scenario(
        "hello",
        propagate_from_after_request,
        raises=LookupError,
        status=None,
        body=b"",
        outcome="error",
        exception=LookupError,
    ),
    "open-session-raises": Scenario(
        "hello",
        fail_to_open_sessions,
        status=500,
        exception=ConnectionError,
        # Flask opens the session before it looks for the route.
        has_route=False,
    ),
    "teardown-request-raises": Scenario(
        "hello",
        fail_in_request_teardown,
        raises=TEARDOWN_ERROR,
        body=b"",
        outcome="error",
        exception=TEARDOWN_ERROR,
    ),
    "teardown-appcontext-raises": Scenario(
        "hello",
        fail_in_context_teardown,
        raises=TEARDOWN_ERROR,
        body=b"",
        outcome="error",
        exception=TEARDOWN_ERROR,
    ),
    "stream": Scenario("stream", body=b"onetwo"),
    "stream-head": Scenario("stream", method="HEAD", body=b""),
    "stream-abandoned": Scenario(
        "stream", chunks_taken=1, body=b"one", outcome=ABORTED
    ),
    "stream-unread": Scenario("stream", chunks_taken=0, body=b"", outcome=ABORTED),
    "stream-in-context": Scenario("stream_in_context", body=b"onetwo"),
    "stream-in-context-head": Scenario("stream_in_context", method="HEAD", body=b""),
    "stream-in-context-abandoned": Scenario(
        "stream_in_context", chunks_taken=1, body=b"one", outcome=ABORTED
    ),
    "stream-in-context-unread": Scenario(
        "stream_in_context", chunks_taken=0, body=b"", outcome=ABORTED
    ),
    "stream-fails": Scenario(
        "stream_and_fail",
        raises=LookupError,
        body=b"one",
        outcome="error",
        exception=LookupError,
    ),
    "stream-in-context-fails": Scenario(
        "stream_in_context_and_fail",
        raises=LookupError,
        body=b"one",
        outcome="error",
        exception=LookupError,
    ),
    "stream-exits": Scenario(
        "stream_and_leave",
        raises=SystemExit,
        body=b"one",
        outcome="error",
        exception=SystemExit,
    ),
    "stream-is-interrupted": Scenario(
        "stream_and_interrupt",
        raises=KeyboardInterrupt,
        body=b"one",
        outcome="error",
        exception=KeyboardInterrupt,
    ),
    "file": Scenario("send_file", body=FILE),
    "file-head": Scenario("send_file", method="HEAD", body=b""),
    "file-unread": Scenario("send_file", chunks_taken=0, body=b"", outcome=ABORTED),
}
"""By name, every scenario: what Flask does, and how the server ends it."""

each_scenario = pytest.mark.parametrize(
    "scenario", SCENARIOS.values(), ids=SCENARIOS.keys()
)


def visit(app: flask.Flask, scenario: Scenario) -> Server:
    """Serve a scenario as far as its server goes, whatever comes out of it."""
    server = Server()
    expected = (
        contextlib.nullcontext()
        if scenario.raises is None
        else pytest.raises(scenario.raises)
    )
    environ = environ_of(f"/pages/{scenario.page}", scenario.method)
    with expected:
        body: t.Any = app(environ, server.start_response)
        try:
            for chunk in itertools.islice(body, scenario.chunks_taken):
                server.written += chunk
        finally:
            body.close()
    return server


def the_exchange(sent: list[Sent]) -> Exchange:
    """Return the exchange of one request, opened once and then closed once."""
    assert [one.signal for one in sent] == [exchange_opened, exchange_closed]
    assert sent[0]["exchange"] is sent[1]["exchange"]
    return exchange_of(sent)


def record_of(scenario: Scenario) -> tuple[Exchange, Server]:
    app = new_site(scenario.prepare)
    Signalpost(app)
    with capture(exchange_opened, exchange_closed, sender=app) as sent:
        server = visit(app, scenario)
    return the_exchange(sent), server


@each_scenario
def test_an_exchange_shows_how_it_ended(scenario: Scenario) -> None:
    exchange, server = record_of(scenario)
    assert (exchange.status, exchange.outcome) == (scenario.status, scenario.outcome)
    assert type(exchange.exception) is (scenario.exception or type(None))
    if scenario.status is not None:
        assert server.status.startswith(str(scenario.status))


@each_scenario
def test_an_exchange_shows_which_view_it_was_for(scenario: Scenario) -> None:
    exchange, _ = record_of(scenario)
    found = (exchange.route, exchange.endpoint, exchange.blueprints)
    if scenario.has_route:
        assert found == (
            f"/pages/{scenario.page}",
            f"site.pages.{scenario.page}",
            ("site.pages", "site"),
        )
    else:
        assert found == (None, None, ())
    assert (exchange.method, exchange.path, exchange.script_name) == (
        scenario.method,
        f"/pages/{scenario.page}",
        "",
    )


@each_scenario
def test_an_exchange_counts_the_bytes_that_its_server_got(scenario: Scenario) -> None:
    exchange, server = record_of(scenario)
    if scenario.body is None:
        assert server.written
    else:
        assert server.written == scenario.body
    assert exchange.body_bytes == len(server.written)
    assert exchange.body_bytes_exact


@each_scenario
def test_an_exchange_has_its_times_in_order(scenario: Scenario) -> None:
    exchange, server = record_of(scenario)
    to_headers = exchange.seconds_to_headers
    to_first_byte = exchange.seconds_to_first_byte
    assert (to_headers is None) == (scenario.status is None)
    assert (to_first_byte is None) == (not server.written)
    assert exchange.duration_seconds is not None
    times = [0.0, to_headers, to_first_byte, exchange.duration_seconds]
    known = [one for one in times if one is not None]
    assert known == sorted(known)
    assert known[-1] > 0


@each_scenario
def test_an_exchange_sends_its_exception_once(scenario: Scenario) -> None:
    app = new_site(scenario.prepare)
    Signalpost(app)
    with capture(got_request_exception, sender=app) as sent:
        visit(app, scenario)
    expected = [] if scenario.exception is None else [scenario.exception]
    assert [type(one["exception"]) for one in sent] == expected


@each_scenario
def test_an_exchange_leaves_the_next_as_it_would_be_alone(scenario: Scenario) -> None:
    app = new_site(scenario.prepare)
    Signalpost(app)
    with capture(exchange_opened, exchange_closed, sender=app) as sent:
        visit(app, scenario)
        visit(app, scenario)
    first, second = the_exchange(sent[:2]), the_exchange(sent[2:])
    assert first is not second
    for name in ("status", "route", "endpoint", "blueprints", "body_bytes", "outcome"):
        assert getattr(first, name) == getattr(second, name)
    assert not flask.has_app_context()


@each_scenario
def test_a_scenario_is_the_same_for_the_client_with_us(scenario: Scenario) -> None:
    bare, received = new_site(scenario.prepare), new_site(scenario.prepare)
    Signalpost(received)
    without = visit(bare, scenario)
    with capture(*EXCHANGE_SIGNALS, sender=received):
        with_us = visit(received, scenario)
    assert (with_us.status, undated(with_us), with_us.written) == (
        without.status,
        undated(without),
        without.written,
    )


def undated(server: Server) -> list[tuple[str, str]]:
    """Return the headers of a response but that of the second in which it was made."""
    return [one for one in server.headers if one[0] != "Date"]


class Clock:
    """A clock that only a test advances."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("time.perf_counter", clock)
    return clock


@pytest.mark.parametrize("is_in_context", [False, True])
def test_a_stream_of_50_ms_is_not_over_when_its_view_returns(
    clock: Clock, *, is_in_context: bool
) -> None:
    def slow_chunks() -> Iterator[bytes]:
        clock.seconds += 0.125
        yield b"one"
        clock.seconds += 0.05
        yield b"two"

    def slow() -> flask.Response:
        clock.seconds += 2
        body = slow_chunks()
        return flask.Response(
            flask.stream_with_context(body) if is_in_context else body
        )

    app = new_site()
    app.add_url_rule("/slow", view_func=slow)
    Signalpost(app)
    with capture(exchange_opened, exchange_closed, sender=app) as sent:
        Server().serve(app, path="/slow")
    exchange = the_exchange(sent)
    assert (exchange.seconds_to_headers, exchange.seconds_to_first_byte) == (2, 2.125)
    assert exchange.duration_seconds == pytest.approx(2.175)


def test_what_runs_when_the_server_closes_is_part_of_the_duration(
    clock: Clock,
) -> None:
    def wait() -> None:
        clock.seconds += 4

    def view() -> flask.Response:
        response = flask.Response(chunks())
        response.call_on_close(wait)
        return response

    app = new_site()
    app.add_url_rule("/waits", view_func=view)
    Signalpost(app)
    with capture(exchange_opened, exchange_closed, sender=app) as sent:
        Server().serve(app, path="/waits")
    assert the_exchange(sent).duration_seconds == 4


def test_a_file_closes_its_exchange_though_flask_sees_no_close() -> None:
    app = new_site()
    steps: list[str] = []

    @app.after_request
    def note(response: flask.Response) -> flask.Response:
        response.call_on_close(lambda: steps.append("response closed"))
        return response

    Signalpost(app)
    with capture(exchange_opened, exchange_closed, sender=app) as sent:
        visit(app, SCENARIOS["file"])
    assert the_exchange(sent).outcome == "complete"
    # Should Flask come to run it, the reason for this test is gone.
    assert steps == []


def test_a_stream_in_context_closes_once_however_often_it_is_torn_down() -> None:
    app = new_site()
    Signalpost(app)
    with capture(request_tearing_down, exchange_closed, sender=app) as sent:
        visit(app, SCENARIOS["stream-in-context"])
    doubles = (3, 1, 2) <= FLASK < (3, 2)
    assert len(sent_of(sent, request_tearing_down)) == (2 if doubles else 1)
    assert len(sent_of(sent, exchange_closed)) == 1
    assert sent[-1].signal is exchange_closed


def test_the_teardown_of_an_abandoned_stream_gets_the_disconnect() -> None:
    app = new_site()
    Signalpost(app)
    with capture(request_tearing_down, exchange_closed, sender=app) as sent:
        visit(app, SCENARIOS["stream-in-context-abandoned"])
    assert type(sent_of(sent, request_tearing_down)[-1]["exc"]) is GeneratorExit
    assert exchange_of(sent).exception is None


@pytest.mark.parametrize("chunks_taken", [0, 1])
def test_a_client_that_leaves_is_no_exception(chunks_taken: int) -> None:
    scenario = SCENARIOS["stream-in-context"]._replace(chunks_taken=chunks_taken)
    app = new_site()
    Signalpost(app)
    with capture(got_request_exception, exchange_closed, sender=app) as sent:
        visit(app, scenario)
    assert [one.signal for one in sent] == [exchange_closed]
    assert exchange_of(sent).outcome == "aborted"
