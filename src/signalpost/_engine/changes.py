"""Tell who asks again and again whether there is any news."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable

if t.TYPE_CHECKING:
    from .connections import Connections


class Changes:
    """Tells whether any of several signals got or lost a connection.

    For who must know in every request whether anyone hears them, and looks anew only
    when :attr:`latest` is another object than last time.

    :param signals: The signals.
    """

    __slots__ = ("_signals", "latest")

    latest: object
    """Stands for the latest change."""

    def __init__(self, signals: Iterable[Connections]) -> None:
        self._signals = tuple(signals)
        self.latest = object()
        for signal in self._signals:
            with signal._exclusively():
                signal._changes += (self,)

    def follow(self) -> object:
        """Return the latest change; the next one will be told.

        To be called *before* looking at the signals: what changes meanwhile is told.
        """
        for signal in self._signals:
            signal._is_remembered = True
        return self.latest
