from __future__ import annotations

import math
import tracemalloc

import pytest
from hypothesis import example
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from signalpost.receivers.quantiles import DurationHistogram
from signalpost.receivers.quantiles import LONGEST_SECONDS
from signalpost.receivers.quantiles import RELATIVE_ERROR
from signalpost.receivers.quantiles import SHORTEST_SECONDS

# Each magnitude as likely as another; and their edges, where rounding would show.
durations = st.one_of(
    st.floats(math.log(1e-6), math.log(1e5)).map(math.exp),
    st.floats(1e-6, 1e5),
    st.integers(-19, 16).map(lambda power: 2.0**power),
    st.integers(-19, 16).map(lambda power: math.nextafter(2.0**power, 0)),
    st.sampled_from([1e-6, 1e-3, 0.1, 1.0, 1e5]),
)
per_mille = st.integers(0, 1000)


def histogram_of(*seconds: float) -> DurationHistogram:
    histogram = DurationHistogram()
    for one in seconds:
        histogram.record(one)
    return histogram


def nearest_rank(seconds: list[float], per_mille: int) -> float:
    rank = max(1, -(-per_mille * len(seconds) // 1000))
    return sorted(seconds)[rank - 1]


@settings(deadline=None)
@given(st.lists(durations, min_size=1, max_size=200), per_mille)
@example([1e-6], 500)
@example([1e5, 1e5], 500)
@example([0.01 * rank for rank in range(1, 101)], 70)
def test_a_quantile_is_within_the_bound(seconds: list[float], share: int) -> None:
    exact = nearest_rank(seconds, share)
    found = histogram_of(*seconds).quantile(share / 1000)
    assert abs(found - exact) <= RELATIVE_ERROR * exact


@settings(deadline=None)
@given(st.lists(durations, min_size=1), st.tuples(per_mille, per_mille))
def test_a_higher_share_is_never_shorter(
    seconds: list[float], shares: tuple[int, int]
) -> None:
    histogram = histogram_of(*seconds)
    low, high = (histogram.quantile(share / 1000) for share in sorted(shares))
    assert low <= high <= histogram.maximum_seconds


@settings(deadline=None)
@given(st.lists(durations), st.lists(durations), per_mille)
@example([], [1.0], 500)
@example([1.0], [], 500)
@example([-1.0, 2.0], [0.0, 2.0], 500)
def test_merging_is_recording_all_in_one(
    some: list[float], others: list[float], share: int
) -> None:
    merged = histogram_of(*some)
    merged.merge(histogram_of(*others))
    whole = histogram_of(*some, *others)
    assert merged.count == whole.count
    assert repr(merged.quantile(share / 1000)) == repr(whole.quantile(share / 1000))
    assert repr(merged.maximum_seconds) == repr(whole.maximum_seconds)


def test_what_was_merged_goes_on_by_itself() -> None:
    source = histogram_of(1.0)
    merged = DurationHistogram()
    merged.merge(source)
    merged.record(8.0)
    merged.record(9.0)
    for _ in range(5):
        source.record(1.0)
    assert (merged.count, source.count) == (3, 6)
    assert merged.quantile(0.5) == pytest.approx(8, rel=0.01)


def test_the_bound_is_under_one_percent() -> None:
    assert RELATIVE_ERROR < 0.01


@pytest.mark.parametrize("q", [0, 0.5, 1])
def test_without_a_duration_there_is_no_quantile(q: float) -> None:
    assert math.isnan(DurationHistogram().quantile(q))
    assert math.isnan(DurationHistogram().maximum_seconds)


@given(st.lists(durations, min_size=1))
def test_the_maximum_is_exact(seconds: list[float]) -> None:
    histogram = histogram_of(*seconds)
    assert histogram.maximum_seconds == histogram.quantile(1) == max(seconds)


@pytest.mark.parametrize("seconds", [0.0, -1.0, -math.inf, math.nan])
def test_what_is_no_duration_counts_as_zero(seconds: float) -> None:
    histogram = histogram_of(seconds, seconds, 1.0)
    assert histogram.count == 3
    assert histogram.quantile(0.5) == 0.0
    assert histogram_of(seconds).maximum_seconds == 0.0


def test_a_tiny_duration_counts_as_zero() -> None:
    shorter = math.nextafter(SHORTEST_SECONDS, 0)
    assert histogram_of(shorter, shorter, 1.0).quantile(0.5) == 0.0
    assert histogram_of(shorter).maximum_seconds == shorter


@pytest.mark.parametrize("seconds", [LONGEST_SECONDS, 1e300, math.inf])
def test_a_huge_duration_counts_as_the_longest(seconds: float) -> None:
    histogram = histogram_of(seconds, seconds, seconds)
    assert histogram.quantile(0.5) == LONGEST_SECONDS
    assert histogram.maximum_seconds == LONGEST_SECONDS


@pytest.mark.parametrize("q", [-0.1, 1.1, 99, math.nan])
def test_a_share_outside_0_to_1_is_refused(q: float) -> None:
    with pytest.raises(ValueError, match=r"q must be a share from 0 to 1.*0\.99"):
        histogram_of(1.0).quantile(q)


def test_durations_of_all_lengths_take_25_kilobytes() -> None:
    steps = 20_000
    ratio = (1e6 / 1e-7) ** (1 / steps)
    tracemalloc.start()
    try:
        histogram = DurationHistogram()
        for step in range(steps):
            histogram.record(1e-7 * ratio**step)
        taken_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert histogram.count == steps
    assert taken_bytes < 25_000
