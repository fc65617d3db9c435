"""Where a configuration asks for something, and what to say of it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from ..errors import ConfigurationError

__all__ = ["Place", "listed", "nearest"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a configuration asks for something."""

    source: str
    """The file, or what else was read."""
    section: str
    """The section."""
    key: str
    """The key."""
    lines: tuple[str, ...] = ()
    """The lines of the file."""

    def __str__(self) -> str:
        return self._described(self.line_of())

    def error(self, message: str, word: str = "") -> ConfigurationError:
        """Return an error about this place.

        :param word: What stands on the very line, if the value has several.
        """
        line = self.line_of(word)
        return ConfigurationError(
            f"{self._described(line)}: {message}",
            self.source,
            self.section,
            self.key,
            line,
        )

    def _described(self, line: int | None) -> str:
        source = self.source if line is None else f"{self.source}, line {line}"
        section = f"[{self.section}] " if self.section else ""
        return f"{source}, {section}{self.key}"

    def line_of(self, word: str = "") -> int | None:
        """Return the line of the key, or of a word of its value.

        Found by reading, as no parser tells: ``None`` where a file is written in a
        way that this does not know.
        """
        wanted = f"{self.section}.{self.key}" if self.section else self.key
        has_word = re.compile(rf"(?<![\w.]){re.escape(word)}(?![\w.])").search
        section = ""
        found = None
        for number, line in enumerate(self.lines, 1):
            bare = line.replace('"', "").replace("'", "").strip()
            if bare.startswith(("#", ";")):
                continue
            header = _header(bare)
            if header is not None:
                if found is not None:
                    break
                section = name = header[1].strip()
            else:
                name = bare.partition("=")[0].strip()
                name = f"{section}.{name}" if section else name
            if found is None and f"{name}.".startswith(f"{wanted}."):
                found = number
            if found is not None and (not word or has_word(bare)):
                return number
        return found


_header = re.compile(r"\[+([^\[\],=]+)\]+\s*(?:[#;].*)?").fullmatch


def nearest(word: Any, known: Iterable[str]) -> str:
    near = get_close_matches(word, [*known], n=1) if isinstance(word, str) else []
    return f"; did you mean {near[0]!r}?" if near else ""


def listed(words: Iterable[str]) -> str:
    return ", ".join(sorted(words))
