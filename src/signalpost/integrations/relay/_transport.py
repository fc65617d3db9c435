"""The interface between a relay or a listener and its broker."""

from __future__ import annotations

import datetime
import encodings.idna  # noqa: F401  # see below
import typing as t
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from importlib import import_module
from urllib.parse import parse_qsl
from urllib.parse import urlencode
from urllib.parse import urlsplit
from urllib.parse import urlunsplit

from ...errors import RelayError
from ._event import WrittenEvent

# socket.getaddrinfo() imports encodings.idna, and does so in the thread that sends. A
# process that was forked at that moment could import it no more, nor find a broker.

__all__ = [
    "SCHEMES",
    "Address",
    "DeadLetter",
    "Message",
    "Transport",
    "Why",
    "opened",
    "positive",
    "reaching",
]


@dataclass(slots=True, eq=False)
class Message:
    """An event that a broker has handed out to one listener of a group."""

    body: bytes
    """The bytes that were sent; any bytes, as other programs can send to the broker."""
    tries: int
    """The number of times that the group was handed it, this time included."""
    handle: t.Any = None
    """The data that the transport needs to find it again."""


@dataclass(frozen=True, slots=True)
class Why:
    """The reason for a dead letter."""

    reason: str
    """The reason in one line."""
    tries: int
    """The number of tries."""
    traceback: str = ""
    """The traceback of the last try; ``""`` if no receiver was called."""


class EventsRefusedError(RelayError):
    """The broker never accepts some of the events; it has accepted the others.

    :param message: A description of the error.
    :param reasons: The reasons, by the index of each event among those that were sent.
    """

    def __init__(self, message: str, reasons: Mapping[int, str]) -> None:
        super().__init__(message)
        self.reasons = reasons


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that a group could not receive."""

    id: str
    """The transport's id of the letter; the event's own id may be missing."""
    body: bytes
    """The event as it was sent."""
    why: Why
    """The reason."""
    at: datetime.datetime | None = None
    """The time when it became a dead letter."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """The numbers of events that wait for a group at one moment.

    .. versionadded:: 0.1
    """

    group: str
    """The name of the group."""
    waiting: int
    """The number of unfinished events: not received yet, being received, or to be
    tried again. RabbitMQ does not count the events that a listener is processing."""
    oldest_seconds: float | None
    """The time that the oldest of them has waited; ``None`` if none waits, and with
    RabbitMQ, which does not report it."""
    dead: int
    """The number of its dead letters."""
    listeners: int
    """The number of its listeners. A database counts all idle listeners as 1."""


class Transport(t.Protocol):
    """A connection to a broker, for one relay or one listener.

    It connects when it is first used. Each call raises :exc:`RelayError` if the broker
    cannot be reached or refuses, after ``seconds`` of its :class:`Address` at most. It
    drops its connection first, so that the next call makes a new one.

    Several threads may call it, but only one at a time.
    """

    renew_seconds: float | None
    """The time between calls of ``renew()``; ``None`` if none is needed."""

    def send(self, events: Sequence[WrittenEvent]) -> None:
        """Send events in order; return after the broker has confirmed them all.

        :raises EventsRefusedError: If the broker never accepts some of them; the others
            are confirmed.
        :raises RelayError: If one was not confirmed; some of them may have been sent.
        """

    def subscribe(self, group: str, types: Sequence[str]) -> None:
        """Create a group for events of these types, before ``receive()`` is called.

        It is called again after each :exc:`RelayError`, so it must do nothing if the
        group exists. A new group gets the events that the broker still has.
        """

    def receive(self, seconds: float) -> Sequence[Message]:
        """Return events for the group, new or due again; wait if there are none.

        :param seconds: The longest time to wait.
        :returns: Messages in order; empty if there is none.
        """

    def done(self, messages: Sequence[Message]) -> None:
        """Mark messages as received, so that they are not handed out again."""

    def again(self, message: Message, seconds: float) -> None:
        """Hand a message out again in about ``seconds``, and count that as a try."""

    def bury(self, message: Message, why: Why) -> None:
        """Move a message to the group's dead letters."""

    def renew(self, messages: Sequence[Message]) -> None:
        """Keep messages for this listener while a receiver still runs."""

    def dead(self, group: str) -> Iterable[DeadLetter]:
        """Yield the dead letters of a group, the oldest first."""

    def retry(self, group: str, letter: DeadLetter) -> None:
        """Hand a dead letter to the group again, as if for the first time."""

    def drop(self, group: str, letter: DeadLetter) -> None:
        """Delete a dead letter."""

    def groups(self) -> Sequence[str]:
        """Return the names of all groups; empty if the broker does not show them."""

    def backlog(self, group: str) -> Backlog:
        """Return the numbers of events that wait for a group.

        :raises RelayError: Also if there is no such group.
        """

    def delete_group(self, group: str) -> None:
        """Delete a group, its dead letters, and the events that wait only for it.

        :raises RelayError: Also if there is no such group.
        """

    def check(self) -> Sequence[str]:
        """Return warnings about a broker that could lose events, a sentence each."""

    def close(self) -> None:
        """Release unfinished messages to the group if necessary, and disconnect.

        It never raises, and may be called again.
        """

    def forget(self) -> None:
        """Drop the connection in a forked child; the parent keeps it.

        Nothing is sent on it, and the socket is not shut down.
        """


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a broker, and the settings for its use."""

    url: str = field(repr=False)
    """The URL with credentials and options; never shown."""
    prefix: str = "signalpost"
    """The beginning of the names of streams, queues and exchanges."""
    seconds: float = 5.0
    """The longest time that one call to the broker may take."""

    @property
    def scheme(self) -> str:
        """Return the scheme, as ``"redis"``; ``"sqlite"`` for ``sqlite+pysqlite``."""
        return urlsplit(self.url).scheme.partition("+")[0]

    @property
    def shown(self) -> str:
        """Return the URL without credentials and options, for messages."""
        parts = urlsplit(self.url)
        host = parts.netloc.rpartition("@")[2]
        # urlunsplit() would remove slashes from sqlite:///shop.db.
        return f"{parts.scheme}://{host}{parts.path}"

    def options(self, known: Mapping[str, float]) -> tuple[str, dict[str, float]]:
        """Return the URL without our options, and the values of our options.

        :param known: The default of each option, all positive numbers.
        :raises ValueError: If one of the values is not a positive number.
        """
        parts = urlsplit(self.url)
        found = dict(known)
        rest = []
        for name, value in parse_qsl(parts.query, keep_blank_values=True):
            if name in known:
                found[name] = positive(name, value)
            else:
                rest.append((name, value))
        return urlunsplit(parts._replace(query=urlencode(rest))), found


def positive(name: str, text: str) -> float:
    """Return the value of an option in a URL as a positive number.

    :raises ValueError: If it is not a positive number.
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} must be a positive number, got {text[:40]!r}")
    return value


SCHEMES: t.Final[dict[str, tuple[str, str]]] = {
    "redis": ("_redis", "redis"),
    "rediss": ("_redis", "redis"),
    "unix": ("_redis", "redis"),
    "amqp": ("_amqp", "amqp"),
    "amqps": ("_amqp", "amqp"),
    "sqlite": ("_embedded", "outbox"),
    "postgresql": ("_embedded", "outbox"),
    "mysql": ("_embedded", "outbox"),
    "mariadb": ("_embedded", "outbox"),
}
"""The module of each transport, by the scheme of its URLs, and the extra that it needs.

Each such module has ``open_transport(address)``."""


def opened(address: Address) -> Transport:
    """Return the transport for an address; it has not connected yet.

    :raises ValueError: If there is none for such a URL.
    :raises ImportError: If its package is not installed.
    """
    if address.scheme not in SCHEMES:
        known = ", ".join(f"{one}://" for one in SCHEMES)
        raise ValueError(
            f"a broker's URL must begin with one of {known}, got {address.shown!r}"
        )
    module, extra = SCHEMES[address.scheme]
    try:
        transport = import_module(f".{module}", __package__)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("signalpost"):
            raise
        raise ImportError(
            f"{address.scheme}:// needs the package {error.name}, which is not"
            f' installed; run: pip install "signalpost[{extra}]"',
            name=error.name,
        ) from error
    opening: t.Callable[[Address], Transport] = transport.open_transport
    return opening(address)


def raise_no_group(address: Address, group: str) -> t.NoReturn:
    """Raise the error for a group that does not exist.

    :raises RelayError: Always.
    """
    raise RelayError(
        f"the broker at {address.shown} has no group {group!r}; a group exists after"
        " its first listener has started"
    )


def reaching(address: Address, error: Exception) -> RelayError:
    """Return the error for a broker that could not be reached, or has refused."""
    reason = " ".join(str(error).split())[:200]
    return RelayError(
        f"the broker at {address.shown} cannot be used: {type(error).__name__}:"
        f" {reason}"
    )
