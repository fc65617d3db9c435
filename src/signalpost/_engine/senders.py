"""Senders as a signal remembers them, so that none is mistaken for another."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from collections.abc import Hashable
from types import MethodType
from typing import Any

from .connection import Connection
from .connection import Route
from .identity import is_value_sender
from .names import SenderName


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
        "_function",
        "_held",
        "_reference",
        "connections",
        "further",
        "is_by_id",
        "is_name",
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
        # What it also hears: connections to its names, and to its base classes.
        self.further: tuple[tuple[Connection, ...], ...] = ()
        self.route: Route | None = None
        self.route_version = -1
        self._function = sender.__func__ if type(sender) is MethodType else None
        self._held: object = None
        self._reference: SenderReference | None = None
        # A value, and a bound method, is another object each time it is sent.
        self.is_by_id = not is_value_sender(sender) and type(sender) is not MethodType
        self.is_name = isinstance(sender, SenderName)
        if is_value_sender(sender):
            return
        if self.is_name:
            self._held = sender
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

    def sender(self) -> object:
        """Return the sender; ``None`` once it is gone."""
        if self._reference is None:
            target = self.key if is_value_sender(self.key) else self._held
        else:
            target = self._reference()
        if self._function is None or target is None:
            return target
        return MethodType(self._function, target)

    def is_there(self) -> bool:
        """Tell whether the sender is still there."""
        return self._reference is None or self._reference() is not None

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
