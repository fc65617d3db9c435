"""What happens within one exchange, kept until it closes."""

from __future__ import annotations

import json
from time import perf_counter
from typing import Any
from typing import Final

from ..exchange import Exchange
from ..receivers.response_times import seconds_of
from ._file import WorkerFile
from ._text import fit
from ._text import fit_or_none
from ._text import LONGEST_PATH
from ._text import LONGEST_ROUTE
from ._text import LONGEST_STATEMENT
from ._tops import Failure

__all__ = ["EXCEPTION", "SIGNAL", "SQL", "TEMPLATE", "Trace", "record_of"]

SIGNAL: Final = 0
TEMPLATE: Final = 1
SQL: Final = 2
EXCEPTION: Final = 3

_MOST_EVENTS: Final = 40
_MOST_SHAPES: Final = 256
_MOST_BYTES: Final = 8192
_LONGEST_PLACE: Final = 200
_LONGEST_REFERRER: Final = 256


class Trace:
    """What is known of an exchange beside the exchange itself.

    :param file: Where it is in flight; ``None`` if nothing can be written.
    :param slot: Its slot there; -1 for none.
    """

    __slots__ = (
        "events",
        "failure",
        "file",
        "left_out",
        "rendering",
        "shapes",
        "slot",
        "sql_count",
        "sql_seconds",
        "traceback",
    )

    def __init__(self, file: WorkerFile | None, slot: int) -> None:
        self.file = file
        self.slot = slot
        self.events: list[tuple[int, str, float, float | None, str | None, bool]] = []
        self.left_out = 0
        self.shapes: dict[str, list[Any]] = {}
        self.sql_count = 0
        self.sql_seconds = 0.0
        self.failure: Failure | None = None
        self.traceback: str | None = None
        self.rendering: list[float] | None = None

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
        if len(self.events) < _MOST_EVENTS:
            self.events.append((kind, name, at, seconds, place, is_failed))
        else:
            self.left_out += 1

    @property
    def has_room(self) -> bool:
        """Whether an event would be kept."""
        return len(self.events) < _MOST_EVENTS

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

    def count(self, shape: str, seconds: float, *, is_failed: bool) -> None:
        """Count a statement. One thread at a time."""
        self.sql_count += 1
        self.sql_seconds += seconds
        row = self.shapes.get(shape)
        if row is None:
            if len(self.shapes) >= _MOST_SHAPES:
                return
            row = self.shapes[shape] = [0, 0.0, 0.0, 0]
        row[0] += 1
        row[1] += seconds
        if seconds > row[2]:
            row[2] = seconds
        row[3] += is_failed


def record_of(
    exchange: Exchange, trace: Trace, response_seconds: float | None, *, is_failed: bool
) -> bytes:
    """Return the record of an exchange, a list in JSON of at most 8 KiB."""
    failure = trace.failure
    most = max([row[0] for row in trace.shapes.values()], default=0)
    record: list[Any] = [
        fit(exchange.method, 20),
        fit_or_none(exchange.script_name + exchange.path, LONGEST_PATH),
        fit_or_none(exchange.route, LONGEST_ROUTE),
        number_of(exchange.status),
        fit_or_none(exchange.outcome, 20),
        _microseconds(response_seconds),
        _microseconds(exchange.duration_seconds),
        number_of(exchange.body_bytes) or 0,
        trace.sql_count,
        _microseconds(trace.sql_seconds),
        most,
        int(is_failed),
        None if failure is None else failure.exception,
        fit_or_none(exchange.known_id(), 128),
        _microseconds(exchange.seconds_to_headers),
        _microseconds(exchange.seconds_to_first_byte),
        fit_or_none(exchange.referrer, _LONGEST_REFERRER),
        None if failure is None else failure.fingerprint,
    ]
    events = _Events(exchange.start, trace)
    record += (events.texts, events.rows, trace.left_out + events.left_out)
    data = _encode(record)
    # Escaped in JSON, a character may take six bytes.
    while len(data) > _MOST_BYTES and events.rows:
        events.halve()
        record[-1] = trace.left_out + events.left_out
        data = _encode(record)
    return data


class _Events:
    """The events of an exchange, each text of them once.

    :param start: When the exchange began, by :func:`time.perf_counter`.
    """

    def __init__(self, start: float, trace: Trace) -> None:
        self._numbers: dict[str, int] = {}
        self.texts: list[str] = []
        self.rows: list[list[Any]] = []
        self.left_out = 0
        shapes = trace.shapes
        for kind, name, at, seconds, place, is_failed in trace.events:
            times = shapes[name][0] if kind == SQL and name in shapes else None
            self.rows.append(
                [
                    kind,
                    self._number(name, LONGEST_STATEMENT),
                    int((at - start) * 1e6),
                    None if seconds is None else int(seconds * 1e6),
                    None if place is None else self._number(place, _LONGEST_PLACE),
                    times,
                    int(is_failed),
                ]
            )

    def halve(self) -> None:
        """Leave the last half out."""
        kept = len(self.rows) // 2
        self.left_out += len(self.rows) - kept
        del self.rows[kept:]
        used = max(
            (one for row in self.rows for one in (row[1], row[4]) if one is not None),
            default=-1,
        )
        del self.texts[used + 1 :]

    def _number(self, text: str, longest: int) -> int:
        number = self._numbers.get(text)
        if number is None:
            number = self._numbers[text] = len(self.texts)
            self.texts.append(fit(text, longest))
        return number


def number_of(value: object) -> int | None:
    """Return a whole number of an exchange; ``None`` for what a receiver has set."""
    if type(value) is int and -(2**63) <= value < 2**63:
        return value
    return None


def _microseconds(value: object) -> int | None:
    seconds = seconds_of(value)
    if seconds is None or not -1e9 < seconds < 1e9:
        return None
    return int(seconds * 1e6)


_encoder = json.JSONEncoder(separators=(",", ":"), check_circular=False)


def _encode(record: list[Any]) -> bytes:
    return _encoder.encode(record).encode("ascii")
