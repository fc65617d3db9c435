"""Which code is the application's, so that a log names a line of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import lru_cache
from types import FrameType

__all__ = ["is_generated", "is_of_application", "place_of"]

_LIBRARY = os.path.dirname(os.__file__) + os.sep
_OURS = os.path.dirname(os.path.dirname(__file__)) + os.sep
_INSTALLED = tuple(
    f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages")
)

# Code of no file that a person wrote all the same: what was typed at a prompt, an
# example of a documentation, a template of Jinja's that has no file.
_WRITTEN = (
    "<stdin>",
    "<console>",
    "<python-input-",
    "<ipython-input-",
    "<doctest ",
    "<template>",
)


@lru_cache(maxsize=4096)
def is_of_application(file: str) -> bool:
    """Return whether a file is the application's.

    That is all but Python's library, what is installed (``site-packages``,
    ``dist-packages``), signalpost, and code that :func:`exec` made.

    >>> is_of_application("/srv/shop/stock.py")
    True
    >>> is_of_application("/srv/venv/lib/python3.12/site-packages/flask/app.py")
    False

    :param file: The name of the file, as a code object has it.
    """
    return not (
        is_generated(file)
        or file.startswith((_LIBRARY, _OURS, "<frozen "))
        or any(folder in file for folder in _INSTALLED)
    )


def is_generated(file: str) -> bool:
    """Return whether code was made by :func:`exec` and has no file.

    Such as the wrappers that SQLAlchemy makes of its methods, and the ``__init__`` of
    attrs and of dataclasses.

    >>> is_generated("<string>"), is_generated("<attrs generated init shop.Mug>")
    (True, True)
    >>> is_generated("/srv/shop/templates/mug.html")
    False

    :param file: The name of the file, as a code object has it.
    """
    return file.startswith("<") and not file.startswith(("<frozen ", *_WRITTEN))


def place_of(frame: FrameType) -> str:
    """Return the innermost line of the application's code below a frame.

    :param frame: Where to begin.
    :returns: As ``"/srv/shop/orders.py:31:names_of"``; ``"-"`` if there is none.
    """
    for step in _steps(frame):
        if is_of_application(step.f_code.co_filename):
            file, line = _file_and_line(step)
            return f"{file}:{line}:{step.f_code.co_qualname}"
    return "-"


def _file_and_line(frame: FrameType) -> tuple[str, int | None]:
    """Return the line that a frame is at; of a Jinja template, the template's own."""
    file, line = frame.f_code.co_filename, frame.f_lineno
    template = frame.f_globals.get("__jinja_template__")
    if template is None or line is None:
        return file, line
    # One that comes from no file has a name all the same.
    if file == "<template>" and template.name:
        file = template.name
    return file, template.get_corresponding_lineno(line)


def _steps(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield a frame and those that it was called from, innermost first.

    An async engine runs in a greenlet, whose own frames end where it was started; the
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
