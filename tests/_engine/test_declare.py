"""Signals that are declared by a function."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest

from signalpost import NamedSignal
from signalpost import Namespace
from signalpost import TypedSignal
from signalpost.errors import PayloadError
from signalpost.testing import capture


class Shop: ...


def declared(namespace: Namespace) -> Any:
    """Return a signal of two names."""

    @namespace.declare
    def order_placed(sender: Shop, *, order: str, total: int) -> None:
        """Sent when an order was placed."""

    return order_placed


def test_name_documentation_and_payload_are_those_of_the_function() -> None:
    namespace = Namespace()
    order_placed = declared(namespace)
    assert isinstance(order_placed, TypedSignal)
    assert isinstance(order_placed, NamedSignal)
    assert order_placed.name == "order-placed"
    assert order_placed.__doc__ == "Sent when an order was placed."
    assert order_placed.payload == frozenset({"order", "total"})


def test_signal_is_one_of_the_namespace() -> None:
    namespace = Namespace()
    order_placed = declared(namespace)
    assert namespace["order-placed"] is order_placed
    assert namespace.signal("order-placed") is order_placed


def test_signal_without_payload_is_declared() -> None:
    namespace = Namespace()

    @namespace.declare
    def shop_opened(sender: Shop) -> None: ...

    assert shop_opened.payload == frozenset()
    assert shop_opened.name == "shop-opened"
    assert shop_opened.send(Shop()) == []


def test_signal_without_documentation_has_none_of_its_own() -> None:
    @Namespace().declare
    def shop_opened(sender: Shop) -> None: ...

    assert shop_opened.__doc__ in {None, TypedSignal.__doc__}


def test_sends_reach_receivers() -> None:
    def note(sender: Any, order: str) -> str:
        return order

    async def note_later(sender: Any, total: int) -> int:
        return total

    order_placed, shop = declared(Namespace()), Shop()
    order_placed.connect(note)
    assert order_placed.send(shop, order="lamp", total=7) == [(note, "lamp")]
    (outcome,) = order_placed.send_robust(shop, order="lamp", total=7)
    assert outcome.value == "lamp"
    order_placed.connect(note_later)
    sent = asyncio.run(order_placed.send_async(shop, order="lamp", total=7))
    assert [value for _, value in sent] == ["lamp", 7]
    robust = asyncio.run(order_placed.send_robust_async(shop, order="lamp", total=7))
    assert [outcome.value for outcome in robust] == ["lamp", 7]


@pytest.mark.parametrize(
    "payload",
    [{}, {"order": "lamp"}, {"order": "lamp", "total": 7, "user": 1}],
    ids=["none", "too few", "too many"],
)
def test_names_are_checked_when_it_is_sent(payload: dict[str, Any]) -> None:
    order_placed = declared(Namespace())
    with capture(order_placed), pytest.raises(PayloadError):
        order_placed.send(Shop(), **payload)


def test_names_are_checked_when_a_receiver_is_connected() -> None:
    def note(sender: Any, user: str) -> None: ...

    with pytest.raises(PayloadError, match="'user'"):
        declared(Namespace()).connect(note)


def test_function_is_not_called() -> None:
    @Namespace().declare
    def order_placed(sender: Shop, *, order: str) -> None:
        raise AssertionError("must not be called")

    assert order_placed.send(Shop(), order="lamp") == []


def test_annotations_need_not_be_there_when_it_is_declared() -> None:
    namespace: Any = Namespace()

    @namespace.declare  # type: ignore[untyped-decorator, unused-ignore]
    def order_placed(sender: Later, *, order: Later) -> None: ...

    class Later: ...

    assert order_placed.payload == frozenset({"order"})


def test_receivers_of_the_namespace_get_the_signal() -> None:
    def audit(sender: Any, signal: NamedSignal, order: str) -> tuple[str, str]:
        return signal.name, order

    namespace = Namespace()
    namespace.connect(audit)
    order_placed = declared(namespace)
    sent = order_placed.send(Shop(), order="lamp", total=7)
    assert [value for _, value in sent] == [("order-placed", "lamp")]


def test_receiver_that_was_there_before_receives_it() -> None:
    def note(sender: Any, order: str) -> str:
        return order

    namespace = Namespace()
    namespace.signal("order-placed").connect(note)
    order_placed = declared(namespace)
    sent = order_placed.send(Shop(), order="lamp", total=7)
    assert sent == [(note, "lamp")]
    assert namespace["order-placed"].send("app", order="desk", total=1) == [
        (note, "desk")
    ]


def test_declaring_again_by_the_same_payload_is_one_signal() -> None:
    namespace = Namespace()
    first = declared(namespace)
    assert declared(namespace) is first


def test_declaring_again_by_another_payload_is_refused() -> None:
    namespace = Namespace()
    first = declared(namespace)
    with pytest.raises(PayloadError, match="order-placed"):

        @namespace.declare
        def order_placed(sender: Shop, *, order: str) -> None: ...

    assert first.payload == frozenset({"order", "total"})


def no_sender() -> None: ...
def no_sender_but_payload(*, order: str) -> None: ...
def another_name(shop: Shop, *, order: str) -> None: ...
def by_position(sender: Shop, order: str) -> None: ...
def by_position_only(sender: Shop, order: str, /) -> None: ...
def sender_by_name(*, sender: Shop, order: str) -> None: ...
def several(sender: Shop, *orders: str) -> None: ...
def anything(sender: Shop, **payload: str) -> None: ...
def everything(*args: Any, **kwargs: Any) -> None: ...
def default(sender: Shop, *, order: str = "lamp") -> None: ...
def default_sender(sender: Shop | None = None, *, order: str) -> None: ...
def named_signal(sender: Shop, *, signal: str) -> None: ...
def named_wrapper(sender: Shop, *, _async_wrapper: str) -> None: ...
async def coroutine(sender: Shop, *, order: str) -> None: ...


def generator(sender: Shop, *, order: str) -> Any:
    yield order


async def async_generator(sender: Shop, *, order: str) -> Any:
    yield order


@pytest.mark.parametrize(
    "function",
    [
        no_sender,
        no_sender_but_payload,
        another_name,
        by_position,
        by_position_only,
        sender_by_name,
        several,
        anything,
        everything,
        default,
        default_sender,
        named_signal,
        named_wrapper,
        coroutine,
        generator,
        async_generator,
    ],
)
def test_function_that_declares_no_signal_is_refused(function: Any) -> None:
    namespace = Namespace()
    with pytest.raises(PayloadError) as refusal:
        namespace.declare(function)
    assert function.__name__ in str(refusal.value)
    assert not namespace


def test_right_form_is_shown() -> None:
    namespace: Any = Namespace()
    with pytest.raises(PayloadError, match=r"\(sender.*, \*, "):
        namespace.declare(by_position)


def test_sender_by_position_only_is_accepted() -> None:
    @Namespace().declare
    def order_placed(sender: Shop, /, *, order: str) -> None: ...

    assert order_placed.payload == frozenset({"order"})


@pytest.mark.parametrize("wrong", [None, "order-placed", 7, functools.partial(default)])
def test_what_is_no_function_is_refused(wrong: Any) -> None:
    namespace = Namespace()
    with pytest.raises(TypeError):
        namespace.declare(wrong)
    assert not namespace


def test_options_of_other_signals_work() -> None:
    order_placed, received = declared(Namespace()), list[str]()

    @order_placed.connect(once=True, when=lambda sender, total: total > 5)  # type: ignore[untyped-decorator]
    def note(sender: Any, order: str) -> None:
        received.append(order)

    for total in (1, 7, 8):
        order_placed.send(Shop(), order=f"lamp {total}", total=total)
    with order_placed.muted(), order_placed.held():
        order_placed.send(Shop(), order="muted", total=9)
    assert received == ["lamp 7"]
