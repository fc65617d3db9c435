"""A class that is connected first by itself and then with its subclasses."""

from __future__ import annotations

from typing import Any

import pytest

from signalpost import Signal


class Base: ...


class Derived(Base): ...


class DerivedAgain(Derived): ...


def receive(sender: Any) -> str:
    return "received"


def receive_last(sender: Any) -> str:
    return "last"


def values_sent(signal: Signal, sender: Any) -> list[str]:
    return [value for _, value in signal.send(sender)]


@pytest.mark.parametrize("is_sent_before", [True, False])
def test_subclasses_are_received_after_a_second_connect(is_sent_before: bool) -> None:
    signal = Signal()
    signal.connect(receive, Base)
    if is_sent_before:
        assert values_sent(signal, Derived) == []
        assert values_sent(signal, Base) == ["received"]
    signal.connect(receive, Base, subclasses=True)
    for sender in (Base, Derived, DerivedAgain):
        assert values_sent(signal, sender) == ["received"]
        assert signal.has_receivers_for(sender)
        assert list(signal.receivers_for(sender)) == [receive]


def test_second_connect_is_no_second_connection() -> None:
    signal = Signal()
    signal.connect(receive, Base)
    signal.connect(receive_last, Base, subclasses=True)
    signal.connect(receive, Base, subclasses=True)
    assert [one.subclasses for one in signal.connections] == [True, True]
    assert values_sent(signal, Derived) == ["received", "last"]


def test_subclasses_are_gone_after_one_disconnect() -> None:
    signal = Signal()
    signal.connect(receive, Base)
    signal.connect(receive, Base, subclasses=True)
    assert values_sent(signal, Derived) == ["received"]
    assert signal.disconnect(receive, Base)
    for sender in (Base, Derived):
        assert values_sent(signal, sender) == []
        assert not signal.has_receivers_for(sender)


def test_subclasses_stay_after_a_second_connect_without_them() -> None:
    signal = Signal()
    signal.connect(receive, Base, subclasses=True)
    signal.connect(receive, Base)
    assert values_sent(signal, Derived) == ["received"]


def test_block_over_the_class_leaves_its_subclasses() -> None:
    signal = Signal()
    signal.connect(receive, Base, subclasses=True)
    with signal.connected_to(receive, Base):
        assert values_sent(signal, Derived) == ["received"]
    assert values_sent(signal, Derived) == ["received"]


def test_undone_second_connect_leaves_the_class_alone() -> None:
    def refuse(signal: Any, **payload: Any) -> None:
        raise LookupError

    signal = Signal()
    signal.connect(receive, Base)
    signal.receiver_connected.connect(refuse)
    with pytest.raises(LookupError):
        signal.connect(receive, Base, subclasses=True)
    assert values_sent(signal, Base) == ["received"]
    assert values_sent(signal, Derived) == []
