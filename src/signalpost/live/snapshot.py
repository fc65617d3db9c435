"""The data of the live page: frozen classes with the names of its JSON.

Rows are named tuples, as a poll makes hundreds of them: to make one, and to write it as
JSON, takes a third of the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import fields
from dataclasses import is_dataclass
from operator import attrgetter
from typing import Any
from typing import NamedTuple

from .background import RelayQueueRow
from .background import RelayRow
from .background import WorkRow

__all__ = [
    "Chart",
    "EventRow",
    "ExchangeDetail",
    "ExchangeRow",
    "FailureList",
    "FailureRow",
    "FileTotals",
    "InFlightRow",
    "LiveSnapshot",
    "Periods",
    "ReceiverRow",
    "ReferrerList",
    "ReferrerRow",
    "RouteRow",
    "SignalList",
    "SkippedFile",
    "StatementList",
    "StatementRow",
    "Total",
    "WorkerRow",
    "json_default",
]


@dataclass(frozen=True, slots=True)
class Total:
    """All requests of the last minute, and since the start; no work.

    .. versionadded:: 0.1
    """

    window_seconds: float
    """The length of the recorded part of the last minute: 1 to 60."""
    requests: int
    requests_per_second: float
    failed: int
    """Outcome ``"error"``, or a status from 500 up."""
    aborted: int
    failed_share: float | None
    """``None`` without requests; the quantiles, too, are ``None`` then."""
    in_flight: int
    p50_seconds: float | None
    p90_seconds: float | None
    p99_seconds: float | None
    requests_since_start: int
    failed_since_start: int
    aborted_since_start: int


@dataclass(frozen=True, slots=True)
class Chart:
    """Requests by second, the oldest first; the last second is not over.

    .. versionadded:: 0.1
    """

    # The JSON has the name "from", which is a keyword of Python.
    begin: int
    """The first second, since the epoch."""
    requests: tuple[int, ...]
    failed: tuple[int, ...]
    aborted: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Periods:
    """Rates and quantiles by periods of 5 seconds, the oldest first.

    The last period is not over. Rates are ``None`` before the oldest worker started.

    .. versionadded:: 0.1
    """

    begin: int
    """The time when the first period begins, in seconds since the epoch."""
    step: int
    """The length of a period, in seconds."""
    requests_per_second: tuple[float | None, ...]
    failed_per_second: tuple[float | None, ...]
    aborted_per_second: tuple[float | None, ...]
    p50_seconds: tuple[float | None, ...]
    p90_seconds: tuple[float | None, ...]
    p99_seconds: tuple[float | None, ...]


class RouteRow(NamedTuple):
    """One route in the last minute, and since the start.

    .. versionadded:: 0.1
    """

    route: str
    """The template; ``"<unmatched>"``, or ``"<other>"`` beyond ``max_routes``."""
    requests: int
    requests_per_second: float
    failed: int
    aborted: int
    p50_seconds: float | None
    p90_seconds: float | None
    p99_seconds: float | None
    requests_since_start: int
    failed_since_start: int
    aborted_since_start: int
    chart: tuple[int, ...]
    """Requests by periods of 5 seconds, 12 of them; the last is not over."""


class InFlightRow(NamedTuple):
    """One request or unit of work in flight, or one whose worker died during it.

    The method of work is ``"WORK"``, and the path is its name.

    .. versionadded:: 0.1
    """

    worker: str
    pid: int
    method: str
    path: str
    started_at: float
    seconds: float | None
    """The time that it has been in flight; ``None`` if the worker is dead."""
    status: int | None
    """``None`` before the response begins."""
    is_dead: bool


class ExchangeRow(NamedTuple):
    """One exchange, or unit of work, that has ended.

    The method of work is ``"WORK"``, and its path and route are its name.

    .. versionadded:: 0.1
    """

    key: str
    """Its key for look-ups: the worker and a number."""
    worker: str
    pid: int
    at: float
    is_slow: bool
    method: str
    path: str
    route: str | None
    status: int | None
    outcome: str | None
    response_seconds: float | None
    duration_seconds: float | None
    body_bytes: int
    sql_count: int
    sql_seconds: float
    most_repeats: int
    """The number of executions of the most frequent statement."""
    is_failed: bool
    exception: str | None
    request_id: str | None


class EventRow(NamedTuple):
    """One event of an exchange's waterfall.

    .. versionadded:: 0.1
    """

    kind: str
    """``"signal"``, ``"template"``, ``"sql"`` or ``"exception"``."""
    name: str
    at_seconds: float
    """The time from the start of the exchange to the start of the event."""
    seconds: float | None
    """The duration; ``None`` for an event without one."""
    place: str | None
    times: int | None
    """The exchange's executions of the statement; ``None`` for other kinds."""
    is_failed: bool


@dataclass(frozen=True, slots=True)
class ExchangeDetail:
    """One exchange with its waterfall.

    .. versionadded:: 0.1
    """

    row: ExchangeRow
    seconds_to_headers: float | None
    seconds_to_first_byte: float | None
    referrer: str | None
    fingerprint: str | None
    events: tuple[EventRow, ...]
    events_left_out: int


class StatementRow(NamedTuple):
    """One shape of SQL.

    .. versionadded:: 0.1
    """

    statement: str
    times: int
    total_seconds: float
    longest_seconds: float
    failed: int
    most_in_exchange: int


@dataclass(frozen=True, slots=True)
class StatementList:
    """The statements with the longest total time.

    .. versionadded:: 0.1
    """

    as_of: float | None
    left_out: int
    rows: tuple[StatementRow, ...]


class FailureRow(NamedTuple):
    """One failure.

    .. versionadded:: 0.1
    """

    fingerprint: str
    exception: str
    message: str | None
    place: str
    where: str
    method: str
    route: str | None
    times: int
    first_at: float
    last_at: float


@dataclass(frozen=True, slots=True)
class FailureList:
    """The failures, the last seen first.

    .. versionadded:: 0.1
    """

    as_of: float | None
    left_out: int
    rows: tuple[FailureRow, ...]


class ReferrerRow(NamedTuple):
    """One referrer.

    .. versionadded:: 0.1
    """

    referrer: str
    requests: int
    at_most_too_high: int


@dataclass(frozen=True, slots=True)
class ReferrerList:
    """The referrers that most requests came from.

    .. versionadded:: 0.1
    """

    as_of: float | None
    left_out: int
    requests: int
    none: int
    own: int
    rows: tuple[ReferrerRow, ...]


class ReceiverRow(NamedTuple):
    """One receiver of a signal.

    .. versionadded:: 0.1
    """

    signal: str
    name: str
    connected_at: str | None
    sender: str
    workers: int
    """The number of workers that it is connected in."""
    calls: int | None
    """``None`` where calls are not observed."""
    failures: int | None
    total_seconds: float | None


@dataclass(frozen=True, slots=True)
class SignalList:
    """The receivers of all signals that have some.

    .. versionadded:: 0.1
    """

    as_of: float | None
    left_out: int
    """The number of further receivers, and of further signals."""
    rows: tuple[ReceiverRow, ...]


class WorkerRow(NamedTuple):
    """One worker, alive or dead.

    .. versionadded:: 0.1
    """

    worker: str
    pid: int
    state: str
    """``"alive"``; ``"ended"`` after an orderly end; ``"killed"`` after any other."""
    is_busy: bool
    in_flight: int
    started_at: float
    last_at: float
    requests: int
    failed: int
    aborted: int
    requests_per_second: float
    work: int
    """Units of work that have ended, in whatever way."""
    work_failed: int
    events: int
    """Events of a relay that were sent or received."""
    bytes: int


class SkippedFile(NamedTuple):
    """A file that was not read.

    .. versionadded:: 0.1
    """

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class FileTotals:
    """The files of all workers.

    .. versionadded:: 0.1
    """

    count: int
    bytes: int
    bytes_per_worker: int
    skipped: int
    skipped_files: tuple[SkippedFile, ...]


@dataclass(frozen=True, slots=True)
class LiveSnapshot:
    """The records of all workers of a folder at one moment; from ``read_live()``.

    .. versionadded:: 0.1
    """

    now: float
    cursor: str
    """The position that a later snapshot begins at."""
    is_delta: bool
    poll_seconds: int
    history_seconds: int
    since: float | None
    """The start of the oldest worker; ``None`` if there is no worker."""
    folder: str
    has_waterfall: bool
    slow_seconds: float
    quantile_error: float
    total: Total
    seconds: Chart
    periods: Periods
    routes: tuple[RouteRow, ...]
    routes_left_out: int
    in_flight: tuple[InFlightRow, ...]
    in_flight_left_out: int
    exchanges: tuple[ExchangeRow, ...]
    exchanges_left_out: int
    statements: StatementList | None
    failures: FailureList | None
    referrers: ReferrerList | None
    signals: SignalList | None
    work: tuple[WorkRow, ...]
    work_left_out: int
    relay: tuple[RelayRow, ...]
    relay_left_out: int
    relay_queues: tuple[RelayQueueRow, ...]
    workers: tuple[WorkerRow, ...]
    workers_left_out: int
    files: FileTotals


_Form = tuple[tuple[str, ...], "attrgetter[tuple[Any, ...]]"]


# A snapshot has few classes.
_forms: dict[type, _Form] = {}


def _form_of(kind: type) -> _Form:
    """Return a class's names in JSON, and a function that reads its fields.

    :raises TypeError: If it is another class.
    """
    if kind not in _forms:
        if not is_dataclass(kind):
            raise TypeError(f"a part of a snapshot is expected, got {kind}")
        attributes = [one.name for one in fields(kind)]
        names = ("from" if one == "begin" else one for one in attributes)
        _forms[kind] = tuple(names), attrgetter(*attributes)
    return _forms[kind]


def json_default(value: Any) -> dict[str, Any]:
    """Return a snapshot, or a part of one, as a dict for :func:`json.dumps`.

    A row that is not a part of one would be a list: :mod:`json` does not ask for what
    a named tuple is.

    :raises TypeError: If it is anything else.
    """
    names, values_of = _form_of(type(value))
    return {
        name: _with_names(one)
        for name, one in zip(names, values_of(value), strict=True)
    }


def _with_names(value: Any) -> Any:
    """Return rows, or one row, as dicts; other values unchanged."""
    if type(value) is tuple:
        is_rows = value and hasattr(value[0], "_asdict")
        return [one._asdict() for one in value] if is_rows else value
    return value._asdict() if hasattr(value, "_asdict") else value
