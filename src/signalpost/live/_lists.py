"""The lists of all workers together: statements, failures, referrers, receivers."""

from __future__ import annotations

import json
import os
import stat
import zlib
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any
from typing import Final

from ..receivers.own_folder import OwnFolder
from ._folder import opened
from .snapshot import FailureList
from .snapshot import FailureRow
from .snapshot import ReceiverRow
from .snapshot import ReferrerList
from .snapshot import ReferrerRow
from .snapshot import SignalList
from .snapshot import SignalRow
from .snapshot import SkippedFile
from .snapshot import StatementList
from .snapshot import StatementRow

__all__ = ["Lists"]

_MOST_BYTES: Final = 4_000_000
_MOST_ROWS: Final = 100
_MOST_FAILURES: Final = 50
_MOST_REFRESHED: Final = 3


class _Read:
    """What was last read of a file."""

    __slots__ = ("at", "data", "reason", "stamp")

    def __init__(self) -> None:
        self.at = 0.0
        self.stamp: tuple[int, ...] = ()
        self.data: dict[str, Any] = {}
        self.reason = ""


class Lists:
    """Reads the lists beside the files of workers, and merges them.

    They are kept while the files stay the same. Of those that have changed three are
    read at a time, the least recently read first, so that many busy workers do not make
    a poll slow: with more than three, a list is some seconds old.
    """

    def __init__(self) -> None:
        self._read: dict[str, _Read] = {}
        self.skipped: list[SkippedFile] = []

    def refresh(self, folder: OwnFolder, workers: Iterable[str], now: float) -> None:
        """Read what has changed.

        :param workers: The workers whose lists are read.
        """
        names = [f"{one}.{kind}" for one in workers for kind in ("tops", "failures")]
        known = {name: self._read.get(name) or _Read() for name in names}
        self._read = known
        changed = [name for name in names if _stamp(folder, name) != known[name].stamp]
        fresh = [name for name in changed if not known[name].stamp]
        old = sorted(
            (name for name in changed if known[name].stamp),
            key=lambda name: known[name].at,
        )
        for name in (*fresh, *old[: 2 * _MOST_REFRESHED]):
            known[name].at = now
            _load(folder, name, known[name])
        self.skipped = [
            SkippedFile(name, one.reason) for name, one in known.items() if one.reason
        ]

    @property
    def tops_version(self) -> str:
        """Changes with what the lists but the failures are made of."""
        return self._version_of(".tops")

    @property
    def failures_version(self) -> str:
        """Changes with what the failures are made of."""
        return self._version_of(".failures")

    def _version_of(self, kind: str) -> str:
        stamps = [(name, one.stamp) for name, one in self._of(kind)]
        return f"{zlib.crc32(repr(stamps).encode()):x}"

    def _of(self, kind: str) -> list[tuple[str, _Read]]:
        return [(name, one) for name, one in self._read.items() if name.endswith(kind)]

    def _data_of(self, kind: str) -> list[dict[str, Any]]:
        return [one.data for _, one in self._of(kind) if one.data]

    def statements(self) -> StatementList:
        """Return the statements that took longest in all."""
        data = self._data_of(".tops")
        rows: dict[str, list[Any]] = {}
        for one in data:
            for shape, times, seconds, longest, failed, most in one["statements"]:
                row = rows.get(shape)
                if row is None:
                    rows[shape] = [times, seconds, longest, failed, most]
                else:
                    row[0] += times
                    row[1] += seconds
                    row[2] = max(row[2], longest)
                    row[3] += failed
                    row[4] = max(row[4], most)
        ordered = sorted(rows.items(), key=lambda row: row[1][1], reverse=True)
        left_out = sum(one["statements_left_out"] for one in data)
        return StatementList(
            _as_of(data),
            left_out + max(0, len(rows) - _MOST_ROWS),
            tuple(
                StatementRow(shape, times, round(total, 6), round(longest, 6), *rest)
                for shape, (times, total, longest, *rest) in ordered[:_MOST_ROWS]
            ),
        )

    def referrers(self) -> ReferrerList:
        """Return where most requests came from."""
        data = self._data_of(".tops")
        counts: dict[str, list[int]] = {}
        for one in data:
            for referrer, count, too_high in one["referrers"]:
                row = counts.setdefault(referrer, [0, 0])
                row[0] += count
                row[1] += too_high
        rows = [ReferrerRow(name, *row) for name, row in counts.items()]
        rows.sort(key=lambda row: (-row.count, row.referrer))
        totals = [one["referrers_totals"] for one in data]
        requests, none, own = map(sum, zip(*totals, (0, 0, 0), strict=True))
        left_out = max(0, len(rows) - _MOST_ROWS)
        return ReferrerList(
            _as_of(data), left_out, requests, none, own, tuple(rows[:_MOST_ROWS])
        )

    def signals(self) -> SignalList:
        """Return the signals that have receivers, of all workers."""
        data = self._data_of(".tops")
        signals: dict[str, dict[tuple[Any, ...], list[Any]]] = {}
        left_out: dict[str, int] = {}
        for one in data:
            for name, receivers, missing in one["signals"]["rows"]:
                rows = signals.setdefault(name, {})
                left_out[name] = max(left_out.get(name, 0), missing)
                for receiver, at, sender, *counts in receivers:
                    row = rows.setdefault((receiver, at, sender), [0, None, None, None])
                    row[0] += 1
                    row[1:] = map(_sum, row[1:], counts)
        return SignalList(
            _as_of(data),
            max((one["signals"]["left_out"] for one in data), default=0),
            tuple(
                SignalRow(
                    name,
                    tuple(ReceiverRow(*key, *row) for key, row in rows.items()),
                    left_out[name],
                )
                for name, rows in signals.items()
            ),
        )

    def failures(self) -> FailureList:
        """Return the failures, the last seen first."""
        data = self._data_of(".failures")
        rows: dict[str, FailureRow] = {}
        for one in data:
            for *fields, _ in one["failures"]:
                row = FailureRow(*fields)
                rows[row.fingerprint] = _both(rows.get(row.fingerprint), row)
        ordered = sorted(rows.values(), key=lambda row: row.last_at, reverse=True)
        left_out = sum(one["left_out"] for one in data)
        return FailureList(
            _as_of(data),
            left_out + max(0, len(rows) - _MOST_FAILURES),
            tuple(ordered[:_MOST_FAILURES]),
        )

    def traceback_of(self, fingerprint: str) -> list[str] | None:
        """Return the traceback of a failure; ``None`` if it is not known."""
        found: list[str] | None = None
        for one in self._data_of(".failures"):
            for row in one["failures"]:
                if row[0] == fingerprint and not found:
                    found = row[-1]
        return found


def _stamp(folder: OwnFolder, name: str) -> tuple[int, ...]:
    try:
        found = folder.stat(name)
    except OSError:
        return ()
    return found.st_ino, found.st_mtime_ns, found.st_size


def _load(folder: OwnFolder, name: str, read: _Read) -> None:
    """Read a file; what cannot be read is as good as empty."""
    read.stamp, read.data, read.reason = (), {}, ""
    try:
        descriptor = opened(folder, name, os.O_RDONLY)
    except FileNotFoundError:
        return
    except OSError as error:
        read.reason = str(error.strerror)
        return
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        read.stamp = found.st_ino, found.st_mtime_ns, found.st_size
        if not stat.S_ISREG(found.st_mode) or found.st_size > _MOST_BYTES:
            read.reason = f"it has {found.st_size} bytes, or is no file"
            return
        data = file.read(_MOST_BYTES)
    try:
        read.data = _checked(json.loads(data), name)
    except (ValueError, RecursionError, TypeError, KeyError, IndexError):
        read.reason = "it is damaged"


def _checked(data: Any, name: str) -> dict[str, Any]:
    """Return the lists of a file, each row of which has the right form.

    :raises ValueError: If one has not; or another error of reading it.
    """
    one = Lists()
    read = _Read()
    read.data = data
    one._read = {name: read}  # noqa: SLF001  # ours
    # What cannot be shown alone cannot be merged.
    if name.endswith(".tops"):
        json.dumps([one.statements().rows, one.referrers().rows], default=str)
        one.signals()
    else:
        one.failures()
        for row in data["failures"]:
            if not all(isinstance(line, str) for line in row[-1]):
                raise ValueError("a traceback has lines that are no text")
    return dict(data)


def _as_of(data: Sequence[dict[str, Any]]) -> float | None:
    """Return from when on something may be missing."""
    return min((one["as_of"] for one in data), default=None)


def _sum(one: Any, other: Any) -> Any:
    if one is None or other is None:
        return one if other is None else other
    return one + other


def _both(one: FailureRow | None, other: FailureRow) -> FailureRow:
    """Return a failure of two workers."""
    if one is None:
        return other
    newer = max(one, other, key=lambda row: row.last_at)
    return FailureRow(
        newer.fingerprint,
        newer.exception,
        newer.message,
        newer.place,
        newer.where,
        newer.method,
        newer.route,
        one.times + other.times,
        min(one.first_at, other.first_at),
        newer.last_at,
    )
