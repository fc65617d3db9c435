"""What makes two receivers, or two senders, the same."""

from __future__ import annotations

import functools
import typing as t
from collections.abc import Hashable
from types import BuiltinMethodType
from types import MethodType
from types import ModuleType


class Symbol:
    """A constant that is nicer to read than ``object()``.

    One name gives one object, in this process and after pickling.

    >>> Symbol("ANY") is Symbol("ANY")
    True
    >>> Symbol("ANY")
    ANY

    :param name: The name, also shown by ``repr``.
    """

    __slots__ = ("__weakref__", "name")

    symbols: t.ClassVar[dict[str, Symbol]] = {}
    """Every symbol by its name."""

    name: str
    """The name given at creation."""

    def __new__(cls, name: str) -> Symbol:
        symbol = super().__new__(cls)
        symbol.name = name
        # One atomic step: two threads asking for a new name get one symbol.
        return cls.symbols.setdefault(name, symbol)

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[type[Symbol], tuple[str]]:
        return type(self), (self.name,)


ANY: t.Final = Symbol("ANY")
"""Stands for any sender: a receiver connected to it hears them all."""


def receiver_key(receiver: object) -> Hashable:
    """Return what tells one receiver from another, as long as it lives.

    A bound method is a new object at each access; its function and its instance
    are not. A method of a built-in type (``[].append``) has a name instead of a
    function.
    """
    if type(receiver) is MethodType:
        # In one number, which takes half of the memory of a tuple of two.
        return id(receiver.__func__) << 64 | id(receiver.__self__)
    if type(receiver) is BuiltinMethodType and not isinstance(
        receiver.__self__, ModuleType
    ):
        return receiver.__name__, id(receiver.__self__)
    return id(receiver)


def is_value_sender(sender: object) -> t.TypeGuard[str | int]:
    """Tell whether a sender is matched by value: exactly a str or an int.

    A bool, an enum member or an instance of a subclass is not: ``True`` is not the
    sender ``1``.
    """
    return type(sender) is str or type(sender) is int


def sender_key(sender: object) -> Hashable:
    """Return what tells one sender from another, as long as it lives.

    Identities are put in tuples, so that no int sender is taken for an id.
    """
    if is_value_sender(sender):
        return sender
    if type(sender) is MethodType:
        return id(sender.__func__), id(sender.__self__)
    return (id(sender),)


def describe(receiver: object) -> str:
    """Return a name for a receiver that is fit for a message.

    Never the ``repr`` of a callable object: it may show arguments or state.
    """
    if isinstance(receiver, functools.partial):
        return f"partial of {describe(receiver.func)}"
    name = getattr(receiver, "__qualname__", None)
    if isinstance(name, str):
        module = getattr(receiver, "__module__", None)
        return f"{module}.{name}" if isinstance(module, str) else name
    return f"{type(receiver).__module__}.{type(receiver).__qualname__} object"
