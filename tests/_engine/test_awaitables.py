"""Everything that a receiver may return for `send_async` to await."""

from __future__ import annotations

import asyncio
import inspect
import sys
import types
from collections.abc import Callable
from collections.abc import Generator
from typing import Any

import pytest

from signalpost import Signal
from signalpost.errors import AsyncReceiverError

PATIENCE_SECONDS = 30


class Later:
    """An awaitable that is no coroutine."""

    def __init__(self, value: Any, error: Exception | None = None) -> None:
        self._value = value
        self._error = error

    def __await__(self) -> Generator[Any, None, Any]:
        yield from asyncio.sleep(0).__await__()
        if self._error is not None:
            raise self._error
        return self._value


async def answer(value: Any = "done") -> Any:
    await asyncio.sleep(0)
    return value


@types.coroutine
def old_style() -> Generator[Any, None, str]:
    yield from asyncio.sleep(0).__await__()
    return "done"


def return_coroutine(sender: Any) -> Any:
    return answer()


def return_task(sender: Any) -> Any:
    return asyncio.ensure_future(answer())


def return_future(sender: Any) -> Any:
    future = asyncio.get_running_loop().create_future()
    future.set_result("done")
    return future


def return_gathering(sender: Any) -> Any:
    return asyncio.wait_for(answer(), 10)


def return_object(sender: Any) -> Any:
    return Later("done")


def return_old_style(sender: Any) -> Any:
    return old_style()


class Caller:
    def __call__(self, sender: Any) -> Any:
        return answer()

    def receive(self, sender: Any) -> Any:
        return answer()


CALLER = Caller()
RECEIVERS: list[Callable[..., Any]] = [
    return_coroutine,
    return_task,
    return_future,
    return_gathering,
    return_object,
    return_old_style,
    CALLER,
    CALLER.receive,
]
TOGETHER = pytest.mark.parametrize(
    "together", [None, asyncio.gather], ids=["in turn", "at once"]
)


@TOGETHER
@pytest.mark.parametrize("receiver", RECEIVERS)
def test_awaitable_is_awaited(receiver: Any, together: Any) -> None:
    signal = Signal()
    signal.connect(receiver)
    sent = asyncio.run(send(signal, together))
    assert sent == [(receiver, "done")]


@TOGETHER
@pytest.mark.parametrize("receiver", RECEIVERS)
def test_awaitable_is_awaited_by_send_robust_async(
    receiver: Any, together: Any
) -> None:
    async def send_robust() -> Any:
        return await signal.send_robust_async("app", _gather=together)

    signal = Signal()
    signal.connect(receiver)
    (outcome,) = asyncio.run(send_robust())
    assert (outcome.value, outcome.exception) == ("done", None)


async def send(signal: Signal, together: Any = None, **payload: Any) -> Any:
    return await signal.send_async("app", _gather=together, **payload)


@TOGETHER
def test_awaitable_of_a_declared_signal_is_awaited(together: Any) -> None:
    def receiver(sender: Any, order: Any) -> Any:
        return answer(order)

    signal = Signal(payload=("order", "total"))
    signal.connect(receiver, sender="app", once=True)
    sent = asyncio.run(send(signal, together, order=7, total=1))
    assert sent == [(receiver, 7)]


@TOGETHER
def test_what_an_awaitable_raises_arrives(together: Any) -> None:
    def receiver(sender: Any) -> Any:
        return Later(None, LookupError("no such order"))

    signal = Signal()
    signal.connect(receiver)
    with pytest.raises(LookupError, match="no such order"):
        asyncio.run(send(signal, together))


@TOGETHER
def test_what_an_awaitable_raises_is_an_outcome(together: Any) -> None:
    async def send_robust() -> Any:
        return await signal.send_robust_async(_gather=together)

    def receiver(sender: Any) -> Any:
        return Later(None, error)

    error, signal = LookupError("no such order"), Signal()
    signal.connect(receiver)
    signal.connect(return_coroutine)
    failed, passed = asyncio.run(send_robust())
    assert failed.exception is error
    assert passed.value == "done"


def test_receivers_wait_for_the_awaitable_before_them() -> None:
    def first(sender: Any) -> Any:
        async def work() -> None:
            await asyncio.sleep(0)
            course.append("first")

        return work()

    def second(sender: Any) -> None:
        course.append("second")

    signal, course = Signal(), list[str]()
    signal.connect(first)
    signal.connect(second)
    asyncio.run(send(signal))
    assert course == ["first", "second"]


@pytest.mark.parametrize("value", [None, 7, "text", [1], iter(()), (x for x in "ab")])
def test_value_that_is_no_awaitable_is_returned(value: Any) -> None:
    def receiver(sender: Any) -> Any:
        return value

    signal = Signal()
    signal.connect(receiver)
    ((_, returned),) = asyncio.run(send(signal))
    assert returned is value


def test_awaitable_that_a_coroutine_returns_is_returned() -> None:
    async def receiver(sender: Any) -> Any:
        return future

    signal, future = Signal(), Later("inner")
    signal.connect(receiver)
    ((_, returned),) = asyncio.run(send(signal))
    assert returned is future


def test_cancellation_reaches_an_awaitable() -> None:
    async def cancel() -> None:
        task = asyncio.ensure_future(signal.send_async())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    def receiver(sender: Any) -> Any:
        return asyncio.sleep(PATIENCE_SECONDS)

    signal = Signal()
    signal.connect(receiver)
    asyncio.run(cancel())


def mark_by_asgiref(function: Any) -> Any:
    sync = pytest.importorskip("asgiref.sync")
    return sync.markcoroutinefunction(function)


def mark_by_inspect(function: Any) -> Any:
    if sys.version_info < (3, 12):
        pytest.skip("Python 3.12 has inspect.markcoroutinefunction first")
    return inspect.markcoroutinefunction(function)


MARKS = pytest.mark.parametrize("mark", [mark_by_asgiref, mark_by_inspect])


@MARKS
def test_marked_function_is_async(mark: Any) -> None:
    def receiver(sender: Any) -> Any:
        calls.append(sender)
        return answer()

    signal, calls = Signal(), list[Any]()
    marked = mark(receiver)
    signal.connect(marked)
    with pytest.raises(AsyncReceiverError):
        signal.send("app")
    assert calls == []
    assert asyncio.run(send(signal)) == [(marked, "done")]


@MARKS
def test_marked_object_is_async(mark: Any) -> None:
    signal, marked = Signal(), mark(Caller())
    signal.connect(marked)
    with pytest.raises(AsyncReceiverError):
        signal.send("app")
    assert asyncio.run(send(signal)) == [(marked, "done")]


@MARKS
def test_marked_method_is_async(mark: Any) -> None:
    class Owner:
        @mark  # type: ignore[untyped-decorator, unused-ignore]
        def receive(self, sender: Any) -> Any:
            return answer()

    signal, owner = Signal(), Owner()
    signal.connect(owner.receive)
    with pytest.raises(AsyncReceiverError):
        signal.send("app")
    assert asyncio.run(send(signal)) == [(owner.receive, "done")]


@MARKS
def test_marked_function_gets_the_async_wrapper(mark: Any) -> None:
    def run(function: Any) -> Any:
        return lambda sender, **payload: asyncio.run(function(sender, **payload))

    def receiver(sender: Any) -> Any:
        return answer()

    signal, marked = Signal(), mark(receiver)
    signal.connect(marked)
    assert signal.send("app", _async_wrapper=run) == [(marked, "done")]


@MARKS
def test_marked_function_needs_no_sync_wrapper(mark: Any) -> None:
    def refuse(function: Any) -> Any:
        raise AssertionError("not to be wrapped")

    def receiver(sender: Any) -> Any:
        return answer()

    signal, marked = Signal(), mark(receiver)
    signal.connect(marked)
    sent = asyncio.run(signal.send_async("app", _sync_wrapper=refuse))
    assert sent == [(marked, "done")]
