"""Files and mappings as tables in each other, by section."""

from __future__ import annotations

import configparser
import os
import typing as t
from collections.abc import Mapping
from reprlib import repr as short_repr
from typing import Any

from ..errors import ConfigurationError
from ._place import Place
from ._text import lines_in
from ._text import Text
from ._text import TRUTHS

__all__ = [
    "OURS",
    "RECEIVERS",
    "IniParser",
    "by_section",
    "lines_of",
    "options_in",
    "overlaid",
    "reached",
    "text_of",
]

OURS = "signalpost"


RECEIVERS = "signalpost.receivers"


class IniParser(configparser.RawConfigParser):
    """Reads an INI file whose names mean what is written."""

    def optionxform(self, optionstr: str) -> str:
        """Leave names as they are written."""
        return optionstr


def text_of(path: str | os.PathLike[str]) -> tuple[str, str]:
    """Return what to call a file, and its text."""
    source = os.fspath(path)
    try:
        with open(source, encoding="utf-8-sig") as file:
            return source, file.read()
    except OSError as error:
        raise ConfigurationError(
            f"{source}: the configuration cannot be read: {error.strerror}; name a"
            " file that is there",
            source,
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{source}: not UTF-8 at byte {error.start}; save it as UTF-8", source
        ) from error


def lines_of(text: str) -> tuple[str, ...]:
    return tuple(text.split("\n"))


def by_section(tables: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return tables in each other, for sections whose names are dotted."""
    root: dict[str, Any] = {}
    for name, value in _copied(tables, source).items():
        table = root
        *outer, last = _parts(name) if isinstance(value, dict) else (name,)
        for part in outer:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise _twice(source, name)
        if last not in table:
            table[last] = value
        elif isinstance(table[last], dict) and isinstance(value, dict):
            if table[last].keys() & value.keys():
                raise _twice(source, name)
            table[last].update(value)
        else:
            raise _twice(source, name)
    return root


def _twice(source: str, name: str) -> ConfigurationError:
    return ConfigurationError(
        f"{source}, [{name}]: given twice, as a section and within another; write it"
        " once",
        source,
        name,
    )


def _parts(name: str) -> list[str]:
    if name.startswith(f"{RECEIVERS}."):  # a receiver's name may hold dots
        return [*RECEIVERS.split("."), name.removeprefix(f"{RECEIVERS}.")]
    return name.split(".")


def _copied(table: Mapping[str, Any], source: str) -> dict[str, Any]:
    for name in table:
        if not isinstance(name, str):
            raise ConfigurationError(
                f"{source}: a name must be a string, got {short_repr(name)}", source
            )
    return {
        name: _copied(value, source) if isinstance(value, Mapping) else value
        for name, value in table.items()
    }


def overlaid(
    lower: Mapping[str, Any], upper: Mapping[str, Any], depth: int
) -> dict[str, Any]:
    table = dict(lower)
    for name, value in upper.items():
        below = table.get(name)
        if depth and isinstance(below, Mapping) and isinstance(value, Mapping):
            table[name] = overlaid(below, value, depth - 1)
        else:
            table[name] = value
    return table


def reached(table: Mapping[str, Any], name: object) -> Any:
    """Return what a dotted name means in a table."""
    if name in table:
        return table[t.cast("str", name)]
    parts = name.split(".") if isinstance(name, str) else []
    for count in range(1, len(parts)):
        inner = table.get(".".join(parts[:count]))
        if isinstance(inner, Mapping):
            try:
                return reached(inner, ".".join(parts[count:]))
            except KeyError:
                continue
    raise KeyError(name)


def options_in(value: Any, place: Place) -> Mapping[str, Any] | None:
    """Return the options that a receiver is enabled with; ``None`` if it is not."""
    if isinstance(value, Text):
        truth = TRUTHS.get(value.lower())
        value = _options_in_text(value, place) if truth is None else truth
    if isinstance(value, Mapping):
        return value
    if isinstance(value, bool):
        return {} if value else None
    raise place.error(
        f"expected true, false or a table of options, got {short_repr(value)}"
    )


def _options_in_text(text: str, place: Place) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for line in lines_in(text):
        name, equals, value = line.partition("=")
        if not equals:
            raise place.error(
                "expected yes, no, or a line NAME = VALUE for each option, got"
                f" {short_repr(line)}"
            )
        options[name.strip()] = Text(value.strip())
    return options
