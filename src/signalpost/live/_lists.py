"""The lists of all workers together: statements, failures, referrers, receivers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import ExitStack
from contextlib import suppress
from operator import attrgetter
from typing import Any
from typing import Final
from zlib import crc32

from ..receivers.own_files import opened
from ..receivers.own_folder import OwnFolder
from ._folder import check_file
from ._folder import reason_of
from ._list_file import LIST_BYTES
from ._list_file import newest_version
from ._list_file import read_list
from ._worker import Worker
from .snapshot import FailureList
from .snapshot import FailureRow
from .snapshot import ReceiverRow
from .snapshot import ReferrerList
from .snapshot import ReferrerRow
from .snapshot import SignalList
from .snapshot import SkippedFile
from .snapshot import StatementList
from .snapshot import StatementRow

__all__ = ["Lists"]

_MOST_ROWS: Final = 100
_MOST_FAILURES: Final = 50
_MOST_REFRESHED: Final = 3


class _Read:
    """The latest lists of one kind that were read from a worker."""

    __slots__ = ("at", "data", "more", "reason", "version")

    def __init__(self) -> None:
        self.at = 0.0
        self.version = 0
        self.data: dict[str, Any] = {}
        self.more = b""
        self.reason = ""


class Lists:
    """A reader that merges the lists of workers.

    It keeps the lists while the files stay the same. A poll reads all new files, but at
    most three changed ones, the least recently read first, so that many busy workers do
    not make it slow: with more than three, a list is some seconds old.
    """

    def __init__(self) -> None:
        self._read: dict[tuple[str, str], _Read] = {}
        self._recorded_at: dict[str, float] = {}
        self._read_at = 0.0
        self.skipped: list[SkippedFile] = []

    def refresh(self, folder: OwnFolder, workers: Iterable[Worker], now: float) -> None:
        """Read the lists that have changed.

        :param workers: The workers whose lists are read.
        """
        self._read_at = now
        # The lists of those that have ended are complete.
        self._recorded_at = {
            one.name: 0.0 if one.live.ended_at else one.live.last_at for one in workers
        }
        known: dict[tuple[str, str], _Read] = {}
        reasons: dict[str, str] = {}
        due = []
        with ExitStack() as stack:
            for worker in self._recorded_at:
                name = f"{worker}.lists"
                keys = [(worker, kind) for kind in LIST_BYTES]
                known.update((key, self._read.get(key) or _Read()) for key in keys)
                try:
                    descriptor = _opened(folder, name)
                except FileNotFoundError:
                    continue
                except (OSError, ValueError) as error:
                    reasons[name] = reason_of(error)
                    continue
                stack.callback(os.close, descriptor)
                for key in keys:
                    one = known[key]
                    version = newest_version(descriptor, key[1])
                    if version != one.version:
                        due.append((bool(one.version), one.at, key, descriptor))
            due.sort()
            fresh = sum(not was_read for was_read, *_ in due)
            for _, _, key, descriptor in due[: fresh + 2 * _MOST_REFRESHED]:
                known[key].at = now
                _load(descriptor, key[1], known[key])
        self._read = known
        for (worker, _), one in known.items():
            if one.reason:
                reasons[f"{worker}.lists"] = one.reason
        self.skipped = [SkippedFile(*pair) for pair in reasons.items()]

    @property
    def tops_version(self) -> str:
        """Return a text that changes with any list other than the failures."""
        return self._version_of("tops")

    @property
    def failures_version(self) -> str:
        """Return a text that changes with the list of failures."""
        return self._version_of("failures")

    def _version_of(self, kind: str) -> str:
        versions = [
            (worker, one.version)
            for (worker, known), one in self._read.items()
            if known == kind
        ]
        return f"{crc32(repr(versions).encode()):x}"

    def _data_of(self, kind: str) -> list[dict[str, Any]]:
        return [
            one.data
            for (_, known), one in self._read.items()
            if known == kind and one.data
        ]

    def _as_of(self) -> float | None:
        """Return the time from which on something may be missing."""
        written = {
            worker: one.data["as_of"]
            for (worker, kind), one in self._read.items()
            if kind == "tops" and one.data
        }
        # What a worker records, it writes into its lists a moment later.
        behind = [at for one, at in written.items() if at < self._recorded_at[one]]
        return min(behind, default=self._read_at) if written else None

    def statements(self) -> StatementList:
        """Return the statements with the longest total time."""
        data = self._data_of("tops")
        rows: dict[str, list[Any]] = {}
        for one in data:
            for shape, times, seconds, longest, failed, most in one["statements"]:
                row = rows.get(shape)
                if row is None:
                    rows[shape] = [times, seconds, longest, failed, most]
                    continue
                row[0] += times
                row[1] += seconds
                row[3] += failed
                # max() would take more time than all the rest.
                if longest > row[2]:
                    row[2] = longest
                if most > row[4]:
                    row[4] = most
        ordered = sorted(rows.items(), key=lambda row: row[1][1], reverse=True)
        left_out = sum(one["statements_left_out"] for one in data)
        return StatementList(
            self._as_of(),
            left_out + max(0, len(rows) - _MOST_ROWS),
            tuple(
                StatementRow(shape, times, round(total, 6), round(longest, 6), *rest)
                for shape, (times, total, longest, *rest) in ordered[:_MOST_ROWS]
            ),
        )

    def referrers(self) -> ReferrerList:
        """Return the referrers that most requests came from."""
        data = self._data_of("tops")
        counts: dict[str, list[int]] = {}
        for one in data:
            for referrer, count, too_high in one["referrers"]:
                row = counts.get(referrer)
                if row is None:
                    counts[referrer] = [count, too_high]
                else:
                    row[0] += count
                    row[1] += too_high
        ordered = sorted(counts.items(), key=lambda one: (-one[1][0], one[0]))
        totals = [one["referrers_totals"] for one in data]
        requests, none, own = map(sum, zip(*totals, (0, 0, 0), strict=True))
        left_out = sum(one["referrers_left_out"] for one in data)
        left_out += max(0, len(ordered) - _MOST_ROWS)
        rows = (ReferrerRow(name, *row) for name, row in ordered[:_MOST_ROWS])
        return ReferrerList(self._as_of(), left_out, requests, none, own, tuple(rows))

    def signals(self) -> SignalList:
        """Return the receivers of all signals, of all workers."""
        data = self._data_of("tops")
        rows: dict[tuple[Any, ...], list[Any]] = {}
        left_out: dict[str, int] = {}
        for one in data:
            for signal, receivers, missing in one["signals"]["rows"]:
                left_out[signal] = max(left_out.get(signal, 0), missing)
                for name, at, sender, *counts in receivers:
                    key = signal, name, at, sender
                    row = rows.get(key)
                    if row is None:
                        rows[key] = [1, *counts]
                    else:
                        row[0] += 1
                        row[1:] = map(_sum, row[1:], counts)
        signals = max((one["signals"]["left_out"] for one in data), default=0)
        return SignalList(
            self._as_of(),
            signals + sum(left_out.values()),
            tuple(ReceiverRow(*key, *row) for key, row in rows.items()),
        )

    def failures(self) -> FailureList:
        """Return the failures, the last seen first."""
        data = self._data_of("failures")
        rows: dict[str, _Failure] = {}
        for one in data:
            for row in one["failures"]:
                known = rows.get(row[0])
                if known is None:
                    rows[row[0]] = _Failure(row)
                else:
                    known.add(row)
        ordered = sorted(rows.values(), key=attrgetter("last_at"), reverse=True)
        left_out = sum(one["failures_left_out"] for one in data)
        return FailureList(
            self._as_of(),
            left_out + max(0, len(rows) - _MOST_FAILURES),
            tuple(one.row() for one in ordered[:_MOST_FAILURES]),
        )

    def traceback_of(self, fingerprint: str) -> list[str]:
        """Return the lines of the traceback of a failure; none if it has none."""
        for (_, kind), one in self._read.items():
            if kind == "failures" and one.more:
                # Damaged lists have been left out already.
                with suppress(ValueError, RecursionError, AttributeError):
                    traceback = json.loads(one.more).get(fingerprint)
                    if traceback:
                        return str(traceback).split("\n")
        return []


def _opened(folder: OwnFolder, name: str) -> int:
    """Return the descriptor of the lists of a worker.

    :raises OSError: If the file cannot be opened.
    :raises ValueError: If the file is not a regular file of this user.
    """
    descriptor = opened(folder, name, os.O_RDONLY)
    try:
        check_file(descriptor)
    except ValueError:
        os.close(descriptor)
        raise
    return descriptor


def _load(descriptor: int, kind: str, read: _Read) -> None:
    """Read lists; those that cannot be read are empty."""
    read.data, read.more, read.reason = {}, b"", ""
    # It is noted first, so that a damaged file is read again only when it has changed.
    read.version = newest_version(descriptor, kind)
    try:
        read.version, data = read_list(descriptor, kind)
        first, _, more = data.partition(b"\n")
        read.data, read.more = _checked(json.loads(first), kind), more
    except (ValueError, RecursionError, TypeError, KeyError, IndexError):
        read.reason = "it is damaged"


_ROWS: Final = {
    "tops": (("statements", 6), ("referrers", 3), ("referrers_totals", None)),
    "failures": (("failures", 10),),
}


def _checked(data: Any, kind: str) -> dict[str, Any]:
    """Return lists whose rows have the right lengths.

    The checksum finds lists that are half-written. This check is for lists that
    another version has written.

    :raises ValueError: If a row has another length. Data of another form can raise
        other errors.
    """
    for name, length in _ROWS[kind]:
        rows = data[name]
        if not isinstance(rows, list) or (
            length is not None and any(len(row) != length for row in rows)
        ):
            raise ValueError(f"{name} are not rows of {length}")
    if kind == "tops":
        data["signals"]["rows"] = [*data["signals"]["rows"]]
    return dict(data)


def _sum(one: Any, other: Any) -> Any:
    if one is None or other is None:
        return one if other is None else other
    return one + other


class _Failure:
    """A failure of workers: the last location, and the count of all workers.

    :param row: The failure of one worker, as it is written: the fields of a row.
    """

    __slots__ = ("_first_at", "_latest", "_times", "last_at")

    def __init__(self, row: list[Any]) -> None:
        self._latest = row
        *_, self._times, self._first_at, self.last_at = row

    def add(self, row: list[Any]) -> None:
        """Add that of another worker."""
        *_, times, first_at, last_at = row
        self._times += times
        self._first_at = min(self._first_at, first_at)
        if last_at > self.last_at:
            self._latest, self.last_at = row, last_at

    def row(self) -> FailureRow:
        """Return its row, for display."""
        latest = *self._latest[:-3], self._times, self._first_at, self.last_at
        return FailureRow(*latest)
