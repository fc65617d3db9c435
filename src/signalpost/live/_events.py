"""The events within one exchange, kept until it closes."""

from __future__ import annotations

import os
import struct
import threading
from collections import Counter
from collections.abc import Mapping
from collections.abc import Sequence
from itertools import repeat
from time import perf_counter
from typing import Any
from typing import Final
from typing import TypeAlias

from ..exchange import Exchange
from ._file import Closed
from ._file import WorkerFile
from ._records import NO_STATUS
from ._records import NO_TEXT
from ._records import NOWHERE
from ._records import pack_head
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

__all__ = [
    "Trace",
    "record_of",
    "referrer_text",
]

_MOST_EVENTS: Final = 40
_MOST_SHAPES: Final = 256
_MOST_BYTES: Final = 8192
_LONGEST_REFERRER: Final = 256


_METHODS: Final = ("GET", "POST", "HEAD", "PUT", "PATCH", "DELETE")


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


class Trace(Closed):
    """The data of one exchange that the exchange itself does not have.

    :param file: The file that has its slot; ``None`` if nothing can be written.
    :param slot: Its slot in that file; -1 for none.
    :param path: The path, as it is shown.
    :param started_at: When it began, in seconds since the epoch.
    """

    # Most requests keep most of the defaults. As class attributes they would be read
    # more slowly than it takes to set them here.
    __slots__ = (
        "events",
        "exception",
        "failure",
        "file",
        "fingerprint",
        "has_referrer",
        "left_out",
        "path",
        "referrer",
        "rendering",
        "request_finished",
        "request_started",
        "room",
        "shapes",
        "slot",
        "sql_count",
        "sql_seconds",
        "statements",
        "times",
    )

    exception: str
    """The type of the exception."""
    room: int
    """The number of events that can still be recorded."""
    shapes: dict[str, Counts] | None
    """The counts of statements by their shapes; ``None`` while they are few."""
    statements: list[Executed]
    """The statements that are not among these."""
    times: Mapping[str, int] | None
    """How often each shape came; ``None`` while it is open, and if none came."""

    # Without a call of the method that it overrides, as it is called for each request.
    def __init__(
        self, file: WorkerFile | None, slot: int, path: str, started_at: float
    ) -> None:
        self.file = file
        self.slot = slot
        self.path = path
        self.started_at = started_at
        self.route = self.response_seconds = None
        self.failure: Failure | None = None
        self.shapes = self.times = None
        self.rendering: list[float] | None = None
        self.is_failed = self.is_aborted = self.has_referrer = False
        self.exception = self.fingerprint = self.referrer = NO_TEXT
        self.request_started = self.request_finished = UNKNOWN
        self.left_out = self.sql_count = 0
        self.sql_seconds = 0.0
        self.room = _MOST_EVENTS
        self.record = b""
        self.events: list[Event] = []
        self.statements = []

    def fail(self, failure: Failure) -> None:
        """Keep that it failed."""
        self.failure = failure
        self.exception, self.fingerprint = failure.exception, failure.fingerprint

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
            self.events.append((kind, name, at, seconds, place, is_failed))

    def takes_one(self) -> bool:
        """Return whether one more event can be recorded, and count it."""
        if self.room > 0:
            self.room -= 1
            return True
        self.left_out += 1
        return False

    def begin_template(self) -> None:
        """Note that a template begins."""
        if self.rendering is None:
            self.rendering = []
        if len(self.rendering) < _MOST_EVENTS:
            self.rendering.append(perf_counter())

    def end_template(self, name: str) -> None:
        """Keep that a template was rendered."""
        began = self.rendering.pop() if self.rendering else None
        now = perf_counter()
        seconds = None if began is None else now - began
        self.add(TEMPLATE, name, now if began is None else began, seconds)

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


def record_of(exchange: Exchange, trace: Trace, status: int | None) -> bytes:
    """Return the record of an exchange, of at most 8 KiB.

    :param status: Its status; ``None`` if it has no valid one.
    """
    times = trace.times
    method, route, outcome = exchange.method, trace.route, exchange.outcome
    known_id = exchange._known_id()
    response, headers = trace.response_seconds, exchange.seconds_to_headers
    first_byte, start = exchange.seconds_to_first_byte, exchange.start
    texts = (
        method if method in _METHODS else _text(method, 20),
        trace.path,
        NO_TEXT if route is None else route,
        outcome if outcome == "complete" else _text(outcome, 20),
        trace.exception,
        NO_TEXT if known_id is None else _text(known_id, 128),
        trace.referrer,
        trace.fingerprint,
    )
    numbers = (
        NO_STATUS if status is None else status,
        exchange.body_bytes,
        trace.sql_count,
        max(times.values()) if times else 0,
        trace.is_failed,
        trace.sql_seconds,
        UNKNOWN if response is None else response,
        exchange.duration_seconds,
        UNKNOWN if headers is None else headers,
        UNKNOWN if first_byte is None else first_byte,
        trace.request_started - start,
        trace.request_finished - start,
    )
    text = "\n".join(texts).encode()
    try:
        if not trace.events:
            return pack_head(len(text), 0, trace.left_out, *numbers) + text
        return _with_events(start, trace, text, numbers)
    except struct.error:
        # A receiver may have set any value.
        return _with_events(start, trace, text, _checked(numbers))


def referrer_text(referrer: object) -> str:
    """Return the referrer of an exchange as a record has it."""
    return NO_TEXT if referrer is None else _text(referrer, _LONGEST_REFERRER)


def _with_events(
    start: float, trace: Trace, text: bytes, numbers: tuple[Any, ...]
) -> bytes:
    """Return a record with as many events as fit."""
    events = trace.events
    while True:
        more = trace.left_out + len(trace.events) - len(events)
        record = packed(text, _events(start, trace, events), more, numbers)
        # In UTF-8, a character may take four bytes.
        if len(record) <= _MOST_BYTES or not events:
            return record
        events = events[: len(events) // 2]


def _events(start: float, trace: Trace, events: Sequence[Event]) -> bytes:
    """Return events in their written form, with each text once.

    :param start: When the exchange began, by :func:`time.perf_counter`.
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
    if trace.times is not None:
        times = [*map(trace.times.get, numbers, repeat(0))]
    if are_known(numbers):
        return packed_events(numbers, times, fields)
    return packed_events([known_fit(one) or "" for one in numbers], times, fields)


def _checked(numbers: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the numbers of a record; a value that is not a number is unknown or 0."""
    counts = [number_of(one) or 0 for one in numbers[:2]]
    return (*counts, *numbers[2:5], *map(_seconds, numbers[5:]))


def number_of(value: object) -> int | None:
    """Return a whole number; ``None`` for a value that is none or is too large."""
    if type(value) is int and -(2**63) <= value < 2**63:
        return value
    return None


def _seconds(value: object) -> float:
    if type(value) is float or (type(value) is int and -(10**9) < value < 10**9):
        return value
    return UNKNOWN


def _text(value: object, longest: int) -> str:
    shown = fit_or_none(value, longest)
    return NO_TEXT if shown is None else shown
