"""Messages of a running server, filtered and made lines."""

from __future__ import annotations

import fnmatch
import json
import math
from collections.abc import Iterable
from datetime import datetime

from ...console.layout import coloured
from ...receivers.lines import logfmt_value
from ...receivers.watch import Message

__all__ = ["Wanted", "json_of", "known", "line_of", "text_of"]

_BY_OUTCOME = {
    "complete": "green",
    "aborted": "yellow",
    "error": "red",
    "lost": "magenta",
}
_BY_CLASS = {"2": "green", "3": "cyan", "4": "yellow", "5": "red"}


class Wanted:
    """Selects the messages that are shown."""

    def __init__(
        self, signals: Iterable[str], paths: Iterable[str], statuses: Iterable[str]
    ) -> None:
        self._by_key = {
            "signal": [*signals],
            # Brackets are literal, because paths can have them.
            "path": [one.replace("[", "[[]") for one in paths],
            "status": [one.lower().replace("x", "?") for one in statuses],
        }

    def takes(self, message: Message) -> bool:
        """Return whether a message passes each kind of filter that was given."""
        return all(
            any(fnmatch.fnmatchcase(str(known(message, key)), one) for one in patterns)
            for key, patterns in self._by_key.items()
            if patterns
        )


def known(message: Message, key: str) -> str | int | float | None:
    """Return a value of a message; ``None`` if no WatchSender would send it."""
    value = message.get(key)
    return value if isinstance(value, (str, int, float)) else None


def text_of(value: object) -> str:
    """Return a value as one word, whatever it is."""
    return logfmt_value(str(value)) if isinstance(value, (str, int, float)) else "-"


def json_of(message: Message) -> str:
    """Return a message as one line of JSON, of printable ASCII.

    With the values that a WatchSender would send.
    """
    plain = {str(key): known(message, key) for key in message}
    for key, value in plain.items():
        if isinstance(value, float) and not math.isfinite(value):
            plain[key] = str(value)  # as JSON has no such number
    return json.dumps(plain)


def line_of(message: Message) -> str:
    """Return a message as one line, whatever a client has put into it."""
    fields = [_time_of(message), text_of(message["signal"])]
    if known(message, "path") is not None:
        fields += [text_of(message.get(key)) for key in ("method", "path")]
    status = known(message, "status")
    if status is not None:
        fields.append(coloured(text_of(status), _BY_CLASS.get(str(status)[:1])))
    outcome = known(message, "outcome")
    if outcome is not None:
        fields.append(coloured(text_of(outcome), _BY_OUTCOME.get(str(outcome))))
    if isinstance(message.get("duration_seconds"), float):
        fields.append(_milliseconds(message, "duration_seconds"))
    count = message.get("sql_count")
    if isinstance(count, int):
        plural = "" if count == 1 else "s"
        duration = _milliseconds(message, "sql_duration_seconds")
        fields.append(f"{count} statement{plural} in {duration}")
    exception = known(message, "exception")
    if exception is not None:
        fields.append(coloured(text_of(exception), "red"))
    return " ".join(fields)


def _milliseconds(message: Message, key: str) -> str:
    seconds = message.get(key)
    return f"{seconds * 1000:.1f} ms" if isinstance(seconds, float) else "-"


def _time_of(message: Message) -> str:
    """Return when a message was sent, in local time to the millisecond."""
    seconds = message.get("time")
    if not isinstance(seconds, (int, float)):
        return "-"
    try:
        at = datetime.fromtimestamp(seconds).astimezone()
    except (OverflowError, OSError, ValueError):
        return "-"
    return at.strftime("%H:%M:%S.%f")[:-3]
