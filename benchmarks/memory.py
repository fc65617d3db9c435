"""Measures the memory of connections, and of objects that a session has written."""

from __future__ import annotations

import gc
import mmap
import tracemalloc
from collections.abc import Generator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from typing import NamedTuple
from typing import TypeAlias

from .libraries import BLINKER
from .libraries import Channel
from .libraries import DJANGO
from .libraries import Keeper
from .libraries import Library
from .libraries import new_receiver
from .libraries import OURS
from .libraries import Receiver
from .libraries import Sender
from .report import NOTHING
from .report import table
from .timing import Setting

CONNECTIONS = 10_000
CHUNK = 1000
PAIRS = 1_000_000
OBJECTS = 5_000
AT_ONCE = 100
"""The number of objects that each flush writes."""

OBJECTS_LEGEND = f"""\
Objects are written by flushes of {AT_ONCE} each, and the application keeps
none of them. "kept" is what is still there before the commit, "most" what there is
during the commit. "identities" is a receiver of committed that reads the identity and
the change, "objects" one that reads the object, which is loaded again."""

Connections: TypeAlias = Sequence[tuple[Receiver, Sender | None]]


class Growth(NamedTuple):
    """The memory of a signal and of its library before and after many connections.

    "Before" is after the first connections and disconnections, because tables first
    grow to their size. The whole process is measured where the system reports it; this
    includes the benchmark.
    """

    first: int
    bytes_before: int
    bytes_after: int
    process_bytes_before: int | None
    process_bytes_after: int | None


def bytes_a_connection(
    libraries: Sequence[Library], count: int = CONNECTIONS
) -> dict[str, dict[str, float]]:
    """Return the bytes of a connection, without its receiver and sender.

    :param libraries: All libraries; signalpost, blinker and Django are measured.
    :returns: Bytes by library, for each kind of connection.
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
    return {
        name: {
            library.name: _held(library, connections, sending) / count
            for library in libraries
            if library in (OURS, BLINKER, DJANGO)
            # Without its cache, Django searches all connections at each send.
            and (library is not DJANGO or len(sending) < count)
        }
        for name, (connections, sending) in kinds.items()
    }


def bytes_table(taken: Mapping[str, Mapping[str, float]]) -> str:
    """Return the result of :func:`bytes_a_connection` as a table."""
    names = [*taken["functions, any sender"]]
    return table(
        ["bytes a connection", *names],
        [
            [kind] + [f"{by[name]:.0f}" if name in by else NOTHING for name in names]
            for kind, by in taken.items()
        ],
    )


def _held(library: Library, connections: Connections, sending: Sequence[Sender]) -> int:
    # Imports and objects of the first use are not a part of a connection.
    warm, keeper = Channel(library), new_receiver()
    for sender in (None, Sender()):
        warm.connect(keeper, sender)
        warm.sending(sender)(1)
    warm.disconnect(keeper)
    with _traced():
        before = _traced_bytes()
        channel = Channel(library)
        for receiver, sender in connections:
            channel.connect(receiver, sender)
        for sender in sending:
            channel.sending(sender)(1)
        return _traced_bytes() - before


def growth(library: Library, pairs: int = PAIRS) -> Growth:
    """Connect new receivers to new senders, many times, and disconnect or delete them.

    Every second receiver is disconnected. The others and all senders are deleted.

    :param pairs: How many receivers, and how many senders; whole thousands from 2,000.
    """
    channel, first = Channel(library), min(CONNECTIONS, pairs // 2)
    with _traced():
        for _ in range(first // CHUNK):
            _connect_and_drop(channel)
        before, process_before = _traced_bytes(), _process_bytes()
        for _ in range(first // CHUNK, pairs // CHUNK):
            _connect_and_drop(channel)
        after, process_after = _traced_bytes(), _process_bytes()
    return Growth(first, before, after, process_before, process_after)


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
    """Return the bytes of memory of this process, as Linux reports it."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return None
    return int(pages) * mmap.PAGESIZE


def bytes_of_objects(objects: int = OBJECTS) -> dict[str, tuple[int, int]]:
    """Return the bytes of written objects: kept until the commit, and the maximum.

    :returns: Both numbers for each way to follow the objects.
    """
    from signalpost.integrations.sqlalchemy import committed

    def note(sender: object, *, identity: object, change: str) -> None:
        pass

    def read(sender: object, *, instance: Any) -> None:
        assert instance.name

    return {
        name: _bytes_with(setting, objects)
        for name, setting in (
            ("not instrumented", nullcontext),
            ("identities", partial(committed.connected_to, note)),
            ("objects", partial(committed.connected_to, read)),
        )
    }


def objects_table(found: Mapping[str, tuple[int, int]], objects: int) -> str:
    """Return the result of :func:`bytes_of_objects` as a table."""
    return table(
        [f"MB for {objects:,} objects", "kept", "most"],
        [[name, *(f"{one / 1e6:.2f}" for one in both)] for name, both in found.items()],
    )


def _bytes_with(setting: Setting, objects: int) -> tuple[int, int]:
    import sqlalchemy as sa
    from sqlalchemy import orm

    from signalpost.integrations.sqlalchemy import instrument_models

    class Mug(orm.declarative_base()):  # type: ignore[misc]  # made at run time
        __tablename__ = "mugs"
        id = sa.Column(sa.Integer, primary_key=True)
        name = sa.Column(sa.String)

    def write(session: orm.Session, count: int) -> None:
        for start in range(0, count, AT_ONCE):
            session.add_all([Mug(name=f"mug {start + one}") for one in range(AT_ONCE)])
            session.flush()

    engine = sa.create_engine("sqlite://")
    Mug.metadata.create_all(engine)
    with instrument_models(), setting():
        with orm.Session(engine) as session:
            write(session, AT_ONCE)  # creates the objects of the first use
            session.commit()
        with _traced(), orm.Session(engine) as session:
            before = _traced_bytes()
            write(session, objects)
            kept = _traced_bytes() - before
            tracemalloc.reset_peak()
            session.commit()
            most = tracemalloc.get_traced_memory()[1] - before
    engine.dispose()
    return kept, most
