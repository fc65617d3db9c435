"""What the examples of the pages leave behind is put back."""

from __future__ import annotations

import logging
from collections.abc import Generator

import pytest


@pytest.fixture(autouse=True)
def log_level_as_before() -> Generator[None]:
    logger = logging.getLogger("signalpost.signals")
    level = logger.level
    yield
    logger.setLevel(level)
