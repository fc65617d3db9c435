"""Senders and receivers to measure with; they do nothing."""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType
from typing import Any

Receiver = Callable[..., Any]


class Sender:
    """An object that sends, of which there are many."""


class Keeper:
    """An object whose method is connected."""

    def receive(self, sender: object, **payload: object) -> None:
        """Do nothing: it is the way here that is timed."""


def new_receiver() -> Receiver:
    """Return a function that no other receiver is."""

    def receive(sender: object, **payload: object) -> None:
        pass

    return receive


def new_exact_receiver() -> Receiver:
    """Return the same for libraries that look at the parameters."""

    def receive(sender: object, first: int, second: int, third: int) -> None:
        pass

    return receive


def new_receiver_of_one_name() -> Receiver:
    """Return a function that reads a part of what is sent."""

    def receive(sender: object, exchange: int) -> None:
        pass

    return receive


def new_async_receiver() -> Receiver:
    """Return the same as an async function."""

    async def receive(sender: object, **payload: object) -> None:
        pass

    return receive


def code_of(receiver: Receiver) -> CodeType:
    """Return what is run when a receiver is called, to count the calls."""
    code: CodeType = receiver.__code__
    return code
