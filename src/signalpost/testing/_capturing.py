"""Tools for tests of an application: recorded sends and restored connections."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any
from typing import Self

from ._engine.blocks import Block
from ._engine.connecting import ConnectedBlock
from ._engine.identity import ANY
from ._engine.namespace import Namespace
from ._engine.restoring import Restoration
from ._engine.restoring import save_all
from ._engine.restoring import save_of
from ._engine.signal import Signal

__all__ = ["Captured", "Restored", "Sent", "capture", "restored"]


@dataclass(frozen=True, slots=True)
class Sent:
    """One send: ``sent["exchange"]`` is what the payload holds by that name.

    .. versionadded:: 0.1
    """

    signal: Signal
    """The signal that was sent."""
    sender: Any
    """Its sender."""
    payload: dict[str, Any]
    """What was sent, by name."""

    def __getitem__(self, name: str) -> Any:
        return self.payload[name]


class Captured(Block):
    """A block that records what signals send. Returned by :func:`capture`."""

    def __init__(self, signals: tuple[Signal, ...], sender: Any) -> None:
        self._signals = signals
        self._sender = sender
        self._open: list[list[ConnectedBlock]] = []

    def __enter__(self) -> list[Sent]:
        """Return the list that fills."""
        sent: list[Sent] = []
        blocks: list[ConnectedBlock] = []
        self._open.append(blocks)
        try:
            for signal in self._signals:
                keeper = _keeper(signal, sent)
                # Before all others, so that none of them keeps it from seeing a send.
                block = signal.connected_to(keeper, self._sender, priority=math.inf)
                block.__enter__()
                blocks.append(block)
        except BaseException:
            self.__exit__()
            raise
        return sent

    def __exit__(self, *error: object) -> None:
        for block in reversed(self._open.pop()):
            block.__exit__()

    def again(self) -> Self:
        """Return another one, for another call of a decorated function."""
        return type(self)(self._signals, self._sender)


def capture(*signals: Signal, sender: Any = ANY) -> Captured:
    """Record what signals send for the length of a ``with`` block, in order.

    >>> from signalpost import Namespace
    >>> order_placed = Namespace().signal("order-placed")
    >>> with capture(order_placed) as sent:
    ...     _ = order_placed.send("shop", order=7)
    >>> sent[0].sender, sent[0]["order"]
    ('shop', 7)

    A send is recorded before its receivers run, even if one of them raises. Flask's
    test client closes a response only when it is asked to, so to see
    ``exchange-closed`` write ``client.get("/", buffered=True)``.

    Receivers that are connected already are called as before. The list keeps alive what
    was sent, environments and exceptions included.

    :param signals: At least one signal.
    :param sender: Only what this sender sends; without it, all senders.
    :returns: A block that gives the sends, one :class:`Sent` each; the list fills
        during the block.
    :raises TypeError: If no signal is given, or something else than one.

    .. versionadded:: 0.1
    """
    if not signals:
        raise TypeError("capture() takes at least one signal, got none")
    for signal in signals:
        if not isinstance(signal, Signal):
            raise TypeError(
                f"capture() takes signals, got {signal!r}; name a sender by sender="
            )
    return Captured(signals, sender)


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

    What was connected within the block is disconnected, and what was disconnected is
    connected again, in its place and with its options, if its receiver still lives.

    >>> from signalpost import Signal
    >>> paid = Signal()
    >>> with restored():
    ...     _ = paid.connect(print, weak=False)
    >>> paid.connections
    ()

    As a fixture of pytest for each test::

        @pytest.fixture(autouse=True)
        def connections_are_restored():
            with restored():
                yield

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


def _keeper(signal: Signal, sent: list[Sent]) -> Any:
    def keep(sender: Any, /, **payload: Any) -> None:
        sent.append(Sent(signal, sender, payload))

    return keep
