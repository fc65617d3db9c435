"""Identify a failure, and write its exception as text of bounded length."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from hashlib import blake2b
from itertools import islice
from typing import NamedTuple

from .lines import capped
from .lines import one_line
from .messages import message_without_values
from .places import is_generated
from .places import is_of_application
from .tracebacks import Change
from .tracebacks import traceback_lines

__all__ = [
    "Place",
    "fingerprint_of",
    "innermost",
    "kind_of",
    "message_of",
    "places_of",
    "traceback_of",
]

_MOST_PLACES = 5
"""Number of the application's frames that identify a failure."""
_MOST_FRAMES = 64
"""How many frames of an exception are looked at if none is the application's."""
_FIRST_LINES = 160
_LAST_LINES = 40
"""How many lines of a traceback are shown: of its beginning, and of its end."""


class Place(NamedTuple):
    """A line of the code that an exception passed, or a route without a function."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        if not self.function:
            return self.file
        return f"{self.file}:{self.line}:{self.function}"


def fingerprint_of(kind: str, places: Iterable[Place]) -> str:
    """Return 12 hexadecimal digits that failures of one kind and place share."""
    name = "\n".join((kind, *map(str, places)))
    return blake2b(name.encode("utf-8", "backslashreplace"), digest_size=6).hexdigest()


def kind_of(exception: BaseException) -> str:
    """Return the type of an exception, as ``"shop.stock.SoldOut"``."""
    kind = type(exception)
    module = kind.__module__
    return capped(
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
        return capped(message)
    except Exception:  # noqa: BLE001  # whatever an application's exception does
        return "<str() of it failed>"


def places_of(exception: BaseException) -> tuple[Place, ...]:
    """Return the lines that identify this failure, the innermost last."""
    all_places = []
    step = exception.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        all_places.append(Place(code.co_filename, step.tb_lineno, code.co_qualname))
        step = step.tb_next
    if isinstance(exception, RecursionError):
        places = _of_application(all_places)
    else:
        places = _of_application(reversed(all_places))[::-1]
    return tuple(places or all_places[-_MOST_FRAMES:])


def _of_application(places: Iterable[Place]) -> list[Place]:
    """Return the first places of the application, and what lies between them.

    That is code without a file: it is no place to be shown, but if one line of the
    application fails in two lines of such code, it has two failures.
    """
    found: list[Place] = []
    count = 0
    for place in places:
        if is_of_application(place.file):
            count += 1
            found.append(place)
            if count == _MOST_PLACES:
                break
        elif is_generated(place.file) and len(found) < _MOST_FRAMES:
            found.append(place)
    return found if count else []


def innermost(places: tuple[Place, ...]) -> Place:
    """Return the line that is shown of a failure: of the application, if it has one."""
    for place in reversed(places):
        if is_of_application(place.file):
            return place
    return places[-1] if places else Place("-", 0, "-")


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
    return "\n".join(f"  {one_line(capped(line))}".rstrip() for line in (*shown, *last))
