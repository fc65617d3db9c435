"""One receiver taken out for a block, and put back as it was."""

from __future__ import annotations

import gc
import threading
from typing import Any

import pytest

from signalpost import ANY
from signalpost import Namespace
from signalpost import Signal
from signalpost.errors import ReceiverError


class Owner:
    def receive(self, sender: Any) -> str:
        return "method"


def receive(sender: Any) -> str:
    return "received"


def receive_first(sender: Any) -> str:
    return "first"


def receive_last(sender: Any) -> str:
    return "last"


def values_sent(signal: Signal, sender: Any = None) -> list[Any]:
    return [value for _, value in signal.send(sender)]


def test_receiver_is_out_during_the_block_and_back_after_it() -> None:
    signal = Signal()
    signal.connect(receive)
    with signal.disconnected_from(receive):
        assert values_sent(signal) == []
        assert not signal.receivers
        assert not signal.has_receivers_for("app")
    assert values_sent(signal) == ["received"]


def test_receiver_comes_back_to_its_place() -> None:
    signal = Signal()
    for receiver in (receive_first, receive, receive_last):
        signal.connect(receiver)
    with signal.disconnected_from(receive):
        assert values_sent(signal) == ["first", "last"]
    assert values_sent(signal) == ["first", "received", "last"]


def test_receiver_comes_back_with_its_options() -> None:
    signal = Signal()
    signal.connect(receive_first)
    signal.connect(receive, priority=1, once=True, dispatch_uid="uid", weak=False)
    before = signal.connections
    with signal.disconnected_from(receive):
        assert len(signal.connections) == 1
    assert signal.connections == before
    assert values_sent(signal) == ["received", "first"]
    assert values_sent(signal) == ["first"]


def test_predicate_comes_back() -> None:
    signal = Signal()
    signal.connect(receive, when=lambda sender: sender == "app")
    with signal.disconnected_from(receive):
        pass
    assert values_sent(signal, "api") == []
    assert values_sent(signal, "app") == ["received"]


def test_subclasses_come_back() -> None:
    class Heir(Owner): ...

    signal = Signal()
    signal.connect(receive, sender=Owner, subclasses=True)
    with signal.disconnected_from(receive):
        assert values_sent(signal, Heir) == []
    assert values_sent(signal, Heir) == ["received"]


def test_all_connections_of_the_receiver_are_out() -> None:
    signal = Signal()
    signal.connect(receive, sender="app")
    signal.connect(receive, sender="api")
    signal.connect(receive_last, sender="app")
    with signal.disconnected_from(receive):
        assert values_sent(signal, "app") == ["last"]
        assert values_sent(signal, "api") == []
    assert values_sent(signal, "app") == ["received", "last"]
    assert values_sent(signal, "api") == ["received"]
    assert values_sent(signal, "other") == []


def test_only_the_connection_to_the_sender_is_out() -> None:
    signal = Signal()
    signal.connect(receive, sender="app")
    signal.connect(receive, sender="api")
    with signal.disconnected_from(receive, sender="app"):
        assert values_sent(signal, "app") == []
        assert values_sent(signal, "api") == ["received"]
    assert values_sent(signal, "app") == ["received"]


def test_connection_to_any_stays_when_one_to_a_sender_is_out() -> None:
    signal = Signal()
    signal.connect(receive)
    signal.connect(receive, sender="app")
    with signal.disconnected_from(receive, sender="app"):
        assert values_sent(signal, "app") == ["received"]
        assert len(signal.connections) == 1
    assert len(signal.connections) == 2


@pytest.mark.parametrize("sender", [ANY, "app"])
def test_receiver_that_is_not_connected_is_not_connected_afterwards(
    sender: Any,
) -> None:
    signal = Signal()
    signal.connect(receive, sender="api")
    signal.connect(receive_last)
    with signal.disconnected_from(receive_first, sender=sender):
        assert values_sent(signal, "app") == ["last"]
    assert not signal.disconnect(receive_first)


def test_connection_made_within_the_block_stays() -> None:
    signal = Signal()
    signal.connect(receive, sender="app")
    with signal.disconnected_from(receive):
        signal.connect(receive, sender="api")
        assert values_sent(signal, "api") == ["received"]
    assert values_sent(signal, "api") == ["received"]
    assert values_sent(signal, "app") == ["received"]


def test_receiver_that_is_connected_again_within_the_block_is_called_once() -> None:
    signal = Signal()
    signal.connect(receive)
    with signal.disconnected_from(receive):
        signal.connect(receive)
        assert values_sent(signal) == ["received"]
    assert values_sent(signal) == ["received"]
    assert len(signal.connections) == 1
    assert signal.disconnect(receive)
    assert not signal.receivers


def test_receiver_comes_back_when_the_block_raises() -> None:
    signal = Signal()
    signal.connect(receive)
    with pytest.raises(LookupError), signal.disconnected_from(receive):
        raise LookupError
    assert values_sent(signal) == ["received"]


def test_blocks_nest() -> None:
    signal = Signal()
    signal.connect(receive)
    with signal.disconnected_from(receive):
        with signal.disconnected_from(receive):
            assert values_sent(signal) == []
        assert values_sent(signal) == []
        with signal.connected_to(receive):
            assert values_sent(signal) == ["received"]
        assert values_sent(signal) == []
    assert values_sent(signal) == ["received"]
    assert len(signal.connections) == 1


def test_block_within_a_block_that_connects_is_undone() -> None:
    signal = Signal()
    with signal.connected_to(receive):
        with signal.disconnected_from(receive):
            assert values_sent(signal) == []
        assert values_sent(signal) == ["received"]
    assert not signal.receivers


def test_bound_method_comes_back_as_weak_as_it_was() -> None:
    signal, owner = Signal(), Owner()
    signal.connect(owner.receive)
    with signal.disconnected_from(owner.receive):
        assert values_sent(signal) == []
    assert values_sent(signal) == ["method"]
    del owner
    gc.collect()
    assert not signal.receivers


def test_sender_comes_back_as_weak_as_it_was() -> None:
    signal, sender = Signal(), Owner()
    signal.connect(receive, sender=sender)
    with signal.disconnected_from(receive, sender=sender):
        pass
    assert values_sent(signal, sender) == ["received"]
    del sender
    gc.collect()
    assert not signal.receivers


def test_sender_that_dies_within_the_block_is_no_trouble() -> None:
    signal, sender = Signal(), Owner()
    signal.connect(receive, sender=sender)
    signal.connect(receive, sender="app")
    with signal.disconnected_from(receive):
        del sender
        gc.collect()
    assert values_sent(signal, "app") == ["received"]
    assert len(signal.connections) == 1


def test_send_on_its_way_skips_what_is_out() -> None:
    def take_out(sender: Any) -> None:
        block.__enter__()

    signal = Signal()
    block = signal.disconnected_from(receive)
    signal.connect(take_out)
    signal.connect(receive)
    assert values_sent(signal) == [None]
    block.__exit__(None, None, None)
    signal.disconnect(take_out)
    assert values_sent(signal) == ["received"]


def test_receiver_of_the_namespace_is_left_by_a_block_of_another() -> None:
    def audit(sender: Any, signal: Any) -> str:
        return "audit"

    namespace = Namespace()
    opened = namespace.signal("opened")
    namespace.connect(audit)
    opened.connect(receive)
    with opened.disconnected_from(receive):
        assert values_sent(opened) == ["audit"]
    assert values_sent(opened) == ["audit", "received"]


def test_receiver_that_cannot_be_called_is_refused() -> None:
    nothing: Any = None
    with pytest.raises(ReceiverError), Signal().disconnected_from(nothing):
        pass


def test_blocks_of_many_threads_put_everything_back() -> None:
    def take_out() -> None:
        start.wait(30)
        for _ in range(200):
            with signal.disconnected_from(receive):
                signal.send("app")

    signal, start = Signal(), threading.Barrier(4)
    signal.connect(receive_first)
    signal.connect(receive)
    signal.connect(receive, sender="app")
    signal.connect(receive_last)
    threads = [threading.Thread(target=take_out) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert values_sent(signal, "app") == ["first", "received", "last"]
    assert len(signal.connections) == 4
