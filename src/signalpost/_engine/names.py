"""Senders by name, for receivers that are connected before their sender exists."""

from __future__ import annotations

import threading
import typing as t
import weakref
from typing import Any

if t.TYPE_CHECKING:
    from .connections import Connections


class SenderName:
    """A name that stands for senders which may not exist yet.

    Got from :func:`named`; one name gives one object as long as it is in use.

    .. versionadded:: 0.1
    """

    __slots__ = ("__weakref__", "_interested", "_senders", "name")

    name: str
    """The name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._senders: dict[int, weakref.ref[Any]] = {}
        self._interested: weakref.WeakSet[Connections] = weakref.WeakSet()

    def __repr__(self) -> str:
        return f"named({self.name!r})"

    @property
    def senders(self) -> list[Any]:
        """The senders of this name that there are, in the order of :meth:`bind`."""
        found = [reference() for reference in [*self._senders.values()]]
        return [sender for sender in found if sender is not None]

    def bind(self, sender: Any) -> None:
        """Let ``sender`` be one of this name, as long as it lives.

        What was connected to the name hears it from its next send on. Several
        senders may have one name, as the applications that a factory makes have.

        :param sender: Any object that can be weakly referenced.
        :raises TypeError: If it cannot.
        """
        try:
            reference = _NamedReference(sender, _forget)
        except TypeError:
            raise TypeError(
                f"a sender that is bound to {self!r} must be weakly referenceable, got"
                f" an object of {type(sender).__qualname__}; connect to the object"
                " itself"
            ) from None
        reference.key = id(sender)
        with _lock:
            for_id = _names_by_id.get(id(sender))
            if for_id is None or for_id[0]() is not sender:
                for_id = _names_by_id[id(sender)] = (reference, [])
            if self not in for_id[1]:
                for_id[1].append(self)
            self._senders[id(sender)] = for_id[0]
            interested = [*self._interested]
        for connections in interested:
            connections._names_changed()

    def follow(self, connections: Connections) -> None:
        """Tell ``connections`` whenever this name gets another sender."""
        with _lock:
            self._interested.add(connections)


def named(name: str) -> SenderName:
    """Return what stands for senders of this name, whether there are any or not.

    >>> from signalpost import named, Signal
    >>> opened = Signal()
    >>> @opened.connect_via(named("shop"))
    ... def greet(sender):
    ...     return "welcome"
    >>> class Shop: ...
    >>> shop = Shop()
    >>> opened.send(shop)
    []
    >>> named("shop").bind(shop)
    >>> [value for receiver, value in opened.send(shop)]
    ['welcome']

    The Flask extension binds each application to its :attr:`~flask.Flask.name`.

    :param name: The name.
    :raises TypeError: If it is not a string.

    .. versionadded:: 0.1
    """
    if not isinstance(name, str):
        raise TypeError(f"a sender's name must be a string, got {name!r}")
    with _lock:
        found = _names.get(name)
        if found is None:
            found = _names[name] = SenderName(name)
        return found


def names_of(sender: object) -> list[SenderName]:
    """Return the names that a sender is bound to."""
    found = _names_by_id.get(id(sender))
    if found is None or found[0]() is not sender:
        return []
    return [*found[1]]


# Re-entrant: a finaliser may ask for a name while one is being bound.
_lock = threading.RLock()
_names: weakref.WeakValueDictionary[str, SenderName] = weakref.WeakValueDictionary()
# A sender keeps its names, so that they are the same for who asks later.
_names_by_id: dict[int, tuple[weakref.ref[Any], list[SenderName]]] = {}


class _NamedReference(weakref.ref[Any]):
    """A weak reference to a sender that has names."""

    __slots__ = ("key",)

    key: int
    """The sender's id."""


def _forget(
    reference: weakref.ref[Any],
    # A default, as globals may be gone when the interpreter exits.
    names_by_id: dict[int, tuple[weakref.ref[Any], list[SenderName]]] = _names_by_id,
) -> None:
    key = t.cast("_NamedReference", reference).key
    found = names_by_id.get(key)
    if found is not None and found[0] is reference:
        names_by_id.pop(key, None)
        for name in found[1]:
            name._senders.pop(key, None)
