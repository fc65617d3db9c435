"""Works that run in threads at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable

PATIENCE_SECONDS = 30.0
"""Longer than anything here takes; what is not done by then is stuck."""


def run_together(*works: Callable[[], object]) -> None:
    """Run each in a separate thread, all starting at once; fail if one is stuck."""
    start = threading.Barrier(len(works))

    def begin(work: Callable[[], object]) -> None:
        start.wait(PATIENCE_SECONDS)
        work()

    threads = [
        threading.Thread(target=begin, args=(work,), daemon=True) for work in works
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert not [thread for thread in threads if thread.is_alive()], "stuck"
