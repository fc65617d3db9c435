"""Measures the sends of the relay, and the events a second through Redis.

Celery's ``delay`` and a bare ``XADD`` of redis-py are timed for comparison. It also
measures what an event in an outbox adds to a transaction, in a SQLite file (WAL).
"""

from __future__ import annotations

import shutil
import socket
import statistics
import subprocess
import tempfile
import time
import typing as t
from collections.abc import Generator
from collections.abc import Iterable
from collections.abc import Sequence
from contextlib import contextmanager
from contextlib import ExitStack

import celery
import redis
import sqlalchemy as sa
from sqlalchemy import orm

from signalpost import NamedSignal
from signalpost import Namespace
from signalpost.integrations.relay import Listener
from signalpost.integrations.relay import Relay
from signalpost.integrations.relay.outbox import OutboxTable

from .report import added
from .report import BARE
from .report import table
from .timing import Batch
from .timing import batch_of
from .timing import measure
from .timing import Row
from .timing import Variant

PAYLOAD: t.Final[dict[str, t.Any]] = {
    "order": 5,
    "total": "9.99",
    "items": [{"sku": "teapot", "number": 1}],
}
EVENTS: t.Final = 10_000
TIMES: t.Final = 5
"""How many times these events are sent and received."""

SEND: t.Final = 'signal.send("till", **payload)'
LEGEND: t.Final = """\
Batches of sends take turns, with what a relay sends in the background awaited between
them. Events a second: so many wait already, and go out; a listener receives them, whose
receiver does nothing."""


def shown(rounds: int) -> Iterable[str]:
    """Measure sends, events a second and transactions, and yield the tables.

    :param rounds: The number of batches for each way to send; with few rounds, fewer
        events are sent, too.
    """
    if shutil.which("redis-server") is None:
        yield "redis-server is missing; on Debian or Ubuntu: apt install redis-server"
        return
    yield LEGEND
    times, events = min(TIMES, rounds), min(EVENTS, 100 * rounds)
    with tempfile.TemporaryDirectory() as folder, _redis(folder) as url:
        yield _sends(url, rounds)
        yield _events(url, times, events)
    with _transactions() as rows:
        yield from added(measure(rows, rounds))


def _sends(url: str, rounds: int) -> str:
    app = celery.Celery("shop", broker=url)
    app.conf.task_ignore_result = True

    def place(**payload: object) -> None:
        """Do nothing."""

    task: t.Any = app.task(name="place")(place)
    with ExitStack() as stack:
        client = stack.enter_context(redis.Redis.from_url(url))
        stack.callback(app.close)
        relay, background = _relay(url, "background", "thread")
        stack.callback(relay.close)
        other, now = _relay(url, "now", "now")
        stack.callback(other.close)
        found: t.Any = client.xrange("now:order-placed", count=1)
        body = found[0][1][b"event"]

        @contextmanager
        def waited() -> Generator[None]:
            yield
            _wait(relay)

        send = {NamedSignal.send.__code__: 1}
        ways = {"client": client, "body": body, "task": task, "payload": PAYLOAD}
        bare = 'client.xadd("bare", {"event": body})'
        delay, called = "task.delay(**payload)", {celery.Task.delay.__code__: 1}
        variants = [
            Variant("send in the background", _sending(background), send, waited),
            Variant('send with sends="now"', _sending(now), send),
            Variant("XADD of redis-py, bare", batch_of(bare, **ways), {}),
            Variant("Celery's delay", batch_of(delay, **ways), called),
        ]
        timings = measure([Row("a send", variants)], rounds)["a send"]
    return table(
        ["µs a send", "minimum", "median"],
        [
            [name, f"{one.minimum_ns / 1000:.1f}", f"{one.median_ns / 1000:.1f}"]
            for name, one in timings.items()
        ],
    )


def _relay(
    url: str, prefix: str, sends: t.Literal["thread", "now"]
) -> tuple[Relay, NamedSignal]:
    placed = _signal()
    relay = Relay(
        url, source="shop", sends=sends, prefix=prefix, max_waiting=2 * EVENTS
    ).forward(placed)
    placed.send("till", **PAYLOAD)
    _wait(relay)
    return relay, placed


def _signal() -> NamedSignal:
    return Namespace().signal("order-placed", payload=PAYLOAD)


def _sending(placed: NamedSignal) -> Batch:
    return batch_of(SEND, signal=placed, payload=PAYLOAD)


def _wait(relay: Relay) -> None:
    while relay.waiting:
        time.sleep(0.0005)


def _events(url: str, times: int, events: int) -> str:
    out, received = [], []
    for number in range(times):
        relay, placed = _relay(url, f"times{number}", "thread")
        try:
            out.append(_out(relay, placed, events))
            received.append(_received(url, f"times{number}", relay.sent))
        finally:
            relay.close()
    return table(
        [f"events a second, of {events:,}", "most", "median"],
        [
            [name, f"{max(found):,.0f}", f"{statistics.median(found):,.0f}"]
            for name, found in (("out", out), ("received", received))
        ],
    )


def _out(relay: Relay, placed: NamedSignal, events: int) -> float:
    before, start = relay.sent, time.perf_counter()
    _sending(placed)(events)
    # From here on, no other thread runs Python code.
    waiting, begun = relay.waiting, time.perf_counter()
    _wait(relay)
    if waiting > events // 10:
        return waiting / (time.perf_counter() - begun)
    return (relay.sent - before) / (time.perf_counter() - start)


def _received(url: str, prefix: str, events: int) -> float:
    there = _signal()
    listener = Listener(url, group="shipping", signals=[there], prefix=prefix)

    def ship(sender: object) -> None:
        if listener.received == events - 1:
            listener.stop()

    there.connect(ship)
    start = time.perf_counter()
    listener.run()
    return events / (time.perf_counter() - start)


@contextmanager
def _redis(folder: str) -> Generator[str]:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    server = subprocess.Popen(  # noqa: S603  # no input of others is in it
        [
            *("redis-server", "--port", str(port), "--bind", "127.0.0.1"),
            *("--dir", folder, "--save", "", "--appendonly", "yes"),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        url = f"redis://127.0.0.1:{port}/0"
        with redis.Redis.from_url(url) as client:
            while not _is_ready(client):
                time.sleep(0.02)
        yield url
    finally:
        server.kill()
        server.wait()


def _is_ready(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


@contextmanager
def _transactions() -> Generator[Sequence[Row]]:
    class Base(orm.DeclarativeBase):
        pass

    class Order(Base):
        __tablename__ = "orders"

        number: orm.Mapped[int] = orm.mapped_column(primary_key=True)
        item: orm.Mapped[str]

    table = OutboxTable(Base.metadata)
    placed = _signal()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        engine = sa.create_engine(f"sqlite:///{folder}/shop.db")
        stack.callback(engine.dispose)
        Base.metadata.create_all(engine)
        session = stack.enter_context(orm.Session(engine))
        for pragma in ("journal_mode = wal", "synchronous = normal"):
            session.connection().exec_driver_sql(f"PRAGMA {pragma}")
            session.rollback()
        relay = Relay(
            source="shop", sends="outbox", outbox=table, session_of=lambda: session
        ).forward(placed)
        stack.callback(relay.close)
        names = {"session": session, "Order": Order}
        order = 'session.add(Order(item="mug"))\nsession.flush()\nsession.commit()'
        event = order.replace("session.commit()", f"{SEND}\nsession.commit()")
        commit, send = orm.Session.commit.__code__, NamedSignal.send.__code__
        yield [
            Row(
                "SQLite",
                [
                    Variant(BARE, batch_of(order, **names), {commit: 1, send: 0}),
                    Variant(
                        "with an event in an outbox",
                        batch_of(event, **names, signal=placed, payload=PAYLOAD),
                        {commit: 1, send: 1},
                    ),
                ],
            )
        ]
