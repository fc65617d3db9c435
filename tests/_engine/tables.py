"""The one place where tests look at the engine's tables."""

from __future__ import annotations

from typing import Any

from signalpost import Signal


def assert_empty(signal: Signal) -> None:
    """Check that nothing is left of the connections that a signal had."""
    table: Any = signal.table
    assert not signal.receivers
    assert not table.any
    assert not table.by_sender
    assert not table.by_receiver
    assert not table.routes.by_id
    assert not table.routes.inherited
    assert table.store.shared_count == 0
    assert table.store.by_value_count == 0
    assert not table.waiting
    assert not table._removed


def may_have_receivers(signal: Signal) -> bool:
    """Return whether a signal has connections, without waiting for anyone."""
    return bool(signal.table.any or signal.table.by_sender)


def has_waiting_changes(signal: Signal) -> bool:
    """Return whether a change was put off and is not made yet."""
    return bool(signal.table.waiting)


def has_fast_route(signal: Signal) -> bool:
    """Return whether a send would take the shortest way."""
    route = signal.table.routes.rest
    return route is not None and route.is_plain


def heirs_of(signal: Signal) -> int:
    """Return how many senders have a route only by a name or a base class."""
    return len(signal.table.routes.inherited)
