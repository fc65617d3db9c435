"""The transport for Redis Streams: a stream a signal, a consumer group a group."""

from __future__ import annotations

import os
import socket
import time
import typing as t
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from contextlib import suppress
from urllib.parse import parse_qsl
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ..._ids import new_id
from ...errors import RelayError
from ._event import WrittenEvent
from ._redis_entries import after
from ._redis_entries import BODY
from ._redis_entries import body_of
from ._redis_entries import by_stream
from ._redis_entries import letter_of
from ._redis_entries import order_of
from ._redis_entries import reasons_in
from ._redis_entries import text_of
from ._redis_groups import RedisGroups
from ._transport import Address
from ._transport import Backlog
from ._transport import DeadLetter
from ._transport import EventsRefusedError
from ._transport import Message
from ._transport import raise_no_group
from ._transport import reaching
from ._transport import Why

__all__ = ["RedisTransport", "open_transport"]

_DEFAULTS: t.Final = {
    "keep_seconds": 3600.0,
    "lease_seconds": 60.0,
    "max_events": 1_000_000.0,
}
# The consumer of events that are due again later: they belong to no worker until then.
_LATER: t.Final = "later"
# The options of redis-py that this module depends on.
_OURS: t.Final = frozenset(("decode_responses", "protocol"))
_MOST_DEAD: t.Final = 100_000
_BATCH: t.Final = 100
# The work that one worker takes at once, so that the others of its group have some.
_TAKEN_SECONDS: t.Final = 0.1
# The time between looks for events that are due again or that no group needs.
_DUE_SECONDS: t.Final = 0.5
_TRIM_SECONDS: t.Final = 60.0
_GONE_SECONDS: t.Final = 86_400.0


class _Handle(t.NamedTuple):
    """The place of an event in a stream."""

    stream: str
    id: bytes


def open_transport(address: Address) -> RedisTransport:
    """Return a transport for Redis.

    :raises ValueError: If the URL is wrong.
    """
    return RedisTransport(address)


class RedisTransport:
    """A connection to Redis.

    An event that a group was handed out and has not done is *pending* in Redis, with
    the time of its latest delivery: after ``lease_seconds`` it is due for any worker of
    the group. :meth:`renew` sets that time to now. :meth:`again` sets it back so that
    the event is due at the right time. One mechanism so serves workers that died and
    tries that failed, and no event has to be moved.

    :param address: The address of Redis. Its URL's query may have ``lease_seconds``;
        ``max_events``, the length of a stream; ``keep_seconds``, the time that a stream
        has events that every group has done; and the options of redis-py.
    """

    renew_seconds: float | None

    def __init__(self, address: Address) -> None:
        url, options = address.options(_DEFAULTS)
        self._address = address
        self._url = url
        self._lease_seconds = options["lease_seconds"]
        self._max_events = int(options["max_events"])
        self._keep_seconds = options["keep_seconds"]
        self.renew_seconds = self._lease_seconds / 3
        self._client: redis.Redis | None = None
        self._group = ""
        self._streams: list[str] = []
        self._consumer = f"{socket.gethostname()}-{os.getpid()}-{new_id()[-12:]}"
        self._is_known = False
        self._groups = RedisGroups(address.prefix)
        self._held: dict[_Handle, Message] = {}
        self._unfinished: list[Message] = []
        self._due_at = self._trim_at = self._seen_at = 0.0
        self._batch = 1
        self._handed_out = (0.0, 0)
        self._check_url()

    def _check_url(self) -> None:
        """Check the options of the URL, without connecting.

        :raises ValueError: If an option is unknown, or its value is wrong.
        """
        for name in _OURS & {*_query_of(self._url)}:
            raise ValueError(
                f"{self._address.shown} has the option {name} in its query, which is"
                " not to be chosen; leave it out"
            )
        try:
            self._connected().connection_pool.make_connection()
        except TypeError as error:
            raise ValueError(
                f"{self._address.shown} has an option in its query that is not known:"
                f" {error}; known are {', '.join(_DEFAULTS)}, and those of redis-py"
            ) from error
        finally:
            self._drop()

    def _connected(self) -> redis.Redis:
        """Return the client; it connects when it is used."""
        if self._client is None:
            seconds = self._address.seconds / 2  # one half to connect, one to receive
            self._client = redis.Redis.from_url(
                self._url,
                max_connections=1,
                protocol=2,
                retry=Retry(NoBackoff(), 0),
                socket_connect_timeout=seconds,
                socket_timeout=seconds,
            )
        return self._client

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise our error for an error of redis-py, and drop the connection."""
        try:
            yield
        except (redis.RedisError, OSError) as error:
            self._drop()
            raise reaching(self._address, error) from error

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with suppress(redis.RedisError, OSError):
                client.close()

    def _stream_of(self, type_: str) -> str:
        return f"{self._address.prefix}:{type_}"

    def _own(self, kind: str, group: str | None = None) -> str:
        """Return a stream of one group: of its retried events, or its dead letters."""
        return f"{self._address.prefix}.{kind}:{group or self._group}"

    def send(self, events: Sequence[WrittenEvent]) -> None:
        """Add events to the streams of their signals, in one round trip."""
        with self._errors():
            pipeline = self._connected().pipeline(transaction=False)
            for event in events:
                pipeline.xadd(
                    self._stream_of(event.name),
                    {BODY: event.body},
                    maxlen=self._max_events,
                    approximate=True,
                )
            reasons = reasons_in(pipeline.execute(raise_on_error=False))
        if reasons:
            message = f"the broker at {self._address.shown} refuses {len(reasons)} of"
            first = next(iter(reasons.values()))
            raise EventsRefusedError(
                f"{message} {len(events)} events: {first}", reasons
            )

    def subscribe(self, group: str, types: Sequence[str]) -> None:
        """Make the group in each stream, from the beginning, unless it is there."""
        self._group = group
        self._streams = [self._stream_of(one) for one in types]
        self._streams.append(self._own("again"))
        with self._errors():
            client = self._connected()
            for stream in self._streams:
                try:
                    client.xgroup_create(stream, group, "0", mkstream=True)
                except redis.ResponseError as error:
                    if not str(error).startswith("BUSYGROUP"):
                        raise
                if self._is_known:
                    self._take_own(client, stream)
        self._is_known = True
        self._unfinished = [*self._held.values()]
        self._due_at = self._trim_at = self._seen_at = 0.0

    def _take_own(self, client: t.Any, stream: str) -> None:
        """Take the events that this consumer got before the connection broke.

        No other consumer gets them before the lease ends, and Redis's answer with them
        may have been lost.
        """
        pending = client.xpending_range(
            stream, self._group, "-", "+", 10 * _BATCH, consumername=self._consumer
        )
        tries = {one["message_id"]: int(one["times_delivered"]) for one in pending}
        own = client.xreadgroup(
            self._group, self._consumer, {stream: "0"}, count=10 * _BATCH
        )
        for _, entries in own or ():
            for id_, fields in entries:
                handle = _Handle(stream, id_)
                if fields and handle not in self._held:
                    message = Message(body_of(fields), tries.get(id_, 1), handle)
                    self._hold(message)

    def receive(self, seconds: float) -> Sequence[Message]:
        """Return an event that is due again, else new events."""
        self._adapt()
        if self._unfinished:
            found, self._unfinished = self._unfinished, []
            return found
        with self._errors():
            client = self._connected()
            now = time.monotonic()
            if now >= self._due_at:
                due = self._due(client)
                if due is not None:
                    return [self._hold(due)]  # the next call looks again
                self._due_at = now + _DUE_SECONDS
            if now >= self._seen_at:
                self._note_alive(client)
                self._seen_at = now + self._lease_seconds / 3
            if now >= self._trim_at:
                self._trim(client)
                self._trim_at = now + _TRIM_SECONDS
            wait = min(seconds, _DUE_SECONDS, self._address.seconds / 4)
            return self._new(client, wait)

    def _note_alive(self, client: t.Any) -> None:
        """Store in Redis that this listener is alive, until its lease ends.

        Its consumers do not show it: before 7.2, one that only waits counts as idle.
        """
        self._groups.note_listener(
            client, self._group, self._consumer, self._lease_seconds
        )

    def _adapt(self) -> None:
        """Adapt the number of events taken at once to the speed of the receivers."""
        begun, number = self._handed_out
        if number:
            seconds = max((time.monotonic() - begun) / number, 1e-6)
            self._batch = min(max(int(_TAKEN_SECONDS / seconds), 1), _BATCH)
            self._handed_out = (0.0, 0)

    def _new(self, client: redis.Redis, seconds: float) -> list[Message]:
        answer: t.Any = client.xreadgroup(
            self._group,
            self._consumer,
            dict.fromkeys(self._streams, ">"),
            count=self._batch,
            block=max(int(seconds * 1000), 1),
        )
        found = [
            self._hold(Message(body_of(fields), 1, _Handle(stream.decode(), id_)))
            for stream, entries in answer or ()
            for id_, fields in entries
        ]
        self._handed_out = (time.monotonic(), len(found))
        return found

    def _hold(self, message: Message) -> Message:
        self._held[message.handle] = message
        return message

    def _due(self, client: t.Any) -> Message | None:
        """Claim one event that is due again.

        It claims only one, so that the number of deliveries is the number of tries.
        XAUTOCLAIM would not return that number.
        """
        lease = int(self._lease_seconds * 1000)
        pipeline = client.pipeline(transaction=False)
        for stream in self._streams:
            pipeline.xpending_range(stream, self._group, "-", "+", 10, idle=lease)
        for stream, pending in zip(self._streams, pipeline.execute(), strict=True):
            for one in pending:
                id_ = one["message_id"]
                # Empty if another worker has claimed the event, or it was trimmed.
                for _, fields in client.xclaim(
                    stream, self._group, self._consumer, lease, [id_]
                ):
                    tries = int(one["times_delivered"]) + 1
                    return Message(body_of(fields), tries, _Handle(stream, id_))
        return None

    def done(self, messages: Sequence[Message]) -> None:
        """Acknowledge messages."""
        with self._errors():
            pipeline = self._connected().pipeline(transaction=False)
            for stream, ids in by_stream(messages).items():
                pipeline.xack(stream, self._group, *ids)
            pipeline.execute()
        self._release(messages)

    def again(self, message: Message, seconds: float) -> None:
        """Set the time of a delivery back, so that it is due in ``seconds``."""
        idle_seconds = max(self._lease_seconds - seconds, 0.0)
        with self._errors():
            self._claim(self._connected(), [message], idle_seconds, _LATER)
        self._release([message])

    def renew(self, messages: Sequence[Message]) -> None:
        """Set the time of deliveries to now."""
        with self._errors():
            self._claim(self._connected(), messages, 0.0, self._consumer)
            self._note_alive(self._connected())

    def _claim(
        self,
        client: t.Any,
        messages: Sequence[Message],
        idle_seconds: float,
        consumer: str,
    ) -> None:
        pipeline = client.pipeline(transaction=False)
        for stream, ids in by_stream(messages).items():
            pipeline.xclaim(
                stream,
                self._group,
                consumer,
                0,
                ids,
                idle=int(idle_seconds * 1000),
                justid=True,  # so that it counts as no delivery
            )
        pipeline.execute()

    def bury(self, message: Message, why: Why) -> None:
        """Move a message to the group's stream of dead letters, in one transaction."""
        with self._errors():
            pipeline = self._connected().pipeline(transaction=True)
            fields: t.Any = {
                BODY: message.body,
                b"reason": why.reason,
                b"tries": why.tries,
                b"traceback": why.traceback,
            }
            pipeline.xadd(
                self._own("dead"), fields, maxlen=_MOST_DEAD, approximate=True
            )
            handle: _Handle = message.handle
            pipeline.xack(handle.stream, self._group, handle.id)
            pipeline.execute()
        self._release([message])

    def _release(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self._held.pop(message.handle, None)

    def _trim(self, client: t.Any) -> None:
        """Delete the events that every group has done, and consumers that are gone.

        New events are kept, as another group may be about to start for the first time.
        """
        kept = b"%d" % ((time.time() - self._keep_seconds) * 1000)
        for stream in self._streams:
            needed = [kept]
            for group in client.xinfo_groups(stream):
                name = group["name"]
                pending = client.xpending(stream, name)
                needed.append(pending["min"] or after(group["last-delivered-id"]))
                if name == self._group.encode():
                    self._remove_gone(client, stream)
            client.xtrim(stream, minid=min(needed, key=order_of), approximate=False)

    def _remove_gone(self, client: t.Any, stream: str) -> None:
        for one in client.xinfo_consumers(stream, self._group):
            is_gone = one["idle"] > _GONE_SECONDS * 1000
            if is_gone and not one["pending"]:
                client.xgroup_delconsumer(stream, self._group, one["name"])

    def dead(self, group: str) -> Iterator[DeadLetter]:
        """Yield the dead letters of a group, the oldest first."""
        start = "-"
        while True:
            with self._errors():
                client: t.Any = self._connected()
                entries = client.xrange(self._own("dead", group), start, "+", _BATCH)
            for id_, fields in entries:
                yield letter_of(id_.decode(), fields)
            if len(entries) < _BATCH:
                return
            start = f"({entries[-1][0].decode()}"

    def retry(self, group: str, letter: DeadLetter) -> None:
        """Move a dead letter to the group's own stream of retried events."""
        with self._errors():
            pipeline = self._connected().pipeline(transaction=True)
            pipeline.xadd(self._own("again", group), {BODY: letter.body})
            pipeline.xdel(self._own("dead", group), letter.id)
            pipeline.execute()

    def drop(self, group: str, letter: DeadLetter) -> None:
        """Delete a dead letter."""
        with self._errors():
            self._connected().xdel(self._own("dead", group), letter.id)

    def groups(self) -> Sequence[str]:
        """Return the names of the groups of the streams."""
        with self._errors():
            return self._groups.names(self._connected())

    def backlog(self, group: str) -> Backlog:
        """Return the numbers of events that wait for a group, retried ones included."""
        with self._errors():
            found = self._groups.backlog(self._connected(), group)
        return found or raise_no_group(self._address, group)

    def delete_group(self, group: str) -> None:
        """Delete a group from each stream, and its own streams."""
        with self._errors():
            was_there = self._groups.delete(self._connected(), group)
        if not was_there:
            raise_no_group(self._address, group)

    def check(self) -> Sequence[str]:
        """Return warnings about settings of Redis that could lose events."""
        with self._errors():
            client: t.Any = self._connected()
            client.ping()
            try:
                found = client.config_get("appendonly", "maxmemory", "maxmemory-policy")
            except redis.ResponseError:
                return ["CONFIG GET is not allowed, so no setting can be checked"]
        texts = {text_of(name): text_of(value) for name, value in found.items()}
        problems = []
        if texts.get("appendonly") == "no":
            problems.append(
                "appendonly is no: what was sent since the last snapshot is lost when"
                " Redis ends; set appendonly yes"
            )
        policy = texts.get("maxmemory-policy", "noeviction")
        if texts.get("maxmemory", "0") != "0" and policy != "noeviction":
            problems.append(
                f"maxmemory-policy is {policy}: streams may be evicted as a whole; set"
                " noeviction"
            )
        return problems

    def close(self) -> None:
        """Make unfinished events available to others at once, and disconnect."""
        held, self._held, self._unfinished = [*self._held.values()], {}, []
        with suppress(RelayError):
            if held:
                with self._errors():
                    self._claim(self._connected(), held, self._lease_seconds, _LATER)
            if self._client is not None and self._group:
                with self._errors():
                    self._groups.remove_listener(
                        self._client, self._group, self._consumer
                    )
                    for stream in self._streams:
                        self._leave(self._client, stream)
        self._drop()

    def _leave(self, client: t.Any, stream: str) -> None:
        """Remove this consumer if none of its events is pending: they would be lost."""
        for one in client.xinfo_consumers(stream, self._group):
            if one["name"] == self._consumer.encode() and not one["pending"]:
                client.xgroup_delconsumer(stream, self._group, self._consumer)

    def forget(self) -> None:
        """Drop the parent's connection without a shutdown of its socket."""
        client, self._client = self._client, None
        if client is not None:
            # The end of a client closes its pool, and would wait in a child for a lock
            # that a thread of the parent held at the fork, for ever.
            client.auto_close_connection_pool = False
        self._held, self._unfinished = {}, []


def _query_of(url: str) -> list[str]:
    return [name for name, _ in parse_qsl(urlsplit(url).query)]
