"""A configuration in the keys of an application, as those of Flask."""

from __future__ import annotations

import os
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

from ..errors import ConfigurationError
from ._configuration import Configuration
from ._misplaced import is_near
from ._place import Mistakes
from ._place import nearest
from ._shown import shown_name
from ._shown import shown_value

__all__ = ["KNOWN_KEYS", "configuration_of_keys"]

_SECTION_KEYS = {
    "SIGNALPOST_AUTO_IMPORT": "auto-import",
    "SIGNALPOST_ID_HEADERS": "id-headers",
    "SIGNALPOST_FORMAT": "format",
    "SIGNALPOST_RECEIVERS": "receivers",
}

KNOWN_KEYS: frozenset[str] = frozenset(
    ("SIGNALPOST_CONFIG", "SIGNALPOST_STRICT", *_SECTION_KEYS)
)
"""Every key of an application's configuration that is ours; any other that begins with
``SIGNALPOST_`` is an error."""


def configuration_of_keys(
    keys: Mapping[str, Any], root_path: str | os.PathLike[str]
) -> Configuration:
    """Return the configuration in an application's keys, and in the file they name.

    Its mistakes, those of reading the file included, are raised when it is loaded.

    :param keys: As :attr:`flask.Flask.config`.
    :param root_path: Where a relative path of a file starts.

    .. versionadded:: 0.1
    """
    configuration = Configuration.from_mapping({}, "app.config")
    mistakes = Mistakes(_wrong_keys(keys))
    path = keys.get("SIGNALPOST_CONFIG")
    if isinstance(path, (str, os.PathLike)):
        with mistakes.noted():
            configuration = _from_file(os.path.join(root_path, os.fsdecode(path)))
    for key, name in _SECTION_KEYS.items():
        value = keys.get(key)
        if value is not None:
            section = {"signalpost": {name: value}}
            with mistakes.noted():
                upper = Configuration.from_mapping(section, f'app.config["{key}"]')
                configuration = configuration.overlaid(upper)
    return configuration.reporting(mistakes)


def _from_file(path: str) -> Configuration:
    try:
        return Configuration.from_file(path)
    except ConfigurationError as error:
        for one in error.errors:
            one.add_note('app.config["SIGNALPOST_CONFIG"] names this file')
        raise


def _wrong_keys(keys: Mapping[str, Any]) -> Iterator[ConfigurationError]:
    """Yield an error for each key that is unknown, or has a value of a wrong type."""
    for key in keys:
        if key in KNOWN_KEYS or not isinstance(key, str):
            continue
        is_ours = key.upper().startswith("SIGNALPOST_")
        if is_ours or any(is_near(key, known) for known in KNOWN_KEYS):
            known = ", ".join(sorted(KNOWN_KEYS))
            yield _error(
                key, f"unknown key; known are {known}{nearest(key, KNOWN_KEYS)}"
            )
    strict = keys.get("SIGNALPOST_STRICT", False)
    if not isinstance(strict, bool):
        yield _error(
            "SIGNALPOST_STRICT", f"must be True or False, got {shown_value(strict)}"
        )
    path = keys.get("SIGNALPOST_CONFIG")
    if path is not None and not isinstance(path, (str, os.PathLike)):
        yield _error("SIGNALPOST_CONFIG", f"expected a path, got {shown_value(path)}")


def _error(key: str, message: str) -> ConfigurationError:
    return ConfigurationError(
        f'app.config["{shown_name(key)}"]: {message}', "app.config", key=key
    )
