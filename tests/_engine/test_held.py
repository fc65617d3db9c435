"""Sends that wait for the end of a block."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from signalpost import Namespace
from signalpost import Signal
from signalpost.errors import PayloadError


class Log:
    """A receiver that keeps what was sent."""

    def __init__(self) -> None:
        self.senders: list[Any] = []
        self.payloads: list[dict[str, Any]] = []

    def receive(self, sender: Any, **payload: Any) -> None:
        self.senders.append(sender)
        self.payloads.append(payload)

    async def receive_later(self, sender: Any, **payload: Any) -> None:
        await asyncio.sleep(0)
        self.receive(sender, **payload)


def fail(sender: Any, **payload: Any) -> None:
    raise LookupError("no such order")


def connected() -> tuple[Signal, Log]:
    signal, log = Signal(), Log()
    signal.connect(log.receive)
    return signal, log


def test_sends_go_out_in_order_when_the_block_ends() -> None:
    signal, log = connected()
    with signal.held():
        assert signal.send("a", order=1) == []
        assert signal.send("b", order=2) == []
        assert log.senders == []
    assert log.senders == ["a", "b"]
    assert log.payloads == [{"order": 1}, {"order": 2}]


def test_sends_go_out_as_they_were_called() -> None:
    signal, log = connected()
    signal.connect(fail, sender="robust", priority=1)
    with signal.held():
        assert signal.send_robust("robust") == []
        signal.send("plain")
    assert log.senders == ["robust", "plain"]


def test_sends_go_out_once() -> None:
    signal, log = connected()
    block = signal.held()
    for sender in ("a", "b"):
        with block:
            signal.send(sender)
    signal.send("c")
    assert log.senders == ["a", "b", "c"]


def test_sends_are_dropped_when_the_block_raises() -> None:
    def work() -> None:
        with signal.held():
            signal.send("a")
            raise LookupError

    signal, log = connected()
    with pytest.raises(LookupError):
        work()
    assert log.senders == []
    signal.send("b")
    assert log.senders == ["b"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_sends_are_dropped_when_the_block_is_interrupted(
    error: type[BaseException],
) -> None:
    def work() -> None:
        with signal.held():
            signal.send("a")
            raise error

    signal, log = connected()
    with pytest.raises(error):
        work()
    assert log.senders == []


def test_other_signals_do_not_wait() -> None:
    signal, _ = connected()
    other, log = connected()
    with signal.held():
        other.send("a")
        assert log.senders == ["a"]


def test_receivers_are_those_of_the_end() -> None:
    signal, log = Signal(), Log()
    gone = Log()
    signal.connect(gone.receive)
    with signal.held():
        signal.send("a")
        signal.disconnect(gone.receive)
        signal.connect(log.receive)
    assert (log.senders, gone.senders) == (["a"], [])


def test_waiting_send_does_not_use_up_the_one_call() -> None:
    signal, log = Signal(), Log()
    signal.connect(log.receive, once=True)
    with signal.held():
        signal.send("a")
        signal.send("b")
        assert len(signal.connections) == 1
    assert log.senders == ["a"]


def test_muted_send_does_not_wait() -> None:
    signal, log = connected()
    with signal.held():
        with signal.muted():
            signal.send("muted")
        signal.send("a")
    assert log.senders == ["a"]


def test_send_by_a_receiver_at_the_end_goes_out() -> None:
    def pass_on(sender: Any, **payload: Any) -> None:
        if sender == "a":
            signal.send("by a receiver")

    signal, log = connected()
    signal.connect(pass_on, priority=1)
    with signal.held():
        signal.send("a")
        signal.send("b")
    assert sorted(log.senders) == ["a", "b", "by a receiver"]


def test_what_a_receiver_raises_at_the_end_arrives() -> None:
    signal = Signal()
    signal.connect(fail)
    with pytest.raises(LookupError, match="no such order"), signal.held():
        signal.send("a")
    with signal.held():
        signal.send_robust("a")


def test_block_has_ended_when_a_receiver_raises() -> None:
    signal, log = connected()
    signal.connect(fail, once=True)
    with pytest.raises(LookupError), signal.held():
        signal.send("a")
    signal.send("b")
    assert log.senders == ["a", "b"]


def test_wrong_payload_is_refused_at_once() -> None:
    def receive(sender: Any, order: int) -> None:
        orders.append(order)

    signal, orders = Signal(payload=("order",)), list[int]()
    signal.connect(receive)
    with signal.held():
        for send in (signal.send, signal.send_robust):
            with pytest.raises(PayloadError, match="'total'"):
                send("a", order=1, total=2)
            with pytest.raises(PayloadError):
                send(sender="a")
        signal.send("a", order=7)
    assert orders == [7]


def test_payload_may_be_changed_by_its_sender_afterwards() -> None:
    signal, log = connected()
    payload: dict[str, Any] = {"order": 1}
    with signal.held():
        signal.send("a", **payload)
        payload["order"] = 2
    assert log.payloads == [{"order": 1}]


def test_wrapper_is_kept_with_its_send() -> None:
    def run(function: Any) -> Any:
        return lambda sender, **payload: asyncio.run(function(sender, **payload))

    signal, log = Signal(), Log()
    signal.connect(log.receive_later)
    with signal.held():
        signal.send("a", _async_wrapper=run)
    assert log.senders == ["a"]


# Blocks within blocks


def test_sends_of_an_inner_block_join_the_outer_one() -> None:
    signal, log = connected()
    with signal.held():
        signal.send("a")
        with signal.held():
            signal.send("b")
        assert log.senders == []
        signal.send("c")
    assert log.senders == ["a", "b", "c"]


def test_sends_of_an_inner_block_are_dropped_with_the_outer_one() -> None:
    def work() -> None:
        with signal.held():
            with signal.held():
                signal.send("a")
            raise LookupError

    signal, log = connected()
    with pytest.raises(LookupError):
        work()
    assert log.senders == []


def test_inner_block_that_raises_drops_its_own_sends_only() -> None:
    def work() -> None:
        with signal.held():
            signal.send("b")
            raise LookupError

    signal, log = connected()
    with signal.held():
        signal.send("a")
        with pytest.raises(LookupError):
            work()
        signal.send("c")
    assert log.senders == ["a", "c"]


def test_blocks_of_two_signals_are_two() -> None:
    one, of_one = connected()
    other, of_other = connected()
    with one.held():
        with other.held():
            one.send("a")
            other.send("b")
        assert (of_one.senders, of_other.senders) == ([], ["b"])
    assert of_one.senders == ["a"]


# Sends that are dropped


def test_drop_forgets_what_waits() -> None:
    signal, log = connected()
    with signal.held() as held:
        signal.send("a")
        held.drop()
        signal.send("b")
        assert log.senders == []
    assert log.senders == ["b"]


def test_drop_of_an_inner_block_leaves_the_outer_one() -> None:
    signal, log = connected()
    with signal.held():
        signal.send("a")
        with signal.held() as inner:
            signal.send("b")
            inner.drop()
    assert log.senders == ["a"]


def test_drop_after_the_end_does_nothing() -> None:
    signal, log = connected()
    with signal.held() as held:
        signal.send("a")
    held.drop()
    assert log.senders == ["a"]


def test_drop_by_a_receiver_at_the_end_is_no_error() -> None:
    def drop(sender: Any) -> None:
        held.drop()

    signal, log = connected()
    signal.connect(drop)
    with signal.held() as held:
        signal.send("a")
    assert log.senders == ["a"]


# Async


def test_async_sends_go_out_when_an_async_block_ends() -> None:
    async def work() -> None:
        async with signal.held():
            assert await signal.send_async("a") == []
            assert await signal.send_robust_async("b", order=7) == []
            await asyncio.sleep(0)
            assert log.senders == []

    signal, log = Signal(), Log()
    signal.connect(log.receive_later)
    asyncio.run(work())
    assert log.senders == ["a", "b"]
    assert log.payloads == [{}, {"order": 7}]


def test_plain_and_async_sends_go_out_in_order() -> None:
    async def work() -> None:
        async with signal.held():
            signal.send("a")
            await signal.send_async("b", _gather=asyncio.gather)
            signal.send_robust("c")
            await signal.send_robust_async("d")

    signal, log = connected()
    asyncio.run(work())
    assert log.senders == ["a", "b", "c", "d"]


def test_async_sends_are_dropped_when_an_async_block_raises() -> None:
    async def work() -> None:
        async with signal.held():
            await signal.send_async("a")
            signal.send("b")
            raise LookupError

    signal, log = connected()
    with pytest.raises(LookupError):
        asyncio.run(work())
    assert log.senders == []


def test_async_sends_are_dropped_when_an_async_block_is_cancelled() -> None:
    async def work() -> None:
        async with signal.held():
            await signal.send_async("a")
            await asyncio.Event().wait()

    async def cancel() -> None:
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    signal, log = connected()
    asyncio.run(cancel())
    assert log.senders == []


def test_async_send_within_a_plain_block_is_refused_at_once() -> None:
    async def work() -> None:
        with signal.held():
            signal.send("a")
            for send in (signal.send_async, signal.send_robust_async):
                with pytest.raises(RuntimeError, match="async with"):
                    await send("b")

    signal, log = connected()
    asyncio.run(work())
    assert log.senders == ["a"]


def test_decorated_coroutine_function_takes_async_sends() -> None:
    signal, log = Signal(), Log()
    signal.connect(log.receive_later)

    @signal.held()
    async def work() -> str:
        await signal.send_async("a")
        assert log.senders == []
        return "done"

    assert asyncio.run(work()) == "done"
    assert log.senders == ["a"]


# Contexts


def test_sends_of_another_thread_do_not_wait() -> None:
    signal, log = connected()
    with signal.held():
        signal.send("a")
        thread = threading.Thread(target=signal.send, args=("b",))
        thread.start()
        thread.join(30)
        assert log.senders == ["b"]
    assert log.senders == ["b", "a"]


def test_sends_of_another_task_do_not_wait() -> None:
    async def hold() -> None:
        async with signal.held():
            signal.send("a")
            inside.set()
            await go_on.wait()

    async def work() -> None:
        task = asyncio.create_task(hold())
        await inside.wait()
        signal.send("b")
        assert log.senders == ["b"]
        go_on.set()
        await task

    signal, log = connected()
    inside, go_on = asyncio.Event(), asyncio.Event()
    asyncio.run(work())
    assert log.senders == ["b", "a"]


def test_two_tasks_with_blocks_of_their_own_do_not_mix() -> None:
    async def hold(name: str, *, is_failing: bool) -> None:
        async with signal.held():
            signal.send(name)
            await asyncio.sleep(0)
            if is_failing:
                raise LookupError

    async def work() -> None:
        await asyncio.gather(
            hold("a", is_failing=False),
            hold("b", is_failing=True),
            hold("c", is_failing=False),
            return_exceptions=True,
        )

    signal, log = connected()
    asyncio.run(work())
    assert log.senders == ["a", "c"]


def test_one_block_in_many_threads_holds_the_sends_of_each() -> None:
    def work(number: int) -> None:
        with block:
            signal.send(number)
            inside.wait(30)
            if number % 2:
                raise LookupError

    def work_quietly(number: int) -> None:
        with contextlib.suppress(LookupError):
            work(number)

    signal, log = connected()
    block, inside = signal.held(), threading.Barrier(4)
    threads = [threading.Thread(target=work_quietly, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(log.senders) == [0, 2]


def test_send_in_a_copy_of_the_context_is_not_lost_after_the_block() -> None:
    signal, log = connected()
    with signal.held():
        context = contextvars.copy_context()
        signal.send("a")
    context.run(signal.send, "b")
    assert log.senders == ["a", "b"]


def test_task_that_outlives_the_block_sends_at_once_after_it() -> None:
    async def send_late() -> None:
        await over.wait()
        assert len(signal.send("late")) == 1
        assert len(await signal.send_async("later")) == 1

    async def work() -> None:
        async with signal.held():
            task = asyncio.create_task(send_late())
            await asyncio.sleep(0)
        over.set()
        await task

    signal, log = connected()
    over = asyncio.Event()
    asyncio.run(work())
    assert log.senders == ["late", "later"]


def test_generator_that_ends_in_another_order_leaves_nothing_held() -> None:
    def hold() -> Iterator[None]:
        with signal.held():
            yield

    signal, log = connected()
    one, other = hold(), hold()
    next(one)
    next(other)
    signal.send("a")
    for generator in (one, other):
        next(generator, None)
    signal.send("b")
    assert log.senders == ["a", "b"]


def test_nothing_is_held_where_no_one_is_connected() -> None:
    signal = Signal()
    with signal.held():
        assert signal.send("a") == []
        assert not signal.has_receivers_for("a")


def test_signal_of_a_namespace_is_held_for_receivers_of_the_namespace() -> None:
    def audit(sender: Any, signal: Any) -> None:
        received.append((sender, signal.name))

    namespace, received = Namespace(), list[Any]()
    opened = namespace.signal("opened")
    namespace.connect(audit)
    with opened.held():
        opened.send("a")
        assert received == []
    assert received == [("a", "opened")]
