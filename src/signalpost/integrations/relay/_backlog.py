"""The backlog of a group: how many events wait, and for how long."""

from __future__ import annotations

from ._transport import Address
from ._transport import Backlog
from ._transport import opened

__all__ = ["read_backlog"]


def read_backlog(url: str, group: str, *, prefix: str = "signalpost") -> Backlog:
    """Return what waits for a group at the broker now.

    It connects, asks and disconnects, in 5 seconds at most for each question.

    :param url: Where the broker is, as for :class:`Relay`.
    :param group: The name of the group.
    :param prefix: What the names of streams and queues in the broker begin with.
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
