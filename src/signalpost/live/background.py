"""The data of the live page about units of work, and about events of a relay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["RelayFaultRow", "RelayQueueRow", "RelayRow", "WorkRow"]


class WorkRow(NamedTuple):
    """Units of work of one name, in the last minute and since the start.

    .. versionadded:: 0.1
    """

    name: str
    """Beyond 63 names in a worker, ``"<other>"``."""
    done: int
    """Those that ended in the last minute, in whatever way."""
    failed: int
    """Outcome ``"error"`` or ``"lost"``."""
    aborted: int
    done_since_start: int
    failed_since_start: int
    aborted_since_start: int
    mean_seconds: float
    """Since the start, as the next one."""
    longest_seconds: float
    last_at: float


class RelayFaultRow(NamedTuple):
    """A reason for which events of one name, source and group failed.

    .. versionadded:: 0.1
    """

    kind: str
    """``"dropped"`` or ``"delayed"`` for events that were to be sent; ``"failed"`` for
    a try of a receiver, ``"buried"`` for an event that was put aside."""
    reason: str | None
    """At most 300 characters; ``None`` without messages."""
    tries: int
    """The number of the last try to receive the event; 0 where there is none."""
    times: int
    first_at: float
    last_at: float


@dataclass(frozen=True, slots=True)
class RelayRow:
    """Events of one name that were sent by a source, or received by a group.

    .. versionadded:: 0.1
    """

    name: str
    """The signal; ``"<unreadable>"`` for events that cannot be read, and
    ``"<other>"`` beyond 63 rows in a worker."""
    direction: str
    """``"sent"`` or ``"received"``."""
    party: str
    """The source, or the group."""
    events: int
    """Those that were sent, or received without a failure, in the last minute."""
    failed: int
    """Tries of receivers that failed."""
    retried: int
    """Tries after the first one."""
    given_up: int
    """Those that were dropped, or buried."""
    events_since_start: int
    failed_since_start: int
    retried_since_start: int
    given_up_since_start: int
    mean_seconds: float | None
    """How long receivers took; ``None`` for events that were sent."""
    longest_seconds: float | None
    mean_age_seconds: float | None
    """From sending to receiving, at first tries; ``None`` where it is not known."""
    longest_age_seconds: float | None
    last_at: float
    faults: tuple[RelayFaultRow, ...]
    """The latest first, 5 at most."""


@dataclass(frozen=True, slots=True)
class RelayQueueRow:
    """The events of one source that wait to be sent, in all processes that are alive.

    .. versionadded:: 0.1
    """

    source: str
    waiting: int
    oldest_seconds: float | None
    """For how long the oldest one waits; ``None`` if none does, or is not known."""
    dropped: int
    """How many events of these processes were given up."""
    left_behind: int
    """How many waited in processes that ended without sending them: these are lost."""
    faults: tuple[RelayFaultRow, ...]
    """Why events waited; the latest first, 5 at most."""
