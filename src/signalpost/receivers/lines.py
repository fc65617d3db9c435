"""Text that came from a client, made fit for one line of a log."""

from __future__ import annotations

import re

__all__ = ["LONGEST_FIELD", "one_word"]

LONGEST_FIELD = 512
"""The most characters that a field takes before it is escaped."""


# Printable ASCII but the space and " = \\, as nearly every field is.
_is_plain = re.compile(r"[!#-<>-\[\]-~]+").fullmatch


def one_word(text: str, longest: int = LONGEST_FIELD) -> str:
    r"""Return ``text`` as one field of one physical line.

    What is not printable is escaped as in a Python string: C0, DEL, C1, the line and
    paragraph separators U+2028 and U+2029, marks that turn the writing direction, and
    lone surrogates. So are backslashes, so that the result reads one way. Text with a
    space, a quotation mark or an equals sign is quoted, so that it cannot pass for
    several fields.

    >>> one_word("/products/mug")
    '/products/mug'
    >>> print(one_word("/a\n200 ok"))
    "/a\n200 ok"

    :param text: Any text.
    :param longest: How many characters are kept; ``…`` shows where it was cut.
    """
    if len(text) <= longest and _is_plain(text):
        return text
    if len(text) > longest:
        text = text[:longest] + "…"
    if not text.isprintable() or "\\" in text:
        text = "".join(map(_escaped, text))
    if not text or any(mark in text for mark in ' "='):
        text = '"' + text.replace('"', '\\"') + '"'
    return text


def _escaped(character: str) -> str:
    if character.isprintable() and character != "\\":
        return character
    return character.encode("unicode_escape").decode("ascii")
