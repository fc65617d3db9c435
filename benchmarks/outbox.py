"""Measures what an event adds to a transaction that also writes it into an outbox.

``python -m benchmarks.outbox`` writes orders into a SQLite file (WAL), in turns without
and with an event, and prints a table.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import typing as t
from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import mapped_column
from sqlalchemy.orm import Session

from signalpost import Namespace
from signalpost.integrations.relay import Relay
from signalpost.integrations.relay.outbox import OutboxTable

from .report import head_line

PAYLOAD: t.Final[dict[str, t.Any]] = {
    "order": 5,
    "total": "9.99",
    "items": [{"sku": "teapot", "number": 1}],
}


class Base(DeclarativeBase):
    """What the tables have in common."""


class Order(Base):
    """What a transaction writes anyway."""

    __tablename__ = "orders"

    number: Mapped[int] = mapped_column(primary_key=True)
    item: Mapped[str]


OUTBOX = OutboxTable(Base.metadata)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table, and return the exit code.

    :param arguments: Those of the command line, without the program's name.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.outbox")
    parser.add_argument("--transactions", type=int, default=4000, help="of each kind")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        bare, whole = _measured(Path(folder, "shop.db"), options.transactions)
    print(head_line())
    print(f"{'':28} {'median':>10} {'mean':>10}")
    for text, one in (("a transaction", bare), ("with an event", whole)):
        print(f"{text:28} {statistics.median(one):>10,.1f} {_mean(one):>10,.1f} µs")
    median = statistics.median(whole) - statistics.median(bare)
    mean = _mean(whole) - _mean(bare)
    print(f"{'the event adds':28} {median:>10,.1f} {mean:>10,.1f} µs")
    return 0


def _mean(costs: list[float]) -> float:
    """Return the mean without the slowest hundredth, which waited for the disk."""
    return statistics.fmean(sorted(costs)[: max(len(costs) * 99 // 100, 1)])


def _measured(path: Path, transactions: int) -> tuple[list[float], list[float]]:
    """Return what transactions took, without and with an event, in microseconds."""
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode = wal")
    Base.metadata.create_all(engine)
    placed = Namespace().signal("order-placed", payload=PAYLOAD)
    bare: list[float] = []
    whole: list[float] = []
    with Session(engine) as session:
        session.connection().exec_driver_sql("PRAGMA synchronous = normal")
        session.rollback()
        relay = Relay(
            source="shop", sends="outbox", outbox=OUTBOX, session_of=lambda: session
        ).forward(placed)
        for number in range(2 * transactions):
            start = time.perf_counter()
            session.add(Order(item="mug"))
            session.flush()
            if number % 2:
                placed.send("till", **PAYLOAD)
            session.commit()
            costs = whole if number % 2 else bare
            costs.append((time.perf_counter() - start) * 1e6)
        relay.close()
    engine.dispose()
    return bare, whole


if __name__ == "__main__":
    raise SystemExit(main())
