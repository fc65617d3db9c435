"""Exemplars of durations, made by a function of the user's."""

from __future__ import annotations

import typing as t
from collections.abc import Callable
from collections.abc import Mapping
from reprlib import repr as short_repr
from time import time

from prometheus_client.samples import Exemplar

from ...exchange import Exchange
from ._figures import Complaints
from ._options import is_name
from ._options import option_error

__all__ = ["ExemplarFunction", "exemplar_of", "exemplar_option"]

ExemplarFunction: t.TypeAlias = Callable[[Exchange], Mapping[str, str] | None]
"""Returns the labels of an exemplar for an exchange, or ``None`` for none."""

_MOST_CHARACTERS = 128


def exemplar_option(function: ExemplarFunction | None) -> ExemplarFunction | None:
    """Return the function, checked.

    :raises ConfigurationError: If it cannot be called.
    """
    if function is not None and not callable(function):
        raise option_error("exemplar must be callable", function, "exemplar")
    return function


def exemplar_of(
    function: ExemplarFunction,
    exchange: Exchange,
    seconds: float,
    complaints: Complaints,
) -> Exemplar | None:
    """Return the exemplar of an exchange's duration; ``None`` if there is none.

    :param function: What gives its labels. A failure is logged once.
    :param exchange: The exchange.
    :param seconds: The duration.
    :param complaints: Where a failure is logged.
    """
    try:
        labels = function(exchange)
        if not labels:
            return None
        labels = dict(labels)
        text = "".join(map(str.__str__, (*labels, *labels.values())))
        text.encode()
        if len(text) > _MOST_CHARACTERS or not all(map(is_name, labels)):
            raise ValueError(  # noqa: TRY301  # logged like those of the function
                f"an exemplar takes {_MOST_CHARACTERS} characters in all,"
                f" and names of labels; got {short_repr(labels)}"
            )
    except Exception as error:  # noqa: BLE001  # the request is counted even so
        complaints.tell("the function for exemplars failed", error)
        return None
    return Exemplar(labels, seconds, time())
