"""The connections of a signal, for inspection."""

from __future__ import annotations

import typing as t
from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

from .connection import by_order
from .connection import Connection
from .connection import Predicate
from .connection import Receiver
from .connection import UID
from .identity import ANY
from .identity import describe
from .lifetime import location_of
from .table import Table


class ConnectionInfo(t.NamedTuple):
    """One connection of a signal, for inspection.

    .. versionadded:: 0.1
    """

    receiver: Receiver
    """The receiver."""
    sender: Any
    """The sender, or :data:`ANY`, or the name from :func:`~signalpost.named`."""
    name: str
    """The receiver's name, for messages."""
    connected_at: str | None
    """The line that connected it, as ``file:line``; ``None`` for a ``with`` block."""
    weak: bool
    """``True`` if the receiver is held weakly."""
    once: bool
    """``True`` if it is called once."""
    priority: int
    """Its priority; 0 unless given."""
    dispatch_uid: Hashable
    """Its uid, or ``None``."""
    subclasses: bool
    """``True`` if the sender's subclasses are senders, too."""
    calls: int
    """The number of its calls while it was observed."""
    when: tuple[Predicate, ...] = ()
    """The predicates, one of which must be true; empty if it is always called."""
    strict: bool = False
    """``True`` if isolated sends raise its exceptions."""
    whole_namespace: bool = False
    """``True`` if the receiver is connected to the whole namespace at once."""


def connection_infos(table: Table) -> tuple[ConnectionInfo, ...]:
    """Return the connections of a table, in the order of delivery."""
    found = sorted(
        table.run_now(_with_senders, table), key=lambda pair: by_order(pair[0])
    )
    infos = [_info(connection, sender) for connection, sender in found]
    return tuple(info for info in infos if info is not None)


def _with_senders(table: Table) -> list[tuple[Connection, Any]]:
    found: list[tuple[Connection, Any]] = [(one, ANY) for one in table.any.values()]
    for record in table.by_sender.values():
        found += [(one, record.sender()) for one in record.connections.values()]
    return found


def _info(connection: Connection, sender: Any) -> ConnectionInfo | None:
    receiver = connection.receiver()
    if receiver is None:
        return None
    options, key = connection.options, connection.key
    has_uid = isinstance(key, tuple) and key[0] is UID
    return ConnectionInfo(
        receiver,
        sender,
        describe(receiver),
        connection.code and location_of(connection.code, connection.instruction),
        connection.strong is None,
        options.once,
        t.cast("int", options.priority),
        key[1] if has_uid else None,  # type: ignore[index]  # checked above
        options.subclasses,
        0 if connection.statistics is None else connection.statistics.calls,
        tuple(one.predicate for one in options.when),
        options.strict,
        options.passes_signal,
    )


class ReceiversView(Mapping[Hashable, Receiver]):
    """The receivers of a signal by identity, read at each access."""

    __slots__ = ("_table",)

    def __init__(self, table: Table) -> None:
        self._table = table

    def __bool__(self) -> bool:
        return bool(self._table.any or self._table.by_sender)

    def __len__(self) -> int:
        return len(self._snapshot())

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._snapshot())

    def __getitem__(self, key: Hashable) -> Receiver:
        return self._snapshot()[key]

    def __repr__(self) -> str:
        return f"<{len(self)} receivers of {self._table.signal()}>"

    def _snapshot(self) -> dict[Hashable, Receiver | Callable[[], Receiver | None]]:
        found: dict[Hashable, Any] = {}
        for connection in self._table.run_now(self._table.connections):
            if connection.strong is not None:
                found[connection.key] = connection.strong
            else:
                found.setdefault(connection.key, connection.receiver)
        return found
