"""Sends that are recorded for the length of a block."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from typing import Generic
from typing import Self
from typing import TypeVar

from .._engine.blocks import Block
from .._engine.connecting import ConnectedBlock
from .._engine.identity import ANY
from .._engine.signal import Signal

Entry = TypeVar("Entry")


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
    """The payload, by name."""

    def __getitem__(self, name: str) -> Any:
        return self.payload[name]


class Captured(Block, Generic[Entry]):
    """A block that records in a list what signals send.

    Returned by :func:`capture`, :func:`finished_exchanges` and
    :func:`request_failures`. It may be opened again, and decorates functions.

    .. versionadded:: 0.1
    """

    def __init__(
        self,
        signals: tuple[Signal, ...],
        sender: Any,
        entry_of: Callable[[Sent], Entry],
    ) -> None:
        self._signals = signals
        self._sender = sender
        self._entry_of = entry_of
        self._open: list[list[ConnectedBlock]] = []

    def __enter__(self) -> list[Entry]:
        """Return the list, which fills during the block."""
        entries: list[Entry] = []
        blocks: list[ConnectedBlock] = []
        self._open.append(blocks)
        try:
            for signal in self._signals:
                keeper = self._keeper(signal, entries)
                # Before all others, so that their exceptions cannot hide a send.
                block = signal.connected_to(keeper, self._sender, priority=math.inf)
                block.__enter__()
                blocks.append(block)
        except BaseException:
            self.__exit__()
            raise
        return entries

    def __exit__(self, *error: object) -> None:
        for block in reversed(self._open.pop()):
            block.__exit__()

    def again(self) -> Self:
        """Return another one, for another call of a decorated function."""
        return type(self)(self._signals, self._sender, self._entry_of)

    def _keeper(self, signal: Signal, entries: list[Entry]) -> Any:
        entry_of = self._entry_of

        def keep(sender: Any, /, **payload: Any) -> None:
            entries.append(entry_of(Sent(signal, sender, payload)))

        return keep


def capture(*signals: Signal, sender: Any = ANY) -> Captured[Sent]:
    """Record what signals send for the length of a ``with`` block, in order.

    >>> from signalpost import Namespace
    >>> order_placed = Namespace().signal("order-placed")
    >>> with capture(order_placed) as sent:
    ...     _ = order_placed.send("shop", order=7)
    >>> sent[0].sender, sent[0]["order"]
    ('shop', 7)

    A send is recorded before its receivers run, even if one of them raises. Flask's
    test client closes a response only on demand. To see ``exchange-closed``,
    use :class:`signalpost.integrations.flask_testing.ClosingClient`, or write
    ``client.get("/", buffered=True)``.

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
    return Captured(signals, sender, _as_sent)


def _as_sent(sent: Sent) -> Sent:
    return sent
