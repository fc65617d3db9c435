"""Signals after a fork during a change of another thread.

The thread is not gone here, as it is in a real child: it continues at the end.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from signalpost import ANY
from signalpost import named
from signalpost import Namespace
from signalpost import Signal
from signalpost._engine import serial

from .tables import assert_empty

PATIENCE_SECONDS = 30.0


class Shop:
    """A sender."""


class Branch(Shop): ...


class Uid:
    """Stops a change at one of the times when it asks for the hash."""

    def __init__(self, hashes_left: int) -> None:
        self.hashes_left = hashes_left
        self.reached = threading.Event()
        self.may_go_on = threading.Event()
        self.has_stopped = False

    def __hash__(self) -> int:
        if threading.current_thread() is not threading.main_thread():
            self.hashes_left -= 1
            if self.hashes_left == -1:
                self.has_stopped = True
                self.reached.set()
                self.may_go_on.wait(PATIENCE_SECONDS)
        return 7


def receive(sender: Any, **payload: Any) -> str:
    return "received"


def receive_another(sender: Any, **payload: Any) -> str:
    return "another"


def values_sent(signal: Signal, sender: Any) -> list[Any]:
    return [value for _, value in signal.send(sender)]


def in_thread(work: Callable[[], object], reached: threading.Event) -> threading.Thread:
    """Start a thread, and wait until it has reached a place, or its end."""

    def run() -> None:
        # It gives back a lock that it does not have any longer.
        with suppress(RuntimeError):
            work()
        reached.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert reached.wait(PATIENCE_SECONDS)
    return thread


@pytest.fixture(params=[Signal, lambda: Namespace().signal("opened")])
def stuck_signal(request: pytest.FixtureRequest) -> Any:
    """Give a signal that another thread was changing when the process forked."""

    def change() -> None:
        is_changing.set()
        may_go_on.wait(PATIENCE_SECONDS)

    signal = request.param()
    signal.connect(receive, sender="app")
    is_changing, may_go_on = threading.Event(), threading.Event()
    thread = in_thread(lambda: signal.table.run(change), is_changing)
    serial._renew_locks()
    yield signal
    may_go_on.set()
    thread.join(PATIENCE_SECONDS)


def test_change_is_made_at_once_after_a_fork(stuck_signal: Signal) -> None:
    stuck_signal.connect(receive_another)
    assert values_sent(stuck_signal, "app") == ["received", "another"]
    assert len(stuck_signal.connections) == 2
    assert stuck_signal.disconnect(receive_another)
    assert stuck_signal.disconnect(receive, sender="app")
    assert_empty(stuck_signal)


def test_other_thread_makes_a_change_after_a_fork(stuck_signal: Signal) -> None:
    done = threading.Event()
    thread = in_thread(lambda: stuck_signal.connect(receive_another), done)
    thread.join(PATIENCE_SECONDS)
    assert values_sent(stuck_signal, "app") == ["received", "another"]


def test_fork_leaves_a_lock_that_is_free() -> None:
    def change() -> None:
        serial._renew_locks()
        signal.connect(receive)
        sent.append(values_sent(signal, "app"))

    signal, sent = Signal(), list[Any]()
    signal.table.run_now(change)
    assert sent == [[]]  # it waits for the change around it
    assert values_sent(signal, "app") == ["received"]


NAME = named("shop of a fork")
SHOP = Shop()
NAME.bind(SHOP)
SENDERS: list[tuple[dict[str, Any], Any]] = [
    ({}, "app"),
    ({"sender": "app"}, "app"),
    ({"sender": SHOP}, SHOP),
    ({"sender": Shop}, Shop),
    ({"sender": Shop, "subclasses": True}, Branch),
    ({"sender": NAME}, SHOP),
]
EACH = pytest.mark.parametrize(
    ("options", "sender"),
    SENDERS,
    ids=["any", "value", "object", "class", "subclasses", "name"],
)


def connect(signal: Signal, uid: Uid, options: dict[str, Any]) -> None:
    signal.connect(receive, dispatch_uid=uid, priority=1, **options)


def disconnect(signal: Signal, uid: Uid, options: dict[str, Any]) -> None:
    signal.disconnect(dispatch_uid=uid)


def assert_well(signal: Signal, uid: Uid, options: dict[str, Any], sender: Any) -> None:
    """Check that the connection is either there or not, in every way to ask."""
    is_there = len(signal.connections) == 2
    assert values_sent(signal, sender) == ["received"] * is_there + ["another"]
    assert [*signal.receivers_for(sender)][-1] is receive_another
    signal.connect(receive_another, sender="late")
    assert values_sent(signal, "late")[-1] == "another"
    connected_to = options.get("sender", ANY)
    assert signal.disconnect(dispatch_uid=uid, sender=connected_to) is is_there
    assert values_sent(signal, sender) == ["another"]
    assert signal.disconnect(receive_another)
    assert not signal.has_receivers_for(sender)
    assert_empty(signal)


@EACH
@pytest.mark.parametrize("change", [connect, disconnect])
def test_change_that_was_half_done_is_done_or_not(
    change: Callable[..., None], options: dict[str, Any], sender: Any
) -> None:
    for hashes in itertools.count():
        signal, uid = Signal(), Uid(hashes)
        signal.connect(receive_another, **options)
        if change is disconnect:
            connect(signal, uid, options)
        signal.send(sender)
        thread = in_thread(partial(change, signal, uid, options), uid.reached)
        serial._renew_locks()
        assert_well(signal, uid, options, sender)
        uid.may_go_on.set()
        thread.join(PATIENCE_SECONDS)
        if not uid.has_stopped:
            break
    assert hashes > 2


@EACH
def test_disconnect_of_the_last_receiver_that_was_half_done_leaves_nothing(
    options: dict[str, Any], sender: Any
) -> None:
    for hashes in itertools.count():
        signal, uid = Signal(), Uid(hashes)
        connect(signal, uid, options)
        signal.send(sender)
        thread = in_thread(partial(disconnect, signal, uid, options), uid.reached)
        serial._renew_locks()
        signal.disconnect(dispatch_uid=uid)
        assert signal.send(sender) == []
        assert_empty(signal)
        uid.may_go_on.set()
        thread.join(PATIENCE_SECONDS)
        if not uid.has_stopped:
            break
    assert hashes > 2
