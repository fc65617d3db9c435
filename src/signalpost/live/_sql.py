"""Record statements and failures of databases, for the live page."""

from __future__ import annotations

import sys
from time import perf_counter
from typing import Any
from typing import Final

from ..exchange import Exchange
from ..lifecycle import sql_executed
from ..lifecycle import sql_failed
from ..receivers.locations import location_of
from ..receivers.masking import shape_of
from ..receivers.statements import is_further_part
from ._events import Trace
from ._records import SQL
from ._writer import Writer

__all__ = ["SqlReceivers"]

# The statements of an exchange that are noted before they are counted.
_MOST_NOTED: Final = 100


class SqlReceivers:
    """Receive the signals of databases, for a recorder.

    No application sends them, so those of all engines of this process are recorded.

    :param recorder: The key of the recorder's data in an exchange's ``state``.
    :param writer: Writes the file of this process.
    :param has_waterfall: Whether events are kept.
    """

    def __init__(
        self, recorder: object, writer: Writer, *, has_waterfall: bool
    ) -> None:
        self._recorder = recorder
        self._writer = writer
        self._has_waterfall = has_waterfall

    def connect(self) -> None:
        """Record from now on, until :meth:`disconnect`."""
        sql_executed.connect(self.executed, weak=False)
        if self._has_waterfall:
            sql_failed.connect(self.failed, weak=False)

    def disconnect(self) -> None:
        """Stop recording."""
        sql_executed.disconnect(self.executed)
        sql_failed.disconnect(self.failed)

    def executed(
        self,
        sender: object,
        *,
        statement: str,
        duration_seconds: float,
        exception: BaseException | None,
        exchange: Exchange | None,
    ) -> None:
        """Count a statement, and keep it with its time and place."""
        is_failed = exception is not None
        if exchange is None:
            shape = shape_of(statement, sender)
            self._writer.execute(shape, duration_seconds, is_failed=is_failed)
            return
        state = exchange._state
        trace: Trace | None = None if state is None else state.get(self._recorder)
        # It may be of another application in this process.
        if trace is None:
            return
        shape = shape_of(statement, sender)
        details = trace.details or trace.detailed()
        if self._has_waterfall:
            # As trace.takes_one(), but without a call for each statement.
            if trace.room > 0:
                trace.room -= 1
                at = perf_counter() - duration_seconds
                # The frames above are the engine's, and each takes time.
                place = location_of(sys._getframe(3))  # inspect reads files
                event = SQL, shape, at, duration_seconds, place, is_failed
                details.events.append(event)
            else:
                details.left_out += 1
        # SQLAlchemy splits an INSERT of many rows, which the application sent once.
        if not is_further_part.get():
            statements = details.statements
            statements.append((shape, duration_seconds, is_failed))
            if len(statements) >= _MOST_NOTED:
                details.count_statements()

    def failed(
        self,
        sender: object,
        *,
        operation: str,
        statement: str | None,
        exchange: Exchange | None,
    ) -> None:
        """Keep that a commit, a connect or a fetch failed; it is not a statement."""
        state: Any = None if exchange is None else exchange._state
        trace: Trace | None = None if state is None else state.get(self._recorder)
        if trace is None:
            return
        name = f"<{operation}>"
        if statement is not None:
            name = f"{name} {shape_of(statement, sender)}"
        place = location_of(sys._getframe(1))  # inspect reads files
        trace.add(SQL, name, perf_counter(), None, place, is_failed=True)
