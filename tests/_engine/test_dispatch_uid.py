"""A hashable key that identifies a receiver, as in Django."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from signalpost import Signal
from signalpost.errors import ReceiverError


class Owner:
    def receive(self, sender: Any) -> str:
        return "owner"


def first(sender: Any) -> str:
    return "first"


def second(sender: Any) -> str:
    return "second"


def values_sent(signal: Signal, sender: Any = None) -> list[str]:
    return [value for _, value in signal.send(sender)]


def test_first_receiver_of_a_uid_is_connected() -> None:
    signal = Signal()
    signal.connect(first, dispatch_uid="uid")
    signal.connect(second, dispatch_uid="uid")
    assert values_sent(signal) == ["first"]


def test_second_receiver_of_a_uid_leaves_the_first_weak() -> None:
    signal = Signal()
    owner = Owner()
    signal.connect(owner.receive, dispatch_uid="uid")
    signal.connect(second, weak=False, dispatch_uid="uid")
    del owner
    gc.collect()
    assert not signal.receivers


def test_second_receiver_of_a_uid_is_not_held() -> None:
    signal = Signal()
    owner = Owner()
    signal.connect(first, dispatch_uid="uid")
    signal.connect(owner.receive, weak=False, dispatch_uid="uid")
    (found,) = signal.receivers.values()
    assert found != owner.receive
    assert signal.connections[0].receiver is first
    assert signal.connections[0].weak


def test_second_receiver_of_a_uid_leaves_the_first_its_one_call() -> None:
    signal = Signal()
    signal.connect(first, once=True, dispatch_uid="uid")
    signal.connect(second, dispatch_uid="uid")
    assert values_sent(signal) == ["first"]
    assert values_sent(signal) == []


def test_same_receiver_of_a_uid_may_be_made_strong() -> None:
    signal = Signal()
    owner = Owner()
    signal.connect(owner.receive, dispatch_uid="uid")
    signal.connect(owner.receive, weak=False, dispatch_uid="uid")
    del owner
    gc.collect()
    assert values_sent(signal) == ["owner"]


def test_each_sender_has_its_first_receiver_of_a_uid() -> None:
    signal = Signal()
    signal.connect(first, sender="app", dispatch_uid="uid")
    signal.connect(second, sender="api", dispatch_uid="uid")
    assert values_sent(signal, "app") == ["first"]
    assert values_sent(signal, "api") == ["second"]


def test_receivers_of_one_uid_for_any_and_for_a_sender_are_both_called() -> None:
    signal = Signal()
    signal.connect(first, dispatch_uid="uid")
    signal.connect(second, sender="app", dispatch_uid="uid")
    assert values_sent(signal, "app") == ["first", "second"]
    assert values_sent(signal, "api") == ["first"]


def test_one_receiver_of_one_uid_for_any_and_for_a_sender_is_called_once() -> None:
    signal = Signal()
    signal.connect(first, dispatch_uid="uid")
    signal.connect(first, sender="app", dispatch_uid="uid")
    assert values_sent(signal, "app") == ["first"]


def test_different_uids_connect_a_function_that_is_made_again() -> None:
    signal = Signal()
    for number in range(3):
        signal.connect(lambda sender: "one", weak=False, dispatch_uid=("uid", number))
        signal.connect(lambda sender: "two", weak=False, dispatch_uid=("uid", number))
    assert values_sent(signal) == ["one"] * 3


def test_uid_disconnects() -> None:
    signal = Signal()
    signal.connect(first, dispatch_uid="uid")
    signal.connect(second)
    assert signal.disconnect(dispatch_uid="uid")
    assert not signal.disconnect(dispatch_uid="uid")
    assert values_sent(signal) == ["second"]


def test_uid_disconnects_from_one_sender() -> None:
    signal = Signal()
    for sender in ("app", "api"):
        signal.connect(first, sender=sender, dispatch_uid="uid")
    assert signal.disconnect(sender="app", dispatch_uid="uid")
    assert values_sent(signal, "app") == []
    assert values_sent(signal, "api") == ["first"]


def test_uid_disconnects_from_every_sender() -> None:
    signal = Signal()
    for sender in ("app", "api"):
        signal.connect(first, sender=sender, dispatch_uid="uid")
    signal.connect(first, dispatch_uid="uid")
    assert signal.disconnect(dispatch_uid="uid")
    assert not signal.receivers


def test_uid_counts_more_than_the_receiver_beside_it() -> None:
    signal = Signal()
    signal.connect(first, dispatch_uid="uid")
    signal.connect(second)
    assert signal.disconnect(second, dispatch_uid="uid")
    assert values_sent(signal) == ["second"]


def test_receiver_does_not_disconnect_its_uid() -> None:
    signal = Signal()
    signal.connect(first, dispatch_uid="uid")
    assert not signal.disconnect(first)
    assert values_sent(signal) == ["first"]


def test_uid_does_not_disconnect_its_receiver_connected_without() -> None:
    signal = Signal()
    signal.connect(first)
    signal.connect(first, dispatch_uid="uid")
    assert len(signal.connections) == 2
    assert signal.disconnect(dispatch_uid="uid")
    assert values_sent(signal) == ["first"]


def test_uid_is_free_again_after_a_disconnect() -> None:
    signal = Signal()
    signal.connect(first, dispatch_uid="uid")
    signal.disconnect(dispatch_uid="uid")
    signal.connect(second, dispatch_uid="uid")
    assert values_sent(signal) == ["second"]


def test_uid_is_free_again_after_the_death_of_its_receiver() -> None:
    signal = Signal()
    owner = Owner()
    signal.connect(owner.receive, dispatch_uid="uid")
    del owner
    gc.collect()
    signal.connect(second, dispatch_uid="uid")
    assert values_sent(signal) == ["second"]


def test_uid_is_free_again_after_one_call() -> None:
    signal = Signal()
    signal.connect(first, once=True, dispatch_uid="uid")
    assert values_sent(signal) == ["first"]
    signal.connect(second, dispatch_uid="uid")
    assert values_sent(signal) == ["second"]


def test_uid_is_not_mistaken_for_an_identity() -> None:
    signal = Signal()
    signal.connect(first)
    signal.connect(second, dispatch_uid=id(first))
    assert values_sent(signal) == ["first", "second"]


def test_disconnect_of_nothing_in_particular_is_refused() -> None:
    signal = Signal()
    signal.connect(first)
    with pytest.raises(ReceiverError, match="disconnect_all"):
        signal.disconnect()
    assert values_sent(signal) == ["first"]


def test_disconnect_by_uid_is_reported() -> None:
    def note(signal: Any, **payload: Any) -> None:
        told.append(payload)

    signal = Signal()
    told: list[Any] = []
    signal.connect(first, sender="app", dispatch_uid="uid")
    signal.receiver_disconnected.connect(note)
    signal.disconnect(sender="app", dispatch_uid="uid")
    assert told == [{"receiver": None, "sender": "app"}]


def test_uid_that_cannot_be_hashed_is_refused() -> None:
    signal = Signal()
    uid: Any = ["shop"]
    with pytest.raises(ReceiverError, match="must be hashable"):
        signal.connect(print, dispatch_uid=uid)
    with pytest.raises(ReceiverError, match="must be hashable"):
        signal.disconnect(dispatch_uid=uid)
    assert not signal.receivers
