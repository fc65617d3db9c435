from __future__ import annotations

import gc
import sys
import threading
import traceback
from collections.abc import Iterator

import pytest


@pytest.fixture
def problems() -> Iterator[list[str]]:
    """Let threads change places all the time.

    :returns: What threads and finalisers raise and no code catches.
    """
    # What other tests left behind is to be finalised before, not during.
    gc.collect()
    found: list[str] = []
    interval = sys.getswitchinterval()
    ignored, excepted = sys.unraisablehook, threading.excepthook
    sys.unraisablehook = lambda what: found.append(f"ignored: {what.exc_value!r}")
    threading.excepthook = lambda what: found.append(
        "".join(traceback.format_exception(what.exc_value))
        if what.exc_value is not None
        else repr(what)
    )
    sys.setswitchinterval(1e-5)
    try:
        yield found
    finally:
        sys.setswitchinterval(interval)
        sys.unraisablehook, threading.excepthook = ignored, excepted
