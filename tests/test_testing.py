from __future__ import annotations

import typing as t

import pytest

from signalpost import Namespace
from signalpost import Signal
from signalpost.testing import capture


def test_sends_are_kept_in_order_over_several_signals() -> None:
    first, second = Signal(), Signal()
    with capture(first, second) as sent:
        second.send("a", x=1)
        first.send("b")
    assert [(one.signal, one.sender, one.payload) for one in sent] == [
        (second, "a", {"x": 1}),
        (first, "b", {}),
    ]


def test_a_payload_is_read_by_name() -> None:
    signal = Signal()
    with capture(signal) as sent:
        signal.send(x=1)
    assert sent[0]["x"] == 1
    with pytest.raises(KeyError):
        _ = sent[0]["y"]


def test_only_the_named_sender_is_kept() -> None:
    signal = Signal()
    with capture(signal, sender="a") as sent:
        signal.send("a")
        signal.send("b")
    assert [one.sender for one in sent] == ["a"]


def test_nothing_is_kept_after_the_block() -> None:
    signal = Signal()
    with capture(signal) as sent:
        pass
    signal.send()
    assert sent == []
    assert not signal.receivers


def test_blocks_within_blocks_keep_apart() -> None:
    signal = Signal()
    with capture(signal) as outer, capture(signal) as inner:
        signal.send()
    assert len(outer) == len(inner) == 1


def test_a_payload_may_have_a_name_like_any_other() -> None:
    signal = Namespace().signal("moved", payload=("self", "payload", "receiver"))
    with capture(signal) as sent:
        signal.send("a", self=1, payload=2, receiver=3)
    assert sent[0].payload == {"self": 1, "payload": 2, "receiver": 3}


def test_an_error_in_the_block_disconnects() -> None:
    signal = Signal()
    with pytest.raises(LookupError), capture(signal):
        raise LookupError
    assert not signal.receivers


@pytest.mark.parametrize("wrong", [(), ("shop",), (Signal,), (None,)])
def test_what_is_no_signal_is_refused(wrong: tuple[t.Any, ...]) -> None:
    with pytest.raises(TypeError, match=r"capture\(\) takes"), capture(*wrong):
        pass
