"""One `around` for every kind of function, and for many at once."""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from signalpost import around
from signalpost import Namespace
from signalpost import Signal
from signalpost.errors import PayloadError

PATIENCE_SECONDS = 30.0
THREADS = 8


class Jobs:
    """Two signals, and the order of what they sent and what the work did."""

    def __init__(self) -> None:
        self.started, self.finished = Signal(), Signal()
        self.course: list[str] = []
        self.durations: list[float] = []
        self.exceptions: list[BaseException | None] = []
        self.started.connect(self.start)
        self.finished.connect(self.finish)

    def start(self, sender: Any) -> None:
        self.course.append("started")

    def finish(
        self, sender: Any, duration_seconds: float, exception: BaseException | None
    ) -> None:
        self.course.append("finished")
        self.durations.append(duration_seconds)
        self.exceptions.append(exception)

    def around(self) -> around:
        return around(self.started, self.finished, "worker")

    async def work(self, number: int = 0) -> int:
        await asyncio.sleep(0)
        self.course.append("worked")
        return number


class Worker:
    """A callable object whose call is a coroutine."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    async def __call__(self, number: int = 0) -> int:
        return await self._jobs.work(number)


def wrapped(function: Any) -> Any:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return call


ASYNC: dict[str, Any] = {
    "method": lambda jobs: jobs.work,
    "wrapper": lambda jobs: wrapped(jobs.work),
    "wrapper of a wrapper": lambda jobs: wrapped(wrapped(jobs.work)),
    "partial": lambda jobs: functools.partial(jobs.work),
    "partial of a wrapper": lambda jobs: functools.partial(wrapped(jobs.work)),
    "callable object": Worker,
    "wrapper of an object": lambda jobs: wrapped(Worker(jobs)),
    "partial of an object": lambda jobs: functools.partial(Worker(jobs)),
}


@pytest.mark.parametrize("kind", ASYNC)
def test_finished_is_sent_after_the_coroutine_has_run(kind: str) -> None:
    jobs = Jobs()
    work = jobs.around()(ASYNC[kind](jobs))
    assert jobs.course == []
    assert asyncio.run(work(3)) == 3
    assert jobs.course == ["started", "worked", "finished"]


@pytest.mark.parametrize("kind", ASYNC)
def test_decorated_coroutine_function_is_one(kind: str) -> None:
    jobs = Jobs()
    assert inspect.iscoroutinefunction(jobs.around()(ASYNC[kind](jobs)))


def test_plain_callable_object_is_between_the_signals() -> None:
    class Plain:
        def __call__(self, number: int) -> int:
            jobs.course.append("worked")
            return number

    jobs = Jobs()
    assert jobs.around()(Plain())(3) == 3
    assert jobs.course == ["started", "worked", "finished"]


async def generate() -> AsyncIterator[int]:
    yield 1


class Generating:
    async def __call__(self) -> AsyncIterator[int]:
        yield 1


class GeneratingPlainly:
    def __call__(self) -> Any:
        yield 1


@pytest.mark.parametrize(
    "function",
    [
        wrapped(generate),
        functools.partial(wrapped(generate)),
        Generating(),
        GeneratingPlainly(),
    ],
    ids=["wrapper", "partial of a wrapper", "async object", "object"],
)
def test_generator_behind_something_is_refused(function: Any) -> None:
    with pytest.raises(TypeError, match="generator"):
        Jobs().around()(function)


def test_one_block_may_be_entered_by_many_threads() -> None:
    def work(number: int) -> None:
        with block:
            inside.wait(PATIENCE_SECONDS)
            for turn in turns[: number + 1]:
                turn.wait(PATIENCE_SECONDS)
        left.append(number)
        if number + 1 < THREADS:
            turns[number + 1].set()

    jobs = Jobs()
    block = jobs.around()
    inside = threading.Barrier(THREADS)
    turns = [threading.Event() for _ in range(THREADS)]
    turns[0].set()
    left: list[int] = []
    threads = [threading.Thread(target=work, args=(one,)) for one in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert left == [*range(THREADS)]
    # All began before the first ended, so the one that ends last took longest.
    assert jobs.course == ["started"] * THREADS + ["finished"] * THREADS
    assert all(seconds >= 0 for seconds in jobs.durations)
    assert jobs.exceptions == [None] * THREADS


def test_one_block_may_be_entered_by_many_tasks() -> None:
    async def work(number: int) -> None:
        async with block:
            order.append(number)
            if number == 0:
                await late.wait()
            else:
                await asyncio.sleep(0.02)
                late.set()

    async def work_twice() -> None:
        await asyncio.gather(work(0), work(1))

    jobs, order, late = Jobs(), list[int](), asyncio.Event()
    block = jobs.around()
    asyncio.run(work_twice())
    assert order == [0, 1]
    assert jobs.course == ["started", "started", "finished", "finished"]
    assert min(jobs.durations) >= 0.015


def test_tasks_in_one_block_have_durations_of_their_own() -> None:
    async def long() -> None:
        async with block:
            entered.set()
            await asyncio.sleep(0.03)

    async def short() -> None:
        await entered.wait()
        await asyncio.sleep(0.02)
        began = time.perf_counter()
        async with block:
            pass
        own.append(time.perf_counter() - began)

    async def work() -> None:
        await asyncio.gather(long(), short())

    jobs, entered, own = Jobs(), asyncio.Event(), list[float]()
    block = jobs.around()
    asyncio.run(work())
    brief, lasting = jobs.durations
    assert brief <= own[0]
    assert lasting >= 0.025


def test_block_may_be_left_in_another_context_than_it_was_entered_in() -> None:
    async def fixture() -> AsyncIterator[None]:
        async with block:
            yield

    async def step(generator: AsyncIterator[None]) -> None:
        await anext(generator, None)

    async def use() -> None:
        generator = fixture()
        await asyncio.create_task(step(generator))
        await asyncio.create_task(step(generator))

    jobs = Jobs()
    block = jobs.around()
    asyncio.run(use())
    assert jobs.course == ["started", "finished"]


def test_one_block_may_be_within_itself_in_many_threads() -> None:
    def work() -> None:
        with block, block:
            inside.wait(PATIENCE_SECONDS)

    jobs = Jobs()
    block = jobs.around()
    inside = threading.Barrier(2)
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert sorted(jobs.course) == ["finished"] * 4 + ["started"] * 4


ADDED = ("duration_seconds", "exception")


@pytest.mark.parametrize(
    ("started", "finished"),
    [
        ((), ("job", *ADDED)),
        (("job", "user"), ("job", *ADDED)),
        (("job",), ("job",)),
        (("job",), ("job", "exception")),
        (("job",), ADDED),
        (("job",), ("job", "user", *ADDED)),
        (None, ("job",)),
        ((), None),
    ],
    ids=str,
)
def test_signals_that_do_not_fit_are_refused_before_the_work(
    started: Any, finished: Any
) -> None:
    signals = Signal(payload=started), Signal(payload=finished)
    with pytest.raises(PayloadError):
        around(*signals, "worker", job=7)


@pytest.mark.parametrize(
    ("started", "finished"),
    [(("job",), ("job", *ADDED)), (None, ("job", *ADDED)), (("job",), None)],
    ids=str,
)
def test_signals_that_fit_are_accepted(started: Any, finished: Any) -> None:
    with around(Signal(payload=started), Signal(payload=finished), job=7):
        pass


def test_payload_declared_too_late_does_not_replace_the_works_exception() -> None:
    namespace, error = Namespace(), LookupError("the work failed")
    finished = namespace.signal("finished")
    finished.connect(lambda sender, **extra: None, weak=False)
    block = around(namespace.signal("started"), finished, job=7)
    namespace.signal("finished", payload=("job", "other"))
    with pytest.raises(LookupError) as raised, block:
        raise error
    assert raised.value is error


@pytest.mark.parametrize("options", [{}, {"strict": True}, {"once": True}], ids=str)
def test_receiver_that_raises_does_not_replace_the_works_exception(
    options: dict[str, Any],
) -> None:
    def fail(sender: Any, **payload: Any) -> None:
        raise ValueError("of the receiver")

    jobs, error = Jobs(), LookupError("the work failed")
    jobs.finished.connect(fail, priority=1, **options)
    with pytest.raises(LookupError) as raised, jobs.around():
        raise error
    assert raised.value is error


@pytest.mark.parametrize("options", [{}, {"strict": True}], ids=str)
def test_receiver_that_raises_does_not_replace_that_of_async_work(
    options: dict[str, Any],
) -> None:
    async def fail(sender: Any, **payload: Any) -> None:
        raise ValueError("of the receiver")

    async def work() -> None:
        async with jobs.around():
            raise error

    jobs, error = Jobs(), LookupError("the work failed")
    jobs.finished.connect(fail, priority=1, **options)
    with pytest.raises(LookupError) as raised:
        asyncio.run(work())
    assert raised.value is error
