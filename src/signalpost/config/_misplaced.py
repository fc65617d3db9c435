"""Find settings that would be ignored: at a wrong place, or by a wrong name."""

from __future__ import annotations

import typing as t
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ..errors import ConfigurationError
from ..lifecycle import catalogue
from ._finding import BUILTIN_RECEIVERS
from ._finding import is_receiver
from ._finding import options_of
from ._location import joined
from ._location import Location
from ._location import nearest
from ._output import FORMATS
from ._shown import shown_name
from ._shown import shown_value
from ._tables import RECEIVERS
from ._tables import SECTION

__all__ = ["KEYS", "is_near", "letters_of", "misplaced", "wrong_keys"]

KEYS: t.Final = ("auto-import", "format", "id-headers", "methods", "receivers", "relay")
"""The keys of the section."""

LocationOf: t.TypeAlias = Callable[[str, str], Location]

_IN_RECEIVERS = f"write it in [{RECEIVERS}]"


def is_near(word: str, known: str, most: int = 2) -> bool:
    """Return whether a word may be meant as a known one.

    Capitals and marks do not count; else ``most`` letters may be wrong, missing, too
    many, or in the other order.

    >>> is_near("Signal_Pots", "signalpost"), is_near("signals", "signalpost")
    (True, False)
    """
    # Each application has the keys of its framework, and few others.
    is_short = len(word) <= _LONGEST_KEPT
    return (_is_near_kept if is_short else _is_near)(word, known, most)


def _is_near(word: str, known: str, most: int) -> bool:
    one, other = letters_of(word), letters_of(known)
    if abs(len(one) - len(other)) > most:
        return False
    # A wrong letter is one that only this has, and one that only the other has.
    if len(set(one) ^ set(other)) > 2 * most:
        return False
    return _distance(one, other) <= most


_LONGEST_KEPT = 100
_is_near_kept = lru_cache(maxsize=4096)(_is_near)


def misplaced(
    table: Mapping[str, Any], location_of: LocationOf
) -> Iterable[ConfigurationError]:
    """Yield an error for each section or key that is meant for us, and is not ours.

    Others' sections are not mistakes, as a file may be shared.

    :param table: The whole of a file or mapping.
    """
    for name, value in table.items():
        advice = None if name == SECTION else _advice(name, value)
        if advice is not None:
            kind = "section" if isinstance(value, Mapping) else "key"
            yield location_of("", name).error(f"unknown {kind}; {advice}")
    for name, value in table.items():
        if name != SECTION and isinstance(value, Mapping):
            yield from _below(name, value, location_of)


def _below(
    section: str, table: Mapping[str, Any], location_of: LocationOf
) -> Iterable[ConfigurationError]:
    """Yield an error for each section ``signalpost`` within another one."""
    for name, value in table.items():
        is_ours = section == "tool" or _has_receivers(value)
        if is_ours and is_near(name, SECTION):
            yield location_of(section, name).error(
                f"unknown section, as nothing is read below {shown_name(section)}; did"
                f" you mean [{SECTION}]?"
            )
        elif isinstance(value, Mapping):
            yield from _below(f"{section}.{name}", value, location_of)


def _has_receivers(value: Any) -> bool:
    """Return whether a section is ours, and none about the logger of our name."""
    names = value if isinstance(value, Mapping) else ()
    return any(is_near(name, "receivers") for name in names)


def _advice(name: str, value: Any) -> str | None:
    """Return advice about a name at the top; ``None`` if others use it."""
    if is_near(name, SECTION):
        return f"did you mean [{SECTION}]?"
    if _is_near_receivers(name, value):
        return f"did you mean [{RECEIVERS}]?"
    if _is_receiver(name, value):
        return _IN_RECEIVERS
    if letters_of(name) in _KEYS_OF_APPLICATIONS or (
        not isinstance(value, Mapping) and _is_near_key(name, value)
    ):
        return f"write it in [{SECTION}]"
    return None


# Such as SIGNALPOST_FORMAT, which is a key of an application's configuration.
_KEYS_OF_APPLICATIONS = {f"{SECTION}{key.replace('-', '')}" for key in KEYS}


def _is_receiver(name: str, value: Any) -> bool:
    """Return whether a name at the top is a receiver, and no section of another's.

    A section is one if it has what only such a section has: a signal that we send, or
    no other keys than the receiver's options.
    """
    if not isinstance(value, Mapping):
        is_path = ":" in name and isinstance(value, bool)
        return is_path or is_receiver(name)
    if ":" in name:
        signal = value.get("signal")
        return isinstance(signal, str) and signal in catalogue
    if not is_receiver(name):
        return False
    options = options_of(name)
    return all(
        any(is_near(key, one, len(one) // _LETTERS_OF_A_SLIP) for one in options)
        for key in value
    )


_LETTERS_OF_A_SLIP: t.Final = 5
"""How long a name is for each letter of it that may be wrong."""


def _is_near_receivers(name: str, value: Any) -> bool:
    letters = letters_of(name)
    if letters.startswith(letters_of(RECEIVERS)) or is_near(name, RECEIVERS, 3):
        return True
    # A separate word: a similar one is ours only if it has our receivers.
    has_ours = isinstance(value, Mapping) and not BUILTIN_RECEIVERS.keys().isdisjoint(
        value
    )
    return letters == "receivers" or (has_ours and is_near(name, "receivers"))


def _is_near_key(name: str, value: Any) -> bool:
    is_format = isinstance(value, str) and value in FORMATS
    is_ours = is_near(name, "auto-import") or is_near(name, "id-headers")
    return is_ours or (name == "format" and is_format)


def wrong_keys(ours: Any, location_of: LocationOf) -> Iterable[ConfigurationError]:
    """Yield an error for each key of our section that is unknown, or no table.

    :param ours: The value of the section.
    """
    if not isinstance(ours, Mapping):
        yield location_of("", SECTION).error(
            f"expected a table, got {shown_value(ours)}"
        )
        return
    for key in ours:
        if key not in KEYS:
            yield location_of(SECTION, key).error(f"unknown key; {_advice_within(key)}")
    receivers = ours.get("receivers", {})
    if not isinstance(receivers, Mapping):
        yield location_of(SECTION, "receivers").error(
            f"expected a table of receivers, got {shown_value(receivers)}; write each"
            " with true or with its options"
        )


def _advice_within(key: str) -> str:
    """Return advice about an unknown key of the section signalpost."""
    if ":" in key or is_receiver(key):
        return f"it is a receiver; {_IN_RECEIVERS}"
    meant = nearest(key, KEYS)
    if not meant:
        meant = nearest(key, BUILTIN_RECEIVERS)
        meant = f"{meant} {_IN_RECEIVERS}" if meant else ""
    return f"known are {joined(KEYS)}{meant}"


def letters_of(word: str) -> str:
    """Return the letters and digits of a word, all small."""
    return "".join(one for one in word.casefold() if one.isalnum())


def _distance(one: str, other: str) -> int:
    """Return by how many letters words differ; a swap of two neighbours is one."""
    before: list[int] = []
    last = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        row = [i]
        for j, wanted in enumerate(other, 1):
            cost = min(last[j] + 1, row[-1] + 1, last[j - 1] + (letter != wanted))
            if before and j > 1 and one[i - 2 : i] == wanted + other[j - 2]:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before, last = last, row
    return last[-1]
