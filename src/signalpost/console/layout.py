"""Lines and tables for a terminal of any width, or for a pipe."""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
import typing as t
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from unicodedata import east_asian_width

from ..receivers.lines import single_line

__all__ = [
    "Row",
    "bold",
    "coloured",
    "cut",
    "encodable",
    "location",
    "table",
    "unstyled",
    "width_of",
    "wrapped",
]

_CODES: t.Final = {
    "red": 31,
    "green": 32,
    "yellow": 33,
    "magenta": 35,
    "cyan": 36,
}
_style = re.compile(r"\x1b\[\d+m")
_GAP = 2
# Printable text has none.
_FILLER = "\0"
_WIDE = ("W", "F")
_INSTALLED = (f"{os.sep}site-packages", f"{os.sep}dist-packages")


def coloured(text: str, colour: str | None) -> str:
    """Return text in a colour of a terminal: red, green, yellow, magenta or cyan."""
    return text if colour is None else f"\x1b[{_CODES[colour]}m{text}\x1b[0m"


def bold(text: str) -> str:
    """Return text in bold letters."""
    return f"\x1b[1m{text}\x1b[0m" if text else ""


def unstyled(text: str) -> str:
    """Return text without colours and bold letters."""
    return _style.sub("", text)


def encodable(text: str, stream: t.TextIO) -> str:
    """Return text with escapes for what the stream's encoding lacks."""
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def width_of(stream: t.TextIO) -> int | None:
    """Return the columns of a terminal; ``None`` for another stream."""
    return shutil.get_terminal_size().columns if stream.isatty() else None


def wrapped(
    name: str, text: str, width: int | None, *, indent: int = 0, mark: str = ""
) -> list[str]:
    """Return the lines of a name in bold letters and a text.

    Characters that are not printable are escaped, as the texts come from files and
    modules.

    :param width: Where lines are broken, between words; ``None`` for never, so that the
        whole is one line, for grep.
    :param indent: By how many spaces further lines are indented.
    :param mark: A prefix of the name; may be coloured.
    """
    name, text = single_line(name), single_line(text)
    plain = unstyled(mark) + name
    lines = [plain + text] if width is None else _broken(plain + text, width, indent)
    if name and lines[0].startswith(plain):
        lines[0] = mark + bold(name) + lines[0][len(plain) :]
    return lines


def _broken(text: str, width: int, indent: int = 0) -> list[str]:
    filled = _filled(text)
    # A line may end between a wide character and its filler.
    is_wide = len(filled) > len(text)
    lines = textwrap.wrap(
        filled,
        max(width - is_wide, indent + 1),
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
    )
    return [line.replace(_FILLER, "") for line in lines] or [""]


def _filled(text: str) -> str:
    """Return text that has as many characters as it takes columns of a terminal.

    East Asian wide characters take two; fillers are removed before text is printed.
    """
    if text.isascii():
        return text
    return "".join(
        one + _FILLER if east_asian_width(one) in _WIDE else one for one in text
    )


def cut(text: str, width: int) -> str:
    """Return text of at most ``width`` characters, its middle replaced by ``…``.

    >>> cut("shop/orders/views.py:9", 16)
    'shop/ord…ws.py:9'
    """
    if len(text) <= width:
        return text
    width -= _FILLER in text
    end = max(width - 1, 1) // 2
    start = max(width - 1 - end, 0)
    return f"{text[:start]}…{text[len(text) - end :]}"


class Row(t.NamedTuple):
    """A row of a table."""

    name: str
    """A name, which is never cut."""
    how: str
    """Words, which are broken between them."""
    where: str
    """A place, whose middle may be cut."""


def table(rows: Iterable[Row], all_rows: Sequence[Row], width: int | None) -> list[str]:
    """Return the lines of some rows of a table, indented by two spaces.

    :param all_rows: Every row of the table, so that its parts have the same columns.
    :param width: The columns of the terminal; ``None`` for a line each, uncut.
    """
    rows = [Row(*map(single_line, row)) for row in rows]
    if width is None:
        return [f"  {bold(name)}  {how}  {where}" for name, how, where in rows]
    widths = _widths([_filled_row(row) for row in all_rows], width)
    return [
        line.replace(_FILLER, "")
        for row in rows
        for line in _lines_of(_filled_row(row), widths, width)
    ]


def _filled_row(row: Row) -> Row:
    return Row(*(_filled(single_line(part)) for part in row))


def _widths(rows: Sequence[Row], width: int) -> tuple[int, ...]:
    """Return the widths of the columns, by the rows that fit a terminal together.

    The shortest rows come first.
    """
    widths: tuple[int, ...] = (0, 0, 0)
    for row in sorted(rows, key=lambda row: sum(map(len, row))):
        wider = tuple(map(max, widths, map(len, row)))
        if sum(wider) + 3 * _GAP <= width:
            widths = wider
    return widths


def _lines_of(row: Row, widths: tuple[int, ...], width: int) -> Iterator[str]:
    if all(len(part) <= most for part, most in zip(row, widths, strict=True)):
        name, how, where = map(str.ljust, row, widths)
        yield f"  {bold(row.name)}{name[len(row.name) :]}  {how}  {where}".rstrip()
        return
    # A text that is wider than its column is below the name, in the whole width.
    for part in _broken(row.name, width - _GAP):
        yield f"  {bold(part)}"
    below = width - 2 * _GAP
    rest = f"{row.how}  {row.where}"
    if len(rest) > below:
        for part in _broken(row.how, below):
            yield f"    {part}"
        rest = cut(row.where, below)
    yield f"    {rest}"


def location(path: str, line: int | str | None = None) -> str:
    """Return a file and line, relative to where the reader looks for it.

    A file of an installed package is relative to the package's root, any other below
    the working directory to that.
    """
    roots = [one for one in sys.path if one.endswith(_INSTALLED)]
    roots += [os.getcwd(), *(one for one in sys.path if os.path.isabs(one))]
    for root in roots:
        folder = root.rstrip(os.sep) + os.sep
        if path.startswith(folder):
            path = path.removeprefix(folder)
            break
    return path if line is None else f"{path}:{line}"
