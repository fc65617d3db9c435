"""What a signal sent, for tests."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from ._engine.identity import ANY
from ._engine.signal import Signal

__all__ = ["Sent", "capture"]


@dataclass(frozen=True, slots=True)
class Sent:
    """One send: ``sent["exchange"]`` is what the payload holds by that name.

    .. versionadded:: 0.1
    """

    signal: Signal
    """The signal that was sent."""
    sender: Any
    """Who sent it."""
    payload: dict[str, Any]
    """What was sent, by name."""

    def __getitem__(self, name: str) -> Any:
        return self.payload[name]


@contextmanager
def capture(*signals: Signal, sender: Any = ANY) -> Generator[list[Sent]]:
    """Keep what signals send in the length of a ``with`` block, in order.

    >>> from signalpost import Namespace
    >>> order_placed = Namespace().signal("order-placed")
    >>> with capture(order_placed) as sent:
    ...     _ = order_placed.send("shop", order=7)
    >>> sent[0].sender, sent[0]["order"]
    ('shop', 7)

    Flask's test client closes a response only when it is told to, so to see
    ``exchange-closed`` ask it to: ``client.get("/", buffered=True)``.

    What is connected already goes on hearing. The list keeps what it was sent alive,
    environments and exceptions included.

    :param signals: At least one signal.
    :param sender: Only what this sender sends; without it, all senders.
    :returns: The sends, one :class:`Sent` each; the list fills during the block.
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
    sent: list[Sent] = []
    with ExitStack() as stack:
        for signal in signals:
            stack.enter_context(signal.connected_to(_keeper(signal, sent), sender))
        yield sent


def _keeper(signal: Signal, sent: list[Sent]) -> Any:
    def keep(sender: Any, /, **payload: Any) -> None:
        sent.append(Sent(signal, sender, payload))

    return keep
