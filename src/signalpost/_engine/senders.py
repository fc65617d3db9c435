"""Records of senders that have receivers, by identity."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from collections.abc import Hashable
from types import MethodType
from typing import Any

from .connection import Connection
from .identity import is_value_sender
from .names import SenderName
from .route import Route
from .route import STALE_ROUTE


class SenderReference(weakref.ref[Any]):
    """A weak reference to a sender, with the key of the sender's record."""

    __slots__ = ("key",)

    key: Hashable
    """The identity that the sender had."""

    # By identity, as any object: a reference would hash and compare its sender.

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


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
        "is_by_id",
        "is_name",
        "key",
        "route",
    )

    key: Hashable
    """The sender's identity."""
    connections: dict[Hashable, Connection]
    """The connections to it, by receiver."""
    route: Route
    """The route of what it sends, if it is not found by id."""
    is_by_id: bool
    """``True`` if the same sender is always the same object."""
    is_name: bool
    """``True`` if it is a name for other senders."""

    def __init__(
        self,
        sender: object,
        key: Hashable,
        callback: Callable[[weakref.ref[Any]], None],
    ) -> None:
        self.key = key
        self.connections = {}
        self.route = STALE_ROUTE
        self._function = sender.__func__ if type(sender) is MethodType else None
        self._held: object = None
        self._reference: SenderReference | None = None
        # A value, and a bound method, is another object each time it is sent.
        self.is_by_id = not is_value_sender(sender) and type(sender) is not MethodType
        self.is_name = type(sender) is SenderName
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
        """Return whether the sender still exists."""
        return self._reference is None or self._reference() is not None

    def is_for(self, sender: object) -> bool:
        """Return whether ``sender``, which has this key, is the one recorded.

        It may be another object at the address of one that has just died.
        """
        if is_value_sender(sender):
            return True
        target = sender.__self__ if type(sender) is MethodType else sender
        if self._reference is None:
            return self._held is target
        return self._reference() is target

    def refers_to(self, reference: SenderReference) -> bool:
        """Return whether ``reference`` is this record's own."""
        return self._reference is reference
