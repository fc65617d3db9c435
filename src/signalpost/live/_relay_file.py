"""The queues and the failures of relays, in the file of a worker."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from sys import byteorder
from typing import Any
from typing import Final
from typing import NamedTuple
from zlib import crc32

from .._relaying import all_open
from ._layout import FAULT
from ._layout import FAULTS
from ._layout import QUEUE
from ._layout import QUEUES
from ._tallies import cut
from ._tallies import text_of
from ._text import fit

__all__ = [
    "FAULT_KINDS",
    "INWARDS",
    "LONGEST_PARTY",
    "OUTWARDS",
    "Fault",
    "Faults",
    "Queue",
    "Queues",
    "faults_in",
    "queues_in",
    "write_queues",
]

OUTWARDS: Final = 0
INWARDS: Final = 1
"""The directions of a row: events that were sent, and those that were received."""

FAULT_KINDS: Final = ("dropped", "delayed", "failed", "buried")

LONGEST_PARTY: Final = 100
"""The longest name of a source or of a group, in characters."""

_CHECK: Final = 4
_QUEUE_SECONDS: Final = 0.1
_NAME_BYTES: Final = 200
_PARTY_BYTES: Final = 104
_REASON_BYTES: Final = 804


class Queue(NamedTuple):
    """The queue of the relays of one source, in one process."""

    source: str
    waiting: int
    dropped: int
    """The number of events that were given up."""
    oldest_at: float
    """When the oldest one was sent, in seconds since the epoch; 0 if none waits."""


class Fault(NamedTuple):
    """A kind of failure, and how often it occurred."""

    kind: int
    name: str
    party: str
    reason: str
    tries: int = 0
    times: int = 1
    first_at: float = 0.0
    last_at: float = 0.0


class Queues:
    """Writes the queues of a process; one thread at a time.

    :param page: The memory of the file.
    :param at: Where they are in it.
    """

    def __init__(self, page: mmap.mmap, at: int) -> None:
        self._page = page
        self._at = at
        self._written: dict[str, Queue] = {}
        self.due_at = 0.0

    def write(self, queue: Queue) -> None:
        """Write the state of a queue; that of a ninth source has no room."""
        known = self._written.get(queue.source)
        if known == queue or (known is None and len(self._written) >= QUEUES):
            return
        self._written[queue.source] = queue
        place = [*self._written].index(queue.source)
        name = cut(queue.source, _PARTY_BYTES)
        numbers = (queue.waiting, queue.dropped, queue.oldest_at)
        data = QUEUE.pack(0, len(name), *numbers, name)
        _write(self._page, self._at + place * QUEUE.size, data)

    @property
    def sources(self) -> list[str]:
        """Return the written sources, which may have closed since."""
        return [*self._written]


class Faults:
    """Writes the latest failures; one thread at a time.

    :param page: The memory of the file.
    :param at: Where they are in it.
    """

    def __init__(self, page: mmap.mmap, at: int) -> None:
        self._page = page
        self._at = at
        # The last one is the most recent.
        self._faults: dict[tuple[int, str, str, str], tuple[int, Fault]] = {}

    def add(self, fault: Fault, now: float) -> None:
        """Write a failure, or count one more of the same."""
        key = fault[:4]
        found = self._faults.pop(key, None)
        if found is not None:
            place, known = found
            fault = fault._replace(times=known.times + 1, first_at=known.first_at)
        elif len(self._faults) < FAULTS:
            place = len(self._faults)
            fault = fault._replace(first_at=now)
        else:
            place, _ = self._faults.pop(next(iter(self._faults)))
            fault = fault._replace(first_at=now)
        fault = fault._replace(last_at=now)
        self._faults[key] = place, fault
        _write(self._page, self._at + place * FAULT.size, _packed(fault))


def write_queues(queues: Queues, now: float) -> None:
    """Write the queues of the relays of this process.

    :param now: The time, in seconds since the epoch.
    """
    queues.due_at = now + _QUEUE_SECONDS
    # A relay that was closed has no events left.
    found: dict[str, list[Any]] = {one: [0, 0, 0.0] for one in queues.sources}
    for relay in all_open():
        if relay.sends_later:
            row = found.setdefault(fit(relay.source, LONGEST_PARTY), [0, 0, 0.0])
            row[0] += relay.waiting
            row[1] += relay.dropped
            row[2] = max(row[2], relay.oldest_seconds)
    for source, (waiting, dropped, oldest) in found.items():
        queues.write(Queue(source, waiting, dropped, now - oldest if waiting else 0.0))


def _packed(fault: Fault) -> bytes:
    name = cut(fault.name, _NAME_BYTES)
    party = cut(fault.party, _PARTY_BYTES)
    reason = cut(fault.reason, _REASON_BYTES)
    lengths = len(name), len(party), len(reason)
    numbers = min(fault.tries, 0xFFFF_FFFF), min(fault.times, 0xFFFF_FFFF)
    times = fault.first_at, fault.last_at
    return FAULT.pack(0, fault.kind, *lengths, *numbers, *times, name, party, reason)


def _write(page: mmap.mmap, at: int, data: bytes) -> None:
    """Write a record; its first four bytes become the checksum of the rest."""
    rest = data[_CHECK:]
    page[at : at + len(data)] = crc32(rest).to_bytes(_CHECK, byteorder) + rest


def _whole(data: bytes, at: int, size: int, most: int) -> Iterator[bytes]:
    """Yield the records that are whole; one may be half written."""
    for place in range(most):
        record = data[at + place * size : at + (place + 1) * size]
        check = int.from_bytes(record[:_CHECK], byteorder)
        if check and check == crc32(record[_CHECK:]):
            yield record


def queues_in(data: bytes, at: int) -> Iterator[Queue]:
    """Yield the queues in the data of a file.

    :param at: Where they begin.
    """
    for record in _whole(data, at, QUEUE.size, QUEUES):
        _, length, *numbers, name = QUEUE.unpack(record)
        yield Queue(text_of(name, length), *numbers)


def faults_in(data: bytes, at: int) -> Iterator[Fault]:
    """Yield the failures in the data of a file.

    :param at: Where it begins.
    """
    for record in _whole(data, at, FAULT.size, FAULTS):
        fields = FAULT.unpack(record)
        _, kind, *lengths, tries, times, first_at, last_at = fields[:9]
        name, party, reason = map(text_of, fields[9:], lengths)
        yield Fault(kind, name, party, reason, tries, times, first_at, last_at)
