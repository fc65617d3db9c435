"""The dispatcher: it publishes what is committed in an outbox."""

from __future__ import annotations

import random
import signal as signals_of_system
import threading
import time
import typing as t
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import closing
from contextlib import contextmanager

from sqlalchemy import Connection
from sqlalchemy import Engine
from sqlalchemy import MetaData
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import ProgrammingError

from ..._relaying import relay_delayed
from ..._relaying import relay_failed
from ..._relaying import relay_sent
from ...errors import OutboxError
from ...errors import RelayError
from ._event import WrittenEvent
from ._outbox_rows import check_tables
from ._outbox_rows import engine_of
from ._outbox_rows import OutboxRow
from ._outbox_rows import OutboxRows
from ._sends import after_fork
from ._sends import log
from ._table import OutboxTable
from ._transport import Address
from ._transport import EventsRefusedError
from ._transport import opened
from ._transport import Transport

__all__ = ["Dispatcher"]

_MOST_SECONDS: t.Final = 30.0  # until an event that was refused is tried again
_AWAY_SECONDS: t.Final = 5.0  # until the next call of the broker or the database
_STOP_SECONDS: t.Final = 0.05  # until stop() is noticed


class Dispatcher:
    """Publish the events of an outbox, each once its transaction is committed.

    Events of one sender are published in order: while one cannot be published, later
    ones wait. Each is published at least once, and possibly twice if this process is
    killed before it has deleted the row. Several dispatchers may run at once.

    :param url: The broker, as ``"redis://broker/0"`` or ``"amqp://broker//"``.
    :param database: The URL of the database, or an engine.
    :param outbox: The outbox; the one with the default name unless given.
    :param prefix: The prefix of the names of streams, queues and exchanges.
    :param batch: How many events to publish at once.
    :param poll_seconds: How often to look for events when there were none.
    :param max_tries: The number of tries after which an event that the broker refuses
        is set aside, so that later events are published: then its ``next_at`` is
        ``NULL``. By default it is tried for ever. Tries while the broker is down do not
        count.
    :raises OutboxError: If the database cannot be used.

    .. versionadded:: 0.1
    """

    def __init__(  # noqa: PLR0913  # options, by keyword
        self,
        url: str,
        *,
        database: str | Engine,
        outbox: OutboxTable | None = None,
        prefix: str = "signalpost",
        batch: int = 100,
        poll_seconds: float = 0.2,
        max_tries: int | None = None,
    ) -> None:
        _check_positive(
            batch=batch,
            poll_seconds=poll_seconds,
            max_tries=1 if max_tries is None else max_tries,
        )
        self._owns_engine = not isinstance(database, Engine)
        self._engine = database if isinstance(database, Engine) else engine_of(database)
        self._table = outbox or OutboxTable(MetaData())
        self.source = self._table.events.name
        self._rows = OutboxRows(self._engine, self._table)
        self._transport: Transport = opened(Address(url, prefix))
        self._batch = self._most = batch
        self._poll_seconds = poll_seconds
        self._max_tries = max_tries
        # No event of threading: a handler of the system's signals must not set one.
        self._is_stopping = False
        self._is_away = False
        self._is_checked = False
        self.sent = 0
        after_fork(self, Dispatcher._forget)

    sent: int
    """How many events were published."""
    source: str
    """The name of the table; events themselves have the source of their relay."""

    def run(self) -> None:
        """Publish until :meth:`stop` is called.

        In the main thread, SIGTERM and SIGINT stop it, too. It waits for a broker or a
        database that is down.

        :raises OutboxError: If the outbox is not in the database, or if listeners read
            it without a broker.
        """
        try:
            with _stopped_by_system(self.stop), closing(self):
                self._run()
        finally:
            # Not at the beginning: it may have been stopped before its thread began.
            self._is_stopping = False

    def _run(self) -> None:
        wait_seconds = 0.0
        while not self._is_stopping_after(wait_seconds):
            try:
                published = self.dispatch()
            except ProgrammingError:
                raise
            except (RelayError, DBAPIError) as error:
                wait_seconds = min(wait_seconds * 2 or 0.1, _AWAY_SECONDS)
                self._note_away(error)
                continue
            self._note_back()
            # Not all at the same time, or two could always find the other's rows.
            wait_seconds = 0.0 if published else self._poll_seconds * _jitter()

    def stop(self) -> None:
        """End :meth:`run` once the events that it publishes now are published.

        May be called from a signal handler and from any thread. If it does not run yet,
        its next call returns at once.
        """
        self._is_stopping = True

    def dispatch(self) -> int:
        """Publish the events that are due, up to ``batch``.

        :returns: How many were published; ``0`` also while none of them can be.
        :raises RelayError: If the broker cannot be reached.
        :raises OutboxError: As :meth:`run` does.
        """
        if not self._is_checked:
            self._check()
            self._is_checked = True
        with self._rows.taken(self._most) as (connection, rows):
            if not rows:
                return 0
            try:
                self._transport.send([_event_of(row) for row in rows])
            except EventsRefusedError as error:
                rows = self._put_off_refused(connection, rows, error)
            except RelayError as error:
                self._find_cause(connection, rows, error)
                return 0
            if rows:
                self._rows.delete(connection, rows)
        self._most = min(self._most * 2, self._batch)
        self.sent += len(rows)
        if relay_sent.receivers:
            for row in rows:
                relay_sent.send_robust(self, event=_event_of(row))
        return len(rows)

    def waiting(self) -> tuple[int, float | None]:
        """Return how many events wait, and the age of the oldest in seconds.

        :returns: As ``(3, 12.5)``; ``(0, None)`` if there are none.
        """
        count, made_at = self._rows.count()
        return count, None if made_at is None else max(0.0, time.time() - made_at)

    def close(self) -> None:
        """Disconnect; :meth:`run` has done so when it returns."""
        self._transport.close()
        if self._owns_engine:
            self._engine.dispose()

    def _forget(self) -> None:
        """Leave the connection to the parent, in a forked child."""
        self._transport.forget()

    def _is_stopping_after(self, seconds: float) -> bool:
        """Wait, and return whether to stop."""
        end = time.monotonic() + seconds
        while not self._is_stopping:
            left = end - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(left, _STOP_SECONDS))
        return True

    def _check(self) -> None:
        check_tables(self._engine, self._table)
        if self._rows.has_groups():
            raise OutboxError(
                "listeners read this outbox themselves, without a broker, so its events"
                f" cannot be dispatched, too; stop them, and empty the table"
                f" {self._table.groups.fullname}"
            )

    def _find_cause(
        self, connection: Connection, rows: Sequence[OutboxRow], error: RelayError
    ) -> None:
        """Find out whether the broker or one event is why nothing was published.

        :raises RelayError: If it is the broker.
        """
        self._transport.check()
        if len(rows) > 1:
            # One by one, until the one that the broker does not take is found.
            self._most = 1
            return
        self._put_off(connection, rows[0], error)

    def _put_off_refused(
        self,
        connection: Connection,
        rows: Sequence[OutboxRow],
        error: EventsRefusedError,
    ) -> Sequence[OutboxRow]:
        """Delay the events that the broker has refused; return the others."""
        taken = []
        for index, row in enumerate(rows):
            if index in error.reasons:
                self._put_off(connection, row, RelayError(error.reasons[index]))
            else:
                taken.append(row)
        return taken

    def _put_off(
        self, connection: Connection, row: OutboxRow, error: RelayError
    ) -> None:
        """Try an event again later, or set it aside, as the broker refuses it."""
        tries = row.tries + 1
        if self._max_tries is not None and tries >= self._max_tries:
            log.error(
                "event %s of %r is set aside after %d tries: %s",
                row.id,
                row.type,
                tries,
                error,
            )
            self._rows.delay(connection, row, None, error)
            relay_failed.send_robust(self, event=_event_of(row), reason=str(error))
            return
        seconds = min(0.1 * 2 ** min(tries, 20), _MOST_SECONDS)
        log.warning(
            "event %s of %r could not be published (try %d): %s",
            row.id,
            row.type,
            tries,
            error,
        )
        self._rows.delay(connection, row, time.time() + seconds, error)

    def _note_away(self, error: Exception) -> None:
        reason = _shown(error)
        if not self._is_away:
            self._is_away = True
            log.warning("nothing can be published, trying again: %s", reason)
        if relay_delayed.receivers:
            relay_delayed.send_robust(self, waiting=None, reason=reason)

    def _note_back(self) -> None:
        if self._is_away:
            self._is_away = False
            log.warning("events are published again")


@contextmanager
def _stopped_by_system(stop: Callable[[], None]) -> Iterator[None]:
    """Stop at SIGTERM and SIGINT, if this is the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signals_of_system.signal(number, lambda *_: stop())
        for number in (signals_of_system.SIGTERM, signals_of_system.SIGINT)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signals_of_system.signal(number, handler)


def _event_of(row: OutboxRow) -> WrittenEvent:
    return WrittenEvent(row.id, row.type, row.key or None, row.event.encode())


def _jitter() -> float:
    return random.uniform(0.75, 1.25)  # noqa: S311 - nothing secret


def _shown(error: Exception) -> str:
    """Return one line without the statement, which holds the event."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return " ".join(f"{type(cause).__name__}: {cause}".split())[:300]


def _check_positive(**options: float) -> None:
    for name, value in options.items():
        if not value > 0:
            raise ValueError(f"{name} must be a positive number, got {value!r}")
