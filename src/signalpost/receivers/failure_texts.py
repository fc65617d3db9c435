"""Identify a failure, and write its exception as text of bounded length."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from hashlib import blake2b
from itertools import islice
from typing import NamedTuple

from .lines import single_line
from .lines import truncated
from .locations import file_of
from .locations import is_generated
from .locations import is_of_application
from .messages import message_without_values
from .tracebacks import Change
from .tracebacks import traceback_lines

__all__ = [
    "Location",
    "fingerprint_of",
    "innermost",
    "kind_of",
    "locations_of",
    "message_of",
    "traceback_of",
]

_MOST_LOCATIONS = 5
"""Number of the application's frames that identify a failure."""
_MOST_FRAMES = 64
"""How many frames of an exception are looked at if none is the application's."""
_FIRST_LINES = 160
_LAST_LINES = 40
"""How many lines of a traceback are shown: of its beginning, and of its end."""


class Location(NamedTuple):
    """A line of the code that an exception passed, or a route without a function."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        if not self.function:
            return self.file
        return f"{self.file}:{self.line}:{self.function}"


def fingerprint_of(kind: str, locations: Iterable[Location]) -> str:
    """Return 12 hexadecimal digits that failures of one kind and place share."""
    name = "\n".join((kind, *map(str, locations)))
    return blake2b(name.encode("utf-8", "backslashreplace"), digest_size=6).hexdigest()


def kind_of(exception: BaseException) -> str:
    """Return the type of an exception, as ``"shop.stock.SoldOut"``."""
    kind = type(exception)
    module = kind.__module__
    return truncated(
        kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"
    )


def message_of(exception: BaseException, *, with_values: bool) -> str:
    """Return the message of an exception, and ``…`` where it was cut.

    :param with_values: Whether values of a database stay in it.
    """
    try:
        message = str(exception)
        if not with_values:
            message = message_without_values(exception, message)
        return truncated(message)
    except Exception:  # noqa: BLE001  # whatever an application's exception does
        return "<str() of it failed>"


def locations_of(exception: BaseException) -> tuple[Location, ...]:
    """Return the lines that identify this failure, the innermost last."""
    all_locations = []
    step = exception.__traceback__
    while step is not None:
        function = step.tb_frame.f_code.co_qualname
        all_locations.append(Location(file_of(step.tb_frame), step.tb_lineno, function))
        step = step.tb_next
    if isinstance(exception, RecursionError):
        locations = _of_application(all_locations)
    else:
        locations = _of_application(reversed(all_locations))[::-1]
    return tuple(locations or all_locations[-_MOST_FRAMES:])


def _of_application(locations: Iterable[Location]) -> list[Location]:
    """Return the first locations of the application, and the ones between.

    That is code without a file: it is not a place to be shown, but if one line of the
    application fails in two lines of such code, it has two failures.
    """
    found: list[Location] = []
    count = 0
    for location in locations:
        if is_of_application(location.file):
            count += 1
            found.append(location)
            if count == _MOST_LOCATIONS:
                break
        elif is_generated(location.file) and len(found) < _MOST_FRAMES:
            found.append(location)
    return found if count else []


def innermost(locations: tuple[Location, ...]) -> Location:
    """Return the line that is shown of a failure: of the application, if it has one."""
    for location in reversed(locations):
        if is_of_application(location.file):
            return location
    return locations[-1] if locations else Location("-", 0, "-")


def traceback_of(exception: BaseException, change: Change | None = None) -> str:
    """Return a traceback of bounded length; none of its lines begins a record.

    :param change: As for :func:`~.tracebacks.traceback_lines`.
    """
    try:
        lines = traceback_lines(exception, change)
        shown = [*islice(lines, _FIRST_LINES)]
        rest = 0
        last: deque[str] = deque(maxlen=_LAST_LINES)
        for line in lines:
            last.append(line)
            rest += 1
    except Exception:  # noqa: BLE001  # as for the message
        return "  <the traceback cannot be shown>"
    if rest > len(last):
        shown.append(f"… {rest - len(last)} lines are left out here …")
    return "\n".join(
        f"  {single_line(truncated(line))}".rstrip() for line in (*shown, *last)
    )
