"""Record the relays and listeners of this process, for the live page."""

from __future__ import annotations

from typing import Any
from typing import Final

from .._engine.identity import describe
from .._relaying import relay_buried
from .._relaying import relay_delayed
from .._relaying import relay_failed
from .._relaying import relay_received
from .._relaying import relay_sent
from ..receivers.failure_texts import kind_of
from ..receivers.failure_texts import message_of
from ._file import WorkerFile
from ._relay_file import Fault
from ._relay_file import FAULT_KINDS
from ._relay_file import INWARDS
from ._relay_file import LONGEST_PARTY
from ._relay_file import OUTWARDS
from ._relay_file import write_queues
from ._tallies import AGED
from ._tallies import BURIED
from ._tallies import DROPPED
from ._tallies import FAILED
from ._tallies import Key
from ._tallies import RECEIVED
from ._tallies import RETRIED
from ._tallies import SENT
from ._text import fit
from ._writer import is_first
from ._writer import Writer

__all__ = ["RelayReceivers"]

_DROPPED, _DELAYED, _FAILED, _BURIED = range(len(FAULT_KINDS))

_LONGEST_NAME: Final = 100
_LONGEST_REASON: Final = 300
_UNREADABLE: Final = "<unreadable>"


class RelayReceivers:
    """Receive the signals about relays and listeners, for a recorder.

    Relays and listeners belong to no application, so all of this process are recorded.

    :param writer: Writes the file of this process.
    :param with_messages: Whether messages of exceptions are kept.
    """

    def __init__(self, writer: Writer, *, with_messages: bool) -> None:
        self._writer = writer
        self._with_messages = with_messages
        self._last_fault: tuple[object, str | None] = (None, None)

    def connect(self) -> None:
        """Record from now on, until :meth:`disconnect`."""
        for signal, receiver in self._connections():
            signal.connect(receiver, weak=False)

    def disconnect(self) -> None:
        """Stop recording."""
        for signal, receiver in self._connections():
            signal.disconnect(receiver)

    def _connections(self) -> list[tuple[Any, Any]]:
        return [
            (relay_sent, self.sent),
            (relay_failed, self.dropped),
            (relay_delayed, self.delayed),
            (relay_received, self.received),
            (relay_buried, self.buried),
        ]

    def sent(self, sender: object, *, event: Any) -> None:
        """Count an event that the broker has taken."""
        if is_first(self._writer):
            key = _key(OUTWARDS, event.name, _source_of(sender))
            self._writer.note(_count_sent, key, sender)

    def dropped(self, sender: object, *, event: Any, reason: str) -> None:
        """Count an event that was given up."""
        if not is_first(self._writer):
            return
        key = _key(OUTWARDS, event.name, _source_of(sender))
        fault = self._fault(key, _DROPPED, self._message(reason))
        self._writer.note(_count, key, (DROPPED,), None, None, fault)

    def delayed(self, sender: object, *, reason: str) -> None:
        """Write why events wait, and how many."""
        if is_first(self._writer):
            key = _key(OUTWARDS, "", _source_of(sender))
            fault = self._fault(key, _DELAYED, self._message(reason))
            self._writer.note(_note_fault, fault)

    def received(
        self,
        sender: object,
        *,
        event: Any,
        duration_seconds: float,
        exception: Exception | None,
    ) -> None:
        """Count a try to receive an event."""
        if not is_first(self._writer):
            return
        key = _key(INWARDS, event.name, _group_of(sender))
        counters = [FAILED if exception is not None else RECEIVED]
        age = None
        if event.tries > 1:
            counters.append(RETRIED)
        else:
            # That of a later try has the pauses in it.
            age = event.age_seconds()
        if age is not None:
            age = max(0.0, age - duration_seconds)
            counters.append(AGED)
        fault = None
        if exception is not None:
            reason = self._reason_of(exception)
            self._last_fault = event.id, reason
            fault = self._fault(key, _FAILED, reason, event.tries)
        self._writer.note(_count, key, tuple(counters), duration_seconds, age, fault)

    def buried(self, sender: object, *, event: Any, why: Any) -> None:
        """Count an event that was put aside."""
        if not is_first(self._writer):
            return
        name = _UNREADABLE if event is None else event.name
        key = _key(INWARDS, name, _group_of(sender))
        # The reason of an exception may have values of a database in it: it is taken
        # as it was recorded when the receiver failed.
        reason = None
        if event is None:
            # The message may quote a part of the event.
            reason = self._message(why.reason.partition(", got ")[0])
        elif event.id == self._last_fault[0]:
            reason = self._last_fault[1]
        fault = self._fault(key, _BURIED, reason, why.tries)
        self._writer.note(_count, key, (BURIED,), None, None, fault)

    def _fault(self, key: Key, kind: int, reason: str | None, tries: int = 0) -> Fault:
        text = fit(reason or "", _LONGEST_REASON)
        return Fault(kind, key.name, key.party, text, tries)

    def _message(self, reason: str) -> str | None:
        return reason if self._with_messages else None

    def _reason_of(self, exception: Exception) -> str:
        kind = kind_of(exception)
        if not self._with_messages:
            return kind
        message = message_of(exception, with_values=False)
        return f"{kind}: {message}" if message else kind


def _key(direction: int, name: str, party: str) -> Key:
    return Key(direction, fit(name, _LONGEST_NAME), party)


def _source_of(sender: object) -> str:
    return fit(str(getattr(sender, "source", None) or describe(sender)), LONGEST_PARTY)


def _group_of(sender: object) -> str:
    return fit(str(getattr(sender, "group", None) or describe(sender)), LONGEST_PARTY)


def _count(  # noqa: PLR0913, PLR0917  # the values of an event
    file: WorkerFile,
    now: float,
    key: Key,
    counters: tuple[int, ...],
    seconds: float | None = None,
    age: float | None = None,
    fault: Fault | None = None,
) -> None:
    file.relay.add(key, counters, now, seconds, age)
    if fault is not None:
        file.faults.add(fault, now)
    if key.direction == OUTWARDS:
        write_queues(file.queues, now)


def _count_sent(file: WorkerFile, now: float, key: Key, sender: object) -> None:
    file.relay.add(key, (SENT,), now)
    # After the last of many events, the queue is empty.
    is_last = not getattr(sender, "waiting", 0)
    if is_last or not file.queues.due_at - 1 < now < file.queues.due_at:
        write_queues(file.queues, now)


def _note_fault(file: WorkerFile, now: float, fault: Fault) -> None:
    file.faults.add(fault, now)
    write_queues(file.queues, now)
