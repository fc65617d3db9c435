"""The backlog of a group: how many events wait, and for how long."""

from __future__ import annotations

from ._transport import Address
from ._transport import Backlog
from ._transport import opened

__all__ = ["read_backlog"]


def read_backlog(url: str, group: str, *, prefix: str = "signalpost") -> Backlog:
    """Return the numbers of events that wait for a group at the broker.

    It connects, queries the broker and disconnects; each query takes at most 5 seconds.

    :param url: The URL of the broker, as for :class:`Relay`.
    :param group: The name of the group.
    :param prefix: The prefix of the names of streams and queues in the broker.
    :raises RelayError: If the broker cannot be reached, or has no such group.
    :raises ValueError: If the URL cannot be one.
    :raises ImportError: If the package for such a URL is not installed.

    .. versionadded:: 0.1
    """
    transport = opened(Address(url, prefix))
    try:
        return transport.backlog(group)
    finally:
        transport.close()
