"""The connections that a signal lists."""

from __future__ import annotations

import gc
import sys
from typing import Any

import pytest

from signalpost import ANY
from signalpost import ConnectionInfo
from signalpost import named
from signalpost import NamedSignal
from signalpost import Namespace
from signalpost import receiver
from signalpost import Signal


class Base: ...


class Owner:
    def receive(self, sender: Any) -> None: ...


class Bare:
    """Neither it nor its method can be weakly referenced."""

    __slots__ = ()

    def __call__(self, sender: Any) -> None: ...


def take(sender: Any, **extra: Any) -> None: ...


def take_another(sender: Any, **extra: Any) -> None: ...


def line_of_the_caller() -> int:
    return sys._getframe(1).f_lineno


def test_plain_connection_shows_the_defaults() -> None:
    signal = Signal()
    signal.connect(take)
    place = f"{__file__}:{line_of_the_caller() - 1}"
    assert signal.connections == (
        ConnectionInfo(
            receiver=take,
            sender=ANY,
            name=f"{__name__}.take",
            connected_at=place,
            weak=True,
            once=False,
            priority=0,
            dispatch_uid=None,
            subclasses=False,
            calls=0,
        ),
    )


def test_options_are_shown() -> None:
    signal = Signal()
    signal.connect(
        take,
        Base,
        weak=False,
        once=True,
        priority=3,
        dispatch_uid=("uid", 1),
        subclasses=True,
    )
    (connection,) = signal.connections
    assert connection.sender is Base
    assert not connection.weak
    assert connection.once
    assert connection.priority == 3
    assert connection.dispatch_uid == ("uid", 1)
    assert connection.subclasses


@pytest.mark.parametrize(
    "sender", ["app", 7, None, False, Base, Base(), [], Owner().receive]
)
def test_sender_is_the_one_given(sender: Any) -> None:
    signal = Signal()
    signal.connect(take, sender=sender)
    (connection,) = signal.connections
    assert connection.sender == sender
    assert type(connection.sender) is type(sender)


def test_method_is_shown_with_its_instance() -> None:
    signal, owner = Signal(), Owner()
    signal.connect(owner.receive)
    (connection,) = signal.connections
    assert connection.receiver == owner.receive
    assert connection.name == f"{__name__}.Owner.receive"
    assert connection.weak


def test_receiver_that_is_held_as_it_must_be_is_shown_as_strong() -> None:
    signal, bare = Signal(), Bare()
    signal.connect(bare, weak=False)
    (connection,) = signal.connections
    assert connection.receiver is bare
    assert not connection.weak


def test_connection_made_strong_is_shown_as_strong() -> None:
    signal = Signal()
    signal.connect(take)
    signal.connect(take, weak=False)
    assert [connection.weak for connection in signal.connections] == [False]


def test_connection_made_to_stay_is_shown_as_staying() -> None:
    signal = Signal()
    signal.connect(take, once=True)
    signal.connect(take)
    assert [connection.once for connection in signal.connections] == [False]


def test_every_sender_has_a_connection_of_its_own() -> None:
    signal = Signal()
    signal.connect(take, sender="app")
    signal.connect(take)
    signal.connect(take, sender="api")
    assert [one.sender for one in signal.connections] == ["app", ANY, "api"]


def test_order_is_that_of_delivery() -> None:
    signal = Signal()
    signal.connect(take)
    signal.connect(take_another, sender="app", priority=1)
    found = [connection.receiver for connection in signal.connections]
    assert found == [take_another, take]
    assert found == list(signal.receivers_for("app"))


def test_dead_are_not_shown() -> None:
    signal, owner, sender = Signal(), Owner(), Base()
    signal.connect(owner.receive)
    signal.connect(take, sender=sender)
    signal.connect(take_another)
    del owner, sender
    gc.collect()
    assert [one.receiver for one in signal.connections] == [take_another]


def test_place_of_a_decorator_is_that_of_the_decorator() -> None:
    signal = Signal()
    above = line_of_the_caller()

    @signal.connect
    def first(sender: Any) -> None: ...

    @signal.connect_via("app")
    def second(sender: Any) -> None: ...

    @receiver(signal)
    def third(sender: Any) -> None: ...

    assert [one.connected_at for one in signal.connections] == [
        f"{__file__}:{above + lines}" for lines in (2, 5, 8)
    ]


def test_place_of_a_loop_is_the_same_for_all() -> None:
    signal = Signal()
    for number in range(3):
        signal.connect(take, sender=number)
    places = {connection.connected_at for connection in signal.connections}
    assert places == {f"{__file__}:{line_of_the_caller() - 2}"}


def test_place_of_a_receiver_of_the_namespace_is_where_it_was_connected() -> None:
    namespace = Namespace()
    namespace.connect(take)
    line = line_of_the_caller() - 1
    (connection,) = namespace.signal("opened").connections
    assert connection.connected_at == f"{__file__}:{line}"
    assert connection.receiver is take
    assert connection.dispatch_uid is None


def test_place_of_the_first_connect_is_kept() -> None:
    signal = Signal()
    signal.connect(take)
    line = line_of_the_caller() - 1
    signal.connect(take, weak=False)
    assert signal.connections[0].connected_at == f"{__file__}:{line}"


def test_connection_of_a_block_has_no_place() -> None:
    signal = Signal()
    with signal.connected_to(take):
        (connection,) = signal.connections
    assert connection.connected_at is None
    assert not connection.weak
    assert signal.connections == ()


def test_connections_are_a_snapshot() -> None:
    signal = Signal()
    signal.connect(take)
    before = signal.connections
    signal.disconnect(take)
    assert len(before) == 1
    assert signal.connections == ()


def test_disconnect_all_counts_and_empties() -> None:
    signal, owner = Signal(), Owner()
    signal.connect(take)
    signal.connect(take, sender="app")
    signal.connect(take_another, sender=owner, once=True)
    signal.connect(owner.receive, weak=False, dispatch_uid="uid")
    signal.connect(take, sender=Base, subclasses=True)
    assert signal.disconnect_all() == 5
    assert signal.disconnect_all() == 0
    assert signal.connections == ()
    assert not signal.receivers
    for sender in ("app", owner, Base, None):
        assert signal.send(sender) == []
        assert not signal.has_receivers_for(sender)


def test_disconnect_all_lets_receivers_go() -> None:
    class Heavy:
        def __init__(self) -> None:
            self.is_gone = gone

        def receive(self, sender: Any) -> None: ...

        def __del__(self) -> None:
            self.is_gone.append(True)

    gone: list[bool] = []
    signal, heavy = Signal(), Heavy()
    signal.connect(heavy.receive, weak=False)
    signal.connect(heavy.receive, sender="app", weak=False)
    signal.send("app")
    del heavy
    assert signal.disconnect_all() == 2
    assert gone == [True]


def test_disconnected_strong_receiver_is_let_go_by_every_route() -> None:
    signal, gone = Signal(), list[bool]()

    class Heavy:
        def receive(self, sender: Any) -> None: ...

        def __del__(self) -> None:
            gone.append(True)

    heavy = Heavy()
    signal.connect(take, sender="app")
    signal.connect(heavy.receive, weak=False)
    signal.send("app")
    signal.send("api")
    signal.disconnect(heavy.receive)
    del heavy
    assert gone == [True]


def test_disconnect_all_is_not_reported() -> None:
    def note(signal: Any, **extra: Any) -> None:
        told.append(extra)

    signal = Signal()
    told: list[Any] = []
    signal.connect(take)
    signal.receiver_disconnected.connect(note)
    signal.disconnect_all()
    assert told == []


def test_send_on_its_way_ends_with_disconnect_all() -> None:
    def disconnect(sender: Any) -> None:
        signal.disconnect_all()

    signal = Signal()
    signal.connect(disconnect)
    signal.connect(take)
    assert signal.send() == [(disconnect, None)]


def test_receivers_may_be_connected_after_disconnect_all() -> None:
    signal = Signal()
    signal.connect(take, sender="app")
    signal.disconnect_all()
    signal.connect(take_another, sender="app")
    assert signal.send("app") == [(take_another, None)]


def test_block_that_is_open_over_disconnect_all_ends_quietly() -> None:
    signal = Signal()
    with signal.connected_to(take):
        assert signal.disconnect_all() == 1
        signal.connect(take_another)
    assert [one.receiver for one in signal.connections] == [take_another]


@pytest.mark.parametrize(
    ("senders", "shown"),
    [
        ([], "<NamedSignal 'moved', 0 connections>"),
        ([ANY], "<NamedSignal 'moved', 1 connection>"),
        ([ANY, "lift", named("lift")], "<NamedSignal 'moved', 3 connections>"),
    ],
)
def test_repr_shows_how_many_connections_there_are(
    senders: list[object], shown: str
) -> None:
    signal = NamedSignal("moved")
    for sender in senders:
        signal.connect(take, sender)
    assert repr(signal) == shown
    assert str(signal) == "<NamedSignal 'moved'>"
