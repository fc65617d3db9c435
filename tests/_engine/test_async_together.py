"""Receivers that are awaited at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from collections.abc import Callable
from typing import Any

import pytest
import trio

from signalpost import Signal
from signalpost.errors import PayloadError


async def gather_in_nursery(*awaitables: Awaitable[Any]) -> list[Any]:
    """Await all at the same time under trio, as asyncio.gather does."""

    async def run(place: int, awaitable: Awaitable[Any]) -> None:
        results[place] = await awaitable

    results: list[Any] = [None] * len(awaitables)
    async with trio.open_nursery() as nursery:
        for place, awaitable in enumerate(awaitables):
            nursery.start_soon(run, place, awaitable)
    return results


def receive(sender: Any, **extra: Any) -> str:
    return "plain"


async def receive_later(sender: Any, **extra: Any) -> str:
    await asyncio.sleep(0)
    return "later"


async def fail_later(sender: Any, **extra: Any) -> None:
    await asyncio.sleep(0)
    raise LookupError


def in_a_coroutine(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """Make an async function out of a receiver that is not."""

    async def wrapped(sender: Any, **payload: Any) -> Any:
        await asyncio.sleep(0)
        return "wrapped", function(sender, **payload)

    return wrapped


def test_receivers_that_wait_for_each_other_get_there() -> None:
    async def first(sender: Any) -> str:
        one.set()
        await other.wait()
        return "first"

    async def second(sender: Any) -> str:
        other.set()
        await one.wait()
        return "second"

    async def send() -> list[Any]:
        sent = signal.send_async(_gather=asyncio.gather)
        return await asyncio.wait_for(sent, timeout=30)

    signal = Signal()
    one, other = asyncio.Event(), asyncio.Event()
    signal.connect(first)
    signal.connect(second)
    assert asyncio.run(send()) == [(first, "first"), (second, "second")]


def test_receivers_that_wait_for_each_other_get_there_under_trio() -> None:
    async def first(sender: Any) -> str:
        one.set()
        await other.wait()
        return "first"

    async def second(sender: Any) -> str:
        other.set()
        await one.wait()
        return "second"

    async def send() -> list[Any]:
        with trio.fail_after(30):
            return await signal.send_async("app", _gather=gather_in_nursery)

    signal = Signal()
    one, other = trio.Event(), trio.Event()
    signal.connect(first)
    signal.connect(second)
    assert trio.run(send) == [(first, "first"), (second, "second")]


def test_robust_receivers_run_together_under_trio() -> None:
    async def fail(sender: Any) -> None:
        other.set()
        raise LookupError

    async def wait(sender: Any) -> str:
        await other.wait()
        return "waited"

    async def send() -> list[Any]:
        with trio.fail_after(30):
            return await signal.send_robust_async("app", _gather=gather_in_nursery)

    signal = Signal()
    other = trio.Event()
    signal.connect(wait)
    signal.connect(fail)
    waited, failed = trio.run(send)
    assert waited.value == "waited"
    assert isinstance(failed.exception, LookupError)


def test_results_are_in_connection_order_for_any_first_receiver() -> None:
    async def slow(sender: Any) -> str:
        await other.wait()
        done.append("slow")
        return "slow"

    async def quick(sender: Any) -> str:
        other.set()
        done.append("quick")
        return "quick"

    async def send() -> list[Any]:
        return await signal.send_async(_gather=asyncio.gather)

    signal = Signal()
    other = asyncio.Event()
    done: list[str] = []
    signal.connect(slow)
    signal.connect(quick)
    assert asyncio.run(send()) == [(slow, "slow"), (quick, "quick")]
    assert done == ["quick", "slow"]


def test_plain_receivers_are_called_among_the_others() -> None:
    signal = Signal()
    signal.connect(receive_later)
    signal.connect(receive)
    sent = asyncio.run(signal.send_async("app", _gather=asyncio.gather, door=1))
    assert sent == [(receive_later, "later"), (receive, "plain")]


def test_plain_receivers_may_be_wrapped() -> None:
    signal = Signal()
    signal.connect(receive)
    signal.connect(receive_later)
    sent = asyncio.run(
        signal.send_async(_gather=asyncio.gather, _sync_wrapper=in_a_coroutine)
    )
    assert sent == [(receive, ("wrapped", "plain")), (receive_later, "later")]


def test_wrapped_plain_receivers_run_together_robustly() -> None:
    signal = Signal()
    signal.connect(receive)
    signal.connect(fail_later)
    received, failed = asyncio.run(
        signal.send_robust_async(_gather=asyncio.gather, _sync_wrapper=in_a_coroutine)
    )
    assert received.value == ("wrapped", "plain")
    assert isinstance(failed.exception, LookupError)


def test_failure_of_one_leaves_the_others_alone_robustly() -> None:
    signal = Signal()
    signal.connect(fail_later)
    signal.connect(receive_later)
    outcomes = asyncio.run(signal.send_robust_async(_gather=asyncio.gather))
    assert [outcome.failed for outcome in outcomes] == [True, False]
    assert [outcome.receiver for outcome in outcomes] == [fail_later, receive_later]
    assert outcomes[1].value == "later"


def test_exception_goes_through_with_a_note() -> None:
    signal = Signal()
    signal.connect(receive_later)
    signal.connect(fail_later)
    with pytest.raises(LookupError) as raised:
        asyncio.run(signal.send_async(_gather=asyncio.gather))
    assert ["fail_later" in note for note in raised.value.__notes__] == [True]


@pytest.mark.parametrize("is_robust", [False, True])
def test_cancellation_goes_through(is_robust: bool) -> None:
    async def wait(sender: Any) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(sender)
            raise

    async def send() -> None:
        way = signal.send_robust_async if is_robust else signal.send_async
        task = asyncio.ensure_future(way("app", _gather=asyncio.gather))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    signal = Signal()
    begun = asyncio.Event()
    cancelled: list[Any] = []
    signal.connect(wait)
    asyncio.run(send())
    assert cancelled == ["app"]


@pytest.mark.parametrize("is_robust", [False, True])
def test_cancellation_goes_through_under_trio(is_robust: bool) -> None:
    async def wait(sender: Any) -> None:
        begun.append(sender)
        scope.cancel()
        await trio.sleep_forever()

    async def send() -> None:
        way = signal.send_robust_async if is_robust else signal.send_async
        with scope:
            await way("app", _gather=gather_in_nursery)

    signal = Signal()
    scope = trio.CancelScope()
    begun: list[Any] = []
    signal.connect(wait)
    trio.run(send)
    assert begun == ["app"]
    assert scope.cancelled_caught


def test_nothing_is_awaited_without_receivers() -> None:
    async def send() -> list[Any]:
        return await Signal().send_async("app", _gather=asyncio.gather)

    assert asyncio.run(send()) == []


def test_receivers_are_those_of_the_beginning() -> None:
    async def connect(sender: Any) -> None:
        signal.connect(receive)

    async def send() -> list[Any]:
        return await signal.send_async(_gather=asyncio.gather)

    signal = Signal()
    signal.connect(connect)
    assert asyncio.run(send()) == [(connect, None)]
    assert len(asyncio.run(send())) == 2


def test_receivers_start_in_order() -> None:
    def starting(place: int) -> Any:
        async def receiver(sender: Any) -> None:
            started.append(place)
            await asyncio.sleep(0)

        return receiver

    signal = Signal()
    started: list[int] = []
    for place in (3, 1, 2):
        signal.connect(starting(place), weak=False, priority=-place)
    asyncio.run(signal.send_async(_gather=asyncio.gather))
    assert started == [1, 2, 3]


def test_misfit_payload_is_refused_before_anything_starts() -> None:
    async def send() -> None:
        await signal.send_async(_gather=asyncio.gather, window=1)

    signal = Signal(payload=("door",))
    started: list[Any] = []
    signal.connect(started.append, weak=False)
    with pytest.raises(PayloadError):
        asyncio.run(send())
    assert started == []
