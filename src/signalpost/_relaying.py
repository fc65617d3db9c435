"""The signals that relays and listeners send about themselves.

They are below the integration, so that the live page can record them without it.
"""

from __future__ import annotations

import atexit
import time
import typing as t
import weakref

from ._engine.namespace import Namespace
from ._engine.signal import NamedSignal

__all__ = [
    "OpenRelay",
    "all_open",
    "close_relays",
    "flush_relays",
    "open_relays",
    "relay_buried",
    "relay_delayed",
    "relay_failed",
    "relay_received",
    "relay_sent",
    "relay_signals",
]

_EXIT_SECONDS: t.Final = 2.0

relay_signals: Namespace = Namespace()
"""Every signal of this page by its name, as in ``relay_signals["relay-sent"]``.

.. versionadded:: 0.1
"""

relay_sent: NamedSignal = relay_signals.signal(
    "relay-sent", "The broker has an event.", payload=("event",)
)
"""The broker has confirmed an event.

*Sender*: the :class:`~signalpost.integrations.relay.Relay`; for events of an outbox,
the :class:`~signalpost.integrations.relay.outbox.Dispatcher`.

*Sent when*: after the broker's answer; in the relay's thread if events are sent in the
background.

*Payload*:

- ``event``: the :class:`~signalpost.integrations.relay.WrittenEvent`.

.. versionadded:: 0.1
"""

relay_failed: NamedSignal = relay_signals.signal(
    "relay-failed", "An event was given up.", payload=("event", "reason")
)
"""An event was not sent, and will not be: it is lost.

*Sender*: the :class:`~signalpost.integrations.relay.Relay`.

*Sent when*: too many events wait already, or the relay was closed before the broker
could be reached, or ``sends="now"`` raised. Not sent for a try in the background that
is repeated. Also sent when a dispatcher, which is then the sender, has set an event of
an outbox aside.

*Payload*:

- ``event``: the :class:`~signalpost.integrations.relay.WrittenEvent`.
- ``reason``: why, in one line.

.. versionadded:: 0.1
"""

relay_delayed: NamedSignal = relay_signals.signal(
    "relay-delayed", "Events wait for a broker.", payload=("waiting", "reason")
)
"""Events could not be sent yet; they wait, and are tried again.

*Sender*: the :class:`~signalpost.integrations.relay.Relay`; for events of an outbox,
the :class:`~signalpost.integrations.relay.outbox.Dispatcher`.

*Sent when*: after each try in the background for which the broker, or the database of
an outbox, could not be reached: every 5 seconds or more often.

*Payload*:

- ``waiting``: how many events wait in this process; ``None`` from a dispatcher, as they
  wait in the table.
- ``reason``: why, in one line.

.. versionadded:: 0.1
"""

relay_received: NamedSignal = relay_signals.signal(
    "relay-received",
    "The receivers of an event have returned.",
    payload=("event", "duration_seconds", "exception"),
)
"""The receivers of an event have returned.

*Sender*: the :class:`~signalpost.integrations.relay.Listener`.

*Sent when*: after each try, in the listener's thread. Not for an event that was
received before.

*Payload*:

- ``event``: the :class:`~signalpost.integrations.relay.Event`.
- ``duration_seconds``: how long all of its receivers took.
- ``exception``: the exception of the first failed receiver, or ``None``.

.. versionadded:: 0.1
"""

relay_buried: NamedSignal = relay_signals.signal(
    "relay-buried", "An event was put aside.", payload=("event", "body", "why")
)
"""An event has become a dead letter of the group.

*Sender*: the :class:`~signalpost.integrations.relay.Listener`.

*Sent when*: it cannot be read, or its receivers have failed ``max_tries`` times.

*Payload*:

- ``event``: the :class:`~signalpost.integrations.relay.Event`; ``None`` if it cannot
  be read.
- ``body``: the received message, as bytes.
- ``why``: the :class:`~signalpost.integrations.relay.Why`.

.. versionadded:: 0.1
"""


class OpenRelay(t.Protocol):
    """The part of a relay that metrics and the live page read."""

    source: str
    sends_later: bool
    """``True`` if events wait in this process until a thread sends them."""

    @property
    def waiting(self) -> int:
        """Return how many events wait in this process."""

    @property
    def oldest_seconds(self) -> float:
        """Return for how long the oldest of them has waited; 0 if none waits."""

    @property
    def sent(self) -> int:
        """Return how many events the broker has taken."""

    @property
    def dropped(self) -> int:
        """Return how many events were given up."""

    @property
    def tries(self) -> int:
        """Return how many times the broker was called."""

    @property
    def failures(self) -> int:
        """Return how many of these calls failed."""

    def flush(self, seconds: float) -> int:
        """Wait until the events are sent, and return how many still wait."""

    def close(self, seconds: float) -> int:
        """Send the waiting events, and return the number that is left."""


open_relays: weakref.WeakSet[OpenRelay] = weakref.WeakSet()
"""The relays of this process that are not closed."""


def all_open() -> list[OpenRelay]:
    """Return the open relays; another thread may open one meanwhile."""
    while True:
        try:
            return [*open_relays]
        except RuntimeError:  # the set has changed
            continue


def close_relays() -> None:
    """Send the waiting events at the end of the process, for a limited time."""
    end = time.monotonic() + _EXIT_SECONDS
    for relay in all_open():
        relay.close(max(end - time.monotonic(), 0.0))


def flush_relays() -> None:
    """Send the waiting events in a process that may end without atexit."""
    end = time.monotonic() + _EXIT_SECONDS
    for relay in all_open():
        relay.flush(max(end - time.monotonic(), 0.0))


atexit.register(close_relays)
