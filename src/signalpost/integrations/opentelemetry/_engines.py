"""Look up the facts of an engine once, and keep them."""

from __future__ import annotations

import weakref

from ._attributes import Attributes
from ._attributes import engine_attributes

__all__ = ["KnownEngines"]


class KnownEngines:
    """The attributes of engines, kept until the engines are freed."""

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: weakref.WeakKeyDictionary[object, Attributes] = (
            weakref.WeakKeyDictionary()
        )

    def about(self, engine: object) -> Attributes:
        """Return the attributes of one; not to be changed."""
        try:
            found = self._found.get(engine)
            if found is None:
                found = self._found[engine] = engine_attributes(engine)
        except TypeError:  # no weak references, or no hash
            found = engine_attributes(engine)
        return found
