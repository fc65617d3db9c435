"""Which line of the code under test executed a statement."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from types import FrameType

_LIBRARY = os.path.dirname(os.__file__) + os.sep
_OURS = os.path.dirname(os.path.dirname(__file__)) + os.sep
_INSTALLED = tuple(
    f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages")
)


# Code of no file that a person wrote all the same: a template of Jinja's, an example of
# a documentation, what was typed at a prompt.
_WRITTEN = ("<template>", "<doctest ", "<stdin>")


def place_of(frame: FrameType) -> str:
    """Return the innermost line of code below a frame that is not installed.

    :param frame: Where to begin.
    :returns: As ``"/srv/shop/orders.py:31:names_of"``; ``"-"`` if there is none.
    """
    for step in _steps(frame):
        file = step.f_code.co_filename
        if _is_of_application(file):
            return f"{file}:{_line_of(step)}:{step.f_code.co_qualname}"
    return "-"


def _is_of_application(file: str) -> bool:
    # Such as the wrappers that SQLAlchemy makes of its methods by exec().
    if file.startswith("<"):
        return file.startswith(_WRITTEN)
    if file.startswith((_LIBRARY, _OURS)):
        return False
    return not any(folder in file for folder in _INSTALLED)


def _line_of(frame: FrameType) -> int | None:
    """Return the line that a frame is at; of a Jinja template, the template's own."""
    template = frame.f_globals.get("__jinja_template__")
    if template is None or frame.f_lineno is None:
        return frame.f_lineno
    line: int = template.get_corresponding_lineno(frame.f_lineno)
    return line


def _steps(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield a frame and those that it was called from, innermost first.

    An async engine runs in a greenlet, whose own frames end where it was started. The
    coroutine that waits for it is on those of its parent.
    """
    greenlets = sys.modules.get("greenlet")
    greenlet = None if greenlets is None else greenlets.getcurrent()
    while frame is not None:
        yield frame
        frame = frame.f_back
        while frame is None and greenlet is not None:
            greenlet = greenlet.parent
            frame = None if greenlet is None else greenlet.gr_frame
