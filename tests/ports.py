"""Ports of this machine for the servers of tests."""

from __future__ import annotations

import os
import socket
from itertools import count
from typing import Final

# Chromium refuses 10080.
_FIRST: Final = 11_000
_PORTS: Final = 20_000
# Several runs may start servers at the same time.
_numbers: Final = count(64 * os.getpid())


def free_port() -> int:
    """Return a port that nothing uses, each time another one.

    It is none that the system chooses by itself: it may choose the same for a second
    server, or for a client, before the first server listens. A test would then talk to
    another server than its own.
    """
    for number in _numbers:
        port = _FIRST + number % _PORTS
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError("a count has no end")
