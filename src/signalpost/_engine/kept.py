"""Receivers that are kept alive until their sender is freed."""

from __future__ import annotations

import typing as t
import weakref
from collections.abc import Hashable
from types import FrameType

from .connection import Connection
from .connection import Receiver
from .identity import resolved
from .identity import sender_key
from .lifetime import is_lost

__all__ = ["Keeper", "is_lost_unless_kept", "keep", "kept_receiver", "released"]


class Keeper:
    """Keep receivers alive for as long as their sender keeps this object.

    A signal holds them weakly: if one refers to its sender, both are freed together.
    """

    __slots__ = ("__weakref__", "_receivers")

    _receivers: dict[int, tuple[Connection, Receiver]]
    """The connections and their receivers, by the id of the connection."""

    def __init__(self) -> None:
        self._receivers = {}

    def __len__(self) -> int:
        return len(self._receivers)

    def register(self, sender: object) -> None:
        """Keep what is connected to a sender from now on, while it is connected."""
        key = sender_key(sender)
        _keepers[key] = _Reference(self, _forget)
        _keepers[key].key = key

    def keep(self, connection: Connection) -> None:
        """Keep the receiver of a connection that holds it weakly."""
        receiver = connection.receiver()
        if connection.strong is None and receiver is not None:
            self._receivers[id(connection)] = connection, receiver

    def kept(self, connection: Connection) -> Receiver | None:
        """Return the receiver of a connection, if it is kept here."""
        found = self._receivers.get(id(connection))
        return None if found is None else found[1]

    def release(self, connection: Connection) -> object:
        """Release a receiver; drop the returned object when no lock is held."""
        return self._receivers.pop(id(connection), None)


class _Reference(weakref.ref[Keeper]):
    __slots__ = ("key",)

    key: Hashable


_keepers: dict[Hashable, _Reference] = {}
"""The keepers by the keys of their senders."""


def _forget(
    reference: weakref.ref[Keeper],
    # A default, as globals may be gone when the interpreter exits.
    keepers: dict[Hashable, _Reference] = _keepers,
) -> None:
    key = t.cast("_Reference", reference).key
    if keepers.get(key) is reference:
        del keepers[key]


def _is_kept(sender: object) -> bool:
    """Return whether receivers that are connected to a sender are kept alive."""
    return bool(_keepers) and sender_key(resolved(sender)) in _keepers


def is_lost_unless_kept(
    receiver: object, sender: object, caller: FrameType | None
) -> bool:
    """Return whether a receiver dies when ``connect`` returns to its caller.

    :param receiver: One that the caller has no reference to but the argument.
    """
    return is_lost(receiver, caller) and not _is_kept(sender)


def keep(connection: Connection) -> None:
    """Keep the receiver of a connection that is put in, if its sender keeps it."""
    keeper = _keeper_of(connection)
    if keeper is not None:
        keeper.keep(connection)


def kept_receiver(connection: Connection) -> Receiver | None:
    """Return the receiver of a connection, if its sender keeps it alive."""
    keeper = _keeper_of(connection)
    return None if keeper is None else keeper.kept(connection)


def released(connection: Connection) -> object:
    """Release the receiver of a connection that was taken out.

    :returns: An object that is dropped when no lock is held.
    """
    keeper = _keeper_of(connection)
    return None if keeper is None else keeper.release(connection)


def _keeper_of(connection: Connection) -> Keeper | None:
    reference = _keepers.get(connection.sender)
    return None if reference is None else reference()
