"""What was measured, as tables to read and as JSON to keep."""

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

PACKAGES = ("signalpost", "blinker", "flask")


@dataclass(frozen=True, slots=True)
class Unit:
    """How a table shows its figures."""

    nanoseconds: float
    """How many nanoseconds it has."""
    digits: int
    """How many digits stand behind the point."""
    relation: str
    """The heading of the column that relates a variant to the first one."""
    relate: Callable[[Figure, Figure], str]
    """Returns what stands there, from a variant's figure and the first one's."""


NANOSECONDS = Unit(
    1, 0, "ratio", lambda own, first: f"{own.minimum_ns / first.minimum_ns:.2f}"
)
"""How many times the first variant's minimum."""

MICROSECONDS = Unit(
    1000,
    1,
    "added",
    lambda own, first: f"{(own.minimum_ns - first.minimum_ns) / 1000:+.1f}",
)
"""How much more than the first variant's minimum."""


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


def table(
    title: str, rows: Sequence[Row], figures: Sequence[dict[str, Figure]], unit: Unit
) -> str:
    """Return the figures as lines: three columns a variant, two for the first.

    :param figures: What :func:`~benchmarks.timing.measure` returned for ``rows``.
    """
    names = [variant.name for variant in rows[0].variants]
    groups: list[list[tuple[str, ...]]] = [[("min", "median")]]
    groups += [[("min", "median", unit.relation)] for _ in names[1:]]
    for found in figures:
        first = found[names[0]]
        for name, cells in zip(names, groups, strict=True):
            own = found[name]
            shown = tuple(
                f"{value / unit.nanoseconds:.{unit.digits}f}"
                for value in (own.minimum_ns, own.median_ns)
            )
            is_first = name == names[0]
            cells.append(shown if is_first else (*shown, unit.relate(own, first)))
    columns = [_block(name, cells) for name, cells in zip(names, groups, strict=True)]
    labels = ["", "", *(row.name for row in rows)]
    width = max(map(len, labels))
    lines = [
        "   ".join((label.ljust(width), *cells)).rstrip()
        for label, *cells in zip(labels, *columns, strict=True)
    ]
    return "\n".join((title, *lines))


def _block(heading: str, cells: Sequence[tuple[str, ...]]) -> list[str]:
    """Return the lines of one variant, all of one length."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in cells
    ]
    width = max(len(heading), len(lines[0]))
    return [heading.rjust(width), *(line.rjust(width) for line in lines)]


def as_json(
    rounds: int, tables: Mapping[str, tuple[Sequence[Row], Sequence[dict[str, Figure]]]]
) -> dict[str, Any]:
    """Return everything measured as what :mod:`json` can write.

    :param tables: Rows and their figures, by the name of the table.
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
                row.name: {name: asdict(figure) for name, figure in found.items()}
                for row, found in zip(rows, figures, strict=True)
            }
            for title, (rows, figures) in tables.items()
        },
    }
