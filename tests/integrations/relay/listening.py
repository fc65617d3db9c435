"""Listeners in threads of a test, and what their receivers were called with."""

from __future__ import annotations

import contextlib
import threading
import time
import typing as t
from collections.abc import Callable
from collections.abc import Iterator

from signalpost import NamedSignal
from signalpost import Namespace
from signalpost.integrations.relay import current_event
from signalpost.integrations.relay import Event
from signalpost.integrations.relay import Listener


def eventually(is_so: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait until something is so; fail if it never is."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it did not become so"
        time.sleep(0.005)


@contextlib.contextmanager
def listening(*listeners: Listener) -> Iterator[None]:
    """Run listeners in threads for the length of a block."""
    threads = [threading.Thread(target=one.run) for one in listeners]
    for one in threads:
        one.start()
    try:
        yield
    finally:
        for listener in listeners:
            listener.stop()
        for one in threads:
            one.join(30)
            assert not one.is_alive()


def order_placed() -> NamedSignal:
    """Return a signal of a new namespace, as in another process."""
    return Namespace().signal("order-placed", payload=("order",))


class Shipping:
    """A receiver that notes what it gets; it may fail, or take long."""

    def __init__(self, signal: NamedSignal, action: t.Any = None) -> None:
        self.orders: list[t.Any] = []
        self.events: list[Event | None] = []
        self.senders: list[t.Any] = []
        self._action = action
        signal.connect(self.ship)

    def ship(self, sender: t.Any, order: t.Any) -> None:
        self.orders.append(order)
        self.senders.append(sender)
        self.events.append(current_event())
        if self._action is not None:
            self._action(order)
