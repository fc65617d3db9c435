"""Times variants of one job so that a noisy machine is unfair to none of them.

Short batches of all variants take turns in one run, in another order each round. A
minimum over many rounds is then what the job costs when nothing else disturbs it,
and two minima of one run can be compared.
"""

from __future__ import annotations

import gc
import random
import sys
from collections import Counter
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextlib import contextmanager
from contextlib import nullcontext
from dataclasses import dataclass
from statistics import median
from time import perf_counter_ns
from types import CodeType
from types import FrameType

Batch = Callable[[int], None]
"""Does its job so many times."""

BATCH_NS = 1_000_000
"""How long a batch lasts: short enough to fit between two disturbances."""


class WrongCallsError(Exception):
    """A variant does not do the job that it is to be timed at."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to do a job."""

    name: str
    """The heading of its columns."""
    batch: Batch
    """What is timed. It has its own loop: a call for each job would cost as much."""
    calls: Mapping[CodeType, int]
    """How often each piece of code must run in one job."""
    setting: Callable[[], AbstractContextManager[object]] = nullcontext
    """What must be in place around a batch, and in the way of the others."""


@dataclass(frozen=True, slots=True)
class Row:
    """One job, and the variants that are compared at it."""

    name: str
    """What the job is."""
    variants: Sequence[Variant]
    """The first is what the others are compared with."""
    kept: object = None
    """What has to live as long as the row: signals hold receivers weakly."""


@dataclass(frozen=True, slots=True)
class Figure:
    """What one job took, by all the rounds of a variant."""

    minimum_ns: float
    """Nanoseconds in the fastest round."""
    median_ns: float
    """Nanoseconds in the middle round: far above the minimum means much noise."""


def measure(rows: Sequence[Row], rounds: int) -> list[dict[str, Figure]]:
    """Verify every variant, then time them all in turns.

    :param rounds: How many batches each variant gets; at least 1.
    :returns: For each row, in order, its figures by the names of the variants.
    :raises WrongCallsError: As :func:`verify`; nothing has been timed then.
    """
    variants = [variant for row in rows for variant in row.variants]
    for variant in variants:
        verify(variant)
    with _collector_off():
        jobs = {id(variant): _jobs_in_a_batch(variant) for variant in variants}
        taken: dict[int, list[float]] = {id(variant): [] for variant in variants}
        turns = list(variants)
        order = random.Random(0)
        for _ in range(rounds):
            # The youngest generation is all that came since the last round.
            gc.collect(0)
            order.shuffle(turns)
            for variant in turns:
                count = jobs[id(variant)]
                taken[id(variant)].append(_nanoseconds(variant, count) / count)
    return [
        {
            variant.name: Figure(min(taken[id(variant)]), median(taken[id(variant)]))
            for variant in row.variants
        }
        for row in rows
    ]


def verify(variant: Variant) -> None:
    """Check that a variant runs what it should, as often as it should.

    The calls are counted from outside, so that what is verified is what is timed: a
    receiver that counts would be slower.

    :raises WrongCallsError: If some code ran more or less often.
    """
    jobs = 3
    counted: Counter[CodeType] = Counter()

    def count(frame: FrameType, what: str, _: object) -> None:
        if what == "call":
            counted[frame.f_code] += 1

    before = sys.getprofile()
    with variant.setting():
        sys.setprofile(count)
        try:
            variant.batch(jobs)
        finally:
            sys.setprofile(before)
    for code, calls in variant.calls.items():
        if counted[code] != calls * jobs:
            raise WrongCallsError(
                f"{variant.name} must run {code.co_qualname} {calls * jobs} times in"
                f" {jobs} jobs, but did {counted[code]} times; nothing was timed"
            )


def _nanoseconds(variant: Variant, jobs: int) -> int:
    with variant.setting():
        # What is made on first use is not part of the job.
        variant.batch(1)
        start = perf_counter_ns()
        variant.batch(jobs)
        return perf_counter_ns() - start


def _jobs_in_a_batch(variant: Variant) -> int:
    jobs = 1
    while _nanoseconds(variant, jobs) < BATCH_NS // 4:
        jobs *= 2
    # A disturbance here would make every batch of the run too small.
    taken = min(_nanoseconds(variant, jobs) for _ in range(3))
    return max(1, jobs * BATCH_NS // taken)


@contextmanager
def _collector_off() -> Generator[None]:
    """Keep a collection out of the batches; it would hit whichever came last."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
