"""Connections of blocks, uids, senders and namespaces that are restored."""

from __future__ import annotations

from typing import Any

import pytest

from signalpost import named
from signalpost import Namespace
from signalpost import Signal
from signalpost.testing import restored

from .tables import assert_empty


class Shop:
    """A sender."""


class Branch(Shop): ...


def receive(sender: Any, **payload: Any) -> str:
    return "received"


def receive_another(sender: Any, **payload: Any) -> str:
    return "another"


def values_sent(signal: Signal, sender: Any = None) -> list[Any]:
    return [value for _, value in signal.send(sender)]


def test_receiver_of_a_block_is_one_of_the_block_again() -> None:
    signal = Signal()
    with signal.connected_to(receive):
        with restored(signal):
            signal.connect(receive)
        assert values_sent(signal) == ["received"]
    assert_empty(signal)


def test_receiver_that_two_blocks_need_is_needed_by_both_again() -> None:
    signal = Signal()
    with signal.connected_to(receive):
        with signal.connected_to(receive), restored(signal):
            signal.disconnect(receive)
        assert values_sent(signal) == ["received"]
    assert_empty(signal)


def test_uid_belongs_to_its_first_receiver_again() -> None:
    signal = Signal()
    signal.connect(receive, dispatch_uid="uid")
    with restored(signal):
        signal.connect(receive_another, dispatch_uid="uid", replace=True)
        assert values_sent(signal) == ["another"]
    assert values_sent(signal) == ["received"]
    assert signal.disconnect(dispatch_uid="uid")
    assert_empty(signal)


NAME = named("shop that is restored")
SHOP = Shop()
NAME.bind(SHOP)


EACH = pytest.mark.parametrize(
    ("sender", "sent_by", "subclasses"),
    [
        ("app", "app", False),
        (SHOP, SHOP, False),
        (NAME, SHOP, False),
        (Shop, Shop, False),
        (Shop, Branch, True),
    ],
    ids=["value", "object", "name", "class", "subclasses"],
)


@EACH
def test_connection_to_a_sender_is_restored(
    sender: Any, sent_by: Any, subclasses: bool
) -> None:
    signal = Signal()
    signal.connect(receive, sender=sender, subclasses=subclasses)
    signal.send(sent_by)
    with restored(signal):
        assert signal.disconnect_all() == 1
        assert values_sent(signal, sent_by) == []
        signal.connect(receive_another, sender=sent_by)
        assert values_sent(signal, sent_by) == ["another"]
    assert values_sent(signal, sent_by) == ["received"]
    assert values_sent(signal, "another") == []
    assert signal.disconnect(receive, sender=sender)
    assert_empty(signal)


@EACH
def test_connection_to_a_sender_that_stays_is_as_it_was(
    sender: Any, sent_by: Any, subclasses: bool
) -> None:
    signal = Signal()
    signal.connect(receive, sender=sender, subclasses=subclasses)
    with restored(signal):
        signal.connect(receive, sender=sender, weak=False)
    assert values_sent(signal, sent_by) == ["received"]
    assert [one.weak for one in signal.connections] == [True]
    assert signal.disconnect(receive, sender=sender)
    assert_empty(signal)


def test_subclasses_are_restored_either_way() -> None:
    signal = Signal()
    signal.connect(receive, sender=Shop)
    with restored(signal):
        signal.connect(receive, sender=Shop, subclasses=True)
        assert values_sent(signal, Branch) == ["received"]
    assert values_sent(signal, Branch) == []
    assert values_sent(signal, Shop) == ["received"]
    assert signal.disconnect(receive)
    assert not signal.receivers


@pytest.mark.parametrize("is_chosen", [True, False])
def test_namespace_and_its_signals_are_restored(is_chosen: bool) -> None:
    namespace, other = Namespace(), Signal()
    opened = namespace.signal("opened")
    namespace.connect(receive)
    other.connect(receive)
    with restored(*[namespace] if is_chosen else []):
        namespace.disconnect(receive)
        namespace.connect(receive_another)
        other.disconnect(receive)
    assert values_sent(opened) == ["received"]
    assert values_sent(namespace.signal("later")) == ["received"]
    assert values_sent(other) == ([] if is_chosen else ["received"])


def test_signals_about_a_signal_are_emptied_if_they_were_made_meanwhile() -> None:
    def refuse(_: Any, **payload: Any) -> None:
        raise LookupError

    signal = Signal()
    with restored(signal):
        signal.receiver_connected.connect(refuse)
        signal.receiver_disconnected.connect(refuse)
    signal.connect(receive)
    signal.disconnect(receive)
    assert not signal.receiver_connected.receivers
    assert not signal.receiver_disconnected.receivers


def test_signals_about_a_signal_that_were_there_are_left() -> None:
    def note(_: Any, **payload: Any) -> None:
        noted.append(payload["receiver"])

    signal, noted = Signal(), list[Any]()
    signal.receiver_connected.connect(note)
    with restored(signal):
        pass
    signal.connect(receive)
    assert noted == [receive]
