"""The sending of events in a thread, while the application continues."""

from __future__ import annotations

import queue
import threading
import time
import typing as t
from collections import deque

from ...errors import RelayError
from ._event import WrittenEvent
from ._sends import after_fork
from ._sends import Counts
from ._sends import log
from ._sends import Seldom
from ._transport import Address
from ._transport import EventsRefusedError
from ._transport import opened
from ._transport import Transport

__all__ = ["BackgroundSends"]

_BATCH: t.Final = 100
_GATHER_SECONDS: t.Final = 0.005
_FLUSH_SECONDS: t.Final = 0.002
_FIRST_PAUSE_SECONDS: t.Final = 0.2
_LONGEST_PAUSE_SECONDS: t.Final = 5.0

_Waiting: t.TypeAlias = tuple[float, WrittenEvent]


class _Queue:
    """The events that wait in one process, and the thread that sends them."""

    def __init__(self) -> None:
        # Written in C, so it is safe in finalisers and signal handlers, which may send.
        self.waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self.batch: list[_Waiting] = []
        # One for each event that the broker has not taken yet, wherever it is.
        self.unsent: deque[None] = deque()
        self.thread: threading.Thread | None = None
        self.transport: Transport | None = None
        # A finaliser may send or close while the thread is being started.
        self.starting = threading.RLock()
        self.closing = threading.Event()

    def __len__(self) -> int:
        return self.waiting.qsize() + len(self.batch)

    def disconnect(self) -> None:
        """Disconnect from the broker."""
        transport, self.transport = self.transport, None
        if transport is not None:
            transport.close()


class BackgroundSends:
    """A thread that sends events in batches, and retries until the broker has them.

    The thread starts with the first event of each process. The number of waiting events
    is bounded; further events are dropped and counted.

    :param address: The broker's address.
    :param counts: The counters of the relay.
    :param max_waiting: The largest number of events that may wait.
    """

    def __init__(self, address: Address, counts: Counts, max_waiting: int) -> None:
        self._address = address
        self._counts = counts
        self._max_waiting = max_waiting
        self._queue = _Queue()
        self._full = Seldom()
        self._unstarted = Seldom()
        self._refused = Seldom()
        self._is_away = False
        after_fork(self, BackgroundSends._start_over)

    @property
    def waiting(self) -> int:
        """Return the number of events that wait in this process."""
        return len(self._queue)

    @property
    def oldest_seconds(self) -> float:
        """Return how long the event that is sent next has waited, in seconds."""
        batch = self._queue.batch
        return time.monotonic() - batch[0][0] if batch else 0.0

    def put(self, event: WrittenEvent) -> None:
        """Queue an event; never wait for the broker or for another thread."""
        own = self._queue
        if own.waiting.qsize() + len(own.batch) >= self._max_waiting:
            self._drop(event)
            return
        own.unsent.append(None)
        own.waiting.put((time.monotonic(), event))
        if own.thread is None:
            self._start(own)

    def _drop(self, event: WrittenEvent) -> None:
        reason = f"{self._max_waiting} events wait already"
        self._counts.note_dropped(event, reason)
        if self._full.is_due():
            log.error(
                "relay: %s for the broker at %s; %d dropped so far",
                reason,
                self._address.shown,
                self._counts.dropped,
            )

    def _start(self, own: _Queue) -> None:
        # Only the first events of a process may wait here, for each other.
        with own.starting:
            if own.thread is not None:
                return
            thread = threading.Thread(
                target=self._run, args=(own,), name="signalpost-relay", daemon=True
            )
            # Set before the start: a thread that ends at once resets it.
            own.thread = thread
            try:
                thread.start()
            except RuntimeError as error:  # at the interpreter's end, or a limit
                own.thread = None
                if self._unstarted.is_due():
                    log.error("relay: events wait; no thread can be started: %s", error)

    def _run(self, own: _Queue) -> None:
        try:
            self._send_all(own)
        finally:
            own.disconnect()
            # After an unexpected end, the next event starts another thread.
            own.thread = None

    def _send_all(self, own: _Queue) -> None:
        pause_seconds = _FIRST_PAUSE_SECONDS
        while own is self._queue:
            if not own.batch and not self._fill(own):
                break
            count = len(own.batch)
            if self._send(own):
                for _ in range(count):
                    own.unsent.popleft()
                pause_seconds = _FIRST_PAUSE_SECONDS
                continue
            if own.closing.wait(pause_seconds):
                # Little time is left, so it tries often.
                time.sleep(_FIRST_PAUSE_SECONDS)
            pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)

    def _fill(self, own: _Queue) -> bool:
        """Take the events that wait, at least one; return whether there was any."""
        one = own.waiting.get()
        if one is not None:
            own.batch.append(one)
            if own.waiting.qsize() < _BATCH:
                # Other threads can send meanwhile without a switch for each event.
                time.sleep(_GATHER_SECONDS)
        while one is not None and len(own.batch) < _BATCH:
            try:
                one = own.waiting.get_nowait()
            except queue.Empty:
                break
            if one is not None:
                own.batch.append(one)
        if one is None and own.batch:
            own.waiting.put(None)  # for the next round, which is the last
        return bool(own.batch)

    def _send(self, own: _Queue) -> bool:
        """Send the batch; return whether there is no need to send it again."""
        events = [event for _, event in own.batch]
        self._counts.note_try()
        try:
            if own.transport is None:
                own.transport = opened(self._address)
            own.transport.send(events)
        except EventsRefusedError as error:
            self._set_aside(own, error)
            return True
        except RelayError as error:
            self._counts.note_failure()
            if not self._is_away:
                log.error("relay: %s; events wait until it is back", error)
            self._is_away = True
            self._counts.note_delayed(len(own), str(error))
            return False
        # It is not an error of the broker, so each other try would fail, too.
        except Exception as error:  # noqa: BLE001  # logged
            log.exception("relay: %d events cannot be sent", len(events))
            self._counts.note_failure()
            own.batch = []
            for event in events:
                self._counts.note_dropped(event, f"{type(error).__name__}: {error}")
            own.disconnect()
            return True
        self._note_back()
        own.batch = []
        self._counts.note_sent(events)
        return True

    def _set_aside(self, own: _Queue, error: EventsRefusedError) -> None:
        """Drop the events that the broker never accepts, so that others continue."""
        self._note_back()
        self._counts.note_failure()
        batch, own.batch = own.batch, []
        if self._refused.is_due():
            log.error("relay: %s; they are dropped", error)
        taken = []
        for index, (_, event) in enumerate(batch):
            if index in error.reasons:
                self._counts.note_dropped(event, error.reasons[index])
            else:
                taken.append(event)
        self._counts.note_sent(taken)

    def _note_back(self) -> None:
        if self._is_away:
            log.warning("relay: the broker at %s is back", self._address.shown)
        self._is_away = False

    def flush(self, seconds: float) -> int:
        """Wait until the events are sent; return how many still wait."""
        own = self._queue
        end = time.monotonic() + seconds
        if own.unsent and own.thread is None:
            self._start(own)
        while own.unsent and own is self._queue and time.monotonic() < end:
            time.sleep(_FLUSH_SECONDS)
        return len(own.unsent)

    def close(self, seconds: float) -> int:
        """Send the waiting events in ``seconds`` at most; return how many are left."""
        own = self._queue
        with own.starting:  # else it might not be started yet
            thread = own.thread
        if thread is None:
            return self._give_up(own)
        own.closing.set()
        own.waiting.put(None)
        thread.join(seconds)
        # A thread that still runs ends at its next loop. An event that comes now starts
        # another one.
        self._queue = _Queue()
        return self._give_up(own) if thread.is_alive() or own.batch else 0

    def _give_up(self, own: _Queue) -> int:
        left = [*own.batch]
        while True:
            try:
                one = own.waiting.get_nowait()
            except queue.Empty:
                break
            if one is not None:
                left.append(one)
        for _, event in left:
            self._counts.note_dropped(event, "the relay was closed")
        if left:
            log.error(
                "relay: closed with %d events that the broker at %s has not taken",
                len(left),
                self._address.shown,
            )
        return len(left)

    def _start_over(self) -> None:
        """Drop the parent's events in a forked child, because the parent sends them."""
        transport = self._queue.transport
        if transport is not None:
            transport.forget()
        self._queue = _Queue()
        self._is_away = False
        self._counts.start_over()
