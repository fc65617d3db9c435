"""Escapes for all that is not printable, at a cost near that of writing JSON.

Escaping goes by parts of some thousand characters: what is made of one stays in the
processor's cache, has no wider characters than its part needs, and is copied once.
"""

from __future__ import annotations

import re
from codecs import unicode_escape_encode
from collections.abc import Iterable
from functools import cache
from itertools import filterfalse
from json import JSONEncoder
from random import choice

__all__ = ["indented_parts", "line_parts", "word_parts"]

_SHORT = 256
"""The length up to which it is quicker to escape backslashes than to keep them."""

_LONGEST_PART = 4096

_LARGE = 1 << 18
"""The length of texts from which on parts are twice as long, and runs of what is not
printable are looked for in them."""

_SHORTEST_RUN = 1024

# Characters that hold the place of another: printable ones that no escape has. Those of
# ASCII are tried first. Of the others there are more than a part has characters.
_PLACE_HOLDERS = "~^|`"
_IDEOGRAPHS = range(0x4E00, 0xA000)

# Of what is printable it escapes quotation marks and backslashes, and further only line
# ends and tabs as wanted.
_quoted = JSONEncoder(ensure_ascii=False).encode


def line_parts(text: str) -> list[str]:
    """Return the parts of one line for a text; backslashes stay single."""
    if len(text) <= _SHORT and "\\" in text and not text.isprintable():
        # No other escape ends or begins with a literal backslash.
        return [_escaped(text, "").replace("\\\\", "\\")]
    return [
        part if part.isprintable() else _escaped(part, "\\") for part in _parts(text)
    ]


def word_parts(text: str) -> list[str]:
    """Return the parts of one word of logfmt for a text, with what quotes it."""
    parts = [*map(_in_word, _parts(text))]
    if not text or " " in text or "=" in text or '"' in text:
        return ['"', *parts, '"']
    return parts


def indented_parts(text: str) -> list[str]:
    """Return the parts of indented lines for the lines of a text."""
    return [
        "  ",
        *(_escaped(part, "\\\n").replace("\n", "\n  ") for part in _parts(text)),
    ]


def _parts(text: str) -> Iterable[str]:
    length = len(text)
    if length <= _LONGEST_PART:
        return (text,)
    step = _LONGEST_PART if length < _LARGE else 2 * _LONGEST_PART
    return [text[start : start + step] for start in range(0, length, step)]


def _in_word(part: str) -> str:
    if '"' not in part:
        return _escaped(part, "")
    spaced = part.replace("\n", " ").replace("\r", " ").replace("\t", " ")
    if spaced.isprintable():
        return _quoted(part)[1:-1]
    return _escaped(part, "").replace('"', '\\"')


def _escaped(part: str, kept: str) -> str:
    """Return a part with escapes, but for the characters ``kept``."""
    places: list[tuple[str, str]] = []
    for one in kept:
        if one in part:
            part = _with_place_held(part, one, places)
    if "'" in part and '"' in part and not part.isascii():
        # A repr would escape one of them.
        part = _with_place_held(part, "'", places)
    escaped = _with_escapes(part)
    for holder, one in places:
        escaped = escaped.replace(holder, one)
    return escaped


def _with_place_held(part: str, one: str, places: list[tuple[str, str]]) -> str:
    holders = [*filterfalse(part.__contains__, _PLACE_HOLDERS)]
    while not holders:
        # By chance, so that no text can be made to have all that are tried.
        holder = chr(choice(_IDEOGRAPHS))  # noqa: S311  # nothing secret
        if holder not in part:
            holders = [holder]
    places.append((holders[0], one))
    return part.replace(one, holders[0])


def _with_escapes(part: str) -> str:
    """Return a part with escapes, which has one kind of quotation marks or is ASCII."""
    if part.isascii():
        return unicode_escape_encode(part)[0].decode("ascii")
    if len(part) <= _LONGEST_PART:
        return repr(part)[1:-1]
    # repr is the quickest for a mixture of what is printable and what is not, but
    # looks each character up twice.
    stop = _run_of(part)
    if stop < _SHORTEST_RUN:
        return repr(part)[1:-1]
    start = unicode_escape_encode(part[:stop])[0].decode("ascii")
    return start + repr(part[stop:])[1:-1]


def _run_of(part: str) -> int:
    """Return how long a part has no printable character beyond ASCII."""
    found = _run().match(part)
    return 0 if found is None else found.end()


@cache
def _run() -> re.Pattern[str]:
    """Return a pattern for runs without printable characters beyond ASCII.

    Of the higher planes it has the private ones and those without characters.
    """
    unprintable = filterfalse(str.isprintable, map(chr, range(0x80, 0x10000)))
    return re.compile(f"[\0-\x7f{''.join(unprintable)}\U000e1000-\U0010ffff]*")
