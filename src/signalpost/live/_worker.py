"""The file of one worker, as another process reads it."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from collections.abc import Sequence
from functools import lru_cache
from itertools import compress
from struct import Struct
from sys import byteorder
from typing import Any
from typing import Final
from typing import NamedTuple

from ..receivers.own_files import is_held
from ..receivers.own_files import opened
from ..receivers.own_folder import OwnFolder
from ._folder import check_file
from ._layout import CELL
from ._layout import CELL_HEAD
from ._layout import CELLS
from ._layout import Layout
from ._layout import live_fields
from ._layout import LiveFields
from ._layout import MARK_BYTES
from ._layout import NAME_BYTES
from ._layout import NEWEST
from ._layout import OLDEST
from ._layout import RING_BYTES
from ._layout import Start
from ._layout import start_of
from ._layout import TALLY_ROW_BYTES
from ._layout import TALLY_TOP
from ._layout import TOTALS
from ._records import cell_text
from ._records import known_text
from ._records import place_of
from ._records import unpacked
from ._tallies import overflow_in
from ._tallies import used_in

__all__ = ["Entry", "InFlight", "Worker"]

_WINDOW_BYTES: Final = 1 << 15
_MOST_BETWEEN: Final = 32
"""How many other cells may be read for one, as that takes less time than a call."""
_marks_of: Final = Struct(f"={CELLS}Q").unpack
_begin_of: Final = Struct("=d").unpack_from
_HIGHEST_BYTE: Final = MARK_BYTES - 1 if byteorder == "little" else 0


class Entry(NamedTuple):
    """A request that has closed. Entries sort by their time."""

    at: float
    sequence: int
    cell: bytes
    worker: Worker


class InFlight(NamedTuple):
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
        return known_text(self.method_bytes)

    @property
    def path(self) -> str:
        """The path, as far as it is recorded."""
        return cell_text(self.path_bytes)


class Worker:
    """The contents of a worker's file. Records are read only by their methods.

    :param folder: The folder.
    :param name: The name of the file.
    :raises OSError: If the file cannot be opened.
    :raises ValueError: If the file is foreign or damaged; the message has the reason.
    """

    __slots__ = (
        "_descriptor",
        "_marks",
        "_names",
        "_window",
        "data",
        "in_flight",
        "is_alive",
        "is_new",
        "last",
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
    in_flight: tuple[InFlight, ...]
    """The requests in flight that have cells."""
    live: LiveFields
    """The fields that change with each request."""
    last: int
    """The number of the last record."""

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
        # After the counts, so that they have each record that is counted.
        self._marks = self._read_marks()
        self._names = b""
        self.live = live_fields(self.data)
        if not 2 <= self.live.route_count <= layout.rows:
            raise ValueError("its counts are damaged")
        self.last = self.live.records
        # It may have been killed before it could count what had closed.
        if not self.is_alive and self.last + 1 in _marks_of(self._marks):
            self.last += 1
        self.in_flight = self._in_flight()
        self.work, self.relay = map(self._table, (layout.work, layout.relay))
        self.queues = self._part(layout.queues, layout.marks)

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
        """Return how many units of work in flight have no cell."""
        return overflow_in(self.work)

    def _read_marks(self) -> bytes:
        return self._part(self.layout.marks, self.layout.cells)

    def _in_flight(self) -> tuple[InFlight, ...]:
        # That byte of a time is not zero, and that of a sequence number is.
        cells = [*compress(range(CELLS), self._marks[_HIGHEST_BYTE::MARK_BYTES])]
        found = [
            InFlight._make(CELL_HEAD.unpack_from(cell))
            for _, cell in self._whole(cells)
        ]
        return tuple([one for one in found if OLDEST < one.started_at < NEWEST])

    def _whole(self, cells: Sequence[int]) -> list[tuple[int, bytes]]:
        """Return cells by their numbers, without those that are written meanwhile.

        :param cells: Their numbers, ascending.
        """
        if not cells:
            return []
        first, last, size = cells[0], cells[-1], CELL.size
        if last - first < _MOST_BETWEEN * len(cells):
            data = self._cells(first, last + 1)
            found = [data[(n - first) * size : (n - first + 1) * size] for n in cells]
        else:
            found = [self._cells(n, n + 1) for n in cells]
        before, after = self._marks, self._read_marks()
        pairs = [*zip(cells, found, strict=True)]
        if before == after:
            return pairs
        earlier, later = _marks_of(before), _marks_of(after)
        return [(n, cell) for n, cell in pairs if earlier[n] == later[n]]

    def _cells(self, first: int, end: int) -> bytes:
        at = self.layout.cells
        return self._part(at + first * CELL.size, at + end * CELL.size)

    def routes(self) -> tuple[str, ...]:
        """Return the names of the rows that are used."""
        data = self._read_names()
        places = range(0, len(data), NAME_BYTES)
        return tuple([_name(data[at : at + NAME_BYTES]) for at in places])

    def _read_names(self) -> bytes:
        return self._later(self.layout.names, self.live.route_count * NAME_BYTES)

    def entries(self, after: int = 0) -> Iterator[Entry]:
        """Yield the requests that have closed and that are still in the file.

        :param after: Only those whose number is higher.
        """
        last = self.last
        if after >= last:
            return
        marks = _marks_of(self._marks)
        cells = [number for number, mark in enumerate(marks) if after < mark <= last]
        for number, cell in self._whole(cells):
            (at,) = _begin_of(cell)
            # It may be damaged; NaN, too, is left out.
            if OLDEST < at < NEWEST:
                yield Entry(at, marks[number], cell, self)

    def record(self, entry: Entry, *, with_events: bool = False) -> list[Any] | None:
        """Return the fields of a record; ``None`` if it was overwritten meanwhile.

        :param with_events: Whether the events follow the fields.
        """
        row, at, length, check = place_of(entry.cell)
        extra = b""
        if length:
            if at + length > RING_BYTES:
                return None
            extra = self._record_bytes(at, length)
            if zlib.adler32(extra, entry.sequence & 0xFFFFFFFF) != check:
                return None
        try:
            route = self._route(row)
            return unpacked(entry.cell, extra, route, with_events=with_events)
        except ValueError:
            return None

    def _route(self, row: int) -> str | None:
        """Return the name of a row; ``None`` for that of unmatched requests."""
        if not row:
            return None
        if not self._names:
            self._names = self._read_names()
        at = row * NAME_BYTES
        return _name(self._names[at : at + NAME_BYTES])

    def _record_bytes(self, offset: int, length: int) -> bytes:
        begin, window = self._window
        if not begin <= offset <= offset + length <= begin + len(window):
            # The records before it are usually read next.
            begin = max(0, offset + length - _WINDOW_BYTES)
            at = self.layout.ring + begin
            window = os.pread(self._descriptor, offset + length - begin, at)
            self._window = begin, window
        return window[offset - begin : offset - begin + length]


@lru_cache(maxsize=2048)
def _name(data: bytes) -> str:
    length = int.from_bytes(data[:2], byteorder)
    return cell_text(data[2 : 2 + min(length, NAME_BYTES - 2)])
