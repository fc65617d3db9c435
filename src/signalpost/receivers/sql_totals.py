"""Count the statements of a request, and sum their durations."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import ClassVar

from ..exchange import Exchange

__all__ = ["SqlTotals", "SqlTotalsCounter", "count_sql", "sql_totals"]


@dataclass(slots=True)
class SqlTotals:
    """The totals of the database for one exchange; from :func:`sql_totals`.

    .. versionadded:: 0.1
    """

    count: int = 0
    """How many statements there were, failed ones included."""
    duration_seconds: float = 0.0
    """How long the driver took for all of them."""
    failed: int = 0
    """The number of failures: of statements, and of other operations such as a commit
    (:data:`~signalpost.lifecycle.sql_failed`)."""
    _counter: object = field(default=None, repr=False, compare=False)


class SqlTotalsCounter:
    """Add up the statements of each exchange; connect it to ``sql-executed``.

    ::

        sql_executed.connect(count_sql)
        sql_failed.connect(count_sql.failed)

    :func:`sql_totals` then returns them, and
    :class:`~signalpost.receivers.latency.LatencyLogger` shows them on its line. If
    several are connected, each exchange is counted by the one that is called first.

    .. versionadded:: 0.1
    """

    signals: ClassVar[Mapping[str, str]] = {
        "sql-executed": "__call__",
        "sql-failed": "failed",
    }
    """The method for each signal."""

    def __call__(
        self,
        sender: object,
        *,
        duration_seconds: float,
        exception: BaseException | None = None,
        exchange: Exchange | None,
    ) -> None:
        """Add a statement to the totals of its exchange."""
        if exchange is None:
            return
        # The threads of one exchange share its totals.
        with _lock:
            totals = self._totals_of(exchange)
            if totals is not None:
                totals.count += 1
                totals.duration_seconds += duration_seconds
                totals.failed += exception is not None

    def failed(self, sender: object, *, exchange: Exchange | None) -> None:
        """Add a failure without a statement to the totals of its exchange."""
        if exchange is None:
            return
        with _lock:
            totals = self._totals_of(exchange)
            if totals is not None:
                totals.failed += 1

    def _totals_of(self, exchange: Exchange) -> SqlTotals | None:
        """Return the totals of an exchange, unless another one counts it."""
        totals: SqlTotals | None = exchange.state.get(_KEY)
        if totals is None:
            totals = exchange.state[_KEY] = SqlTotals(_counter=self)
        return totals if totals._counter is self else None  # ours


count_sql: SqlTotalsCounter = SqlTotalsCounter()
"""A :class:`SqlTotalsCounter`, ready to connect.

.. versionadded:: 0.1
"""


def sql_totals(exchange: Exchange) -> SqlTotals | None:
    """Return the totals of the statements of an exchange, so far.

    :param exchange: The exchange; it may be closed.
    :returns: The totals; ``None`` if it has none, or no :class:`SqlTotalsCounter` is
        connected.

    .. versionadded:: 0.1
    """
    # Not by exchange.state, which would make a dict for each exchange without any.
    return None if exchange._state is None else exchange._state.get(_KEY)


_KEY = "signalpost.sql"

# Re-entrant: a finaliser that runs within may execute a statement.
_lock = threading.RLock()
