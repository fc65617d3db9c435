"""Files and mappings as tables in each other, by section."""

from __future__ import annotations

import configparser
import os
import re
import tomllib
import typing as t
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..errors import ConfigurationError
from ..receivers.lines import single_line
from ..receivers.lines import truncated
from ._location import Lines
from ._location import Location
from ._location import Mistakes
from ._location import NO_LINES
from ._raw_values import lines_in
from ._raw_values import RawValue
from ._raw_values import TRUTHS
from ._shown import quoted
from ._shown import shown_name
from ._shown import shown_value

__all__ = [
    "RECEIVERS",
    "SECTION",
    "by_section",
    "ini_tables",
    "lookup",
    "merged",
    "options_in",
    "text_of",
    "toml_tables",
]

SECTION = "signalpost"


RECEIVERS = "signalpost.receivers"


MOST_LEVELS = 100
"""How deep tables and lists may be nested."""
MOST_VALUES = 100_000
"""How many values there may be in all."""
MOST_BITS = 1024
"""How large a whole number may be, which is more than any that fits a float."""
_LONGEST_REASON = 500


def text_of(path: str | os.PathLike[str]) -> tuple[str, str]:
    """Return the displayed name of a file, and its text."""
    source = os.fsdecode(path)
    try:
        with open(source, encoding="utf-8-sig") as file:
            return source, file.read()
    except OSError as error:
        raise ConfigurationError(
            f"{single_line(source)}: the configuration cannot be read:"
            f" {error.strerror}; name an existing file",
            source,
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{single_line(source)}: not UTF-8 at byte {error.start}; save it as UTF-8",
            source,
        ) from None
    except ValueError as error:  # a NUL, or a name that no file system accepts
        raise ConfigurationError(
            f"{single_line(source)}: the configuration cannot be read: {error}; name"
            " an existing file",
            source,
        ) from error


def toml_tables(text: str, source: str) -> dict[str, Any]:
    """Return the tables of a TOML file's text."""
    _refuse_long_names(text, source)
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise _unreadable(source, _TOO_DEEP, None) from None
    # Not TOMLDecodeError alone: a number may have too many digits.
    except ValueError as error:
        line = _line_in(str(error))
        raise _unreadable(source, f"not TOML: {error}", line) from None


_line_in_message = re.compile(r"\(at line (\d{1,9}), column \d+\)").search


def _line_in(message: str) -> int | None:
    found = _line_in_message(message)
    return None if found is None else int(found[1])


def _refuse_long_names(text: str, source: str) -> None:
    """Refuse a dotted name that would take a parser long.

    The time that tomllib takes grows with the square of a name's parts.
    """
    if text.count(".") < MOST_LEVELS:
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.count(".") < MOST_LEVELS:
            continue
        bare = _quoted.sub("q", line).replace(" ", "").replace("\t", "")
        for name in _not_of_a_name.split(bare):
            if name.count(".") >= MOST_LEVELS and ".." not in name:
                raise ConfigurationError(
                    f"{single_line(source)}, line {number}: a name has more than"
                    f" {MOST_LEVELS} parts; write it shorter",
                    source,
                    line=number,
                )


_quoted = re.compile(r"\"[^\"]*\"|'[^']*'")
_not_of_a_name = re.compile(r"[^A-Za-z0-9_.-]+")


def ini_tables(text: str, source: str) -> dict[str, dict[str, Any]]:
    """Return the sections of an INI file's text."""
    parser = _IniParser(
        delimiters=("=",), default_section="", interpolation=None, strict=True
    )
    try:
        lines = map(_with_single_spaces, text.split("\n"))
        parser.read_string("\n".join(lines), source)
    except configparser.Error as error:
        raise _ini_error(source, error) from None
    return {
        name: {key: RawValue(value) for key, value in parser.items(name)}
        for name in parser.sections()
    }


def _ini_error(source: str, error: configparser.Error) -> ConfigurationError:
    """Return what is wrong, without the lines themselves, which may be secrets."""
    wrong: list[tuple[int | None, str]]
    if isinstance(error, configparser.MissingSectionHeaderError):
        wrong = [(error.lineno, "expected a section above, as [signalpost]")]
    elif isinstance(error, configparser.ParsingError) and hasattr(error, "errors"):
        wrong = [(line, "expected NAME = VALUE") for line, _ in error.errors]
    elif isinstance(error, configparser.DuplicateOptionError):
        wrong = [(error.lineno, f"{quoted(error.option)} is given twice")]
    elif isinstance(error, configparser.DuplicateSectionError):
        wrong = [(error.lineno, f"[{shown_name(error.section)}] is given twice")]
    else:
        # In later releases of Python, the text of the error can have the line.
        kind = type(error).__name__
        wrong = [(getattr(error, "lineno", None), f"a line cannot be read ({kind})")]
    return ConfigurationError.together(
        [_unreadable(source, f"not an INI file: {what}", line) for line, what in wrong]
    )


class _IniParser(configparser.RawConfigParser):
    """A reader of INI files that does not change names."""

    def optionxform(self, optionstr: str) -> str:
        """Return the name unchanged."""
        return optionstr


def _with_single_spaces(line: str) -> str:
    """Return a line with single spaces in its name.

    The time that configparser takes grows with the square of a gap.
    """
    if not line or line[0].isspace():
        return line
    name, equals, value = line.partition("=")
    return f"{' '.join(name.split())}{equals}{value}"


def _unreadable(source: str, reason: str, line: int | None) -> ConfigurationError:
    location = (
        single_line(source) if line is None else f"{single_line(source)}, line {line}"
    )
    reason = single_line(truncated(reason, _LONGEST_REASON))
    return ConfigurationError(f"{location}: {reason}", source, line=line)


def by_section(
    tables: Mapping[str, Any], source: str, lines: Lines = NO_LINES
) -> dict[str, Any]:
    """Return nested tables for sections with dotted names."""
    root: dict[str, Any] = {}
    mistakes = Mistakes()
    for name, value in _Copy(source, lines).of(tables).items():
        with mistakes.noted():
            _put(root, name, value, Location(source, "", name, lines))
    mistakes.raise_any()
    return root


def _put(root: dict[str, Any], name: str, value: Any, location: Location) -> None:
    table = root
    *outer, last = _parts(name, location) if isinstance(value, dict) else (name,)
    for part in outer:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise location.error(_TWICE)
    if last not in table:
        table[last] = value
    elif isinstance(table[last], dict) and isinstance(value, dict):
        if table[last].keys() & value.keys():
            raise location.error(_TWICE)
        table[last].update(value)
    else:
        raise location.error(_TWICE)


_TWICE = "given twice, as a section and within another; write it once"


def _parts(name: str, location: Location) -> list[str]:
    if name.startswith(f"{RECEIVERS}."):  # a receiver's name may hold dots
        return [*RECEIVERS.split("."), name.removeprefix(f"{RECEIVERS}.")]
    if name.count(".") >= MOST_LEVELS:
        raise location.error(_TOO_DEEP)
    return name.split(".")


_TOO_DEEP = f"nested deeper than {MOST_LEVELS} levels, or in itself; write it flatter"


class _Copy:
    """A copier of tables and lists; an object in two places becomes two copies.

    What is at several places, or in itself, could be endless: so there are limits.
    """

    def __init__(self, source: str, lines: Lines) -> None:
        self._location = Location(source, "", "", lines)
        self._values = 0

    def of(self, table: Mapping[str, Any], level: int = 0) -> dict[str, Any]:
        copy = {}
        for name, value in table.items():
            if not isinstance(name, str):
                raise self._location.error(
                    f"a name must be a string, got {shown_value(name)}"
                )
            if level == 0:
                self._location = replace(self._location, key=name)
            copy[name] = self._value(value, level + 1)
        return copy

    def _value(self, value: Any, level: int) -> Any:
        self._values += 1
        if self._values > MOST_VALUES:
            raise self._location.error(
                f"more than {MOST_VALUES} values so far; keep other data elsewhere"
            )
        if isinstance(value, int) and value.bit_length() > MOST_BITS:
            raise self._location.error(
                f"a number has more than {MOST_BITS} bits; write a smaller one"
            )
        is_table = isinstance(value, Mapping)
        if not is_table and type(value) not in (list, tuple):
            return value
        if level >= MOST_LEVELS:
            raise self._location.error(_TOO_DEEP)
        if is_table:
            return self.of(value, level)
        return type(value)(self._value(one, level + 1) for one in value)


def merged(
    lower: Mapping[str, Any], upper: Mapping[str, Any], depth: int
) -> dict[str, Any]:
    table = dict(lower)
    for name, value in upper.items():
        below = table.get(name)
        if depth and isinstance(below, Mapping) and isinstance(value, Mapping):
            table[name] = merged(below, value, depth - 1)
        else:
            table[name] = value
    return table


def lookup(table: Mapping[str, Any], name: object) -> Any:
    """Return the value of a dotted name in a table."""
    if name in table:
        return table[t.cast("str", name)]
    parts = name.split(".") if isinstance(name, str) else []
    for count in range(1, len(parts)):
        inner = table.get(".".join(parts[:count]))
        if isinstance(inner, Mapping):
            try:
                return lookup(inner, ".".join(parts[count:]))
            except KeyError:
                continue
    raise KeyError(name)


def options_in(value: Any, location: Location) -> Mapping[str, Any] | None:
    """Return the options that a receiver is enabled with; ``None`` if it is not."""
    if isinstance(value, RawValue):
        truth = TRUTHS.get(value.lower())
        value = _options_in_text(value, location) if truth is None else truth
    if isinstance(value, Mapping):
        return value
    if isinstance(value, bool):
        return {} if value else None
    raise location.error(
        f"expected true, false or a table of options, got {shown_value(value)}"
    )


def _options_in_text(text: str, location: Location) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for line in lines_in(text):
        name, equals, value = line.partition("=")
        if not equals:
            # A truth value with further lines is not one, although its first line is.
            raise location.error(
                "expected yes, no, or a line NAME = VALUE for each option, got"
                f" {shown_value(text if line.lower() in TRUTHS else line)}"
            )
        name = name.strip()
        if name in options:
            raise location.error(f"option {shown_name(name)} is given twice", name)
        options[name] = RawValue(value.strip())
    return options
