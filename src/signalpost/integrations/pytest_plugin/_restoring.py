"""Connections that are restored after each test of a run."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from ...testing import restored


class Restoring:
    """A plugin whose fixture every test uses before other fixtures."""

    @pytest.fixture(autouse=True)
    def signalpost_restored(self) -> Generator[None]:
        """Restore every connection of every signal as it was before the test."""
        with restored():
            yield
