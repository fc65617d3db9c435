"""The code of applications that are installed as packages."""

from __future__ import annotations

import os
import sys
import typing as t
from collections.abc import Callable
from contextlib import suppress

__all__ = ["INSTALLED", "add_code_of", "is_installed_code", "on_new_code"]

INSTALLED: t.Final = tuple(
    f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages")
)
"""The parts of a path below which packages are installed."""

# A process has few applications.
_MOST: t.Final = 100

_places: set[str] = set()
_callbacks: list[Callable[[], object]] = []


def on_new_code(callback: Callable[[], object]) -> None:
    """Call a function whenever the code of another application is known."""
    _callbacks.append(callback)


def is_installed_code(file: str) -> bool:
    """Return whether a file belongs to an application that is installed."""
    return any(file.startswith(place) for place in _places)


def add_code_of(application: object) -> None:
    """Distinguish the code of an application from that of other installed packages.

    It is the whole package that the ``root_path`` of the application is in, as Flask's
    objects have one; otherwise nothing is known about its code.
    """
    place = None
    with suppress(Exception):  # it has no __dict__, or odd attributes
        place = _place_of(object.__getattribute__(application, "__dict__"))
    if place is not None and place not in _places and len(_places) < _MOST:
        _places.add(place)
        for callback in _callbacks:
            callback()


def _place_of(attributes: dict[str, t.Any]) -> str | None:
    """Return the folder of an application's package, or the file of its module."""
    root = attributes["root_path"].rstrip(os.sep) + os.sep
    for installed in INSTALLED:
        before, found, below = root.rpartition(installed)
        if found:
            package = below.partition(os.sep)[0]
            if package:
                return f"{before}{found}{package}{os.sep}"
            return sys.modules[attributes["import_name"]].__file__
    return None
