"""Receivers that are connected, or were, and are never called."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator

from ... import lifecycle
from ..._engine.cleanup import deaths
from ..._engine.identity import ANY
from ..._engine.introspection import ConnectionInfo
from ..._engine.signal import Signal
from ...config import Enabled
from ...config import EnabledReceiver
from ...console.layout import location
from ...wsgi.unsent import reason_unsent

__all__ = ["Died", "NeverCalled", "died", "location_of", "never_called"]


_OWN_MODULES = __name__.partition(".")[0] + "."


class NeverCalled(t.NamedTuple):
    """A receiver whose sender does not send its signal."""

    signal: str
    """The signal's name."""
    receiver: str
    """The receiver's name."""
    reason: str
    """The reason, with advice."""
    where: str
    """The file and line that connected or enabled it."""
    is_enabled_by_name: bool = False
    """``True`` if a configuration has enabled it."""

    @property
    def text(self) -> str:
        """The same as one sentence."""
        how = "enabled" if self.is_enabled_by_name else "connected"
        return (
            f"{self.receiver} will never be called by {self.signal}: {self.reason}"
            f" ({how} at {self.where})"
        )


def never_called(enabled: Enabled) -> list[NeverCalled]:
    """Return receivers of the catalogue whose sender sends nothing.

    As the process is now: what is set up later may send.

    :param enabled: The receivers that are enabled by name.
    """
    found: list[NeverCalled] = []
    seen: set[str] = set()
    for signal in lifecycle.catalogue.values():
        for one in signal.connections:
            reason = reason_unsent(signal, one.sender)
            owner = enabled.owner_of(one.receiver)
            if reason is None or not _is_missed(signal, one, owner):
                continue
            if owner is None:
                where = location_of(one)
                found.append(NeverCalled(signal.name, one.name, reason, where))
            elif owner.name not in seen:
                seen.add(owner.name)
                found.append(
                    NeverCalled(
                        signal.name,
                        owner.name,
                        reason,
                        location(owner.origin, owner.line),
                        is_enabled_by_name=True,
                    )
                )
    return found


def _is_missed(
    signal: Signal, connection: ConnectionInfo, owner: EnabledReceiver | None
) -> bool:
    """Return whether a receiver depends on this signal.

    A receiver of the whole catalogue does not miss it. A receiver of other signals of
    requests does not miss it either.
    """
    if signal not in lifecycle.SENT_BY_OTHERS:
        return True
    if connection.whole_namespace:
        return False
    if connection.sender is not ANY:
        return True
    if owner is not None:
        others = {one.name for one in lifecycle.SENT_BY_OTHERS}
        return bool(owner.signals) and others.issuperset(owner.signals)
    module = getattr(connection.receiver, "__module__", None) or ""
    return not module.startswith(_OWN_MODULES)


class Died(t.NamedTuple):
    """A receiver that was freed before its signal was sent."""

    signal: str
    """The signal's name; ``""`` if it has none."""
    where: str
    """The file and line that connected it."""
    function: str
    """The function that connected it."""


def died() -> Iterator[Died]:
    """Yield the latest receivers that were freed before a call, at most 100."""
    for one in [*deaths]:
        file, _, line = one.connected_at.rpartition(":")
        yield Died(one.signal_name, location(file, line), one.connected_in)


def location_of(connection: ConnectionInfo) -> str:
    """Return the location of a connection, for display."""
    if connection.connected_at is None:
        return "in a with block"
    file, _, line = connection.connected_at.rpartition(":")
    return location(file, line)
