"""Connections that are put back as they were, of many signals at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from .namespace import Namespace
from .namespace_table import NamespaceConnection
from .namespace_table import NamespaceTable
from .saved import Saved
from .serial import every
from .signal import Signal
from .table import Table


class Restoration(Protocol):
    """Something saved that can be restored."""

    def restore(self) -> None:
        """Restore it as it was."""


class _SavedTable:
    def __init__(self, table: Table) -> None:
        self._table = table
        self._connections: list[Saved] = table.run_now(_saved_of, table)
        self._about = (table.connected, table.disconnected)

    def restore(self) -> None:
        table = self._table
        table.run(table.restore, self._connections)
        for about in (table.connected, table.disconnected):
            # One that was made meanwhile had no connections before.
            if isinstance(about, Signal) and about not in self._about:
                about.disconnect_all()


def _saved_of(table: Table) -> list[Saved]:
    return [table.store.saved(connection) for connection in table.connections()]


class _SavedNamespace:
    def __init__(self, table: NamespaceTable) -> None:
        self._table = table
        self._connections: list[NamespaceConnection] = [*table.connections]

    def restore(self) -> None:
        self._table.run_now(self._table.restore, self._connections)


def save_all() -> list[Restoration]:
    """Return every connection of the process, to be restored."""
    return _saved([*every])


def save_of(chosen: Iterable[Signal | Namespace]) -> list[Restoration]:
    """Return the connections of signals, and of namespaces with all their signals."""
    tables: list[object] = []
    for one in chosen:
        tables.append(one.table)
        if isinstance(one, Namespace):
            tables += [signal.table for signal in one.values()]
    return _saved(tables)


def _saved(tables: Iterable[object]) -> list[Restoration]:
    found: list[Restoration] = []
    for table in tables:
        if isinstance(table, Table):
            found.append(_SavedTable(table))
        elif isinstance(table, NamespaceTable):
            found.append(_SavedNamespace(table))
    return found
