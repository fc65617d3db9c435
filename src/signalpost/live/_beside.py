"""The records of all workers other than requests: work, and the relay."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from itertools import chain
from typing import Any
from typing import Final
from typing import TypeAlias

from ._relay_file import Fault
from ._relay_file import FAULT_KINDS
from ._relay_file import faults_in
from ._relay_file import INWARDS
from ._relay_file import OUTWARDS
from ._relay_file import Queue
from ._relay_file import queues_in
from ._tallies import AGED
from ._tallies import BURIED
from ._tallies import DROPPED
from ._tallies import FAILED
from ._tallies import Key
from ._tallies import RECEIVED
from ._tallies import RETRIED
from ._tallies import SENT
from ._tallies import tallies_in
from ._tallies import Tally
from ._tallies import WORK_ABORTED
from ._tallies import WORK_DONE
from ._tallies import WORK_FAILED
from ._worker import Worker
from .background import RelayFaultRow
from .background import RelayQueueRow
from .background import RelayRow
from .background import WorkRow

__all__ = ["Beside"]

_MOST_ROWS: Final = 100
_MOST_FAULTS: Final = 5
_DIRECTIONS: Final = {OUTWARDS: "sent", INWARDS: "received"}


class Beside:
    """The records of workers other than requests, read once.

    :param workers: The workers.
    :param first_tick: The number of the first period of the last minute.
    :param last_tick: The number of the last one.
    """

    def __init__(
        self, workers: Sequence[Worker], first_tick: int, last_tick: int
    ) -> None:
        self._workers = workers
        self._work: dict[str, list[Tally]] = {}
        self._relay: dict[str, list[Tally]] = {}
        for one in workers:
            for rows, table in ((self._work, one.work), (self._relay, one.relay)):
                rows[one.name] = [*tallies_in(table, first_tick, last_tick)]

    def parts(self, now: float) -> dict[str, Any]:
        """Return the parts of a snapshot.

        :param now: The time, in seconds since the epoch.
        """
        faults: _Faults = {}
        for one in self._workers:
            for fault in faults_in(one.queues, one.layout.faults - one.layout.queues):
                faults.setdefault((fault.name, fault.party), []).append(fault)
        work, relay = _merged(self._work), _merged(self._relay)
        # A row that is damaged may have any direction.
        events = [
            _relay_row(row, faults) for row in relay if row.key.direction in _DIRECTIONS
        ]
        return {
            "work": tuple(map(_work_row, work[:_MOST_ROWS])),
            "work_left_out": max(0, len(work) - _MOST_ROWS),
            "relay": tuple(events[:_MOST_ROWS]),
            "relay_left_out": max(0, len(events) - _MOST_ROWS),
            "relay_queues": _queues(self._workers, faults, now),
        }

    def work_of(self, worker: Worker) -> tuple[int, int]:
        """Return how many units of work a worker has done, and how many failed."""
        rows = self._work[worker.name]
        return _sum(rows, WORK_DONE), _sum(rows, WORK_FAILED)

    def events_of(self, worker: Worker) -> int:
        """Return how many events a worker has sent and received."""
        rows = self._relay[worker.name]
        return _sum(rows, SENT) + _sum(rows, RECEIVED)


_Faults: TypeAlias = dict[tuple[str, str], list[Fault]]


def _sum(rows: Iterable[Tally], counter: int) -> int:
    return sum(row.counts[counter] for row in rows)


def _merged(rows: Mapping[str, Iterable[Tally]]) -> list[Tally]:
    """Return the rows of all workers, in the order of their keys."""
    found: dict[Key, list[Tally]] = {}
    for row in chain.from_iterable(rows.values()):
        found.setdefault(row.key, []).append(row)
    return [_sum_of(found[key]) for key in sorted(found)]


def _sum_of(rows: list[Tally]) -> Tally:
    if len(rows) == 1:
        return rows[0]
    keys, counts, minutes, seconds, longest, ages, oldest, last = zip(
        *rows, strict=True
    )
    return Tally(
        keys[0],
        tuple(map(sum, zip(*counts, strict=True))),
        tuple(map(sum, zip(*minutes, strict=True))),
        sum(seconds),
        max(longest),
        sum(ages),
        max(oldest),
        max(last),
    )


def _mean(total: float, count: int) -> float | None:
    return round(total / count, 6) if count else None


def _work_row(row: Tally) -> WorkRow:
    return WorkRow(
        row.key.name,
        row.minute[WORK_DONE],
        row.minute[WORK_FAILED],
        row.minute[WORK_ABORTED],
        row.counts[WORK_DONE],
        row.counts[WORK_FAILED],
        row.counts[WORK_ABORTED],
        _mean(row.seconds, row.counts[WORK_DONE]) or 0.0,
        round(row.longest_seconds, 6),
        round(row.last_at, 3),
    )


def _relay_row(row: Tally, faults: _Faults) -> RelayRow:
    direction, name, party = row.key
    is_inwards = direction == INWARDS
    done, lost = (RECEIVED, BURIED) if is_inwards else (SENT, DROPPED)
    tries, aged = row.counts[RECEIVED] + row.counts[FAILED], row.counts[AGED]
    kinds = FAULT_KINDS[2:] if is_inwards else FAULT_KINDS[:2]
    return RelayRow(
        name,
        _DIRECTIONS[direction],
        party,
        row.minute[done],
        row.minute[FAILED],
        row.minute[RETRIED],
        row.minute[lost],
        row.counts[done],
        row.counts[FAILED],
        row.counts[RETRIED],
        row.counts[lost],
        _mean(row.seconds, tries),
        round(row.longest_seconds, 6) if tries else None,
        _mean(row.age_seconds, aged),
        round(row.oldest_seconds, 6) if aged else None,
        round(row.last_at, 3),
        _fault_rows(
            one for one in faults.get((name, party), ()) if _kind_of(one) in kinds
        ),
    )


def _kind_of(fault: Fault) -> str:
    return FAULT_KINDS[fault.kind % len(FAULT_KINDS)]


def _fault_rows(faults: Iterable[Fault]) -> tuple[RelayFaultRow, ...]:
    """Return rows of failures; equal failures of several workers are merged."""
    rows: dict[tuple[str, str], RelayFaultRow] = {}
    for one in faults:
        row = RelayFaultRow(
            _kind_of(one),
            one.reason or None,
            *one[4:6],
            *(round(at, 3) for at in one[6:]),
        )
        known = rows.get((row.kind, one.reason))
        if known is not None:
            newer = max(known, row, key=lambda row: row.last_at)
            row = RelayFaultRow(
                row.kind,
                row.reason,
                newer.tries,
                known.times + row.times,
                min(known.first_at, row.first_at),
                newer.last_at,
            )
        rows[row.kind, one.reason] = row
    ordered = sorted(rows.values(), key=lambda row: row.last_at, reverse=True)
    return tuple(ordered[:_MOST_FAULTS])


def _queues(
    workers: Iterable[Worker], faults: _Faults, now: float
) -> tuple[RelayQueueRow, ...]:
    found: dict[str, list[tuple[Worker, Queue]]] = {}
    for worker in workers:
        for queue in queues_in(worker.queues, 0):
            found.setdefault(queue.source, []).append((worker, queue))
    # A dispatcher has no queue, because the table is its queue.
    for name, party in faults:
        if not name:
            found.setdefault(party, [])
    return tuple(
        _queue_row(source, found[source], faults, now) for source in sorted(found)
    )[:_MOST_ROWS]


def _queue_row(
    source: str,
    queues: Sequence[tuple[Worker, Queue]],
    faults: _Faults,
    now: float,
) -> RelayQueueRow:
    alive = [queue for worker, queue in queues if worker.is_alive]
    # These processes ended before they could send their events.
    dead = [
        queue
        for worker, queue in queues
        if not (worker.is_alive or worker.live.ended_at)
    ]
    oldest_at = min((one.oldest_at for one in alive if one.waiting), default=None)
    return RelayQueueRow(
        source,
        sum(one.waiting for one in alive),
        None if oldest_at is None else max(0.0, round(now - oldest_at, 3)),
        sum(queue.dropped for _, queue in queues),
        sum(one.waiting for one in dead),
        _fault_rows(faults.get(("", source), ())),
    )
