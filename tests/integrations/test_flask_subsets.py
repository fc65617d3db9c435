"""The same record of each exchange, whichever signals have receivers."""

from __future__ import annotations

import contextlib
import gc
import itertools
import typing as t
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator

import flask
import pytest

from signalpost import ANY
from signalpost import NamedSignal
from signalpost.exchange import current_exchange
from signalpost.exchange import Exchange
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import EXCHANGE_SIGNALS
from signalpost.lifecycle import got_request_exception
from signalpost.lifecycle import request_finished
from signalpost.lifecycle import sql_executed
from tests.integrations.serving import ALL
from tests.integrations.shop import fail
from tests.integrations.shop import fail_to_open_sessions
from tests.integrations.shop import new_shop
from tests.integrations.shop import NoSessions
from tests.integrations.shop import Prepare
from tests.integrations.shop import propagate
from tests.wsgi.serving import environ_of
from tests.wsgi.serving import Server

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

SIGNALS = (*EXCHANGE_SIGNALS, sql_executed)
SUBSETS = [
    *itertools.chain.from_iterable(
        itertools.combinations(SIGNALS, count) for count in range(1, len(SIGNALS) + 1)
    ),
    # Other signals of Flask are in no record; each with a signal that records.
    *((one, EXCHANGE_SIGNALS[-1]) for one in ALL if one not in SIGNALS),
    tuple({*ALL, *SIGNALS}),
]

FIELDS = (
    "blueprints",
    "body_bytes",
    "body_bytes_exact",
    "endpoint",
    "exception",
    "has_finished",
    "has_started",
    "method",
    "outcome",
    "path",
    "referrer",
    "route",
    "script_name",
    "status",
)
LATE = {"appcontext-tearing-down", "appcontext-popped", "returned"}
TIMES = ("duration_seconds", "seconds_to_first_byte", "seconds_to_headers")


def record_of(exchange: Exchange) -> dict[str, object]:
    """Return what an exchange records, of the times only whether they are known."""
    record = {name: getattr(exchange, name) for name in FIELDS}
    record["exception"] = repr(exchange.exception)
    for name in TIMES:
        record[name] = getattr(exchange, name) is not None
    return record


class Records:
    """The records of an exchange at each moment, and at the end."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self.moments: dict[str, object] = {}

    def note(self, moment: str) -> None:
        exchange = current_exchange()
        assert exchange is not None
        if exchange not in self.exchanges:
            self.exchanges.append(exchange)
        # Flask drops its request. If the response was not started by then, the layer
        # looks the route up at the end of its call.
        if moment not in LATE or exchange.seconds_to_headers is not None:
            self.moments[moment] = record_of(exchange)

    def receiver_of(self, signal: NamedSignal) -> Callable[..., None]:
        def note(sender: object, **extra: t.Any) -> None:
            if current_exchange() is not None:
                self.note(signal.name)

        return note

    def all(self) -> dict[str, t.Any]:
        (exchange,) = self.exchanges
        return {**self.moments, "in the end": record_of(exchange)}


class NeverStarted(flask.Response):
    """A response that was ready and does something else than to start."""

    def __init__(self, act: Callable[[], Iterable[bytes]]) -> None:
        super().__init__("never")
        self._act = act

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> t.Any:
        return self._act()


def never(act: Callable[[], t.Any]) -> Callable[[], flask.Response]:
    return lambda: NeverStarted(act)


def raising(error: BaseException) -> Callable[[], t.NoReturn]:
    def act() -> t.NoReturn:
        raise error

    return act


def never_starting_chunks() -> Iterator[bytes]:
    yield b"one"


def failing_at_once() -> Iterator[bytes]:
    raise LookupError
    yield b""


def route_by_hand() -> str:
    exchange = current_exchange()
    assert exchange is not None
    exchange.route = "/by-hand"
    return "set"


def route_by_hand_once_read() -> str:
    exchange = current_exchange()
    assert exchange is not None
    assert exchange.route == "/shown"
    exchange.route = "/by-hand"
    return "set"


class ExitingSessions(NoSessions):
    def open_session(self, app: flask.Flask, request: flask.Request) -> t.Any:
        raise SystemExit


def exit_in_session(app: flask.Flask) -> None:
    app.session_interface = ExitingSessions()


def answer_nothing_found(app: flask.Flask) -> None:
    app.register_error_handler(404, lambda _: NeverStarted(raising(StopIteration())))


class Scenario(t.NamedTuple):
    """How an application is prepared and asked."""

    path: str = "/shown"
    view: Callable[[], t.Any] | None = None
    prepare: Prepare | None = None
    chunks_taken: int | None = None
    is_closed: bool = True
    environ: t.Mapping[str, t.Any] = {}


SCENARIOS = {
    # The columns of the table of docs/course.rst.
    "plain": Scenario("/template"),
    "streamed": Scenario("/stream"),
    "view-raises": Scenario("/fail"),
    "body-raises": Scenario("/stream-and-fail"),
    "aborted": Scenario("/stream", chunks_taken=1),
    # What the outcomes are, further down.
    "unread": Scenario("/stream", chunks_taken=0),
    "empty-body": Scenario(view=lambda: ("", 204)),
    "lost": Scenario("/stream", chunks_taken=1, is_closed=False),
    "error-propagated": Scenario("/fail", prepare=propagate),
    "no-status": Scenario(view=never(never_starting_chunks)),
    "no-status-and-fails": Scenario(view=never(failing_at_once)),
    "hijacked-by-stop-iteration": Scenario(view=never(raising(StopIteration()))),
    "hijacked-by-an-empty-list": Scenario(view=never(list)),
    "hijacked-websocket": Scenario(
        view=never(raising(ConnectionError())),
        environ={"HTTP_UPGRADE": "websocket", "HTTP_CONNECTION": "Upgrade"},
    ),
    # What comes between.
    "answer-fails": Scenario(view=never(raising(OSError("gone")))),
    "answer-exits": Scenario(view=never(raising(SystemExit()))),
    "answer-to-nothing-found": Scenario("/nowhere", prepare=answer_nothing_found),
    "not-found": Scenario("/nowhere"),
    "refused": Scenario("/refuse"),
    "exits": Scenario("/leave"),
    "session-fails": Scenario("/hello", prepare=fail_to_open_sessions),
    "session-exits": Scenario("/hello", prepare=exit_in_session),
    "in-context": Scenario("/stream-in-context"),
    "teardown-fails": Scenario(
        "/hello", prepare=lambda app: app.teardown_request(lambda _: fail())
    ),
    "after-request-fails": Scenario(
        "/hello", prepare=lambda app: app.after_request(lambda _: fail())
    ),
    "file": Scenario(view=lambda: flask.send_file(__file__)),
    "route-by-hand": Scenario(view=route_by_hand),
    "route-by-hand-once-read": Scenario(view=route_by_hand_once_read),
}


class Site:
    """The application of a scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._records = Records()
        self.app = app = new_shop()
        app.add_url_rule(
            "/shown",
            view_func=scenario.view or (lambda: ""),
            endpoint="shown",
            websocket=bool(scenario.environ),
        )
        if scenario.prepare is not None:
            scenario.prepare(app)
        app.before_request(lambda: self._records.note("before_request"))
        around: t.Any = self._around(app.wsgi_app)
        app.wsgi_app = around  # type: ignore[method-assign]  # as users do
        Signalpost(app)

    def _around(self, app: WSGIApplication) -> WSGIApplication:
        """Note, from within the layer, what is recorded before and after the call."""

        def noting(
            environ: WSGIEnvironment, start_response: StartResponse
        ) -> Iterable[bytes]:
            self._records.note("called")
            try:
                return app(environ, start_response)
            finally:
                self._records.note("returned")

        return noting

    def records_with(self, *signals: NamedSignal) -> dict[str, t.Any]:
        """Return what an exchange records while these signals have receivers."""
        records = self._records = Records()
        with contextlib.ExitStack() as stack:
            for signal in signals:
                sender = ANY if signal is sql_executed else self.app
                stack.enter_context(
                    signal.connected_to(records.receiver_of(signal), sender)
                )
            # Each exception that leaves the application is in the record.
            with contextlib.suppress(BaseException):
                serve(self.app, self._scenario)
            if not self._scenario.is_closed:
                gc.collect()
        return records.all()


def serve(app: WSGIApplication, scenario: Scenario) -> None:
    environ = environ_of(scenario.path, HTTP_REFERER="/before", **scenario.environ)
    if scenario.environ:
        environ["wsgi.url_scheme"] = "http"
    body = app(environ, Server().start_response)
    try:
        for _ in itertools.islice(body, scenario.chunks_taken):
            pass
    finally:
        if scenario.is_closed and hasattr(body, "close"):
            body.close()


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS.keys())
def test_a_record_is_the_same_whichever_signals_have_receivers(
    scenario: Scenario,
) -> None:
    site = Site(scenario)
    expected = site.records_with(*{*ALL, *SIGNALS})
    for signals in SUBSETS:
        found = site.records_with(*signals)
        names = [one.name for one in signals]
        assert found == {name: expected[name] for name in found}, names


@pytest.mark.parametrize("error", [StopIteration(), OSError("gone")])
@pytest.mark.parametrize("signal", EXCHANGE_SIGNALS, ids=lambda one: one.name)
def test_a_response_that_was_never_started_has_no_status(
    error: Exception, signal: NamedSignal
) -> None:
    found = Site(Scenario(view=never(raising(error)))).records_with(signal)
    in_the_end = found["in the end"]
    assert in_the_end["status"] is None
    assert in_the_end["route"] == "/shown"
    assert not in_the_end["has_finished"]


def test_the_status_is_known_while_the_request_finishes() -> None:
    found = Site(SCENARIOS["refused"]).records_with(request_finished)
    assert found["request-finished"]["status"] == 403


def test_a_failure_of_a_ready_response_has_no_status_yet() -> None:
    signals = (request_finished, got_request_exception)
    found = Site(SCENARIOS["answer-fails"]).records_with(*signals)
    failed = found["got-request-exception"]
    assert (failed["status"], failed["exception"]) == (None, "OSError('gone')")


@pytest.mark.parametrize("name", ["route-by-hand", "route-by-hand-once-read"])
def test_a_route_set_by_hand_keeps_the_endpoint(name: str) -> None:
    found = Site(SCENARIOS[name]).records_with(EXCHANGE_SIGNALS[-1])
    in_the_end = found["in the end"]
    assert (in_the_end["route"], in_the_end["endpoint"]) == ("/by-hand", "shown")
