"""Attributes of a middleware that the application reads from its ``wsgi_app``."""

from __future__ import annotations

import typing as t
from types import BuiltinMethodType
from types import FunctionType
from types import MethodType

from .misplaced import explain_attribute

__all__ = ["AttributePasser"]


class AttributePasser:
    """Base of what replaces ``app.wsgi_app``, and may be around a middleware.

    An application may read what its own middleware keeps, as in
    ``app.wsgi_app.is_proxied``. It finds it there with this in between, too.
    """

    _passed: t.Any = None

    def _pass_attributes_of(self, around: object) -> None:
        """Have this object pass attributes that it lacks, if ``around`` has any.

        Few applications need it, and a ``__getattr__`` makes Python look up all
        attributes in the slow way: so only the class of this one object gets it.
        """
        if _has_attributes(around):
            self._passed = around
            self.__class__ = _passing_class(type(self))


class _Passing(AttributePasser):
    """The part of the class of an object that passes attributes."""

    def __getattr__(self, name: str) -> t.Any:
        # By its wsgi_app an application is known, and by other names a protocol.
        if name == "wsgi_app" or name.startswith("__"):
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}",
                name=name,
                obj=self,
            )
        try:
            return getattr(self._passed, name)
        except AttributeError:
            explain_attribute(self, name)
            raise


def _has_attributes(around: object) -> bool:
    kind = type(around)
    if issubclass(kind, AttributePasser):
        return issubclass(kind, _Passing)
    if issubclass(kind, (MethodType, BuiltinMethodType, type(None))):
        return False
    return kind is not FunctionType or bool(vars(around))


def _passing_class(kind: type) -> type:
    """Return the subclass of a class whose objects pass attributes; always the same."""
    passing = _passing_classes.get(kind)
    if passing is None:
        named = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
        made = type(kind.__name__, (_Passing, kind), {**named, "__doc__": kind.__doc__})
        # If two threads create one, both must use the first.
        passing = _passing_classes.setdefault(kind, made)
    return passing


# Of classes of this package, so that it does not grow.
_passing_classes: t.Final[dict[type, type]] = {}
