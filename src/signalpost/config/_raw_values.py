"""Convert text values of a file to the types that their readers take."""

from __future__ import annotations

import collections.abc
import inspect
import logging
import types
import typing as t
from collections.abc import Callable
from typing import Any

from ._location import joined
from ._shown import shown_value

__all__ = ["TRUTHS", "RawValue", "lines_in", "plain", "value_for"]

TRUTHS = {
    **dict.fromkeys(("1", "on", "true", "yes"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}


class RawValue(str):
    """A value from a file of text only: its reader converts it to the type it takes."""

    __slots__ = ()


def plain(value: Any) -> Any:
    """Return a value without the marks of this module: a text becomes a string."""
    return str(value) if isinstance(value, RawValue) else value


def value_for(value: Any, annotation: Any) -> Any:
    """Return an option's value as its class takes it.

    :raises ValueError: If a text cannot be converted.
    """
    if isinstance(value, RawValue):
        return _value_of_text(str(value), annotation)
    kinds = _kinds(annotation)
    # No file can hold a logger, but its name.
    if isinstance(value, str) and logging.Logger in kinds and str not in kinds:
        return logging.getLogger(value)
    return value


def _kinds(annotation: Any) -> tuple[Any, ...]:
    """Return the alternatives of an annotation; those that take any text last."""
    if t.get_origin(annotation) in (t.Union, types.UnionType):
        kinds = [kind for one in t.get_args(annotation) for kind in _kinds(one)]
        return tuple(sorted(kinds, key=lambda kind: kind in (str, Any)))
    return (annotation,)


def _value_of_text(text: str, annotation: Any) -> Any:
    kinds = _kinds(annotation)
    if types.NoneType in kinds and not text:
        return None
    reasons = []
    for kind in kinds:
        if kind is types.NoneType or (kind is logging.Logger and str in kinds):
            continue
        try:
            return _reader_of(kind)(text)
        except ValueError as error:
            reasons.append(str(error))
    raise ValueError("; or ".join(reasons))


def _reader_of(kind: Any) -> Callable[[str], Any]:
    """Return the function that converts a text to one kind of value."""
    origin = t.get_origin(kind) or kind
    arguments = t.get_args(kind)
    if origin is t.Literal:
        return lambda text: _choice(text, arguments)
    if not isinstance(origin, type) or issubclass(origin, (str, bytes)):
        return str
    if origin in _READERS:
        return _READERS[origin]
    if issubclass(origin, collections.abc.Mapping):
        inner = arguments[1] if len(arguments) == 2 else Any
        return lambda text: _mapping(text, inner)
    if issubclass(origin, collections.abc.Iterable):
        inner = arguments[0] if arguments else Any
        made: Callable[..., Any] = tuple if inspect.isabstract(origin) else origin
        return lambda text: made(_value_of_text(one, inner) for one in _several(text))
    return str


def _truth(text: str) -> bool:
    try:
        return TRUTHS[text.lower()]
    except KeyError:
        raise ValueError(f"expected yes or no, got {shown_value(text)}") from None


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"expected a whole number, got {shown_value(text)}") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"expected a number, got {shown_value(text)}") from None


_READERS: dict[Any, Callable[[str], Any]] = {
    bool: _truth,
    int: _whole_number,
    float: _number,
    logging.Logger: logging.getLogger,
}


def _choice(text: str, choices: tuple[Any, ...]) -> Any:
    for choice in choices:
        if str(choice) == text:
            return choice
    raise ValueError(
        f"expected one of {joined(map(str, choices))}, got {shown_value(text)}"
    )


def _mapping(text: str, inner: Any) -> dict[str, Any]:
    found = {}
    for line in lines_in(text):
        name, equals, value = line.rpartition("=")
        if not equals:
            raise ValueError(f"expected lines NAME = VALUE, got {shown_value(line)}")
        found[name.strip()] = _value_of_text(value.strip(), inner)
    return found


def _several(text: str) -> list[str]:
    """Return the lines of a text; or its words, if it is one line."""
    lines = lines_in(text)
    return lines if len(lines) > 1 else text.split()


def lines_in(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]
