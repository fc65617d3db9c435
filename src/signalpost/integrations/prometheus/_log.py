"""Warnings, each logged once."""

from __future__ import annotations

import logging
import typing as t

from ..._engine.unseen import checked
from ...receivers.lines import single_line

__all__ = ["log", "warn"]

log: t.Final = logging.getLogger("signalpost.prometheus")

_MOST_WARNINGS = 100


def warn(logged: set[str], what: str, error: object) -> None:
    """Log a warning, if it is the first of its kind.

    :param logged: The warnings that were logged already; 100 kinds at most.
    """
    if what not in logged and len(logged) < _MOST_WARNINGS:
        logged.add(what)
        checked(log, logging.WARNING).warning(
            "%s: %s; logged once", single_line(what), single_line(str(error))
        )
