"""Entries of Redis streams, and the responses to XADD."""

from __future__ import annotations

import datetime
import typing as t
from collections.abc import Sequence

import redis

from ._transport import DeadLetter
from ._transport import Message
from ._transport import Why

__all__ = [
    "BODY",
    "after",
    "body_of",
    "by_stream",
    "letter_of",
    "order_of",
    "reasons_in",
    "text_of",
]

BODY: t.Final = b"event"
"""The field of an entry that has the event."""


def reasons_in(answers: Sequence[object]) -> dict[int, str]:
    """Return why events are refused whenever they are sent, by index.

    :raises redis.RedisError: If one was refused for a reason that passes.
    """
    reasons = {}
    for index, answer in enumerate(answers):
        if isinstance(answer, Exception):
            if not _is_of_the_stream(answer):
                raise answer
            reasons[index] = str(answer)
    return reasons


def _is_of_the_stream(error: Exception) -> bool:
    """Return whether one stream, and not Redis itself, is why an event is refused."""
    if isinstance(error, redis.exceptions.NoPermissionError):
        return "key" in str(error)  # and not the command
    return "WRONGTYPE" in str(error) or "stream has exhausted" in str(error)


def body_of(fields: dict[bytes, bytes]) -> bytes:
    """Return the event of an entry; of one that others have added, what is in it."""
    return fields.get(BODY, b" ".join(fields.values()))


def order_of(id_: bytes) -> tuple[int, int]:
    """Return an id's time in milliseconds, and its number."""
    milliseconds, _, number = id_.partition(b"-")
    return int(milliseconds), int(number or 0)


def after(id_: bytes) -> bytes:
    """Return the id that follows an id."""
    milliseconds, number = order_of(id_)
    return b"%d-%d" % (milliseconds, number + 1)


def letter_of(id_: str, fields: dict[bytes, bytes]) -> DeadLetter:
    """Return the dead letter in an entry."""
    tries = text_of(fields.get(b"tries", b"0"))
    why = Why(
        text_of(fields.get(b"reason", b"")),
        int(tries) if tries.isdecimal() else 0,
        text_of(fields.get(b"traceback", b"")),
    )
    seconds = int(id_.partition("-")[0]) / 1000
    at = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return DeadLetter(id_, body_of(fields), why, at)


def text_of(value: t.Any) -> str:
    """Return a response of Redis as text."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def by_stream(messages: Sequence[Message]) -> dict[str, list[bytes]]:
    """Return the ids of messages by the names of their streams."""
    found: dict[str, list[bytes]] = {}
    for message in messages:
        found.setdefault(message.handle.stream, []).append(message.handle.id)
    return found
