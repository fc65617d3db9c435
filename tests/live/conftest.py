from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.isolation import process_as_before


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Generator[None]:
    with process_as_before():
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return where files of workers are to be; it is not there yet."""
    return tmp_path / "live"
