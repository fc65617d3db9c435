"""The groups of all Redis streams, and their backlogs."""

from __future__ import annotations

import re
import time
import typing as t
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence

import redis

from ._redis_entries import order_of
from ._redis_entries import text_of
from ._transport import Backlog

__all__ = ["RedisGroups"]

_KNOWN_SECONDS: t.Final = 60.0
# Redis before 7.0 does not count them.
_MOST_COUNTED: t.Final = 10_000

_Raw: t.TypeAlias = t.Any


class RedisGroups:
    """The groups of all streams that begin with a prefix.

    Streams are looked for by SCAN, which reads all keys of the database in steps, and
    are remembered for a minute.

    :param prefix: The prefix of the names of streams.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._streams: list[str] = []
        self._look_at = 0.0

    def names(self, client: _Raw) -> Sequence[str]:
        """Return the names of all groups."""
        self._look_at = 0.0
        found = {text_of(one["name"]) for _, one in self._all(client)}
        return sorted(found)

    def backlog(self, client: _Raw, group: str) -> Backlog | None:
        """Return the backlog of a group; ``None`` if the group does not exist."""
        waiting, oldest = 0, []
        is_there = False
        for stream, one in self._all(client):
            if text_of(one["name"]) != group:
                continue
            is_there = True
            number, first = _waiting_in(client, stream, one)
            waiting += number
            oldest += first
        if not is_there:
            return None
        now = _now(client)
        return Backlog(
            group,
            waiting,
            max(now - min(oldest) / 1000, 0.0) if oldest else None,
            client.xlen(f"{self._prefix}.dead:{group}"),
            client.zcount(self._listeners(group), now, "+inf"),
        )

    def delete(self, client: _Raw, group: str) -> bool:
        """Delete a group from each stream; return whether it was there."""
        self._look_at = 0.0
        streams = self._found(client)
        was_there = [client.xgroup_destroy(one, group) for one in streams]
        client.delete(
            f"{self._prefix}.again:{group}",
            f"{self._prefix}.dead:{group}",
            self._listeners(group),
        )
        self._look_at = 0.0
        return any(was_there)

    def note_listener(
        self, client: _Raw, group: str, name: str, seconds: float
    ) -> None:
        """Note that a listener runs; it counts for some time."""
        now = _now(client)
        client.zadd(self._listeners(group), {name: now + seconds})
        client.zremrangebyscore(self._listeners(group), "-inf", now)

    def remove_listener(self, client: _Raw, group: str, name: str) -> None:
        """Store that a listener has stopped."""
        client.zrem(self._listeners(group), name)

    def _listeners(self, group: str) -> str:
        return f"{self._prefix}.listeners:{group}"

    def _all(self, client: _Raw) -> Iterator[tuple[str, Mapping[str, t.Any]]]:
        """Yield each group of each stream."""
        for stream in self._found(client):
            try:
                groups = client.xinfo_groups(stream)
            except redis.ResponseError as error:
                if "no such key" not in str(error):
                    raise
                continue
            for one in groups:
                yield stream, one

    def _found(self, client: _Raw) -> list[str]:
        now = time.monotonic()
        if now >= self._look_at:
            start = re.sub(r"([*?\[\]\\^])", r"\\\1", self._prefix)
            self._streams = sorted(
                text_of(stream)
                for pattern in (f"{start}:*", f"{start}.again:*")
                for stream in client.scan_iter(pattern, 1000, "stream")
            )
            self._look_at = now + _KNOWN_SECONDS
        return self._streams


def _now(client: _Raw) -> float:
    """Return the time of Redis, as machines' clocks may differ."""
    seconds, microseconds = client.time()
    return float(seconds + microseconds / 1e6)


def _waiting_in(
    client: _Raw, stream: str, group: Mapping[str, t.Any]
) -> tuple[int, list[int]]:
    """Return how many entries wait, and the first ones' times in milliseconds."""
    last = text_of(group["last-delivered-id"])
    times = []
    new = client.xrange(stream, f"({last}", "+", 1)
    number = group.get("lag")
    if number is None:
        rest = client.xrange(stream, f"({last}", "+", _MOST_COUNTED) if new else ()
        number = len(rest)
    if new:
        times.append(order_of(new[0][0])[0])
    if group["pending"]:
        first = client.xpending(stream, group["name"])["min"]
        if first is not None:
            times.append(order_of(first)[0])
    return int(number) + int(group["pending"]), times
