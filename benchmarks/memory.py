"""What connections take up, and whether anything is left when they are gone."""

from __future__ import annotations

import gc
import mmap
import tracemalloc
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .libraries import BLINKER
from .libraries import Channel
from .libraries import DJANGO
from .libraries import Library
from .libraries import OURS
from .receivers import Keeper
from .receivers import new_receiver
from .receivers import Receiver
from .receivers import Sender

CONNECTIONS = 10_000
CHUNK = 1000
FIRST_CHUNKS = 10
PAIRS = 1_000_000

Connections = Sequence[tuple[Receiver, Sender | None]]


@dataclass(frozen=True, slots=True)
class Growth:
    """What one signal, and all that its library keeps, took up over time."""

    bytes_before: int
    """After the first 10,000 connections had come and gone, as tables find a size."""
    bytes_after: int
    """After the last one."""
    process_bytes_before: int | None
    """What the whole process took up then, where the system tells; a run's own tools
    included."""
    process_bytes_after: int | None
    """And after the last one."""


def bytes_a_connection(
    libraries: Sequence[Library], count: int = CONNECTIONS
) -> dict[str, dict[str, float]]:
    """Return what a connection takes up, without its receiver and sender.

    :param libraries: Those among which ours, blinker and Django are measured.
    :returns: Bytes by library, by what is connected.
    """
    # Each instance is held by its method, and the method by this list.
    methods = [Keeper().receive for _ in range(count)]
    one = new_receiver()
    senders = [Sender() for _ in range(count)]
    kinds: dict[str, tuple[Connections, Sequence[Sender]]] = {
        "functions, any sender": (
            [(new_receiver(), None) for _ in range(count)],
            senders[:1],
        ),
        "bound methods, any sender": (
            [(method, None) for method in methods],
            senders[:1],
        ),
        "one function, a sender each": ([(one, sender) for sender in senders], ()),
        "the same, each has sent": ([(one, sender) for sender in senders], senders),
    }
    # Django without its cache searches all connections for each of so many sends.
    slow = {DJANGO.name: "the same, each has sent"}
    compared = [one for one in libraries if one in (OURS, BLINKER, DJANGO)]
    return {
        name: {
            library.name: _held(library.new_channel, connections, sending) / count
            for library in compared
            if slow.get(library.name) != name
        }
        for name, (connections, sending) in kinds.items()
    }


def _held(
    new_channel: Callable[[], Channel],
    connections: Connections,
    sending: Sequence[Sender],
) -> int:
    # Whatever is imported or made on first use is no connection's.
    warm = new_channel()
    keeper = new_receiver()
    warm.connect(keeper)
    warm.sending(Sender())(1)
    warm.disconnect(keeper)
    with _traced():
        before = _traced_bytes()
        channel = new_channel()
        for receiver, sender in connections:
            channel.connect(receiver, sender)
        for sender in sending:
            channel.sending(sender)(1)
        return _traced_bytes() - before


def growth(new_channel: Callable[[], Channel], pairs: int = PAIRS) -> Growth:
    """Connect ever new receivers to ever new senders, and disconnect or drop them.

    Every second receiver is disconnected; the others just die, and so do all senders.

    :param pairs: How many of each, in thousands; at least 10,000.
    """
    channel = new_channel()
    with _traced():
        for _ in range(FIRST_CHUNKS):
            _connect_and_drop(channel)
        before, process_before = _traced_bytes(), _process_bytes()
        for _ in range(FIRST_CHUNKS, pairs // CHUNK):
            _connect_and_drop(channel)
        return Growth(before, _traced_bytes(), process_before, _process_bytes())


def _connect_and_drop(channel: Channel) -> None:
    pairs = [(new_receiver(), Sender()) for _ in range(CHUNK)]
    for receiver, sender in pairs:
        channel.connect(receiver, sender)
    channel.sending(pairs[0][1])(1)
    for receiver, _sender in pairs[::2]:
        channel.disconnect(receiver)


@contextmanager
def _traced() -> Generator[None]:
    gc.collect()
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


def _traced_bytes() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def _process_bytes() -> int | None:
    """Return how much memory this process has, as Linux tells it."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return None
    return int(pages) * mmap.PAGESIZE
