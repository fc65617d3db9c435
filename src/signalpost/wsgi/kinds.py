"""Attributes of classes, read without calling code of the class or its metaclass."""

from __future__ import annotations

import typing as t
import weakref
from collections.abc import Iterator
from collections.abc import Mapping

__all__ = [
    "ValuesByKind",
    "bases_of",
    "has_method",
    "members_of",
    "method_of",
    "methods_of",
    "name_of",
]

_MOST_KINDS = 64

_mro_of: t.Final = type.__dict__["__mro__"].__get__
_members_of: t.Final = type.__dict__["__dict__"].__get__
_module_of: t.Final = type.__dict__["__module__"].__get__
_qualname_of: t.Final = type.__dict__["__qualname__"].__get__

Value = t.TypeVar("Value")


def bases_of(kind: type) -> tuple[type, ...]:
    """Return a class and its bases, in the order in which attributes are looked up."""
    return t.cast("tuple[type, ...]", _mro_of(kind))


def members_of(kind: type) -> Mapping[str, object]:
    """Return what a class itself defines, by name."""
    return t.cast("Mapping[str, object]", _members_of(kind))


def name_of(kind: type) -> str:
    """Return the module and the qualified name of a class, joined by a dot."""
    return f"{_module_of(kind)}.{_qualname_of(kind)}"


def method_of(kind: type, name: str) -> object:
    """Return a special method of the objects of a class; ``None`` if they have none.

    Python itself looks for one in the same way: in the class and its bases, not in the
    object and not in the metaclass; ``None`` there means that there is none.
    """
    return next(methods_of(kind, name), None)


def methods_of(kind: type, name: str) -> Iterator[object]:
    """Yield a method of a class and those of its bases that it overrides."""
    for base in _mro_of(kind):
        members = _members_of(base)
        if name in members:
            yield members[name]


def has_method(kind: type, name: str) -> bool:
    """Return whether the objects of a class have a special method."""
    return method_of(kind, name) is not None


class ValuesByKind(dict[int, tuple[Value, "weakref.ref[type]"]]):
    """Values by the ``id`` of a class, each with a weak reference to the class.

    No class is kept alive, hashed or compared: a metaclass may
    refuse both. An entry goes with its class, so that an id is never that of another.
    """

    __slots__ = ()

    def keep(self, kind: type, value: Value) -> Value:
        """Keep a value for a class, and return it."""
        key = id(kind)

        def forget(reference: weakref.ref[type]) -> None:
            entry = self.get(key)
            if entry is not None and entry[1] is reference:
                del self[key]

        if len(self) >= _MOST_KINDS:
            self.clear()
        self[key] = value, weakref.ref(kind, forget)
        return value
