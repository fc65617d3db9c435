"""Exemplars of durations, made by a function of the user's."""

from __future__ import annotations

import typing as t
from collections.abc import Callable
from collections.abc import Mapping
from reprlib import repr as short_repr

from ...exchange import Exchange
from ._log import warn
from ._options import is_name
from ._options import option_error

__all__ = ["ExemplarFunction", "checked_exemplar", "exemplar_of"]

ExemplarFunction: t.TypeAlias = Callable[[Exchange], Mapping[str, str] | None]
"""Returns the labels of an exemplar for an exchange, or ``None`` for none."""

_MOST_CHARACTERS = 128


def checked_exemplar(function: ExemplarFunction | None) -> ExemplarFunction | None:
    """Return the option ``exemplar``."""
    if function is not None and not callable(function):
        raise option_error("exemplar must be callable", function, "exemplar")
    return function


def exemplar_of(
    function: ExemplarFunction, exchange: Exchange, logged: set[str]
) -> dict[str, str] | None:
    """Return the labels of an exemplar for an exchange; ``None`` if there are none.

    :param function: Returns the labels. A failure is logged once.
    :param exchange: The exchange.
    :param logged: The warnings that were logged already.
    """
    try:
        labels = dict(function(exchange) or {})
        text = "".join(map(str.__str__, (*labels, *labels.values())))
        text.encode()
        if len(text) > _MOST_CHARACTERS or not all(map(is_name, labels)):
            raise ValueError(  # noqa: TRY301  # logged like those of the function
                f"an exemplar takes {_MOST_CHARACTERS} characters in all,"
                f" and names of labels; got {short_repr(labels)}"
            )
    except Exception as error:  # noqa: BLE001  # the request is counted even so
        warn(logged, "the function for exemplars failed", error)
        return None
    return labels or None
