"""What a class says, read without calling any code of the class or its metaclass."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator

__all__ = ["has_method", "method_of", "methods_of"]

_mro_of: t.Final = type.__dict__["__mro__"].__get__
_members_of: t.Final = type.__dict__["__dict__"].__get__


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
