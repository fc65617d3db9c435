from __future__ import annotations

import gc
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import signalpost
from signalpost import Delivery
from signalpost import named
from signalpost import NamedSignal
from signalpost import Namespace
from signalpost import observe
from signalpost import Signal
from signalpost._engine.identity import Symbol

from .racing import PATIENCE_SECONDS
from .racing import run_together
from .tables import assert_empty

BUSY_SECONDS = 1.0
STUCK_SECONDS = 10.0
"""How long another thread gets for one change, while a finaliser waits for it."""


class Owner:
    """A sender, and the owner of a receiver, that can die."""

    def receive(self, sender: Any, **extra: Any) -> None: ...


class Finalised:
    """Changes a signal when it dies, from wherever that happens."""

    __slots__ = ("change",)

    def __init__(self, change: Callable[[], object]) -> None:
        self.change = change

    def __call__(self, sender: Any) -> None: ...

    def __del__(self) -> None:
        self.change()


class Heir(Owner): ...


def ignore(sender: Any, **extra: Any) -> None: ...


def another(sender: Any, **extra: Any) -> None: ...


def busily(work: Callable[[], object]) -> Callable[[], None]:
    """Return something that does ``work`` again and again for a while."""

    def repeat() -> None:
        end = time.perf_counter() + BUSY_SECONDS
        while time.perf_counter() < end:
            work()

    return repeat


def test_changes_from_many_threads_lose_nothing(problems: list[str]) -> None:
    class Permanent:
        def __init__(self) -> None:
            self.sends = 0

        def receive(self, sender: Any, **extra: Any) -> None:
            self.sends += 1

    def connect_and_disconnect() -> None:
        sender = Owner()
        signal.connect(ignore, sender=sender)
        signal.connect(another)
        signal.disconnect(ignore, sender=sender)
        signal.disconnect(another)

    def connect_to_values() -> None:
        for sender in ("app", 7):
            signal.connect(another, sender=sender)
            signal.disconnect(another, sender=sender)

    def let_receivers_die() -> None:
        owner = Owner()
        signal.connect(owner.receive)
        signal.connect(owner.receive, sender=owner)
        signal.connect(owner.receive, sender="app")

    def let_senders_die() -> None:
        signal.connect(ignore, sender=Owner())
        signal.connect(ignore, sender=[])
        signal.disconnect(ignore)

    def open_blocks() -> None:
        with signal.connected_to(another, sender="app"), other.muted():
            other.send()

    def send() -> None:
        before = permanent.sends
        for sender in ("app", known, Owner(), None):
            found = [receiver for receiver, _ in signal.send(sender)]
            if permanent.receive not in found:
                problems.append(f"missed a send by {sender!r}")
        if permanent.sends != before + 4:
            problems.append(f"called {permanent.sends - before} times by 4 sends")
        if not signal.has_receivers_for(known) or not signal.receivers:
            problems.append("no receivers found")

    def collect() -> None:
        cycle: Any = Owner()
        cycle.itself = cycle
        signal.connect(cycle.receive)
        signal.connect(ignore, sender=cycle)
        del cycle
        gc.collect(0)

    signal, other = Signal(), Signal()
    permanent, known = Permanent(), Owner()
    signal.connect(permanent.receive)
    signal.connect(permanent.receive, sender=known)
    works = [connect_and_disconnect] * 2
    works += [connect_to_values, let_receivers_die, let_senders_die]
    works += [open_blocks, send, collect]
    run_together(*(busily(work) for work in works))
    signal.disconnect(permanent.receive)
    for receiver in (ignore, another):
        signal.disconnect(receiver)
    gc.collect()
    assert not problems
    assert_empty(signal)
    assert not other.is_muted


def test_connections_of_all_threads_are_kept(problems: list[str]) -> None:
    def connect_many(owners: list[Owner]) -> None:
        for owner in owners:
            signal.connect(owner.receive)
            signal.connect(owner.receive, sender=owner)

    signal = Signal()
    groups = [[Owner() for _ in range(500)] for _ in range(8)]
    run_together(*(lambda group=group: connect_many(group) for group in groups))
    found = [receiver for receiver, _ in signal.send()]
    assert not problems
    assert len(found) == 4000
    for group in groups:
        places = [found.index(owner.receive) for owner in group[:5]]
        assert places == sorted(places)


def test_one_of_many_disconnects_does_it(problems: list[str]) -> None:
    def disconnect() -> None:
        done.extend(signal for signal in signals if signal.disconnect(ignore))

    signals = [Signal() for _ in range(300)]
    for signal in signals:
        signal.connect(ignore)
    done: list[Signal] = []
    run_together(*[disconnect] * 8)
    assert not problems
    assert len(done) == len(signals)


def test_one_name_gives_all_threads_one_signal(problems: list[str]) -> None:
    def name_all() -> None:
        made.append([namespace.signal(name) for name in names])

    namespace = Namespace()
    names = [f"signal-{number}" for number in range(500)]
    made: list[list[NamedSignal]] = []
    run_together(*[name_all] * 8)
    assert not problems
    assert all(signals == made[0] for signals in made)


def test_one_name_gives_all_threads_one_symbol(problems: list[str]) -> None:
    def name_all() -> None:
        made.append([Symbol(f"symbol-{number}") for number in range(500)])

    made: list[list[Symbol]] = []
    run_together(*[name_all] * 8)
    assert not problems
    for symbols in made:
        assert all(one is other for one, other in zip(symbols, made[0], strict=True))


def test_all_threads_get_one_signal_about_a_signal(problems: list[str]) -> None:
    def look() -> None:
        found.append([signal.receiver_connected for signal in signals])

    signals = [Signal() for _ in range(2000)]
    found: list[list[Signal]] = []
    run_together(*[look] * 8)
    assert not problems
    assert all(seen == found[0] for seen in found)


def test_running_receiver_does_not_block_others(problems: list[str]) -> None:
    def receiver(sender: Any) -> None:
        turns.wait(PATIENCE_SECONDS)
        turns.wait(PATIENCE_SECONDS)

    def change() -> None:
        turns.wait(PATIENCE_SECONDS)
        signal.connect(ignore)
        signal.disconnect(ignore)
        with signal.muted(), signal.connected_to(another):
            signal.send("app")
        turns.wait(PATIENCE_SECONDS)

    signal = Signal()
    turns = threading.Barrier(2)
    signal.connect(receiver, sender="api")
    run_together(lambda: signal.send("api"), change)
    assert not problems


def test_two_threads_send_at_once(problems: list[str]) -> None:
    def receiver(sender: Any) -> None:
        both_inside.wait(PATIENCE_SECONDS)

    signal = Signal()
    both_inside = threading.Barrier(2)
    signal.connect(receiver)
    run_together(signal.send, signal.send)
    assert not problems


def test_receiver_that_dies_by_disconnect_may_change_the_signal(
    problems: list[str],
) -> None:
    def change() -> None:
        signal.disconnect(ignore)
        signal.connect(another)

    def disconnect() -> None:
        signal.connect(ignore)
        receiver = Finalised(change)
        signal.connect(receiver, weak=False)
        signal.connect(receiver, sender="app", weak=False)
        for found in list(signal.receivers_for("app")):
            if isinstance(found, Finalised):
                signal.disconnect(found)

    signal = Signal()
    run_together(disconnect)
    assert not problems
    assert list(signal.receivers_for(None)) == [another]


def test_receiver_that_dies_by_clearing_may_change_the_signal(
    problems: list[str],
) -> None:
    def clear() -> None:
        for _ in range(10):
            signal.connect(
                Finalised(lambda: signal.connect(another)), "app", weak=False
            )
        signal._clear_state()

    signal = Signal()
    run_together(clear)
    assert not problems
    assert list(signal.receivers_for(None)) == [another]


def test_sender_that_dies_by_disconnect_may_change_the_signal(
    problems: list[str],
) -> None:
    def disconnect() -> None:
        signal.connect(ignore, sender=Finalised(lambda: signal.connect(another)))
        signal.disconnect(ignore)

    signal = Signal()
    run_together(disconnect)
    assert not problems
    assert list(signal.receivers_for(None)) == [another]


def test_finaliser_run_by_the_collector_may_change_the_signal(
    problems: list[str],
) -> None:
    class Cycle:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            finalised.append(1)
            signal.connect(another)
            signal.connect(another, sender="app")
            signal.send("app")
            signal.disconnect(another)
            signal.has_receivers_for("app")
            with signal.muted(), signal.connected_to(another, sender=7):
                signal.send(7)

    def change() -> None:
        for number in range(3000):
            # Garbage is collected often, and at another place each time.
            gc.set_threshold(1 + number % 23, 2, 1000)
            Cycle()
            signal.connect(ignore, sender=number)
            signal.connect(ignore, sender=Owner())
            signal.connect(permanent.receive)
            if permanent.receive not in [receiver for receiver, _ in signal.send()]:
                problems.append("missed a send")
            signal.disconnect(ignore, sender=number)

    signal = Signal()
    permanent = Owner()
    finalised: list[int] = []
    thresholds = gc.get_threshold()
    try:
        run_together(change)
    finally:
        gc.set_threshold(*thresholds)
    gc.collect()
    assert not problems
    assert len(finalised) > 1000
    assert list(signal.receivers_for("app")) == [permanent.receive]
    signal.disconnect(permanent.receive)
    signal.disconnect(ignore)
    assert_empty(signal)


class Interruption:
    """Does something between two lines of the engine, as a finaliser may.

    :param lines: How many lines run before it.
    :param change: What it does, in the thread that was interrupted.
    """

    def __init__(self, lines: int, change: Callable[[], object]) -> None:
        self.lines_left = lines
        self.has_happened = False
        self.is_happening = False
        self._change = change

    def __call__(self, frame: FrameType, reason: str, argument: object) -> Any:
        if not frame.f_code.co_filename.startswith(ENGINE):
            return None
        if reason == "line" and not self.has_happened:
            self.lines_left -= 1
            if self.lines_left < 0:
                self.has_happened = self.is_happening = True
                self._change()
                self.is_happening = False
                # No line after it is of interest, and each costs a call.
                sys.settrace(None)
                return None
        return self


ENGINE = str(Path(signalpost.__file__).parent / "_engine")


def connect_more(signal: Signal) -> None:
    signal.connect(another)
    signal.connect(another, sender="app")


def disconnect_more(signal: Signal) -> None:
    signal.disconnect(another)
    signal.disconnect(another, sender="app")


def open_a_block(signal: Signal) -> None:
    with signal.muted(), signal.connected_to(another, sender="app"):
        signal.send("app")


def let_someone_die(signal: Signal) -> None:
    owner = Owner()
    signal.connect(owner.receive)
    signal.connect(owner.receive, sender="app")
    signal.connect(ignore, sender=owner)


def send_twice(signal: Signal) -> None:
    signal.send("app")
    signal.send("app")


def take_once(signal: Signal) -> None:
    signal.connect(ignore, sender=7, once=True)
    signal.send(7)
    signal.disconnect(ignore, sender=7)


def take_a_family(signal: Signal) -> None:
    signal.connect(ignore, sender=Owner, subclasses=True)
    signal.send(Heir)
    signal.disconnect(ignore, sender=Owner)


def take_by_name(signal: Signal) -> None:
    owner, name = Owner(), named("owner of a test")
    signal.connect(ignore, sender=name)
    name.bind(owner)
    signal.send(owner)
    signal.disconnect(ignore, sender=name)


def watch(signal: Signal) -> None:
    seen: list[Delivery] = []
    with observe(seen.append, signal):
        signal.send("app")


def look_around(signal: Signal) -> None:
    assert signal.receivers
    assert len(dict(signal.receivers)) >= 1
    assert len(signal.connections) >= 2
    assert signal.has_receivers_for("app")
    assert list(signal.receivers_for("app"))


WORKS: list[Callable[[Signal], None]] = [
    connect_more,
    disconnect_more,
    open_a_block,
    let_someone_die,
    send_twice,
    take_once,
    take_a_family,
    take_by_name,
    watch,
    look_around,
]


@pytest.mark.parametrize("work", WORKS)
@pytest.mark.parametrize("change", WORKS)
def test_finaliser_may_run_between_any_two_lines(
    work: Callable[[Signal], None],
    change: Callable[[Signal], None],
    problems: list[str],
) -> None:
    def interrupt_everywhere() -> None:
        lines = 0
        while interrupted_after(lines):
            lines += 1

    def interrupted_after(lines: int) -> bool:
        signal = Signal()
        signal.connect(permanent.receive)
        signal.connect(permanent.receive, sender="app")
        interruption = Interruption(lines, lambda: change(signal))
        sys.settrace(interruption)
        try:
            work(signal)
        finally:
            sys.settrace(None)
        if not interruption.has_happened:
            return False
        names = {work, change}
        for sender in ("app", None):
            receivers = list(signal.receivers_for(sender))
            assert receivers[0] == permanent.receive, lines
            if connect_more in names and disconnect_more not in names:
                assert receivers[1:] == [another], lines
            elif connect_more not in names:
                assert receivers[1:] == [], lines
        for receiver in (permanent.receive, another, ignore):
            signal.disconnect(receiver)
        gc.collect(0)
        assert_empty(signal)
        assert not signal.is_muted
        return True

    permanent = Owner()
    run_together(interrupt_everywhere)
    assert not problems


def test_connecting_for_good_between_any_two_lines_of_one_call_is_kept(
    problems: list[str],
) -> None:
    def interrupt_everywhere() -> None:
        lines = 0
        while interrupted_after(lines):
            lines += 1

    def interrupted_after(lines: int) -> bool:
        signal = Signal()
        signal.connect(another, once=True)
        interruption = Interruption(lines, lambda: signal.connect(another))
        sys.settrace(interruption)
        try:
            signal.send()
        finally:
            sys.settrace(None)
        if interruption.has_happened:
            assert list(signal.receivers_for("app")) == [another], lines
            assert not signal.connections[0].once, lines
        return interruption.has_happened

    run_together(interrupt_everywhere)
    assert not problems


@pytest.mark.parametrize("work", WORKS[:-1])
def test_signal_may_be_cleared_between_any_two_lines(
    work: Callable[[Signal], None], problems: list[str]
) -> None:
    def clear_everywhere() -> None:
        lines = 0
        while cleared_after(lines):
            lines += 1

    def cleared_after(lines: int) -> bool:
        signal = Signal()
        signal.connect(permanent.receive, sender="app")
        interruption = Interruption(lines, signal._clear_state)
        sys.settrace(interruption)
        try:
            work(signal)
        finally:
            sys.settrace(None)
        for receiver in (permanent.receive, another, ignore):
            signal.disconnect(receiver)
        assert_empty(signal)
        signal.connect(ignore, sender="app")
        assert signal.send("app") == [(ignore, None)]
        return interruption.has_happened

    permanent = Owner()
    run_together(clear_everywhere)
    assert not problems


@pytest.mark.parametrize("work", WORKS[:-1])
def test_removed_receiver_is_finalised_outside_the_lock(
    work: Callable[[Signal], None], problems: list[str]
) -> None:
    def interrupt_everywhere() -> None:
        lines = 0
        while not problems and interrupted_after(lines):
            lines += 1

    def interrupted_after(lines: int) -> bool:
        def disconnect() -> None:
            for receiver in list(signal.receivers_for("api")):
                signal.disconnect(receiver)

        def wait_for_another_thread() -> None:
            if interruption.is_happening:
                return  # a lock that is held now is not held by its removal
            thread = threading.Thread(
                target=signal.disconnect, args=(ignore,), daemon=True
            )
            thread.start()
            thread.join(STUCK_SECONDS)
            if thread.is_alive():
                problems.append("".join(traceback.format_stack()))

        signal = Signal()
        signal.connect(Finalised(wait_for_another_thread), "api", weak=False)
        interruption = Interruption(lines, disconnect)
        sys.settrace(interruption)
        try:
            work(signal)
        finally:
            sys.settrace(None)
        return interruption.has_happened

    run_together(interrupt_everywhere)
    assert not problems


def test_finalisers_of_two_signals_do_not_wait_for_each_other(
    problems: list[str],
) -> None:
    def replace(signal: Signal, other: Signal) -> Callable[[], None]:
        def change() -> None:
            other.connect(another, sender="app")
            other.disconnect(another)

        def work() -> None:
            signal.connect(Finalised(change), "api", weak=False)
            for receiver in list(signal.receivers_for("api")):
                signal.disconnect(receiver)

        return busily(work)

    one, two = Signal(), Signal()
    run_together(replace(one, two), replace(two, one), replace(one, two))
    assert not problems
