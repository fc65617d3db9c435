"""Times variants of a job so that noise of the machine affects all of them alike.

Short batches of all variants take turns in one run, in another order each round. The
minimum over many rounds is then the cost without disturbances, and two minima of one
run can be compared.
"""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import textwrap
from collections import Counter
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextlib import contextmanager
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from functools import partial
from itertools import repeat
from statistics import median
from time import perf_counter_ns
from types import CodeType
from types import FrameType
from typing import Any
from typing import TypeAlias

Batch: TypeAlias = Callable[[int], None]
"""A function that repeats its job; the argument is how many times."""

Setting: TypeAlias = Callable[[], AbstractContextManager[object]]
"""A function that returns the context of a batch."""

Samples: TypeAlias = dict[str, dict[str, list[float]]]
"""Nanoseconds for one job in each round, by the names of the row and the variant."""

BATCH_NS = 1_000_000
"""The duration of a batch: short enough to fit between two disturbances."""

ROUNDS_IN_A_TURN = 10
"""The number of jobs in a batch is determined again after so many rounds.

If it is determined in a moment of noise, it is too small: the first jobs, which are
slower, then have too large a share.
"""


class WrongCallsError(Exception):
    """A variant does not do the job that is timed."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to do a job."""

    name: str
    """The heading of its column, or the label of its line."""
    batch: Batch
    """The timed code. It has a loop: one call per job would cost as much as the job."""
    calls: Mapping[CodeType, int]
    """How often each piece of code must run in one job."""
    setting: Setting = nullcontext
    """The context of a batch; it would disturb the other variants."""


@dataclass(frozen=True, slots=True)
class Row:
    """A job, and the variants that do it."""

    name: str
    """The name of the job."""
    variants: Sequence[Variant]
    """The first variant is the reference of the others."""
    kept: object = None
    """Objects that live as long as the row, because signals hold receivers weakly."""


@dataclass(frozen=True, slots=True)
class Timing:
    """The time of one job, over all rounds of a variant."""

    minimum_ns: float
    """Nanoseconds in the fastest round."""
    median_ns: float
    """Nanoseconds in the middle round; far above the minimum, there was much noise."""


Timings: TypeAlias = dict[str, dict[str, Timing]]
"""Timings by the names of the row and the variant, as
``{"10 receivers": {"floor": Timing(775.0, 790.5)}}``."""


def batch_of(statements: str, **names: object) -> Batch:
    """Return a batch that repeats statements.

    The loop is compiled around them, as :mod:`timeit` does it: a call between the loop
    and a statement would cost as much as some of the sends.

    :param names: The variables of the statements.
    """
    batch: Batch = _maker("def batch(jobs)", statements, (*names,))(**names)
    return batch


def async_batch_of(statements: str, **names: object) -> tuple[Batch, Setting]:
    """Return a batch that repeats statements with ``await``, and its context.

    :returns: The batch, and the context that runs its event loop.
    """
    run = _maker("async def batch(jobs)", statements, (*names,))(**names)
    runners: list[asyncio.Runner] = []

    @contextmanager
    def setting() -> Generator[None]:
        with asyncio.Runner() as runner:
            runner.get_loop()
            runners.append(runner)
            try:
                yield
            finally:
                runners.pop()

    return lambda jobs: runners[-1].run(run(jobs)), setting


@cache
def _maker(heading: str, statements: str, names: tuple[str, ...]) -> Any:
    source = (
        f"def make({', '.join(names)}):\n    {heading}:\n"
        "        for _ in repeat(None, jobs):\n"
        f"{textwrap.indent(statements, ' ' * 12)}\n    return batch"
    )
    found: dict[str, Any] = {"repeat": repeat}
    exec(source, found)  # noqa: S102  # the statements are those of this folder
    return found["make"]


def measure(
    rows: Sequence[Row], rounds: int, others: Sequence[Callable[[int], Samples]] = ()
) -> Timings:
    """Verify every variant, then time all of them in turns.

    :param rounds: The number of batches of each variant; at least 1.
    :param others: Functions that time further variants of these rows for a number of
        rounds; they take turns, too.
    :raises WrongCallsError: As :func:`verify`; nothing has been timed then.
    """
    for row in rows:
        for variant in row.variants:
            verify(variant)
    timed: dict[tuple[str, str], list[float]] = {}
    for done in range(0, rounds, ROUNDS_IN_A_TURN):
        count = min(ROUNDS_IN_A_TURN, rounds - done)
        ways: list[Callable[[int], Samples]] = [partial(samples, rows), *others]
        for one in ways:
            for name, by_variant in one(count).items():
                for variant_name, found in by_variant.items():
                    timed.setdefault((name, variant_name), []).extend(found)
    timings: Timings = {row.name: {} for row in rows}
    for (name, variant_name), found in timed.items():
        timings[name][variant_name] = Timing(min(found), median(found))
    return timings


def samples(rows: Sequence[Row], rounds: int) -> Samples:
    """Time the variants of rows that were verified."""
    variants = [variant for row in rows for variant in row.variants]
    taken: dict[int, list[float]] = {id(variant): [] for variant in variants}
    with _collector_off():
        jobs = {id(variant): _jobs_in_a_batch(variant) for variant in variants}
        turns = list(variants)
        order = random.Random(0)
        for _ in range(rounds):
            # The youngest generation has all objects since the last round.
            gc.collect(0)
            order.shuffle(turns)
            for variant in turns:
                count = jobs[id(variant)]
                taken[id(variant)].append(_nanoseconds(variant, count) / count)
    return {
        row.name: {variant.name: taken[id(variant)] for variant in row.variants}
        for row in rows
    }


def verify(variant: Variant) -> None:
    """Check that a variant runs the expected code the expected number of times.

    A profile function counts the calls, so that the timed code is verified: a receiver
    that counts would be slower.

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
        # Objects of the first use are not a part of the job.
        variant.batch(1)
        start = perf_counter_ns()
        variant.batch(jobs)
        return perf_counter_ns() - start


def _jobs_in_a_batch(variant: Variant) -> int:
    jobs = 1
    while (taken := _nanoseconds(variant, jobs)) < BATCH_NS // 4:
        jobs *= 2
    if taken < BATCH_NS:
        # A disturbance here would make every batch of this round too small.
        taken = min(_nanoseconds(variant, jobs) for _ in range(3))
    return max(1, jobs * BATCH_NS // taken)


@contextmanager
def _collector_off() -> Generator[None]:
    """Disable the garbage collector; a collection would be timed in a random batch."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
