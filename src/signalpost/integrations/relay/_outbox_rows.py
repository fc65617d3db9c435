"""Taking rows out of the outbox, one dispatcher at a time for each key."""

from __future__ import annotations

import contextlib
import sys
import time
import typing as t
from collections.abc import Iterator
from collections.abc import Sequence

from sqlalchemy import Connection
from sqlalchemy import create_engine
from sqlalchemy import Engine
from sqlalchemy import exists
from sqlalchemy import func
from sqlalchemy import inspect
from sqlalchemy import Row
from sqlalchemy import select
from sqlalchemy import URL
from sqlalchemy.exc import ArgumentError

from ...errors import OutboxError
from ._table import OutboxTable

__all__ = ["OutboxRow", "OutboxRows", "check_tables", "engine_of"]

OutboxRow: t.TypeAlias = Row[t.Any]
"""``number``, ``id``, ``type``, ``key``, ``event`` and ``tries``."""

_SKIP_LOCKED = frozenset(("postgresql", "mysql", "mariadb"))


class OutboxRows:
    """The rows of an outbox that are to be published.

    On PostgreSQL, MySQL and MariaDB, rows are locked while they are published, and
    other dispatchers skip them. On SQLite, where a lock would keep the application
    from writing meanwhile, one dispatcher at a time works; a file next to the database
    is locked for that. Both locks are released if the process is killed.

    :raises OutboxError: If the database is of another kind.
    """

    def __init__(self, engine: Engine, table: OutboxTable) -> None:
        self._engine = engine
        self._table = table
        self._has_locks = engine.dialect.name in _SKIP_LOCKED
        if not self._has_locks and engine.dialect.name != "sqlite":
            raise OutboxError(
                "an outbox is dispatched from PostgreSQL, MySQL, MariaDB or SQLite,"
                f" got {engine.dialect.name}"
            )

    @contextlib.contextmanager
    def taken(self, most: int) -> Iterator[tuple[Connection, Sequence[OutboxRow]]]:
        """Take rows that are due; what is done on the connection is committed after.

        Rows of a key are taken in order, from its first one; none of a key whose first
        row is not due or taken by another dispatcher.

        :param most: How many rows at most.
        """
        if self._has_locks:
            with self._engine.begin() as connection:
                yield connection, self._first_of_each_key(connection, most)
            return
        with self._alone() as is_alone:
            rows: Sequence[OutboxRow] = ()
            with self._engine.connect() as connection:
                if is_alone:
                    rows = connection.execute(self._due(most)).all()
                # In SQLite, a transaction that has read may be unable to write later.
                connection.rollback()
                yield connection, rows
                connection.commit()

    def delete(self, connection: Connection, rows: Sequence[OutboxRow]) -> None:
        """Delete rows that are published."""
        events = self._table.events
        numbers = [row.number for row in rows]
        connection.execute(events.delete().where(events.c.number.in_(numbers)))

    def delay(
        self,
        connection: Connection,
        row: OutboxRow,
        next_at: float | None,
        error: Exception,
    ) -> None:
        """Note that a row could not be published.

        :param next_at: When to try again; ``None`` for never.
        """
        events = self._table.events
        connection.execute(
            events.update()
            .where(events.c.number == row.number)
            .values(tries=row.tries + 1, next_at=next_at, error=str(error))
        )

    def count(self) -> tuple[int, float | None]:
        """Return how many rows wait, and when the oldest was written."""
        events = self._table.events
        with self._engine.connect() as connection:
            query = select(func.count(), func.min(events.c.made_at))
            count, made_at = connection.execute(query.select_from(events)).one()
        return count, made_at

    def has_groups(self) -> bool:
        """Return whether listeners read the outbox themselves."""
        with self._engine.connect() as connection:
            query = select(self._table.groups.c.name).limit(1)
            return connection.scalar(query) is not None

    def _due(self, most: int) -> t.Any:
        events = self._table.events
        earlier = events.alias()
        now = time.time()
        is_behind_another = exists().where(
            earlier.c.key == events.c.key,
            earlier.c.number < events.c.number,
            earlier.c.next_at > now,
        )
        wanted = ("number", "id", "type", "key", "event", "tries")
        return (
            select(*(events.c[name] for name in wanted))
            .where(events.c.next_at <= now, ~is_behind_another)
            .order_by(events.c.number)
            .limit(most)
        )

    def _first_of_each_key(
        self, connection: Connection, most: int
    ) -> Sequence[OutboxRow]:
        """Return the rows that could be locked, up to the first that could not."""
        due = self._due(most).with_for_update(skip_locked=True)
        rows = connection.execute(due).all()
        if not rows:
            return rows
        events = self._table.events
        others = (
            select(events.c.key, func.min(events.c.number).label("first"))
            .where(
                events.c.key.in_({row.key for row in rows}),
                events.c.number < rows[-1].number,
                events.c.number.not_in([row.number for row in rows]),
                events.c.next_at.is_not(None),
            )
            .group_by(events.c.key)
        )
        first_of_others = {one.key: one.first for one in connection.execute(others)}
        return [
            row
            for row in rows
            if row.number < first_of_others.get(row.key, row.number + 1)
        ]

    @contextlib.contextmanager
    def _alone(self) -> Iterator[bool]:
        """Keep other dispatchers out; yields whether that could be done."""
        path = self._engine.url.database
        if not path or path == ":memory:" or path.startswith("file:"):
            yield True
            return
        with open(f"{path}-dispatching", "ab") as file:
            yield _locked(file)


def _locked(file: t.BinaryIO) -> bool:
    """Lock a file until it is closed; return whether that could be done."""
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def engine_of(url: str | URL) -> Engine:
    """Return an engine for a database; it has not connected yet.

    :raises ValueError: If the URL cannot be one.
    :raises ImportError: If the database's driver is not installed.
    """
    try:
        return create_engine(url)
    except ArgumentError as error:
        raise ValueError(
            "the URL of a database must be as sqlite:///shop.db or"
            f" postgresql+psycopg://user@host/shop: {error}"
        ) from error
    except ModuleNotFoundError as error:
        raise ImportError(
            f"the database needs the package {error.name}, which is not installed; run:"
            f" pip install {error.name}",
            name=error.name,
        ) from error


def check_tables(engine: Engine, table: OutboxTable) -> None:
    """Check that the tables of an outbox are there.

    :raises OutboxError: If one is missing.
    """
    found = inspect(engine)
    for one in (table.events, table.groups, table.deliveries):
        if not found.has_table(one.name, schema=one.schema):
            shown = engine.url.render_as_string(hide_password=True)
            raise OutboxError(
                f"there is no table {one.fullname} at {shown}; declare"
                " OutboxTable(metadata) with your own tables, and make it with"
                " Alembic or metadata.create_all(engine)"
            )
