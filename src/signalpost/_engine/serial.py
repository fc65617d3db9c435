"""Changes that run one at a time, from any thread and from finalisers."""

from __future__ import annotations

import os
import threading
import typing as t
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

T = t.TypeVar("T")


class Serial:
    """Run changes one at a time, from any thread.

    A finaliser may run on any line, so also within a change of the same thread: its
    change waits until the other one is made. What a change removes
    is dropped when no lock is held, as that may call finalisers of users.

    A child process that is forked while another thread makes a change gets a new lock,
    and :meth:`recover` is called there.
    """

    __slots__ = (
        "__weakref__",
        "_is_busy",
        "_lock",
        "_removed",
        "after_change",
        "waiting",
    )

    after_change: tuple[Callable[[], object], ...]
    """Called after each change that a caller waits for, when no lock is held."""
    waiting: deque[Callable[[], object]]
    """The changes that wait."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._is_busy = False
        self._removed: list[object] = []
        self.after_change = ()
        self.waiting = deque()
        every.add(self)

    def run(self, change: Callable[..., T], *arguments: Any) -> T | None:
        """Run a change and return its result; ``None`` if it has to wait."""
        return self.run_pair(_call, change, arguments)

    def run_pair(
        self, change: Callable[[Any, Any], T], one: object, other: object
    ) -> T | None:
        """Run a change with two arguments, in half of the time."""
        # Not as a with block, which takes three times as long.
        self._lock.acquire()
        if self._is_busy:
            self.waiting.append(partial(change, one, other))
            self._lock.release()
            return None
        self._is_busy = True
        try:
            while self.waiting:
                self.waiting.popleft()()
            result = change(one, other)
        finally:
            self._is_busy = False
            removed = self._removed
            if removed:
                self._removed = []
            self._lock.release()
        if self.waiting:
            del removed
            self.run_waiting()
        if self.after_change:
            self.call_after_change()
        return result

    def call_after_change(self) -> None:
        """Call the functions that follow a change."""
        for function in self.after_change:
            function()

    def run_now(self, function: Callable[..., T], *arguments: Any) -> T:
        """Return the result of a function that is called while nothing changes.

        It is called at once, also within a change of the same thread.
        """
        self._lock.acquire()
        was_busy, self._is_busy = self._is_busy, True
        try:
            result = function(*arguments)
        finally:
            self._is_busy = was_busy
            self._lock.release()
        if self.waiting:
            self.run_waiting()
        return result

    def run_later(self, change: Callable[..., object], *arguments: Any) -> None:
        """Run a change soon, without waiting for another thread."""
        self.waiting.append(partial(change, *arguments))
        self.run_waiting()

    def run_waiting(self) -> None:
        """Run the waiting changes, unless another thread does."""
        while self.waiting and self._lock.acquire(blocking=False):
            try:
                if self._is_busy:
                    return
                self._is_busy = True
                try:
                    while self.waiting:
                        self.waiting.popleft()()
                finally:
                    self._is_busy = False
                    removed, self._removed = self._removed, []
            finally:
                self._lock.release()
            del removed

    def drop_later(self, *removed: object) -> None:
        """Keep the objects that a change removes until no lock is held."""
        self._removed += removed

    def recover(self) -> None:
        """Repair a change that was half done when another thread forked."""

    def renew_lock(self) -> None:
        """Make sure that a forked child can make changes."""
        if self._lock.acquire(blocking=False):  # free, or this very thread's
            self._lock.release()
            return
        self._lock = threading.RLock()
        self._is_busy = False
        self.recover()


def _call(change: Callable[..., T], arguments: tuple[Any, ...]) -> T:
    return change(*arguments)


every: weakref.WeakSet[Serial] = weakref.WeakSet()
"""Every instance in this process."""


def _renew_locks() -> None:
    for serial in [*every]:
        serial.renew_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
