"""What a database says: the signals of statements, transactions and connections."""

from __future__ import annotations

from ..._engine.namespace import Namespace
from ..._engine.signal import NamedSignal

catalogue: Namespace = Namespace()
"""Every signal of this integration by its name, as in ``catalogue["sql-executed"]``.

.. versionadded:: 0.1
"""

sql_executed: NamedSignal = catalogue.signal(
    "sql-executed",
    "The database has executed a statement, or failed to.",
    payload=(
        "statement",
        "parameters",
        "parameters_count",
        "duration_seconds",
        "row_count",
        "is_executemany",
        "exception",
        "exchange",
    ),
)
"""The database has executed a statement, or failed to.

*Sender*: the :class:`~sqlalchemy.engine.Engine`. Of an ``AsyncEngine`` it is
``async_engine.sync_engine``; of what ``engine.execution_options()`` returns, the engine
that it was made from.

*Sent when*: once for each call of the driver, when it has returned or raised, in the
thread or task that made it. A large ``INSERT`` of many rows may be several statements,
each of which is sent. Not sent: what never got to the driver, as a statement with a
parameter missing; what the driver says by itself (``BEGIN``, ``COMMIT``); what is
executed on the driver's own connection.

*Payload*:

- ``statement``: the text that the driver got. Values are in it only where the
  application wrote them there.
- ``parameters``: what the driver got with it, or ``None`` unless that was asked for:
  see :func:`instrument`.
- ``parameters_count``: how many values the statement got; how many sets of them if
  ``is_executemany``.
- ``duration_seconds``: how long the driver took. Rows that are fetched later are not
  in it, whichever driver: some fetch all of them, others none.
- ``row_count``: the rows that the driver says it affected or, with some drivers, found;
  ``None`` if it does not say, or the statement failed.
- ``is_executemany``: whether it is a call of the driver's ``executemany``.
- ``exception``: what the application is about to get, or ``None``. Its text has the
  parameters in it, unless the engine was made with ``hide_parameters=True``.
- ``exchange``: the current :class:`~signalpost.exchange.Exchange`, or ``None``.

.. versionadded:: 0.1
"""

transaction_beginning: NamedSignal = catalogue.signal(
    "transaction-beginning", "A transaction begins.", payload=("exchange",)
)
"""A transaction begins, by itself before the first statement or when it is told to.

*Sender*: the engine, as for :data:`sql_executed`.

*Sent when*: SQLAlchemy marks the beginning. Most drivers tell the database only with
the first statement.

*Payload*: ``exchange``, as for :data:`sql_executed`.

.. versionadded:: 0.1
"""

transaction_committing: NamedSignal = catalogue.signal(
    "transaction-committing",
    "A transaction is about to be committed.",
    payload=("exchange",),
)
"""A transaction is about to be committed. SQLAlchemy offers no moment after it.

*Sender*: the engine, as for :data:`sql_executed`.

*Sent when*: just before the driver is told to commit, which may still fail.

*Payload*: ``exchange``, as for :data:`sql_executed`.

.. versionadded:: 0.1
"""

transaction_rolling_back: NamedSignal = catalogue.signal(
    "transaction-rolling-back",
    "A transaction is about to be rolled back.",
    payload=("exchange",),
)
"""A transaction is about to be rolled back: by the application, or as its connection
was closed without a commit.

*Sender*: the engine, as for :data:`sql_executed`.

*Sent when*: just before the driver is told to roll back.

*Payload*: ``exchange``, as for :data:`sql_executed`.

.. versionadded:: 0.1
"""

savepoint_setting: NamedSignal = catalogue.signal(
    "savepoint-setting", "A savepoint is about to be set.", payload=("exchange",)
)
"""A savepoint is about to be set, as by ``begin_nested()``.

*Sender*: the engine, as for :data:`sql_executed`.

*Sent when*: just before the statement, which is sent as :data:`sql_executed`.

*Payload*: ``exchange``, as for :data:`sql_executed`. It has no name yet.

.. versionadded:: 0.1
"""

savepoint_releasing: NamedSignal = catalogue.signal(
    "savepoint-releasing",
    "A savepoint is about to be released.",
    payload=("name", "exchange"),
)
"""A savepoint is about to be released: what was done since then stays.

*Sender*: the engine, as for :data:`sql_executed`.

*Sent when*: just before the statement, which is sent as :data:`sql_executed`.

*Payload*:

- ``name``: the savepoint's.
- ``exchange``: as for :data:`sql_executed`.

.. versionadded:: 0.1
"""

savepoint_rolling_back: NamedSignal = catalogue.signal(
    "savepoint-rolling-back",
    "What was done since a savepoint is about to be undone.",
    payload=("name", "exchange"),
)
"""What was done since a savepoint is about to be undone.

*Sender*: the engine, as for :data:`sql_executed`.

*Sent when*: just before the statement, which is sent as :data:`sql_executed`.

*Payload*:

- ``name``: the savepoint's.
- ``exchange``: as for :data:`sql_executed`.

.. versionadded:: 0.1
"""
