"""The signals of transactions and connections."""

from __future__ import annotations

from ..._engine.namespace import Namespace
from ..._engine.signal import NamedSignal

catalogue: Namespace = Namespace()
"""The signals of engines by their names, as in ``catalogue["savepoint-setting"]``.

.. versionadded:: 0.1
"""

connection_checked_out: NamedSignal = catalogue.signal(
    "connection-checked-out",
    "A connection was taken from its pool.",
    payload=("waited_seconds", "exchange"),
)
"""A connection was taken from its pool.

*Sender*: the engine, as for :data:`~signalpost.lifecycle.sql_executed`.

*Sent when*: ``engine.connect()`` or a session has got a driver's connection. Not sent
for ``engine.raw_connection()``, for a new connection after the old one was lost, or if
no connection was free in time.

*Payload*:

- ``waited_seconds``: how long the pool took: to wait until a connection was given back,
  to open a new one, and to test it. ``None`` for the first connection of an engine, if
  all engines are instrumented and not this one alone.
- ``exchange``: as for :data:`~signalpost.lifecycle.sql_executed`.

.. versionadded:: 0.1
"""

connection_checked_in: NamedSignal = catalogue.signal(
    "connection-checked-in",
    "A connection is given back to its pool.",
    payload=("held_seconds", "exchange"),
)
"""A connection is given back to its pool, or was lost.

*Sender*: the engine, as for :data:`~signalpost.lifecycle.sql_executed`.

*Sent when*: a connection of :data:`connection_checked_out` is returned, just before
others can take it. Not sent for a connection that is detached from its pool. A
``StaticPool`` has one connection for all callers: there it is sent only for the last
caller.

*Payload*:

- ``held_seconds``: how long it was checked out.
- ``exchange``: as for :data:`~signalpost.lifecycle.sql_executed`.

.. versionadded:: 0.1
"""

transaction_beginning: NamedSignal = catalogue.signal(
    "transaction-beginning", "A transaction begins.", payload=("exchange",)
)
"""A transaction begins, by itself before the first statement or by a call.

*Sender*: the engine, as for :data:`~signalpost.lifecycle.sql_executed`.

*Sent when*: SQLAlchemy marks the beginning. Most drivers report it to the
database only with the first statement.

*Payload*: ``exchange``, as for :data:`~signalpost.lifecycle.sql_executed`.

.. versionadded:: 0.1
"""

transaction_committing: NamedSignal = catalogue.signal(
    "transaction-committing",
    "A transaction is about to be committed.",
    payload=("exchange",),
)
"""A transaction is about to be committed. SQLAlchemy has no event after it.

*Sender*: the engine, as for :data:`~signalpost.lifecycle.sql_executed`.

*Sent when*: just before the driver commits, which may still fail.

*Payload*: ``exchange``, as for :data:`~signalpost.lifecycle.sql_executed`.

.. versionadded:: 0.1
"""

transaction_rolling_back: NamedSignal = catalogue.signal(
    "transaction-rolling-back",
    "A transaction is about to be rolled back.",
    payload=("exchange",),
)
"""A transaction is about to be rolled back: by the application, or because its
connection was closed without a commit.

*Sender*: the engine, as for :data:`~signalpost.lifecycle.sql_executed`.

*Sent when*: just before the driver rolls back.

*Payload*: ``exchange``, as for :data:`~signalpost.lifecycle.sql_executed`.

.. versionadded:: 0.1
"""

savepoint_setting: NamedSignal = catalogue.signal(
    "savepoint-setting", "A savepoint is about to be set.", payload=("exchange",)
)
"""A savepoint is about to be set, for example by ``begin_nested()``.

*Sender*: the engine, as for :data:`~signalpost.lifecycle.sql_executed`.

*Sent when*: just before the statement, which is sent as
:data:`~signalpost.lifecycle.sql_executed`.

*Payload*: ``exchange``, as for :data:`~signalpost.lifecycle.sql_executed`. The
savepoint has no name yet.

.. versionadded:: 0.1
"""

savepoint_releasing: NamedSignal = catalogue.signal(
    "savepoint-releasing",
    "A savepoint is about to be released.",
    payload=("name", "exchange"),
)
"""A savepoint is about to be released: changes since then stay.

*Sender*: the engine, as for :data:`~signalpost.lifecycle.sql_executed`.

*Sent when*: just before the statement, which is sent as
:data:`~signalpost.lifecycle.sql_executed`.

*Payload*:

- ``name``: the savepoint's.
- ``exchange``: as for :data:`~signalpost.lifecycle.sql_executed`.

.. versionadded:: 0.1
"""

savepoint_rolling_back: NamedSignal = catalogue.signal(
    "savepoint-rolling-back",
    "Changes since a savepoint are about to be undone.",
    payload=("name", "exchange"),
)
"""Everything since a savepoint is about to be rolled back.

*Sender*: the engine, as for :data:`~signalpost.lifecycle.sql_executed`.

*Sent when*: just before the statement, which is sent as
:data:`~signalpost.lifecycle.sql_executed`.

*Payload*:

- ``name``: the savepoint's.
- ``exchange``: as for :data:`~signalpost.lifecycle.sql_executed`.

.. versionadded:: 0.1
"""
