"""The dead letters and the done events in an outbox that listeners read."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from sqlalchemy import Connection
from sqlalchemy import exists
from sqlalchemy import select

from ._table import OutboxTable
from ._transport import DeadLetter
from ._transport import Why

__all__ = ["Letters"]

_MOST_SWEPT = 500  # an old SQLite takes 999 values in a statement


class Letters:
    """The rows about events that no listener takes.

    :param table: The outbox.
    """

    def __init__(self, table: OutboxTable) -> None:
        self._table = table

    def all_of(self, connection: Connection, group: str) -> Sequence[DeadLetter]:
        """Return the dead letters of a group, the oldest first."""
        events, deliveries = self._table.events, self._table.deliveries
        query = (
            select(
                events.c.number,
                events.c.event,
                deliveries.c.tries,
                deliveries.c.error,
                deliveries.c.due_at,
            )
            .join(deliveries, deliveries.c.number == events.c.number)
            .where(deliveries.c.group_name == group, deliveries.c.state == "dead")
            .order_by(deliveries.c.due_at, events.c.number)
        )
        return [_letter(*row) for row in connection.execute(query)]

    def retry(self, connection: Connection, group: str, letter: DeadLetter) -> None:
        """Make a dead letter available to the group again."""
        self._change(
            connection, group, letter, state="waiting", due_at=0.0, tries=0, error=None
        )

    def drop(self, connection: Connection, group: str, letter: DeadLetter) -> None:
        """Record that a dead letter is done."""
        self._change(connection, group, letter, state="done")

    def sweep(self, connection: Connection) -> None:
        """Delete the events that all groups for their type have done."""
        events, deliveries = self._table.events, self._table.deliveries
        groups = self._table.groups
        is_wanted = groups.c.type == events.c.type
        # Without correlate(), the innermost query would select from events once more.
        is_done = (
            exists()
            .where(
                deliveries.c.number == events.c.number,
                deliveries.c.group_name == groups.c.name,
                deliveries.c.state == "done",
            )
            .correlate(events, groups)
        )
        finished = (
            select(events.c.number)
            .where(
                exists().where(is_wanted).correlate(events),
                ~exists().where(is_wanted, ~is_done).correlate(events),
            )
            .order_by(events.c.number)
            .limit(_MOST_SWEPT)
        )
        numbers = connection.scalars(finished).all()
        if numbers:
            for one in (deliveries, events):
                connection.execute(one.delete().where(one.c.number.in_(numbers)))

    def _change(
        self, connection: Connection, group: str, letter: DeadLetter, **values: object
    ) -> None:
        deliveries = self._table.deliveries
        connection.execute(
            deliveries.update()
            .where(
                deliveries.c.group_name == group,
                deliveries.c.number == int(letter.id),
                deliveries.c.state == "dead",
            )
            .values(values)
        )


def _letter(
    number: int, event: str, tries: int, error: str | None, buried_at: float
) -> DeadLetter:
    reason, _newline, traceback = (error or "").partition("\n")
    at = datetime.datetime.fromtimestamp(buried_at, datetime.UTC)
    return DeadLetter(str(number), event.encode(), Why(reason, tries, traceback), at)
