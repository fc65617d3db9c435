"""Blocks that connect and disconnect the same receiver, one within the other."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from signalpost import receiver as connect_to
from signalpost import Signal
from signalpost.errors import WeakReceiverWarning


def receive(sender: Any) -> str:
    return "received"


def test_receiver_connected_for_good_within_two_blocks_stays() -> None:
    signal = Signal()
    with signal.connected_to(receive), signal.disconnected_from(receive):
        signal.connect(receive)
    assert [one.receiver for one in signal.connections] == [receive]


def test_receiver_of_a_block_within_a_block_goes_with_the_outer_one() -> None:
    signal = Signal()
    with signal.connected_to(receive):
        with signal.disconnected_from(receive), signal.connected_to(receive):
            assert signal.send() == [(receive, "received")]
        assert signal.send() == [(receive, "received")]
    assert not signal.receivers


def test_inline_lambda_given_to_a_decorator_is_reported() -> None:
    signal = Signal()
    for connect in (
        signal.connect(once=True),
        signal.connect_via("a", weak=True),
        connect_to(signal),
    ):
        with pytest.warns(WeakReceiverWarning, match=r"<lambda>.*weak=False"):
            connect(lambda sender: None)


class Owner:
    @functools.singledispatchmethod
    def receive(self, sender: Any) -> str:
        return "base"


class Heir(Owner):
    @functools.singledispatchmethod
    def receive(self, sender: Any) -> str:
        return "heir"

    def of_the_base(self) -> Any:
        return super().receive


def test_dispatched_method_of_a_base_class_is_not_that_of_its_heir() -> None:
    signal, heir = Signal(), Heir()
    signal.connect(heir.receive)
    signal.connect(heir.of_the_base())
    assert [value for _, value in signal.send("a")] == ["heir", "base"]
    assert signal.disconnect(heir.of_the_base())
    assert [value for _, value in signal.send("a")] == ["heir"]
