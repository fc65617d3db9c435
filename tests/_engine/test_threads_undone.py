"""Removals and undone connects among threads."""

from __future__ import annotations

import gc
import threading
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from signalpost import Namespace
from signalpost import Signal

from .racing import run_together

STUCK_SECONDS = 30.0
"""How long another thread gets for one change, while a finaliser waits for it."""
ROUNDS = 150


class Owner:
    def receive(self, sender: Any, **extra: Any) -> None: ...


class Finalised:
    """A receiver that does something when it dies, from wherever that happens."""

    def __init__(self, change: Callable[[], object]) -> None:
        self.change = change

    def __call__(self, sender: Any, **extra: Any) -> None: ...

    def __del__(self) -> None:
        self.change()


def ignore(sender: Any, **extra: Any) -> None: ...


def waiting_for_a_change(signal: Signal, problems: list[str]) -> Callable[[], None]:
    """Return a finaliser that ends when another thread has changed the signal."""

    def change() -> None:
        signal.connect(ignore, sender="change")
        signal.disconnect(ignore, sender="change")

    def wait() -> None:
        thread = threading.Thread(target=change, daemon=True)
        thread.start()
        thread.join(STUCK_SECONDS)
        if thread.is_alive():
            problems.append("".join(traceback.format_stack()))
        else:
            problems.append("finalised outside the lock")

    return wait


WELL = ["finalised outside the lock"]
SENDERS = pytest.mark.parametrize(
    "options", [{}, {"sender": "app"}], ids=["any", "app"]
)


@SENDERS
def test_receiver_disconnected_by_its_uid_is_finalised_outside_the_lock(
    options: dict[str, Any], problems: list[str]
) -> None:
    signal = Signal()
    receiver = Finalised(waiting_for_a_change(signal, problems))
    signal.connect(receiver, weak=False, dispatch_uid="uid", **options)
    del receiver
    assert signal.disconnect(dispatch_uid="uid")
    assert problems == WELL
    assert not signal.receivers


@SENDERS
def test_receiver_replaced_by_its_uid_is_finalised_outside_the_lock(
    options: dict[str, Any], problems: list[str]
) -> None:
    signal = Signal()
    receiver = Finalised(waiting_for_a_change(signal, problems))
    signal.connect(receiver, weak=False, dispatch_uid="uid", **options)
    del receiver
    signal.connect(ignore, dispatch_uid="uid", replace=True, **options)
    assert problems == WELL


@SENDERS
def test_receiver_of_one_call_is_finalised_outside_the_lock(
    options: dict[str, Any], problems: list[str]
) -> None:
    signal = Signal()
    receiver = Finalised(waiting_for_a_change(signal, problems))
    signal.connect(receiver, weak=False, once=True, dispatch_uid="uid", **options)
    del receiver
    signal.send("app")
    assert problems == WELL


@SENDERS
def test_receiver_whose_connect_is_undone_is_finalised_outside_the_lock(
    options: dict[str, Any], problems: list[str]
) -> None:
    def refuse(_: Any, **payload: Any) -> None:
        raise LookupError

    def connect() -> None:
        receiver = Finalised(waiting_for_a_change(signal, problems))
        try:
            signal.connect(receiver, weak=False, **options)
        except LookupError as error:
            error.__traceback__ = None

    signal = Signal()
    signal.receiver_connected.connect(refuse, once=True)
    connect()
    gc.collect()
    assert problems == WELL
    assert not signal.receivers


def test_receiver_of_a_block_is_finalised_outside_the_lock(problems: list[str]) -> None:
    def open_block() -> None:
        receiver = Finalised(waiting_for_a_change(signal, problems))
        with signal.connected_to(receiver):
            pass

    signal = Signal()
    open_block()
    gc.collect()
    assert problems == WELL


def test_receiver_of_a_namespace_is_finalised_outside_the_lock(
    problems: list[str],
) -> None:
    namespace = Namespace()
    opened = namespace.signal("opened")
    receiver = Finalised(waiting_for_a_change(opened, problems))
    namespace.connect(receiver, weak=False)
    assert namespace.disconnect(receiver)
    del receiver
    gc.collect()
    assert problems == WELL


def refusing(signal: Signal, refused: list[Any]) -> None:
    """Undo every connect of a receiver that is listed."""

    def refuse(_: Any, receiver: Any, **payload: Any) -> None:
        if any(receiver == one for one in refused):
            raise LookupError

    signal.receiver_connected.connect(refuse, weak=False)


def test_undone_connects_lose_no_connection_of_other_threads(
    problems: list[str],
) -> None:
    def connect_refused(owner: Owner) -> None:
        for number in range(ROUNDS):
            for sender in ("app", number):
                with pytest.raises(LookupError):
                    signal.connect(owner.receive, sender=sender)
            with pytest.raises(LookupError):
                signal.connect(owner.receive, weak=number % 2 == 0)

    def connect_accepted(owners: list[Owner]) -> None:
        for owner in owners:
            signal.connect(owner.receive)
            signal.connect(owner.receive, sender="app")

    signal = Signal()
    refused = [Owner() for _ in range(3)]
    accepted = [[Owner() for _ in range(ROUNDS)] for _ in range(2)]
    refusing(signal, [owner.receive for owner in refused])
    run_together(
        *(lambda owner=owner: connect_refused(owner) for owner in refused),
        *(lambda owners=owners: connect_accepted(owners) for owners in accepted),
    )
    assert not problems
    found = {id(one.__self__) for one in signal.receivers_for("app")}  # type: ignore[attr-defined]
    assert found == {id(owner) for owners in accepted for owner in owners}
    assert len(signal.connections) == 4 * ROUNDS
    signal.disconnect_all()
    assert not signal.receivers


def test_undone_connects_do_not_stop_sends_of_other_threads(
    problems: list[str],
) -> None:
    def connect_refused() -> None:
        for _ in range(ROUNDS):
            with pytest.raises(LookupError):
                signal.connect(refused.receive)

    def send() -> None:
        for _ in range(ROUNDS):
            found = [receiver for receiver, _ in signal.send("app")]
            if permanent.receive not in found:
                problems.append("missed a send")

    signal, permanent, refused = Signal(), Owner(), Owner()
    signal.connect(permanent.receive, sender="app")
    refusing(signal, [refused.receive])
    run_together(connect_refused, send, connect_refused, send)
    assert not problems
    assert list(signal.receivers_for("app")) == [permanent.receive]


def test_undone_reconnects_keep_the_connection_that_was_there(
    problems: list[str],
) -> None:
    def reconnect() -> None:
        for number in range(ROUNDS):
            with pytest.raises(LookupError):
                signal.connect(owner.receive, weak=False, priority=number)

    signal, owner = Signal(), Owner()
    signal.connect(owner.receive)
    refusing(signal, [owner.receive])
    run_together(reconnect, reconnect, reconnect)
    assert not problems
    assert list(signal.receivers_for("app")) == [owner.receive]
    assert len(signal.connections) == 1
