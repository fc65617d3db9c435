"""Restores the state of the process that tests share, after each test."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Generator
from collections.abc import Iterator

from signalpost.lifecycle import catalogue
from signalpost.testing import restored

_OURS = ("signalpost", "shop")


@contextlib.contextmanager
def process_as_before() -> Generator[None]:
    """Put the connections of the catalogue and the loggers back after a block.

    An application that a test has made may live on until the next collection, and with
    it what was enabled for it: receivers of any sender, and a format of the log.
    """
    before = {
        logger: (logger.level, logger.propagate, logger.disabled, kept_by(logger))
        for logger in _loggers()
    }
    with restored(catalogue):
        yield
    for logger in _loggers():
        level, propagates, is_disabled, kept = before.get(
            logger, (logging.NOTSET, True, False, [])
        )
        logger.setLevel(level)
        logger.propagate, logger.disabled = propagates, is_disabled
        logger.filters[:] = [one for one in logger.filters if one in kept]
        for handler in [*logger.handlers]:
            if handler not in kept:
                logger.removeHandler(handler)


def kept_by(logger: logging.Logger) -> list[object]:
    """Return the handlers and filters of a logger."""
    return [*logger.handlers, *logger.filters]


def _loggers() -> Iterator[logging.Logger]:
    for name, logger in [*logging.root.manager.loggerDict.items()]:
        if name.split(".")[0] in _OURS and isinstance(logger, logging.Logger):
            yield logger
