"""Signals as objects: what may be looked at, copied and thrown away."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from signalpost import NamedSignal
from signalpost import Signal


def ignore(sender: Any) -> None: ...


def test_receivers_are_true_while_someone_is_connected() -> None:
    signal = Signal()
    assert not signal.receivers
    signal.connect(ignore, sender="app")
    assert signal.receivers
    signal.disconnect(ignore)
    assert not signal.receivers


def test_receivers_hold_a_strong_receiver_itself() -> None:
    signal = Signal()
    signal.connect(ignore, weak=False)
    signal.connect(ignore, sender="app", weak=False)
    assert dict(signal.receivers) == {id(ignore): ignore}


def test_receivers_give_a_weak_receiver_when_called() -> None:
    class Owner:
        def receive(self, sender: Any) -> None: ...

    signal = Signal()
    owner = Owner()
    signal.connect(ignore)
    signal.connect(owner.receive)
    found = [reference() for reference in signal.receivers.values()]
    assert found == [ignore, owner.receive]


def test_receivers_do_not_hold_a_weak_receiver() -> None:
    class Owner:
        def receive(self, sender: Any) -> None: ...

    signal = Signal()
    owner = Owner()
    signal.connect(owner.receive)
    (reference,) = signal.receivers.values()
    del owner
    gc.collect()
    assert reference() is None


def test_receivers_are_read_only() -> None:
    receivers: Any = Signal().receivers
    with pytest.raises(TypeError):
        receivers["key"] = ignore
    with pytest.raises(TypeError):
        del receivers["key"]


@pytest.mark.parametrize("signal", [Signal(), NamedSignal("order-placed")])
def test_signal_refuses_to_be_copied_or_pickled(signal: Signal) -> None:
    refused: list[Callable[[Signal], object]] = [
        copy.copy,
        copy.deepcopy,
        pickle.dumps,
    ]
    for copied in refused:
        with pytest.raises(TypeError, match="copied or pickled"):
            copied(signal)


def test_signal_is_freed_with_its_receivers() -> None:
    class Owner:
        def __init__(self, signal: Signal) -> None:
            self.signal = signal
            signal.connect(self.receive, weak=False)
            signal.connect(self.receive, sender=self, weak=False)

        def receive(self, sender: Any) -> None: ...

    signal = Signal()
    owner = Owner(signal)
    signal.send(owner)
    signal_watched, owner_watched = weakref.ref(signal), weakref.ref(owner)
    del signal, owner
    gc.collect()
    assert signal_watched() is None
    assert owner_watched() is None


def test_signal_is_not_kept_by_its_weak_receivers() -> None:
    signal = Signal()
    signal.connect(ignore)
    signal.send()
    with signal.muted():
        signal.send()
    watched = weakref.ref(signal)
    del signal
    gc.collect()
    assert watched() is None


def test_clear_state_disconnects_everyone() -> None:
    signal = Signal()
    sender = object()
    signal.connect(ignore)
    signal.connect(ignore, sender="app")
    signal.connect(lambda sender: None, sender=sender, weak=False)
    signal.send(sender)
    signal._clear_state()
    assert not signal.receivers
    assert not signal.send()
    assert not signal.send("app")
    assert not signal.send(sender)
    assert not signal.disconnect(ignore)


def test_cleared_signal_can_be_used_again() -> None:
    signal = Signal()
    signal.connect(ignore)
    signal._clear_state()
    signal.connect(ignore)
    assert signal.send() == [(ignore, None)]


def test_cleaning_up_changes_nothing() -> None:
    signal = Signal()
    signal.connect(ignore)
    signal.connect(ignore, sender="app")
    signal._cleanup_bookkeeping()
    assert signal.send("app") == [(ignore, None)]
    assert signal.disconnect(ignore, sender="app")


def test_set_class_is_accepted() -> None:
    class Ordered(Signal):
        set_class = frozenset  # type: ignore[assignment]  # any class will do

    signal = Ordered()
    signal.connect(ignore, sender="app")
    assert signal.send("app") == [(ignore, None)]


def test_subclass_may_keep_attributes_of_its_own() -> None:
    class Counted(NamedSignal):
        sends: int = 0

    signal = Counted("order-placed")
    signal.sends += 1
    assert signal.sends == 1
    assert "Counted" in repr(signal)
