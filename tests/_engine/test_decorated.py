"""Receivers behind decorators: what is called decides, not what it wraps."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any

import pytest

from signalpost import Namespace
from signalpost import Signal
from signalpost.errors import AsyncReceiverError
from signalpost.errors import PayloadError
from signalpost.errors import ReceiverError

Receiver = Callable[..., Any]


def with_session(function: Receiver) -> Receiver:
    """Add an argument that no signal sends."""

    @functools.wraps(function)
    def call(sender: Any, **payload: Any) -> Any:
        return function(sender, session="S", **payload)

    return call


def with_session_by_position(function: Receiver) -> Receiver:
    @functools.wraps(function)
    def call(*args: Any, **payload: Any) -> Any:
        return function(*args, session="S", **payload)

    return call


def reading_order_only(function: Receiver) -> Receiver:
    """Take less than the function that it wraps."""

    @functools.wraps(function)
    def call(sender: Any, order: Any) -> Any:
        return function(sender, session="S", order=order)

    return call


class WithSession:
    """The same as a class, an object of which wraps the function."""

    def __init__(self, function: Receiver) -> None:
        functools.update_wrapper(self, function)
        self._function = function

    def __call__(self, sender: Any, **payload: Any) -> Any:
        return self._function(sender, session="S", **payload)


def store(sender: Any, session: Any, order: Any = None) -> tuple[Any, Any]:
    return session, order


@pytest.mark.parametrize(
    "decorate",
    [with_session, with_session_by_position, reading_order_only, WithSession],
)
def test_decorator_may_add_an_argument(decorate: Any) -> None:
    signal = Signal(payload=("order",))
    receiver = decorate(store)
    signal.connect(receiver)
    assert signal.send("app", order=7) == [(receiver, ("S", 7))]


@pytest.mark.parametrize("decorate", [with_session, WithSession])
def test_two_decorators_are_judged_by_the_outer_one(decorate: Any) -> None:
    @functools.wraps(store)
    def adding(sender: Any, session: Any, user: Any, **payload: Any) -> Any:
        return user, store(sender, session, **payload)

    signal = Signal(payload=("order",))
    receiver = decorate(functools.partial(adding, user="U"))
    signal.connect(receiver)
    assert signal.send("app", order=7) == [(receiver, ("U", ("S", 7)))]


def test_decorator_that_takes_less_gets_less() -> None:
    def give_all(sender: Any, **payload: Any) -> dict[str, Any]:
        return payload

    signal = Signal(payload=("order", "total"))
    receiver = reading_order_only(give_all)
    signal.connect(receiver)
    assert signal.send("app", order=7, total=1) == [
        (receiver, {"session": "S", "order": 7})
    ]


def test_decorator_that_asks_for_what_is_not_sent_is_refused() -> None:
    @functools.wraps(store)
    def call(sender: Any, user: Any, **payload: Any) -> None: ...

    with pytest.raises(PayloadError, match="'user'"):
        Signal(payload=("order",)).connect(call)


def test_decorator_that_takes_no_sender_is_refused() -> None:
    @functools.wraps(store)
    def call(**payload: Any) -> None: ...

    with pytest.raises(PayloadError, match="cannot take the sender"):
        Signal(payload=("order",)).connect(call)


def test_decorator_may_give_what_it_gets_another_name() -> None:
    def buy(sender: Any, item: int) -> int:
        return item

    @functools.wraps(buy)
    def call(sender: Any, **payload: Any) -> int:
        return buy(sender, payload["order"])

    signal = Signal(payload=("order", "total"))
    signal.connect(call)
    assert signal.send("app", order=7, total=3) == [(call, 7)]


def test_decorator_gets_its_own_names_and_those_of_its_function() -> None:
    def log(sender: Any, order: int) -> int:
        return order

    @functools.wraps(log)
    def call(sender: Any, total: int, **payload: Any) -> tuple[int, dict[str, Any]]:
        return total, payload

    signal = Signal(payload=("order", "total", "currency"))
    signal.connect(call)
    payload: dict[str, Any] = {"order": 7, "total": 3, "currency": "EUR"}
    assert signal.send("app", **payload) == [(call, (3, {"order": 7}))]


def test_decorator_around_a_receiver_that_reads_less_may_add_an_argument() -> None:
    def log(sender: Any, session: str, order: int) -> tuple[str, int]:
        return session, order

    @functools.wraps(log)
    def call(sender: Any, **payload: Any) -> tuple[str, int]:
        return log(sender, session="session", **payload)

    signal = Signal(payload=("order", "total"))
    signal.connect(call)
    assert signal.send("app", order=7, total=3) == [(call, ("session", 7))]


def test_decorator_of_a_method_may_add_an_argument() -> None:
    class Shop:
        @with_session_by_position
        def store(self, sender: Any, session: Any, order: Any) -> Any:
            return self, session, order

    signal, shop = Signal(payload=("order",)), Shop()
    signal.connect(shop.store)
    assert signal.send("app", order=7) == [(shop.store, (shop, "S", 7))]


def test_payload_may_be_declared_after_a_decorated_receiver() -> None:
    namespace = Namespace()
    receiver = with_session(store)
    namespace.signal("order-placed").connect(receiver)
    order_placed = namespace.signal("order-placed", payload=("order",))
    assert order_placed.send("app", order=7) == [(receiver, ("S", 7))]


def test_decorator_of_a_namespace_receiver_may_add_an_argument() -> None:
    def note(sender: Any, session: Any, signal: Any, order: Any) -> Any:
        return session, signal.name, order

    namespace = Namespace()
    receiver = with_session(note)
    namespace.connect(receiver)
    order_placed = namespace.signal("order-placed", payload=("order",))
    assert order_placed.send("app", order=7) == [(receiver, ("S", "order-placed", 7))]


def test_decorator_of_a_namespace_receiver_that_drops_the_signal_is_refused() -> None:
    def note(sender: Any, signal: Any) -> None: ...

    @functools.wraps(note)
    def call(sender: Any) -> None: ...

    with pytest.raises(PayloadError, match="signal"):
        Namespace().connect(call)


@pytest.mark.parametrize("decorate", [with_session, WithSession])
def test_decorated_coroutine_function_is_awaited(decorate: Any) -> None:
    async def store_later(sender: Any, session: Any, order: Any) -> Any:
        await asyncio.sleep(0)
        return session, order

    signal = Signal(payload=("order",))
    receiver = decorate(store_later)
    signal.connect(receiver)
    sent = asyncio.run(signal.send_async("app", order=7))
    assert sent == [(receiver, ("S", 7))]


def test_async_decorator_of_a_plain_function_is_async() -> None:
    @functools.wraps(store)
    async def call(sender: Any, **payload: Any) -> Any:
        return store(sender, "S", **payload)

    signal = Signal(payload=("order",))
    signal.connect(call)
    with pytest.raises(AsyncReceiverError):
        signal.send("app", order=7)
    assert asyncio.run(signal.send_async("app", order=7)) == [(call, ("S", 7))]


async def generate(sender: Any) -> Any:
    yield sender


def wrapped_generator() -> Receiver:
    @functools.wraps(store)
    async def call(sender: Any, **payload: Any) -> Any:
        yield sender

    return call


class Generator:
    async def __call__(self, sender: Any) -> Any:
        yield sender


@pytest.mark.parametrize(
    "receiver",
    [generate, functools.partial(generate), wrapped_generator(), Generator()],
    ids=["function", "partial", "decorator", "object"],
)
def test_async_generator_is_refused(receiver: Any) -> None:
    with pytest.raises(ReceiverError, match="async generator"):
        Signal().connect(receiver, weak=False)


def test_wrapt_decorator_is_judged_as_its_function() -> None:
    wrapt = pytest.importorskip("wrapt")

    @wrapt.decorator  # type: ignore[untyped-decorator, unused-ignore]
    def passing(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        return wrapped(*args, **kwargs)

    @passing  # type: ignore[untyped-decorator, unused-ignore]
    def note(sender: Any, order: Any) -> Any:
        return order

    signal = Signal(payload=("order", "total"))
    signal.connect(note)
    assert [value for _, value in signal.send("app", order=7, total=1)] == [7]
    assert signal.disconnect(note)


def test_wrapt_decorator_of_a_coroutine_function_is_async() -> None:
    wrapt = pytest.importorskip("wrapt")

    @wrapt.decorator  # type: ignore[untyped-decorator, unused-ignore]
    def passing(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        return wrapped(*args, **kwargs)

    @passing  # type: ignore[untyped-decorator, unused-ignore]
    async def note(sender: Any) -> str:
        return "noted"

    signal = Signal()
    signal.connect(note)
    assert [value for _, value in asyncio.run(signal.send_async())] == ["noted"]
