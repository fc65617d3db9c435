"""Reports of receivers that raise: a note on the exception, or a line in the log."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any
from typing import Final

from .connection import Connection
from .connection import Receiver
from .identity import describe

Report = Callable[[object, Connection, Receiver, Exception], None]
"""Reports that a signal's connection has a receiver that raised."""

MOST_KINDS = 16
"""The number of kinds of exceptions that are counted for each receiver."""

# A logging handler may send signals, whose receivers may fail or log, too. To end that,
# no other failure is logged while one is being logged, and the signal that it is about
# is not delivered.
_logged: ContextVar[tuple[object, ...]] = ContextVar("signalpost.logged", default=())

logging_now: Final[list[object]] = []
"""The signals of which a failure is being logged, in any thread."""


def is_being_logged(signal: object) -> bool:
    """Return whether this context is logging a failure of a signal's receiver."""
    return signal in _logged.get()


def add_note(error: BaseException, signal: object, receiver: Receiver) -> None:
    """Note on an exception which signal and receiver it came through."""
    # Some exceptions accept no note; they must reach the caller nevertheless.
    with suppress(Exception):
        note = f"raised by receiver {describe(receiver)} of {signal}"
        # An exception object may be raised again and again, as a constant.
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)


def log_failure(
    signal: object, _: Connection, receiver: Receiver, error: Exception
) -> None:
    """Log the exception of a receiver, with its traceback."""
    _log(signal, error, "%s: receiver %s failed", signal, describe(receiver))


def log_first_failures(
    signal: object, connection: Connection, receiver: Receiver, error: Exception
) -> None:
    """Log the 1st, 10th, 100th … failure of a kind, for what is sent in each request.

    A few kinds are counted; all others are counted as one kind.
    """
    # The first part has the counts, because a merged connection is temporary.
    failures = connection.parts[0].counts().failures
    kind = type(error)
    if kind not in failures and len(failures) >= MOST_KINDS:
        kind = Exception
    count = failures[kind] = failures.get(kind, 0) + 1
    if count == 1:
        log_failure(signal, connection, receiver, error)
    elif str(count).strip("0") == "1":  # 10, 100, 1000 …
        _log(
            signal,
            error,
            "%s: receiver %s failed for the %dth time with %s",
            signal,
            describe(receiver),
            count,
            type(error).__qualname__,
        )


def log_observer_failure(signal: object, observer: object, error: Exception) -> None:
    """Log the exception of an observer."""
    _log(signal, error, "%s: observer %s failed", signal, describe(observer))


def _log(signal: object, error: Exception, message: str, *arguments: Any) -> None:
    before = _logged.get()
    if before:
        return
    # Only when something fails: it takes longer than all of this.
    import logging

    from .unseen import checked

    _logged.set((signal,))
    logging_now.append(signal)
    try:
        logger = logging.getLogger("signalpost.signals")
        checked(logger, logging.ERROR).error(message, *arguments, exc_info=error)
    except Exception as failure:  # noqa: BLE001  # of a handler, as when the disk is full
        with suppress(Exception):
            text = message % arguments
            line = f"signalpost: {failure!r} while logging: {text}"
            # The texts come from the application, so none may begin a line.
            sys.stderr.write(" ".join(line.splitlines()) + "\n")
    finally:
        logging_now.remove(signal)
        _logged.set(before)
