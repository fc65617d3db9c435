"""Advice for a layer that has taken the place of its application."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

from .kinds import bases_of
from .kinds import members_of
from .kinds import method_of
from .kinds import ValuesByKind

__all__ = ["explain_attribute", "explain_attributes_of"]

# An application may keep anything as attributes.
_MOST_NAMES = 1_000

# By this name an application is known, by its class.
_NEVER = "wsgi_app"

_explained: ValuesByKind[bool] = ValuesByKind()


class AttributeOfApplication:
    """Raises the error for an attribute that an application has and its layer has not.

    A ``__getattr__`` of the layer would explain every name, and have Python look up all
    its attributes in the slow way: a quarter of a microsecond a request.
    """

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, layer: t.Any, kind: type) -> AttributeOfApplication:
        if layer is None:
            return self
        name = self._name
        advice = ""
        with suppress(Exception):  # the application's attributes may raise
            if hasattr(layer.sender, name):
                advice = (
                    "; its application has: keep that object, and put the layer into"
                    " it, as in app.wsgi_app = SignalMiddleware(app)"
                )
        raise AttributeError(
            f"a SignalMiddleware has no {name!r}{advice}", name=name, obj=layer
        )


def explain_attribute(layer: object, name: str) -> None:
    """Raise the explanation for an attribute, if an application is known to have it."""
    found = method_of(type(layer), name)
    if type(found) is AttributeOfApplication:
        found.__get__(layer, type(layer))


def explain_attributes_of(sender: object, layer_class: type) -> None:
    """Have a class of layers explain that it lacks the attributes of an application.

    This is done once for each class of applications.
    """
    if id(type(sender)) in _explained:
        return
    _explained.keep(type(sender), value=True)
    known = {name for base in bases_of(layer_class) for name in members_of(base)}
    for name in islice(_public_names_of(sender), _MOST_NAMES):
        if name not in known and name != _NEVER:
            known.add(name)
            setattr(layer_class, name, AttributeOfApplication(name))


def _public_names_of(sender: object) -> Iterator[str]:
    # Copies, as other threads may add to them.
    for base in bases_of(type(sender)):
        yield from (one for one in [*members_of(base)] if _is_public(one))
    with suppress(Exception):  # it has no __dict__, or an odd one
        own = object.__getattribute__(sender, "__dict__")
        yield from (one for one in [*own] if _is_public(one))


def _is_public(name: object) -> bool:
    return type(name) is str and name.isidentifier() and not name.startswith("_")
