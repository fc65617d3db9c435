"""Checks of the options of the receiver of failures."""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["checked_statuses", "number_from_one", "seconds_or_none", "truth"]


def seconds_or_none(again_seconds: object) -> float | None:
    """Return a number of seconds, or ``None``."""
    if again_seconds is None:
        return None
    if isinstance(again_seconds, bool) or not isinstance(again_seconds, (int, float)):
        raise TypeError(
            f"again_seconds must be a number of seconds, got {again_seconds!r}; leave"
            " it out for an hour"
        )
    if not again_seconds >= 0:
        raise ValueError(
            f"again_seconds must be a number of seconds from 0 up, got"
            f" {again_seconds!r}; give None to print a traceback only once"
        )
    return again_seconds


def truth(handled: object) -> bool:
    """Return an option that is true or false."""
    if not isinstance(handled, bool):
        raise TypeError(f"handled must be True or False, got {handled!r}")
    return handled


def checked_statuses(statuses: object) -> frozenset[int]:
    """Return statuses of responses."""
    if isinstance(statuses, (str, bytes)) or not isinstance(statuses, Collection):
        raise TypeError(
            f"ignore_statuses must be a collection of statuses, got {statuses!r};"
            " write [503]"
        )
    for status in statuses:
        if isinstance(status, bool) or not isinstance(status, int):
            raise TypeError(
                f"a status in ignore_statuses must be a whole number, got"
                f" {status!r}; write [503]"
            )
        if not 100 <= status <= 999:
            raise ValueError(
                f"a status in ignore_statuses must be from 100 to 999, got"
                f" {status!r}; write [503]"
            )
    return frozenset(statuses)


def number_from_one(max_fingerprints: object) -> int:
    """Return a whole number from 1 up."""
    if isinstance(max_fingerprints, bool) or not isinstance(max_fingerprints, int):
        raise TypeError(
            f"max_fingerprints must be a whole number, got {max_fingerprints!r}; leave"
            " it out for 1000"
        )
    if max_fingerprints < 1:
        raise ValueError(
            f"max_fingerprints must be 1 or more, got {max_fingerprints!r}; each is a"
            " failure that is counted apart from others"
        )
    return max_fingerprints
