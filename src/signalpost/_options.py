"""Check options; each message names the option, its value, and the correct form."""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
from math import isfinite
from reprlib import repr as short_repr
from typing import Any
from typing import TypeVar

from .errors import ConfigurationError

__all__ = [
    "checked_collection",
    "checked_path",
    "checked_seconds",
    "checked_seconds_or_none",
    "checked_statuses",
    "checked_strings",
    "checked_truth",
    "checked_whole_number",
    "configured",
    "is_number",
]

T = TypeVar("T")

_is_path = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@/-]{0,200}", re.ASCII).fullmatch


def is_number(value: object) -> bool:
    """Return whether a value is a number, and not ``True`` or ``False``."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def checked_seconds(
    option: str, seconds: object, advice: str, *, is_finite: bool = False
) -> float:
    """Return a number of seconds from 0 up.

    :param option: The name of the option.
    :param seconds: Its value.
    :param advice: The end of the message: what to write instead.
    :param is_finite: Whether infinity is refused.
    :raises TypeError: If it is not a number.
    :raises ValueError: If it is negative, infinite or not a number.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(
            f"{option} must be a number of seconds, got {_shown(seconds)}; {advice}"
        )
    if not seconds >= 0 or (is_finite and not _is_finite(seconds)):
        raise ValueError(
            f"{option} must be a number of seconds from 0 up, got"
            f" {_shown(seconds)}; {advice}"
        )
    return seconds


def checked_seconds_or_none(option: str, seconds: object, advice: str) -> float | None:
    """Return a number of seconds from 0 up, or ``None``; as :func:`checked_seconds`."""
    return None if seconds is None else checked_seconds(option, seconds, advice)


def _shown(value: object) -> str:
    try:
        return short_repr(value)
    except ValueError:  # an int has more digits than Python writes
        return f"a value of the type {type(value).__qualname__}"


def _is_finite(number: float) -> bool:
    try:
        return isfinite(number)
    except OverflowError:  # an int beyond all floats
        return False


def checked_whole_number(
    option: str,
    number: object,
    advice: str,
    *,
    least: int = 1,
    most: int | None = None,
) -> int:
    """Return a whole number.

    :param option: The name of the option.
    :param number: Its value.
    :param advice: The end of the message: what to write instead.
    :param least: The least value.
    :param most: The greatest value; ``None`` for any.
    :raises TypeError: If it is not a whole number.
    :raises ValueError: If it is below ``least``, or above ``most``.
    """
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(
            f"{option} must be a whole number, got {_shown(number)}; {advice}"
        )
    if number < least or (most is not None and number > most):
        end = "up" if most is None else f"to {most}"
        raise ValueError(
            f"{option} must be a whole number from {least} {end}, got"
            f" {_shown(number)}; {advice}"
        )
    return number


def checked_truth(option: str, value: object, advice: str = "") -> bool:
    """Return an option that is true or false.

    :param advice: The end of the message, such as what to write instead.
    :raises TypeError: If it is another value.
    """
    if not isinstance(value, bool):
        raise TypeError(
            f"{option} must be True or False, got {_shown(value)}"
            f"{advice and f'; {advice}'}"
        )
    return value


def checked_collection(
    option: str, values: object, what: str, example: str, *, is_ordered: bool = False
) -> tuple[object, ...]:
    """Return an option that is a collection.

    :param option: The name of the option.
    :param values: Its value.
    :param what: The name of its values, in the plural, as ``"paths"``.
    :param example: A right value, as ``'["/"]'``.
    :param is_ordered: Whether the order counts, so that a set is refused.
    :raises TypeError: If it is one string, a mapping, or no collection.
    """
    # Of a mapping only the keys would be used, without a word of it.
    if (
        isinstance(values, (str, bytes, Mapping))
        or not isinstance(values, Collection)
        or (is_ordered and not isinstance(values, Sequence))
    ):
        raise TypeError(
            f"{option} must be a {'list' if is_ordered else 'collection'} of {what},"
            f" got {_shown(values)}; write {example}"
        )
    return tuple(values)


def checked_strings(  # noqa: PLR0913  # the message is made from most of them
    option: str,
    values: object,
    what: str,
    example: str,
    *,
    is_ordered: bool = False,
    may_be_empty: bool = False,
) -> tuple[str, ...]:
    """Return an option that is a collection of strings.

    :param option: The name of the option.
    :param values: Its value.
    :param what: The name of the strings, in the plural, as ``"paths"``.
    :param example: A right value, as ``'["/"]'``.
    :param is_ordered: Whether the order counts, so that a set is refused.
    :param may_be_empty: Whether an empty string has a meaning.
    :raises TypeError: If it is one string, no collection, or has something else in it.
    :raises ValueError: If an empty string is in it, which has no meaning.
    """
    strings = []
    for value in checked_collection(
        option, values, what, example, is_ordered=is_ordered
    ):
        if not isinstance(value, str):
            raise TypeError(
                f"each of the {what} in {option} must be a string, got"
                f" {_shown(value)}; write {example}"
            )
        if not value and not may_be_empty:
            raise ValueError(
                f"none of the {what} in {option} may be an empty string; write"
                f" {example}"
            )
        strings.append(value)
    return tuple(strings)


def checked_statuses(option: str, statuses: object) -> frozenset[int]:
    """Return statuses of responses.

    :raises TypeError: If it is not a collection of whole numbers.
    :raises ValueError: If one is not from 100 to 999.
    """
    return frozenset(
        checked_whole_number(
            f"each of the statuses in {option}",
            status,
            "write [503]",
            least=100,
            most=999,
        )
        for status in checked_collection(option, statuses, "statuses", "[503]")
    )


def configured(check: Callable[..., T], option: str, *args: Any, **kwargs: Any) -> T:
    """Return a checked option, with errors that name its place in a configuration.

    :param check: One of the checks here, which gets all else.
    :raises ConfigurationError: What the check raises, with the key.
    """
    try:
        return check(option, *args, **kwargs)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(str(error), key=option) from error


def checked_path(path: object, example: str, *, may_be_root: bool = True) -> str:
    """Return the option ``path``: where an application serves metrics or a page.

    :param example: A right value.
    :param may_be_root: Whether ``"/"`` is one.
    :raises ConfigurationError: If it cannot be the path of a URL.
    """
    if not isinstance(path, str) or not _is_path(path):
        raise ConfigurationError(
            "path must begin with / and have no variables and no query, as"
            f' "{example}", got {_shown(path)}',
            key="path",
        )
    if not may_be_root and not path.strip("/"):
        raise ConfigurationError(
            f'path must not be "/", where the application is; choose another, as'
            f' "{example}"',
            key="path",
        )
    return path
