"""A value for some senders, kept as long as the sender."""

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ._engine.identity import reference_to

__all__ = ["ValuesBySender"]

Value = t.TypeVar("Value")


class ValuesBySender(t.Generic[Value]):
    """The values of senders, by identity. The reference to a sender is weak."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        # Keys are ids of senders; each value has a function that returns the sender,
        # or None once it is gone.
        self._values: dict[int, tuple[Callable[[], object], Value]] = {}

    def set(self, sender: object, value: Value) -> None:
        """Set the value of a sender."""
        for key, (reference, _) in [*self._values.items()]:
            if reference() is None:
                self._values.pop(key, None)
        self._values[id(sender)] = (reference_to(sender), value)

    def of(self, sender: object, default: Value) -> Value:
        """Return the value of a sender."""
        if not self._values:
            return default
        found = self._values.get(id(sender))
        return default if found is None or found[0]() is not sender else found[1]
