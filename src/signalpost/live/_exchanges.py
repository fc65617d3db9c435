"""Records of exchanges, for display and search."""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Mapping
from contextlib import suppress
from heapq import nlargest
from operator import itemgetter
from typing import Any
from typing import Final
from typing import get_args

from ..exchange import ExchangeOutcome
from ..receivers.paths import UNMATCHED_ROUTE
from ..work import METHOD as WORK
from ._worker import Entry
from ._worker import Worker
from .snapshot import EventRow
from .snapshot import ExchangeDetail
from .snapshot import ExchangeRow

__all__ = ["FILTERS", "detail_of", "filter_of", "newest", "row_of"]

_KINDS: Final = ("signal", "template", "sql", "exception")
_MOST_ROWS: Final = 200
_RESPONSE: Final = 5
"""The place of the response time in a record."""
_OF_WORK: Final = {"requests": False, "work": True}


def newest(workers: list[tuple[Worker, int]]) -> list[ExchangeRow]:
    """Return the newest exchanges, at most 200.

    :param workers: Workers, each with the number after which its records are new.
    """
    entries = (one for worker, after in workers for one in worker.entries(after))
    chosen = nlargest(_MOST_ROWS, entries, key=itemgetter(0, 1))
    rows = map(row_of, chosen)
    return [row for row in rows if row is not None]


def row_of(entry: Entry) -> ExchangeRow | None:
    """Return what is shown of an exchange; ``None`` if it was overwritten."""
    record = entry.worker.record(entry)
    return None if record is None else _row(entry, record)


def detail_of(entry: Entry) -> ExchangeDetail | None:
    """Return all of an exchange; ``None`` if it was overwritten."""
    record = entry.worker.record(entry, with_events=True)
    if record is None:
        return None
    headers, first_byte, referrer, fingerprint, texts, events, left_out = record[14:]
    try:
        rows = sorted(_events(texts, events), key=lambda one: one.at_seconds)
    except IndexError:
        return None
    row = _row(entry, record[:14])
    times = headers, first_byte
    return ExchangeDetail(row, *times, referrer, fingerprint, tuple(rows), left_out)


def _row(entry: Entry, record: list[Any]) -> ExchangeRow:
    worker = entry.worker
    start = worker.start
    response = record[_RESPONSE]
    is_slow = response is not None and response >= start.slow_seconds
    key = f"{worker.name}-{entry.sequence}"
    return ExchangeRow(key, worker.name, start.pid, entry.at, is_slow, *record)


def _events(texts: list[str], events: list[list[Any]]) -> list[EventRow]:
    return [
        EventRow(
            _KINDS[kind],
            texts[name],
            at,
            seconds,
            None if place is None else texts[place],
            times,
            bool(is_failed),
        )
        for kind, name, at, seconds, place, times, is_failed in events
    ]


FILTERS: Final = ("route", "status", "outcome", "slow_seconds", "id", "kind")
"""The names of the values that a search compares."""

Filter = Callable[[ExchangeRow], bool]


def filter_of(asked: Mapping[str, str]) -> Filter:
    """Return the function that selects exchanges.

    :param asked: The values to compare, by ``route`` (``"<unmatched>"`` for requests
        without one), ``status`` (``"5xx"`` for a class), ``outcome``, ``slow_seconds``
        (at least so long), ``id`` (how it begins, without the blanks around it) and
        ``kind``, which is ``"requests"`` or ``"work"``.
    :raises ValueError: If a value is none of these.
    """
    checks: list[Filter] = []
    if route := asked.get("route"):
        known = None if route == UNMATCHED_ROUTE else route
        checks.append(lambda row: row.route == known)
    if status := asked.get("status", "").lower():
        if not _is_status(status):
            raise ValueError(f"status must be as 404 or 4xx, got {status!r}")
        checks.append(lambda row: _has_status(row.status, status))
    if outcome := asked.get("outcome"):
        _check_choice("outcome", outcome, get_args(ExchangeOutcome))
        checks.append(lambda row: row.outcome == outcome)
    if slow := asked.get("slow_seconds"):
        seconds = _seconds(slow)
        checks.append(lambda row: _duration_of(row) >= seconds)
    if kind := asked.get("kind"):
        _check_choice("kind", kind, _OF_WORK)
        is_work = _OF_WORK[kind]
        checks.append(lambda row: (row.method == WORK) == is_work)
    if request_id := asked.get("id", "").strip():
        checks.append(lambda row: (row.request_id or "").startswith(request_id))
    return lambda row: all(check(row) for check in checks)


_is_status = re.compile(r"[0-9](?:xx|[0-9]{2})", re.ASCII).fullmatch


def _check_choice(name: str, value: str, choices: Collection[str]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


def _seconds(text: str) -> float:
    with suppress(ValueError):
        seconds = float(text)
        if seconds >= 0:
            return seconds
    raise ValueError(f"slow_seconds must be a number, as 0.5, got {text!r}")


def _has_status(status: int | None, asked: str) -> bool:
    text = "" if status is None else str(status)
    if asked.endswith("xx"):
        return len(text) == 3 and text[0] == asked[0]
    return text == asked


def _duration_of(row: ExchangeRow) -> float:
    seconds = row.response_seconds
    if seconds is None:
        seconds = row.duration_seconds
    return seconds or 0.0
