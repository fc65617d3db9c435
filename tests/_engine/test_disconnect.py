from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from signalpost import Signal

from .tables import assert_empty


class Owner:
    """An object with a method to connect; it shows that it is freed."""

    def __init__(self) -> None:
        self.senders: list[Any] = []

    def receive(self, sender: Any) -> None:
        self.senders.append(sender)


class Unreferable:
    """A receiver that cannot be weakly referenced."""

    __slots__ = ("senders",)

    def __init__(self) -> None:
        self.senders: list[Any] = []

    def __call__(self, sender: Any) -> None:
        self.senders.append(sender)


def ignore(sender: Any) -> None: ...


def test_disconnecting_the_last_sender_frees_a_strong_receiver() -> None:
    signal = Signal()
    owner = Owner()
    signal.connect(owner.receive, sender="app", weak=False)
    signal.disconnect(owner.receive, sender="app")
    watched = weakref.ref(owner)
    del owner
    gc.collect()
    assert watched() is None


def test_strong_receiver_lives_until_its_last_sender_is_disconnected() -> None:
    signal = Signal()
    owner = Owner()
    signal.connect(owner.receive, sender="app", weak=False)
    signal.connect(owner.receive, sender="api", weak=False)
    signal.disconnect(owner.receive, sender="app")
    watched = weakref.ref(owner)
    del owner
    gc.collect()
    assert [receiver for receiver, _ in signal.send("api")]
    assert watched() is not None


def test_disconnect_returns_whether_it_did_anything() -> None:
    signal = Signal()
    signal.connect(ignore)
    assert signal.disconnect(ignore) is True
    assert signal.disconnect(ignore) is False


def test_disconnect_from_any_disconnects_from_every_sender() -> None:
    signal = Signal()
    signal.connect(ignore)
    signal.connect(ignore, sender="app")
    signal.connect(ignore, sender="api")
    assert signal.disconnect(ignore)
    assert not signal.receivers
    assert not signal.send("app")


def test_disconnect_from_one_sender_leaves_the_others() -> None:
    signal = Signal()
    signal.connect(ignore, sender="app")
    signal.connect(ignore, sender="api")
    assert signal.disconnect(ignore, sender="app")
    assert not signal.has_receivers_for("app")
    assert signal.has_receivers_for("api")


def test_disconnect_from_a_sender_leaves_a_connection_to_any() -> None:
    signal = Signal()
    signal.connect(ignore)
    assert not signal.disconnect(ignore, sender="app")
    assert signal.send("app") == [(ignore, None)]


def test_disconnect_of_a_stranger_does_nothing() -> None:
    signal = Signal()
    assert not signal.disconnect(ignore)
    assert not signal.disconnect(ignore, sender=object())
    assert_empty(signal)


def test_sender_has_no_receivers_once_they_are_disconnected() -> None:
    signal = Signal()
    signal.connect(ignore, sender="app")
    signal.disconnect(ignore, sender="app")
    assert not signal.has_receivers_for("app")
    assert not signal.receivers


def test_bookkeeping_does_not_grow_with_the_senders_of_the_past() -> None:
    signal = Signal()
    for number in range(1000):
        for sender in (str(number), number, Owner(), [number]):
            signal.connect(ignore, sender=sender)
            signal.disconnect(ignore, sender=sender)
    assert_empty(signal)


def test_bookkeeping_does_not_grow_with_dead_senders() -> None:
    signal = Signal()
    for _ in range(1000):
        signal.connect(ignore, sender=Owner())
    gc.collect()
    assert_empty(signal)


def test_method_is_disconnected_whichever_method_object_is_given() -> None:
    signal = Signal()
    owner = Owner()
    signal.connect(owner.receive)
    assert signal.disconnect(owner.receive)
    assert not signal.send()


def test_method_of_a_builtin_type_is_disconnected_too() -> None:
    signal = Signal()
    senders: list[Any] = []
    signal.connect(senders.append, weak=False)
    signal.send("app")
    assert signal.disconnect(senders.append)
    signal.send("api")
    assert senders == ["app"]


def test_block_keeps_an_earlier_connection_to_any() -> None:
    signal = Signal()
    signal.connect(ignore)
    with signal.connected_to(ignore):
        pass
    assert signal.send() == [(ignore, None)]


def test_block_keeps_an_earlier_connection_to_its_sender() -> None:
    signal = Signal()
    signal.connect(ignore, sender="app")
    with signal.connected_to(ignore, sender="app"):
        pass
    assert signal.send("app") == [(ignore, None)]


def test_block_keeps_an_earlier_connection_to_another_sender() -> None:
    signal = Signal()
    signal.connect(ignore, sender="app")
    with signal.connected_to(ignore, sender="api"):
        assert signal.send("api")
    assert signal.send("app")
    assert not signal.send("api")


def test_block_keeps_a_connection_to_any_when_it_names_a_sender() -> None:
    signal = Signal()
    signal.connect(ignore)
    with signal.connected_to(ignore, sender="app"):
        assert signal.send("app") == [(ignore, None)]
    assert signal.send("app") == [(ignore, None)]


def test_block_keeps_the_place_of_an_earlier_connection() -> None:
    def second(sender: Any) -> None: ...

    signal = Signal()
    signal.connect(ignore)
    signal.connect(second)
    with signal.connected_to(ignore):
        pass
    assert list(signal.receivers_for(None)) == [ignore, second]


def test_block_leaves_a_weak_connection_weak() -> None:
    signal = Signal()
    owner = Owner()
    signal.connect(owner.receive)
    with signal.connected_to(owner.receive):
        pass
    watched = weakref.ref(owner)
    del owner
    gc.collect()
    assert watched() is None


def test_block_leaves_a_strong_connection_strong() -> None:
    signal = Signal()
    owner = Owner()
    signal.connect(owner.receive, weak=False)
    with signal.connected_to(owner.receive):
        pass
    del owner
    gc.collect()
    assert len(signal.send()) == 1


def test_block_holds_its_receiver() -> None:
    signal = Signal()
    with signal.connected_to(lambda sender: "received"):
        gc.collect()
        assert [value for _, value in signal.send()] == ["received"]
    assert not signal.receivers


def test_block_takes_a_receiver_that_cannot_be_weakly_referenced() -> None:
    signal = Signal()
    receiver = Unreferable()
    with signal.connected_to(receiver):
        signal.send("app")
    signal.send("api")
    assert receiver.senders == ["app"]


def test_blocks_of_one_receiver_nest() -> None:
    signal = Signal()
    with signal.connected_to(ignore):
        with signal.connected_to(ignore):
            assert len(signal.send()) == 1
        assert len(signal.send()) == 1
    assert not signal.receivers


def test_blocks_of_one_receiver_may_end_in_any_order() -> None:
    signal = Signal()
    first, second = signal.connected_to(ignore), signal.connected_to(ignore)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert len(signal.send()) == 1
    second.__exit__(None, None, None)
    assert not signal.receivers


def test_connection_made_within_a_block_outlives_it() -> None:
    signal = Signal()
    with signal.connected_to(ignore):
        signal.connect(ignore)
    assert signal.send() == [(ignore, None)]


def test_receiver_disconnected_within_its_block_stays_so() -> None:
    signal = Signal()
    with signal.connected_to(ignore):
        signal.disconnect(ignore)
        assert not signal.send()
    assert not signal.receivers


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_block_ends_whatever_is_raised_in_it(error: type[BaseException]) -> None:
    signal = Signal()
    with pytest.raises(error), signal.connected_to(ignore):
        raise error
    assert not signal.receivers
