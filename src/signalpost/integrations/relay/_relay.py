"""The relay, which forwards signals to receivers in other processes."""

from __future__ import annotations

import typing as t
import weakref
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import replace

from ..._engine.identity import ANY
from ..._engine.signal import NamedSignal
from ..._options import checked_whole_number
from ..._relaying import open_relays
from ...exchange import current_exchange
from ...receivers.context import current_span_ids
from ...receivers.context import Recording
from ...receivers.context import request_context
from ._again import checked_signal
from ._again import current_event
from ._again import is_sent_again
from ._again import note_chain
from ._again import send_again
from ._again import Signals
from ._background import BackgroundSends
from ._event import is_text
from ._event import read
from ._event import traceparent_in
from ._event import Writer
from ._event import WrittenEvent
from ._sends import Counts
from ._sends import ImmediateSends
from ._sends import Sends
from ._transport import Address
from ._transport import opened
from ._values import Codec
from ._values import Codecs

if t.TYPE_CHECKING:
    from ._table import OutboxTable

__all__ = ["Relay", "Way"]

Way: t.TypeAlias = t.Literal["thread", "now", "outbox"]

_NOW_SECONDS: t.Final = 2.0


class Relay:
    """Forwards signals over a broker to receivers in other processes.

    ::

        relay = Relay("redis://broker/0", source="shop")
        relay.forward(order_placed)

    Receivers are called by a :class:`Listener`, in another process.

    :param url: The URL of the broker, with credentials and options: ``redis://…``,
        ``rediss://…``, ``unix://…``, ``amqp://…`` or ``amqps://…``. For tests,
        ``inline://``: each event is written and read at once, and its signal is sent
        again in the same thread.
    :param source: The name of this application in events.
    :param sends: When to send. ``"thread"``: a thread sends in the background, and
        ``send`` never waits for the broker. ``"now"``: ``send`` waits, for 2 seconds at
        most, and raises :exc:`~signalpost.errors.RelayError` if the broker has not
        taken the event. ``"outbox"``: the event becomes a row of a table, in the
        transaction of the caller, which ``signalpost relay dispatch`` sends.
    :param max_waiting: How many events may wait in this process; further ones are
        dropped, and counted.
    :param codecs: Codecs for your own types, by type.
    :param prefix: The prefix of the names of streams and queues in the broker.
    :param outbox: The table, for ``sends="outbox"``.
    :param session_of: Returns the current session, for ``sends="outbox"``.
    :raises ValueError: If an argument is invalid.
    :raises ImportError: If the package for such a URL is not installed.

    .. versionadded:: 0.1
    """

    source: str
    """The name of this application in events."""
    sends_later: bool
    """``True`` if events wait in this process until a thread sends them."""

    def __init__(  # noqa: PLR0913  # options, by keyword
        self,
        url: str | None = None,
        *,
        source: str,
        sends: Way = "thread",
        max_waiting: int = 10_000,
        codecs: Mapping[type[t.Any], Codec] | None = None,
        prefix: str = "signalpost",
        outbox: OutboxTable | None = None,
        session_of: Callable[[], t.Any] | None = None,
    ) -> None:
        self._codecs = Codecs(codecs)
        self._writer = Writer(source, self._codecs)
        self.source = source
        self._signals = Signals(())
        self._forwarders: dict[NamedSignal, Callable[..., None]] = {}
        self._counts = Counts(weakref.ref(self))
        if sends not in t.get_args(Way):
            raise ValueError(
                f"sends must be 'thread', 'now' or 'outbox', got {sends!r}"
            )
        if sends != "outbox" and not (outbox is None and session_of is None):
            raise ValueError("outbox and session_of are for sends='outbox' only")
        checked_whole_number("max_waiting", max_waiting, "write 10_000")
        address = None if url is None else Address(url, prefix)
        if address is not None and address.scheme == "inline":
            self._sends: Sends = _InlineSends(self._signals, self._codecs, self._counts)
        elif sends == "outbox":
            self._sends = _outbox_sends(address, outbox, session_of)
        else:
            self._sends = _sends_to(address, sends, self._counts, max_waiting)
        self._queue = self._sends if isinstance(self._sends, BackgroundSends) else None
        self.sends_later = self._queue is not None
        # Events have the ids of the requests that they are sent in.
        self._recording: Recording | None = Recording()
        open_relays.add(self)

    def __repr__(self) -> str:
        names = ", ".join(self._signals) or "nothing"
        return f"<Relay of {self.source!r}, forwards {names}>"

    def forward(
        self, *signals: NamedSignal, sender: t.Any = ANY, again: bool = False
    ) -> t.Self:
        """Forward the given signals from now on.

        The signal's ``send`` raises :exc:`~signalpost.errors.NotSendableError` if a
        value of the payload cannot be sent.

        A signal that a listener sends in this process is not forwarded again.

        :param signals: Signals with a name and a declared payload.
        :param sender: The sender; :data:`ANY` for all. Receivers in other processes get
            a name for it: a string itself, otherwise its ``name`` or the name of its
            class.
        :param again: Also forward a signal that was received from another process, to
            another broker. If it returns from there, it is ignored.
        :returns: The relay.
        :raises TypeError: If one is not a signal with a name.
        :raises PayloadError: If one does not declare its payload.
        """
        for signal in map(checked_signal, signals):
            self._signals.add(signal)
            if again:
                note_chain(self.source, signal.name)
            if signal not in self._forwarders:
                self._forwarders[signal] = self._forwarder(signal, again=again)
            signal.connect(self._forwarders[signal], sender, weak=False)
        return self

    def _forwarder(self, signal: NamedSignal, *, again: bool) -> Callable[..., None]:
        name = signal.name
        write = self._writer.write
        put = self._sends.put

        def forward(sender: object, /, **payload: object) -> None:
            if not again and is_sent_again(signal):
                return
            put(write(name, payload, _name_of(sender), _extensions()))

        forward.__name__ = forward.__qualname__ = f"forward to {self.source!r}"
        # Keeps the relay alive while it forwards; listeners recognise it by this.
        forward.relay = self  # type: ignore[attr-defined]
        return forward

    @property
    def waiting(self) -> int:
        """How many events wait in this process for the broker to take them."""
        return self._sends.waiting

    @property
    def oldest_seconds(self) -> float:
        """For how long the oldest of them has waited; 0 if none waits."""
        return self._sends.oldest_seconds

    @property
    def sent(self) -> int:
        """How many events the broker has taken from this process."""
        return self._counts.sent

    @property
    def dropped(self) -> int:
        """How many events of this process were given up; they are lost."""
        return self._counts.dropped

    @property
    def tries(self) -> int:
        """How often this process has called the broker to send."""
        return self._counts.tries

    @property
    def failures(self) -> int:
        """How many of these tries have failed."""
        return self._counts.failures

    def flush(self, seconds: float = 5.0) -> int:
        """Wait until the waiting events are sent.

        Call it before a process ends without the functions of :mod:`atexit`, as by
        :func:`os._exit`. The integrations of Celery and RQ do this.

        :param seconds: The maximum time.
        :returns: How many events still wait; they are not lost yet.
        """
        return 0 if self._queue is None else self._queue.flush(seconds)

    def close(self, seconds: float = 5.0) -> int:
        """Stop forwarding, and send the waiting events.

        This also happens when the process exits, for up to 2 seconds.

        :param seconds: The maximum time.
        :returns: How many events are left; they are lost.
        """
        for signal, forward in self._forwarders.items():
            signal.disconnect(forward)
        self._forwarders = {}
        self._recording = None
        open_relays.discard(self)
        return self._sends.close(seconds)


class _InlineSends:
    """Sends each signal again at once, in the same thread; for tests."""

    waiting: t.Final = 0
    oldest_seconds: t.Final = 0.0

    def __init__(self, signals: Signals, codecs: Codecs, counts: Counts) -> None:
        self._signals = signals
        self._codecs = codecs
        self._counts = counts

    def put(self, event: WrittenEvent) -> None:
        """Read an event, and send its signal again.

        :raises Exception: The exception of the first receiver that fails.
        """
        received = read(event.body, self._codecs)
        signal, payload = self._signals.fit(received)
        self._counts.note_try()
        error = send_again(signal, received, payload)
        if error is not None:
            raise error
        self._counts.note_sent([event])

    def close(self, seconds: float) -> int:
        """Do nothing, as nothing waits."""
        return 0


def _sends_to(
    address: Address | None, sends: Way, counts: Counts, max_waiting: int
) -> Sends:
    """Return the object that sends to a broker."""
    if address is None:
        raise ValueError(
            "url must be the URL of the broker, as 'redis://broker/0', got None; only"
            " sends='outbox' needs none"
        )
    opened(address)
    if sends == "thread":
        return BackgroundSends(address, counts, max_waiting)
    return ImmediateSends(replace(address, seconds=_NOW_SECONDS), counts)


def _outbox_sends(
    address: Address | None,
    outbox: OutboxTable | None,
    session_of: Callable[[], t.Any] | None,
) -> Sends:
    """Return the object that writes to the user's database."""
    if address is not None:
        raise ValueError(
            f"a relay with sends='outbox' needs no url, got {address.shown!r};"
            " `signalpost relay dispatch` sends to the broker"
        )
    from ._table import OutboxSends  # only where SQLAlchemy is

    return OutboxSends(outbox, session_of)


def _name_of(sender: object) -> str | None:
    """Return the name of a sender for receivers in other processes."""
    if sender is None or type(sender) is str:
        return sender
    if isinstance(sender, (str, int)):
        return str(sender)
    name = getattr(sender, "name", None)
    if isinstance(name, str) and is_text(name):
        return name
    named = sender if isinstance(sender, type) else type(sender)
    return f"{named.__module__}.{named.__qualname__}"


def _extensions() -> dict[str, str]:
    """Return the ids of the request and of the trace that the code runs in."""
    found = {}
    request_id = request_context().get("request_id")
    if request_id is not None:
        found["requestid"] = request_id
    traceparent = _traceparent()
    if traceparent is not None:
        found["traceparent"] = traceparent
    return found


def _traceparent() -> str | None:
    span = current_span_ids()
    if span is not None:
        return f"00-{span[0]}-{span[1]}-01"
    exchange = current_exchange()
    if exchange is not None:
        return traceparent_in(exchange.environ)
    event = current_event()
    return None if event is None else event.traceparent
