from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import Any

import pytest

from signalpost import Signal


def ignore(sender: Any) -> None: ...


def connected_signal() -> Signal:
    signal = Signal()
    signal.connect(ignore)
    return signal


def test_muted_signal_calls_no_receiver() -> None:
    signal = connected_signal()
    with signal.muted():
        assert signal.is_muted
        assert signal.send() == []
        assert signal.send_robust() == []
        assert asyncio.run(signal.send_async()) == []
    assert not signal.is_muted
    assert signal.send() == [(ignore, None)]


def test_inner_block_does_not_end_the_outer() -> None:
    signal = connected_signal()
    with signal.muted():
        with signal.muted():
            assert not signal.send()
        assert signal.is_muted
        assert not signal.send()
    assert signal.send()


def test_blocks_may_end_in_the_order_in_which_they_began() -> None:
    signal = connected_signal()
    first, second = signal.muted(), signal.muted()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert signal.is_muted
    assert not signal.send()
    second.__exit__(None, None, None)
    assert not signal.is_muted
    assert signal.send()


def test_other_signals_are_not_muted() -> None:
    one, another = connected_signal(), connected_signal()
    with one.muted():
        assert not another.is_muted
        assert another.send()
        with another.muted():
            pass
        assert not one.send()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_block_ends_whatever_is_raised_in_it(error: type[BaseException]) -> None:
    signal = connected_signal()
    with pytest.raises(error), signal.muted():
        raise error
    assert signal.send()


def test_is_muted_is_read_only() -> None:
    signal: Any = Signal()
    with pytest.raises(AttributeError):
        signal.is_muted = True


def test_signal_that_has_sent_before_is_muted_each_time() -> None:
    signal = connected_signal()
    signal.send()
    with signal.muted():
        assert not signal.send()
    assert signal.send()
    with signal.muted():
        assert not signal.send()


def test_sender_is_muted_too() -> None:
    signal = Signal()
    sender = object()
    signal.connect(ignore, sender=sender)
    signal.connect(ignore, sender="app")
    assert signal.send(sender)
    with signal.muted():
        assert not signal.send(sender)
        assert not signal.send("app")
    assert signal.send(sender)
    assert signal.send("app")


def test_receivers_connected_within_a_block_are_muted() -> None:
    signal = Signal()
    with signal.muted():
        signal.connect(ignore)
        assert not signal.send()
    assert signal.send()


def test_other_thread_still_sends() -> None:
    signal = connected_signal()
    results: list[Any] = []
    with signal.muted():
        thread = threading.Thread(target=lambda: results.extend(signal.send()))
        thread.start()
        thread.join()
        assert not signal.send()
    assert results == [(ignore, None)]


def test_end_of_a_block_in_another_thread_does_not_unmute() -> None:
    def mute_briefly() -> None:
        with signal.muted():
            pass

    signal = connected_signal()
    with signal.muted():
        thread = threading.Thread(target=mute_briefly)
        thread.start()
        thread.join()
        assert signal.is_muted
        assert not signal.send()


def test_other_task_still_sends() -> None:
    async def mute(turns: asyncio.Barrier) -> None:
        with signal.muted():
            await turns.wait()
            await turns.wait()

    async def send(turns: asyncio.Barrier) -> list[Any]:
        await turns.wait()
        sent = await signal.send_async()
        await turns.wait()
        return sent

    async def both() -> list[Any]:
        turns = asyncio.Barrier(2)
        muting = asyncio.create_task(mute(turns))
        sent = await send(turns)
        await muting
        return sent

    signal = connected_signal()
    assert asyncio.run(both()) == [(ignore, None)]


def test_copied_context_is_muted_until_the_block_ends() -> None:
    signal = connected_signal()
    with signal.muted():
        copied = contextvars.copy_context()
        assert not copied.run(signal.send)
    assert copied.run(signal.send) == [(ignore, None)]


def test_task_started_in_a_block_is_muted_until_the_block_ends() -> None:
    async def send_twice(turns: asyncio.Barrier) -> tuple[list[Any], list[Any]]:
        muted = signal.send()
        await turns.wait()
        await turns.wait()
        return muted, signal.send()

    async def start_within_a_block() -> tuple[list[Any], list[Any]]:
        turns = asyncio.Barrier(2)
        with signal.muted():
            task = asyncio.create_task(send_twice(turns))
            await turns.wait()
        await turns.wait()
        return await task

    signal = connected_signal()
    assert asyncio.run(start_within_a_block()) == ([], [(ignore, None)])


def test_block_of_a_copied_context_stays_there() -> None:
    signal = connected_signal()
    inside = contextvars.copy_context()
    block = signal.muted()
    inside.run(block.__enter__)
    assert not inside.run(signal.send)
    assert signal.send()
    inside.run(block.__exit__, None, None, None)
    assert inside.run(signal.send)


def test_block_may_end_in_another_context() -> None:
    signal = connected_signal()
    began, ended = contextvars.copy_context(), contextvars.copy_context()
    block = signal.muted()
    began.run(block.__enter__)
    ended.run(block.__exit__, None, None, None)
    assert began.run(signal.send)
    assert ended.run(signal.send)
    assert signal.send()
