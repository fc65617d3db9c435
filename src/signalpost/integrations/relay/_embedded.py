"""The transport without a broker: listeners read the outbox in a database."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import time
import typing as t
import uuid
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence

from sqlalchemy import and_
from sqlalchemy import Connection
from sqlalchemy import MetaData
from sqlalchemy import or_
from sqlalchemy import Row
from sqlalchemy import select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import IntegrityError

from ...errors import OutboxError
from ...errors import RelayError
from ._embedded_groups import Groups
from ._embedded_groups import SEEN_SECONDS
from ._embedded_letters import Letters
from ._event import WrittenEvent
from ._outbox_rows import check_tables
from ._outbox_rows import engine_of
from ._table import OutboxTable
from ._table import row_of
from ._transport import Address
from ._transport import Backlog
from ._transport import DeadLetter
from ._transport import Message
from ._transport import positive
from ._transport import raise_no_group
from ._transport import reaching
from ._transport import Why

__all__ = ["EmbeddedTransport", "open_transport"]

OPTIONS: t.Final = {"lease_seconds": 30.0, "batch": 10.0, "poll_seconds": 0.1}
"""The options of a URL in addition to SQLAlchemy's: the seconds until the events of a
killed listener are given to others, the number of events that a listener takes at once,
and the seconds between its looks for new ones."""

_SWEEP_SECONDS: t.Final = 1.0

_Result = t.TypeVar("_Result")


def open_transport(address: Address) -> EmbeddedTransport:
    """Return the transport of a database's URL."""
    return EmbeddedTransport(address)


class EmbeddedTransport:
    """Send and receive by the outbox of a database, without a broker.

    Each event is a row. A group's listener that takes it adds a row with its state: it
    is taken until a time, which moves on while the listener lives; or to be tried again
    at a time; or done; or dead. An event is deleted after each group that wants its
    type has done it. A new group gets the events that are still there.
    """

    def __init__(self, address: Address) -> None:
        # address.options() would take the path of a file for that of a server.
        url = make_url(address.url)
        own = {name: url.query[name] for name in OPTIONS if name in url.query}
        options = OPTIONS | {
            name: positive(name, str(text)) for name, text in own.items()
        }
        self._address = address
        self._url = url.difference_update_query(own)
        self._lease_seconds = options["lease_seconds"]
        self._batch = max(1, int(options["batch"]))
        self._poll_seconds = options["poll_seconds"]
        self.renew_seconds: float | None = self._lease_seconds / 3
        self._table = OutboxTable(MetaData(), name=f"{address.prefix}_outbox")
        self._letters = Letters(self._table)
        self._groups = Groups(self._table)
        self._next_sight = 0.0
        self._engine = engine_of(self._url)
        self._has_tables = False
        self._worker = f"{socket.gethostname()[:60]}:{os.getpid()}:{uuid.uuid4().hex}"
        self._group = ""
        self._types: tuple[str, ...] = ()
        self._next_sweep = 0.0

    # Sending

    def send(self, events: Sequence[WrittenEvent]) -> None:
        """Write events in a new transaction."""
        rows = {event.id: row_of(event) for event in events}
        table = self._table.events

        def write(connection: Connection) -> None:
            connection.execute(table.insert(), [*rows.values()])

        def write_new(connection: Connection) -> None:
            found = connection.scalars(select(table.c.id).where(table.c.id.in_(rows)))
            known = set(found)
            if new := [row for id_, row in rows.items() if id_ not in known]:
                connection.execute(table.insert(), new)

        try:
            self._do(write)
        except RelayError as error:
            if not isinstance(error.__cause__, IntegrityError):
                raise
            # An earlier call may have written some, and lost the database's response.
            self._do(write_new)

    # Receiving

    def subscribe(self, group: str, types: Sequence[str]) -> None:
        """Store the group, with the types that its listeners receive."""
        self._group, self._types = group, tuple(types)
        groups = self._table.groups
        now = time.time()

        def register(connection: Connection) -> None:
            self._lock_group(connection, now)
            found = select(groups.c.type).where(groups.c.name == group)
            known = set(connection.scalars(found))
            new = [
                {"name": group, "type": one, "seen_at": now}
                for one in dict.fromkeys(types)
                if one not in known
            ]
            if new:
                connection.execute(groups.insert(), new)
            self._give_back(connection)

        self._do(register)

    def receive(self, seconds: float) -> Sequence[Message]:
        """Return the first events that no listener of the group has; wait for them."""
        end = time.monotonic() + seconds
        while True:
            if self._do(self._has_some):
                received = self._do(self._take)
                if received:
                    return received
            self._sweep_if_due()
            left = end - time.monotonic()
            if left <= 0:
                return ()
            time.sleep(min(left, self._poll_seconds))

    def done(self, messages: Sequence[Message]) -> None:
        """Record that the group has received these events."""
        numbers = [one.handle for one in messages]
        if numbers:
            self._do(lambda connection: self._note(connection, numbers, state="done"))

    def again(self, message: Message, seconds: float) -> None:
        """Make an event available to the group again after some time."""
        due_at = time.time() + seconds
        self._do(
            lambda connection: self._note(
                connection, [message.handle], state="waiting", due_at=due_at
            )
        )

    def bury(self, message: Message, why: Why) -> None:
        """Record that an event is a dead letter of the group."""
        self._do(
            lambda connection: self._note(
                connection,
                [message.handle],
                state="dead",
                due_at=time.time(),
                tries=why.tries,
                error=f"{why.reason}\n{why.traceback}",
            )
        )

    def renew(self, messages: Sequence[Message]) -> None:
        """Extend the time until others may take these events."""
        numbers = [one.handle for one in messages]
        due_at = time.time() + self._lease_seconds
        self._do(
            lambda connection: self._note(
                connection, numbers, state="taken", due_at=due_at
            )
        )

    # Dead letters

    def dead(self, group: str) -> Iterator[DeadLetter]:
        """Yield the dead letters of a group, the oldest first."""
        yield from self._do(lambda connection: self._letters.all_of(connection, group))

    def retry(self, group: str, letter: DeadLetter) -> None:
        """Make a dead letter available to the group, as if for the first time."""
        self._do(lambda connection: self._letters.retry(connection, group, letter))

    def drop(self, group: str, letter: DeadLetter) -> None:
        """Record that the group has done a dead letter."""
        self._do(lambda connection: self._letters.drop(connection, group, letter))
        self._do(self._letters.sweep)

    # Groups

    def groups(self) -> Sequence[str]:
        """Return the names of the groups that read the outbox."""
        return self._do(self._groups.names)

    def backlog(self, group: str) -> Backlog:
        """Return the numbers of events that wait for a group."""
        found = self._do(lambda connection: self._groups.backlog(connection, group))
        return found or raise_no_group(self._address, group)

    def delete_group(self, group: str) -> None:
        """Delete a group, and the events that only this group had not received."""
        if not self._do(lambda connection: self._groups.delete(connection, group)):
            raise_no_group(self._address, group)
        self._do(self._letters.sweep)

    # The database

    def check(self) -> Sequence[str]:
        """Return warnings about a database that could lose events."""
        if self._url.get_backend_name() == "sqlite" and not self._url.database:
            return ["the database is in memory, and ends with the process"]
        synchronous = self._do(self._synchronous)
        if synchronous == 0:
            return ["PRAGMA synchronous is OFF: a power cut may lose what is committed"]
        return []

    def close(self) -> None:
        """Release the unfinished events to the group, and disconnect."""
        if self._group and self._has_tables:
            # If this fails, the events are free when the lease ends.
            with contextlib.suppress(DBAPIError), self._engine.begin() as connection:
                self._give_back(connection)
        self._drop()

    def forget(self) -> None:
        """Drop the connections of the parent process."""
        self._engine.dispose(close=False)

    def _do(self, action: Callable[[Connection], _Result]) -> _Result:
        """Call a function in a transaction; disconnect if the database fails."""
        try:
            if not self._has_tables:
                check_tables(self._engine, self._table)
                self._has_tables = True
            with self._engine.begin() as connection:
                return action(connection)
        except (DBAPIError, OSError, OutboxError) as error:
            self._drop()
            cause = error.orig if isinstance(error, DBAPIError) else error
            raise reaching(
                self._address, cause if isinstance(cause, Exception) else error
            ) from error

    def _drop(self) -> None:
        self._has_tables = False
        self._engine.dispose()

    # Statements

    def _wanted(self, now: float) -> t.Any:
        """Return the condition, and the join, of events that may be taken."""
        events, deliveries = self._table.events, self._table.deliveries
        mine = and_(
            deliveries.c.number == events.c.number,
            deliveries.c.group_name == self._group,
        )
        is_due = and_(
            deliveries.c.state.in_(("taken", "waiting")), deliveries.c.due_at <= now
        )
        return (
            select(events.c.number, events.c.event, deliveries.c.tries)
            .select_from(events.outerjoin(deliveries, mine))
            .where(
                events.c.type.in_(self._types),
                or_(deliveries.c.number.is_(None), is_due),
            )
            .order_by(events.c.number)
        )

    def _has_some(self, connection: Connection) -> bool:
        """Return whether anything may be taken, without a lock."""
        return (
            connection.execute(self._wanted(time.time()).limit(1)).first() is not None
        )

    def _take(self, connection: Connection) -> list[Message]:
        now = time.time()
        self._lock_group(connection, now)
        rows = connection.execute(self._wanted(now).limit(self._batch)).all()
        own = {
            "state": "taken",
            "worker": self._worker,
            "due_at": now + self._lease_seconds,
        }
        if rows and rows[0].tries is not None:
            # It is taken alone: one of a killed worker's events may be the reason.
            return [self._take_again(connection, rows[0], own)]
        new = [*itertools.takewhile(lambda row: row.tries is None, rows)]
        if new:
            more = {"group_name": self._group, "tries": 1}
            connection.execute(
                self._table.deliveries.insert(),
                [own | more | {"number": row.number} for row in new],
            )
        return [Message(row.event.encode(), 1, row.number) for row in new]

    def _take_again(
        self, connection: Connection, row: Row[t.Any], own: dict[str, object]
    ) -> Message:
        deliveries = self._table.deliveries
        connection.execute(
            deliveries.update()
            .where(
                deliveries.c.group_name == self._group,
                deliveries.c.number == row.number,
            )
            .values(**own, tries=row.tries + 1)
        )
        return Message(row.event.encode(), row.tries + 1, row.number)

    def _lock_group(self, connection: Connection, now: float) -> None:
        """Lock the group for other listeners until the transaction ends.

        The lock is a write, and the first statement, so that it works on each database:
        SQLite could not turn a transaction that has read into one that writes.
        """
        groups = self._table.groups
        connection.execute(
            groups.update().where(groups.c.name == self._group).values(seen_at=now)
        )

    def _give_back(self, connection: Connection) -> None:
        """Make the unfinished events of this listener available to others at once."""
        deliveries = self._table.deliveries
        connection.execute(
            deliveries.update()
            .where(deliveries.c.state == "taken", deliveries.c.worker == self._worker)
            .values(due_at=0.0, tries=deliveries.c.tries - 1)
        )

    def _note(
        self, connection: Connection, numbers: Sequence[int], **values: object
    ) -> None:
        """Change the rows about events that this listener has, if it still has them."""
        deliveries = self._table.deliveries
        connection.execute(
            deliveries.update()
            .where(
                deliveries.c.group_name == self._group,
                deliveries.c.number.in_(numbers),
                deliveries.c.worker == self._worker,
                deliveries.c.state == "taken",
            )
            .values(values)
        )

    def _sweep_if_due(self) -> None:
        now = time.monotonic()
        if now >= self._next_sweep:
            self._next_sweep = now + _SWEEP_SECONDS
            self._do(self._letters.sweep)
        if now >= self._next_sight:
            self._next_sight = now + SEEN_SECONDS
            self._do(lambda connection: self._lock_group(connection, time.time()))

    def _synchronous(self, connection: Connection) -> int | None:
        if connection.dialect.name != "sqlite":
            return None
        found: int = connection.exec_driver_sql("PRAGMA synchronous").scalar_one()
        return found
