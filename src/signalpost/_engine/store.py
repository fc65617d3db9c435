"""Connections by sender and by receiver."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Hashable
from collections.abc import Iterable
from typing import Any

from .connection import Connection
from .identity import ANY
from .identity import sender_key
from .kept import keep
from .kept import released
from .names import Follower
from .names import names_of
from .names import SenderName
from .saved import save
from .saved import Saved
from .senders import SenderRecord


class Store:
    """Connections, by sender, by receiver, and by the route of a send.

    Callers that change it hold the lock of the table.
    """

    __slots__ = (
        "any",
        "by_receiver",
        "by_sender",
        "by_value_count",
        "notes",
        "shared_count",
    )

    any: dict[Hashable, Connection]
    """The connections to ``ANY``, by receiver."""
    by_sender: dict[Hashable, SenderRecord]
    """The senders that have their own connections."""
    by_receiver: dict[Hashable, dict[Hashable, Connection]]
    """The connections to senders, by receiver and sender."""
    by_value_count: int
    """The number of senders that are not found by their id."""
    notes: tuple[Callable[[SenderRecord], object], ...]
    """Called with each sender that gets its first connection or loses its last one;
    the lock is held."""
    shared_count: int
    """The number of connections by a name or a base class, for several senders."""

    def __init__(self) -> None:
        self.any = {}
        self.by_sender = {}
        self.by_receiver = {}
        self.by_value_count = 0
        self.notes = ()
        self.shared_count = 0

    # Changes.

    def add(
        self,
        connection: Connection,
        sender: Any,
        cleanup: Callable[[weakref.ref[Any]], None],
        follower: Follower,
    ) -> SenderRecord:
        """Put a connection to a sender in, and return the sender's record."""
        record = self.by_sender.get(connection.sender)
        if record is None:
            record = SenderRecord(sender, connection.sender, cleanup)
            self.by_sender[connection.sender] = record
            self.by_value_count += not record.is_by_id
            if type(sender) is SenderName:
                sender.follow(follower)
            for note in self.notes:
                note(record)
        record.connections[connection.key] = connection
        senders = self.by_receiver.setdefault(connection.key, {})
        senders[connection.sender] = connection
        self.shared_count += self.is_shared(connection)
        keep(connection)
        return record

    def remove(self, record: SenderRecord, connection: Connection) -> object:
        """Take a connection to a sender out, and what is empty after it.

        :returns: An object that is dropped when no lock is held.
        """
        self.shared_count -= self.is_shared(connection)
        del record.connections[connection.key]
        senders = self.by_receiver[connection.key]
        del senders[connection.sender]
        if not senders:
            del self.by_receiver[connection.key]
        if not record.connections:
            del self.by_sender[record.key]
            self.by_value_count -= not record.is_by_id
            for note in self.notes:
                note(record)
        return released(connection)

    def recover(self) -> list[SenderRecord]:
        """Rebuild everything that is derived from the connections.

        :returns: The senders.
        """
        self.by_receiver.clear()
        for key, record in [*self.by_sender.items()]:
            if not record.connections:
                del self.by_sender[key]
            for connection in record.connections.values():
                senders = self.by_receiver.setdefault(connection.key, {})
                senders[connection.sender] = connection
        records = [*self.by_sender.values()]
        self.by_value_count = sum(not record.is_by_id for record in records)
        self.shared_count = sum(map(self.is_shared, self.connections()))
        return records

    def was_named(self, sender: object) -> None:
        """Take note that a sender has another name, by which it may have receivers."""
        for note in self.notes:
            note(SenderRecord(sender, sender_key(sender), _ignore))

    # Queries.

    def connections(self) -> list[Connection]:
        """Return every connection."""
        found = [*self.any.values()]
        for record in [*self.by_sender.values()]:
            found += record.connections.values()
        return found

    def has_sender(self, connection: Connection) -> bool:
        """Return whether the sender of a connection still exists."""
        record = self.by_sender.get(connection.sender)
        return connection.sender is ANY or (record is not None and record.is_there())

    def find(self, key: Hashable, sender: Hashable) -> Connection | None:
        """Return the connection of a receiver and a sender."""
        if sender is ANY:
            return self.any.get(key)
        record = self.by_sender.get(sender)
        return None if record is None else record.connections.get(key)

    def connections_of(self, key: Hashable, sender: Any) -> list[Connection]:
        """Return a receiver's connections to a sender, or all of them for ANY."""
        senders: Iterable[Hashable]
        if sender is ANY:
            senders = [ANY, *self.by_receiver.get(key, ())]
        else:
            senders = [sender_key(one) for one in (sender, *names_of(sender))]
        found = [self.find(key, one) for one in senders]
        return [one for one in found if one is not None]

    def record_of(self, sender: Any) -> SenderRecord | None:
        """Return the record of a sender that has its own connections."""
        record = self.by_sender.get(sender_key(sender))
        return record if record is not None and record.is_for(sender) else None

    def groups(self, sender: Any) -> Generator[Iterable[Connection]]:
        """Yield the connections to a sender, to its names and to its base classes."""
        if (record := self.record_of(sender)) is not None:
            yield record.connections.values()
        if not self.shared_count:
            return
        for name in names_of(sender):
            if (record := self.record_of(name)) is not None:
                yield record.connections.values()
        # Not by isinstance(), which reads the class of a dead proxy.
        for base in sender.__mro__[1:] if issubclass(type(sender), type) else ():
            if (record := self.record_of(base)) is not None:
                found = record.connections.values()
                inherited = [one for one in found if one.options.subclasses]
                if inherited:
                    yield inherited

    def is_shared(self, connection: Connection) -> bool:
        """Return whether a connection is for more senders than its own."""
        record = self.by_sender.get(connection.sender)
        return connection.options.subclasses or (record is not None and record.is_name)

    def saved(self, connection: Connection) -> Saved:
        """Return the present state of a connection."""
        return save(connection, self.by_sender.get(connection.sender))


def _ignore(reference: weakref.ref[Any]) -> None:
    """Do nothing when a sender dies."""
