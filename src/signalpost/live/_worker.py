"""The file of one worker, as another process reads it."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from sys import byteorder
from typing import Any
from typing import Final
from typing import NamedTuple

from ..receivers.own_files import is_held
from ..receivers.own_files import opened
from ..receivers.own_folder import OwnFolder
from ._folder import check_file
from ._layout import INDEX_ENTRY
from ._layout import INDEXED
from ._layout import Layout
from ._layout import live_fields
from ._layout import LiveFields
from ._layout import NAME_BYTES
from ._layout import RING_BYTES
from ._layout import SLOT
from ._layout import SLOTS
from ._layout import Start
from ._layout import start_of
from ._layout import TALLY_ROW_BYTES
from ._layout import TALLY_TOP
from ._layout import TOTALS
from ._records import unpacked
from ._tallies import overflow_in
from ._tallies import used_in

__all__ = ["Entry", "Slot", "Worker"]

_WINDOW_BYTES: Final = 1 << 15
# When a request can have started: a slot that is damaged may have any number.
_OLDEST: Final = 1e9
_NEWEST: Final = 1e11


class Entry(NamedTuple):
    """An entry of a worker's index for one record. Entries sort by their time."""

    at: float
    sequence: int
    offset: int
    length: int
    checksum: int
    worker: Worker


class Slot(NamedTuple):
    """A request in flight. Its texts are decoded when they are read."""

    started_at: float
    number: int
    """The status; 0 for none."""
    method_bytes: bytes
    path_bytes: bytes

    @property
    def status(self) -> int | None:
        """The status of the response, if that has begun."""
        return self.number or None

    @property
    def method(self) -> str:
        """The method, or that of work."""
        return _text(self.method_bytes)

    @property
    def path(self) -> str:
        """The path, as far as it is recorded."""
        return _text(self.path_bytes)


class Worker:
    """The contents of a worker's file. Records are read only by their methods.

    :param folder: The folder.
    :param name: The name of the file.
    :raises OSError: If the file cannot be opened.
    :raises ValueError: If the file is foreign or damaged; the message has the reason.
    """

    __slots__ = (
        "_descriptor",
        "_index",
        "_window",
        "data",
        "in_flight",
        "is_alive",
        "is_new",
        "layout",
        "live",
        "name",
        "queues",
        "relay",
        "start",
        "work",
    )

    data: bytes
    """The file up to the names of the routes."""
    work: bytes
    """The table of units of work, as far as it is used."""
    relay: bytes
    """The table of events, as far as it is used."""
    queues: bytes
    """The queues of relays, and their failures."""
    in_flight: tuple[Slot, ...]
    """The requests in flight that have slots."""
    live: LiveFields
    """The fields that change with each request."""

    def __init__(self, folder: OwnFolder, name: str) -> None:
        self.name = name.removesuffix(".live")
        self._descriptor = opened(folder, name, os.O_RDONLY)
        self._window = 0, b""
        try:
            self._read()
        except BaseException:
            self.close()
            raise

    def _read(self) -> None:
        found = check_file(self._descriptor)
        self.is_alive = is_held(self._descriptor)
        head = os.pread(self._descriptor, 128, 0)
        # Its worker has not written the beginning yet.
        self.is_new = self.is_alive and not any(head[:8])
        if self.is_new:
            return
        self.start: Start = start_of(head)
        self.layout = layout = Layout(self.start.max_routes)
        if not layout.size == self.start.size == found.st_size:
            raise ValueError(
                f"it has {found.st_size} bytes, and must have {layout.size}"
            )
        self.data = self._part(0, layout.names)
        # After the counts, so that it has each record that is counted.
        self._index = self._part(layout.index, layout.ring)
        self.live = live_fields(self.data)
        if not 2 <= self.live.route_count <= layout.rows:
            raise ValueError("its counts are damaged")
        self.in_flight = self._slots()
        self.work, self.relay = map(self._table, (layout.work, layout.relay))
        self.queues = self._part(layout.queues, layout.index)

    def _part(self, begin: int, end: int) -> bytes:
        data = os.pread(self._descriptor, end - begin, begin)
        if len(data) != end - begin:
            raise ValueError("it was cut while it was read")
        return data

    def _table(self, at: int) -> bytes:
        """Return a table: its top and its used rows, of which there are few."""
        end = at + TALLY_TOP.size + TALLY_ROW_BYTES
        data = self._part(at, end)
        return data + self._part(end, end + (used_in(data) - 1) * TALLY_ROW_BYTES)

    def minute(self, number: int) -> bytes:
        """Return a period of the routes' last minute.

        :param number: Its place, from 0.
        """
        size = self.layout.minute_bytes
        return self._later(self.layout.minute + number * size, size)

    def totals(self) -> bytes:
        """Return the counts of the routes since the start."""
        return self._later(self.layout.totals, self.layout.rows * TOTALS.size)

    def _later(self, at: int, size: int) -> bytes:
        """Return a part that not each poll reads; zeros if the file was cut since."""
        data = os.pread(self._descriptor, size, at)
        return data if len(data) == size else bytes(size)

    def close(self) -> None:
        """Close the file."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    @property
    def state(self) -> str:
        """Return the state of the worker: ``"alive"``, ``"ended"`` or ``"killed"``.

        A process of a queue may end without a function of :mod:`atexit`. One that has
        done units of work, and none when it ended, was not killed in any.
        """
        if self.is_alive:
            return "alive"
        live = self.live
        if live.ended_at:
            return "ended"
        is_of_work = not live.requests and used_in(self.work) > 1
        is_at_rest = is_of_work and not self.in_flight and not self.work_overflow
        return "ended" if is_at_rest else "killed"

    @property
    def work_overflow(self) -> int:
        """Return how many units of work in flight have no slot."""
        return overflow_in(self.work)

    def _slots(self) -> tuple[Slot, ...]:
        begin = self.layout.slots
        data = self.data[begin : begin + SLOTS * SLOT.size]
        return tuple(
            [
                Slot._make(one)
                for one in SLOT.iter_unpack(data)
                if _OLDEST < one[0] < _NEWEST
            ]
        )

    def routes(self) -> tuple[str, ...]:
        """Return the names of the rows that are used."""
        size = self.live.route_count * NAME_BYTES
        data = self._later(self.layout.names, size)
        return tuple(
            _name(data[at : at + NAME_BYTES]) for at in range(0, size, NAME_BYTES)
        )

    def entries(self, after: int = 0) -> Iterator[Entry]:
        """Yield the records that the index has.

        :param after: Only those with a higher number.
        """
        last, index = self.live.records, self._index
        unpack_from = INDEX_ENTRY.unpack_from
        for number in range(max(after, last - INDEXED) + 1, last + 1):
            place = number % INDEXED * INDEX_ENTRY.size
            sequence, at, offset, length, checksum = unpack_from(index, place)
            if sequence == number and offset + length <= RING_BYTES:
                yield Entry(at, sequence, offset, length, checksum, self)

    def record(self, entry: Entry, *, with_events: bool = False) -> list[Any] | None:
        """Return the fields of a record; ``None`` if it was overwritten meanwhile.

        :param with_events: Whether the events follow the fields.
        """
        data = self._record_bytes(entry.offset, entry.length)
        if zlib.adler32(data, entry.sequence & 0xFFFFFFFF) != entry.checksum:
            return None
        try:
            return unpacked(data, with_events=with_events)
        except ValueError:
            return None

    def _record_bytes(self, offset: int, length: int) -> bytes:
        begin, window = self._window
        if not begin <= offset <= offset + length <= begin + len(window):
            # The records before it are usually read next.
            begin = max(0, offset + length - _WINDOW_BYTES)
            at = self.layout.ring + begin
            window = os.pread(self._descriptor, offset + length - begin, at)
            self._window = begin, window
        return window[offset - begin : offset - begin + length]


def _name(data: bytes) -> str:
    length = int.from_bytes(data[:2], byteorder)
    return _text(data[2 : 2 + min(length, NAME_BYTES - 2)])


def _text(data: bytes) -> str:
    # The writer may have cut a text in the middle of a character.
    return data.rstrip(b"\0").decode("utf-8", "ignore")
