"""The counts of a worker by statement, failure and referrer, in bounded memory."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any
from typing import Final
from typing import NamedTuple

from ..exchange import Exchange
from ..receivers.referrer_counter import ReferrerCounter
from ._list_file import LIST_BYTES
from ._statements import MOST_STATEMENTS
from ._statements import Statements
from ._text import fit
from ._text import fit_or_none
from ._text import LONGEST_STATEMENT

__all__ = ["Failure", "Tops"]

_MOST_FAILURES: Final = 50
_MOST_REFERRERS: Final = 200
_MOST_WRITTEN: Final = 100
_LONGEST_REFERRER: Final = 256
_MOST_BYTES: Final = 8192
_LONGEST_LINE: Final = 400


class Failure(NamedTuple):
    """One exception that was not handled, or a response from 500 up without one."""

    fingerprint: str
    exception: str
    message: str | None
    place: str
    where: str
    method: str
    route: str | None


class _Seen:
    """The stored state of one failure."""

    __slots__ = ("failure", "first_at", "last_at", "times", "traceback")

    def __init__(self, failure: Failure, traceback: str, now: float) -> None:
        self.failure = failure
        self.traceback = traceback
        self.times = 0
        self.first_at = self.last_at = now


class Tops:
    """The lists of a worker, for their own file.

    One thread at a time may use it.
    """

    def __init__(self) -> None:
        self.statements = Statements()
        self._failures: dict[str, _Seen] = {}
        self._failures_left_out = 0
        self._referrers = ReferrerCounter(max_referrers=_MOST_REFERRERS)
        self.have_failures_changed = False

    def count_referrer(self, exchange: Exchange) -> None:
        """Count the referrer of a request. Any thread may call it."""
        self._referrers(None, exchange=exchange)

    def has_failure(self, fingerprint: str) -> bool:
        """Return whether a failure has a traceback already."""
        return fingerprint in self._failures

    def add_failure(self, failure: Failure, traceback: str | None) -> None:
        """Count a failure.

        :param failure: The failure; the last one of a fingerprint is shown.
        :param traceback: Its traceback; ``None`` if an earlier one has it.
        """
        now = time.time()
        # It moves to the end, so that the first one is the least recent.
        seen = self._failures.pop(failure.fingerprint, None)
        if seen is None:
            seen = _Seen(failure, _bounded(traceback or ""), now)
            if len(self._failures) >= _MOST_FAILURES:
                del self._failures[next(iter(self._failures))]
                self._failures_left_out += 1
        self._failures[failure.fingerprint] = seen
        seen.failure = failure
        seen.times += 1
        seen.last_at = now
        self.have_failures_changed = True

    def encoded(self, signals: Mapping[str, Any], now: float, requests: int) -> bytes:
        """Return the bytes of all lists other than the failures.

        :param requests: How many requests have closed.
        """
        statements = self.statements
        counted = statements.counted().items()
        rows = sorted(counted, key=lambda row: row[1][1], reverse=True)
        shown = [
            [fit(shape, LONGEST_STATEMENT), *row]
            for shape, row in rows[:MOST_STATEMENTS]
        ]
        totals = self._referrers.totals()
        # Those that are closing now are not among the requests.
        others = max(0, requests - totals.requests)
        top = self._referrers.top(_MOST_REFERRERS)
        referrers = [
            [fit(row.referrer, _LONGEST_REFERRER), row.count, row.at_most_too_high]
            for row in top[:_MOST_WRITTEN]
        ]
        data = {
            "as_of": now,
            "statements": shown,
            "statements_left_out": statements.left_out + len(rows) - len(shown),
            "referrers": referrers,
            "referrers_left_out": len(top) - len(referrers),
            "referrers_totals": [
                totals.requests + others,
                totals.none + others,
                totals.own,
            ],
            "signals": signals,
        }
        return _encoded(data, "tops", ("statements", "referrers"))

    def encoded_failures(self, now: float) -> bytes:
        """Return the bytes of the list of failures, and in a second line tracebacks.

        A poll reads the first line only.
        """
        seen = [*reversed(self._failures.values())]
        left_out = self._failures_left_out
        while True:
            rows = [
                [*one.failure, one.times, one.first_at, one.last_at] for one in seen
            ]
            data = {"as_of": now, "failures": rows, "failures_left_out": left_out}
            tracebacks = {one.failure.fingerprint: one.traceback for one in seen}
            text = _dumped(data) + b"\n" + _dumped(tracebacks)
            if len(text) <= LIST_BYTES["failures"]:
                return text
            kept = len(seen) // 2
            left_out += len(seen) - kept
            del seen[kept:]


def _bounded(traceback: str) -> str:
    """Return a traceback; without its middle lines if it is long."""
    lines = [fit_or_none(line, _LONGEST_LINE) or "" for line in traceback.splitlines()]
    size = sum(map(len, lines))
    middle = len(lines) // 2
    count = 0
    while size > _MOST_BYTES:
        size -= len(lines.pop(middle))
        count += 1
        middle = len(lines) // 2
    if count:
        lines.insert(middle, f"… {count} lines are left out here …")
    return "\n".join(lines)


def _encoded(data: dict[str, Any], kind: str, lists: tuple[str, ...]) -> bytes:
    """Return lists in JSON; the longest lists are halved until all fit."""
    while True:
        text = _dumped(data)
        if len(text) <= LIST_BYTES[kind]:
            return text
        longest = max(lists, key=lambda name: len(data[name]))
        rows = data[longest]
        if not rows:
            # Only names of receivers that a program has made can be that long.
            data["signals"] = {"rows": [], "left_out": len(data["signals"]["rows"])}
            continue
        kept = len(rows) // 2
        data[f"{longest}_left_out"] += len(rows) - kept
        del rows[kept:]


def _dumped(data: dict[str, Any]) -> bytes:
    # UTF-8 cannot encode a lone surrogate; ASCII has an escape for it.
    return json.dumps(data, separators=(",", ":")).encode("ascii")
