"""Signals that are sent again for events of other processes."""

from __future__ import annotations

import logging
import typing as t
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from reprlib import repr as short_repr

from ..._engine.delivery import AsyncWrapper
from ..._engine.signal import NamedSignal
from ...errors import EventError
from ...errors import PayloadError
from ...receivers.context import carried
from ._event import Event
from ._event import is_text

__all__ = [
    "Signals",
    "checked_signal",
    "current_event",
    "is_sent_again",
    "is_sent_by_us",
    "note_chain",
    "send_again",
]

_logger = logging.getLogger("signalpost.relay")

_MOST_WARNED = 1000

_event: ContextVar[Event | None] = ContextVar("signalpost.event", default=None)
_signal: ContextVar[NamedSignal | None] = ContextVar(
    "signalpost.sent_again", default=None
)

# By source and signal. A process that forwards a received event under its own name
# would receive it again, without end.
_chained: set[tuple[str, str]] = set()


def current_event() -> Event | None:
    """Return the event for which the running code was called.

    ::

        @order_placed.connect
        def ship(sender, order):
            event = current_event()
            if event is not None:  # sent by another process
                ...

    :returns: ``None`` if the signal was sent in this process, or outside of a receiver.

    .. versionadded:: 0.1
    """
    return _event.get()


def is_sent_again(signal: NamedSignal) -> bool:
    """Return whether a signal is being sent for an event in this context."""
    return _signal.get() is signal


def note_chain(source: str, name: str) -> None:
    """Record that this process forwards a signal even if it was received here."""
    _chained.add((source, name))


def is_sent_by_us(event: Event) -> bool:
    """Return whether an event comes from a chain of this process."""
    return bool(_chained) and (event.source, event.name) in _chained


def checked_signal(signal: object) -> NamedSignal:
    """Return a signal that can be relayed.

    :raises TypeError: If it is not a named signal.
    :raises PayloadError: If it does not declare its payload.
    :raises ValueError: If its name cannot be the type of an event.
    """
    if not isinstance(signal, NamedSignal):
        raise TypeError(
            "only a signal with a name can be relayed, got"
            f" {short_repr(signal)}; make it by Namespace.signal(name, payload=(…))"
        )
    if signal.payload is None:
        raise PayloadError(
            f"{signal} does not declare its payload, so it cannot be relayed; declare"
            f" it, as in signal({signal.name!r}, payload=('order',))",
            signal,
        )
    if not is_text(signal.name):
        raise ValueError(
            "the name of a signal that is relayed must have 1 to 1024 printable"
            f" characters, got {short_repr(signal.name)}"
        )
    return signal


class Signals(Mapping[str, NamedSignal]):
    """The signals that events are received for, by name.

    :param signals: The signals. Each is checked by :func:`checked_signal`.
    :raises TypeError: If one of them is not a named signal.
    :raises PayloadError: If one of them does not declare its payload.
    :raises ValueError: If two have the same name, or a name cannot be the type of an
        event.
    """

    def __init__(self, signals: Iterable[object]) -> None:
        self._signals: dict[str, NamedSignal] = {}
        self._warned: set[tuple[str, frozenset[str]]] = set()
        for one in signals:
            self.add(checked_signal(one))

    def __getitem__(self, name: str) -> NamedSignal:
        return self._signals[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._signals)

    def __len__(self) -> int:
        return len(self._signals)

    def add(self, signal: NamedSignal) -> None:
        """Add a signal.

        :raises ValueError: If another has the same name.
        """
        if self._signals.setdefault(signal.name, signal) is not signal:
            raise ValueError(
                f"two signals are named {signal.name!r}, so an event could belong to"
                " either; rename one"
            )

    def fit(self, event: Event) -> tuple[NamedSignal, dict[str, t.Any]]:
        """Return the signal of an event, and the payload to send it with.

        Values that the signal does not declare are left out, with one warning: the
        sender may have a newer version.

        :raises EventError: If there is no such signal, or a declared value is missing.
        """
        signal = self._signals.get(event.name)
        if signal is None:
            known = ", ".join(sorted(self._signals))
            raise EventError(
                f"no signal is named {short_repr(event.name)} here; known are {known}"
            )
        declared = signal.payload or frozenset()
        if event.payload.keys() == declared:
            return signal, {**event.payload}
        missing = sorted(declared - event.payload.keys())
        if missing:
            raise EventError(
                f"the event {event.name!r} lacks {', '.join(map(repr, missing))}, which"
                " the signal declares here; send it, or declare less"
            )
        unknown = frozenset(event.payload.keys() - declared)
        known_case = (event.name, unknown)
        if known_case not in self._warned and len(self._warned) < _MOST_WARNED:
            self._warned.add(known_case)
            _logger.warning(
                "events %r have %s, which the signal does not declare here; left out",
                event.name,
                short_repr(sorted(unknown)),
            )
        return signal, {name: event.payload[name] for name in declared}


@contextmanager
def _noted(signal: NamedSignal, event: Event) -> Iterator[None]:
    in_event = _event.set(event)
    in_signal = _signal.set(signal)
    try:
        # The log lines of the receivers have the id of the request then.
        with carried({"request_id": event.request_id}):
            yield
    finally:
        _signal.reset(in_signal)
        _event.reset(in_event)


def send_again(
    signal: NamedSignal,
    event: Event,
    payload: dict[str, t.Any],
    async_wrapper: AsyncWrapper | None = None,
) -> Exception | None:
    """Send a signal for an event; call every receiver, even if some of them raise.

    :param payload: The payload that :meth:`Signals.fit` has returned.
    :param async_wrapper: Returns a synchronous function for an async receiver.
    :returns: The exception of the first receiver that failed, or ``None``.
    """
    with _noted(signal, event):
        outcomes = signal.send_robust(
            event.sender, _async_wrapper=async_wrapper, **payload
        )
    return next((one.exception for one in outcomes if one.failed), None)
