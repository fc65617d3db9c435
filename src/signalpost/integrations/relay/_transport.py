"""What a relay and a listener ask of a broker."""

from __future__ import annotations

import datetime
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
    """An event as a broker handed it out to one listener of a group."""

    body: bytes
    """What was sent; anything, as others may send to the broker, too."""
    tries: int
    """How often it has been handed out to the group, this time included."""
    handle: t.Any = None
    """What the transport needs to find it again."""


@dataclass(frozen=True, slots=True)
class Why:
    """Why an event is a dead letter."""

    reason: str
    """One line."""
    tries: int
    """How often it was tried."""
    traceback: str = ""
    """Where the last try failed; ``""`` if no receiver was called."""


class EventsRefusedError(RelayError):
    """The broker takes some events in no case; it has taken the others.

    :param message: What happened.
    :param reasons: Why, by the index of each event among those that were sent.
    """

    def __init__(self, message: str, reasons: Mapping[int, str]) -> None:
        super().__init__(message)
        self.reasons = reasons


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that a group could not receive."""

    id: str
    """What the transport finds it by: not the event's own id, which it may lack."""
    body: bytes
    """The event as it was sent."""
    why: Why
    """Why it is here."""
    at: datetime.datetime | None = None
    """When it was buried."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits for a group at one moment.

    .. versionadded:: 0.1
    """

    group: str
    """The name of the group."""
    waiting: int
    """How many events it has not finished: not received yet, being received, or to be
    tried again. RabbitMQ does not count those that a listener has in hand."""
    oldest_seconds: float | None
    """For how long the oldest of them waits; ``None`` if none waits, and with
    RabbitMQ, which does not know."""
    dead: int
    """How many dead letters it has."""
    listeners: int
    """How many listeners of it there are; of a database, 1 if there is any that has
    nothing in hand."""


class Transport(t.Protocol):
    """A connection to a broker, for one relay or one listener.

    It connects when it is first used. Each call raises :exc:`RelayError` if the broker
    cannot be reached or refuses, in ``seconds`` of its :class:`Address` at most; the
    transport has dropped its connection then, so that the next call makes a new one.

    No two calls run at the same time, but they may come from several threads.
    """

    renew_seconds: float | None
    """How often what was received must be renewed; ``None`` if that is not needed."""

    def send(self, events: Sequence[WrittenEvent]) -> None:
        """Hand events over, in order; return once the broker has confirmed them all.

        :raises EventsRefusedError: If some are refused whenever they are sent; the
            others are confirmed.
        :raises RelayError: If one was not confirmed; some of them may have been sent.
        """

    def subscribe(self, group: str, types: Sequence[str]) -> None:
        """Make a group that receives events of these types; called before receive().

        Called again after each :exc:`RelayError`, so it must do nothing if the group is
        there. A new group gets what the broker still has.
        """

    def receive(self, seconds: float) -> Sequence[Message]:
        """Return what waits for the group, or is due again; wait if nothing is.

        :param seconds: How long to wait at most.
        :returns: Messages in order; empty if there is none.
        """

    def done(self, messages: Sequence[Message]) -> None:
        """Take messages off: each has been received."""

    def again(self, message: Message, seconds: float) -> None:
        """Have a message handed out again, in about ``seconds``, counted as a try."""

    def bury(self, message: Message, why: Why) -> None:
        """Move a message to the group's dead letters."""

    def renew(self, messages: Sequence[Message]) -> None:
        """Keep messages from being handed out to others, as a receiver still runs."""

    def dead(self, group: str) -> Iterable[DeadLetter]:
        """Yield the dead letters of a group, the oldest first."""

    def retry(self, group: str, letter: DeadLetter) -> None:
        """Have the group receive a dead letter again, as if for the first time."""

    def drop(self, group: str, letter: DeadLetter) -> None:
        """Delete a dead letter."""

    def groups(self) -> Sequence[str]:
        """Return the names of all groups; empty if the broker does not show them."""

    def backlog(self, group: str) -> Backlog:
        """Return what waits for a group.

        :raises RelayError: If there is no such group, too.
        """

    def delete_group(self, group: str) -> None:
        """Delete a group, with its dead letters and what waits for it alone.

        :raises RelayError: If there is no such group, too.
        """

    def check(self) -> Sequence[str]:
        """Return what about the broker could lose events, a sentence each."""

    def close(self) -> None:
        """Give back what was received and not done, if need be, and disconnect.

        It never raises, and may be called again.
        """

    def forget(self) -> None:
        """Let go of the connection in a forked child, where it is the parent's.

        Nothing is sent on it, and the socket is not shut down.
        """


@dataclass(frozen=True, slots=True)
class Address:
    """Where a broker is, and how to use it."""

    url: str = field(repr=False)
    """With credentials and options; never shown."""
    prefix: str = "signalpost"
    """What the names of streams, queues and exchanges begin with."""
    seconds: float = 5.0
    """How long one call to the broker may take."""

    @property
    def scheme(self) -> str:
        """As ``"redis"``; of ``"sqlite+pysqlite"`` the first part."""
        return urlsplit(self.url).scheme.partition("+")[0]

    @property
    def shown(self) -> str:
        """The URL without credentials and options, for messages."""
        parts = urlsplit(self.url)
        host = parts.netloc.rpartition("@")[2]
        # Not urlunsplit(), which takes slashes from sqlite:///shop.db.
        return f"{parts.scheme}://{host}{parts.path}"

    def options(self, known: Mapping[str, float]) -> tuple[str, dict[str, float]]:
        """Return the URL without options of ours, and these.

        :param known: The default of each, all positive numbers.
        :raises ValueError: If one of them is no positive number.
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
    """Return the positive number that an option in a URL has.

    :raises ValueError: If it has none.
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
    """Raise the error of a group that is not there.

    :raises RelayError: Always.
    """
    raise RelayError(
        f"the broker at {address.shown} has no group {group!r}; a group is there once a"
        " listener of it has been started"
    )


def reaching(address: Address, error: Exception) -> RelayError:
    """Return the error of a broker that could not be reached, or has refused."""
    reason = " ".join(str(error).split())[:200]
    return RelayError(
        f"the broker at {address.shown} cannot be used: {type(error).__name__}:"
        f" {reason}"
    )
