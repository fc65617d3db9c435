"""Connections as they were at some time, to be put back."""

from __future__ import annotations

import typing as t

from .connection import Connection
from .connection import Options
from .connection import Receiver
from .identity import receiver_key
from .kept import kept_receiver
from .senders import SenderRecord


class Saved(t.NamedTuple):
    """A connection as it was at some time."""

    connection: Connection
    record: SenderRecord | None
    function: Receiver | None
    strong: Receiver | None
    options: Options
    block_count: int
    kept: Receiver | None
    """The receiver, if its sender has kept it alive."""

    @property
    def can_be_put_back(self) -> bool:
        """``True`` if its receiver and its sender still exist."""
        is_sender_there = self.record is None or self.record.is_there()
        return is_sender_there and self.connection() is not None

    def restore(self) -> None:
        """Restore the connection. The caller restores its place in the tables."""
        self.connection.function = self.function
        self.connection.strong = self.strong
        self.connection.options = self.options
        self.connection.block_count = self.block_count


def save(connection: Connection, record: SenderRecord | None) -> Saved:
    """Return the present state of a connection.

    :param record: Its sender; ``None`` for ``ANY``.
    """
    return Saved(
        connection,
        record,
        connection.function,
        connection.strong,
        connection.options,
        connection.block_count,
        kept_receiver(connection),
    )


def have_one_receiver(one: Connection, other: Connection) -> bool:
    """Return whether two connections are of the same receiver."""
    return receiver_key(one.receiver()) == receiver_key(other.receiver())


def merge_into(connection: Connection, later: Connection) -> None:
    """Add the options of a later connection of the same receiver to a connection.

    :param later: A connection that is permanent, or for a block.
    """
    if later.block_count:
        return
    if connection.block_count:
        # Only blocks needed it, so the later options replace its own.
        connection.block_count = 0
        connection.strong, connection.options = later.strong, later.options
        return
    if connection.strong is None:
        connection.strong = later.strong
    connection.options = connection.options.widened(later.options)
