"""The format of the lines that receivers log."""

from __future__ import annotations

import logging
import sys
import threading
import typing as t
import weakref
from collections.abc import Mapping
from typing import Any

from ._finding import object_at
from ._location import joined
from ._location import Location
from ._location import nearest
from ._shown import shown_value

__all__ = ["FORMATS", "formatter_of", "output"]

_PUT_REQUEST: t.Final = "signalpost.receivers.context:put_request"

FORMATS: t.Final[Mapping[str, str]] = {
    "json": "signalpost.receivers.formats:JsonFormatter",
    "logfmt": "signalpost.receivers.formats:LogfmtFormatter",
    "text": "signalpost.config._terminal:TerminalFormatter",
}
"""The import path of each format's formatter."""


def formatter_of(form: Any, location: Location) -> logging.Formatter:
    """Return the formatter of a format.

    :raises ConfigurationError: If there is no such format.
    """
    if not isinstance(form, str) or form not in FORMATS:
        raise location.error(
            f"expected one of {joined(FORMATS)}, got {shown_value(form)}"
            f"{nearest(form, FORMATS)}"
        )
    formatter: logging.Formatter = object_at(FORMATS[form], location)()
    if form != "text":
        _filters[formatter] = object_at(_PUT_REQUEST, location)
    return formatter


_filters: weakref.WeakKeyDictionary[logging.Formatter, t.Any] = (
    weakref.WeakKeyDictionary()
)
"""Import paths of what puts the request on a record, for formatters that write it as
fields."""


class _StandardError(logging.Handler):
    """A handler that writes each record to the current standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            # Not as a filter of the handler, as that depends on the formatter.
            put_request = _filters.get(self.formatter) if self.formatter else None
            if put_request is not None:
                put_request(record)
            # In one piece, as other processes may write there, too.
            sys.stderr.write(f"{self.format(record)}\n")
        except Exception:  # noqa: BLE001  # as in every handler of logging
            self.handleError(record)


class Output:
    """The only handler and format of this process for lines of receivers.

    The last format that was set is in force; when its owner is gone, the one before
    it.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._formatters: dict[int, logging.Formatter] = {}
        self._handler = _StandardError()
        self._before = (logging.NOTSET, True)

    def write_as(self, formatter: logging.Formatter | None, asker: int) -> None:
        """Set the formatter of an owner, or remove it if ``None``."""
        logger = logging.getLogger("signalpost")
        with self._lock:
            self._formatters.pop(asker, None)
            if formatter is not None:
                self._formatters[asker] = formatter
            if not self._formatters:
                self._end(logger)
                return
            self._handler.setFormatter([*self._formatters.values()][-1])
            if self._handler not in logger.handlers:
                self._begin(logger)

    def _begin(self, logger: logging.Logger) -> None:
        self._before = (logger.level, logger.propagate)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.INFO)
        # The root logger's would write each line a second time.
        logger.propagate = False
        logger.addHandler(self._handler)

    def _end(self, logger: logging.Logger) -> None:
        level, logger.propagate = self._before
        logger.setLevel(level)
        logger.removeHandler(self._handler)


output = Output()
