"""Follow SQLAlchemy's events, each from the first receiver of its signal on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from collections.abc import Iterable
from typing import Any
from typing import Protocol

from sqlalchemy import event

from ..._engine.signal import NamedSignal


class EventSource(Protocol):
    """A source of a signal's sends, that can be begun and ended."""

    def begin(self) -> None:
        """Follow it from now on."""

    def end(self) -> None:
        """Stop following it."""


class EventListener:
    """An event of SQLAlchemy's, and the function that it calls."""

    def __init__(self, target: Any, name: str, function: Callable[..., Any]) -> None:
        self._listeners = (target, name, function)

    def begin(self) -> None:
        """Put the function on SQLAlchemy's list."""
        event.listen(*self._listeners)

    def end(self) -> None:
        """Take it from the list."""
        event.remove(*self._listeners)


class LazyListeners:
    """Begin a signal's sources as soon as it has a receiver.

    Not before, as SQLAlchemy takes its time over each statement and each object as
    soon as there is anything to call. They are never ended: a list of SQLAlchemy's
    must not change while a thread iterates over it.

    :param signals: The signals.
    :param sources_of: Returns the sources of one of them.
    """

    def __init__(
        self,
        signals: Iterable[NamedSignal],
        sources_of: Callable[[NamedSignal], list[EventSource]],
    ) -> None:
        self._signals = tuple(signals)
        self._sources_of = sources_of
        self._begun: dict[NamedSignal, list[EventSource]] = {}
        # Re-entrant: a finaliser that runs within may connect a receiver.
        self._lock = threading.RLock()
        self._is_ended = False
        self.is_paused = False

    is_paused: bool
    """``True`` if the owners of the sources drop their events for now."""

    def begin(self) -> None:
        """Look after the signals from now on."""
        self._is_ended = False
        for signal in self._signals:
            # Pending functions are only called for a new connection.
            signal.receiver_connected.disconnect(self._follow, signal)
            # Weakly, so that the functions of an engine are freed with it.
            signal.receiver_connected.connect(self._follow, signal)
        for signal in self._signals:
            self._follow(signal)

    def end(self) -> None:
        """End all sources. Done once, it does nothing again."""
        with self._lock:
            self._is_ended = True
            for signal in self._signals:
                signal.receiver_connected.disconnect(self._follow, signal)
            while self._begun:
                _, sources = self._begun.popitem()
                for source in sources:
                    source.end()

    def _follow(self, signal: NamedSignal, **_: object) -> None:
        with self._lock:
            # A test may have restored the connections of before the end.
            if self._is_ended or signal in self._begun or not signal.receivers:
                return
            sources = self._begun[signal] = self._sources_of(signal)
            for source in sources:
                source.begin()
