from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import uuid
from collections.abc import Generator
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import settings

from tests import missing

# A test that needs more examples multiplies the profile's, which are 100 otherwise.
settings.register_profile("fast", max_examples=25)
if profile := os.environ.get("HYPOTHESIS_PROFILE"):
    settings.load_profile(profile)


MARK = "SIGNALPOST_TESTS"
"""The environment variable that names the runs of tests that a process belongs to."""


def nothing(number: int, frame: FrameType | None) -> None:
    """Do what an ignored signal does."""


def pytest_configure(config: pytest.Config) -> None:
    """Apply the rule of CI to all tests, also to those outside this folder."""
    if missing.is_in_ci():
        config.pluginmanager.register(missing)


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main() -> Generator[None, int | None, int | None]:
    """Let no process of a test ignore what this one ignores, or outlive it.

    Under nohup or as a background job, Python is started with signals of the system
    ignored, and so is what it starts; what has a function here has the system's
    default there. What asks this process to stop ends it as Ctrl-C does, so that tests
    and fixtures end the servers that they have started. One whose start was interrupted
    is known to none of them, and is found by its environment.
    """
    mark = f"{os.getpid()}-{uuid.uuid4().hex}"
    # A run within a run keeps the mark of that, which may have to end it.
    os.environ[MARK] = f"{os.environ.get(MARK, '')}:{mark}"
    before = {
        number: signal.getsignal(number)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)
    }
    for number, action in before.items():
        if action is signal.SIG_IGN:
            signal.signal(number, nothing)
        elif action is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    try:
        return (yield)
    finally:
        for process in marked(mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
                sys.stderr.write(f"\nprocess {process} was left behind, and killed\n")
        for number, action in before.items():
            signal.signal(number, action)


def marked(mark: str) -> list[int]:
    """Return the processes whose environment has a mark; none without Linux' /proc."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        # It may have ended, or belong to another user.
        with contextlib.suppress(OSError):
            # That of multiprocessing ends with the process that has started it.
            command = environment.with_name("cmdline").read_bytes()
            is_tracker = b"multiprocessing.resource_tracker" in command
            if mark.encode() in environment.read_bytes() and not is_tracker:
                found.append(int(environment.parent.name))
    return found


def pytest_collection_finish() -> None:
    """Keep thousands of tests, and all that is imported, out of each collection."""
    gc.collect()
    gc.freeze()
