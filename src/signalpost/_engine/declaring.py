"""The declaration of a payload after receivers were connected."""

from __future__ import annotations

from ..errors import PayloadError
from .connection import fitted
from .table import Table

__all__ = ["declare"]


def declare(table: Table, declared: frozenset[str]) -> None:
    """Declare the payload of a table's signal, if that was not done before.

    To be run as ``table.run_now(declare, table, declared)``.

    :raises PayloadError: If other names are declared already, or a receiver
        takes another name.
    """
    if table.declared == declared:
        return
    if table.declared is not None:
        raise PayloadError(
            f"{table.signal()} declares {sorted(table.declared)} already, got"
            f" {sorted(declared)}; declare a payload in one place",
            table.signal(),
        )
    prepared = [
        (one, *fitted(receiver, one.options, declared, table.signal()))
        for one in table.store.connections()
        if (receiver := one.receiver()) is not None
    ]
    table.declared = declared
    for connection, options, call in prepared:
        connection.options, connection.call = options, call
    table.routes.changed(None)
