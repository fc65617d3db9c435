"""The defaults of each way to connect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from signalpost import ANY
from signalpost import connect_methods
from signalpost import NamedSignal
from signalpost import Namespace
from signalpost import receiver
from signalpost import receiver_method
from signalpost import Signal

WAYS: dict[str, Callable[[Signal], Callable[..., Any]]] = {
    "connect": lambda signal: signal.connect,
    "decorator": lambda signal: signal.connect(),
    "receiver": receiver,
    "receiver of several": lambda signal: receiver([Signal(), signal]),
    "connect_via": lambda signal: signal.connect_via(ANY),
}


def receive(sender: Any, **payload: Any) -> str:
    return "received"


def fail(sender: Any, **payload: Any) -> None:
    raise LookupError("no such order")


@pytest.mark.parametrize("way", WAYS)
def test_connection_has_no_options(way: str) -> None:
    signal = Signal()
    WAYS[way](signal)(receive)
    (info,) = signal.connections
    assert (info.sender, info.weak) == (ANY, way != "connect_via")
    assert (info.once, info.subclasses, info.strict) == (False, False, False)
    assert (info.priority, info.dispatch_uid, info.when) == (0, None, ())
    assert info.calls == 0


@pytest.mark.parametrize("way", WAYS)
def test_failure_of_a_receiver_is_kept_from_the_sender(way: str) -> None:
    signal = Signal()
    WAYS[way](signal)(fail)
    assert [one.failed for one in signal.send_robust()] == [True]


@pytest.mark.parametrize("way", WAYS)
def test_function_of_the_same_name_takes_no_place(way: str) -> None:
    def make(value: int) -> Callable[..., Any]:
        def receive(sender: Any) -> int:
            return value

        return receive

    signal, receivers = Signal(), [make(1), make(2)]
    for one in receivers:
        WAYS[way](signal)(one)
    assert [value for _, value in signal.send()] == [1, 2]


def test_namespace_connects_to_any_sender_without_options() -> None:
    namespace = Namespace()
    signal = namespace.signal("opened")
    namespace.connect(receive)
    (info,) = signal.connections
    assert (info.sender, info.weak) == (ANY, True)
    assert (info.once, info.subclasses, info.strict) == (False, False, False)
    assert (info.priority, info.dispatch_uid, info.when) == (0, None, ())


def test_block_connects_to_any_sender_without_options() -> None:
    signal = Signal()
    with signal.connected_to(receive):
        (info,) = signal.connections
    assert (info.sender, info.weak, info.connected_at) == (ANY, False, None)
    assert (info.once, info.subclasses, info.strict) == (False, False, False)
    assert (info.priority, info.dispatch_uid, info.when) == (0, None, ())


def test_method_is_connected_to_any_sender_without_options() -> None:
    class Owner:
        def __init__(self) -> None:
            connect_methods(self)

        @receiver_method(signal := Signal())
        def receive(self, sender: Any) -> None: ...

    owner = Owner()
    (info,) = Owner.signal.connections
    assert info.receiver == owner.receive
    assert (info.sender, info.weak) == (ANY, True)
    assert (info.once, info.subclasses, info.strict) == (False, False, False)
    assert (info.priority, info.dispatch_uid, info.when) == (0, None, ())


def test_signal_without_a_payload_declares_none() -> None:
    assert Signal().payload is None
    assert Namespace().signal("opened").payload is None
    assert Signal().__doc__ == Signal.__doc__


def test_signal_of_a_namespace_without_documentation_has_that_of_its_class() -> None:
    namespace = Namespace()
    opened = namespace.signal("opened")
    assert namespace.signal("opened").__doc__ == NamedSignal.__doc__
    assert "__doc__" not in vars(opened)


def test_signal_of_a_namespace_keeps_its_first_documentation() -> None:
    namespace = Namespace()
    opened = namespace.signal("opened")
    namespace.signal("opened", "Sent at nine.")
    namespace.signal("opened", "Sent at ten.")
    namespace.signal("opened")
    assert opened.__doc__ == "Sent at nine."
