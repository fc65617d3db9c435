"""A configuration in the keys of an application, as those of Flask."""

from __future__ import annotations

import os
import typing as t
import warnings
from collections.abc import Iterator
from collections.abc import Mapping
from difflib import get_close_matches
from itertools import islice
from typing import Any

from ..errors import ConfigurationError
from ..errors import ConfigurationWarning
from ._configuration import Configuration
from ._disabled import DISABLED_VARIABLE
from ._finding import BUILTIN_RECEIVERS
from ._finding import is_receiver
from ._location import Mistakes
from ._location import nearest
from ._misplaced import is_near
from ._misplaced import letters_of
from ._shown import shown_name
from ._shown import shown_value
from ._tables import SECTION

__all__ = ["KNOWN_KEYS", "configuration_of_keys", "is_own_key"]

_CONFIG: t.Final = "SIGNALPOST_CONFIG"
_RECEIVERS: t.Final = "SIGNALPOST_RECEIVERS"
_STRICT: t.Final = "SIGNALPOST_STRICT"
_PREFIX: t.Final = "SIGNALPOST_"

_SECTION_KEYS = {
    "SIGNALPOST_AUTO_IMPORT": "auto-import",
    "SIGNALPOST_ID_HEADERS": "id-headers",
    "SIGNALPOST_METHODS": "methods",
    "SIGNALPOST_FORMAT": "format",
    _RECEIVERS: "receivers",
    "SIGNALPOST_RELAY": "relay",
}

KNOWN_KEYS: frozenset[str] = frozenset((_CONFIG, _STRICT, *_SECTION_KEYS))
"""The known keys of an application's configuration.

Any other key that begins with ``SIGNALPOST_``, or resembles one of these, is an error.

.. versionadded:: 0.1
"""

_MOST_VALUES = 1000
_MOST_LEVELS = 3


def configuration_of_keys(
    keys: Mapping[str, Any], root_path: str | os.PathLike[str]
) -> Configuration:
    """Return the configuration in an application's keys, and in the file they name.

    Its mistakes, those of reading the file included, are raised when it is loaded.

    :param keys: As :attr:`flask.Flask.config`.
    :param root_path: Where a relative path of a file starts.

    .. versionadded:: 0.1
    """
    _warn_of_variables(keys)
    configuration = Configuration.from_mapping({}, "app.config")
    mistakes = Mistakes(_wrong_keys(keys))
    path = keys.get(_CONFIG)
    if isinstance(path, (str, os.PathLike)):
        with mistakes.noted():
            configuration = _from_file(os.path.join(root_path, os.fsdecode(path)))
    for key, name in _SECTION_KEYS.items():
        value = keys.get(key)
        if value is not None:
            section = {SECTION: {name: value}}
            with mistakes.noted():
                upper = Configuration.from_mapping(section, f'app.config["{key}"]')
                configuration = configuration.merged(upper)
    return configuration.reporting(mistakes)


def _warn_of_variables(keys: Mapping[str, Any]) -> None:
    """Warn of variables of the environment that are named as keys, and not read.

    An application may read them itself, and put them into its keys.
    """
    for name in sorted(KNOWN_KEYS):
        if os.environ.get(name) and name not in keys:
            warnings.warn(
                f"the environment, {name}: it is not read, as only {DISABLED_VARIABLE}"
                f' is; write app.config["{name}"] = os.environ["{name}"]',
                ConfigurationWarning,
                stacklevel=2,
            )


def is_own_key(key: object, value: Any) -> bool:
    """Return whether a key of an application is ours, or is meant to be."""
    return isinstance(key, str) and (key in KNOWN_KEYS or _is_meant(key, value))


def _from_file(path: str) -> Configuration:
    try:
        return Configuration.from_file(path)
    except ConfigurationError as error:
        for one in error.errors:
            one.add_note(f'app.config["{_CONFIG}"] names this file')
        raise


def _wrong_keys(keys: Mapping[str, Any]) -> Iterator[ConfigurationError]:
    """Yield an error for each key that is unknown, or has a value of a wrong type."""
    for key, value in keys.items():
        if key not in KNOWN_KEYS and is_own_key(key, value):
            yield _error(key, f"unknown key; {_advice(key, value)}")
    strict = keys.get(_STRICT, False)
    if not isinstance(strict, bool):
        yield _error(_STRICT, f"must be True or False, got {shown_value(strict)}")
    path = keys.get(_CONFIG)
    if path is not None and not isinstance(path, (str, os.PathLike)):
        yield _error(_CONFIG, f"expected a path, got {shown_value(path)}")


def _is_meant(key: str, value: Any) -> bool:
    """Return whether an unknown key is meant for us, by its name or its value."""
    if key.upper().startswith(_PREFIX) or letters_of(key) == SECTION:
        return True
    if any(is_near(key, known) for known in KNOWN_KEYS):
        return True
    # SIGNAL_PORT may belong to another package, but not with our own options.
    if is_near(key, SECTION):
        return isinstance(value, Mapping) or _is_file(value)
    return _has_receivers(key, value) or _has_section(value)


def _is_file(value: object) -> bool:
    is_path = isinstance(value, (str, os.PathLike))
    return is_path and os.fsdecode(value).lower().endswith((".toml", ".ini"))  # type: ignore[arg-type]  # a path


def _has_receivers(name: str, value: object) -> bool:
    """Return whether a name and its value read as a table of receivers."""
    if not isinstance(value, dict) or BUILTIN_RECEIVERS.keys().isdisjoint(value):
        return False
    return is_near(name.rpartition(".")[2], "receivers")


def _has_section(value: object) -> bool:
    """Return whether a value has our section in it, with receivers."""
    return any(
        _has_receivers(name, one)
        or (letters_of(name) == SECTION and any(is_near(x, "receivers") for x in one))
        for name, one in islice(_tables_in(value, _MOST_LEVELS), _MOST_VALUES)
    )


def _tables_in(value: object, levels: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the tables in a value, down to a number of levels, with their names."""
    for name, one in dict.items(value) if isinstance(value, dict) else ():
        if isinstance(one, dict) and all(isinstance(key, str) for key in (name, *one)):
            yield name, one
        if levels > 1:
            yield from _tables_in(one, levels - 1)


def _advice(key: str, value: Any) -> str:
    """Return advice about an unknown key."""
    if is_near(key, DISABLED_VARIABLE):
        return (
            f"{DISABLED_VARIABLE} is a variable of the environment; set it there, or"
            " do not call Signalpost(app)"
        )
    name = _receiver_of(key)
    if name is not None:
        return f'it is a receiver; write app.config["{_RECEIVERS}"] = {{"{name}": …}}'
    if not key.upper().startswith(_PREFIX):
        wanted = _wanted_by(value)
        if wanted:
            written = " and ".join(f'app.config["{one}"] = …' for one in wanted)
            return f"write {written}"
    return f"known are {', '.join(sorted(KNOWN_KEYS))}{_question(key)}"


def _receiver_of(key: str) -> str | None:
    """Return the name of the receiver that a key is named after, as in SIGNALPOST_SQL.

    A name that is like a known key counts as a mistyped key.
    """
    name = key[len(_PREFIX) :] if key.upper().startswith(_PREFIX) else ""
    dashed = name.lower().replace("_", "-")
    found = next((one for one in (name, dashed) if one and is_receiver(one)), None)
    return None if found is None or ":" in found else found


def _question(key: str) -> str:
    """Return the question whether a known key is meant, or a receiver, or ``""``."""
    letters = letters_of(key)
    if not letters.startswith(SECTION):
        return nearest(key, KNOWN_KEYS)
    # Without the common prefix, which makes any two keys similar.
    name = letters.removeprefix(SECTION)
    near = get_close_matches(name, _KEYS_BY_LETTERS, n=1)
    if near:
        return f"; did you mean {_KEYS_BY_LETTERS[near[0]]!r}?"
    near = get_close_matches(name, BUILTIN_RECEIVERS, n=1)
    return f'; did you mean {near[0]!r} in app.config["{_RECEIVERS}"]?' if near else ""


_KEYS_BY_LETTERS: t.Final[Mapping[str, str]] = {
    letters_of(known.removeprefix(_PREFIX)): known for known in sorted(KNOWN_KEYS)
}


def _wanted_by(value: Any) -> list[str]:
    """Return the keys that the value of a key is meant for; none if unknown."""
    if _is_file(value):
        return [_CONFIG]
    if not isinstance(value, Mapping):
        return []
    found = map(_key_for, islice(_names_in(value, _MOST_LEVELS), _MOST_VALUES))
    return sorted({*filter(None, found)}) or [_RECEIVERS]


def _names_in(table: Mapping[Any, Any], levels: int) -> Iterator[str]:
    """Yield the names of a table, and the names in it that are not known keys."""
    for name, one in table.items():
        yield str(name)
        if isinstance(one, Mapping) and levels > 1 and _key_for(name) is None:
            yield from _names_in(one, levels - 1)


def _key_for(name: object) -> str | None:
    letters = letters_of(str(name)).removeprefix(SECTION)
    for known, key in _KEYS_BY_LETTERS.items():
        if is_near(letters, known):
            return key
    return None


def _error(key: str, message: str) -> ConfigurationError:
    return ConfigurationError(
        f'app.config["{shown_name(key)}"]: {message}', "app.config", key=key
    )
