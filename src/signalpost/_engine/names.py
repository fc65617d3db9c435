"""Senders by name, for receivers that are connected before their sender exists."""

from __future__ import annotations

import typing as t
import weakref
from typing import Any

from .serial import Serial


class Follower(t.Protocol):
    """Something that is called when a name gets another sender."""

    def names_changed(self, sender: object) -> None:
        """Take note that a name has another sender.

        :param sender: That sender.
        """


class SenderName:
    """A name for senders that may not exist yet.

    Returned by :func:`named`; the same name gives the same object while it is in use.

    .. versionadded:: 0.1
    """

    __slots__ = ("__weakref__", "name", "references")

    name: str
    """The name."""
    references: dict[int, weakref.ref[Any]]
    """Its senders, by id."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.references = {}

    def __repr__(self) -> str:
        return f"named({self.name!r})"

    @property
    def senders(self) -> list[Any]:
        """The senders of this name that exist, in the order of :meth:`bind`."""
        found = [reference() for reference in [*self.references.values()]]
        return [sender for sender in found if sender is not None]

    def bind(self, sender: Any) -> None:
        """Give ``sender`` this name, until the sender is freed.

        Receivers of the name are called for its sends from then on. Several senders may
        have one name, such as the applications of a factory.

        :param sender: Any object that can be weakly referenced.
        :raises TypeError: If it cannot.
        """
        try:
            reference = _SenderReference(sender, _forget)
        except TypeError:
            raise TypeError(
                f"a sender that is bound to {self!r} must be weakly referenceable, got"
                f" an object of {type(sender).__qualname__}; connect to the object"
                " itself"
            ) from None
        reference.key = id(sender)
        for follower in _registry.run_now(_registry.bind, self, sender, reference):
            follower.names_changed(sender)

    def follow(self, follower: Follower) -> None:
        """Call ``follower.names_changed(…)`` whenever this name gets another sender."""
        _registry.run_now(_registry.follow, self, follower)


def named(name: str) -> SenderName:
    """Return a name for senders, whether they exist yet or not.

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
    return _registry.run_now(_registry.named, name)


def names_of(sender: object) -> list[SenderName]:
    """Return the names that a sender is bound to."""
    found = _registry.by_id.get(id(sender))
    if found is None or found[0]() is not sender:
        return []
    return [*found[1]]


class _SenderReference(weakref.ref[Any]):
    """A weak reference to a sender that has names."""

    __slots__ = ("key",)

    key: int
    """The sender's id."""


Named = tuple[weakref.ref[Any], list[SenderName]]


class _Registry(Serial):
    """Every name, and the names of each sender."""

    __slots__ = ("by_id", "followers", "names")

    def __init__(self) -> None:
        super().__init__()
        self.names: weakref.WeakValueDictionary[str, SenderName] = (
            weakref.WeakValueDictionary()
        )
        # A sender keeps its names alive, so that later look-ups find the same ones.
        self.by_id: dict[int, Named] = {}
        self.followers: weakref.WeakKeyDictionary[
            SenderName, weakref.WeakSet[Follower]
        ] = weakref.WeakKeyDictionary()

    def named(self, name: str) -> SenderName:
        found = self.names.get(name)
        if found is None:
            found = self.names[name] = SenderName(name)
        return found

    def bind(
        self, name: SenderName, sender: object, reference: weakref.ref[Any]
    ) -> list[Follower]:
        """Bind a sender to a name, and return the name's followers."""
        for_id = self.by_id.get(id(sender))
        if for_id is None or for_id[0]() is not sender:
            for_id = self.by_id[id(sender)] = (reference, [])
        if name not in for_id[1]:
            for_id[1].append(name)
        name.references[id(sender)] = for_id[0]
        return [*self.followers.get(name, ())]

    def follow(self, name: SenderName, follower: Follower) -> None:
        self.followers.setdefault(name, weakref.WeakSet()).add(follower)


_registry = _Registry()


def _forget(
    reference: weakref.ref[Any],
    # A default, as globals may be gone when the interpreter exits.
    by_id: dict[int, Named] = _registry.by_id,
) -> None:
    key = t.cast("_SenderReference", reference).key
    found = by_id.get(key)
    if found is not None and found[0] is reference:
        by_id.pop(key, None)
        for name in found[1]:
            name.references.pop(key, None)
