"""Objects by their paths, as shop.events:order_placed."""

from __future__ import annotations

import typing as t
from importlib import import_module
from reprlib import repr as short_repr

__all__ = ["found"]

T = t.TypeVar("T")


def found(path: str, kind: type[T]) -> T:
    """Return the object of a kind that a path names.

    :param path: As ``"shop.events:order_placed"``.
    :raises ValueError: If it is not a path.
    :raises ImportError: If the module cannot be imported, or has no such object.
    :raises TypeError: If the object is of another kind.
    """
    module_name, _, name = str(path).partition(":")
    if not module_name or not name:
        raise ValueError(
            f"expected package.module:object, as shop.events:order_placed, got"
            f" {short_repr(path)}"
        )
    one: t.Any = import_module(module_name)
    for part in name.split("."):
        if not hasattr(one, part):
            raise ImportError(
                f"module {module_name!r} has no {name!r}", name=module_name
            )
        one = getattr(one, part)
    if not isinstance(one, kind):
        raise TypeError(
            f"{path} must be a {kind.__name__}, got {short_repr(one)}; name another"
        )
    return one
