"""Typed signals, as type checkers see them; what is wrong is marked as an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from typing import assert_type

from signalpost import NamedSignal
from signalpost import Namespace
from signalpost import Outcome
from signalpost.testing import capture


class Shop: ...


class Branch(Shop): ...


class Order: ...


shop = Namespace()


@shop.declare
def order_placed(sender: Shop, *, order: Order, total: int) -> None:
    """Sent when an order was placed."""


@shop.declare
def shop_opened(sender: Shop) -> None:
    """Sent when a shop opens."""


# What fits.

assert_type(
    order_placed.send(Shop(), order=Order(), total=1),
    list[tuple[Callable[..., Any], Any]],
)
assert_type(order_placed.send_robust(Branch(), order=Order(), total=1), list[Outcome])
assert_type(shop_opened.send(Shop()), list[tuple[Callable[..., Any], Any]])
assert_type(order_placed.name, str)
assert_type(order_placed.payload, frozenset[str] | None)
assert_type(order_placed.has_receivers_for(Shop()), bool)


async def send_later() -> None:
    assert_type(
        await order_placed.send_async(Shop(), order=Order(), total=1),
        list[tuple[Callable[..., Any], Any]],
    )
    assert_type(
        await order_placed.send_robust_async(Shop(), order=Order(), total=1),
        list[Outcome],
    )


# It is a signal like any other.

signal: NamedSignal = order_placed


@order_placed.connect
def note(sender: Shop, order: Order) -> float:
    return 1.0


@order_placed.connect(once=True, when=lambda sender, total: total > 100)
def note_large(sender: Shop, total: int) -> int:
    return total


@order_placed.connect_via(Shop())
async def note_later(sender: Shop, **payload: object) -> str:
    return "noted"


assert_type(note(Shop(), Order()), float)
assert_type(note_large(Shop(), 1), int)

with capture(order_placed), order_placed.muted(), order_placed.connected_to(note):
    pass

# What does not fit: each is an error to a type checker, and at run time.

order_placed.send(Shop(), order=Order())  # type: ignore[call-arg]
order_placed.send(Shop(), order=Order(), total=1, user=1)  # type: ignore[call-arg]
order_placed.send(Shop(), order=Order(), sum=1)  # type: ignore[call-arg]
order_placed.send(Shop(), order=1, total=1)  # type: ignore[arg-type]
order_placed.send(Shop(), order=Order(), total="1")  # type: ignore[arg-type]
order_placed.send("shop", order=Order(), total=1)  # type: ignore[arg-type]
order_placed.send(Shop(), Order(), 1)  # type: ignore[call-arg]
order_placed.send(order=Order(), total=1)  # type: ignore[call-arg]
shop_opened.send(Shop(), order=Order())  # type: ignore[call-arg]
order_placed.send_robust(Shop(), order=Order())  # type: ignore[call-arg]
order_placed.send_robust(Shop(), order=1, total=1)  # type: ignore[arg-type]


async def send_wrongly() -> None:
    await order_placed.send_async(Shop(), total=1)  # type: ignore[call-arg]
    await order_placed.send_async(Order(), order=Order(), total=1)  # type: ignore[arg-type]
    await order_placed.send_robust_async(Shop(), total=1)  # type: ignore[call-arg]


# A function that is called by hand is no signal.

order_placed(Shop(), order=Order(), total=1)  # type: ignore[operator]
