"""One of the files and mappings that a configuration is laid together from."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigurationError
from ._location import Lines
from ._location import Location
from ._location import NO_LINES
from ._misplaced import misplaced
from ._misplaced import wrong_keys
from ._tables import lookup
from ._tables import SECTION

__all__ = ["Layer"]


@dataclass(frozen=True, slots=True)
class Layer:
    """A file or mapping, before others were merged over it."""

    source: str
    """The name of the file or mapping."""
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

    def location_of(self, section: str, key: str) -> Location:
        """Return where a key is."""
        return Location(self.source, section, key, self.lines)

    def mistakes_in(self, section: str) -> Iterable[ConfigurationError]:
        """Yield the mistakes that remain, whatever is merged over it.

        :param section: The section that is loaded; ``""`` for the whole.
        """
        yield from self.mistakes
        table = self._section(section)
        if not isinstance(table, Mapping):
            return

        def location_of(inner: str, key: str) -> Location:
            return self.location_of(".".join(filter(None, (section, inner))), key)

        if not section:
            yield from misplaced(table, location_of)
        if SECTION in table:
            yield from wrong_keys(table[SECTION], location_of)

    def _section(self, section: str) -> Any:
        try:
            return lookup(self.table, section) if section else self.table
        except KeyError:
            return None
