"""Connections that are as before after a test."""

from __future__ import annotations

from typing import Self

from .._engine.blocks import Block
from .._engine.namespace import Namespace
from .._engine.restoring import Restoration
from .._engine.restoring import save_all
from .._engine.restoring import save_of
from .._engine.signal import Signal


class Restored(Block):
    """A block after which connections are as before. Returned by :func:`restored`."""

    def __init__(self, chosen: tuple[Signal | Namespace, ...]) -> None:
        self._chosen = chosen
        self._saved: list[list[Restoration]] = []

    def __enter__(self) -> None:
        """Save the connections."""
        self._saved.append(save_of(self._chosen) if self._chosen else save_all())

    def __exit__(self, *error: object) -> None:
        for restoration in self._saved.pop():
            restoration.restore()

    def again(self) -> Self:
        """Return another one, for another call of a decorated function."""
        return type(self)(self._chosen)


def restored(*chosen: Signal | Namespace) -> Restored:
    """Restore every connection at the end of a ``with`` block, as after a test.

    Connections of the block are disconnected, and a receiver that was disconnected in
    the block is connected again, in its place and with its options, if its receiver
    still lives.

    >>> from signalpost import Signal
    >>> paid = Signal()
    >>> with restored():
    ...     _ = paid.connect(print, weak=False)
    >>> paid.connections
    ()

    pytest does it for each test with ``signalpost_restore_connections = true`` in its
    configuration, see :mod:`signalpost.integrations.pytest_plugin`.

    It is a decorator of functions, too. Signals that are made within the block are left
    alone.

    :param chosen: Signals, and namespaces with all their signals; without any, every
        signal and namespace of the process.
    :raises TypeError: If something else is given.

    .. versionadded:: 0.1
    """
    for one in chosen:
        if not isinstance(one, (Signal, Namespace)):
            raise TypeError(f"restored() takes signals and namespaces, got {one!r}")
    return Restored(chosen)
