"""What the examples of the pages leave behind is put back."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.isolation import process_as_before


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Generator[None]:
    with process_as_before():
        yield
