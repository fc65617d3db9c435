"""Arguments that resemble a connected one, and are a different one."""

from __future__ import annotations

from typing import Any
from unittest.mock import MagicMock
from unittest.mock import Mock
from unittest.mock import NonCallableMock

import pytest

from signalpost import Namespace
from signalpost import Signal
from signalpost.errors import ReceiverError

from .tables import has_fast_route

MANY = 100
"""Attempts, of which one finds an address that is used again."""


class Shop:
    """A sender."""


class Branch(Shop): ...


def receive(sender: Any, **payload: Any) -> str:
    return "received"


def receive_another(sender: Any, **payload: Any) -> str:
    return "another"


def test_subclass_is_not_meant_by_a_base_class_that_is_connected_alone() -> None:
    signal = Signal()
    signal.connect(receive, sender=Shop)
    signal.connect(receive, sender=Signal, subclasses=True)
    assert not signal.has_receivers_for(Branch)
    assert signal.send(Branch) == []
    assert signal.has_receivers_for(Shop)


def test_receiver_is_not_disconnected_by_the_uid_of_another() -> None:
    signal = Signal()
    signal.connect(receive, replace=True)
    signal.connect(receive_another, dispatch_uid="uid")
    assert signal.disconnect(receive, dispatch_uid="uid")
    assert signal.send() == [(receive, "received")]
    assert signal.disconnect(receive)
    assert not signal.receivers


def test_receiver_of_a_name_is_not_disconnected_from_another_sender() -> None:
    signal = Signal()
    signal.connect(receive, sender="app", replace=True)
    assert not signal.disconnect(receive, sender="api")
    assert not signal.disconnect(receive_another, sender="app")
    assert signal.disconnect(receive, sender="app")


def test_lambda_has_no_name_to_be_replaced_by() -> None:
    signal = Signal()
    with pytest.raises(ReceiverError, match="dispatch_uid"):
        signal.connect(lambda sender: None, weak=False, replace=True)
    assert not signal.receivers


def test_object_at_the_address_of_a_sender_that_just_died_is_not_taken_for_it() -> None:
    def look() -> None:
        """Look before the sender is forgotten, as another thread may."""
        address = id(shops.pop())
        other = Shop()
        if id(other) == address:
            found.append((signal.has_receivers_for(other), signal.send(other)))

    found: list[Any] = []
    # Whether an address is used again at once is a matter of chance.
    for _ in range(100 * MANY):
        signal, shops = Signal(), [Shop()]
        signal.connect(receive, sender=shops[0])
        signal.table.run_now(look)
        if len(found) == MANY:
            break
    assert found
    assert found == [(False, [])] * len(found)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", [Mock, NonCallableMock, MagicMock])
def test_mock_of_a_sender_is_no_proxy(kind: Any) -> None:
    signal, mock, shop = Signal(), kind(spec=Shop), Shop()
    signal.connect(receive, sender=mock)
    signal.connect(receive_another, sender=shop)
    assert signal.send(mock) == [(receive, "received")]
    assert signal.send(shop) == [(receive_another, "another")]
    assert signal.send(kind(spec=Shop)) == []


@pytest.mark.parametrize("block", ["muted", "held"])
def test_signal_is_as_fast_after_a_block_as_before(block: str) -> None:
    signal = Signal()
    signal.connect(receive)
    with getattr(signal, block)(), getattr(signal, block)():
        signal.send()
        assert not has_fast_route(signal)
    signal.send()
    assert has_fast_route(signal)


def test_variables_of_a_declaring_function_are_not_in_its_payload() -> None:
    @Namespace().declare
    def order_placed(sender: Shop, *, order: int) -> None:
        total = order
        del total

    assert order_placed.payload == frozenset({"order"})
