"""Values of any kind, made fit for JSON at a cost that grows with their size."""

from __future__ import annotations

from collections import deque
from collections.abc import Container
from collections.abc import Iterable
from math import isfinite
from typing import Any
from typing import Final

__all__ = ["CONTAINERS", "FittedValues", "FreeKeys", "text_of"]

CONTAINERS: Final = (dict, list, tuple, set, frozenset, deque)
"""The types of what is written with what it holds."""

_DEEPEST = 64
"""How many levels of a value are written."""

_MOST_BITS = 1024
"""The longest integer to write in digits: Python refuses to from some length on."""

_SHORT = 100
"""The length up to which a text is written as often as it occurs."""

_MOST_REPEATED = 1_000
"""How much of a record may be written again, in members and characters, beyond as much
as was written once."""

_KEYS: Final[dict[object, str]] = {True: "true", False: "false", None: "null"}


def text_of(value: object) -> str:
    """Return the text of a value, whatever its ``__str__`` does.

    An integer of more than 1024 bits is written in hexadecimal.

    :param value: Any value.
    """
    try:
        if issubclass(type(value), int) and _is_long(value):
            return hex(value)  # type: ignore[arg-type]  # an int
        # Their str() is an error where Python was started with -bb.
        return repr(value) if isinstance(value, (bytes, bytearray)) else str(value)
    except Exception:  # noqa: BLE001  # whatever an application's object does
        return f"<{type(value).__name__} that has no text>"


class FreeKeys:
    """Keys of one object: one that is taken gets an underscore, then a number.

    The second of a name is ``name_``, the third ``name__``, the fourth ``name_3``.
    """

    def __init__(self) -> None:
        self._times: dict[str, int] = {}

    def free(self, key: str, taken: Container[str]) -> str:
        """Return ``key``, or the first key made of it that is not taken."""
        if key not in taken:
            return key
        times = self._times.get(key, 0)
        free = key
        while free in taken:
            times += 1
            free = key + ("_" * times if times < 3 else f"_{times}")
        self._times[key] = times
        return free


class FittedValues:
    """Fit the values of one record to what JSON can hold.

    Dicts, lists, tuples, sets and deques are written with all that they hold, and other
    objects as their text. A container within itself, and what is below 64 levels,
    becomes text such as ``<dict within itself>``. A value that occurs again is written
    again, but no more than was written once, and 1,000 members and characters; after
    that it becomes ``<dict as before>``, and a text is cut after 100 characters. So the
    cost grows with the size of the values, whatever refers to what.

    Members are read as the built-in types hold them: an ``__iter__`` or ``items`` of a
    subclass is not called. The text of any other object costs what its ``__str__``
    costs.
    """

    def __init__(self) -> None:
        # The objects themselves, so that no id is given to another one meanwhile.
        self._seen: dict[int, object] = {}
        self._long: dict[int, tuple[object, str]] = {}
        self._open: set[int] = set()
        self._once = 0
        self._repeated = 0

    def fitted(self, value: object) -> object:
        """Return what JSON can hold of a value."""
        try:
            return self._fitted(value, is_again=False)
        except RecursionError:
            return f"<{type(value).__name__} too deep to show here>"

    def _fitted(self, value: object, *, is_again: bool) -> object:
        kind = type(value)
        # By the type, because reading __class__ may fail or be untrue.
        if value is None or kind is bool:
            return value
        if issubclass(kind, float):
            return value if isfinite(value) else None  # type: ignore[arg-type]  # a float
        if issubclass(kind, int) and not _is_long(value):
            return value
        if issubclass(kind, CONTAINERS):
            return self._container(value, is_again=is_again)
        return self._text(value, is_again=is_again)

    def _text(self, value: object, *, is_again: bool) -> str:
        _, text = self._long.get(id(value), (None, None))
        if text is None:
            text = text_of(value)
            if len(text) <= _SHORT:
                return text
            self._long[id(value)] = value, text
        else:
            is_again = True
        return text[:_SHORT] + "…" if self._is_too_much(len(text), is_again) else text

    def _container(self, value: object, *, is_again: bool) -> object:
        key, name = id(value), type(value).__name__
        if key in self._open:
            return f"<{name} within itself>"
        if len(self._open) >= _DEEPEST:
            return f"<{name} too deep to show>"
        is_again = is_again or key in self._seen
        if self._is_too_much(1, is_again):
            return f"<{name} as before>"
        self._seen[key] = value
        self._open.add(key)
        try:
            if issubclass(type(value), dict):
                return self._pairs(value, is_again=is_again)  # type: ignore[arg-type]
            return self._members(_held_by(value), is_again=is_again)
        finally:
            self._open.discard(key)

    def _is_too_much(self, size: int, is_again: bool) -> bool:  # noqa: FBT001 - private
        if not is_again:
            self._once += size
            return False
        self._repeated += size
        return self._repeated > _MOST_REPEATED + self._once

    def _members(self, members: Iterable[Any], *, is_again: bool) -> list[object]:
        fitted: list[object] = []
        for member in members:
            if self._is_too_much(1, is_again):
                fitted.append("…")
                break
            fitted.append(self._fitted(member, is_again=is_again))
        return fitted

    def _pairs(self, value: dict[Any, Any], *, is_again: bool) -> dict[str, object]:
        fitted: dict[str, object] = {}
        keys = FreeKeys()
        for key, held in [*dict.items(value)]:
            if self._is_too_much(1, is_again):
                fitted[keys.free("…", fitted)] = "…"
                break
            free = keys.free(self._key(key), fitted)
            fitted[free] = self._fitted(held, is_again=is_again)
        return fitted

    def _key(self, key: object) -> str:
        if key is None or type(key) is bool:
            return _KEYS[key]
        if issubclass(type(key), (tuple, frozenset)):
            # Its own text could be a power of its size.
            members = self._fitted(key, is_again=False)
            return members if isinstance(members, str) else f"({repr(members)[1:-1]})"
        return self._text(key, is_again=False)


def _held_by(value: Any) -> list[Any]:
    """Return the members of a container, without calling a subclass's methods."""
    for kind in CONTAINERS[1:]:
        if issubclass(type(value), kind):
            return [*kind.__iter__(value)]
    return []


def _is_long(number: Any) -> bool:
    return int.bit_length(number) > _MOST_BITS
