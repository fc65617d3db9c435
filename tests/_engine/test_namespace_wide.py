"""Receivers of a whole namespace, signals that come later included."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from signalpost import NamedSignal
from signalpost import Namespace
from signalpost import Signal
from signalpost.errors import PayloadError
from signalpost.errors import ReceiverError
from signalpost.errors import WeakReceiverWarning


class Owner:
    def receive(self, sender: Any, signal: NamedSignal, **extra: Any) -> str:
        return signal.name


def take(sender: Any, signal: NamedSignal | None = None, **extra: Any) -> str:
    return "alone" if signal is None else signal.name


def take_another(sender: Any, signal: NamedSignal, **extra: Any) -> str:
    return f"another {signal.name}"


def give_all(sender: Any, **extra: Any) -> dict[str, Any]:
    return extra


def values_sent(signal: Signal, sender: Any = None, **payload: Any) -> list[Any]:
    return [value for _, value in signal.send(sender, **payload)]


def test_signals_that_are_there_are_received() -> None:
    namespace = Namespace()
    opened, closed = namespace.signal("opened"), namespace.signal("closed")
    namespace.connect(take)
    assert values_sent(opened) == ["opened"]
    assert values_sent(closed) == ["closed"]


def test_signals_that_come_later_are_received() -> None:
    namespace = Namespace()
    namespace.connect(take)
    assert values_sent(namespace.signal("opened")) == ["opened"]


def test_signals_of_other_namespaces_are_not_received() -> None:
    namespace, other = Namespace(), Namespace()
    namespace.connect(take)
    assert values_sent(other.signal("opened")) == []


def test_signal_is_passed_in_addition_to_the_payload() -> None:
    namespace = Namespace()
    namespace.connect(give_all)
    opened = namespace.signal("opened")
    assert values_sent(opened, door=1) == [{"door": 1, "signal": opened}]


def test_every_way_of_sending_passes_the_signal() -> None:
    namespace = Namespace()
    namespace.connect(give_all)
    opened = namespace.signal("opened")
    (outcome,) = opened.send_robust(door=1)
    assert outcome.value == {"door": 1, "signal": opened}


def test_signal_is_passed_in_addition_to_a_declared_payload() -> None:
    def read_door(sender: Any, door: int, signal: NamedSignal) -> tuple[int, str]:
        return door, signal.name

    namespace = Namespace()
    opened = namespace.signal("opened", payload=("door", "time"))
    namespace.connect(read_door)
    namespace.connect(give_all)
    assert values_sent(opened, door=1, time=2) == [
        (1, "opened"),
        {"door": 1, "time": 2, "signal": opened},
    ]


def test_payload_may_be_declared_after_connecting() -> None:
    def read_door(sender: Any, signal: NamedSignal, door: int) -> tuple[int, str]:
        return door, signal.name

    namespace = Namespace()
    namespace.connect(read_door)
    opened = namespace.signal("opened", payload=("door", "time"))
    assert values_sent(opened, door=1, time=2) == [(1, "opened")]


def test_receivers_that_are_not_of_the_namespace_are_not_reported() -> None:
    namespace = Namespace()
    opened = namespace.signal("opened")
    namespace.connect(take_another)
    opened.connect(give_all)
    assert values_sent(opened, door=1) == ["another opened", {"door": 1}]


def test_place_is_that_of_connecting() -> None:
    namespace = Namespace()
    opened = namespace.signal("opened")
    opened.connect(give_all)
    namespace.connect(take)
    opened.connect(take_another)  # connected to this one signal only
    found = [receiver for receiver, _ in opened.send(signal=opened)]
    assert found == [give_all, take, take_another]


def test_priority_holds_in_every_signal() -> None:
    namespace = Namespace()
    opened = namespace.signal("opened")
    opened.connect(give_all)
    namespace.connect(take, priority=1)
    closed = namespace.signal("closed")
    closed.connect(give_all)
    assert values_sent(opened) == ["opened", {}]
    assert values_sent(closed) == ["closed", {}]


def test_connecting_again_keeps_the_place() -> None:
    namespace = Namespace()
    opened = namespace.signal("opened")
    namespace.connect(take)
    namespace.connect(take_another)
    namespace.connect(take)
    assert values_sent(opened) == ["opened", "another opened"]


def test_connecting_again_keeps_a_strong_connection_strong() -> None:
    namespace = Namespace()
    opened, owner = namespace.signal("opened"), Owner()
    namespace.connect(owner.receive, weak=False)
    namespace.connect(owner.receive)
    del owner
    gc.collect()
    assert values_sent(opened) == ["opened"]
    assert values_sent(namespace.signal("closed")) == ["closed"]


@pytest.mark.parametrize("sender", ["app", 7, None, False, Owner, Owner(), []])
def test_only_the_given_sender_is_received(sender: Any) -> None:
    namespace = Namespace()
    opened = namespace.signal("opened")
    namespace.connect(take, sender=sender)
    closed = namespace.signal("closed")
    for signal in (opened, closed):
        assert values_sent(signal, sender) == [signal.name]
        assert values_sent(signal, "another sender") == []


def test_bound_method_may_be_the_sender() -> None:
    namespace, owner = Namespace(), Owner()
    namespace.connect(take, sender=owner.receive)
    opened = namespace.signal("opened")
    assert values_sent(opened, owner.receive) == ["opened"]
    assert values_sent(opened, owner) == []


def test_several_senders_are_received_and_disconnected_one_by_one() -> None:
    namespace = Namespace()
    namespace.connect(take, sender="app")
    namespace.connect(take, sender="api")
    opened = namespace.signal("opened")
    assert namespace.disconnect(take, sender="app")
    assert values_sent(opened, "app") == []
    assert values_sent(opened, "api") == ["opened"]


def test_disconnect_is_from_all_signals_and_later_ones() -> None:
    namespace = Namespace()
    opened = namespace.signal("opened")
    namespace.connect(take)
    assert namespace.disconnect(take)
    assert not namespace.disconnect(take)
    assert not opened.receivers
    assert not namespace.signal("closed").receivers


def test_disconnect_from_any_is_one_from_every_sender() -> None:
    namespace = Namespace()
    namespace.connect(take, sender="app")
    opened = namespace.signal("opened")
    assert namespace.disconnect(take)
    assert not opened.receivers


def test_disconnect_from_another_sender_does_nothing() -> None:
    namespace = Namespace()
    namespace.connect(take)
    opened = namespace.signal("opened")
    assert not namespace.disconnect(take, sender="app")
    assert values_sent(opened, "app") == ["opened"]


def test_connection_to_a_signal_itself_outlives_that_to_the_namespace() -> None:
    namespace = Namespace()
    opened = namespace.signal("opened")
    namespace.connect(take)
    opened.connect(take)
    assert namespace.disconnect(take)
    assert values_sent(opened) == ["alone"]


def test_connection_to_the_namespace_outlives_that_to_a_signal_itself() -> None:
    namespace = Namespace()
    opened = namespace.signal("opened")
    opened.connect(take)
    namespace.connect(take)
    assert opened.disconnect(take)
    assert values_sent(opened) == ["opened"]


def test_receiver_held_weakly_may_die() -> None:
    namespace = Namespace()
    opened, owner = namespace.signal("opened"), Owner()
    namespace.connect(owner.receive)
    assert values_sent(opened) == ["opened"]
    del owner
    gc.collect()
    assert not opened.receivers
    assert not namespace.signal("closed").receivers


def test_receiver_held_strongly_lives() -> None:
    namespace, owner = Namespace(), Owner()
    namespace.connect(owner.receive, weak=False)
    del owner
    gc.collect()
    assert values_sent(namespace.signal("opened")) == ["opened"]


def test_inline_lambda_is_reported() -> None:
    with pytest.warns(WeakReceiverWarning, match=r"<lambda>.*weak=False"):
        Namespace().connect(lambda sender, **extra: None)


def test_sender_may_die() -> None:
    namespace, owner = Namespace(), Owner()
    opened = namespace.signal("opened")
    namespace.connect(take, sender=owner)
    del owner
    gc.collect()
    assert not opened.receivers
    assert not namespace.signal("closed").receivers
    assert not namespace.disconnect(take)


def test_namespace_connect_may_decorate() -> None:
    namespace = Namespace()

    @namespace.connect
    def receiver(sender: Any, signal: NamedSignal) -> str:
        return signal.name

    assert values_sent(namespace.signal("opened")) == ["opened"]


def test_misfit_is_connected_to_none() -> None:
    def read_door(sender: Any, door: int, signal: NamedSignal) -> None: ...

    namespace = Namespace()
    opened = namespace.signal("opened", payload=("door",))
    namespace.signal("moved", payload=("to",))
    with pytest.raises(PayloadError, match="'door'"):
        namespace.connect(read_door)
    assert not opened.receivers
    assert not namespace.signal("closed").receivers


@pytest.mark.parametrize(
    "receiver",
    [
        lambda sender: None,
        lambda sender, signal, /, *extra: None,
        lambda signal, **extra: None,
    ],
    ids=["no signal", "signal by position only", "signal in the place of the sender"],
)
def test_receiver_that_cannot_take_the_signal_is_refused(receiver: Any) -> None:
    namespace = Namespace()
    opened = namespace.signal("opened")
    with pytest.raises(PayloadError) as refusal:
        namespace.connect(receiver)
    assert refusal.value.receiver is receiver
    assert not opened.receivers


@pytest.mark.parametrize("weak", [True, False])
def test_something_else_than_a_callable_is_refused(weak: bool) -> None:
    with pytest.raises(ReceiverError, match="must be callable"):
        Namespace().connect(7, weak=weak)  # type: ignore[type-var]  # wrong on purpose


def test_signal_put_into_the_namespace_is_received() -> None:
    namespace = Namespace()
    namespace.connect(take)
    namespace["opened"] = NamedSignal("ready made")
    assert values_sent(namespace.signal("opened")) == ["ready made"]


def test_signal_put_in_twice_is_received_once() -> None:
    namespace, opened = Namespace(), NamedSignal("opened")
    namespace.connect(take)
    namespace["opened"] = opened
    namespace["opened again"] = opened
    assert values_sent(opened) == ["opened"]


def test_signals_of_an_update_are_received() -> None:
    namespace = Namespace()
    namespace.connect(take)
    namespace.update(opened=NamedSignal("opened"))
    namespace |= {"closed": NamedSignal("closed")}
    namespace.setdefault("moved", NamedSignal("moved"))
    for name in ("opened", "closed", "moved"):
        assert values_sent(namespace[name]) == [name]
