"""Read and delete the queues of a group in RabbitMQ."""

from __future__ import annotations

import typing as t

from amqp.exceptions import NotFound

from ._amqp_connection import AmqpConnection
from ._transport import Backlog

__all__ = ["FIRST_DELAY_MS", "backlog_in", "delete_queues", "retry_queue_of"]

FIRST_DELAY_MS: t.Final = 125
"""The shortest delay before a try; each longer one is twice as long."""
_DELAYS: t.Final = 10  # up to 64 seconds


def retry_queue_of(queue: str, delay_ms: int) -> str:
    """Return the queue in which failed events wait for some time."""
    return f"{queue}.retry.{delay_ms / 1000:g}s"


def backlog_in(connection: AmqpConnection, queue: str, group: str) -> Backlog | None:
    """Return the backlog of a group; ``None`` if it has no queue."""
    found = _counted(connection, queue)
    if found is None:
        return None
    waiting, listeners = found
    for one in _retry_queues(queue):
        waiting += (_counted(connection, one) or (0, 0))[0]
    dead = _counted(connection, f"{queue}.dead")
    return Backlog(group, waiting, None, dead[0] if dead else 0, listeners)


def delete_queues(connection: AmqpConnection, queue: str) -> bool:
    """Delete the queues of a group; return whether there was one."""
    was_there = _counted(connection, queue) is not None
    channel = connection.channel()
    # The main queue first, so that the others cannot return events to it.
    for one in (queue, *_retry_queues(queue), f"{queue}.dead"):
        channel.queue_delete(one)
    channel.close()
    return was_there


def _retry_queues(queue: str) -> list[str]:
    return [retry_queue_of(queue, FIRST_DELAY_MS * 2**one) for one in range(_DELAYS)]


def _counted(connection: AmqpConnection, queue: str) -> tuple[int, int] | None:
    """Return how many messages and consumers a queue has; ``None`` if it is not there.

    On a separate channel, which the broker closes if there is no such queue.
    """
    channel = connection.channel()
    try:
        found = channel.queue_declare(queue, passive=True)
    except NotFound:
        return None
    channel.close()
    return int(found.message_count), int(found.consumer_count)
