"""The methods of requests that are recorded by their names."""

from __future__ import annotations

import re
import typing as t
from reprlib import repr as short_repr

from ._by_sender import ValuesBySender
from ._options import checked_strings

__all__ = [
    "METHODS",
    "OTHER_METHOD",
    "checked_methods",
    "further_method",
    "set_methods",
]

# RFC 9110, 9.3, and RFC 5789. A client can invent any other, so none is a label.
METHODS: t.Final = frozenset(
    ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
)
"""The methods that are recorded by their names for each sender."""

OTHER_METHOD: t.Final = "_OTHER"
"""The name of all other methods."""

_MOST: t.Final = 50

# As all that are registered. Longer ones would only fill lines.
_is_method = re.compile(r"[A-Z]+(?:-[A-Z]+)*").fullmatch
_LONGEST: t.Final = 32

_of_senders: ValuesBySender[frozenset[str]] = ValuesBySender()


def checked_methods(values: object) -> frozenset[str]:
    """Return the methods that an option names.

    :raises TypeError: If it is not a collection of strings.
    :raises ValueError: If one cannot be a method, or there are too many.
    """
    found = checked_strings("methods", values, "methods", '["PROPFIND", "REPORT"]')
    for name in found:
        if len(name) > _LONGEST or not _is_method(name):
            raise ValueError(
                f"methods must be at most {_LONGEST} capital letters and hyphens, got"
                f' {short_repr(name)}; write ["PROPFIND", "REPORT"]'
            )
    if len(found) > _MOST:
        raise ValueError(
            f"methods must be at most {_MOST}, got {len(found)}; each is a label of"
            " metrics, so name those that your application answers"
        )
    return frozenset(found)


def set_methods(sender: object, methods: frozenset[str]) -> None:
    """Set further methods that are recorded by their names for a sender."""
    _of_senders.set(sender, methods)


def further_method(sender: object, method: object) -> str:
    """Return a method that is none of :data:`METHODS` as a sender has it recorded."""
    is_named = type(method) is str and method in _of_senders.of(sender, frozenset())
    return t.cast(str, method) if is_named else OTHER_METHOD
