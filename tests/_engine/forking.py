"""Processes forked while other threads change signals; run by test_fork.py."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import signalpost
from signalpost import named
from signalpost import Namespace
from signalpost import observe
from signalpost import Signal

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    # Python 3.12 and newer warn of what is tested here.
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]

CHILD_SECONDS = 10
"""A child that takes longer is stuck, and is killed."""
CHILDREN = 8
PATIENCE_SECONDS = 30.0
ENGINE = str(Path(signalpost.__file__).parent / "_engine")


class Owner:
    """A sender, and the owner of a receiver, that can die."""

    def receive(self, sender: Any, **extra: Any) -> None: ...


def ignore(sender: Any, **extra: Any) -> None: ...


def another(sender: Any, **extra: Any) -> None: ...


def status_of_child(work: Callable[[], bool]) -> int:
    """Run ``work`` in a child.

    :returns: 0 if it was true; negative if the child was stuck and killed.
    """
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if work() else 2
        finally:
            os._exit(status)
    end = time.monotonic() + CHILD_SECONDS
    waited, status = os.waitpid(child, os.WNOHANG)
    while not waited:
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            break
        time.sleep(0.001)
        waited, status = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(status)


class Site:
    """The objects that parent and child share."""

    def __init__(self) -> None:
        self.namespace = Namespace()
        self.signal = self.namespace.signal("opened")
        self.signal.connect(ignore)
        self.name = named("site of a fork")
        self.owner = Owner()

    def connect(self) -> None:
        self.signal.connect(another)
        self.signal.connect(another, sender="app")
        self.signal.disconnect(another)

    def die(self) -> None:
        owner = Owner()
        self.signal.connect(owner.receive)
        self.signal.connect(another, sender=owner)

    def name_signals(self) -> None:
        self.namespace.pop("closed", None)
        self.namespace.signal("closed")

    def connect_namespace(self) -> None:
        self.namespace.connect(another)
        self.namespace.disconnect(another)

    def bind(self) -> None:
        self.name.bind(Owner())
        named("another site of a fork").bind(self.owner)
        self.signal.connect(another, sender=self.name)
        self.signal.disconnect(another, sender=self.name)

    def open_blocks(self) -> None:
        with self.signal.muted(), self.signal.connected_to(another, sender="app"):
            self.signal.send("app")

    def receive_connects(self) -> None:
        found = Signal()
        found.receiver_connected.connect(ignore)
        found.receiver_disconnected.connect(ignore)

    def observe(self) -> None:
        with observe(ignore, self.namespace):
            self.signal.send("app")

    def send_once(self) -> None:
        self.signal.connect(another, sender=7, once=True)
        self.signal.send(7)

    WORKS = (
        connect,
        die,
        name_signals,
        connect_namespace,
        bind,
        open_blocks,
        receive_connects,
        observe,
        send_once,
    )

    def is_well(self) -> bool:
        """Do all of it once, in the child."""
        for work in self.WORKS:
            work(self)
        owner = Owner()
        self.signal.connect(owner.receive, sender="child")
        self.name.bind(owner)
        found = [receiver for receiver, _ in self.signal.send("child")]
        is_received = ignore in found and owner.receive in found
        is_gone = self.signal.disconnect(owner.receive, sender="child")
        return is_received and is_gone and self.namespace.signal("late").name == "late"


@pytest.fixture
def busy_threads() -> Iterator[None]:
    """Let threads change places all the time."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.usefixtures("busy_threads")
@pytest.mark.parametrize("work", Site.WORKS)
def test_child_of_a_busy_parent_is_not_stuck(work: Callable[[Site], None]) -> None:
    def keep_busy() -> None:
        while not is_over.is_set():
            work(site)
            has_begun.set()

    site, is_over, has_begun = Site(), threading.Event(), threading.Event()
    threads = [threading.Thread(target=keep_busy, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        assert has_begun.wait(PATIENCE_SECONDS)
        for _ in range(CHILDREN):
            assert status_of_child(site.is_well) == 0
    finally:
        is_over.set()
        for thread in threads:
            thread.join(PATIENCE_SECONDS)


class Stop:
    """Stops a thread before one line of the engine, until it may continue."""

    def __init__(self, line: int) -> None:
        self.lines_left = line
        self.reached = threading.Event()
        self.may_go_on = threading.Event()
        self.has_stopped = False

    def __call__(self, frame: FrameType, reason: str, argument: object) -> Any:
        if not frame.f_code.co_filename.startswith(ENGINE):
            return None
        if reason == "line" and not self.has_stopped:
            self.lines_left -= 1
            if self.lines_left < 0:
                self.has_stopped = True
                self.reached.set()
                self.may_go_on.wait(PATIENCE_SECONDS)
        return self


def status_with_a_thread_at(line: int, work: Callable[[Site], None]) -> int | None:
    """Fork while another thread is before a line of the engine.

    :returns: As :func:`status_of_child`, or ``None`` if there are fewer lines.
    """

    def run() -> None:
        sys.settrace(stop)
        try:
            work(site)
        finally:
            sys.settrace(None)
            stop.reached.set()

    site, stop = Site(), Stop(line)
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        assert stop.reached.wait(PATIENCE_SECONDS)
        return status_of_child(site.is_well) if stop.has_stopped else None
    finally:
        stop.may_go_on.set()
        thread.join(PATIENCE_SECONDS)


@pytest.mark.parametrize("work", Site.WORKS)
def test_child_is_not_stuck_whichever_line_another_thread_was_at(
    work: Callable[[Site], None],
) -> None:
    line = 0
    while (status := status_with_a_thread_at(line, work)) is not None:
        assert status == 0, line
        line += 7  # every line would take minutes


def test_parent_goes_on_after_a_fork() -> None:
    site = Site()
    assert status_of_child(site.is_well) == 0
    assert site.is_well()


def test_child_of_a_child_is_not_stuck() -> None:
    site = Site()
    assert status_of_child(lambda: status_of_child(site.is_well) == 0) == 0


def test_fork_within_a_receiver_is_not_stuck() -> None:
    def fork(sender: Any) -> None:
        statuses.append(status_of_child(site.is_well))

    site, statuses = Site(), list[int]()
    site.signal.connect(fork, sender="forking")
    site.signal.send("forking")
    assert statuses == [0]


def test_fork_within_a_connect_is_not_stuck() -> None:
    def fork(_: Any, **payload: Any) -> None:
        site.signal.receiver_connected.disconnect(fork)
        statuses.append(status_of_child(site.is_well))

    site, statuses = Site(), list[int]()
    site.signal.receiver_connected.connect(fork)
    site.signal.connect(another)
    assert statuses == [0]


def test_child_has_the_connections_of_the_parent() -> None:
    def is_received() -> bool:
        return [receiver for receiver, _ in site.signal.send("app")] == [ignore]

    site = Site()
    assert status_of_child(is_received) == 0


def test_child_within_a_muted_block_is_muted() -> None:
    site = Site()
    with site.signal.muted():
        assert status_of_child(lambda: site.signal.send("app") == []) == 0
