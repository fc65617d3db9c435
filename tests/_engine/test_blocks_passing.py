"""Sends that pass an open block, as those after a commit do."""

from __future__ import annotations

import pytest

from signalpost import Signal
from signalpost._engine.blocks import passing


def connected() -> tuple[Signal, list[str]]:
    def receive(sender: str) -> None:
        sent.append(sender)

    signal, sent = Signal(), list[str]()
    signal.connect(receive, weak=False)
    return signal, sent


def test_send_passes_a_block_that_is_chosen() -> None:
    signal, sent = connected()
    with signal.held() as held:
        with passing(lambda one: one.block is held):
            signal.send("a")
        assert sent == ["a"]


def test_send_waits_in_a_block_that_is_not_chosen() -> None:
    signal, sent = connected()
    with signal.held(), signal.held() as inner:
        with passing(lambda one: one.block is inner):
            signal.send("a")
        inner.drop()
        assert sent == []
    assert sent == ["a"]


def test_block_that_was_passed_holds_again_after_an_exception() -> None:
    signal, sent = connected()
    with signal.held() as held:
        with pytest.raises(LookupError), passing(lambda one: one.block is held):
            raise LookupError
        signal.send("a")
        assert sent == []
    assert sent == ["a"]
