"""The groups that read an outbox, and their backlogs."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Sequence

from sqlalchemy import and_
from sqlalchemy import Connection
from sqlalchemy import func
from sqlalchemy import or_
from sqlalchemy import select

from ._table import OutboxTable
from ._transport import Backlog

__all__ = ["SEEN_SECONDS", "Groups"]

SEEN_SECONDS: t.Final = 10.0
"""How often a listener notes that its group has one."""
_GONE_SECONDS: t.Final = 3 * SEEN_SECONDS


class Groups:
    """The rows about groups.

    :param table: The outbox.
    """

    def __init__(self, table: OutboxTable) -> None:
        self._table = table

    def names(self, connection: Connection) -> Sequence[str]:
        """Return the names of all groups."""
        name = self._table.groups.c.name
        return connection.scalars(select(name).distinct().order_by(name)).all()

    def backlog(self, connection: Connection, group: str) -> Backlog | None:
        """Return the backlog of a group; ``None`` if the group does not exist."""
        groups, events = self._table.groups, self._table.events
        deliveries = self._table.deliveries
        mine = select(groups.c.type).where(groups.c.name == group)
        seen_at = connection.scalar(
            select(func.max(groups.c.seen_at)).where(groups.c.name == group)
        )
        if seen_at is None:
            return None
        own = and_(
            deliveries.c.number == events.c.number, deliveries.c.group_name == group
        )
        waiting, made_at = connection.execute(
            select(func.count(), func.min(events.c.made_at))
            .select_from(events.outerjoin(deliveries, own))
            .where(
                events.c.type.in_(mine),
                or_(
                    deliveries.c.state.is_(None),
                    deliveries.c.state.in_(("taken", "waiting")),
                ),
            )
        ).one()
        now = time.time()
        age = None if made_at is None else max(now - made_at, 0.0)
        dead = self._count_of(connection, group, deliveries.c.state == "dead")
        return Backlog(
            group, waiting, age, dead, self._listeners(connection, group, seen_at, now)
        )

    def delete(self, connection: Connection, group: str) -> bool:
        """Delete a group; return whether it was there."""
        groups, deliveries = self._table.groups, self._table.deliveries
        found = connection.execute(groups.delete().where(groups.c.name == group))
        connection.execute(deliveries.delete().where(deliveries.c.group_name == group))
        return found.rowcount > 0

    def _listeners(
        self, connection: Connection, group: str, seen_at: float, now: float
    ) -> int:
        deliveries = self._table.deliveries
        found = connection.scalar(
            select(func.count(deliveries.c.worker.distinct())).where(
                deliveries.c.group_name == group,
                deliveries.c.state == "taken",
                deliveries.c.due_at > now,
            )
        )
        return found or int(seen_at > now - _GONE_SECONDS)

    def _count_of(self, connection: Connection, group: str, which: t.Any) -> int:
        deliveries = self._table.deliveries
        query = select(func.count()).select_from(deliveries)
        found = connection.scalar(query.where(deliveries.c.group_name == group, which))
        return found or 0
