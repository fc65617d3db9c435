"""Texts of clients and applications, fit for a page and of bounded length."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ..receivers.lines import single_line
from ..receivers.lines import truncated

__all__ = [
    "LONGEST_KNOWN",
    "LONGEST_PATH",
    "LONGEST_ROUTE",
    "LONGEST_STATEMENT",
    "are_known",
    "fit",
    "fit_or_none",
    "known_fit",
]

LONGEST_PATH: Final = 200
LONGEST_ROUTE: Final = 200
LONGEST_STATEMENT: Final = 200
LONGEST_KNOWN: Final = 200
"""That of a name, a place or a route."""


def fit(text: str, longest: int = LONGEST_PATH) -> str:
    """Return a text that is printable, and that has at most ``longest`` characters.

    What is not printable is escaped as in a Python string: control characters, marks
    that turn the writing direction, lone surrogates.
    """
    if len(text) <= longest and text.isprintable():
        return text
    return truncated(single_line(text[: longest + 1]), longest)


_known: set[str] = set()
_MOST_KNOWN: Final = 2048


def known_fit(text: object) -> str | None:
    """Return a text of the application, as :func:`fit_or_none` does, often faster.

    For names, locations and routes, which are few and repeated; not for the
    texts of clients.
    """
    # A receiver may have set any value, and its hash may raise.
    if type(text) is str and text in _known:
        return text
    shown = fit_or_none(text, LONGEST_KNOWN)
    if shown is not None and shown is text:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        _known.add(shown)
    return shown


def are_known(texts: Iterable[str]) -> bool:
    """Return whether :func:`known_fit` would return all these texts unchanged."""
    return _known.issuperset(texts)


def fit_or_none(value: object, longest: int = LONGEST_PATH) -> str | None:
    """Return a text of an exchange; ``None`` for ``None`` and for other types.

    A receiver may have set any value.
    """
    if value is None:
        return None
    try:
        return fit(value if type(value) is str else str(value), longest)
    except Exception:  # noqa: BLE001  # whatever the value does
        return None
