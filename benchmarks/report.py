"""Tables and JSON of the measured times.

The tables are valid reStructuredText, so that the documentation can include them.
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

from .timing import Timing
from .timing import Timings

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
"""The variant without instrumentation; the others are compared with it."""

NOTHING = "–"
"""The cell of a value that was not measured."""

_KINDS: Sequence[tuple[str, Callable[[Timing], float]]] = (
    ("minima", lambda timing: timing.minimum_ns),
    ("medians", lambda timing: timing.median_ns),
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
    """Return the names and versions as a line of text."""
    return ", ".join(f"{name} {one}" for name, one in versions(benchmark).items())


def head_line() -> str:
    """Return a line about the machine and the Python of the measurement."""
    return (
        f"{platform.python_implementation()} {platform.python_version()},"
        f" {platform.machine()}: {versions_text('send')}"
    )


def installed(
    *packages: tuple[str, Callable[[], Sequence[T]]],
) -> tuple[list[T], list[str]]:
    """Return the users of installed packages, and a line for each missing package.

    :param packages: For each package its name, and a function that imports it and
        returns its users.
    """
    found: list[T] = []
    missing = []
    for name, new in packages:
        try:
            found += new()
        except ImportError:
            missing.append(f"{name} is left out: it is not installed")
    return found, missing


def compared(timings: Timings) -> list[str]:
    """Return three tables with a row for each job: ratios, and two of nanoseconds."""
    names = [*next(iter(timings.values()))]

    def filled(corner: str, cell: Callable[[Timing, Timing], str]) -> str:
        def cells(by: Mapping[str, Timing]) -> Iterable[str]:
            for name in names:
                yield cell(by[name], by[names[0]]) if name in by else NOTHING

        lines = [[row, *cells(by)] for row, by in timings.items()]
        return table([corner, *names], lines)

    return [
        filled(
            "ratio of minima",
            lambda own, first: f"{own.minimum_ns / first.minimum_ns:.2f}",
        ),
        filled("minimum, ns", lambda own, _: f"{own.minimum_ns:.0f}"),
        filled("median, ns", lambda own, _: f"{own.median_ns:.0f}"),
    ]


def added(timings: Timings) -> list[str]:
    """Return two tables with a column for each job: µs added to ``BARE``."""
    # A variant that one job lacks keeps its place in the order.
    widest_first = reversed(list(timings.values()))
    names = dict.fromkeys(name for by_name in widest_first for name in by_name)

    def cell(name: str, by: Mapping[str, Timing], of: Callable[[Timing], float]) -> str:
        if name == BARE:
            return f"{of(by[BARE]) / 1000:.1f}"
        if name not in by:
            return NOTHING
        return f"{(of(by[name]) - of(by[BARE])) / 1000:+.1f}"

    return [
        table(
            [f"µs added, by {kind}", *timings],
            [
                ["bare, all of it" if name == BARE else name]
                + [cell(name, by, of) for by in timings.values()]
                for name in names
            ],
        )
        for kind, of in _KINDS
    ]


def microseconds_added(timings: Mapping[str, Timing], name: str) -> float:
    """Return the microseconds that a variant adds to ``BARE``, from the minima."""
    return (timings[name].minimum_ns - timings[BARE].minimum_ns) / 1000


def aims_and_measured(aims: Iterable[tuple[str, float, float]]) -> str:
    """Return labels, aims and measured times, in µs, as a table."""
    return table(
        ["µs added, by minima", "aim", "measured", "reached"],
        [
            [label, f"{aim:.1f}", f"{found:.1f}", "yes" if found <= aim else "no"]
            for label, aim, found in aims
        ],
    )


def table(heading: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table; headings are broken at spaces if their column is narrow.

    :param heading: The text of the corner, then the names of the columns.
    :param lines: For each line its label, then the texts of its cells.
    """
    corner, *names = heading
    # An indented word of a heading would be a quotation in reStructuredText.
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
