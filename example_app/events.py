"""Shows a signal that other processes receive; both sides import it from here."""

from __future__ import annotations

from signalpost import Namespace

events = Namespace()

order_placed = events.signal("order-placed", payload=("order", "total_cents"))
"""A visitor has placed an order.

*Payload*: ``order``, its number, and ``total_cents``.
"""
