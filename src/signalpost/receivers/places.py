"""Which code is the application's, so that a log names a line of it."""

from __future__ import annotations

import os
from functools import lru_cache

__all__ = ["is_generated", "is_of_application"]

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
