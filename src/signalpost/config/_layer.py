"""One of the files and mappings that a configuration is laid together from."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigurationError
from ._misplaced import misplaced
from ._misplaced import wrong_keys
from ._place import Lines
from ._place import NO_LINES
from ._place import Place
from ._tables import OURS
from ._tables import reached

__all__ = ["Layer"]


@dataclass(frozen=True, slots=True)
class Layer:
    """A file or mapping, before others were laid over it."""

    source: str
    """The file, or what else was read."""
    table: Mapping[str, Any]
    """The whole of it."""
    lines: Lines = NO_LINES
    """The lines of the file."""
    mistakes: tuple[ConfigurationError, ...] = ()
    """The mistakes found when it was read."""

    def has_key(self, section: str, key: str) -> bool:
        """Return whether a section of it has a key."""
        table = self._section(section)
        return isinstance(table, Mapping) and key in table

    def place_of(self, section: str, key: str) -> Place:
        """Return where a key is."""
        return Place(self.source, section, key, self.lines)

    def mistakes_in(self, section: str) -> Iterable[ConfigurationError]:
        """Yield what is wrong with it whatever is laid over it.

        :param section: What is loaded; ``""`` for the whole.
        """
        yield from self.mistakes
        table = self._section(section)
        if not isinstance(table, Mapping):
            return

        def place_of(inner: str, key: str) -> Place:
            return self.place_of(".".join(filter(None, (section, inner))), key)

        if not section:
            yield from misplaced(table, place_of)
        if OURS in table:
            yield from wrong_keys(table[OURS], place_of)

    def _section(self, section: str) -> Any:
        try:
            return reached(self.table, section) if section else self.table
        except KeyError:
            return None
