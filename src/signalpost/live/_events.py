"""What happens within one exchange, kept until it closes."""

from __future__ import annotations

from json.encoder import encode_basestring_ascii as _quoted
from time import perf_counter
from typing import Any
from typing import Final

from ..exchange import Exchange
from ._file import WorkerFile
from ._text import fit
from ._text import fit_or_none
from ._text import LONGEST_STATEMENT
from ._tops import Failure

__all__ = [
    "EXCEPTION",
    "SIGNAL",
    "SQL",
    "TEMPLATE",
    "Trace",
    "has_referrer",
    "record_of",
]

SIGNAL: Final = 0
TEMPLATE: Final = 1
SQL: Final = 2
EXCEPTION: Final = 3

_MOST_EVENTS: Final = 40
_MOST_SHAPES: Final = 256
_MOST_BYTES: Final = 8192
_LONGEST_PLACE: Final = 200
_LONGEST_REFERRER: Final = 256


# What nearly every request has, as it is written.
_KNOWN: Final[dict[str, str]] = {
    one: _quoted(one)
    for one in ("GET", "POST", "HEAD", "PUT", "PATCH", "DELETE", "complete", "aborted")
}


class Trace:
    """What is known of an exchange beside the exchange itself.

    :param file: Where it is in flight; ``None`` if nothing can be written.
    :param slot: Its slot there; -1 for none.
    :param path: The path, as it is shown.
    """

    # Of the class, as most exchanges have none of them.
    failure: Failure | None = None
    left_out: int = 0
    rendering: list[float] | None = None
    shapes: dict[str, list[Any]] | None = None
    sql_count: int = 0
    sql_seconds: float = 0.0

    def __init__(self, file: WorkerFile | None, slot: int, path: str) -> None:
        self.file = file
        self.slot = slot
        self.path = path
        self.events: list[tuple[int, str, float, float | None, str | None, bool]] = []

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
        shapes = self.shapes
        if shapes is None:
            shapes = self.shapes = {}
        row = shapes.get(shape)
        if row is None:
            if len(shapes) >= _MOST_SHAPES:
                return
            row = shapes[shape] = [0, 0.0, 0.0, 0]
        row[0] += 1
        row[1] += seconds
        if seconds > row[2]:
            row[2] = seconds
        row[3] += is_failed


def record_of(
    exchange: Exchange,
    trace: Trace,
    route: str | None,
    response_seconds: float | None,
    *,
    is_failed: bool,
) -> bytes:
    """Return the record of an exchange, two lists in JSON, of at most 8 KiB.

    The first has its fields, and the second its events, which are read for few. It is
    put together here, as the fields of nearly every one are of the same types, and
    :mod:`json` takes twice as long to look at each.

    :param route: Its route, as it is shown.
    """
    failure, shapes, status = trace.failure, trace.shapes, exchange.status
    referrer = exchange.referrer if has_referrer(exchange) else None
    known_id = exchange._known_id()
    most = max([row[0] for row in shapes.values()]) if shapes else 0
    head = (
        f"[{_word(exchange.method)}"
        f",{_quoted(trace.path)},{'null' if route is None else _quoted(route)}"
        f",{status if type(status) is int else _number(status)}"
        f",{_word(exchange.outcome)}"
        f",{'null' if response_seconds is None else int(response_seconds * 1e6)}"
        f",{_microseconds(exchange.duration_seconds)},{_number(exchange.body_bytes)}"
        f",{trace.sql_count},{int(trace.sql_seconds * 1e6)},{most}"
        f",{1 if is_failed else 0}"
        f",{'null' if failure is None else _quoted(failure.exception)}"
        f",{'null' if known_id is None else _text(known_id, 128)}"
        f",{_microseconds(exchange.seconds_to_headers)}"
        f",{_microseconds(exchange.seconds_to_first_byte)}"
        f",{'null' if referrer is None else _text(referrer, _LONGEST_REFERRER)}"
        f",{'null' if failure is None else _quoted(failure.fingerprint)}]"
    )
    if not trace.events:
        return f"{head}\n[[],[],{trace.left_out}]".encode("ascii")
    return _with_events(head, exchange, trace)


def _with_events(head: str, exchange: Exchange, trace: Trace) -> bytes:
    events = _Events(exchange.start, trace)
    while True:
        left_out = trace.left_out + events.left_out
        texts = ",".join(map(_quoted, events.texts))
        rows = ",".join(events.rows)
        data = f"{head}\n[[{texts}],[{rows}],{left_out}]".encode("ascii")
        # Escaped in JSON, a character may take six bytes.
        if len(data) <= _MOST_BYTES or not events.rows:
            return data
        events.halve()


class _Events:
    """The events of an exchange, each text of them once.

    :param start: When the exchange began, by :func:`time.perf_counter`.
    """

    def __init__(self, start: float, trace: Trace) -> None:
        self._numbers: dict[str, int] = {}
        self.texts: list[str] = []
        self.rows: list[str] = []
        self.left_out = 0
        shapes, number, add = trace.shapes or {}, self._number, self.rows.append
        for kind, name, at, seconds, place, is_failed in trace.events:
            begin = int((at - start) * 1e6)
            if kind == SIGNAL and place is None:
                add(f"[0,{number(name, LONGEST_STATEMENT)},{begin},null,null,null,0]")
                continue
            times = shapes[name][0] if kind == SQL and name in shapes else "null"
            longest = "null" if seconds is None else int(seconds * 1e6)
            where = "null" if place is None else number(place, _LONGEST_PLACE)
            add(
                f"[{kind},{number(name, LONGEST_STATEMENT)},{begin},{longest},{where},"
                f"{times},{1 if is_failed else 0}]"
            )

    def halve(self) -> None:
        """Leave the last half out. Its texts stay, unless nothing is left."""
        kept = len(self.rows) // 2
        self.left_out += len(self.rows) - kept
        del self.rows[kept:]
        # A text comes with the first event that has it, and two at most with each.
        del self.texts[2 * kept :]

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


def _number(value: object) -> int | str:
    if type(value) is int and -(2**63) <= value < 2**63:
        return value
    return "null"


def _word(value: object) -> str:
    # A receiver may have set what has no hash.
    known = _KNOWN.get(value) if type(value) is str else None
    return known or _text(value, 20)


def _text(value: object, longest: int) -> str:
    if type(value) is str and len(value) <= longest and value.isprintable():
        return _quoted(value)
    shown = fit_or_none(value, longest)
    return "null" if shown is None else _quoted(shown)


def _microseconds(value: object) -> int | str:
    if type(value) is float and -1e9 < value < 1e9:
        return int(value * 1e6)
    if type(value) is int and -(10**9) < value < 10**9:
        return value * 1_000_000
    return "null"


def has_referrer(exchange: Exchange) -> bool:
    """Return whether a request has a referrer, while its exchange is open."""
    environ = exchange._environ
    return environ is not None and "HTTP_REFERER" in environ
