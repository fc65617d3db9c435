"""Exceptions that an option names, by class or by where the class is."""

from __future__ import annotations

from importlib import import_module

from .._options import checked_collection

__all__ = ["ignored_classes"]


def ignored_classes(ignore: object) -> tuple[type[BaseException], ...]:
    """Return the classes that the option ``ignore`` names.

    :param ignore: Classes, or paths as ``"shop.errors:Expected"``.
    :raises TypeError: If it is not a collection of them.
    :raises ValueError: If a path leads to no class of exceptions.
    """
    found = checked_collection(
        "ignore", ignore, "exceptions, or of their paths", '["shop.errors:Expected"]'
    )
    return tuple(_class_of(one) for one in found)


def _class_of(one: object) -> type[BaseException]:
    if isinstance(one, str):
        found = _at(one)
    elif isinstance(one, type) and issubclass(one, BaseException):
        return one
    else:
        raise TypeError(
            f"ignore must hold classes of exceptions or their paths, got {one!r}; write"
            ' ["shop.errors:Expected"]'
        )
    if isinstance(found, type) and issubclass(found, BaseException):
        return found
    raise ValueError(
        f"ignore must hold paths of exceptions, got {one!r}, which is {found!r}; write"
        ' "shop.errors:Expected"'
    )


def _at(path: str) -> object:
    """Import the object at a path; a name without a dot is a built-in one."""
    separator = ":" if ":" in path else "."
    module, _, attributes = path.rpartition(separator)
    try:
        found: object = import_module(module or "builtins")
        for name in attributes.split("."):
            found = getattr(found, name)
    except Exception as error:
        raise ValueError(
            f"ignore must hold paths of exceptions, got {path!r}, which cannot be"
            f" imported: {type(error).__name__}: {error}; write"
            ' "package.module:Exception"'
        ) from error
    return found
