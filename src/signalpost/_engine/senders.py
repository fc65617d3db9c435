"""Senders as a signal remembers them, so that none is mistaken for another."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from collections.abc import Hashable
from types import MethodType
from typing import Any

from .delivery import Connection
from .delivery import Route
from .identity import is_value_sender


class SenderReference(weakref.ref[Any]):
    """A weak reference to a sender that knows which record it belongs to."""

    __slots__ = ("key",)

    key: Hashable
    """The identity that the sender had."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__


class SenderRecord:
    """One sender that receivers are connected to.

    A sender that cannot be weakly referenced is held here while anything is
    connected to it: its id would otherwise be given to another object.

    :param sender: The sender.
    :param key: Its identity.
    :param callback: Called with the :class:`SenderReference` when it has died.
    """

    __slots__ = (
        "_held",
        "_reference",
        "connections",
        "is_by_id",
        "key",
        "route",
        "route_version",
    )

    def __init__(
        self,
        sender: object,
        key: Hashable,
        callback: Callable[[weakref.ref[Any]], None],
    ) -> None:
        self.key = key
        self.connections: dict[Hashable, Connection] = {}
        self.route: Route | None = None
        self.route_version = -1
        self._held: object = None
        self._reference: SenderReference | None = None
        # A value, and a bound method, is another object each time it is sent.
        self.is_by_id = not is_value_sender(sender) and type(sender) is not MethodType
        if is_value_sender(sender):
            return
        target = sender.__self__ if type(sender) is MethodType else sender
        try:
            self._reference = SenderReference(target, callback)
        except TypeError:
            self._held = target
        else:
            self._reference.key = key

    def __len__(self) -> int:
        return len(self.connections)

    def is_for(self, sender: object) -> bool:
        """Tell whether ``sender``, which has this key, is the one remembered.

        It may be another object at the address of one that has just died.
        """
        if is_value_sender(sender):
            return True
        target = sender.__self__ if type(sender) is MethodType else sender
        if self._reference is None:
            return self._held is target
        return self._reference() is target

    def refers_to(self, reference: SenderReference) -> bool:
        """Tell whether ``reference`` is this record's own."""
        return self._reference is reference
