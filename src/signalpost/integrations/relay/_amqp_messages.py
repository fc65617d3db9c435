"""Messages of AMQP: their events, and their headers about tries."""

from __future__ import annotations

import datetime
import hashlib
import typing as t
from collections.abc import Mapping

from ._transport import DeadLetter
from ._transport import Why

__all__ = [
    "BURIED_AT",
    "REASON",
    "RETURNS",
    "TRACEBACK",
    "TRIES",
    "body_of",
    "headers_of",
    "id_of",
    "letter_of",
    "number_in",
    "tries_in",
]

# A worker that stops gives back what it has not come to, and that is not a try. But
# what is given back again and again may be what kills its workers.
MOST_RETURNS: t.Final = 3
MOST_RETURNS_COUNTED_BY_QUEUE: t.Final = 20

TRIES: t.Final = "signalpost-tries"
RETURNS: t.Final = "signalpost-returns"
REASON: t.Final = "signalpost-reason"
TRACEBACK: t.Final = "signalpost-traceback"
BURIED_AT: t.Final = "signalpost-buried-at"

_Raw: t.TypeAlias = t.Any


def body_of(raw: _Raw) -> bytes:
    """Return the event in a message."""
    body = raw.body
    return body if isinstance(body, bytes) else str(body).encode()


def id_of(raw: _Raw) -> str:
    """Return a message's id; one that was sent by hand may have none."""
    own = raw.properties.get("message_id")
    return str(own) if own else hashlib.sha256(body_of(raw)).hexdigest()[:32]


def headers_of(raw: _Raw) -> dict[str, t.Any]:
    """Return the headers of a message."""
    return raw.properties.get("application_headers") or {}


def tries_in(headers: Mapping[str, t.Any]) -> int:
    """Return which try this is; the first is 1."""
    returns = max(
        number_in(headers.get(RETURNS)) - MOST_RETURNS,
        number_in(headers.get("x-delivery-count")) - MOST_RETURNS_COUNTED_BY_QUEUE,
        0,
    )
    return 1 + number_in(headers.get(TRIES)) + returns


def number_in(found: object) -> int:
    """Return the number that a header has; 0 if it has none."""
    return found if isinstance(found, int) and found > 0 else 0


def letter_of(raw: _Raw) -> DeadLetter:
    """Return the dead letter in a message."""
    headers = headers_of(raw)
    buried_at = headers.get(BURIED_AT)
    reason = headers.get(REASON)
    if reason is None:
        reason = f"RabbitMQ moved it: {headers.get('x-first-death-reason')}"
    why = Why(
        str(reason), number_in(headers.get(TRIES)), str(headers.get(TRACEBACK, ""))
    )
    at = datetime.datetime.fromisoformat(buried_at) if buried_at else None
    return DeadLetter(id_of(raw), body_of(raw), why, at)
