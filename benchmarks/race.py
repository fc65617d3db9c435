"""Threads that connect, disconnect, send and delete receivers at the same time.

Meanwhile a library must not raise, fail in a finaliser, or leave out a receiver that
was connected all the time.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections import Counter
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any
from typing import NamedTuple

from .libraries import BLINKER
from .libraries import Channel
from .libraries import Library
from .libraries import new_receiver
from .libraries import OURS
from .libraries import Sender
from .report import table

SECONDS = 3.0
SHORT_INTERVAL_SECONDS = 10e-6


class Outcome(NamedTuple):
    """The result of a race: sends, and faults.

    The numbers of sends, of calls of the library that raised, of errors that reached
    ``sys.unraisablehook``, and of sends that left out a receiver that was connected all
    the time.
    """

    sends: int
    raised: int
    unraisable: int
    missed: int


def shown(libraries: Sequence[Library], seconds: float) -> str:
    """Run a race on a signal of signalpost and of blinker, and return the results.

    :param seconds: How long each race takes.
    """
    lines = []
    for interval_seconds, name in (
        (None, "by default"),
        (SHORT_INTERVAL_SECONDS, "every 10 µs"),
    ):
        for library in libraries:
            if library in (OURS, BLINKER):
                found = race(Channel(library).signal, seconds, interval_seconds)
                lines.append([f"{library.name}, {name}", *map(str, found)])
    return table(["switching threads", *Outcome._fields], lines)


def race(signal: Any, seconds: float, interval_seconds: float | None) -> Outcome:
    """Use a signal from several threads, and return the result.

    :param signal: A signal of signalpost or of blinker; its receivers stay.
    :param interval_seconds: Python's interval between two switches of threads;
        ``None`` does not change it.
    """
    sender, others = Sender(), [Sender() for _ in range(50)]
    to_any, to_sender = new_receiver(), new_receiver()
    signal.connect(to_any)
    signal.connect(to_sender, sender)
    counted: Counter[str] = Counter()

    def connect_and_disconnect() -> None:
        receiver = new_receiver()
        for other in (sender, *others):
            signal.connect(receiver, other)
        signal.connect(receiver)
        signal.disconnect(receiver)

    def let_receivers_die() -> None:
        for other in (sender, *others):
            receiver = new_receiver()
            signal.connect(receiver, other)

    def let_senders_die() -> None:
        receiver = new_receiver()
        for _ in range(10):
            signal.connect(receiver, Sender())

    def collect() -> None:
        gc.collect(1)
        threading.Event().wait(0.001)

    def send() -> None:
        counted["sends"] += 1
        reached = [receiver for receiver, _ in signal.send(sender)]
        if to_any not in reached or to_sender not in reached:
            counted["missed"] += 1

    ending = monotonic() + seconds
    jobs = [connect_and_disconnect, let_receivers_die, let_senders_die, collect, send]
    threads = [
        threading.Thread(target=_until, args=(ending, job, counted)) for job in jobs
    ]
    with _switching(interval_seconds), _counting_unraisable(counted):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        gc.collect()
    return Outcome(*(counted[name] for name in Outcome._fields))


def _until(ending: float, job: Callable[[], object], counted: Counter[str]) -> None:
    """Repeat a job until a deadline, but run it at least once."""
    is_over = False
    while not is_over:
        try:
            job()
        except Exception:  # noqa: BLE001  # counting them is the purpose
            counted["raised"] += 1
        is_over = monotonic() >= ending


@contextmanager
def _switching(interval_seconds: float | None) -> Generator[None]:
    before = sys.getswitchinterval()
    if interval_seconds is not None:
        sys.setswitchinterval(interval_seconds)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@contextmanager
def _counting_unraisable(counted: Counter[str]) -> Generator[None]:
    before = sys.unraisablehook

    def count(_: object) -> None:
        counted["unraisable"] += 1

    sys.unraisablehook = count
    try:
        yield
    finally:
        sys.unraisablehook = before
