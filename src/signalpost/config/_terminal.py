"""Text in colours, where standard error is a terminal that shows them."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Mapping
from typing import Any
from typing import Final

from ..receivers.formats import Line
from ..receivers.formats import TextFormatter

__all__ = ["TerminalFormatter", "shows_colours"]

# Of the sixteen colours that every terminal has, for a light or a dark background.
_GREEN, _YELLOW, _RED, _CYAN = "\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[36m"
_MAGENTA, _BOLD_MAGENTA = "\x1b[35m", "\x1b[1;35m"
_END = "\x1b[0m"

_BY_STATUS: Final[Mapping[str, str]] = {
    "2": _GREEN,
    "3": _CYAN,
    "4": _YELLOW,
    "5": _RED,
}
_BY_OUTCOME: Final[Mapping[str, str]] = {
    "aborted": _YELLOW,
    "error": _RED,
    "lost": _MAGENTA,
}

# A word of a line: in quotation marks if it has a space.
_WORD = r'(?:"(?:[^"\\]|\\.)*"|[^" ]+)'
_REQUEST = rf"{_WORD} {_WORD} (?P<status>\d+|-)"
_PARTS: Final[Mapping[str, re.Pattern[str]]] = {
    "latency": re.compile(rf"{_REQUEST} (?P<outcome>\w+) (?P<duration>[\d.]+ ms)"),
    "failure": re.compile(rf"{_REQUEST} \w+ (?P<failed>{_WORD})"),
    "sql": re.compile(rf"(?:(?P<slow>slow [\d.]+ ms)|(?P<failed>failed {_WORD}))"),
}
"""The parts of a line that may be coloured, by the line's name."""


class TerminalFormatter(TextFormatter):
    """Write a record as plain text; on a terminal, coloured by status and slowness.

    Only lines of built-in receivers are. No word depends on its colour.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - of logging
        """Return the line of a record."""
        text = super().formatMessage(record)
        message = record.message
        # Colours are added to escaped text, so that no other escape
        # sequence is in it.
        if (
            isinstance(record.msg, Line)
            and text.endswith(message)
            and shows_colours(sys.stderr)
        ):
            text = text.removesuffix(message) + _coloured(record.msg, message)
        return text


def shows_colours(stream: Any) -> bool:
    """Return whether a stream is a terminal that shows colours.

    ``NO_COLOR`` in the environment means never (https://no-color.org), and after it
    ``FORCE_COLOR`` always (https://force-color.org); either counts unless it is empty.
    """
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    try:
        is_terminal = bool(stream.isatty())
    except (AttributeError, ValueError):  # no stream, or a closed one
        return False
    if os.name == "nt":
        # The older console of Windows shows the sequences themselves.
        return is_terminal and "WT_SESSION" in os.environ
    return is_terminal and os.environ.get("TERM") != "dumb"


def _coloured(line: Line, text: str) -> str:
    pattern = _PARTS.get(line.name)
    found = None if pattern is None else pattern.match(text)
    if found is None:
        return text
    # From the end on, so that the places of those before stay right.
    for name, part in reversed(found.groupdict().items()):
        style = "" if part is None else _style_of(name, part, line)
        if style:
            start, end = found.span(name)
            text = f"{text[:start]}{style}{part}{_END}{text[end:]}"
    return text


def _style_of(name: str, part: str, line: Line) -> str:
    if name == "status":
        return _BY_STATUS.get(part[0], "")
    if name == "outcome":
        return _BY_OUTCOME.get(part, "")
    if name == "failed":
        return _RED
    is_slow = name == "slow" or getattr(line, "is_slow", False)
    return _BOLD_MAGENTA if is_slow else ""
