"""Times variants of one job so that a noisy machine is unfair to none of them.

Short batches of all variants take turns in one run, in another order each round. A
minimum over many rounds is then what the job costs when nothing else disturbs it,
and two minima of one run can be compared.
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
"""Does its job so many times."""

Setting: TypeAlias = Callable[[], AbstractContextManager[object]]
"""Returns what must be in place around a batch."""

Samples: TypeAlias = dict[str, dict[str, list[float]]]
"""Nanoseconds for one job in each round, by the names of the row and the variant."""

BATCH_NS = 1_000_000
"""How long a batch lasts: short enough to fit between two disturbances."""

ROUNDS_IN_A_TURN = 10
"""After so many rounds, the number of jobs in a batch is found again: found in a moment
of noise, it is too small, and the first jobs, which cost more, have too large a share.
"""


class WrongCallsError(Exception):
    """A variant does not do the job that it is to be timed at."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to do a job."""

    name: str
    """The heading of its column, or the label of its line."""
    batch: Batch
    """What is timed. It has its own loop: a call for each job would cost as much."""
    calls: Mapping[CodeType, int]
    """How often each piece of code must run in one job."""
    setting: Setting = nullcontext
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


Figures: TypeAlias = dict[str, dict[str, Figure]]
"""Figures by the names of the row and the variant, as
``{"10 receivers": {"floor": Figure(775.0, 790.5)}}``."""


def batch_of(statements: str, **names: object) -> Batch:
    """Return a batch that repeats statements.

    The loop is compiled around them, as :mod:`timeit` does it: a call between the loop
    and a statement would cost as much as some of the sends.

    :param names: The values of the names in the statements.
    """
    batch: Batch = _maker("def batch(jobs)", statements, (*names,))(**names)
    return batch


def async_batch_of(statements: str, **names: object) -> tuple[Batch, Setting]:
    """Return a batch that repeats statements with ``await``, and its setting.

    :returns: The batch, and the event loop that must be there around it.
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
    rows: Sequence[Row], rounds: int, beside: Sequence[Callable[[int], Samples]] = ()
) -> Figures:
    """Verify every variant, then time them all in turns.

    :param rounds: How many batches each variant gets; at least 1.
    :param beside: Functions that time further variants of these rows, so many rounds
        a call; they get turns.
    :raises WrongCallsError: As :func:`verify`; nothing has been timed then.
    """
    for row in rows:
        for variant in row.variants:
            verify(variant)
    timed: dict[tuple[str, str], list[float]] = {}
    for done in range(0, rounds, ROUNDS_IN_A_TURN):
        count = min(ROUNDS_IN_A_TURN, rounds - done)
        ways: list[Callable[[int], Samples]] = [partial(samples, rows), *beside]
        for one in ways:
            for name, by_variant in one(count).items():
                for variant_name, found in by_variant.items():
                    timed.setdefault((name, variant_name), []).extend(found)
    figures: Figures = {row.name: {} for row in rows}
    for (name, variant_name), found in timed.items():
        figures[name][variant_name] = Figure(min(found), median(found))
    return figures


def samples(rows: Sequence[Row], rounds: int) -> Samples:
    """Time the variants of rows, which were verified before."""
    variants = [variant for row in rows for variant in row.variants]
    taken: dict[int, list[float]] = {id(variant): [] for variant in variants}
    with _collector_off():
        jobs = {id(variant): _jobs_in_a_batch(variant) for variant in variants}
        turns = list(variants)
        order = random.Random(0)
        for _ in range(rounds):
            # The youngest generation is all that came since the last round.
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
    while (taken := _nanoseconds(variant, jobs)) < BATCH_NS // 4:
        jobs *= 2
    if taken < BATCH_NS:
        # A disturbance here would make every batch of the turn too small.
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
