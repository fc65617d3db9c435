"""One connection to an AMQP broker, which publishes with confirms."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field

import kombu

from ._event import CONTENT_TYPE

__all__ = ["AmqpConnection", "Outgoing"]

_IS_KEPT: t.Final = 2  # AMQP 0-9-1, 1.8.3.4: persistent

_Raw: t.TypeAlias = t.Any
"""An object of py-amqp, which has no types."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to publish."""

    body: bytes
    exchange: str
    key: str
    """The routing key."""
    id: str
    headers: Mapping[str, object] = field(default_factory=dict)


class AmqpConnection:
    """A connection that is made at once, and dropped after the first error.

    kombu's own producers reconnect, but a producer that has used up its tries stays
    broken. So only kombu's parts for URLs and for the protocol are used.

    :param client: The client that has the broker's address.
    :param seconds: The longest time that a publish may take, with its confirms.
    :raises Exception: Any error of the driver.
    """

    def __init__(self, client: kombu.Connection, seconds: float) -> None:
        self.seconds = seconds
        # client.connect() would wait for two seconds and try again.
        self.raw: _Raw = client.transport.establish_connection()
        self._publishing: _Raw = None
        self._unconfirmed: set[int] = set()
        self._refused: set[int] = set()
        self._returned: list[str] = []
        self._published = 0
        self._bytes_read = 0
        self._read_at = self._written_at = time.monotonic()

    def channel(self) -> _Raw:
        """Return a new channel."""
        return self.raw.channel()

    def publish(self, messages: Sequence[Outgoing]) -> list[str]:
        """Publish messages, and return once the broker has confirmed each.

        :returns: The routing keys of the messages that reached no queue.
        :raises TimeoutError: If the confirms take too long.
        """
        deadline = time.monotonic() + self.seconds
        channel = self._publisher()
        for one in messages:
            message = channel.prepare_message(
                one.body,
                content_type=CONTENT_TYPE,
                content_encoding="utf-8",
                headers=dict(one.headers),
                properties={"delivery_mode": _IS_KEPT, "message_id": one.id},
            )
            self._published += 1
            self._unconfirmed.add(self._published)
            channel.basic_publish(message, one.exchange, one.key, mandatory=True)
        while self._unconfirmed:
            self._read(deadline - time.monotonic())
        if self._refused:
            raise RuntimeError(f"{len(self._refused)} messages were refused")
        returned, self._returned = self._returned, []
        return returned

    def read_for(self, seconds: float) -> bool:
        """Read the next data of the broker, and return whether there was any.

        :param seconds: The longest time to wait for it; ``0`` does not wait.
        """
        try:
            self.raw.drain_events(timeout=seconds)
        except TimeoutError:
            return False
        return True

    def beat(self) -> None:
        """Send a heartbeat to the broker if one is due."""
        interval = self.raw.heartbeat
        if not interval:
            return
        now = time.monotonic()
        if now - self._written_at > interval / 4:
            self.raw.send_heartbeat()
            self._written_at = now

    def check_broker_lives(self) -> None:
        """Check that the broker has sent something recently.

        Call it after all data that has come was read.

        :raises TimeoutError: If nothing has arrived for two heartbeats.
        """
        now, interval = time.monotonic(), self.raw.heartbeat
        if self.raw.bytes_recv != self._bytes_read:
            self._bytes_read, self._read_at = self.raw.bytes_recv, now
        elif interval and now - self._read_at > 2 * interval:
            raise TimeoutError(f"it has been silent for {now - self._read_at:.0f} s")

    def close(self) -> None:
        """Disconnect with the closing handshake of the protocol."""
        self.raw.close()

    def drop(self) -> None:
        """Disconnect at once, without the closing handshake."""
        self.raw.collect()

    def forget(self) -> None:
        """Close the socket in this process only."""
        self.raw.sock.close()

    def _publisher(self) -> _Raw:
        if self._publishing is None:
            channel = self.raw.channel()
            channel.confirm_select()
            channel.events["basic_ack"].add(self._on_ack)
            channel.events["basic_nack"].add(self._on_nack)
            channel.events["basic_return"].add(self._on_return)
            self._publishing = channel
        return self._publishing

    def _read(self, seconds: float) -> None:
        if seconds <= 0 or not self.read_for(seconds):
            raise TimeoutError(
                f"{len(self._unconfirmed)} messages were not confirmed in"
                f" {self.seconds:g} s"
            )

    def _on_ack(self, tag: int, is_up_to: bool) -> None:  # noqa: FBT001 - py-amqp's
        self._unconfirmed -= self._confirmed(tag, is_up_to=is_up_to)

    def _on_nack(self, tag: int, is_up_to: bool) -> None:  # noqa: FBT001 - py-amqp's
        self._refused |= self._confirmed(tag, is_up_to=is_up_to)
        self._unconfirmed -= self._refused

    def _confirmed(self, tag: int, *, is_up_to: bool) -> set[int]:
        return {one for one in self._unconfirmed if one <= tag} if is_up_to else {tag}

    def _on_return(
        self, _error: Exception, _exchange: str, key: str, _message: object
    ) -> None:
        self._returned.append(key)
