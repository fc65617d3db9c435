from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

import signalpost
from signalpost import NamedSignal
from signalpost import Namespace
from signalpost import Signal
from signalpost.errors import PayloadError


def test_name_gives_the_same_signal_each_time() -> None:
    namespace = Namespace()
    assert namespace.signal("order-placed") is namespace.signal("order-placed")
    assert namespace.signal("order-placed") is not namespace.signal("order-paid")


def test_namespace_is_a_dict_of_its_signals() -> None:
    namespace = Namespace()
    assert namespace == {}
    placed = namespace.signal("order-placed")
    assert isinstance(namespace, dict)
    assert dict(namespace) == {"order-placed": placed}


def test_namespaces_share_nothing() -> None:
    assert Namespace().signal("order-placed") is not Namespace().signal("order-placed")


def test_namespace_keeps_its_signals() -> None:
    namespace = Namespace()
    watched = weakref.ref(namespace.signal("order-placed"))
    gc.collect()
    assert watched() is namespace.signal("order-placed")


def test_signal_of_a_namespace_has_its_name() -> None:
    placed = Namespace().signal("order-placed")
    assert isinstance(placed, NamedSignal)
    assert placed.name == "order-placed"
    assert "order-placed" in repr(placed)


def test_front_door_uses_the_default_namespace() -> None:
    made = signalpost.signal("order-placed")
    try:
        assert signalpost.default_namespace["order-placed"] is made
    finally:
        del signalpost.default_namespace["order-placed"]


def test_documentation_belongs_to_one_signal() -> None:
    namespace = Namespace()
    placed = namespace.signal("order-placed", "Sent once an order is stored.")
    assert placed.__doc__ == "Sent once an order is stored."
    assert Signal("Sent daily.").__doc__ == "Sent daily."
    assert Signal().__doc__ == Signal.__doc__


def test_documentation_may_follow() -> None:
    namespace = Namespace()
    placed = namespace.signal("order-placed")
    namespace.signal("order-placed", "Sent once an order is stored.")
    assert placed.__doc__ == "Sent once an order is stored."


def test_same_declaration_may_be_repeated() -> None:
    namespace = Namespace()
    placed = namespace.signal("order-placed", payload=("order", "customer"))
    assert namespace.signal("order-placed", payload=["customer", "order"]) is placed
    assert namespace.signal("order-placed") is placed


def test_other_declaration_is_refused() -> None:
    namespace = Namespace()
    placed = namespace.signal("order-placed", payload=("order",))
    with pytest.raises(PayloadError, match="order-placed") as refusal:
        namespace.signal("order-placed", payload=("basket",))
    assert refusal.value.signal is placed
    assert namespace.signal("order-placed", payload=("order",)) is placed


def test_later_declaration_holds_for_those_connected_before() -> None:
    def receiver(sender: Any, order: int) -> int:
        return order

    namespace = Namespace()
    placed = namespace.signal("order-placed")
    placed.connect(receiver)
    namespace.signal("order-placed", payload=("order", "customer"))
    assert placed.send("app", order=7, customer="c") == [(receiver, 7)]


def test_later_declaration_is_refused_if_a_receiver_asks_for_more() -> None:
    def receiver(sender: Any, basket: int) -> int:
        return basket

    namespace = Namespace()
    placed = namespace.signal("order-placed")
    placed.connect(receiver)
    with pytest.raises(PayloadError, match="basket") as refusal:
        namespace.signal("order-placed", payload=("order",))
    assert refusal.value.receiver is receiver
    assert placed.send("app", basket=7) == [(receiver, 7)]
