"""Check the options of receivers: each message names the option and what to write."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Mapping
from reprlib import repr as short_repr
from typing import Any
from typing import TypeGuard

__all__ = [
    "checked_seconds",
    "checked_statuses",
    "checked_truth",
    "checked_whole_number",
    "is_collection",
    "is_number",
]


def is_number(value: object) -> bool:
    """Return whether a value is a number, and not ``True`` or ``False``."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_collection(value: object) -> TypeGuard[Collection[Any]]:
    """Return whether a value holds others, and is neither text nor a table."""
    if isinstance(value, (str, bytes, Mapping)):
        return False
    return isinstance(value, Collection)


def checked_seconds(option: str, seconds: float | None, advice: str) -> float | None:
    """Return a number of seconds from 0 up, or ``None``.

    :param option: The name of the option.
    :param seconds: Its value.
    :param advice: What to write instead, for the message.
    :raises TypeError: If it is neither a number nor ``None``.
    :raises ValueError: If it is negative or not a number.
    """
    if seconds is None:
        return None
    if not is_number(seconds):
        raise TypeError(
            f"{option} must be a number of seconds, got {short_repr(seconds)}; {advice}"
        )
    if not seconds >= 0:
        raise ValueError(
            f"{option} must be a number of seconds from 0 up, got {seconds!r}; {advice}"
        )
    return seconds


def checked_whole_number(
    option: str, number: object, advice: str, *, least: int = 1
) -> int:
    """Return a whole number.

    :param option: The name of the option.
    :param number: Its value.
    :param advice: What to write instead, for the message.
    :param least: The least value.
    :raises TypeError: If it is not a whole number.
    :raises ValueError: If it is below ``least``.
    """
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(
            f"{option} must be a whole number, got {short_repr(number)}; {advice}"
        )
    if number < least:
        raise ValueError(
            f"{option} must be a whole number from {least} up, got"
            f" {short_repr(number)}; {advice}"
        )
    return number


def checked_truth(option: str, value: object) -> bool:
    """Return an option that is true or false.

    :raises TypeError: If it is another value.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{option} must be True or False, got {short_repr(value)}")
    return value


def checked_statuses(option: str, statuses: object) -> frozenset[int]:
    """Return statuses of responses.

    :raises TypeError: If it is not a collection of whole numbers.
    :raises ValueError: If one is not from 100 to 999.
    """
    if not is_collection(statuses):
        raise TypeError(
            f"{option} must be a collection of statuses, got {short_repr(statuses)};"
            " write [503]"
        )
    for status in statuses:
        if isinstance(status, bool) or not isinstance(status, int):
            raise TypeError(
                f"a status in {option} must be a whole number, got"
                f" {short_repr(status)}; write [503]"
            )
        if not 100 <= status <= 999:
            raise ValueError(
                f"a status in {option} must be from 100 to 999, got"
                f" {short_repr(status)}; write [503]"
            )
    return frozenset(statuses)
