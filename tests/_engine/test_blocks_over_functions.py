"""Blocks of a signal as decorators: they last as long as the body runs."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator
from collections.abc import Iterator
from typing import Any

import pytest

from signalpost import Signal


class Site:
    """A signal with one receiver, and a block of each kind."""

    def __init__(self) -> None:
        self.signal = Signal()
        self.received: list[Any] = []
        self.signal.connect(self.receive)

    def receive(self, sender: Any) -> None:
        self.received.append(sender)

    def receive_too(self, sender: Any) -> None:
        self.received.append(f"{sender}, too")

    def block(self, kind: str) -> Any:
        if kind == "connected_to":
            return self.signal.connected_to(self.receive_too)
        if kind == "disconnected_from":
            return self.signal.disconnected_from(self.receive)
        return getattr(self.signal, kind)()


DURING: dict[str, list[str]] = {
    "muted": [],
    "connected_to": ["a", "a, too"],
    "disconnected_from": [],
    "held": [],
}
"""Return the records of a send by "a" while a block is open."""
AFTER: dict[str, list[str]] = {**DURING, "held": ["a"]}
KINDS = pytest.mark.parametrize("kind", DURING)


@KINDS
def test_block_lasts_while_a_function_runs(kind: str) -> None:
    site = Site()

    @site.block(kind)  # type: ignore[untyped-decorator, unused-ignore]
    def work(number: int, *, factor: int) -> int:
        site.signal.send("a")
        assert site.received == DURING[kind]
        return number * factor

    assert work(2, factor=3) == 6
    assert site.received == AFTER[kind]
    site.signal.send("b")
    assert site.received == [*AFTER[kind], "b"]


@KINDS
def test_block_lasts_while_a_coroutine_runs(kind: str) -> None:
    site = Site()

    @site.block(kind)  # type: ignore[untyped-decorator, unused-ignore]
    async def work(number: int, *, factor: int) -> int:
        await asyncio.sleep(0)
        site.signal.send("a")
        assert site.received == DURING[kind]
        return number * factor

    assert asyncio.run(work(2, factor=3)) == 6
    assert site.received == AFTER[kind]
    site.signal.send("b")
    assert site.received == [*AFTER[kind], "b"]


@KINDS
def test_coroutine_that_is_not_awaited_opens_no_block(kind: str) -> None:
    site = Site()

    @site.block(kind)  # type: ignore[untyped-decorator, unused-ignore]
    async def work() -> None: ...

    coroutine = work()
    site.signal.send("a")
    assert site.received == ["a"]
    coroutine.close()
    site.signal.send("b")
    assert site.received == ["a", "b"]


@KINDS
def test_decorated_function_stays_what_it_was(kind: str) -> None:
    site = Site()

    async def work_later() -> None:
        """Work later."""

    def work() -> None:
        """Work."""

    later, now = site.block(kind)(work_later), site.block(kind)(work)
    assert inspect.iscoroutinefunction(later)
    assert not inspect.iscoroutinefunction(now)
    assert (later.__name__, later.__doc__) == ("work_later", "Work later.")
    assert (now.__name__, now.__doc__) == ("work", "Work.")


@KINDS
def test_block_lasts_while_a_coroutine_behind_something_runs(kind: str) -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        site.signal.send("a")
        assert site.received == DURING[kind]

    @functools.wraps(work)
    def wrapper() -> Any:
        return work()

    class Worker:
        async def __call__(self) -> None:
            await work()

    for function in (functools.partial(work), wrapper, Worker()):
        site = Site()
        asyncio.run(site.block(kind)(function)())
        assert site.received == AFTER[kind]


@KINDS
def test_block_lasts_while_a_method_runs(kind: str) -> None:
    site = Site()

    class Worker:
        @site.block(kind)  # type: ignore[untyped-decorator, unused-ignore]
        def work(self, number: int) -> Any:
            site.signal.send("a")
            assert site.received == DURING[kind]
            return self, number

    worker = Worker()
    assert worker.work(3) == (worker, 3)


@KINDS
def test_block_ends_when_a_function_raises(kind: str) -> None:
    site = Site()

    @site.block(kind)  # type: ignore[untyped-decorator, unused-ignore]
    def work() -> None:
        raise LookupError

    for _ in range(2):
        with pytest.raises(LookupError):
            work()
    site.signal.send("b")
    assert site.received == ["b"]


@KINDS
def test_block_ends_when_a_coroutine_is_cancelled(kind: str) -> None:
    async def cancel() -> None:
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    site = Site()

    @site.block(kind)  # type: ignore[untyped-decorator, unused-ignore]
    async def work() -> None:
        await asyncio.Event().wait()

    asyncio.run(cancel())
    site.signal.send("b")
    assert site.received == ["b"]


@KINDS
def test_decorated_function_may_be_called_again_and_within_itself(kind: str) -> None:
    site = Site()

    @site.block(kind)  # type: ignore[untyped-decorator, unused-ignore]
    def work(depth: int) -> None:
        if depth:
            work(depth - 1)
        else:
            site.signal.send("a")
            assert site.received == DURING[kind]

    for _ in range(2):
        work(2)
        assert site.received == AFTER[kind]
        site.received.clear()
    site.signal.send("b")
    assert site.received == ["b"]


@pytest.mark.parametrize("kind", ["muted", "held"])
def test_coroutine_within_a_block_changes_nothing_for_another_task(kind: str) -> None:
    async def work_beside() -> None:
        task = asyncio.create_task(work())
        await inside.wait()
        site.signal.send("beside")
        assert site.received == ["beside"]
        go_on.set()
        await task

    site = Site()
    inside, go_on = asyncio.Event(), asyncio.Event()

    @site.block(kind)  # type: ignore[untyped-decorator, unused-ignore]
    async def work() -> None:
        inside.set()
        await go_on.wait()

    asyncio.run(work_beside())


@KINDS
def test_decorated_coroutine_function_may_run_in_several_tasks(kind: str) -> None:
    async def work_twice() -> None:
        await asyncio.gather(work(1), work(3), work(2))
        site.received.clear()
        site.signal.send("b")

    site = Site()

    @site.block(kind)  # type: ignore[untyped-decorator, unused-ignore]
    async def work(turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        site.signal.send("a")

    asyncio.run(work_twice())
    assert site.received == ["b"]


def generate() -> Iterator[int]:
    yield 1


async def generate_later() -> AsyncIterator[int]:
    yield 1


class Generating:
    def __call__(self) -> Iterator[int]:
        yield 1


@functools.wraps(generate)
def call_generate() -> Iterator[int]:
    return generate()


@KINDS
@pytest.mark.parametrize(
    "function",
    [
        generate,
        generate_later,
        functools.partial(generate),
        functools.partial(generate_later),
        Generating().__call__,
        call_generate,
    ],
    ids=["generator", "async generator", "partial", "async partial", "method", "wraps"],
)
def test_generator_function_is_refused(kind: str, function: Any) -> None:
    with pytest.raises(TypeError, match="generator"):
        Site().block(kind)(function)


@KINDS
def test_block_may_be_opened_after_it_has_decorated(kind: str) -> None:
    site = Site()
    block = site.block(kind)

    @block  # type: ignore[untyped-decorator, unused-ignore]
    def work() -> None:
        site.signal.send("a")

    work()
    assert site.received == AFTER[kind]
    site.received.clear()
    with block:
        site.signal.send("a")
        assert site.received == DURING[kind]
    assert site.received == AFTER[kind]


def test_receiver_of_a_decorator_is_connected_only_while_the_body_runs() -> None:
    site = Site()

    @site.signal.connected_to(site.receive_too, sender="a")
    def work() -> int:
        return len(site.signal.connections)

    assert len(site.signal.connections) == 1
    assert work() == 2
    assert len(site.signal.connections) == 1


def test_connected_to_takes_a_priority() -> None:
    site = Site()
    with site.signal.connected_to(site.receive_too, priority=1):
        site.signal.send("a")
    assert site.received == ["a, too", "a"]
