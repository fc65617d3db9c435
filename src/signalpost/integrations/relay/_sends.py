"""The ways in which a relay sends events to its broker, and their counts."""

from __future__ import annotations

import logging
import os
import threading
import time
import typing as t
import weakref
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field

from ..._engine.signal import NamedSignal
from ..._relaying import relay_delayed
from ..._relaying import relay_failed
from ..._relaying import relay_sent
from ...errors import RelayError
from ._event import WrittenEvent
from ._transport import Address
from ._transport import opened
from ._transport import Transport

__all__ = ["Counts", "ImmediateSends", "Seldom", "Sends", "after_fork", "log"]

log = logging.getLogger("signalpost.relay")


class Sends(t.Protocol):
    """One of the ways to send."""

    @property
    def waiting(self) -> int:
        """Return the number of events that wait in this process."""

    @property
    def oldest_seconds(self) -> float:
        """Return how long the oldest of them has waited, in seconds; 0 if none."""

    def put(self, event: WrittenEvent) -> None:
        """Send an event, or queue it to be sent.

        :raises RelayError: If the sending fails, and this class sends at once.
        """

    def close(self, seconds: float) -> int:
        """Send the waiting events; return how many are left, and so are lost."""


class Seldom:
    """A limit for a log line: once a minute at most."""

    __slots__ = ("_next",)

    PAUSE_SECONDS: t.Final = 60.0

    def __init__(self) -> None:
        self._next = 0.0

    def is_due(self) -> bool:
        """Return whether the line may be logged now."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self.PAUSE_SECONDS
        return True


@dataclass(slots=True)
class Counts:
    """The counts of a relay's events in this process."""

    relay: weakref.ref[t.Any]
    """The relay, which sends the signals about them."""
    sent: int = 0
    """The number of events that the broker has confirmed."""
    dropped: int = 0
    """The number of events that were dropped."""
    tries: int = 0
    """The number of calls of the broker."""
    failures: int = 0
    """The number of those calls that failed."""
    # Reentrant: a finaliser may send while its thread is counting.
    _counting: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def start_over(self) -> None:
        """Count from 0, as in a forked child."""
        self._counting = threading.RLock()
        self.sent = self.dropped = self.tries = self.failures = 0

    def note_try(self) -> None:
        """Count a call of the broker."""
        with self._counting:
            self.tries += 1

    def note_failure(self) -> None:
        """Count a call that has failed."""
        with self._counting:
            self.failures += 1

    def note_sent(self, events: Sequence[WrittenEvent]) -> None:
        """Count events that the broker has confirmed."""
        with self._counting:
            self.sent += len(events)
        relay = self.relay()
        if _is_followed(relay_sent, relay):
            for event in events:
                relay_sent.send_robust(relay, event=event)

    def note_delayed(self, waiting: int, reason: str) -> None:
        """Report that events wait, as the broker could not be reached."""
        relay = self.relay()
        if _is_followed(relay_delayed, relay):
            relay_delayed.send_robust(relay, waiting=waiting, reason=reason)

    def note_dropped(self, event: WrittenEvent, reason: str) -> None:
        """Count an event that is dropped."""
        with self._counting:
            self.dropped += 1
        relay = self.relay()
        if _is_followed(relay_failed, relay):
            relay_failed.send_robust(relay, event=event, reason=reason)


def _is_followed(signal: NamedSignal, sender: object) -> bool:
    return bool(signal.receivers) and signal.has_receivers_for(sender)


class ImmediateSends:
    """A sender with one try for each event, before the signal's ``send`` returns.

    Threads that send at the same time use different connections.

    :param address: The broker's address.
    :param counts: The counters of the relay.
    """

    waiting: t.Final = 0
    oldest_seconds: t.Final = 0.0

    def __init__(self, address: Address, counts: Counts) -> None:
        self._address = address
        self._counts = counts
        self._idle: list[Transport] = []
        after_fork(self, ImmediateSends._forget)

    def put(self, event: WrittenEvent) -> None:
        """Send an event.

        :raises RelayError: If the broker did not accept it.
        """
        counts = self._counts
        try:
            transport = self._idle.pop()
        except IndexError:
            transport = opened(self._address)
        counts.note_try()
        try:
            transport.send([event])
        except RelayError as error:
            transport.close()
            counts.note_failure()
            counts.note_dropped(event, str(error))
            raise
        self._idle.append(transport)
        counts.note_sent([event])

    def close(self, seconds: float) -> int:
        """Disconnect; nothing waits here."""
        idle, self._idle = self._idle, []
        for transport in idle:
            transport.close()
        return 0

    def _forget(self) -> None:
        idle, self._idle = self._idle, []
        for transport in idle:
            transport.forget()
        self._counts.start_over()


_followers: weakref.WeakKeyDictionary[t.Any, Callable[[t.Any], None]] = (
    weakref.WeakKeyDictionary()
)
_followers_lock = threading.Lock()


def after_fork(owner: t.Any, function: Callable[[t.Any], None]) -> None:
    """Call a function with its owner in each child that is forked from now on.

    The reference to the owner is weak.
    """
    with _followers_lock:
        _followers[owner] = function


def _forked() -> None:
    global _followers_lock
    _followers_lock = threading.Lock()  # another thread may have held it
    for owner, function in [*_followers.items()]:
        function(owner)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
