"""The listener, which sends forwarded signals again in this process."""

from __future__ import annotations

import re
import signal as signals_of_system
import threading
import time
import traceback
import typing as t
import weakref
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextlib import contextmanager
from contextlib import nullcontext

from ..._engine.delivery import AsyncWrapper
from ..._engine.signal import NamedSignal
from ..._options import checked_whole_number
from ..._relaying import relay_buried
from ..._relaying import relay_received
from ...errors import EventError
from ...errors import ReceiverError
from ...errors import RelayError
from ._again import is_sent_by_us
from ._again import send_again
from ._again import Signals
from ._event import Event
from ._event import read
from ._relay import Relay
from ._sends import after_fork
from ._sends import log
from ._transport import Address
from ._transport import Message
from ._transport import opened
from ._transport import Transport
from ._transport import Why
from ._values import Codec
from ._values import Codecs

__all__ = ["Listener", "running_listeners"]

_WAIT_SECONDS: t.Final = 1.0
_FIRST_PAUSE_SECONDS: t.Final = 0.2
_LONGEST_PAUSE_SECONDS: t.Final = 5.0
_LONGEST_DELAY_SECONDS: t.Final = 60.0
# Events that a killed worker did not acknowledge are received twice.
_ACKNOWLEDGE_SECONDS: t.Final = 0.05
_ACKNOWLEDGE_MOST: t.Final = 50
_LONGEST_REASON: t.Final = 1000
_LONGEST_TRACEBACK: t.Final = 20_000

_is_group = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}").fullmatch

Around: t.TypeAlias = Callable[[], AbstractContextManager[object]]


class Listener:
    """Receives events of a broker, and sends their signals again in this process.

    ::

        Listener("redis://broker/0", group="shipping", signals=[order_placed]).run()

    The listeners of a group share the events; each group gets all of them. An event
    whose receivers have failed is tried again after 1, 2, 4 … seconds, and becomes a
    dead letter of the group after ``max_tries``. An event that cannot be read becomes a
    dead letter at once. Receivers may be called twice for an event, for instance after
    a power cut: then ``current_event().id`` is the same.

    :param url: The URL of the broker, as for :class:`Relay`.
    :param group: The name of the group.
    :param signals: The signals, with a name and a declared payload; receivers are
        connected to each of them.
    :param max_tries: How often an event is tried.
    :param dedupe: The number of events that are remembered, so that a repeated event is
        not received again; 0 for none.
    :param codecs: Codecs for your own types, by type.
    :param prefix: The prefix of the names of streams and queues in the broker.
    :param retry_seconds: The pause before the second try; it doubles with each try.
    :param around: Returns a context manager for the receivers of one event, as
        ``app.app_context``.
    :param async_wrapper: Converts an async receiver into a function.
    :raises ValueError: If an argument is invalid.
    :raises ImportError: If the package for such a URL is not installed.

    .. versionadded:: 0.1
    """

    group: str
    """The name of the group."""
    received: int = 0
    """How many events were received."""
    repeated: int = 0
    """How many events were received again and skipped."""
    failed: int = 0
    """How many tries have failed."""
    buried: int = 0
    """How many events became dead letters."""

    def __init__(  # noqa: PLR0913  # options, by keyword
        self,
        url: str,
        *,
        group: str,
        signals: Iterable[NamedSignal],
        max_tries: int = 5,
        dedupe: int = 10_000,
        codecs: Mapping[type[t.Any], Codec] | None = None,
        prefix: str = "signalpost",
        retry_seconds: float = 1.0,
        around: Around = nullcontext,
        async_wrapper: AsyncWrapper | None = None,
    ) -> None:
        _check_options(group, max_tries, dedupe, retry_seconds)
        self.group = group
        self._signals = Signals(signals)
        if not self._signals:
            raise ValueError("signals must have at least one signal, got none")
        self._max_tries = max_tries
        self._codecs = Codecs(codecs)
        self._retry_seconds = retry_seconds
        self._around = around
        self._async_wrapper = async_wrapper
        self._address = Address(url, prefix)
        self._transport: Transport = opened(self._address)
        # One call at a time; the thread that renews makes some.
        self._calling = threading.Lock()
        # No event of threading: a handler of the system's signals must not set one.
        self._is_stopping = False
        self._remembered = _Remembered(dedupe)
        self._open: list[Message] = []
        self._done: list[Message] = []
        self._acknowledge_at = 0.0
        self._is_away = False
        after_fork(self, Listener._forget)

    def __repr__(self) -> str:
        return f"<Listener of {self.group!r} for {', '.join(self._signals)}>"

    def stop(self) -> None:
        """Make :meth:`run` return as soon as the running receivers have returned.

        May be called from any thread, and from a handler of a signal of the system. If
        it does not run yet, its next call returns at once.
        """
        self._is_stopping = True

    def run(self) -> None:
        """Receive events until :meth:`stop`.

        In the main thread, SIGTERM and SIGINT stop it, too; a second signal interrupts
        the running receivers. It waits for a broker that cannot be reached.

        :raises ReceiverError: If a signal has no receiver in this process.
        """
        self._check_receivers()
        try:
            with self._stopped_by_system(), self._renewing():
                self._run()
        finally:
            # Not at the beginning: it may have been stopped before its thread began.
            self._is_stopping = False

    def _run(self) -> None:
        _running.add(self)
        try:
            self._loop()
        finally:
            _running.discard(self)
            with self._calling:
                self._transport.close()

    def _forget(self) -> None:
        """Leave the connection to the parent, in a forked child."""
        self._transport.forget()

    def _check_receivers(self) -> None:
        for signal in self._signals.values():
            if all(_is_forwarder(one.receiver) for one in signal.connections):
                raise ReceiverError(
                    f"no receiver is connected to {signal.name!r} here, so its events"
                    " would be lost; import the modules that connect them first",
                    signal,
                )

    def _loop(self) -> None:
        pause_seconds = _FIRST_PAUSE_SECONDS
        is_subscribed = False
        while not self._is_stopping:
            try:
                if not is_subscribed:
                    with self._calling:
                        self._transport.subscribe(self.group, [*self._signals])
                    is_subscribed = True
                with self._calling:
                    messages = self._transport.receive(_WAIT_SECONDS)
                self._note_back()
                pause_seconds = _FIRST_PAUSE_SECONDS
                self._take(messages)
            except RelayError as error:
                is_subscribed = False
                self._open, self._done = [], []
                if not self._is_away:
                    log.error("relay: %s; waiting for it", error)
                self._is_away = True
                self._pause(pause_seconds)
                pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._is_stopping and time.monotonic() < end:
            time.sleep(0.05)

    def _note_back(self) -> None:
        if self._is_away:
            log.warning("relay: the broker at %s is back", self._address.shown)
            self._is_away = False

    def _take(self, messages: Sequence[Message]) -> None:
        """Receive the events that have arrived; return the rest when it stops."""
        self._open = [*messages]
        for message in messages:
            if self._is_stopping:
                break
            self._take_one(message)
            now = time.monotonic()
            if now >= self._acknowledge_at or len(self._done) >= _ACKNOWLEDGE_MOST:
                self._acknowledge()
        self._acknowledge()

    def _acknowledge(self) -> None:
        done, self._done = self._done, []
        self._acknowledge_at = time.monotonic() + _ACKNOWLEDGE_SECONDS
        if done:
            with self._calling:
                self._transport.done(done)
            gone = set(map(id, done))
            self._open = [one for one in self._open if id(one) not in gone]

    def _take_one(self, message: Message) -> None:
        try:
            event = self._event_in(message)
            if event is None:
                self.repeated += 1
                self._done.append(message)
                return
            signal, payload = self._signals.fit(event)
        except EventError as error:
            reason = _encodable(str(error)[:_LONGEST_REASON])
            self._bury(message, None, Why(reason, message.tries))
            return
        failure = self._send(signal, event, payload)
        if failure is None:
            self.received += 1
            self._remembered.add((event.source, event.id))
            self._done.append(message)
            return
        self.failed += 1
        if message.tries >= self._max_tries:
            self._bury(message, event, _why(failure, message.tries))
        else:
            self._try_again(message)

    def _event_in(self, message: Message) -> Event | None:
        """Return the event of a message; ``None`` if it is not to be received again.

        :raises EventError: If there is none, or no worker could finish with it.
        """
        if message.tries > self._max_tries:
            raise EventError(
                f"it was handed out {message.tries - 1} times, and no worker has"
                " finished with it; its receivers may end the process"
            )
        event = read(message.body, self._codecs, message.tries)
        if (event.source, event.id) in self._remembered or is_sent_by_us(event):
            return None
        return event

    def _send(
        self, signal: NamedSignal, event: Event, payload: dict[str, t.Any]
    ) -> Exception | None:
        start = time.perf_counter()
        try:
            with self._around():
                error = send_again(signal, event, payload, self._async_wrapper)
        # From a strict receiver, or from the context of ``around``.
        except Exception as raised:  # noqa: BLE001
            log.exception("relay: event %s of %r has failed", event.id, event.name)
            error = raised
        if relay_received.receivers:
            relay_received.send_robust(
                self,
                event=event,
                duration_seconds=time.perf_counter() - start,
                exception=error,
            )
        return error

    def _try_again(self, message: Message) -> None:
        seconds = min(
            self._retry_seconds * 2 ** (message.tries - 1), _LONGEST_DELAY_SECONDS
        )
        with self._calling:
            self._transport.again(message, seconds)
            # Within: to renew it now would undo that.
            self._open.remove(message)

    def _bury(self, message: Message, event: Event | None, why: Why) -> None:
        with self._calling:
            self._transport.bury(message, why)
        self._open.remove(message)
        self.buried += 1
        log.error(
            "relay: an event is a dead letter of the group %r, at try %d: %s",
            self.group,
            why.tries,
            why.reason,
        )
        if relay_buried.receivers:
            relay_buried.send_robust(self, event=event, body=message.body, why=why)

    @contextmanager
    def _renewing(self) -> Iterator[None]:
        """Renew what is open while receivers run."""
        if self._transport.renew_seconds is None:
            yield
            return
        ended = threading.Event()
        arguments = (ended, self._transport.renew_seconds)
        thread = threading.Thread(
            target=self._renew, args=arguments, name="signalpost-renewal", daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _renew(self, ended: threading.Event, seconds: float) -> None:
        while not ended.wait(seconds):
            try:
                with self._calling:
                    messages = [*self._open]
                    if messages:
                        self._transport.renew(messages)
            except RelayError:
                # The main thread will find and log it.
                continue

    @contextmanager
    def _stopped_by_system(self) -> Iterator[None]:
        """Stop at SIGTERM and SIGINT, if this is the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {
            number: signals_of_system.signal(number, self._note_system)
            for number in (signals_of_system.SIGTERM, signals_of_system.SIGINT)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signals_of_system.signal(number, handler)

    def _note_system(self, number: int, frame: object) -> None:
        if self._is_stopping:
            raise KeyboardInterrupt
        self.stop()


_running: weakref.WeakSet[Listener] = weakref.WeakSet()


def running_listeners() -> list[Listener]:
    """Return the listeners that run in this process."""
    return [*_running]


def _is_forwarder(receiver: object) -> bool:
    return isinstance(getattr(receiver, "relay", None), Relay)


def _why(error: Exception, tries: int) -> Why:
    # Also for an error whose text cannot be made.
    reason = " ".join("".join(traceback.format_exception_only(error)).split())
    text = "".join(traceback.format_exception(error))
    # The end has the innermost line.
    return Why(
        _encodable(reason[:_LONGEST_REASON]),
        tries,
        _encodable(text[-_LONGEST_TRACEBACK:]),
    )


def _encodable(text: str) -> str:
    """Return text that each broker can hold, with escapes for lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


class _Remembered:
    """The latest events that were received."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._keys: dict[tuple[str, str], None] = {}

    def __contains__(self, key: tuple[str, str]) -> bool:
        return key in self._keys

    def add(self, key: tuple[str, str]) -> None:
        """Store the id of an event, and drop the oldest one above the limit."""
        if self._most:
            self._keys[key] = None
            if len(self._keys) > self._most:
                del self._keys[next(iter(self._keys))]


def _check_options(
    group: object, max_tries: object, dedupe: object, retry_seconds: object
) -> None:
    if not isinstance(group, str) or not _is_group(group):
        raise ValueError(
            "group must be a name of 1 to 100 letters, digits, '.', '_' and '-', got"
            f" {group!r}"
        )
    checked_whole_number("max_tries", max_tries, "write 5")
    checked_whole_number("dedupe", dedupe, "write 0 to keep no ids", least=0)
    if not isinstance(retry_seconds, (int, float)) or not 0 < retry_seconds < 3600:
        raise ValueError(
            f"retry_seconds must be a positive number, got {retry_seconds!r}"
        )
