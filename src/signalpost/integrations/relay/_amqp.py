"""The transport for AMQP 0-9-1 with RabbitMQ: an exchange, and a queue a group."""

from __future__ import annotations

import datetime
import math
import typing as t
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl
from urllib.parse import urlsplit

import kombu
from amqp.exceptions import AMQPError
from amqp.exceptions import NotFound

from ...errors import RelayError
from ._amqp_connection import AmqpConnection
from ._amqp_connection import Outgoing
from ._amqp_groups import backlog_in
from ._amqp_groups import delete_queues
from ._amqp_groups import FIRST_DELAY_MS
from ._amqp_groups import retry_queue_of
from ._amqp_messages import body_of
from ._amqp_messages import BURIED_AT
from ._amqp_messages import headers_of
from ._amqp_messages import id_of
from ._amqp_messages import letter_of
from ._amqp_messages import number_in
from ._amqp_messages import REASON
from ._amqp_messages import RETURNS
from ._amqp_messages import TRACEBACK
from ._amqp_messages import TRIES
from ._amqp_messages import tries_in
from ._event import WrittenEvent
from ._sends import log
from ._transport import Address
from ._transport import Backlog
from ._transport import DeadLetter
from ._transport import Message
from ._transport import raise_no_group
from ._transport import reaching
from ._transport import Why

__all__ = ["AmqpTransport", "open_transport"]

OPTIONS: t.Final = {"prefetch": 16.0, "heartbeat": 30.0}
"""The options of a URL: ``prefetch``, the number of messages that a listener takes at
once, and ``heartbeat``, the seconds between the signs of life that each side sends."""

# A header must fit into one frame, which usually has 128 KiB.
MOST_REASON: t.Final = 1000
MOST_TRACEBACK: t.Final = 16_000


# py-amqp raises all but the first two on a connection that has just been lost.
_ERRORS = (AMQPError, OSError, RuntimeError, AttributeError, LookupError, ValueError)

_Result = t.TypeVar("_Result")
_Raw: t.TypeAlias = t.Any


@dataclass(frozen=True, slots=True)
class _Handle:
    """The place of a message on a channel."""

    channel: _Raw
    tag: int
    """The number that acknowledges it on this channel."""
    id: str
    headers: Mapping[str, t.Any]
    is_redelivered: bool
    """``True`` if it was delivered before, also on a connection that was lost."""


def open_transport(address: Address) -> AmqpTransport:
    """Return the transport of ``amqp://`` and ``amqps://``."""
    return AmqpTransport(address)


class AmqpTransport:
    """Send to a topic exchange, and receive from a queue for each group.

    With the prefix ``signalpost``, the group ``shipping`` has these queues, all of them
    durable: ``signalpost.shipping``, bound to the exchange ``signalpost`` by the name
    of each signal; ``signalpost.shipping.dead``; and ``signalpost.shipping.retry.4s``,
    made when it is first needed, in which failed messages wait for 4 seconds.

    The type of the first one is the default of the virtual host, classic or quorum. It
    is not always quorum: after a single node of RabbitMQ 3.10 was killed, a quorum
    queue may accept no more messages.
    """

    def __init__(self, address: Address) -> None:
        url, options = address.options(OPTIONS)
        _check_query(url)
        self._address = address
        self._prefetch = max(1, int(options["prefetch"]))
        self._heartbeat = max(1, int(options["heartbeat"]))
        self.renew_seconds: float | None = self._heartbeat / 3
        self._client = kombu.Connection(
            url,
            connect_timeout=address.seconds,
            transport_options={
                "read_timeout": address.seconds,
                "write_timeout": address.seconds,
            },
        )
        self._exchange = address.prefix
        self._connection: AmqpConnection | None = None
        self._has_exchange = False
        self._group = ""
        self._consuming: _Raw = None
        self._waiting: list[Message] = []
        self._is_first = False
        self._retry_queues: set[str] = set()
        self._letters: _Raw = None
        self._letter_tags: dict[str, int] = {}
        self._warned: set[str] = set()

    # Sending

    def send(self, events: Sequence[WrittenEvent]) -> None:
        """Publish events in order, and wait until the broker has confirmed them."""
        messages = [
            Outgoing(one.body, self._exchange, one.name, one.id) for one in events
        ]

        def publish(connection: AmqpConnection) -> list[str]:
            if not self._has_exchange:
                self._declare_exchange(connection.channel())
            return connection.publish(messages)

        was_connected = self._connection is not None
        try:
            unrouted = self._do(publish)
        except RelayError:
            # The broker may have been restarted since the connection was last used.
            if not was_connected:
                raise
            unrouted = self._do(publish)
        for type_ in set(unrouted) - self._warned:
            self._warned.add(type_)
            log.warning(
                "no group receives %r at %s, so it is lost; start a listener once,"
                " which creates the queue of its group",
                type_,
                self._address.shown,
            )

    # Receiving

    def subscribe(self, group: str, types: Sequence[str]) -> None:
        """Make the group's queues, and bind them to the exchange."""
        for type_ in types:
            _check_key(type_)
        if self._group != group:
            # A connection that only sends has no heartbeats: no thread would send them.
            self._drop()
        self._group = group
        self._do(lambda connection: self._declare(connection, types))

    def receive(self, seconds: float) -> Sequence[Message]:
        """Return the messages that have arrived; wait if there are none."""
        return self._do(lambda connection: self._receive(connection, seconds))

    def done(self, messages: Sequence[Message]) -> None:
        """Acknowledge messages."""

        def acknowledge(_connection: AmqpConnection) -> None:
            for one in messages:
                self._acknowledge(one)

        self._do(acknowledge)

    def again(self, message: Message, seconds: float) -> None:
        """Put a message into a queue that returns it after some time."""
        # Each delay has a queue: in a queue, only the first message can expire.
        ratio = max(seconds, 0.001) * 1000 / FIRST_DELAY_MS
        delay_ms = FIRST_DELAY_MS * 2 ** max(0, math.ceil(math.log2(ratio)))
        retry_queue = retry_queue_of(self._queue, delay_ms)

        def move(connection: AmqpConnection) -> None:
            if retry_queue not in self._retry_queues:
                self._declare_retry(connection, retry_queue, delay_ms)
            headers: dict[str, object] = {TRIES: message.tries}
            self._move(connection, message, retry_queue, headers)

        self._do(move)

    def bury(self, message: Message, why: Why) -> None:
        """Put a message into the group's queue of dead letters."""
        now = datetime.datetime.now(datetime.UTC)
        headers = {
            TRIES: why.tries,
            REASON: why.reason[:MOST_REASON],
            # The end has the name of the exception, so the beginning is cut.
            TRACEBACK: why.traceback[-MOST_TRACEBACK:],
            BURIED_AT: now.isoformat(),
        }
        self._do(
            lambda connection: self._move(
                connection, message, f"{self._queue}.dead", headers
            )
        )

    def renew(self, messages: Sequence[Message]) -> None:
        """Send a sign of life, so that the broker does not give messages to others."""
        if messages:
            self._do(AmqpConnection.beat)

    # Dead letters

    def dead(self, group: str) -> Iterator[DeadLetter]:
        """Yield the dead letters of a group; others cannot get them meanwhile."""
        self._do(lambda connection: self._open_letters(connection))
        while letter := self._do(lambda _connection: self._next_letter(group)):
            yield letter

    def retry(self, group: str, letter: DeadLetter) -> None:
        """Put a dead letter back into the group's queue."""
        queue = f"{self._exchange}.{group}"

        def move(connection: AmqpConnection) -> None:
            tag = self._letter_tags.pop(letter.id, None)
            if tag is not None:
                again = [Outgoing(letter.body, "", queue, letter.id)]
                _check_routed(connection.publish(again), queue)
                self._letters.basic_ack(tag)

        self._find(group, letter)
        self._do(move)

    def drop(self, group: str, letter: DeadLetter) -> None:
        """Acknowledge a dead letter."""

        def acknowledge(_connection: AmqpConnection) -> None:
            tag = self._letter_tags.pop(letter.id, None)
            if tag is not None:
                self._letters.basic_ack(tag)

        self._find(group, letter)
        self._do(acknowledge)

    # Groups

    def groups(self) -> Sequence[str]:
        """Return nothing: AMQP has no list of queues."""
        return ()

    def backlog(self, group: str) -> Backlog:
        """Return the numbers of messages in the queues of a group."""
        queue = f"{self._exchange}.{group}"
        found = self._do(lambda connection: backlog_in(connection, queue, group))
        return found or raise_no_group(self._address, group)

    def delete_group(self, group: str) -> None:
        """Delete the queues of a group."""
        queue = f"{self._exchange}.{group}"
        if not self._do(lambda connection: delete_queues(connection, queue)):
            raise_no_group(self._address, group)

    # The connection

    def check(self) -> Sequence[str]:
        """Return warnings about a broker that could lose events."""
        found = self._do(lambda connection: connection.raw.server_properties)
        product, version = str(found.get("product")), str(found.get("version"))
        if product != "RabbitMQ":
            return [f"{product} {version} is not RabbitMQ, which alone is tested"]
        return []

    def close(self) -> None:
        """Disconnect; the broker gives unfinished messages to others."""
        connection, self._connection = self._connection, None
        self._forget()
        if connection is not None:
            try:
                connection.close()
            except _ERRORS:
                connection.drop()

    def forget(self) -> None:
        """Drop the parent's connection in a forked child, without sending anything."""
        connection, self._connection = self._connection, None
        self._forget()
        if connection is not None:
            connection.forget()

    @property
    def _queue(self) -> str:
        return f"{self._exchange}.{self._group}"

    def _do(self, action: Callable[[AmqpConnection], _Result]) -> _Result:
        """Call a function with the connection; drop the connection on any error."""
        try:
            if self._connection is None:
                self._client.heartbeat = self._heartbeat if self._group else 0
                self._connection = AmqpConnection(self._client, self._address.seconds)
            return action(self._connection)
        except RelayError:
            self._drop()
            raise
        except _ERRORS as error:
            self._drop()
            self._client.maybe_switch_next()
            raise reaching(self._address, error) from error

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        self._forget()
        if connection is not None:
            connection.drop()

    def _forget(self) -> None:
        """Reset all state that belongs to one connection."""
        self._has_exchange = False
        self._consuming = self._letters = None
        self._waiting = []
        # They may be deleted before the next connection, so they are declared again.
        self._retry_queues = set()
        self._letter_tags = {}

    # Actions on a channel

    def _declare(self, connection: AmqpConnection, types: Sequence[str]) -> None:
        channel = connection.channel()
        self._declare_exchange(channel)
        dead = f"{self._queue}.dead"
        _declare_queue(channel, dead, _CLASSIC)
        # Quorum queues with a delivery limit need a queue of dead letters.
        _declare_queue(channel, self._queue, _to(dead))
        for type_ in types:
            channel.queue_bind(self._queue, self._exchange, type_)
        channel.basic_qos(0, self._prefetch, a_global=False)
        self._consuming = channel
        self._is_first = True

        def keep(raw: _Raw) -> None:
            handle = _Handle(
                channel,
                raw.delivery_tag,
                id_of(raw),
                headers_of(raw),
                bool(raw.delivery_info.get("redelivered")),
            )
            tries = tries_in(handle.headers)
            self._waiting.append(Message(body_of(raw), tries, handle))

        channel.basic_consume(self._queue, callback=keep)

    def _receive(self, connection: AmqpConnection, seconds: float) -> Sequence[Message]:
        if self._consuming is None:
            raise RelayError("subscribe() must be called first")
        connection.beat()
        # The first message may need several frames, or follow a heartbeat.
        while not self._waiting and connection.read_for(seconds):
            pass
        while len(self._waiting) < self._prefetch and connection.read_for(0):
            pass
        connection.check_broker_lives()
        if self._is_first and self._waiting:
            self._is_first = False
            self._set_back_suspect(connection)
        received, self._waiting = self._waiting, []
        return received

    def _declare_exchange(self, channel: _Raw) -> None:
        channel.exchange_declare(
            self._exchange, "topic", durable=True, auto_delete=False
        )
        self._has_exchange = True

    def _declare_retry(
        self, connection: AmqpConnection, retry_queue: str, delay_ms: int
    ) -> None:
        channel = connection.channel()
        delayed = {"x-message-ttl": delay_ms} | _CLASSIC
        _declare_queue(channel, retry_queue, _to(self._queue) | delayed)
        channel.close()
        self._retry_queues.add(retry_queue)

    def _move(
        self,
        connection: AmqpConnection,
        message: Message,
        queue: str,
        headers: dict[str, object],
    ) -> None:
        """Publish a copy, then acknowledge: so there may be two, but never none."""
        copy = Outgoing(message.body, "", queue, message.handle.id, headers)
        _check_routed(connection.publish([copy]), queue)
        self._acknowledge(message)

    def _acknowledge(self, message: Message) -> None:
        handle: _Handle = message.handle
        # On another channel, the same number belongs to another message.
        if handle.channel is self._consuming:
            handle.channel.basic_ack(handle.tag)

    def _set_back_suspect(self, connection: AmqpConnection) -> None:
        """Count that the first message was delivered again: it may end workers.

        A classic queue does not count deliveries, so a copy with the number is put at
        its end.
        """
        handle: _Handle = self._waiting[0].handle
        if not handle.is_redelivered or "x-delivery-count" in handle.headers:
            return
        number = number_in(handle.headers.get(RETURNS)) + 1
        tries = number_in(handle.headers.get(TRIES))
        headers: dict[str, object] = {TRIES: tries, RETURNS: number}
        self._move(connection, self._waiting.pop(0), self._queue, headers)

    def _open_letters(self, connection: AmqpConnection) -> None:
        if self._letters is not None:
            # The letters that it has delivered return to their places.
            self._letters.close()
        self._letters = connection.channel()
        self._letter_tags = {}

    def _next_letter(self, group: str) -> DeadLetter | None:
        try:
            raw = self._letters.basic_get(f"{self._exchange}.{group}.dead")
        except NotFound:
            raise_no_group(self._address, group)
        if raw is None:
            return None
        letter = letter_of(raw)
        self._letter_tags[letter.id] = raw.delivery_tag
        return letter

    def _find(self, group: str, letter: DeadLetter) -> None:
        """Take dead letters until this one is among them, if it still exists."""
        if letter.id not in self._letter_tags:
            any(one.id == letter.id for one in self.dead(group))


# Quorum queues of RabbitMQ 4 drop a message after 20 deliveries, and each listing of
# the dead letters delivers them.
_CLASSIC: t.Final[dict[str, object]] = {"x-queue-type": "classic"}


def _declare_queue(channel: _Raw, name: str, arguments: dict[str, object]) -> None:
    channel.queue_declare(name, durable=True, auto_delete=False, arguments=arguments)


def _to(queue: str) -> dict[str, object]:
    return {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue}


def _check_query(url: str) -> None:
    """Check that kombu has all options left in a URL's query: it ignores others.

    :raises ValueError: If an option is unknown.
    """
    for name, _value in parse_qsl(urlsplit(url).query, keep_blank_values=True):
        if not name.startswith("ssl_") and name != "login_method":
            known = ", ".join([*OPTIONS, "login_method", "ssl_…"])
            raise ValueError(
                f"the URL of the broker has an option {name[:40]!r} that is not known;"
                f" known are {known}"
            )


def _check_key(type_: str) -> None:
    """Check that a signal's name can be a routing key that matches only itself."""
    if len(type_.encode()) > 255 or {"*", "#"} & set(type_.split(".")):
        raise ValueError(
            "the name of a signal must have at most 255 bytes, and no part that is"
            f" * or #, to be sent over AMQP; got {type_[:80]!r}"
        )


def _check_routed(unrouted: Sequence[str], queue: str) -> None:
    if unrouted:
        raise RuntimeError(f"there is no queue {queue!r}")
