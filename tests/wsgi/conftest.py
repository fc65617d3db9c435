from __future__ import annotations

import gc

import pytest


@pytest.fixture(scope="module", autouse=True)
def nothing_left_to_close() -> None:
    """Let exchanges that other tests never closed be lost before these begin."""
    gc.collect()
