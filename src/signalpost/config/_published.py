"""Read the receivers that installed distributions publish, once in a process."""

from __future__ import annotations

import sys
import typing as t
from importlib.metadata import entry_points
from importlib.metadata import EntryPoints

from .._engine.serial import Serial

__all__ = ["ENTRY_POINT_GROUP", "published", "read_published"]

ENTRY_POINT_GROUP: t.Final = "signalpost.receivers"
"""The entry-point group under which other distributions publish receivers.

.. versionadded:: 0.1
"""


class _Read(t.NamedTuple):
    """The entries that were read, and the places that were searched."""

    places: tuple[tuple[object, ...], ...]
    entries: EntryPoints


class _Reader(Serial):
    """Reads the distributions, in one thread at a time."""

    __slots__ = ("latest",)

    latest: _Read | None
    """The latest result."""

    def __init__(self) -> None:
        super().__init__()
        self.latest = None

    def known(self) -> EntryPoints:
        latest = self.latest
        # The finders themselves: the id of one that is gone may be another's.
        if latest is not None and latest.places == _places():
            return latest.entries
        return self.read()

    def read(self) -> EntryPoints:
        places = _places()
        entries = entry_points(group=ENTRY_POINT_GROUP)
        self.latest = _Read(places, entries)
        return entries


def _places() -> tuple[tuple[object, ...], ...]:
    return tuple(sys.path), tuple(sys.meta_path)


_reader = _Reader()


def published() -> EntryPoints:
    """Return the receivers that installed distributions publish.

    They are read again when ``sys.path`` or ``sys.meta_path`` is another one: to read
    takes milliseconds, as the files of every distribution are opened.
    """
    return _reader.run_now(_reader.known)


def read_published() -> EntryPoints:
    """Read the entries again, because packages may have been installed."""
    return _reader.run_now(_reader.read)
