"""Helpers of the tests of the current exchange."""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager

from signalpost._current import context_exchange
from signalpost._current import producing
from signalpost.exchange import current_exchange
from signalpost.lifecycle import exchange_opened

WAIT_SECONDS = 30

Moments = list[tuple[str, str | None]]


def path_now() -> str | None:
    """Return the path of the current exchange, by which these tests know it."""
    exchange = current_exchange()
    return None if exchange is None else exchange.path


def receive(sender: object) -> None:
    """Be there, so that exchanges are recorded."""


@contextmanager
def recorded_and_taken_back() -> Generator[None]:
    """Let exchanges be recorded, and check that none stays current."""
    # Other tests may have left some.
    token = context_exchange.set(None)
    producing.clear()
    with exchange_opened.connected_to(receive):
        yield
    gc.collect()
    left = context_exchange.get()
    context_exchange.reset(token)
    assert left is None
    assert producing == {}
