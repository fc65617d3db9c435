"""Texts of clients and applications, fit for a page and of bounded length."""

from __future__ import annotations

from typing import Final

from ..receivers.lines import single_line
from ..receivers.lines import truncated

__all__ = [
    "LONGEST_PATH",
    "LONGEST_ROUTE",
    "LONGEST_STATEMENT",
    "fit",
    "fit_or_none",
]

LONGEST_PATH: Final = 200
LONGEST_ROUTE: Final = 200
LONGEST_STATEMENT: Final = 200


def fit(text: str, longest: int = LONGEST_PATH) -> str:
    """Return a text that is printable, and that has at most ``longest`` characters.

    What is not printable is escaped as in a Python string: control characters, marks
    that turn the writing direction, lone surrogates.
    """
    if len(text) <= longest and text.isprintable():
        return text
    return truncated(single_line(text[: longest + 1]), longest)


def fit_or_none(value: object, longest: int = LONGEST_PATH) -> str | None:
    """Return a text of an exchange; ``None`` for ``None``, or what cannot be a text.

    A receiver may have set any value.
    """
    if value is None:
        return None
    try:
        return fit(value if type(value) is str else str(value), longest)
    except Exception:  # noqa: BLE001  # whatever the value does
        return None
