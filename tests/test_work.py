"""Units of work."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import logging
import re
import threading
import typing as t
import weakref
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterator
from contextlib import ExitStack
from contextlib import suppress
from contextvars import copy_context

import flask
import pytest
import sqlalchemy as sa

from signalpost import SignalMiddleware
from signalpost.errors import ExchangeClosedError
from signalpost.exchange import current_exchange
from signalpost.exchange import Exchange
from signalpost.integrations.sqlalchemy import instrument
from signalpost.lifecycle import catalogue
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import sql_executed
from signalpost.lifecycle import sql_failed
from signalpost.lifecycle import work_finished
from signalpost.lifecycle import work_started
from signalpost.receivers.context import carried
from signalpost.receivers.context import ContextFilter
from signalpost.receivers.context import request_context
from signalpost.receivers.failures import FailureLogger
from signalpost.receivers.latency import LatencyLogger
from signalpost.receivers.recorder import LatencyRecorder
from signalpost.receivers.sql import RepeatLogger
from signalpost.receivers.sql import SqlLogger
from signalpost.receivers.sql_totals import SqlTotalsCounter
from signalpost.testing import capture
from signalpost.testing import max_statements
from signalpost.work import begin_work
from signalpost.work import Work
from signalpost.work import work
from tests.integrations.telemetry import has_error
from tests.integrations.telemetry import identity
from tests.integrations.telemetry import parent
from tests.integrations.telemetry import Telemetry
from tests.wsgi.serving import Server


def receive(sender: object) -> None:
    """Do nothing; so that exchanges are recorded."""


class App:
    """An application, to be a sender."""


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def finished(app: App) -> Generator[list[Work]]:
    found: list[Work] = []

    def note(sender: object, exchange: Work) -> None:
        found.append(exchange)

    with work_finished.connected_to(note, app):
        yield found


@pytest.fixture
def engine() -> Generator[sa.Engine]:
    found = sa.create_engine("sqlite://")
    with found.connect():  # its own first statements
        pass
    instrumentation = instrument(found)
    yield found
    instrumentation.undo()
    found.dispose()


def ask(engine: sa.Engine, text: str = "SELECT 1") -> None:
    with engine.connect() as connection:
        connection.execute(sa.text(text))


def test_block_is_the_current_exchange(app: App) -> None:
    assert current_exchange() is None
    with work("nightly", app) as found:
        assert current_exchange() is found
        assert isinstance(found, Work)
        assert (found.name, found.route, found.method) == ("nightly", "nightly", "WORK")
        assert found.is_open
    assert current_exchange() is None
    assert not found.is_open


def test_signals_are_sent_at_both_ends_and_no_others(app: App) -> None:
    with ExitStack() as stack:
        sent = [stack.enter_context(capture(one)) for one in catalogue.values()]
        with work("nightly", app) as found:
            pass
        names = [name for name, each in zip(catalogue, sent, strict=True) for _ in each]
    assert names == ["work-started", "work-finished"]
    for each in sent:
        for one in each:
            assert one.sender is app
            assert one["exchange"] is found


def test_record_is_complete_while_the_end_is_sent(app: App) -> None:
    seen = []

    def note(sender: object, exchange: Work) -> None:
        seen.append((exchange.outcome, exchange.duration_seconds, exchange.is_open))
        assert current_exchange() is exchange

    with work_finished.connected_to(note, app), work("nightly", app):
        pass
    ((outcome, seconds, is_open),) = seen
    assert (outcome, is_open) == ("complete", True)
    assert seconds is not None
    assert 0 < seconds < 60


def test_record_has_what_an_exchange_has(app: App) -> None:
    with work("nightly", app) as found:
        assert (found.path, found.script_name, found.status) == ("", "", None)
        assert found.referrer is None
        assert found.endpoint is None
        assert found.blueprints == ()
        assert not [key for key in found.environ if key.startswith("HTTP_")]
        assert found.has_started
        assert not found.has_finished
        found.state["key"] = 1
        assert repr(found) == "<Work 'nightly' open>"
    assert repr(found) == "<Work 'nightly' complete>"
    assert found.state == {"key": 1}
    with pytest.raises(ExchangeClosedError):
        _ = found.environ


def test_functions_are_called_at_the_end(app: App) -> None:
    called: list[int] = []
    with work("nightly", app) as found:
        found.call_on_close(called.append, 1)
        found.call_on_close(called.append, 2)
        assert called == []
    assert called == [2, 1]
    with pytest.raises(ExchangeClosedError):
        found.call_on_close(called.append, 3)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (LookupError("no such thing"), "error"),
        (SystemExit(1), "error"),
        (SystemExit("no"), "error"),
        (SystemExit(0), "complete"),
        (SystemExit(None), "complete"),
        (KeyboardInterrupt(), "aborted"),
        (GeneratorExit(), "aborted"),
        (asyncio.CancelledError(), "aborted"),
        (concurrent.futures.CancelledError(), "error"),
        (ExceptionGroup("two", [LookupError("no such thing")]), "error"),
    ],
)
def test_outcome_depends_on_what_is_raised(
    error: BaseException, outcome: str, app: App, finished: list[Work]
) -> None:
    with pytest.raises(type(error)) as raised, work("nightly", app):
        raise error
    assert raised.value is error
    (found,) = finished
    assert found.outcome == outcome
    assert found.exception is (None if outcome == "complete" else error)
    assert current_exchange() is None


@pytest.mark.parametrize("answer", ["n\n", ""], ids=["no", "end"])
def test_command_that_its_user_aborts_is_aborted(
    answer: str, app: App, finished: list[Work]
) -> None:
    import click
    from click.testing import CliRunner

    @click.command
    @work("nightly", app)
    def nightly() -> None:
        click.confirm("Delete all?", abort=True)

    assert CliRunner().invoke(nightly, input=answer).exit_code == 1
    assert [one.outcome for one in finished] == ["aborted"]


def test_leaving_click_by_its_exit_is_no_failure(
    app: App, finished: list[Work]
) -> None:
    import click

    for code in (0, 3):
        with suppress(click.exceptions.Exit), work("nightly", app):
            raise click.exceptions.Exit(code)
    assert [one.outcome for one in finished] == ["complete", "error"]


def test_receiver_that_fails_harms_no_work(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(sender: object) -> None:
        raise LookupError("no such thing")

    async def wait(sender: object) -> None:
        """Cannot be called here."""

    done = []
    with ExitStack() as stack:
        for signal in (work_started, work_finished):
            stack.enter_context(signal.connected_to(fail, app))
            stack.enter_context(signal.connected_to(wait, app))
        with work("nightly", app):
            done.append(1)
        with pytest.raises(KeyError), work("nightly", app):
            raise KeyError("the work's own")
    assert done == [1]
    assert "async with work" in caplog.text
    assert current_exchange() is None


def test_strict_receiver_is_let_through_and_nothing_stays_open(
    app: App, finished: list[Work]
) -> None:
    def fail(sender: object) -> None:
        raise LookupError("strict")

    work_started.connect(fail, app, strict=True)
    with pytest.raises(LookupError, match="strict"), work("nightly", app):
        pytest.fail("the block is not run")
    assert current_exchange() is None
    assert [one.outcome for one in finished] == ["error"]
    work_started.disconnect(fail, app)
    work_finished.connect(fail, app, strict=True)
    with pytest.raises(LookupError, match="strict"), work("nightly", app):
        pass
    with pytest.raises(KeyError), work("nightly", app):
        raise KeyError("the work's own")
    work_finished.disconnect(fail, app)


def test_decorated_function_is_a_unit_at_each_call(
    app: App, finished: list[Work]
) -> None:
    @work("double", app)
    def double(number: int) -> int:
        """Return twice the number."""
        return 2 * number

    assert [double(1), double(2)] == [2, 4]
    assert double.__doc__ == "Return twice the number."
    assert [one.name for one in finished] == ["double", "double"]
    assert finished[0].id != finished[1].id


def test_async_function_is_a_unit_and_its_receivers_may_be_async(app: App) -> None:
    seen = []

    async def note(sender: object, exchange: Work) -> None:
        await asyncio.sleep(0)
        seen.append((exchange.name, exchange.outcome))

    @work("wait", app)
    async def wait(fails: bool) -> int:
        await asyncio.sleep(0)
        assert current_exchange() is not None
        if fails:
            raise LookupError("no such thing")
        return 1

    async def both() -> list[t.Any]:
        return [*await asyncio.gather(wait(False), wait(True), return_exceptions=True)]

    with work_started.connected_to(note, app), work_finished.connected_to(note, app):
        one, error = asyncio.run(both())
    assert one == 1
    assert isinstance(error, LookupError)
    assert sorted(seen, key=str) == [
        ("wait", "complete"),
        ("wait", "error"),
        ("wait", None),
        ("wait", None),
    ]


def test_cancelled_task_is_aborted(app: App, finished: list[Work]) -> None:
    async def cancelled() -> None:
        async with work("wait", app):
            await asyncio.sleep(60)

    async def main() -> None:
        task = asyncio.create_task(cancelled())
        await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert [one.outcome for one in finished] == ["aborted"]


def test_generator_function_cannot_be_decorated(app: App) -> None:
    with pytest.raises(TypeError, match="generator function"):

        @work("each", app)
        def each() -> Iterator[int]:
            yield 1


@pytest.mark.parametrize("name", [None, 3, b"nightly", len])
def test_name_must_be_text(name: t.Any, app: App) -> None:
    with pytest.raises(TypeError, match=r'write work\("nightly-report", app\)'):
        work(name, app)
    with pytest.raises(ValueError, match="not empty"):
        work("", app)


def test_work_within_work_has_its_own_record_and_the_same_id(
    app: App, finished: list[Work]
) -> None:
    with work("outer", app) as outer:
        with work("inner", app) as inner:
            assert inner.outer is outer
            assert current_exchange() is inner
        assert current_exchange() is outer
    assert [one.name for one in finished] == ["inner", "outer"]
    assert inner.id == outer.id


def test_one_object_may_be_open_several_times(app: App, finished: list[Work]) -> None:
    block = work("again", app)
    with block as outer, block as inner:
        assert inner.outer is outer
    barrier = threading.Barrier(4)

    def run() -> None:
        with block as own:
            barrier.wait(10)
            assert current_exchange() is own
            barrier.wait(10)
        assert current_exchange() is None

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for one in [pool.submit(run) for _ in range(4)]:
            one.result()
    assert len(finished) == 6
    assert len({id(one) for one in finished}) == 6


def test_id_is_that_of_what_ordered_the_work(app: App) -> None:
    with work("nightly", app, context={"request_id": "f3-09", "route": "/"}) as found:
        assert found.id == "f3-09"
        assert request_context() == {
            "request_id": "f3-09",
            "method": "WORK",
            "route": "nightly",
        }
    with carried({"request_id": "f3-10"}), work("nightly", app) as found:
        assert found.id == "f3-10"


@pytest.mark.parametrize(
    "context", [None, {}, 7, {"request_id": 3}, {"request_id": "a b"}, {"x": "y"}]
)
def test_context_without_an_id_gives_a_new_one(context: t.Any, app: App) -> None:
    with work("nightly", app, context=context) as found:
        assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f-]{27}", found.id)


def test_work_in_a_request_has_the_id_of_the_request(
    app: App, finished: list[Work]
) -> None:
    def view(environ: t.Any, start_response: t.Any) -> list[bytes]:
        with work("resize", app):
            pass
        start_response("200 OK", [])
        assert isinstance(current_exchange(), Exchange)
        assert not isinstance(current_exchange(), Work)
        return [b""]

    closed: list[Exchange] = []

    def note(sender: object, exchange: Exchange) -> None:
        closed.append(exchange)

    with exchange_closed.connected_to(note):
        Server().serve(SignalMiddleware(view), HTTP_X_REQUEST_ID="f3-11")
    assert [one.id for one in closed] == ["f3-11"]
    assert [one.id for one in finished] == ["f3-11"]


def test_work_in_a_body_is_current_there(app: App) -> None:
    seen = []

    def body() -> Iterator[bytes]:
        before = current_exchange()
        with work("part", app) as found:
            seen.append(current_exchange() is found)
        seen.append(current_exchange() is before)
        seen.append(before is not None)
        yield b"part"

    def view(environ: t.Any, start_response: t.Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        return body()

    with exchange_closed.connected_to(receive):
        assert Server().serve(SignalMiddleware(view)) == b"part"
    assert seen == [True, True, True]


def test_thread_that_outlives_its_request_keeps_the_id(
    app: App, finished: list[Work]
) -> None:
    contexts = []

    def view(environ: t.Any, start_response: t.Any) -> list[bytes]:
        contexts.append(copy_context())
        start_response("200 OK", [])
        return [b""]

    def later() -> None:
        with work("later", app):
            pass

    with exchange_closed.connected_to(receive):
        Server().serve(SignalMiddleware(view), HTTP_X_REQUEST_ID="f3-12")
    thread = threading.Thread(target=contexts.pop().run, args=(later,))
    thread.start()
    thread.join()
    (found,) = finished
    assert found.id == "f3-12"
    assert found.outer is None


def test_plain_thread_has_an_id_of_its_own(app: App, finished: list[Work]) -> None:
    with work("outer", app) as outer:
        thread = threading.Thread(target=work("thread", app)(lambda: None))
        thread.start()
        thread.join()
        (found,) = finished
        assert found.id != outer.id


def test_proxy_represents_its_application(finished: list[Work]) -> None:
    shop = flask.Flask("shop")
    with (
        shop.app_context(),
        capture(work_finished, sender=shop) as sent,
        work("nightly", flask.current_app),
    ):
        pass
    assert len(sent) == 1


def test_nothing_keeps_work_or_application_alive() -> None:
    app = App()
    with work("nightly", app) as found:
        found.state["big"] = object()
    with suppress(LookupError), work("nightly", app):
        raise LookupError("no such thing")
    references: list[t.Any] = [weakref.ref(app), weakref.ref(found)]
    del app, found
    gc.collect()
    assert [one() for one in references] == [None, None]


def test_begun_work_is_finished_once(app: App, finished: list[Work]) -> None:
    found = begin_work("task", app, {"request_id": "f3-13"})
    assert current_exchange() is found
    error = LookupError("again")
    found.finish(error, outcome="aborted")
    found.finish()
    assert finished == [found]
    assert (found.outcome, found.exception) == ("aborted", error)
    assert current_exchange() is None


def test_statements_belong_to_it(
    app: App, engine: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    receivers: list[tuple[t.Any, Callable[..., t.Any]]] = [
        (sql_executed, SqlLogger(slow_seconds=0)),
        (sql_executed, RepeatLogger(most_times=2)),
        (sql_executed, SqlTotalsCounter()),
        (work_finished, LatencyLogger()),
    ]
    caplog.set_level(logging.INFO, "signalpost")
    with ExitStack() as stack:
        for signal, receiver in receivers:
            stack.enter_context(signal.connected_to(receiver))
        with max_statements(3) as statements, work("nightly", app) as found:
            for _ in range(3):
                ask(engine)
    assert [one.exchange for one in statements] == [found] * 3
    slow = [line for line in caplog.messages if line.startswith("slow ")]
    assert len(slow) == 3
    assert all(line.endswith('"SELECT ?" WORK nightly') for line in slow)
    assert "WORK nightly repeated 3 times" in caplog.text
    (line,) = [one for one in caplog.records if one.name == "signalpost.latency"]
    assert re.fullmatch(
        r"WORK nightly complete \d+\.\d ms 3 statements in \d+\.\d ms",
        line.getMessage(),
    )
    assert {*t.cast("t.Any", line.msg).fields} == {
        "method",
        "route",
        "outcome",
        "duration_seconds",
        "sql_count",
        "sql_duration_seconds",
    }


def test_failures_belong_to_it(app: App, caplog: pytest.LogCaptureFixture) -> None:
    logger = FailureLogger()
    with work_finished.connected_to(logger.finished):
        for error in (LookupError("gone"), KeyboardInterrupt(), SystemExit(0)):
            with suppress(BaseException), work("nightly", app):
                raise error
    (line,) = caplog.messages
    assert line.startswith("WORK nightly - call LookupError at=")
    assert "message=gone" in line
    (count,) = logger.counts()
    assert count.exception == "LookupError"


def test_failure_of_the_database_belongs_to_it(
    app: App, engine: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    logger = SqlLogger()
    with (
        sql_executed.connected_to(logger),
        sql_failed.connected_to(logger.failed),
        pytest.raises(sa.exc.OperationalError),
        work("nightly", app),
    ):
        ask(engine, "SELECT nothing FROM nowhere")
    assert "WORK nightly" in caplog.messages[0]


def test_lines_have_its_id_and_its_name(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.handler.addFilter(context := ContextFilter())
    with work("nightly", app, context={"request_id": "f3-14"}):
        logging.getLogger("nightly").warning("counted")
    caplog.handler.removeFilter(context)
    (record,) = caplog.records
    values = record.__dict__
    assert values["exchange_id"] == "f3-14"
    assert values["exchange_method"] == "WORK"
    assert values["exchange_route"] == "nightly"


def test_recorder_can_be_connected_to_work(app: App) -> None:
    recorder = LatencyRecorder()
    with (
        work_started.connected_to(recorder.opened, app),
        work_finished.connected_to(recorder.closed, app),
    ):
        with work("nightly", app):
            assert recorder.snapshot().total.in_flight == 1
        with suppress(LookupError), work("nightly", app):
            raise LookupError("no such thing")
    (row,) = recorder.snapshot().routes
    assert (row.route, row.requests, row.in_flight) == ("nightly", 2, 0)
    assert row.errors_since_start == 1


def test_work_is_a_span_with_its_statements_below(app: App, engine: sa.Engine) -> None:
    telemetry = Telemetry()

    def shop(environ: t.Any, start_response: t.Any) -> list[bytes]:
        return []

    opentelemetry = telemetry.new()
    opentelemetry.connect(shop)
    with work("nightly", shop), work("part", shop):
        ask(engine)
    with suppress(LookupError), work("bad", shop):
        raise LookupError("x" * 5_000)
    opentelemetry.disconnect(shop)
    with work("unseen", shop):
        pass
    assert [one.name for one in telemetry.spans] == ["SELECT", "part", "nightly", "bad"]
    statement, part, nightly, bad = telemetry.spans
    assert parent(statement) == identity(part)
    assert parent(part) == identity(nightly)
    assert parent(nightly) is None
    assert not has_error(nightly)
    assert has_error(bad)
    assert [one.name for one in bad.events] == ["exception"]
    assert telemetry.points("http.server.request.duration") == []
    telemetry.tracer_provider.shutdown()
    telemetry.meter_provider.shutdown()


@pytest.mark.parametrize("sender", [None, "worker", 7, int])
def test_sender_may_be_anything(sender: t.Any) -> None:
    with capture(work_finished) as sent, work("nightly", sender):
        pass
    assert [one.sender for one in sent] == [sender]
