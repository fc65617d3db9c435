"""The outbox: events that are sent if and only if their transaction is committed.

::

    from signalpost.integrations.relay import Relay
    from signalpost.integrations.relay.outbox import OutboxTable

    outbox = OutboxTable(db.metadata)
    Relay(source="shop", sends="outbox", outbox=outbox).forward(order_placed)

Needs SQLAlchemy.
"""

from __future__ import annotations

from ._dispatch import Dispatcher
from ._table import OutboxTable

__all__ = ["Dispatcher", "OutboxTable"]
