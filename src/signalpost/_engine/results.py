"""Outcomes of calls of receivers."""

from __future__ import annotations

import typing as t
from typing import Any

from .connection import Receiver


class Outcome(tuple[Receiver, Any]):
    """The result of one receiver in :meth:`Signal.send_robust`.

    It unpacks into the receiver and its result: what it returned or, if it raised, the
    exception. :attr:`failed` is true only for a raised exception.

    >>> from signalpost import Signal
    >>> paid = Signal()
    >>> @paid.connect
    ... def book(sender):
    ...     return "booked"
    >>> for receiver, result in paid.send_robust():
    ...     result
    'booked'

    .. versionadded:: 0.1
    """

    __slots__ = ()

    failed: t.ClassVar[bool] = False
    """``True`` if the receiver raised."""

    def __new__(
        cls, receiver: Receiver, value: Any = None, exception: Exception | None = None
    ) -> Outcome:
        """Make the outcome of a receiver that returned or raised."""
        if exception is not None:
            return super().__new__(Failure, (receiver, exception))
        return super().__new__(cls, (receiver, value))

    def __getnewargs__(self) -> tuple[Receiver, Any, Exception | None]:
        return self.receiver, self.value, self.exception

    def __eq__(self, other: object) -> bool:
        # A plain tuple has no way to differ in this.
        is_same = not isinstance(other, Outcome) or other.failed == self.failed
        return is_same and super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return super().__hash__()

    @property
    def receiver(self) -> Receiver:
        """The receiver that was called."""
        return self[0]

    @property
    def value(self) -> Any:
        """The returned value; ``None`` if it raised."""
        return None if self.failed else self[1]

    @property
    def exception(self) -> Exception | None:
        """The raised exception, or ``None``."""
        return t.cast("Exception", self[1]) if self.failed else None

    def __repr__(self) -> str:
        result = "exception" if self.failed else "value"
        return f"Outcome(receiver={self[0]!r}, {result}={self[1]!r})"


class Failure(Outcome):
    """The outcome of a receiver that raised."""

    __slots__ = ()

    failed: t.ClassVar[bool] = True


def outcomes(results: list[tuple[Receiver, Any]]) -> list[Outcome]:
    """Return results as outcomes: failures are outcomes already."""
    return [one if type(one) is Failure else Outcome(*one) for one in results]


class ActiveObserver(t.Protocol):
    """An observer that has not stopped."""

    def record(
        self,
        signal: Any,
        sender: Any,
        receiver: Receiver,
        duration_seconds: float,
        exception: BaseException | None,
    ) -> None:
        """Record a call of a receiver; it must not raise."""


class Sends(t.Protocol):
    """A signal, for the modules that signals are made of."""

    def send(self, sender: Any | None = None, /, **payload: Any) -> object:
        """Send it."""
