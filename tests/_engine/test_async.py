from __future__ import annotations

import asyncio
import functools
import inspect
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from collections.abc import Awaitable
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel

import signalpost
from signalpost import Signal
from signalpost.errors import AsyncReceiverError
from signalpost.errors import ReceiverError

Receiver = Callable[..., Any]


def passes_on(function: Receiver) -> Receiver:
    """Wrap a receiver as decorators do: a plain function around any other."""

    @functools.wraps(function)
    def wrapper(*args: Any, **payload: Any) -> Any:
        return function(*args, **payload)

    return wrapper


async def received(sender: Any, **extra: Any) -> str:
    return "received"


async def received_after(first: str, sender: Any, **extra: Any) -> str:
    return "received"


async def generate(sender: Any, **extra: Any) -> AsyncIterator[str]:
    yield "never read"


def ignore(sender: Any, **extra: Any) -> None: ...


class Owner:
    async def receive(self, sender: Any, **extra: Any) -> str:
        return "received"

    @classmethod
    async def receive_by_class(cls, sender: Any, **extra: Any) -> str:
        return "received"

    @staticmethod
    async def receive_by_name(sender: Any, **extra: Any) -> str:
        return "received"

    @passes_on
    async def receive_wrapped(self, sender: Any, **extra: Any) -> str:
        return "received"

    async def generate(self, sender: Any, **extra: Any) -> AsyncIterator[str]:
        yield "never read"


class AsyncCallable:
    def __init__(self, sender: Any = None) -> None: ...

    async def __call__(self, sender: Any, **extra: Any) -> str:
        return "received"


class GeneratingCallable:
    async def __call__(self, sender: Any, **extra: Any) -> AsyncIterator[str]:
        yield "never read"


class WrappedCallable:
    @passes_on
    async def __call__(self, sender: Any, **extra: Any) -> str:
        return "received"


OWNER = Owner()

ASYNC_RECEIVERS: dict[str, Receiver] = {
    "function": received,
    "method": OWNER.receive,
    "class method": OWNER.receive_by_class,
    "static method": OWNER.receive_by_name,
    "wrapped method": OWNER.receive_wrapped,
    "callable": AsyncCallable(),
    "wrapped callable": WrappedCallable(),
    "wrapped function": passes_on(received),
    "twice wrapped function": passes_on(passes_on(received)),
    "wrapped callable object": passes_on(AsyncCallable()),
    "partial": functools.partial(received_after, "first"),
    "partial of a partial": functools.partial(
        functools.partial(received_after), "first"
    ),
    "partial of a method": functools.partial(OWNER.receive),
    "partial of a callable": functools.partial(AsyncCallable()),
    "partial of a wrapped function": functools.partial(passes_on(received)),
    "wrapped partial": passes_on(functools.partial(received)),
}

GENERATING_RECEIVERS: dict[str, Receiver] = {
    "function": generate,
    "method": OWNER.generate,
    "callable": GeneratingCallable(),
    "wrapped function": passes_on(generate),
    "partial": functools.partial(generate),
}

every_async_receiver = pytest.mark.parametrize(
    "receiver", ASYNC_RECEIVERS.values(), ids=ASYNC_RECEIVERS
)


@every_async_receiver
def test_send_refuses_an_async_receiver_before_calling_anyone(
    receiver: Receiver,
) -> None:
    signal = Signal()
    calls: list[Any] = []
    signal.connect(calls.append, weak=False)
    signal.connect(receiver)
    with pytest.raises(AsyncReceiverError) as refusal:
        signal.send("app")
    assert not calls
    assert refusal.value.signal is signal
    assert refusal.value.receiver == receiver


@every_async_receiver
def test_send_async_awaits_an_async_receiver(receiver: Receiver) -> None:
    signal = Signal()
    signal.connect(receiver)
    assert asyncio.run(signal.send_async("app", x=1)) == [(receiver, "received")]


@every_async_receiver
def test_send_runs_an_async_receiver_in_its_wrapper(receiver: Receiver) -> None:
    def run(function: Receiver) -> Receiver:
        return lambda sender, **payload: asyncio.run(function(sender, **payload))

    signal = Signal()
    signal.connect(ignore)
    signal.connect(receiver)
    assert signal.send("app", _async_wrapper=run, x=1) == [
        (ignore, None),
        (receiver, "received"),
    ]


@every_async_receiver
def test_send_robust_counts_an_async_receiver_as_failed(receiver: Receiver) -> None:
    signal = Signal()
    signal.connect(receiver)
    signal.connect(ignore)
    failed, passed = signal.send_robust("app")
    assert failed.receiver == receiver
    assert isinstance(failed.exception, AsyncReceiverError)
    assert failed.exception.receiver == receiver
    assert passed.receiver is ignore
    assert not passed.failed


@pytest.mark.parametrize(
    "receiver", GENERATING_RECEIVERS.values(), ids=GENERATING_RECEIVERS
)
def test_async_generator_is_refused_at_connect(receiver: Receiver) -> None:
    signal = Signal()
    with pytest.raises(ReceiverError, match="async generator") as refusal:
        signal.connect(receiver)
    assert refusal.value.receiver == receiver
    assert not signal.receivers


def test_class_of_async_callables_is_a_plain_receiver() -> None:
    signal = Signal()
    signal.connect(AsyncCallable)
    ((_, made),) = signal.send("app")
    assert isinstance(made, AsyncCallable)


def test_async_wrapper_is_not_asked_for_a_plain_receiver() -> None:
    def refuse(function: Receiver) -> Receiver:
        raise LookupError

    signal = Signal()
    signal.connect(ignore)
    assert signal.send("app", _async_wrapper=refuse) == [(ignore, None)]


def test_send_refuses_only_those_it_would_call() -> None:
    signal = Signal()
    signal.connect(received, sender="app")
    signal.connect(ignore)
    assert signal.send("api") == [(ignore, None)]
    signal.disconnect(received)
    assert signal.send("app") == [(ignore, None)]


def test_dead_async_receiver_is_not_refused() -> None:
    signal = Signal()
    owner = Owner()
    signal.connect(owner.receive)
    del owner
    assert signal.send("app") == []


def test_refusal_names_signal_and_receiver() -> None:
    signal = signalpost.NamedSignal("order-placed")
    signal.connect(received)
    with pytest.raises(AsyncReceiverError, match=r"received.*order-placed.*send_async"):
        signal.send()


def test_send_async_calls_plain_receivers_in_order_without_a_wrapper() -> None:
    async def slow(sender: Any) -> None:
        calls.append("slow begins")
        await asyncio.sleep(0)
        calls.append("slow ends")

    def plain(sender: Any) -> None:
        calls.append("plain")

    async def last(sender: Any) -> None:
        calls.append("last")

    signal = Signal()
    calls: list[str] = []
    for receiver in (slow, plain, last):
        signal.connect(receiver)
    asyncio.run(signal.send_async())
    assert calls == ["slow begins", "slow ends", "plain", "last"]


def test_sync_wrapper_gets_the_plain_receivers_only() -> None:
    def wrap(function: Receiver) -> Callable[..., Awaitable[Any]]:
        async def wrapped(sender: Any, **payload: Any) -> Any:
            return "wrapped", function(sender, **payload)

        return wrapped

    signal = Signal()
    signal.connect(received)
    signal.connect(ignore)
    assert asyncio.run(signal.send_async(_sync_wrapper=wrap)) == [
        (received, "received"),
        (ignore, ("wrapped", None)),
    ]


def test_send_async_without_receivers_returns_nothing() -> None:
    assert asyncio.run(Signal().send_async("app", x=1)) == []


def test_send_async_skips_who_is_disconnected_before_its_turn() -> None:
    async def first(sender: Any, **extra: Any) -> None:
        signal.disconnect(received)
        signal.connect(ignore)

    signal = Signal()
    signal.connect(first)
    signal.connect(received)
    assert asyncio.run(signal.send_async()) == [(first, None)]


def test_send_async_skips_who_is_dead_before_its_turn() -> None:
    async def first(sender: Any, **extra: Any) -> None:
        owners.clear()

    signal = Signal()
    owners = [Owner()]
    signal.connect(first)
    signal.connect(owners[0].receive)
    assert asyncio.run(signal.send_async()) == [(first, None)]


def test_send_async_lets_an_exception_through_with_a_note() -> None:
    async def fail(sender: Any) -> None:
        raise LookupError

    signal = signalpost.NamedSignal("order-placed")
    signal.connect(fail)
    signal.connect(received)
    with pytest.raises(LookupError) as failure:
        asyncio.run(signal.send_async())
    (note,) = failure.value.__notes__
    assert "order-placed" in note
    assert "fail" in note


def test_cancelling_a_send_cancels_its_receiver() -> None:
    async def wait(sender: Any) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            calls.append("cancelled")
            raise

    async def cancel() -> None:
        task = asyncio.ensure_future(signal.send_async())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    signal = Signal()
    calls: list[str] = []
    signal.connect(wait)
    signal.connect(received)
    asyncio.run(cancel())
    assert calls == ["cancelled"]


def test_send_async_runs_under_trio() -> None:
    async def receiver(sender: Any) -> str:
        await trio.lowlevel.checkpoint()
        return "under trio"

    signal = Signal()
    signal.connect(receiver)
    signal.connect(ignore)
    assert trio.run(signal.send_async) == [(receiver, "under trio"), (ignore, None)]


def test_send_async_is_cancelled_by_trio() -> None:
    async def cancelled() -> bool:
        with trio.move_on_after(0) as scope:
            await signal.send_async()
        return scope.cancelled_caught

    async def wait(sender: Any) -> None:
        await trio.sleep_forever()

    signal = Signal()
    signal.connect(wait)
    assert trio.run(cancelled)


def test_async_receiver_runs_in_the_context_of_the_sender() -> None:
    async def receiver(sender: Any) -> Any:
        return asyncio.current_task()

    async def send() -> bool:
        ((_, task),) = await signal.send_async()
        return task is asyncio.current_task()

    signal = Signal()
    signal.connect(receiver)
    assert asyncio.run(send())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the mark came with 3.12")
def test_function_marked_as_coroutine_function_is_async() -> None:
    def receiver(sender: Any) -> Any:
        return received(sender)

    mark: Any = inspect.markcoroutinefunction  # type: ignore[attr-defined,unused-ignore]  # not in 3.11
    mark(receiver)
    signal = Signal()
    signal.connect(receiver)
    with pytest.raises(AsyncReceiverError):
        signal.send()
    assert asyncio.run(signal.send_async()) == [(receiver, "received")]


def test_importing_signalpost_imports_no_asyncio() -> None:
    program = "import sys, signalpost; print('asyncio' in sys.modules)"
    source = str(Path(signalpost.__file__).parents[1])
    environ = {**os.environ, "PYTHONPATH": source}
    environ.pop("PYTHONDEVMODE", None)
    run = subprocess.run(
        [sys.executable, "-c", program],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert run.stdout.strip() == "False"


class Wrapping:
    """A decorator made of a class, as caches and retries are."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self._function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)


@pytest.mark.parametrize("wrap", [Wrapping, functools.cache])
def test_object_that_wraps_a_coroutine_function_is_async(
    wrap: Callable[[Callable[..., Any]], Callable[..., Any]],
) -> None:
    async def receive(sender: Any) -> None: ...

    signal = Signal()
    wrapper = wrap(receive)
    signal.connect(wrapper)
    with pytest.raises(AsyncReceiverError):
        signal.send()
