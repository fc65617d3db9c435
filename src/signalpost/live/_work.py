"""Record units of work, for the live page."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from .._engine.signal import NamedSignal
from ..lifecycle import work_finished
from ..lifecycle import work_started
from ..work import Work
from ._events import record
from ._events import seconds_of
from ._failures import failure_of
from ._failures import traceback_text
from ._records import EXCEPTION
from ._text import fit
from ._text import LONGEST_ROUTE
from ._writer import Writer

__all__ = ["WorkReceivers"]

_FAILED = ("error", "lost")


class WorkReceivers:
    """Receive the signals of units of work, for a recorder.

    :param recorder: The key of the recorder's data in an exchange's ``state``.
    :param writer: Writes the file of this process.
    :param with_messages: Whether messages of exceptions are kept.
    :param has_waterfall: Whether events are kept.
    """

    def __init__(
        self,
        recorder: object,
        writer: Writer,
        *,
        with_messages: bool,
        has_waterfall: bool,
    ) -> None:
        self._recorder = recorder
        self._writer = writer
        self._with_messages = with_messages
        self._has_waterfall = has_waterfall

    def connections(self) -> list[tuple[NamedSignal, Any]]:
        """Return the signals, each with its receiver."""
        return [(work_started, self.started), (work_finished, self.finished)]

    def started(self, sender: object, *, exchange: Work) -> None:
        """Write that it is in flight."""
        name = fit(exchange.name, LONGEST_ROUTE)
        trace = self._writer.open_work(exchange.started_at, name)
        trace.route, trace.response_seconds = name, None
        exchange.state[self._recorder] = trace

    def finished(self, sender: object, *, exchange: Work) -> None:
        """Write that it has ended."""
        trace = exchange.state.get(self._recorder)
        if trace is None:
            # It was begun before this was connected.
            return
        outcome, exception = exchange.outcome, exchange.exception
        trace.is_failed = outcome in _FAILED
        trace.is_aborted = outcome == "aborted"
        traceback = None
        if trace.is_failed and exception is not None:
            traceback = self._note_failure(trace, exchange, exception)
        details = trace.details
        if details is not None and (details.statements or details.shapes is not None):
            details.sum_statements()
        record(exchange, trace, None)
        seconds = exchange.duration_seconds
        # A receiver may have set any value.
        known = seconds if type(seconds) is float else seconds_of(seconds) or 0.0
        self._writer.close_work(trace, known, traceback)

    def _note_failure(
        self, trace: Any, work: Work, exception: BaseException
    ) -> str | None:
        """Store its exception; return the traceback if the exception is new."""
        with_message = self._with_messages
        failure = failure_of(exception, "call", work, with_message=with_message)
        trace.fail(failure)
        if self._has_waterfall:
            now = perf_counter()
            trace.add(
                EXCEPTION, failure.exception, now, None, failure.place, is_failed=True
            )
        if self._writer.tops.has_failure(failure.fingerprint):
            return None
        return traceback_text(exception, with_message=with_message)
