"""Locations in a configuration, and the errors that name them."""

from __future__ import annotations

import re
import typing as t
from bisect import bisect_left
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from itertools import islice
from typing import Any

from ..errors import ConfigurationError
from ..receivers.lines import single_line
from ..receivers.lines import truncated
from ._shown import shown_name

__all__ = [
    "NO_LINES",
    "LineOfCode",
    "Lines",
    "Location",
    "Mistakes",
    "joined",
    "nearest",
]

_LONGEST_COMPARED = 200
_LONGEST_MESSAGE = 2000
_MOST_LINES_OF_A_VALUE = 1000


class Lines:
    """The lines of a file, by the names that they are about.

    Found by reading, as no parser keeps them. A file may be written in a way that this
    does not know.

    :param text: The file's text.
    """

    def __init__(self, text: str) -> None:
        self._text = text

    def find(self, wanted: str, word: str = "") -> int | None:
        """Return the number of the line of a name, or of a word of its value."""
        start = bisect_left(self._by_name, (f"{wanted}.", 0))
        found = None
        for name, number in islice(self._by_name, start, None):
            if not name.startswith(f"{wanted}."):
                break
            found = number if found is None else min(found, number)
        if found is None or not word:
            return found
        return self.find(f"{wanted}.{word}") or self._line_with(word, found, wanted)

    def _line_with(self, word: str, first: int, wanted: str) -> int:
        has_word = re.compile(rf"(?<![\w.]){re.escape(word)}(?![\w.])").search
        last = first + _MOST_LINES_OF_A_VALUE
        for number, bare in enumerate(self._bare[first - 1 : last], first):
            header = _header(bare)
            if header is not None and not f"{header[1].strip()}.".startswith(
                f"{wanted}."
            ):
                break
            if not bare.startswith(_COMMENTS) and word in bare and has_word(bare):
                return number
        return first

    @cached_property
    def _bare(self) -> list[str]:
        text = self._text.replace('"', "").replace("'", "")
        return [line.strip() for line in text.split("\n")]

    @cached_property
    def _by_name(self) -> list[tuple[str, int]]:
        section = ""
        found = []
        for number, bare in enumerate(self._bare, 1):
            if not bare or bare.startswith(_COMMENTS):
                continue
            header = _header(bare)
            if header is not None:
                section = name = header[1].strip()
            else:
                name = bare.partition("=")[0].strip()
                name = f"{section}.{name}" if section else name
            found.append((f"{name}.", number))
        return sorted(found)


_COMMENTS = ("#", ";")
_header = re.compile(r"\[+([^\[\],=]+)\]+\s*(?:[#;].*)?").fullmatch

NO_LINES: t.Final = Lines("")


class LineOfCode(Lines):
    """The line of the code that sets something.

    :param number: Its number.
    """

    def __init__(self, number: int) -> None:
        super().__init__("")
        self._number = number

    def find(self, wanted: str, word: str = "") -> int | None:
        """Return the number of the line, whatever is looked for."""
        return self._number


@dataclass(frozen=True, slots=True)
class Location:
    """The location of a setting in a configuration."""

    source: str
    """The file, or another source."""
    section: str
    """The section."""
    key: str
    """The key."""
    lines: Lines = NO_LINES
    """The lines of the file."""

    def __str__(self) -> str:
        return self._described(self.line_of())

    def error(self, message: str, word: str = "") -> ConfigurationError:
        """Return an error about this place, with a message of one line.

        :param word: The word on the line, if the value has several.
        """
        line = self.line_of(word)
        return ConfigurationError(
            f"{self._described(line)}:"
            f" {single_line(truncated(message, _LONGEST_MESSAGE))}",
            self.source,
            self.section,
            self.key,
            line,
        )

    def _described(self, line: int | None) -> str:
        source = single_line(self.source)
        if line is not None:
            source = f"{source}, line {line}"
        if not self.section and not self.key:
            return source
        section = f"[{shown_name(self.section)}] " if self.section else ""
        return f"{source}, {section}{shown_name(self.key)}"

    def line_of(self, word: str = "") -> int | None:
        """Return the line of the key, or of a word of its value.

        A key within a table that is one line has the line of the table.
        """
        if not self.section:
            return self.lines.find(self.key, word)
        found = self.lines.find(f"{self.section}.{self.key}", word)
        return found or self.lines.find(self.section, self.key)


class Mistakes:
    """The mistakes of a configuration, each noted and none raised."""

    def __init__(self, errors: Iterable[ConfigurationError] = ()) -> None:
        self._errors = list(errors)

    def __iter__(self) -> Iterator[ConfigurationError]:
        return iter([*self._errors])

    def __bool__(self) -> bool:
        return bool(self._errors)

    def add(self, error: ConfigurationError) -> None:
        """Note a mistake, or each of several."""
        self._errors += error.errors

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note the mistake that ends the ``with`` block, which is left."""
        try:
            yield
        except ConfigurationError as error:
            self.add(error)

    def raise_any(self) -> None:
        """Raise one error about all, if there are any.

        :raises ConfigurationError: About each mistake.
        """
        if self._errors:
            raise ConfigurationError.together(self._errors)


def nearest(word: Any, known: Iterable[str]) -> str:
    """Return the question whether the nearest known name is meant, or ``""``."""
    if not isinstance(word, str) or len(word) > _LONGEST_COMPARED:
        return ""
    # Capitals are the first thing to be mistaken, and count as other letters there.
    names = {name.casefold(): name for name in known}
    near = get_close_matches(word.casefold(), names, n=1)
    return f"; did you mean {names[near[0]]!r}?" if near else ""


def joined(words: Iterable[str]) -> str:
    return ", ".join(map(shown_name, sorted(words)))
