"""Receivers that are connected, or were, and are never called."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator

from ... import lifecycle
from ..._engine.cleanup import deaths
from ..._engine.introspection import ConnectionInfo
from ...console.layout import location
from ...wsgi.unsent import reason_unsent

__all__ = ["Died", "NeverCalled", "died", "location_of", "never_called"]


class NeverCalled(t.NamedTuple):
    """A receiver whose sender does not send its signal."""

    signal: str
    """The signal's name."""
    receiver: str
    """The receiver's name."""
    reason: str
    """The reason, and what to do."""
    where: str
    """The file and line that connected it."""

    @property
    def text(self) -> str:
        """The same as one sentence."""
        return (
            f"{self.receiver} will never be called by {self.signal}: {self.reason}"
            f" (connected at {self.where})"
        )


def never_called() -> list[NeverCalled]:
    """Return the receivers of the catalogue that are connected to what sends nothing.

    As the process is now: what is set up later may send.
    """
    found = []
    for signal in lifecycle.catalogue.values():
        for one in signal.connections:
            reason = reason_unsent(signal, one.sender)
            # What is connected to the whole catalogue misses nothing.
            is_missed = (
                not one.whole_namespace or signal not in lifecycle.SENT_BY_OTHERS
            )
            if reason is not None and is_missed:
                found.append(
                    NeverCalled(signal.name, one.name, reason, location_of(one))
                )
    return found


class Died(t.NamedTuple):
    """A receiver that died before its signal was sent, as nothing kept it."""

    signal: str
    """The signal's name; ``""`` if it has none."""
    where: str
    """The file and line that connected it."""
    function: str
    """The function that connected it."""


def died() -> Iterator[Died]:
    """Yield the latest receivers that died before they were called, at most 100."""
    for one in [*deaths]:
        file, _, line = one.connected_at.rpartition(":")
        yield Died(one.signal_name, location(file, line), one.connected_in)


def location_of(connection: ConnectionInfo) -> str:
    """Return where a receiver was connected, as it is shown."""
    if connection.connected_at is None:
        return "in a with block"
    file, _, line = connection.connected_at.rpartition(":")
    return location(file, line)
