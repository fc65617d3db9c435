"""The receivers that are connected to the built-in signals, and their calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from typing import Final

from .._engine.identity import ANY
from .._engine.identity import describe
from .._engine.observing import Delivery
from ..lifecycle import catalogue
from ._text import fit

__all__ = ["Deliveries", "connected"]

_MOST_SIGNALS: Final = 100
_MOST_RECEIVERS: Final = 50
_MOST_COUNTED: Final = 1000
_LONGEST: Final = 200


class Deliveries:
    """Counts the calls of receivers, as an observer."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], list[Any]] = {}

    def __call__(self, delivery: Delivery) -> None:
        """Count a call."""
        key = delivery.signal.name, describe(delivery.receiver)  # type: ignore[attr-defined]  # those of the catalogue have names
        counts = self._counts.get(key)
        if counts is None:
            if len(self._counts) >= _MOST_COUNTED:
                return
            counts = self._counts.setdefault(key, [0, 0, 0.0])
        counts[0] += 1
        counts[1] += delivery.exception is not None
        counts[2] += delivery.duration_seconds

    def of(self, signal: str, receiver: str) -> list[Any]:
        """Return calls, failures and seconds."""
        return self._counts.get((signal, receiver), [0, 0, 0.0])


def connected(deliveries: Deliveries | None) -> dict[str, Any]:
    """Return the signals that have receivers, in their written form.

    :param deliveries: The counts of calls; ``None`` if calls are not counted.
    """
    rows = []
    signals = [*catalogue.items()]
    for name, signal in signals[:_MOST_SIGNALS]:
        receivers = [*_receivers_of(name, signal, deliveries)]
        if receivers:
            left_out = max(0, len(receivers) - _MOST_RECEIVERS)
            rows.append([fit(name, _LONGEST), receivers[:_MOST_RECEIVERS], left_out])
    return {"rows": rows, "left_out": max(0, len(signals) - _MOST_SIGNALS)}


def _receivers_of(
    signal: str, connections: Any, deliveries: Deliveries | None
) -> Iterator[list[Any]]:
    for info in connections.connections:
        counts: list[Any] = [None, None, None]
        if deliveries is not None:
            counts = deliveries.of(signal, describe(info.receiver))
        at = info.connected_at
        yield [
            fit(info.name, _LONGEST),
            None if at is None else fit(at, _LONGEST),
            _name_of(info.sender),
            *counts,
        ]


def _name_of(sender: object) -> str:
    """Return the name of a sender: an application's name, or its type."""
    if sender is ANY:
        return "ANY"
    for attribute in ("name", "__qualname__"):
        # An attribute of an application's object may raise anything.
        with suppress(Exception):
            name = getattr(sender, attribute)
            if isinstance(name, str):
                return fit(name, _LONGEST)
    return fit(type(sender).__qualname__, _LONGEST)
