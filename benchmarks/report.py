"""What was measured, as tables to read and as JSON to keep.

The tables are reStructuredText as well, so that they can stand in the documentation
as they were printed.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version
from typing import Any

from .timing import Figure
from .timing import Row

PACKAGES = (
    "signalpost",
    "blinker",
    "django",
    "psygnal",
    "pydispatcher",
    "pypubsub",
    "pyee",
    "flask",
)

NOTHING = "–"
"""Stands where nothing was measured."""


@dataclass(frozen=True, slots=True)
class Unit:
    """How tables show figures."""

    name: str
    """Its symbol."""
    nanoseconds: float
    """How many nanoseconds it has."""
    digits: int
    """How many digits stand behind the point."""
    relation: str
    """What the table is called that relates variants to the first one."""
    relate: Callable[[Figure, Figure], str]
    """Returns what stands there, from a variant's figure and the first one's."""


NANOSECONDS = Unit(
    "ns",
    1,
    0,
    "ratio of minima",
    lambda own, first: f"{own.minimum_ns / first.minimum_ns:.2f}",
)
"""How many times the first variant's minimum."""


def versions() -> dict[str, str]:
    """Return the versions of the packages that are measured, by name."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            if package in sys.modules:
                found[package] = "from source"
    return found


def head_line() -> str:
    """Return what the figures were measured on."""
    packages = ", ".join(f"{name} {number}" for name, number in versions().items())
    return (
        f"{platform.python_implementation()} {platform.python_version()},"
        f" {platform.machine()}: {packages}"
    )


def tables(
    rows: Sequence[Row], figures: Sequence[dict[str, Figure]], unit: Unit
) -> list[str]:
    """Return the figures as three tables: relations, minima and medians.

    :param figures: What :func:`~benchmarks.timing.measure` returned for ``rows``.
    """
    names = [variant.name for variant in rows[0].variants]

    def filled(corner: str, cell: Callable[[dict[str, Figure], Figure], str]) -> str:
        lines = [
            [row.name]
            + [cell(found, found[name]) if name in found else NOTHING for name in names]
            for row, found in zip(rows, figures, strict=True)
        ]
        return table([corner, *names], lines)

    def in_unit(nanoseconds: float) -> str:
        return f"{nanoseconds / unit.nanoseconds:.{unit.digits}f}"

    return [
        filled(
            unit.relation,
            lambda found, own: unit.relate(own, found[names[0]]),
        ),
        filled(f"minimum, {unit.name}", lambda _, own: in_unit(own.minimum_ns)),
        filled(f"median, {unit.name}", lambda _, own: in_unit(own.median_ns)),
    ]


def table(heading: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table, its headings broken at spaces where their column is narrow.

    :param heading: The corner, then the names of the columns.
    :param lines: For each line its label, then its cells.
    """
    corner, *names = heading
    # Words of one heading begin in one column: an indented one would be a quotation.
    words = [_aligned(name.split()) for name in names]
    height = max(map(len, words))
    above = [
        [corner if number == 0 else "", *(_nth(number, split) for split in words)]
        for number in range(height)
    ]
    cells = [*above, *lines]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    shown = [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]
    return "\n".join((rule, *shown[:height], rule, *shown[height:], rule))


def _aligned(words: Sequence[str]) -> list[str]:
    width = max(map(len, words))
    return [word.ljust(width) for word in words]


def _nth(number: int, words: Sequence[str]) -> str:
    return words[number] if number < len(words) else ""


def as_json(
    rounds: int, found: Mapping[str, tuple[Sequence[Row], Sequence[dict[str, Figure]]]]
) -> dict[str, Any]:
    """Return everything timed as what :mod:`json` can write.

    :param found: Rows and their figures, by the name of the table.
    :returns: The head line's facts, and each table as ``{"10 receivers": {"floor":
        {"minimum_ns": 775.0, "median_ns": 790.5}}}``.
    """
    return {
        "implementation": platform.python_implementation(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "packages": versions(),
        "rounds": rounds,
        **{
            title: {
                row.name: {name: asdict(figure) for name, figure in one.items()}
                for row, one in zip(rows, figures, strict=True)
            }
            for title, (rows, figures) in found.items()
        },
    }
