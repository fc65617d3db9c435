"""What workers have recorded beside requests, of all of them together."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any
from typing import Final

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

__all__ = ["events_of", "parts_beside", "work_of"]

_MOST_ROWS: Final = 100
_MOST_FAULTS: Final = 5
_DIRECTIONS: Final = {OUTWARDS: "sent", INWARDS: "received"}


def parts_beside(
    workers: Sequence[Worker], first_tick: int, last_tick: int, now: float
) -> dict[str, Any]:
    """Return the parts of a snapshot that are of no request.

    :param first_tick: The number of the first period of the last minute.
    :param last_tick: The number of the last one.
    """

    def rows_of(table: str) -> list[Tally]:
        found: dict[Key, Tally] = {}
        for one in workers:
            at = getattr(one.layout, table)
            for row in tallies_in(one.data, at, first_tick, last_tick):
                known = found.get(row.key)
                found[row.key] = row if known is None else _both(known, row)
        # A row that is damaged may have any number.
        return sorted(found.values(), key=lambda row: row.key)

    faults = [
        fault for one in workers for fault in faults_in(one.data, one.layout.faults)
    ]
    work, relay = rows_of("work"), rows_of("relay")
    events = [_relay_row(row, faults) for row in relay if row.key[0] in _DIRECTIONS]
    return {
        "work": tuple(map(_work_row, work[:_MOST_ROWS])),
        "work_left_out": max(0, len(work) - _MOST_ROWS),
        "relay": tuple(events[:_MOST_ROWS]),
        "relay_left_out": max(0, len(events) - _MOST_ROWS),
        "relay_queues": _queues(workers, faults, now),
    }


def work_of(worker: Worker) -> tuple[int, int]:
    """Return how many units of work a worker has done, and how many have failed."""
    rows = [*tallies_in(worker.data, worker.layout.work, 0, 0)]
    return _sum(rows, WORK_DONE), _sum(rows, WORK_FAILED)


def events_of(worker: Worker) -> int:
    """Return how many events a worker has sent and received."""
    rows = [*tallies_in(worker.data, worker.layout.relay, 0, 0)]
    return _sum(rows, SENT) + _sum(rows, RECEIVED)


def _sum(rows: Iterable[Tally], counter: int) -> int:
    return sum(row.counts[counter] for row in rows)


def _both(one: Tally, other: Tally) -> Tally:
    def sums(a: Sequence[int], b: Sequence[int]) -> tuple[int, ...]:
        return tuple(x + y for x, y in zip(a, b, strict=True))

    return Tally(
        one.key,
        sums(one.counts, other.counts),
        sums(one.minute, other.minute),
        one.seconds + other.seconds,
        max(one.longest_seconds, other.longest_seconds),
        one.age_seconds + other.age_seconds,
        max(one.oldest_seconds, other.oldest_seconds),
        max(one.last_at, other.last_at),
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


def _relay_row(row: Tally, faults: Iterable[Fault]) -> RelayRow:
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
            faults,
            lambda one: (
                (one.name, one.party) == (name, party) and _kind_of(one) in kinds
            ),
        ),
    )


def _kind_of(fault: Fault) -> str:
    return FAULT_KINDS[fault.kind % len(FAULT_KINDS)]


def _fault_rows(
    faults: Iterable[Fault], is_wanted: Callable[[Fault], bool]
) -> tuple[RelayFaultRow, ...]:
    """Return failures as they are shown; those of several workers are one."""
    rows: dict[tuple[str, str], RelayFaultRow] = {}
    for one in filter(is_wanted, faults):
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
    workers: Sequence[Worker], faults: Sequence[Fault], now: float
) -> tuple[RelayQueueRow, ...]:
    found: dict[str, list[tuple[Worker, Queue]]] = {}
    for worker in workers:
        for queue in queues_in(worker.data, worker.layout.queues):
            found.setdefault(queue.source, []).append((worker, queue))
    # A dispatcher has no queue of its own, as the table has it.
    for fault in faults:
        if not fault.name:
            found.setdefault(fault.party, [])
    return tuple(
        _queue_row(source, found[source], faults, now) for source in sorted(found)
    )[:_MOST_ROWS]


def _queue_row(
    source: str,
    queues: Sequence[tuple[Worker, Queue]],
    faults: Iterable[Fault],
    now: float,
) -> RelayQueueRow:
    alive = [queue for worker, queue in queues if worker.is_alive]
    dead = [queue for worker, queue in queues if worker.state == "killed"]
    oldest_at = min((one.oldest_at for one in alive if one.waiting), default=None)
    return RelayQueueRow(
        source,
        sum(one.waiting for one in alive),
        None if oldest_at is None else max(0.0, round(now - oldest_at, 3)),
        sum(queue.dropped for _, queue in queues),
        sum(one.waiting for one in dead),
        _fault_rows(faults, lambda one: not one.name and one.party == source),
    )
