"""Distinguish the application's code, so that a log names a line of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import lru_cache
from importlib.machinery import EXTENSION_SUFFIXES
from types import CodeType
from types import FrameType
from typing import Any

from .._code import INSTALLED
from .._code import is_installed_code
from .._code import on_new_code

__all__ = ["file_of", "is_generated", "is_of_application", "location_of"]

_LIBRARY = os.path.dirname(os.__file__) + os.sep
_OWN_FOLDER = os.path.dirname(os.path.dirname(__file__)) + os.sep

# Where pip writes the scripts of packages, such as gunicorn. Embedded, Python may have
# no executable.
_SCRIPTS = os.path.join(os.path.dirname(sys.executable or os.__file__), "")

# Code without a file that a person wrote: at a prompt, in an example of a page, or in a
# Jinja template from a string.
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
    ``dist-packages``), the scripts of packages, signalpost, and code that :func:`exec`
    made. The package of a Flask application is the application's, even if it is
    installed.

    >>> is_of_application("/srv/shop/stock.py")
    True
    >>> is_of_application("/srv/venv/lib/python3.12/site-packages/flask/app.py")
    False

    :param file: The name of the file, as a code object has it.
    """
    if is_generated(file) or file.startswith((_OWN_FOLDER, "<frozen ")):
        return False
    if file.startswith(_SCRIPTS) and not os.path.splitext(file)[1]:
        return False
    # Before Python's library, because packages are installed below it.
    if is_installed_code(file):
        return True
    return not (
        file.startswith(_LIBRARY) or any(folder in file for folder in INSTALLED)
    )


def is_generated(file: str) -> bool:
    """Return whether code was made by :func:`exec` and has no file.

    Examples are the wrappers that SQLAlchemy makes of its methods, and the ``__init__``
    of attrs and of dataclasses.

    >>> is_generated("<string>"), is_generated("<attrs generated init shop.Mug>")
    (True, True)
    >>> is_generated("/srv/shop/templates/mug.html")
    False

    :param file: The name of the file, as a code object has it.
    """
    return file.startswith("<") and not file.startswith(("<frozen ", *_WRITTEN))


def file_of(frame: FrameType) -> str:
    """Return the file of a frame's code; of a compiled module next to the module.

    Compilers such as Cython write the name that the source had where it was compiled,
    such as ``"psycopg_binary/_psycopg/waiting.pyx"``, which has no ``site-packages``.

    :param frame: Of a traceback: other frames of compiled code are not seen.
    """
    file = frame.f_code.co_filename
    module = frame.f_globals.get("__file__")
    if type(module) is not str or not module.endswith(_COMPILED):
        return file
    return os.path.join(os.path.dirname(module), os.path.basename(file))


_COMPILED = tuple(EXTENSION_SUFFIXES)


def location_of(frame: FrameType) -> str:
    """Return the innermost line of the application's code below a frame.

    :param frame: Where to begin.
    :returns: As ``"/srv/shop/orders.py:31:names_of"``; ``"-"`` if not found.
    """
    found = _found_below(frame)
    if found is None:
        below = map(_found_below, _waiting_frames())
        found = next((one for one in below if one is not None), "-")
    return found


def _found_below(frame: FrameType | None) -> str | None:
    # Called for each statement, some twenty frames below the application's: so without
    # a generator, a call and more than one check for each frame.
    step: Any = frame
    libraries = _libraries
    while True:
        try:
            while step.f_code.co_filename in libraries:
                step = step.f_back
        except AttributeError:  # at None, below the last frame
            return None
        file = step.f_code.co_filename
        if is_of_application(file):
            return _shown(step)
        if len(libraries) >= _MOST_LIBRARIES:
            libraries.clear()
        libraries.add(file)


def _shown(frame: FrameType) -> str:
    """Return a frame's line as text; cached, as few lines execute most statements."""
    code = frame.f_code
    # Not by the code object, because its hash is computed from all its parts.
    key = id(code), frame.f_lasti
    found = _texts.get(key)
    # The code is kept with its text, so that its id is not reused.
    if found is not None:
        return found[1]
    file, line = _file_and_line(frame)
    text = f"{file}:{line}:{code.co_qualname}"
    # An application may create many templates, and they would be kept.
    if _TEMPLATE not in frame.f_globals:
        if len(_texts) >= _MOST_TEXTS:
            _texts.clear()
        _texts[key] = code, text
    return text


_texts: dict[tuple[int, int], tuple[CodeType, str]] = {}
_MOST_TEXTS = 1024
_TEMPLATE = "__jinja_template__"

_libraries: set[str] = set()
"""Files that are not the application's."""
_MOST_LIBRARIES = 4096

# A file that was seen before may be of an application that is created later.
on_new_code(is_of_application.cache_clear)
on_new_code(_libraries.clear)


def _file_and_line(frame: FrameType) -> tuple[str, int | None]:
    """Return the line that a frame is at; of a Jinja template, the template's own."""
    file, line = frame.f_code.co_filename, frame.f_lineno
    template = frame.f_globals.get(_TEMPLATE)
    if template is None or line is None:
        return file, line
    # A template without a file can have a name.
    if file == "<template>" and template.name:
        file = template.name
    return file, template.get_corresponding_lineno(line)


def _waiting_frames() -> Iterator[FrameType]:
    """Yield the frame of each greenlet that waits for the one that runs.

    An async engine runs in a greenlet, whose own frames end where it was started; the
    coroutine that waits for it is on those of its parent.
    """
    greenlets = sys.modules.get("greenlet")
    greenlet = None if greenlets is None else greenlets.getcurrent().parent
    while greenlet is not None:
        if greenlet.gr_frame is not None:
            yield greenlet.gr_frame
        greenlet = greenlet.parent
