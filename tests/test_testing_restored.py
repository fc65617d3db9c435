"""Helpers for tests of an application: sends kept, connections restored."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from signalpost import default_namespace
from signalpost import NamedSignal
from signalpost import Namespace
from signalpost import Signal
from signalpost.lifecycle import exchange_closed
from signalpost.testing import capture
from signalpost.testing import restored


class Owner:
    def receive(self, sender: Any) -> str:
        return "method"


def receive(sender: Any, **payload: Any) -> str:
    return "received"


def receive_first(sender: Any, **payload: Any) -> str:
    return "first"


def receive_last(sender: Any, **payload: Any) -> str:
    return "last"


def fail(sender: Any, **payload: Any) -> None:
    raise LookupError("no such order")


async def receive_later(sender: Any, **payload: Any) -> str:
    return "later"


async def fail_later(sender: Any, **payload: Any) -> None:
    raise LookupError("no such order")


def values_sent(signal: Signal, sender: Any = None) -> list[Any]:
    return [value for _, value in signal.send(sender)]


# Sends that are kept


@pytest.mark.parametrize("priority", [0, 1, 10**9, 2**80])
def test_send_whose_earlier_receiver_raises_is_kept(priority: int) -> None:
    signal = Signal()
    signal.connect(fail, priority=priority)
    with capture(signal) as sent, pytest.raises(LookupError):
        signal.send("app", order=7)
    assert [(one.sender, one.payload) for one in sent] == [("app", {"order": 7})]


def test_send_of_one_sender_whose_earlier_receiver_raises_is_kept() -> None:
    signal = Signal()
    signal.connect(fail)
    signal.connect(fail, sender="app")
    with capture(signal, sender="app") as sent, pytest.raises(LookupError):
        signal.send("app")
    assert len(sent) == 1


def test_send_whose_strict_receiver_raises_is_kept() -> None:
    signal = Signal()
    signal.connect(fail, strict=True)
    with capture(signal) as sent, pytest.raises(LookupError):
        signal.send_robust("app")
    assert len(sent) == 1


@pytest.mark.parametrize("together", [None, asyncio.gather], ids=["in turn", "at once"])
def test_async_send_whose_earlier_receiver_raises_is_kept(together: Any) -> None:
    signal = Signal()
    signal.connect(fail_later, priority=1)
    with capture(signal) as sent, pytest.raises(LookupError):
        asyncio.run(signal.send_async("app", _gather=together))
    assert len(sent) == 1


def test_send_is_kept_as_it_was_before_receivers_changed_the_payload() -> None:
    def change(sender: Any, orders: list[int]) -> None:
        if not sent:
            raise AssertionError("the send was not kept first")

    signal = Signal(payload=("orders",))
    signal.connect(change, priority=1)
    with capture(signal) as sent:
        signal.send("app", orders=[1])
    assert len(sent) == 1


def test_capture_changes_no_order_of_others() -> None:
    signal = Signal()
    signal.connect(receive_first)
    with capture(signal):
        signal.connect(receive_last)
        found = [receiver for receiver, _ in signal.send()]
    assert [one for one in found if one in (receive_first, receive_last)] == [
        receive_first,
        receive_last,
    ]


def test_held_sends_are_kept_when_they_go_out() -> None:
    signal = Signal()
    with capture(signal) as sent:
        with signal.held():
            signal.send("a")
            assert sent == []
        assert len(sent) == 1


# Connections that are restored


def test_connection_made_within_the_block_is_gone_after_it() -> None:
    signal = Signal()
    with restored(signal):
        signal.connect(receive)
        signal.connect(receive, sender="app")
        assert values_sent(signal) == ["received"]
    assert not signal.receivers


def test_strong_receiver_of_the_block_is_let_go() -> None:
    signal, owner = Signal(), Owner()
    with restored(signal):
        signal.connect(owner.receive, weak=False)
    del owner
    gc.collect()
    assert not [one for one in gc.get_objects() if type(one) is Owner]


def test_connection_taken_out_within_the_block_is_back_in_its_place() -> None:
    signal = Signal()
    for receiver in (receive_first, receive, receive_last):
        signal.connect(receiver)
    with restored(signal):
        signal.disconnect(receive)
        signal.connect(receive)
        signal.disconnect(receive_first)
    assert values_sent(signal) == ["first", "received", "last"]


def test_options_are_back() -> None:
    signal = Signal()
    signal.connect(receive, priority=1, once=True, dispatch_uid="uid")
    signal.connect(receive_last, sender=Owner, subclasses=True, weak=False)
    before = signal.connections
    with restored(signal):
        signal.send("app")
        signal.disconnect_all()
        signal.connect(receive_last, sender=Owner)
    assert signal.connections == before


def test_change_of_an_option_is_undone() -> None:
    signal = Signal()
    signal.connect(receive)
    signal.connect(receive_last, when=lambda sender: False)
    with restored(signal):
        signal.connect(receive, priority=-1)
        signal.connect(receive_last)
        assert values_sent(signal) == ["received", "last"]
    assert values_sent(signal) == ["received"]


def test_receiver_of_one_call_is_back_after_its_call() -> None:
    signal = Signal()
    signal.connect(receive, once=True)
    for _ in range(2):
        with restored(signal):
            assert values_sent(signal) == ["received"]
            assert values_sent(signal) == []
    assert values_sent(signal) == ["received"]
    assert values_sent(signal) == []


def test_connections_are_restored_when_the_block_raises() -> None:
    def work() -> None:
        with restored(signal):
            signal.disconnect(receive)
            signal.connect(receive_last)
            raise LookupError

    signal = Signal()
    signal.connect(receive)
    with pytest.raises(LookupError):
        work()
    assert values_sent(signal) == ["received"]


def test_only_the_named_signals_are_restored() -> None:
    one, other = Signal(), Signal()
    with restored(one):
        one.connect(receive)
        other.connect(receive)
    assert not one.receivers
    assert other.receivers


def test_several_signals_are_restored() -> None:
    one, other = Signal(), Signal()
    one.connect(receive)
    with restored(one, other):
        one.disconnect(receive)
        other.connect(receive)
    assert one.receivers
    assert not other.receivers


def test_receivers_of_the_namespace_are_restored() -> None:
    def audit(sender: Any, signal: NamedSignal) -> str:
        return f"audit of {signal.name}"

    def audit_again(sender: Any, signal: NamedSignal) -> str:
        return "again"

    namespace = Namespace()
    opened = namespace.signal("opened")
    namespace.connect(audit)
    with restored(namespace):
        namespace.disconnect(audit)
        namespace.connect(audit_again)
        assert values_sent(opened) == ["again"]
    assert values_sent(opened) == ["audit of opened"]
    assert values_sent(namespace.signal("closed")) == ["audit of closed"]
    assert namespace.disconnect(audit)
    assert not namespace.disconnect(audit_again)


def test_signals_of_a_namespace_are_restored() -> None:
    namespace = Namespace()
    opened = namespace.signal("opened")
    opened.connect(receive)
    with restored(namespace):
        opened.disconnect(receive)
        opened.connect(receive_last, sender="app")
    assert values_sent(opened, "app") == ["received"]


def test_without_arguments_everything_is_restored() -> None:
    def audit(sender: Any, signal: NamedSignal, **payload: Any) -> None: ...

    signal, namespace = Signal(), Namespace()
    opened = namespace.signal("opened")
    opened.connect(receive)
    before = exchange_closed.connections
    with restored():
        signal.connect(receive)
        opened.disconnect(receive)
        namespace.connect(audit)
        default_namespace.connect(audit)
        exchange_closed.connect(receive)
    assert not signal.receivers
    assert values_sent(opened) == ["received"]
    assert not namespace.disconnect(audit)
    assert not default_namespace.disconnect(audit)
    assert exchange_closed.connections == before


def test_receivers_about_connections_are_restored() -> None:
    def note(_: Any, receiver: Any, **payload: Any) -> None:
        noted.append(receiver)

    signal, noted = Signal(), list[Any]()
    with restored():
        signal.receiver_connected.connect(note)
        signal.connect(receive)
    signal.connect(receive_last)
    assert noted == [receive]


def test_receiver_that_died_within_the_block_stays_dead() -> None:
    signal, owner = Signal(), Owner()
    signal.connect(owner.receive)
    signal.connect(receive_last)
    with restored(signal):
        del owner
        gc.collect()
    assert values_sent(signal) == ["last"]
    assert len(signal.connections) == 1


def test_sender_that_died_within_the_block_stays_dead() -> None:
    signal, sender = Signal(), Owner()
    signal.connect(receive, sender=sender)
    with restored(signal):
        del sender
        gc.collect()
    assert not signal.receivers


def test_restored_receiver_is_as_weak_as_it_was() -> None:
    signal, owner = Signal(), Owner()
    signal.connect(owner.receive)
    with restored(signal):
        signal.disconnect(owner.receive)
        signal.connect(owner.receive, weak=False)
    assert values_sent(signal) == ["method"]
    del owner
    gc.collect()
    assert not signal.receivers


def test_blocks_nest() -> None:
    signal = Signal()
    with restored(signal):
        signal.connect(receive_first)
        with restored(signal):
            signal.disconnect(receive_first)
            signal.connect(receive_last)
        assert values_sent(signal) == ["first"]
    assert not signal.receivers


def test_other_blocks_may_be_within() -> None:
    signal = Signal()
    signal.connect(receive)
    with restored(signal):
        with capture(signal) as sent, signal.disconnected_from(receive):
            signal.send("app")
        signal.disconnect(receive)
    assert len(sent) == 1
    assert values_sent(signal) == ["received"]


def test_decorated_function_restores_at_each_call() -> None:
    signal = Signal()

    @restored(signal)
    def work() -> int:
        signal.connect(receive)
        return len(signal.connections)

    assert work() == 1
    assert not signal.receivers
    assert work() == 1
    assert not signal.receivers


def test_decorated_coroutine_function_restores_when_it_has_run() -> None:
    signal = Signal()

    @restored(signal)
    async def work() -> list[Any]:
        signal.connect(receive_later)
        await asyncio.sleep(0)
        return await signal.send_async()

    assert asyncio.run(work()) == [(receive_later, "later")]
    assert not signal.receivers


@pytest.fixture
def restoring() -> Any:
    signal = Signal()
    signal.connect(receive)
    with restored(signal):
        yield signal
    assert values_sent(signal) == ["received"]


def test_fixture_restores(restoring: Signal) -> None:
    restoring.disconnect(receive)
    restoring.connect(receive_last)
    assert values_sent(restoring) == ["last"]


@pytest.mark.parametrize("wrong", ["opened", None, Signal, 7])
def test_what_is_neither_signal_nor_namespace_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"restored\(\)"), restored(wrong):
        pass
