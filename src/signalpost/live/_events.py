"""The events within one exchange, kept until it closes."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Mapping
from collections.abc import Sequence
from itertools import repeat
from struct import Struct
from time import perf_counter
from typing import Any
from typing import Final
from typing import TypeAlias

from .._ids import known_keys
from ..exchange import Exchange
from ._cells import Cell
from ._cells import Closed
from ._file import WorkerFile
from ._layout import PATH_BYTES
from ._records import NO_NUMBERS
from ._records import NO_OUTCOME
from ._records import NOWHERE
from ._records import pack_numbers
from ._records import packed
from ._records import packed_events
from ._records import TEMPLATE
from ._records import UNKNOWN
from ._statements import count
from ._statements import Counts
from ._statements import Executed
from ._text import are_known
from ._text import fit_or_none
from ._text import known_fit
from ._tops import Failure

__all__ = ["Details", "Trace", "record"]

_MOST_EVENTS: Final = 40
_MOST_SHAPES: Final = 256
_MOST_BYTES: Final = 8192
_LONGEST_REFERRER: Final = 256
_SURE_PATH: Final = PATH_BYTES // 4
"""So many characters have room in a cell whatever they are."""


class _Counting:
    """The lock of all traces: a new lock would take time in each request."""

    # Reentrant: the garbage collection may close an exchange on any line.
    lock = threading.RLock()


def _start_over() -> None:
    _Counting.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    # Another thread of the parent may hold it.
    os.register_at_fork(after_in_child=_start_over)


Event: TypeAlias = tuple[int, str, float, float | None, str | None, bool]
"""Kind, name, begin by :func:`time.perf_counter`, seconds, place, whether it failed."""


class Details:
    """The data of an exchange that few have: its events, statements and failure."""

    __slots__ = (
        "events",
        "exception",
        "failure",
        "fingerprint",
        "left_out",
        "referrer",
        "rendering",
        "shapes",
        "sql_count",
        "sql_seconds",
        "statements",
        "times",
    )

    exception: str
    """The type of the exception; empty for none."""
    shapes: dict[str, Counts] | None
    """The counts of statements by their shapes; ``None`` while they are few."""
    statements: list[Executed]
    """The statements that are not among these."""
    times: Mapping[str, int] | None
    """How often each shape came; ``None`` while it is open, and if none came."""

    def __init__(self) -> None:
        self.failure: Failure | None = None
        self.shapes = self.times = None
        self.rendering: list[float] | None = None
        self.exception = self.fingerprint = self.referrer = ""
        self.left_out = self.sql_count = 0
        self.sql_seconds = 0.0
        self.events: list[Event] = []
        self.statements = []

    def needs_room(self) -> bool:
        """Return whether it has more than numbers."""
        return bool(self.events or self.referrer or self.exception)

    def counts(self) -> tuple[float, int, int, int, int, int, int, int]:
        """Return the last numbers of the record; the zeros are written later."""
        most = max(self.times.values()) if self.times else 0
        return self.sql_seconds, self.left_out, self.sql_count, most, 0, 0, 0, 0

    def count_statements(self) -> None:
        """Count the statements so far, as there are many."""
        with _Counting.lock:
            self._count_noted()

    def sum_statements(self) -> None:
        """Sum up the statements, for the record."""
        with _Counting.lock:
            if self.shapes is not None:
                self._count_noted()
                self.times = {shape: row[0] for shape, row in self.shapes.items()}
                return
            shapes = [shape for shape, _, _ in self.statements]
            self.sql_count = len(shapes)
            self.sql_seconds = sum([seconds for _, seconds, _ in self.statements])
            times = dict.fromkeys(shapes, 1)
            self.times = times if len(times) == len(shapes) else Counter(shapes)

    def _count_noted(self) -> None:
        # Another thread may be about to append to the list.
        executed = self.statements[:]
        if self.shapes is None:
            self.shapes = {}
        count(executed, self.shapes, _MOST_SHAPES)
        self.sql_count += len(executed)
        self.sql_seconds += sum([seconds for _, seconds, _ in executed])
        del self.statements[: len(executed)]


class Trace(Closed):
    """The data of one exchange that the exchange itself does not have.

    :param file: The file that has its cell; ``None`` if nothing can be written.
    :param cell: Its cell in that file, or ``None``.
    :param method: The method.
    :param path: The path, as it is shown.
    :param started_at: When it began, in seconds since the epoch.
    """

    __slots__ = ("details", "file", "request_finished", "request_started", "room")

    details: Details | None
    """Made when there is something that it keeps: most requests have nothing."""
    room: int
    """The number of events that can still be recorded."""

    # Without a call of the method that it overrides, as it is called for each request.
    def __init__(
        self,
        file: WorkerFile | None,
        cell: Cell | None,
        method: str,
        path: str,
        started_at: float,
    ) -> None:
        self.file = file
        self.cell = cell
        self.method = method
        self.path = path
        self.started_at = started_at
        self.details = None
        self.is_failed = self.is_aborted = False
        self.request_started = self.request_finished = UNKNOWN
        self.room = _MOST_EVENTS
        self.extra = b""

    def detailed(self) -> Details:
        """Return its details, which are made first if there are none."""
        found = self.details
        if found is None:
            with _Counting.lock:
                # Another thread may have made them meanwhile.
                found = self.details
                if found is None:
                    found = self.details = Details()
        return found

    def refer(self, referrer: object) -> None:
        """Keep the referrer."""
        self.detailed().referrer = _text(referrer, _LONGEST_REFERRER)

    def fail(self, failure: Failure) -> None:
        """Keep that it failed."""
        details = self.detailed()
        details.failure = failure
        details.exception = failure.exception
        details.fingerprint = failure.fingerprint

    def forget(self) -> None:
        """Drop what is recorded besides its path, as something in it cannot be read."""
        self.details = self.route = self.response_seconds = None
        self.record, self.extra = NO_NUMBERS, b""

    def add(  # noqa: PLR0913  # the fields of an event
        self,
        kind: int,
        name: str,
        at: float,
        seconds: float | None = None,
        place: str | None = None,
        *,
        is_failed: bool = False,
    ) -> None:
        """Keep an event, or count that it is left out.

        :param at: When it began, by :func:`time.perf_counter`.
        """
        if self.takes_one():
            event = kind, name, at, seconds, place, is_failed
            self.detailed().events.append(event)

    def takes_one(self) -> bool:
        """Return whether one more event can be recorded, and count it."""
        if self.room > 0:
            self.room -= 1
            return True
        self.detailed().left_out += 1
        return False

    def begin_template(self) -> None:
        """Note that a template begins."""
        details = self.detailed()
        if details.rendering is None:
            details.rendering = []
        if len(details.rendering) < _MOST_EVENTS:
            details.rendering.append(perf_counter())

    def end_template(self, name: str) -> None:
        """Keep that a template was rendered."""
        rendering = self.detailed().rendering
        began = rendering.pop() if rendering else None
        now = perf_counter()
        seconds = None if began is None else now - began
        self.add(TEMPLATE, name, now if began is None else began, seconds)


def record(exchange: Exchange, trace: Trace, status: int | None) -> None:
    """Set the record of an exchange that has closed, of at most 8 KiB in the ring.

    :param status: Its status; ``None`` if it has no valid one.
    """
    details, outcome, environ = trace.details, exchange.outcome, exchange._environ
    # As exchange._known_id(), but without a call: most requests have none.
    if (
        exchange._ids
        or exchange.outer is not None
        or environ is None
        or not environ.keys().isdisjoint(known_keys)
    ):
        known_id = exchange._known_id()
    else:
        known_id = None
    if (
        known_id is not None
        or outcome != "complete"
        or len(trace.path) > _SURE_PATH
        or (details is not None and details.needs_room())
    ):
        trace.extra = _extra_of(exchange.start, trace, outcome, known_id)
    first_byte = exchange.seconds_to_first_byte
    numbers = (
        0 if status is None else status,
        exchange.body_bytes,
        trace.is_failed,
        trace.response_seconds,
        exchange.duration_seconds,
        exchange.seconds_to_headers,
        # As of nearly each response without a body.
        UNKNOWN if first_byte is None else first_byte,
        trace.request_started,
        trace.request_finished,
        *(_NONE if details is None else details.counts()),
    )
    try:
        trace.record = pack_numbers(*numbers)
    except Exception:  # noqa: BLE001  # whatever a value does
        # Times are missing; or a receiver has set a value of another kind.
        trace.record = pack_numbers(*_checked(numbers))


_NO_DETAILS: Final = Details()
_NONE: Final = _NO_DETAILS.counts()


def _extra_of(start: float, trace: Trace, outcome: object, known_id: object) -> bytes:
    """Return what the cell has no room for, with as many events as fit."""
    details = trace.details or _NO_DETAILS
    path, events = trace.path, details.events
    texts = (
        "",
        path if len(path.encode()) > PATH_BYTES else "",
        "" if outcome == "complete" else _text(outcome, 20) or NO_OUTCOME,
        details.exception,
        _text(known_id, 128),
        details.referrer,
        details.fingerprint,
    )
    while True:
        extra = packed(texts, _events(start, details.times, events))
        # In UTF-8, a character may take four bytes.
        if len(extra) <= _MOST_BYTES or not events:
            return extra
        kept = len(events) // 2
        details.left_out += len(events) - kept
        events = events[:kept]


def _events(
    start: float, times_of: Mapping[str, int] | None, events: Sequence[Event]
) -> bytes:
    """Return events in their written form, with each text once.

    :param start: When the exchange began, by :func:`time.perf_counter`.
    :param times_of: How often each statement came.
    """
    if not events:
        return b""
    numbers: dict[str, int] = {}
    number_of_text = numbers.setdefault
    fields: list[Any] = []
    for kind, name, at, seconds, place, is_failed in events:
        fields += (
            kind,
            is_failed,
            number_of_text(name, len(numbers)),
            at - start,
            UNKNOWN if seconds is None else seconds,
            NOWHERE if place is None else number_of_text(place, len(numbers)),
        )
    times: Sequence[int] = ()
    if times_of is not None:
        times = [*map(times_of.get, numbers, repeat(0))]
    if are_known(numbers):
        return packed_events(numbers, times, fields)
    return packed_events([known_fit(one) or "" for one in numbers], times, fields)


def _checked(numbers: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the numbers of a record; a value that is not a number is unknown or 0."""
    counts = [number_of(one) or 0 for one in numbers[:2]]
    times = [seconds_of(one) for one in numbers[3:9]]
    known = [UNKNOWN if one is None else one for one in times]
    return (*counts, numbers[2], *known, *numbers[9:])


def number_of(value: object) -> int | None:
    """Return a whole number; ``None`` for a value that is none or is too large."""
    # Nearly each value is so, and a call would take longer.
    if type(value) is int and -(2**63) <= value < 2**63:
        return value
    number: int | None = _packed_as(_NUMBER, value)
    return number


def seconds_of(value: object) -> float | None:
    """Return seconds; ``None`` for a value that is no number or is too large."""
    seconds: float | None = _packed_as(_SECONDS, value)
    return seconds


_NUMBER: Final = Struct("=q")
_SECONDS: Final = Struct("=d")


def _packed_as(form: Struct, value: object) -> Any:
    """Return a value as a record has it; ``None`` if a record cannot have it."""
    try:
        return form.unpack(form.pack(value))[0]
    except Exception:  # noqa: BLE001  # whatever the value does
        return None


def _text(value: object, longest: int) -> str:
    return fit_or_none(value, longest) or ""
