"""What was measured, as tables to read and as JSON to keep.

The tables are reStructuredText as well, so that they can stand in the documentation
as they were printed.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version
from typing import TypeVar

from .timing import Figure
from .timing import Figures

T = TypeVar("T")

PACKAGES: Mapping[str, Sequence[str]] = {
    "send": (
        *("signalpost", "blinker", "django", "psygnal", "pydispatcher", "pypubsub"),
        *("pyee", "flask"),
    ),
    "requests": (
        *("werkzeug", "opentelemetry-sdk", "opentelemetry-instrumentation-wsgi"),
        *("opentelemetry-instrumentation-flask", "prometheus-flask-exporter"),
        *("prometheus-client", "sentry-sdk"),
    ),
    "sql": (
        *("sqlalchemy", "opentelemetry-sdk"),
        *("opentelemetry-instrumentation-sqlalchemy", "flask-sqlalchemy"),
    ),
    "live": ("sqlalchemy", "flask-debugtoolbar", "Flask-MonitoringDashboard"),
}
"""The distributions that are measured, by the name of the benchmark."""

BARE = "bare"
"""The variant to whose figures those of the others are added."""

NOTHING = "–"
"""Stands where nothing was measured."""

_KINDS: Sequence[tuple[str, Callable[[Figure], float]]] = (
    ("minima", lambda figure: figure.minimum_ns),
    ("medians", lambda figure: figure.median_ns),
)


def versions(benchmark: str) -> dict[str, str]:
    """Return the versions of the packages that a benchmark measures, by name."""
    found = {}
    for package in PACKAGES[benchmark]:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            if package in sys.modules:
                found[package] = "from source"
    return found


def versions_text(benchmark: str) -> str:
    """Return the same as a line."""
    return ", ".join(f"{name} {one}" for name, one in versions(benchmark).items())


def head_line() -> str:
    """Return what the figures were measured on."""
    return (
        f"{platform.python_implementation()} {platform.python_version()},"
        f" {platform.machine()}: {versions_text('send')}"
    )


def installed(
    *packages: tuple[str, Callable[[], Sequence[T]]],
) -> tuple[list[T], list[str]]:
    """Return what uses packages, and a line for each package that is missing.

    :param packages: Their names, each with what imports it and returns what uses it.
    """
    found: list[T] = []
    missing = []
    for name, new in packages:
        try:
            found += new()
        except ImportError:
            missing.append(f"{name} is left out: it is not installed")
    return found, missing


def compared(figures: Figures) -> list[str]:
    """Return a row a job as three tables: ratios to the first variant, ns twice."""
    names = [*next(iter(figures.values()))]

    def filled(corner: str, cell: Callable[[Figure, Figure], str]) -> str:
        def cells(by: Mapping[str, Figure]) -> Iterable[str]:
            for name in names:
                yield cell(by[name], by[names[0]]) if name in by else NOTHING

        lines = [[row, *cells(by)] for row, by in figures.items()]
        return table([corner, *names], lines)

    return [
        filled(
            "ratio of minima",
            lambda own, first: f"{own.minimum_ns / first.minimum_ns:.2f}",
        ),
        filled("minimum, ns", lambda own, _: f"{own.minimum_ns:.0f}"),
        filled("median, ns", lambda own, _: f"{own.median_ns:.0f}"),
    ]


def added(figures: Figures) -> list[str]:
    """Return a column a job as tables of µs added to ``BARE``: minima, and medians."""
    # A variant that one job does not have keeps its place among the others.
    widest_first = reversed(list(figures.values()))
    names = dict.fromkeys(name for by_name in widest_first for name in by_name)

    def cell(name: str, by: Mapping[str, Figure], of: Callable[[Figure], float]) -> str:
        if name == BARE:
            return f"{of(by[BARE]) / 1000:.1f}"
        if name not in by:
            return NOTHING
        return f"{(of(by[name]) - of(by[BARE])) / 1000:+.1f}"

    return [
        table(
            [f"µs added, by {kind}", *figures],
            [
                ["bare, all of it" if name == BARE else name]
                + [cell(name, by, of) for by in figures.values()]
                for name in names
            ],
        )
        for kind, of in _KINDS
    ]


def microseconds_added(figures: Mapping[str, Figure], name: str) -> float:
    """Return what a variant adds to ``BARE``, by minima."""
    return (figures[name].minimum_ns - figures[BARE].minimum_ns) / 1000


def beside_aims(aims: Iterable[tuple[str, float, float]]) -> str:
    """Return labels, aims and what was measured, in µs, as a table."""
    return table(
        ["µs added, by minima", "aim", "measured", "reached"],
        [
            [label, f"{aim:.1f}", f"{found:.1f}", "yes" if found <= aim else "no"]
            for label, aim, found in aims
        ],
    )


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
