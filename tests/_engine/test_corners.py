"""Corners where one thing that was done disturbed another."""

from __future__ import annotations

import functools
import threading
from typing import Any

import pytest

from signalpost import Namespace
from signalpost import Outcome
from signalpost import Signal
from signalpost.errors import ReceiverError
from signalpost.testing import restored

from .tables import assert_empty
from .tables import has_fast_route

ERROR = LookupError("no such order")


class Owner:
    def note(self, kind: str, sender: Any = None) -> str:
        return kind

    one = functools.partialmethod(note, "one")

    @functools.singledispatchmethod
    def dispatched(self, sender: Any) -> str:
        return "dispatched"


def fail(sender: Any) -> None:
    raise ERROR


def values_sent(signal: Signal, sender: Any = None) -> list[Any]:
    return [value for _, value in signal.send(sender)]


def test_outcome_that_failed_differs_from_one_that_gives_an_exception() -> None:
    failed, given = Outcome(fail, exception=ERROR), Outcome(fail, ERROR)
    assert failed != given  # results.py: __eq__ without __ne__; tuple has its own


def test_outcome_is_equal_to_the_pair_that_it_unpacks_into() -> None:
    assert Outcome(print, 7) == (print, 7)
    assert Outcome(print, exception=ERROR) == (print, ERROR)
    assert Outcome(print, 7) != (print, 8)


def test_bound_callable_has_the_name_of_its_function() -> None:
    signal, owner = Signal(), Owner()
    signal.connect(owner.one)
    signal.connect(owner.dispatched)
    assert [one.name for one in signal.connections] == [
        f"{__name__}.Owner.note",
        f"{__name__}.Owner.dispatched",
    ]


class Uid:
    """A uid that cannot be compared with others."""

    def __hash__(self) -> int:
        return 7

    def __eq__(self, other: object) -> bool:
        raise LookupError


def test_uid_that_cannot_be_compared_leaves_no_lock_behind() -> None:
    signal, changed = Signal(), threading.Event()
    signal.connect(fail, sender="app", dispatch_uid=Uid())
    with pytest.raises(LookupError):
        signal.disconnect(dispatch_uid=Uid())

    def change() -> None:
        signal.connect(fail)
        changed.set()

    threading.Thread(target=change, daemon=True).start()
    assert changed.wait(5)


@pytest.mark.parametrize("block", ["muted", "held"])
def test_signal_is_as_fast_after_a_block_as_before(block: str) -> None:
    signal = Signal()
    signal.connect(receive)
    signal.send()
    assert has_fast_route(signal)
    with getattr(signal, block)(), getattr(signal, block)():
        signal.send()
    signal.send()
    assert has_fast_route(signal)


@pytest.mark.parametrize("sender", ["app", 7])
def test_signal_is_as_fast_without_a_value_sender_as_before(sender: Any) -> None:
    signal = Signal()
    signal.connect(receive)
    signal.send()
    signal.connect(receive, sender=sender)
    signal.send()
    signal.disconnect(receive, sender=sender)
    signal.send()
    assert has_fast_route(signal)


def receive(sender: Any) -> None: ...


def test_subclasses_that_are_restored_leave_nothing() -> None:
    class Branch(Owner): ...

    signal = Signal()
    signal.connect(receive, sender=Owner)
    with restored(signal):
        signal.connect(receive, sender=Owner, subclasses=True)
        signal.send(Branch)
    signal.disconnect(receive)
    assert_empty(signal)  # table.py: put_back() does not forget the inherited


def test_priority_that_is_no_number_is_refused_by_a_namespace() -> None:
    with pytest.raises(ReceiverError, match="priority"):
        Namespace().connect(audit, priority="high")  # type: ignore[arg-type]


def test_priority_that_is_no_number_is_refused_by_a_block() -> None:
    with pytest.raises(ReceiverError, match="priority"):
        Signal().connected_to(receive, priority="high")  # type: ignore[arg-type]


def audit(sender: Any, **payload: Any) -> None: ...
