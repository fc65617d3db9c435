"""Records of exchanges, as they are shown and searched."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from heapq import nlargest
from operator import itemgetter
from typing import Any
from typing import Final

from ..work import METHOD as WORK
from ._worker import Entry
from ._worker import Worker
from .snapshot import EventRow
from .snapshot import ExchangeDetail
from .snapshot import ExchangeRow

__all__ = ["detail_of", "filter_of", "newest", "row_of"]

_KINDS: Final = ("signal", "template", "sql", "exception")
_MOST_ROWS: Final = 200
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
    if record is None:
        return None
    try:
        return ExchangeRow(*_fields_of(entry, record))
    except (TypeError, ValueError):
        return None


def detail_of(entry: Entry) -> ExchangeDetail | None:
    """Return all of an exchange; ``None`` if it was overwritten."""
    record = entry.worker.record(entry, with_events=True)
    if record is None:
        return None
    headers, first_byte, referrer, fingerprint, texts, events, left_out = record[14:]
    try:
        rows = sorted(_events(texts, events), key=lambda one: one.at_seconds)
        more = (headers, first_byte, referrer, fingerprint)
        fields: tuple[Any, ...] = (
            *(*_fields_of(entry, record), *more),
            tuple(rows),
            left_out,
        )
        return ExchangeDetail(*fields)
    except (TypeError, ValueError, IndexError):
        return None


def _fields_of(entry: Entry, record: list[Any]) -> tuple[Any, ...]:
    worker = entry.worker
    method, path, route, status, outcome, response, duration = record[:7]
    body_bytes, sql_count, sql, most, is_failed, exception, request_id = record[7:14]
    slow_seconds = worker.start.slow_seconds
    return (
        f"{worker.name}-{entry.sequence}",
        worker.name,
        worker.start.pid,
        request_id,
        entry.at,
        method,
        path,
        route,
        status,
        outcome,
        response,
        duration,
        body_bytes,
        sql_count,
        sql,
        most,
        bool(is_failed),
        response is not None and response >= slow_seconds,
        exception,
    )


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


Filter = Callable[[ExchangeRow], bool]


def filter_of(asked: Mapping[str, str]) -> Filter:
    """Return what decides whether an exchange is asked for.

    :param asked: The values to compare, by ``route``, ``status`` (``"5xx"`` for a
        class), ``outcome``, ``slow_seconds`` (at least so long), ``id`` (how it begins)
        and ``kind``, which is ``"requests"`` or ``"work"``.
    :raises ValueError: If ``slow_seconds`` is not a number, or ``kind`` is another.
    """
    checks: list[Filter] = []
    if route := asked.get("route"):
        checks.append(lambda row: row.route == route)
    if status := asked.get("status", "").lower():
        checks.append(lambda row: _has_status(row.status, status))
    if outcome := asked.get("outcome"):
        checks.append(lambda row: row.outcome == outcome)
    if slow := asked.get("slow_seconds"):
        seconds = float(slow)
        checks.append(lambda row: _duration_of(row) >= seconds)
    if kind := asked.get("kind"):
        if kind not in _OF_WORK:
            raise ValueError("kind must be requests or work")
        is_work = _OF_WORK[kind]
        checks.append(lambda row: (row.method == WORK) == is_work)
    if request_id := asked.get("id"):
        checks.append(lambda row: (row.request_id or "").startswith(request_id))
    return lambda row: all(check(row) for check in checks)


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
