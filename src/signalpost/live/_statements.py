"""Counts of statements by their shape: of one exchange, and of all of a worker."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Final
from typing import TypeAlias

__all__ = ["MOST_STATEMENTS", "Counts", "Executed", "Statements", "count"]

MOST_STATEMENTS: Final = 200
"""The number of shapes in the list of a worker."""

_MOST_NOTED: Final = 1000

Executed: TypeAlias = tuple[str, float, bool]
"""A statement: its shape, how many seconds it took, whether it failed."""

Counts: TypeAlias = tuple[int, float, float, int]
"""Those of a shape in one exchange: times, total seconds, longest, failed."""


def count(
    executed: Iterable[Executed], counts: dict[str, Counts], most: int | None = None
) -> None:
    """Add statements to the counts of their shapes.

    :param most: The most shapes that are counted; ``None`` for any number.
    """
    for shape, seconds, is_failed in executed:
        found = counts.get(shape)
        if found is not None:
            times, total, longest, failed = found
            longest = max(longest, seconds)
            counts[shape] = (times + 1, total + seconds, longest, failed + is_failed)
        elif most is None or len(counts) < most:
            counts[shape] = (1, seconds, seconds, int(is_failed))


class Statements:
    """The statements of a worker. One thread at a time may use it."""

    __slots__ = ("_noted", "_rows", "_size", "left_out")

    left_out: int
    """The number of shapes that others have replaced."""

    def __init__(self) -> None:
        # By shape: times, total seconds, longest, failed, most times in an exchange.
        self._rows: dict[str, list[float]] = {}
        self._noted: list[tuple[Sequence[Executed], Mapping[str, int]]] = []
        self._size = 0
        self.left_out = 0

    def note(self, executed: Sequence[Executed], times: Mapping[str, int]) -> None:
        """Note the statements of one exchange, to be counted later.

        Many together are counted faster than one by one between functions of a request.

        :param times: How often each shape came; empty if none came twice.
        """
        self._noted.append((executed, times))
        self._size += len(executed)
        if self._size > _MOST_NOTED:
            self._count_noted()

    def add(self, counts: Mapping[str, Counts]) -> None:
        """Add the counts of one exchange, by shape."""
        for shape, (times, seconds, longest, failed) in counts.items():
            row = self._rows.get(shape) or self._new_row(shape)
            row[0] += times
            row[1] += seconds
            row[2] = max(row[2], longest)
            row[3] += failed
            row[4] = max(row[4], times)

    def counted(self) -> Mapping[str, Sequence[float]]:
        """Return the counts by shape.

        They are times, total seconds, longest, failed, and the most times in one
        exchange.
        """
        self._count_noted()
        return self._rows

    def _count_noted(self) -> None:
        noted, self._noted, self._size = self._noted, [], 0
        for executed, times in noted:
            for shape, seconds, is_failed in executed:
                row = self._rows.get(shape) or self._new_row(shape)
                row[0] += 1
                row[1] += seconds
                # Not by max(), which is called.
                if seconds > row[2]:
                    row[2] = seconds
                if is_failed:
                    row[3] += 1
            for shape, most in times.items():
                row = self._rows.get(shape) or self._new_row(shape)
                row[4] = max(row[4], most)

    def _new_row(self, shape: str) -> list[float]:
        if len(self._rows) >= 2 * MOST_STATEMENTS:
            # Keep the half with the longest total time.
            rows = sorted(self._rows.items(), key=lambda row: row[1][1], reverse=True)
            self.left_out += len(rows) - MOST_STATEMENTS
            self._rows = dict(rows[:MOST_STATEMENTS])
        row = self._rows[shape] = [0, 0.0, 0.0, 0, 1]
        return row
