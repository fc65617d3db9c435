"""Forked processes, tested where no tracer is: a tracer has its own locks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PATIENCE_SECONDS = 120


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_child_never_waits_for_a_lock_of_another_thread() -> None:
    tests = Path(__file__).with_name("forking.py")
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("COVERAGE")
    }
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests)],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    assert " passed" in run.stdout
