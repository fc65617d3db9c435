"""How a command ends that runs until it is stopped."""

from __future__ import annotations

import atexit
import contextlib
import signal as system_signals
import threading
import typing as t
from collections.abc import Generator

import click

__all__ = ["ended_by_signals"]

_ENDINGS = ("SIGINT", "SIGTERM", "SIGHUP")  # not every system has all


@contextlib.contextmanager
def ended_by_signals() -> Generator[None]:
    """End the block at Ctrl-C, at SIGTERM, or when the terminal is closed.

    The block cleans up in each case, and the signals of the system do what they did
    before. If one of them has ended it, they are ignored once Python exits: a second
    Ctrl-C then changes no exit code.
    """
    before: dict[int, t.Any] = {}
    has_ended = False

    def end(number: int, _: object) -> t.NoReturn:
        nonlocal has_ended
        has_ended = True
        # A second Ctrl-C would interrupt the cleanup.
        for one in before:
            system_signals.signal(one, system_signals.SIG_IGN)
        if number == system_signals.SIGINT:
            raise KeyboardInterrupt
        # The code that a shell reports for a process that a signal has ended.
        raise SystemExit(128 + number)

    # Python accepts handlers only in the main thread; a test may use another one.
    if threading.current_thread() is threading.main_thread():
        for one in system_signals.Signals:
            action = system_signals.getsignal(one)
            # Signals that nohup ignores, and handlers that are not Python's, stay.
            if one.name in _ENDINGS and action not in (None, system_signals.SIG_IGN):
                before[one] = action
                system_signals.signal(one, end)
    try:
        yield
    except KeyboardInterrupt:
        click.echo(err=True)  # the terminal shows ^C on the current line
    finally:
        for number, action in before.items():
            system_signals.signal(number, action)
            if has_ended:
                atexit.register(system_signals.signal, number, system_signals.SIG_IGN)
