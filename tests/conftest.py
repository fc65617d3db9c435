from __future__ import annotations

import gc
import os
import signal
from collections.abc import Generator
from types import FrameType

import pytest
from hypothesis import settings

# A test that needs more examples multiplies the profile's, which are 100 otherwise.
settings.register_profile("fast", max_examples=25)
if profile := os.environ.get("HYPOTHESIS_PROFILE"):
    settings.load_profile(profile)


def nothing(number: int, frame: FrameType | None) -> None:
    """Do what an ignored signal does."""


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main() -> Generator[None, int | None, int | None]:
    """Let no process of a test ignore what this one ignores, or outlive it.

    Under nohup or as a background job, Python is started with signals of the system
    ignored, and so is what it starts; what has a function here has the system's
    default there. What asks this process to stop ends it as Ctrl-C does, so that tests
    and fixtures end the servers that they have started.
    """
    before = {
        number: signal.getsignal(number)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)
    }
    for number, action in before.items():
        if action is signal.SIG_IGN:
            signal.signal(number, nothing)
        elif action is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    result = yield
    for number, action in before.items():
        signal.signal(number, action)
    return result


def pytest_collection_finish() -> None:
    """Keep thousands of tests, and all that is imported, out of each collection."""
    gc.collect()
    gc.freeze()
