"""Pools of an integration of others, and their states."""

from __future__ import annotations

import gc
import subprocess
import sys

from signalpost.receivers.sql_pools import add_pool
from signalpost.receivers.sql_pools import pool_states
from signalpost.receivers.sql_pools import PoolState


class FakePool:
    def __init__(self, state: PoolState | None) -> None:
        self.state = state
        add_pool(self)

    def read(self) -> PoolState | None:
        return self.state


def state(name: str, total_max: int | None = 15) -> PoolState:
    return PoolState(
        name,
        used=1,
        idle=2,
        waiting=3,
        overflow=4,
        timeouts=5,
        idle_max=10,
        total_max=total_max,
    )


def test_pool_is_read_by_its_name() -> None:
    pools = [FakePool(state("tea")), FakePool(state("cups"))]
    assert pool_states("tea") == [state("tea")]
    names = [one.name for one in pool_states()]
    assert names == sorted(names)
    assert {"cups", "tea"} <= {*names}
    assert len(pools) == 2


def test_pools_with_one_name_are_added_up() -> None:
    pools = [FakePool(state("tea")), FakePool(state("tea"))]
    assert pool_states("tea") == [PoolState("tea", 2, 4, 6, 8, 10, 20, 30)]
    assert len(pools) == 2


def test_sum_with_a_pool_without_a_limit_has_none() -> None:
    pools = [FakePool(state("tea")), FakePool(state("tea", total_max=None))]
    assert [one.total_max for one in pool_states("tea")] == [None]
    assert len(pools) == 2


def test_pool_that_is_not_to_be_read_is_left_out() -> None:
    pools = [FakePool(None), FakePool(state("tea"))]
    assert pool_states("tea") == [state("tea")]
    assert len(pools) == 2


def test_pool_is_not_kept_alive() -> None:
    pool = FakePool(state("tea"))
    assert pool_states("tea")
    del pool
    gc.collect()
    assert pool_states("tea") == []


def test_names_are_bounded() -> None:
    # In a separate process, as names are never forgotten.
    source = """
from signalpost.receivers.sql_pools import bounded_name, MOST_NAMES
names = [bounded_name(f"user {number}") for number in range(MOST_NAMES + 5)]
assert len({*names}) == MOST_NAMES + 1, names
assert names[-1] == "other"
assert bounded_name("user 3") == "user 3"
"""
    subprocess.run([sys.executable, "-c", source], check=True, timeout=60)
