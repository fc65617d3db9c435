"""Signals for receivers in other processes and on other machines, over a broker.

::

    from signalpost.integrations.relay import Relay

    Relay("redis://broker/0", source="shop").forward(order_placed)
"""

from __future__ import annotations

from ..._relaying import relay_buried
from ..._relaying import relay_delayed
from ..._relaying import relay_failed
from ..._relaying import relay_received
from ..._relaying import relay_sent
from ..._relaying import relay_signals
from ._again import current_event
from ._backlog import read_backlog
from ._configured import ConfiguredRelay
from ._event import Event
from ._event import WrittenEvent
from ._lines import EventLogger
from ._lines import log_event
from ._listener import Listener
from ._relay import Relay
from ._transport import Backlog
from ._transport import Why
from ._values import Codec

__all__ = [
    "Backlog",
    "Codec",
    "ConfiguredRelay",
    "Event",
    "EventLogger",
    "Listener",
    "Relay",
    "Why",
    "WrittenEvent",
    "current_event",
    "log_event",
    "read_backlog",
    "relay_buried",
    "relay_delayed",
    "relay_failed",
    "relay_received",
    "relay_sent",
    "relay_signals",
]
