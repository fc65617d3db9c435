"""Text that came from a client, made fit for one line of a log."""

from __future__ import annotations

import logging
import re

from .escapes import line_parts
from .escapes import word_parts

__all__ = ["LONGEST_FIELD", "chosen_logger", "logfmt_value", "single_line", "truncated"]

LONGEST_FIELD = 512
"""The most characters that a field takes before it is escaped."""


# Printable ASCII but the space and " = \\, as nearly every field is.
_find_special = re.compile(r"[^!#-<>-\[\]-~]").search


def truncated(text: str, longest: int = LONGEST_FIELD) -> str:
    """Return ``text``, or its beginning and ``…`` if it is too long to be logged.

    For fields that a formatter escapes; to cut what was cut changes nothing.

    >>> truncated("/products/mug", 9)
    '/products…'

    :param text: Any text.
    :param longest: How many characters are kept.

    .. versionadded:: 0.1
    """
    return text if len(text) <= longest else text[:longest] + "…"


def logfmt_value(text: str, longest: int = LONGEST_FIELD) -> str:
    r"""Return ``text`` as one field of one physical line.

    What is not printable is escaped as in a Python string: C0, DEL, C1, the line and
    paragraph separators U+2028 and U+2029, marks that turn the writing direction, and
    lone surrogates. So are backslashes, so that the result reads one way. Text with a
    space, a quotation mark or an equals sign is quoted, so that it cannot pass for
    several fields.

    >>> logfmt_value("/products/mug")
    '/products/mug'
    >>> print(logfmt_value("/a\n200 ok"))
    "/a\n200 ok"

    :param text: Any text.
    :param longest: How many characters are kept; ``…`` shows where it was cut.
    """
    if text and len(text) <= longest and not _find_special(text):
        return text
    return "".join(word_parts(truncated(text, longest)))


def single_line(text: str) -> str:
    r"""Return ``text``, which may be a whole sentence, as one physical line.

    What is not printable is escaped as in :func:`logfmt_value`; the rest is unchanged.

    >>> print(single_line("no mug\non the shelf"))
    no mug\non the shelf

    :param text: Any text.

    .. versionadded:: 0.1
    """
    return text if text.isprintable() else "".join(line_parts(text))


def chosen_logger(chosen: logging.Logger | str | None, default: str) -> logging.Logger:
    """Return the logger that a receiver was given, or whose name it was given.

    :param chosen: A logger or its name; ``None`` for the default.
    :param default: The name of the logger where none was chosen.
    :raises TypeError: If ``chosen`` is something else.

    .. versionadded:: 0.1
    """
    if chosen is None or isinstance(chosen, str):
        return logging.getLogger(chosen or default)
    if not isinstance(chosen, logging.Logger):
        raise TypeError(
            f"logger must be a logger or the name of one, got {chosen!r}; write"
            f" logger={default!r}"
        )
    return chosen
