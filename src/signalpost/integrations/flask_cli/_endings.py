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
    """Let Ctrl-C end the block, and what stops the process or closes its terminal.

    The block cleans up in each case, and the signals of the system do what they did
    before. If one of them has ended it, they are ignored once Python exits: a second
    Ctrl-C then changes no exit code.
    """
    before: dict[int, t.Any] = {}
    has_ended = False

    def end(number: int, _: object) -> t.NoReturn:
        nonlocal has_ended
        has_ended = True
        # A second Ctrl-C would interrupt what cleans up.
        for one in before:
            system_signals.signal(one, system_signals.SIG_IGN)
        if number == system_signals.SIGINT:
            raise KeyboardInterrupt
        # As a shell reports what was ended by a signal of the system.
        raise SystemExit(128 + number)

    # Elsewhere Python takes no functions for them; a test may run a command there.
    if threading.current_thread() is threading.main_thread():
        for one in system_signals.Signals:
            action = system_signals.getsignal(one)
            # What nohup has made ignored stays so, and what is not Python's.
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
