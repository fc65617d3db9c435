"""Restores the process after the examples of a page."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.isolation import process_as_before


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Generator[None]:
    with process_as_before():
        yield
