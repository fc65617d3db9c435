"""Tasks of Celery as units of work, run at once."""

from __future__ import annotations

import gc
import logging
import typing as t
import weakref
from collections.abc import Generator
from contextlib import suppress

import flask
import pytest
from celery import Celery
from celery.exceptions import Ignore
from celery.exceptions import Reject
from celery.exceptions import WorkerLostError
from celery.signals import before_task_publish
from celery.signals import task_failure

from signalpost.exchange import current_exchange
from signalpost.exchange import Exchange
from signalpost.integrations.celery import connect_celery
from signalpost.integrations.celery import disconnect_celery
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import work_finished
from signalpost.lifecycle import work_started
from signalpost.receivers.failures import FailureLogger
from signalpost.work import Work
from signalpost.work import work


def give() -> tuple[str, str]:
    exchange = current_exchange()
    assert isinstance(exchange, Work)
    return exchange.name, exchange.id


def fail() -> None:
    raise LookupError("no such thing")


def ignore() -> None:
    raise Ignore


def reject() -> None:
    raise Reject("not now", requeue=False)


def leave() -> None:
    raise SystemExit(3)


def stop() -> None:
    raise KeyboardInterrupt


def end() -> None:
    # As billiard has it for SIGTERM in a child process.
    raise SystemExit(-241)


def try_again(task: t.Any) -> str:
    if not task.request.retries:
        raise task.retry(countdown=0)
    return "done"


FUNCTIONS = (give, fail, ignore, reject, leave, stop, end)


def new_queue() -> Celery:
    queue = Celery("shop", broker="memory://", set_as_current=False)
    for function in FUNCTIONS:
        queue.task(name=function.__name__)(function)
    queue.task(name="try_again", bind=True)(try_again)
    return queue


@pytest.fixture
def queue() -> Generator[Celery]:
    found = new_queue()
    yield found
    disconnect_celery(found)
    found.close()


@pytest.fixture
def finished() -> Generator[list[Work]]:
    found: list[Work] = []

    def note(sender: object, exchange: Work) -> None:
        found.append(exchange)

    with work_finished.connected_to(note):
        yield found


def test_task_is_a_unit_of_work_of_its_name(
    queue: Celery, finished: list[Work]
) -> None:
    senders = []

    def note(sender: object, exchange: Work) -> None:
        senders.append(sender)

    connect_celery(queue)
    with work_started.connected_to(note):
        name, task_id = queue.tasks["give"].apply().get()
    assert name == "give"
    (found,) = finished
    assert (found.name, found.outcome, found.id) == ("give", "complete", task_id)
    assert senders == [queue]
    assert current_exchange() is None


@pytest.mark.parametrize(
    ("name", "outcome", "error"),
    [
        ("fail", "error", LookupError),
        ("ignore", "aborted", Ignore),
        ("reject", "aborted", Reject),
        ("leave", "error", SystemExit),
        ("stop", "aborted", KeyboardInterrupt),
        ("end", "aborted", SystemExit),
    ],
)
def test_outcome_depends_on_the_end_of_the_task(
    name: str,
    outcome: str,
    error: type[BaseException],
    queue: Celery,
    finished: list[Work],
) -> None:
    connect_celery(queue)
    with suppress(SystemExit, KeyboardInterrupt):
        queue.tasks[name].apply()
    (found,) = finished
    assert found.outcome == outcome
    assert type(found.exception) is error
    assert current_exchange() is None


def test_failure_is_logged_once(
    queue: Celery, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "signalpost")
    logger = FailureLogger()
    connect_celery(queue)
    with work_finished.connected_to(logger.finished):
        queue.tasks["fail"].apply()
    (line,) = [one for one in caplog.messages if one.startswith("WORK fail")]
    assert "call LookupError at=" in line
    assert "test_celery.py:" in line


def test_each_try_is_a_unit_of_work_with_one_id(
    queue: Celery, finished: list[Work]
) -> None:
    connect_celery(queue)
    with work("order", None, context={"request_id": "f3-09"}):
        assert queue.tasks["try_again"].apply().get() == "done"
    outcomes = sorted((one.name, one.outcome) for one in finished)
    assert outcomes == [
        ("order", "complete"),
        ("try_again", "aborted"),
        ("try_again", "complete"),
    ]
    assert {one.id for one in finished} == {"f3-09"}


def test_task_that_runs_in_a_request_is_within_its_exchange(
    queue: Celery, finished: list[Work]
) -> None:
    app = flask.Flask("shop")
    Signalpost(app)
    connect_celery(queue, app)

    @app.get("/now")
    def now() -> str:
        return str(queue.tasks["give"].apply().get()[1])

    closed: list[Exchange] = []

    def note(sender: object, exchange: Exchange) -> None:
        closed.append(exchange)

    with exchange_closed.connected_to(note, app):
        headers = {"X-Request-ID": "f3-10"}
        response = app.test_client().get("/now", headers=headers, buffered=True)
    assert response.text == "f3-10"
    assert [one.route for one in closed] == ["/now"]
    assert [one.id for one in finished] == ["f3-10"]


def test_only_connected_applications_are_recorded(
    queue: Celery, finished: list[Work]
) -> None:
    other = new_queue()
    connect_celery(queue)
    connect_celery(queue, "another")
    queue.tasks["give"].apply()
    with suppress(Exception):
        other.tasks["give"].apply()
    assert [one.name for one in finished] == ["give"]
    assert disconnect_celery(queue) is True
    assert disconnect_celery(queue) is False
    queue.tasks["fail"].apply()
    assert [one.name for one in finished] == ["give"]
    other.close()


@pytest.mark.parametrize("value", [None, 7, "shop", Celery, flask.Flask("shop")])
def test_other_objects_are_refused(value: t.Any) -> None:
    with pytest.raises(TypeError, match=r"connect_celery\(queue, app\)"):
        connect_celery(value)


def test_proxy_represents_its_application(finished: list[Work]) -> None:
    queue = new_queue()
    queue.set_current()
    import celery

    connect_celery(celery.current_app)
    queue.tasks["give"].apply()
    assert [one.name for one in finished] == ["give"]
    assert disconnect_celery(queue) is True
    queue.close()


def test_message_carries_the_context_if_there_is_one(queue: Celery) -> None:
    connect_celery(queue)
    empty: dict[str, t.Any] = {}
    before_task_publish.send(sender="give", headers=empty)
    before_task_publish.send(sender="give", headers=None)
    assert empty == {}
    headers: dict[str, t.Any] = {}
    with work("order", None, context={"request_id": "f3-11"}):
        before_task_publish.send(sender="give", headers=headers)
    assert headers == {
        "signalpost": {"request_id": "f3-11", "method": "WORK", "route": "order"}
    }


@pytest.mark.parametrize(
    "header", [7, "f3", ["f3"], {"request_id": "a\nb"}, {"request_id": ["f3"]}, {}]
)
def test_hostile_header_gives_a_new_id(
    header: t.Any, queue: Celery, finished: list[Work]
) -> None:
    connect_celery(queue)
    queue.tasks["give"].apply(headers={"signalpost": header}, signalpost=header)
    (found,) = finished
    assert len(found.id) == 36


def test_killed_process_is_reported_once_by_the_main_process(
    queue: Celery, finished: list[Work]
) -> None:
    connect_celery(queue)
    error = WorkerLostError("exited prematurely")
    for _ in range(2):
        task_failure.send(sender=queue.tasks["give"], task_id="lost-1", exception=error)
    (found,) = finished
    assert (found.name, found.outcome, found.exception) == ("give", "lost", error)


@pytest.mark.parametrize("error", [Reject("not now"), LookupError("not pickled")])
def test_task_that_has_run_to_its_end_is_not_lost(
    error: Exception, queue: Celery, finished: list[Work]
) -> None:
    connect_celery(queue)
    task_failure.send(sender=queue.tasks["give"], task_id="ended-1", exception=error)
    assert finished == []


def test_tasks_leave_nothing_behind(queue: Celery) -> None:
    records = []

    def note(sender: object, exchange: Work) -> None:
        records.append(weakref.ref(exchange))

    connect_celery(queue)
    with work_finished.connected_to(note):
        for _ in range(20):
            queue.tasks["give"].apply()
            queue.tasks["fail"].apply()
    gc.collect()
    assert len(records) == 40
    assert [one for one in records if one() is not None] == []
