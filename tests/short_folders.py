"""Folders for Unix sockets, whose paths have a limit of some hundred bytes."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Generator
from pathlib import Path

_LONGEST = 50


@contextlib.contextmanager
def short_folder() -> Generator[Path]:
    """Make a folder with a short path, wherever temporary files are, and remove it."""
    where = tempfile.gettempdir()
    if len(os.fsencode(where)) > _LONGEST:
        where = "/tmp"
    with tempfile.TemporaryDirectory(prefix="sp-", dir=where) as name:
        yield Path(name).resolve()
