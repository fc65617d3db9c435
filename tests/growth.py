"""Check how work grows with its input, whatever else the machine does."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from math import inf
from types import FrameType

_MOST_TRIES = 30
_RESOLUTION_SECONDS = 0.0002


def grows_at_most(
    times: float, short: Callable[[], object], long: Callable[[], object]
) -> bool:
    """Return whether the long work needs at most so many times the short one's time.

    Only the processor's time of this thread counts, and the least of many tries: a busy
    machine slows some tries, but work that grows too fast is too slow in each of them.

    :param times: Choose the middle of the growth that is right and the one that is
        wrong. For an input 32 times as long these are 32 and, for a square, 1024.
    """
    least_short = least_long = inf
    for _ in range(_MOST_TRIES):
        least_short = min(least_short, _seconds_of(short))
        least_long = min(least_long, _seconds_of(long))
        if least_long <= times * least_short + _RESOLUTION_SECONDS:
            return True
    return False


def _seconds_of(work: Callable[[], object]) -> float:
    begun = time.thread_time()
    work()
    return time.thread_time() - begun


def calls_of(work: Callable[[], object], *, with_builtins: bool = False) -> int:
    """Return how many functions are called.

    :param with_builtins: Whether functions written in C count, too.
    """
    counted = ("call", "c_call") if with_builtins else ("call",)
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in counted

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls
