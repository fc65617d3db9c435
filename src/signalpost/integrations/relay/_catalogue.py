"""The signals that relays and listeners send about themselves."""

from __future__ import annotations

from ..._engine.namespace import Namespace
from ..._engine.signal import NamedSignal

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
could be reached, or ``sends="now"`` raised. Not for a try in the background that is
repeated. Also when a dispatcher, its sender then, has set an event of an outbox aside.

*Payload*:

- ``event``: the :class:`~signalpost.integrations.relay.WrittenEvent`.
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
- ``exception``: what the first that failed has raised, or ``None``.

.. versionadded:: 0.1
"""

relay_buried: NamedSignal = relay_signals.signal(
    "relay-buried", "An event was put aside.", payload=("event", "body", "why")
)
"""An event was put aside: it is a dead letter of the group now.

*Sender*: the :class:`~signalpost.integrations.relay.Listener`.

*Sent when*: it cannot be read, or its receivers have failed ``max_tries`` times.

*Payload*:

- ``event``: the :class:`~signalpost.integrations.relay.Event`; ``None`` if it cannot
  be read.
- ``body``: what came, as bytes.
- ``why``: the :class:`~signalpost.integrations.relay.Why`.

.. versionadded:: 0.1
"""
