"""Effects of the callbacks of weak references, while a receiver is freed."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from signalpost import Signal

from .tables import assert_empty
from .tables import has_waiting_changes

STUCK_SECONDS = 30.0
"""How long another thread gets for one change."""


class Owner:
    def __init__(self) -> None:
        self.itself = self  # it dies when garbage is collected, with its callbacks

    def receive(self, sender: Any, **payload: Any) -> str:
        return "owner"


class Late:
    """A receiver that is connected in the callback."""

    def receive(self, sender: Any, **payload: Any) -> str:
        return "late"


def while_dying(owners: list[Owner], work: Callable[[], object]) -> None:
    """Free an owner, and do something before the callback of the signal runs.

    In a callback of one of many weak references, as their order is not defined.
    """
    (owner,) = owners
    references = [weakref.ref(owner, lambda _: work()) for _ in range(10)]
    owners.clear()
    del owner
    gc.collect()
    assert references[0]() is None


@pytest.fixture
def owners() -> list[Owner]:
    return [Owner()]


def test_receiver_that_dies_is_neither_shown_nor_called(owners: list[Owner]) -> None:
    def look() -> None:
        shown.append((signal.connections, signal.send(), [*signal.receivers_for(1)]))

    signal, shown = Signal(), list[Any]()
    signal.connect(owners[0].receive)
    signal.send()
    while_dying(owners, look)
    assert shown == [((), [], [])] * 10
    assert_empty(signal)


@pytest.mark.parametrize("sender", [Signal.ANY, "app"])
@pytest.mark.parametrize("replace", [False, True])
def test_uid_is_free_while_its_receiver_dies(
    owners: list[Owner], sender: Any, replace: bool
) -> None:
    def connect() -> None:
        signal.connect(late.receive, sender, dispatch_uid="uid", replace=replace)

    signal, late = Signal(), Late()
    signal.connect(owners[0].receive, sender, dispatch_uid="uid")
    while_dying(owners, connect)
    assert signal.send("app") == [(late.receive, "late")]
    assert len(signal.connections) == 1
    signal.disconnect(dispatch_uid="uid")
    assert_empty(signal)


def test_block_takes_the_uid_of_a_receiver_that_dies(owners: list[Owner]) -> None:
    def open_and_close() -> None:
        with signal.connected_to(late.receive):
            sent.append(signal.send())

    signal, late, sent = Signal(), Late(), list[Any]()
    signal.connect(owners[0].receive)
    while_dying(owners, open_and_close)
    assert sent == [[(late.receive, "late")]] * 10
    assert_empty(signal)


def test_send_refuses_no_async_receiver_that_dies() -> None:
    class AsyncOwner(Owner):
        async def receive_later(self, sender: Any) -> None: ...

    signal, owner, sent = Signal(), AsyncOwner(), list[Any]()
    signal.connect(owner.receive_later)
    assert signal.has_receivers_for(None)
    owners: list[Owner] = [owner]
    del owner
    while_dying(owners, lambda: sent.append(signal.send()))
    assert sent == [[]] * 10


class Dying:
    """Lets an owner die within a change, as a collection of garbage may."""

    def __init__(self, owners: list[Owner]) -> None:
        self.owners = owners

    @property
    def current(self) -> object:
        return None

    @current.setter
    def current(self, _: object) -> None:
        self.owners.clear()
        gc.collect()


def connect(signal: Signal) -> None:
    signal.connect(receive)


def connect_to_a_sender(signal: Signal) -> None:
    signal.connect(receive, sender="app")


def disconnect(signal: Signal) -> None:
    signal.disconnect(receive)


def open_a_block(signal: Signal) -> None:
    with signal.connected_to(receive):
        pass


def receive(sender: Any, **payload: Any) -> str:
    return "received"


@pytest.mark.parametrize(
    "change", [connect, connect_to_a_sender, disconnect, open_a_block]
)
def test_receiver_that_dies_within_a_change_is_taken_out_after_it(
    change: Callable[[Signal], None],
) -> None:
    signal, owner = Signal(), Owner()
    owners = [owner]
    signal.connect(owner.receive)
    signal.connect(owner.receive, sender="app")
    if change is disconnect:
        signal.connect(receive)
    signal.send()
    del owner
    dying: Any = Dying(owners)
    signal.table.run_now(signal.table.routes.add_generation, dying)
    change(signal)
    assert owners == []
    assert not has_waiting_changes(signal)
    signal.disconnect(receive)
    assert_empty(signal)


@pytest.mark.parametrize("sender", [Signal.ANY, "app"])
def test_receiver_is_finalised_outside_the_lock_though_another_one_dies(
    sender: Any,
) -> None:
    class Finalised:
        def __call__(self, sender: Any) -> None: ...

        def __del__(self) -> None:
            thread = threading.Thread(target=connect, args=(signal,), daemon=True)
            thread.start()
            thread.join(STUCK_SECONDS)
            is_free.append(not thread.is_alive())

    signal, owner, is_free = Signal(), Owner(), list[bool]()
    signal.connect(Finalised(), sender, weak=False, dispatch_uid="uid")
    signal.connect(owner.receive)
    dying: Any = Dying([owner])
    del owner
    signal.table.run_now(signal.table.routes.add_generation, dying)
    assert signal.disconnect(dispatch_uid="uid")
    assert is_free == [True]
    assert [one.receiver for one in signal.connections] == [receive]


@pytest.mark.parametrize("sender", [Signal.ANY, "app"])
def test_disconnect_within_a_change_is_made_after_it(sender: Any) -> None:
    def work() -> None:
        results.append(signal.disconnect(receive))
        results.append(signal.disconnect(receive, sender))
        results.append(len(signal.connections))

    signal, results = Signal(), list[Any]()
    signal.connect(receive, sender)
    signal.table.run_now(work)
    assert results == [False, False, 1]
    assert_empty(signal)
