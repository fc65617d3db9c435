"""Checks for receivers, for callers that check often or follow each change."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from collections.abc import Iterable
from typing import Any

from .payload import is_read_by
from .routes import Generation
from .senders import SenderRecord
from .serial import Serial
from .signal import Signal
from .table import Table


def generation_of(signals: Iterable[Signal]) -> Generation:
    """Return an object that gets another ``current`` after each change of the signals.

    A caller that checks often whether any receiver is connected keeps the answer while
    ``current`` is the same object. It must be read before the check.
    """
    generation = Generation()
    for signal in signals:
        table = signal.table
        table.run_now(table.routes.add_generation, generation)
    return generation


def with_receivers(
    signals: tuple[Signal, ...], sender: Any, of_others: tuple[Signal, ...] = ()
) -> tuple[Signal, ...]:
    """Return the signals that have receivers for ``sender``.

    And those of others that have any receiver, for any sender. Faster than checking
    each; used on the hot path. It may return a signal whose receiver is just dying.
    """
    found: tuple[Signal, ...] = ()
    for signal in signals:
        table = signal.table
        if table.any or (table.by_sender and table.reaches(sender)):
            found += (signal,)
    for signal in of_others:
        if signal.table.any or signal.table.by_sender:
            found += (signal,)
    return found


def is_read(signal: Signal, sender: Any, name: str) -> bool:
    """Return whether any receiver reads a part of the payload that ``sender`` sends.

    For a part that takes long to make. Conditions (``when=``) read, too.
    """
    return any(
        is_read_by(call, name)
        for connection in signal.table.route_for(sender).connections
        for call in (connection.call, *(one.call for one in connection.options.when))
    )


def has_any_receivers(
    signals: tuple[Signal, ...], of_others: tuple[Signal, ...] = ()
) -> bool:
    """Return whether any of several signals has receivers for every sender.

    Or any of others has a receiver at all.
    """
    return any(signal.table.any for signal in signals) or any(
        signal.table.any or signal.table.by_sender for signal in of_others
    )


def has_own_receivers(signals: tuple[Signal, ...], sender: Any) -> bool:
    """Return whether any of several signals has receivers for ``sender`` in particular.

    By itself or by a name; those for every sender do not count.
    """
    return any(
        any(True for _ in signal.table.store.groups(sender))
        for signal in signals
        if signal.table.by_sender
    )


class Interest(Serial):
    """Follow which senders have receivers of several signals.

    However a receiver was connected or disconnected, the change is followed before the
    call that made it returns. Only when a receiver or a sender dies, or after a call
    for a single send, :meth:`settle` must be called: these may happen on any line,
    where users' code must not run.

    :param signals: The signals.
    :param changed: Called after each change, in one thread at a time, with the senders
        that may have got their first receiver or lost their last one. Those of every
        sender may have changed in any case.
    """

    __slots__ = ("_changed", "_generation", "_notes", "_settled", "_taken")

    def __init__(
        self, signals: Iterable[Signal], changed: Callable[[list[Any]], object]
    ) -> None:
        super().__init__()
        self._changed = changed
        self._notes: deque[SenderRecord] = deque()
        # Kept, because an error or a fork may interrupt the work on them.
        self._taken: list[SenderRecord] = []
        self._settled: object = None
        signals = [*signals]
        self._generation = generation_of(signals)
        for signal in signals:
            signal.table.run_now(self._follow_table, signal.table)

    def settle(self) -> None:
        """Follow what has changed since the last time; at once if nothing has."""
        if self._settled is not self._generation.current:
            self.run(self._settle)

    def _follow_table(self, table: Table) -> None:
        table.store.notes += (self._notes.append,)
        table.after_change += (self.settle,)

    def _settle(self) -> None:
        current = self._generation.current
        if self._settled is current:
            return
        while self._notes:
            self._taken.append(self._notes.popleft())
        senders: list[Any] = []
        for record in self._taken:
            sender = record.sender()
            senders += sender.senders if record.is_name else [sender]  # type: ignore[attr-defined]  # a name
        self._changed([sender for sender in senders if sender is not None])
        # These may be the last references.
        self.drop_later(senders, self._taken)
        self._taken = []
        # At the end, as another thread that compares it does not wait.
        self._settled = current
