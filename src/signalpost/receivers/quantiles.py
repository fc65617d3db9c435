"""Quantiles of durations, within a stated error and in fixed memory."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from itertools import accumulate
from itertools import chain
from math import ceil
from math import frexp
from math import ldexp
from math import nan
from operator import add
from typing import Final

__all__ = [
    "LONGEST_SECONDS",
    "RELATIVE_ERROR",
    "SHORTEST_SECONDS",
    "DurationHistogram",
]

# A power of two, so that no step's edge is ever rounded.
_STEPS: Final = 64

RELATIVE_ERROR: Final = 1 / (2 * _STEPS)
"""The largest error of a quantile, as a share of the true one: under 0.8 %."""

SHORTEST_SECONDS: Final = 2.0**-20
"""About a microsecond; shorter durations count as zero."""

LONGEST_SECONDS: Final = 2.0**17
"""About 36 hours; longer durations count as this long."""


class DurationHistogram:
    """Count durations so that any quantile of them can be read later.

    It is log-linear: each doubling of the duration is divided into 64 equal steps,
    and a step keeps a count. A quantile is the middle of the step that holds the
    exact one by nearest rank, so it is off by :data:`RELATIVE_ERROR` at most, from
    :data:`SHORTEST_SECONDS` to :data:`LONGEST_SECONDS`. The maximum is exact.

    Memory: 600 bytes for each doubling that occurs, of which there are 38; 25 kB at
    most, whatever is recorded. It has no lock.

    .. versionadded:: 0.1
    """

    __slots__ = ("_longest", "_octaves", "_zeros", "count")

    count: int
    """How many durations were recorded."""

    def __init__(self) -> None:
        self.count = 0
        self._zeros = 0
        self._longest = 0.0
        self._octaves: dict[int, array[int]] = {}

    @property
    def maximum_seconds(self) -> float:
        """The longest duration, exactly; ``nan`` while there is none."""
        return self._longest if self.count else nan

    def record(self, seconds: float) -> None:
        """Count one duration.

        :param seconds: The duration. A negative one, from a clock that was set back,
            and one that is not a number count as zero.
        """
        if seconds > self._longest:
            self._longest = seconds = min(seconds, LONGEST_SECONDS)
        # Not "<": a nan is less than nothing and not more either.
        if not seconds >= SHORTEST_SECONDS:
            self._zeros += 1
        else:
            mantissa, octave = frexp(seconds)
            steps = self._octaves.get(octave)
            if steps is None:
                steps = self._octaves[octave] = array("Q", (0,) * _STEPS)
            steps[int((mantissa - 0.5) * (2 * _STEPS))] += 1
        # Last, so that a reader in between finds as many durations as the count.
        self.count += 1

    def merge(self, other: DurationHistogram) -> None:
        """Count everything that another histogram has counted, too.

        Exact: the result is that of recording all durations in one.
        """
        for octave, steps in other._octaves.items():
            mine = self._octaves.get(octave)
            self._octaves[octave] = (
                steps[:] if mine is None else array("Q", map(add, mine, steps))
            )
        self._zeros += other._zeros
        self._longest = max(self._longest, other._longest)
        self.count += other.count

    def quantile(self, q: float) -> float:
        """Return the duration that a share ``q`` of those recorded did not exceed.

        Nearest rank, off by :data:`RELATIVE_ERROR` of it at most.

        :param q: A share, 0 to 1; ``0.99`` is the 99th percentile, ``1`` the exact
            maximum.
        :returns: Seconds; ``nan`` while nothing was recorded.
        :raises ValueError: If ``q`` is outside 0 to 1.
        """
        if not 0 <= q <= 1:
            raise ValueError(
                f"q must be a share from 0 to 1, got {q!r}; write 0.99 for the 99th"
                " percentile"
            )
        if not self.count:
            return nan
        # 0.07 * 100 is a little more than 7 in binary, which must not be rank 8.
        rank = max(1, ceil(round(q * self.count, 9)))
        if rank >= self.count:
            return self._longest
        octaves = sorted(self._octaves)
        steps = chain.from_iterable(map(self._octaves.__getitem__, octaves))
        totals = list(accumulate(steps, initial=self._zeros))
        octave, step = divmod(bisect_left(totals, rank) - 1, _STEPS)
        if octave < 0:
            return 0.0
        middle = 0.5 + (step + 0.5) / (2 * _STEPS)
        return min(ldexp(middle, octaves[octave]), self._longest)
