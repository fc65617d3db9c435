"""A pair of signals around a unit of work."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator
from collections.abc import Iterator
from typing import Any

import pytest

from signalpost import around
from signalpost import Namespace
from signalpost import Signal

ERROR = LookupError("the work failed")
THREADS = 8


class Jobs:
    """Both signals, and what they sent."""

    def __init__(self) -> None:
        namespace = Namespace()
        self.started = namespace.signal("started", payload=("job",))
        self.finished = namespace.signal(
            "finished", payload=("job", "duration_seconds", "exception")
        )
        self.sent: list[tuple[str, Any, Any]] = []
        self.durations: list[float] = []
        self.exceptions: list[BaseException | None] = []
        self.started.connect(self.note_started)
        self.finished.connect(self.note_finished)

    def note_started(self, sender: Any, job: Any) -> None:
        self.sent.append(("started", sender, job))

    def note_finished(
        self,
        sender: Any,
        job: Any,
        duration_seconds: float,
        exception: BaseException | None,
    ) -> None:
        self.sent.append(("finished", sender, job))
        self.durations.append(duration_seconds)
        self.exceptions.append(exception)

    def around(self, job: Any = 7) -> around:
        return around(self.started, self.finished, "worker", job=job)


BOTH = [("started", "worker", 7), ("finished", "worker", 7)]


def test_block_is_between_the_signals() -> None:
    jobs = Jobs()
    with jobs.around():
        assert jobs.sent == BOTH[:1]
    assert jobs.sent == BOTH
    assert jobs.exceptions == [None]
    assert jobs.durations[0] >= 0


def test_async_block_is_between_the_signals() -> None:
    async def work() -> None:
        async with jobs.around():
            assert jobs.sent == BOTH[:1]
            await asyncio.sleep(0)

    jobs = Jobs()
    asyncio.run(work())
    assert jobs.sent == BOTH
    assert jobs.exceptions == [None]


def test_async_receivers_of_an_async_block_are_awaited() -> None:
    async def note(sender: Any, job: Any) -> None:
        await asyncio.sleep(0)
        received.append(job)

    async def work() -> None:
        async with jobs.around():
            assert received == [7]

    jobs = Jobs()
    received: list[Any] = []
    jobs.started.connect(note)
    jobs.finished.connect(note)
    asyncio.run(work())
    assert received == [7, 7]


def test_function_is_between_the_signals() -> None:
    jobs = Jobs()

    @jobs.around()
    def work(number: int, *, factor: int = 1) -> int:
        assert jobs.sent == BOTH[:1]
        return number * factor

    assert jobs.sent == []
    assert work(2, factor=3) == 6
    assert jobs.sent == BOTH
    assert work.__name__ == "work"


def test_async_function_is_between_the_signals() -> None:
    jobs = Jobs()

    @jobs.around()
    async def work(number: int) -> int:
        await asyncio.sleep(0)
        assert jobs.sent == BOTH[:1]
        return number

    assert asyncio.run(work(3)) == 3
    assert jobs.sent == BOTH


def test_method_is_between_the_signals() -> None:
    jobs = Jobs()

    class Worker:
        @jobs.around()
        def work(self, number: int) -> tuple[Any, int]:
            return self, number

    worker = Worker()
    assert worker.work(3) == (worker, 3)
    assert jobs.sent == BOTH


@pytest.mark.parametrize("error", [ERROR, KeyboardInterrupt(), SystemExit(1)])
def test_an_exception_of_the_work_is_reported_and_raised(error: BaseException) -> None:
    jobs = Jobs()
    with pytest.raises(type(error)) as raised, jobs.around():
        raise error
    assert raised.value is error
    assert jobs.exceptions == [error]
    assert jobs.sent == BOTH


def test_an_exception_of_a_function_is_reported_and_raised() -> None:
    jobs = Jobs()

    @jobs.around()
    def work() -> None:
        raise ERROR

    with pytest.raises(LookupError):
        work()
    assert jobs.exceptions == [ERROR]


def test_an_exception_of_async_work_is_reported_and_raised() -> None:
    jobs = Jobs()

    @jobs.around()
    async def work() -> None:
        raise ERROR

    with pytest.raises(LookupError):
        asyncio.run(work())
    assert jobs.exceptions == [ERROR]


def test_cancelled_work_is_reported() -> None:
    async def cancel() -> None:
        task = asyncio.ensure_future(work())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    jobs = Jobs()

    @jobs.around()
    async def work() -> None:
        await asyncio.Event().wait()

    asyncio.run(cancel())
    assert [type(error) for error in jobs.exceptions] == [asyncio.CancelledError]


def test_receivers_that_raise_do_not_harm_the_work(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(sender: Any, **extra: Any) -> None:
        raise LookupError

    jobs = Jobs()
    jobs.started.connect(refuse, priority=1)
    jobs.finished.connect(refuse, priority=1)
    done = []
    with jobs.around():
        done.append("work")
    assert done == ["work"]
    assert jobs.sent == BOTH
    assert len(caplog.records) == 2


def test_blocks_nest() -> None:
    jobs = Jobs()
    with jobs.around(1), jobs.around(2):
        pass
    assert [(name, job) for name, _, job in jobs.sent] == [
        ("started", 1),
        ("started", 2),
        ("finished", 2),
        ("finished", 1),
    ]
    assert jobs.durations[0] <= jobs.durations[1]


def test_one_block_may_be_entered_within_itself() -> None:
    jobs = Jobs()
    block = jobs.around()
    with block, block:
        pass
    with block:
        pass
    assert len(jobs.durations) == 3
    assert jobs.durations[0] <= jobs.durations[1]


def test_function_may_call_itself() -> None:
    jobs = Jobs()

    @jobs.around()
    def work(depth: int) -> int:
        return 0 if depth == 0 else 1 + work(depth - 1)

    assert work(3) == 3
    assert [name for name, _, _ in jobs.sent] == ["started"] * 4 + ["finished"] * 4
    assert jobs.durations == sorted(jobs.durations)


def test_function_may_run_in_several_threads() -> None:
    jobs = Jobs()
    meeting = threading.Barrier(THREADS)

    @jobs.around()
    def work() -> None:
        meeting.wait(30)

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(jobs.durations) == THREADS
    assert [name for name, _, _ in jobs.sent[:THREADS]] == ["started"] * THREADS
    assert jobs.exceptions == [None] * THREADS


def test_async_function_may_run_in_several_tasks() -> None:
    async def work_twice() -> None:
        await asyncio.gather(work(), work())

    jobs = Jobs()

    @jobs.around()
    async def work() -> None:
        await asyncio.sleep(0)

    asyncio.run(work_twice())
    assert jobs.sent == [*BOTH[:1] * 2, *BOTH[1:] * 2]


def generate() -> Iterator[int]:
    yield 1


async def generate_later() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize(
    "function",
    [generate, generate_later, functools.partial(generate)],
    ids=["generator", "async generator", "partial"],
)
def test_generator_function_is_refused(function: Any) -> None:
    with pytest.raises(TypeError, match=r"generator function.*generate"):
        Jobs().around()(function)


@pytest.mark.parametrize("name", ["duration_seconds", "exception"])
def test_reserved_name_in_the_payload_is_refused(name: str) -> None:
    signal = Signal()
    with pytest.raises(TypeError, match=name):
        around(signal, signal, "worker", **{name: 1})


def test_payload_and_sender_may_be_left_out() -> None:
    def note(sender: Any, **payload: Any) -> None:
        sent.append((sender, sorted(payload)))

    started, finished = Signal(), Signal()
    sent: list[Any] = []
    started.connect(note)
    finished.connect(note)
    with around(started, finished):
        pass
    assert sent == [(None, []), (None, ["duration_seconds", "exception"])]


def test_payload_may_be_named_like_a_parameter() -> None:
    jobs: list[Any] = []
    started, finished = Signal(), Signal()
    started.connect(lambda _, **payload: jobs.append(payload), weak=False)
    with around(started, finished, "worker", started=1, finished=2):
        pass
    assert jobs == [{"started": 1, "finished": 2}]


@pytest.mark.parametrize("wrong", [None, "started", Signal])
def test_work_between_what_is_no_signal_is_refused(wrong: Any) -> None:
    for signals in ((wrong, Signal()), (Signal(), wrong)):
        with pytest.raises(TypeError, match="takes two signals"):
            around(*signals)
