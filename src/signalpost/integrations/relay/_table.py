"""The outbox: tables in the application's own database, written with its changes."""

from __future__ import annotations

import hashlib
import time
import typing as t
from collections.abc import Callable
from contextlib import nullcontext

from sqlalchemy import BigInteger
from sqlalchemy import Column
from sqlalchemy import Connection
from sqlalchemy import Double
from sqlalchemy import Index
from sqlalchemy import Integer
from sqlalchemy import MetaData
from sqlalchemy import String
from sqlalchemy import Table
from sqlalchemy import Text
from sqlalchemy.dialects.mysql import MEDIUMTEXT
from sqlalchemy.orm import Session

from ...errors import NotSendableError
from ...errors import OutboxError
from ._event import WrittenEvent

__all__ = ["OutboxSends", "OutboxTable", "SessionOf", "row_of"]

SessionOf: t.TypeAlias = Callable[[], t.Any]
"""A function that returns the session or connection with the transaction."""

# SQLite counts up only a column that is declared as INTEGER.
_NUMBER = BigInteger().with_variant(Integer, "sqlite")
# MySQL's TEXT ends at 64 KiB; an event may have four times as much.
_LONG_TEXT = Text().with_variant(MEDIUMTEXT(), "mysql", "mariadb")
_LONGEST_NAME = 191  # the longest that is a key in every MySQL
_NAME = String(_LONGEST_NAME)


class OutboxTable:
    """Add the outbox to the tables of an application.

    Create the tables as you create your own: with Alembic, or with
    ``metadata.create_all(engine)``. They must be in the database whose changes the
    events report, because one transaction writes both.

    - ``signalpost_outbox`` has a row for each event that is not yet published.
    - ``signalpost_outbox_groups`` and ``signalpost_outbox_deliveries`` are used only by
      listeners that read the outbox without a broker: they have the groups, and the
      progress of each group with each event.

    :param metadata: The metadata of the application's own tables: ``db.metadata`` with
        Flask-SQLAlchemy, ``Base.metadata`` with declarative classes.
    :param name: The name of the first table; the two others begin with it.
    :param schema: The tables' schema, if not the database's default.

    .. versionadded:: 0.1
    """

    events: Table
    """One row an event: ``number``, ``id``, ``type``, ``key``, ``event`` (CloudEvents
    JSON), ``made_at`` (epoch seconds), ``tries``, ``next_at`` (epoch seconds;
    ``NULL`` once it is set aside) and ``error``."""
    groups: Table
    """One row for each group and type of event that it listens to."""
    deliveries: Table
    """One row for each group and event that a listener of it has taken."""

    def __init__(
        self,
        metadata: MetaData,
        *,
        name: str = "signalpost_outbox",
        schema: str | None = None,
    ) -> None:
        self.events = Table(
            name,
            metadata,
            Column("number", _NUMBER, primary_key=True, autoincrement=True),
            Column("id", _NAME, nullable=False, unique=True),
            Column("type", _NAME, nullable=False),
            Column("key", _NAME, nullable=False, default=""),
            Column("event", _LONG_TEXT, nullable=False),
            Column("made_at", Double, nullable=False),
            Column("tries", Integer, nullable=False, default=0),
            Column("next_at", Double, default=0.0),
            Column("error", _LONG_TEXT),
            Index(f"{name}_by_key", "key", "number"),
            schema=schema,
            # Or the number of a row that was deleted would be given again.
            sqlite_autoincrement=True,
        )
        self.groups = Table(
            f"{name}_groups",
            metadata,
            Column("name", _NAME, primary_key=True),
            Column("type", _NAME, primary_key=True),
            Column("seen_at", Double, nullable=False),
            schema=schema,
        )
        self.deliveries = Table(
            f"{name}_deliveries",
            metadata,
            Column("number", _NUMBER, primary_key=True, autoincrement=False),
            Column("group_name", _NAME, primary_key=True),
            Column("state", String(8), nullable=False),
            Column("worker", _NAME, nullable=False),
            Column("due_at", Double, nullable=False),
            Column("tries", Integer, nullable=False),
            Column("error", _LONG_TEXT),
            schema=schema,
        )


class OutboxSends:
    """Write events into the outbox, in the transaction that is open.

    :param table: The outbox.
    :param session_of: Returns the session or the connection to write with; that of
        Flask-SQLAlchemy's ``db`` unless given.
    """

    waiting: t.Final = 0
    """Nothing waits in this process."""
    oldest_seconds: t.Final = 0.0

    def __init__(
        self, table: OutboxTable | None, session_of: SessionOf | None = None
    ) -> None:
        if not isinstance(table, OutboxTable):
            raise TypeError(
                f"outbox must be an OutboxTable(metadata), got {table!r}; make it"
                " with your own tables"
            )
        self._insert = table.events.insert()
        self._session_of = session_of or _flask_session

    def put(self, event: WrittenEvent) -> None:
        """Write an event, so that it is published if its transaction is committed.

        :raises OutboxError: If no transaction is open.
        """
        session = _transaction_of(self._session_of())
        row = row_of(event)
        # Without a flush: its failure would look like one of the event.
        with getattr(session, "no_autoflush", nullcontext()):
            session.execute(self._insert, row)

    def close(self, seconds: float) -> int:
        """Return the number of events that are left: 0, they are in the database."""
        return 0


def row_of(event: WrittenEvent) -> dict[str, object]:
    """Return an event as a row of :attr:`OutboxTable.events`.

    :raises NotSendableError: If its name is too long.
    """
    if len(event.name) > _LONGEST_NAME:
        raise NotSendableError(
            f"the name of a signal must have at most {_LONGEST_NAME} characters to be"
            f" sent by an outbox, got {len(event.name)}",
            "name",
        )
    return {
        "id": event.id,
        "type": event.name,
        "key": _key_of(event),
        "event": event.body.decode(),
        "made_at": time.time(),
    }


def _transaction_of(found: t.Any) -> Session | Connection:
    """Return the user's session or connection; check that it is in a transaction."""
    # flask_sqlalchemy's is a scoped_session, and an AsyncSession has a Session inside.
    session = found
    if not isinstance(session, Session | Connection):
        session = getattr(found, "sync_session", None) or getattr(
            found, "sync_connection", None
        )
        if session is None and callable(found):
            session = found()
    if not isinstance(session, Session | Connection):
        raise OutboxError(
            "session_of must return a session or a connection of SQLAlchemy, got"
            f" {found!r}"
        )
    if not session.in_transaction():
        raise OutboxError(
            "an event of the outbox is sent with the transaction that it reports, and"
            " none is open; send the signal after the first change and before the"
            " commit"
        )
    engine = session.get_bind() if isinstance(session, Session) else session
    if engine.dialect.is_async and not _is_awaited():
        raise OutboxError(
            "an AsyncSession writes only where it is awaited; send the signal in a"
            " function that is called by `await session.run_sync(function)`"
        )
    if _commits_each_statement(session):
        raise OutboxError(
            "the connection commits each statement by itself (AUTOCOMMIT), so that an"
            " event would be sent although what follows fails; use a transaction"
        )
    return session


def _commits_each_statement(session: Session | Connection) -> bool:
    found = session.connection() if isinstance(session, Session) else session
    option = found.get_execution_options().get("isolation_level")
    # The arguments of create_engine(); no public attribute has them.
    given = getattr(found.dialect, "_on_connect_isolation_level", None)
    return (option or given) == "AUTOCOMMIT"


def _is_awaited() -> bool:
    """Return whether an async engine can be used here, in code that awaits nothing."""
    from greenlet import getcurrent  # each async engine needs it

    current = getcurrent()
    # SQLAlchemy marks its own only in later versions.
    is_in_one = current.parent is not None
    return bool(getattr(current, "__sqlalchemy_greenlet_provider__", is_in_one))


def _key_of(event: WrittenEvent) -> str:
    """Return the key of events whose order is kept: their sender."""
    key = event.sender or ""
    if len(key) <= _LONGEST_NAME:
        return key
    return hashlib.sha256(key.encode()).hexdigest()


def _flask_session() -> t.Any:
    try:
        from flask import current_app
        from flask import has_app_context
    except ImportError as error:
        raise _no_session() from error
    has_app = has_app_context()
    extension = current_app.extensions.get("sqlalchemy") if has_app else None
    if extension is None:
        raise _no_session()
    return extension.session


def _no_session() -> OutboxError:
    return OutboxError(
        "there is no Flask-SQLAlchemy in the current application, so its session"
        " cannot be found; give Relay(…, session_of=…), which returns yours"
    )
