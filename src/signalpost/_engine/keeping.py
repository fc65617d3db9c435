"""Keeping the receivers of a sender alive, those of every signal."""

from __future__ import annotations

from .identity import sender_key
from .kept import Keeper
from .names import names_of
from .serial import every
from .table import Table

__all__ = ["keeper_for"]


def keeper_for(sender: object) -> Keeper:
    """Return an object that keeps the receivers of a sender, and of its names, alive.

    Those that are connected already, and those that are connected later. Store it in
    the sender, so that both are freed together.
    """
    keeper = Keeper()
    senders = [sender, *names_of(sender)]
    for one in senders:
        keeper.register(one)
    for table in [*every]:
        if isinstance(table, Table):
            for one in senders:
                table.run_now(_keep_connected, table, keeper, one)
    return keeper


def _keep_connected(table: Table, keeper: Keeper, sender: object) -> None:
    record = table.by_sender.get(sender_key(sender))
    if record is not None and record.is_for(sender):
        for connection in record.connections.values():
            keeper.keep(connection)
