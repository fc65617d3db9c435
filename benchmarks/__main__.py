"""Measures and prints: ``python -m benchmarks --help`` tells the options."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import committed
from . import libraries
from . import lines
from . import memory
from . import middleware
from . import peers
from . import race
from . import send
from . import sql
from .report import as_json
from .report import head_line
from .report import NANOSECONDS
from .report import NOTHING
from .report import table
from .report import tables
from .timing import Figure
from .timing import measure
from .timing import Row

ROUNDS = 250

Timed = dict[str, tuple[Sequence[Row], Sequence[dict[str, Figure]]]]
"""Rows and their figures, by the name of the table."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is installed, print the tables and write the files asked for.

    :param arguments: Those of the command line, without the program's name.
    """
    options = _parser().parse_args(arguments)
    found, missing = libraries.installed()
    printed = _Printed()
    printed.add(head_line())
    for line in missing:
        printed.add(line)
    if options.growth or options.race:
        if options.growth:
            _show_growth(printed, options.pairs)
        if options.race:
            _show_race(printed, found, options.seconds)
    else:
        if options.requests or options.sql or options.lines:
            timed: Timed = {}
            if options.requests:
                timed |= _show_requests(printed, options.rounds)
            if options.sql:
                timed |= _show_statements(printed, options.rounds)
            if options.lines:
                timed |= _show_lines(printed, options.rounds)
            figures = as_json(options.rounds, timed)
        else:
            figures = _show_tables(printed, found, options.rounds)
        figures["packages"].update(peers.versions())
        figures["packages"].update(sql.versions())
        if options.json is not None:
            text = json.dumps(figures, indent=2)
            options.json.write_text(text + "\n", encoding="utf-8")
    if options.rst is not None:
        options.rst.write_text(printed.text(), encoding="utf-8")


class _Printed:
    """Paragraphs that are printed at once, and kept for a file."""

    def __init__(self) -> None:
        self._paragraphs: list[str] = []

    def add(self, paragraph: str) -> None:
        if self._paragraphs:
            print()
        print(paragraph, flush=True)
        self._paragraphs.append(paragraph)

    def text(self) -> str:
        return "\n\n".join(self._paragraphs) + "\n"


def _show_tables(
    printed: _Printed, found: Sequence[libraries.Library], rounds: int
) -> dict[str, Any]:
    send_rows = send.rows(found)
    printed.add(send.LEGEND)
    sends = measure(send_rows, rounds)
    for paragraph in tables(send_rows, sends, NANOSECONDS):
        printed.add(paragraph)

    timed: Timed = {"send": (send_rows, sends)}
    timed |= _show_requests(printed, rounds)
    timed |= _show_statements(printed, rounds)
    timed |= _show_lines(printed, rounds)
    figures = as_json(rounds, timed)
    # The rows hold signals and receivers of which there are many.
    del send_rows, timed

    taken = memory.bytes_a_connection(found)
    names = list(taken["functions, any sender"])
    printed.add(f"Memory of {memory.CONNECTIONS:,} connections, without receivers:")
    printed.add(
        table(
            ["bytes a connection", *names],
            [
                [kind]
                + [f"{by[name]:.0f}" if name in by else NOTHING for name in names]
                for kind, by in taken.items()
            ],
        )
    )
    return {**figures, "memory": taken}


def _show_requests(printed: _Printed, rounds: int) -> Timed:
    rows, missing = middleware.rows()
    packages = peers.versions().items()
    printed.add(
        "A request, watched in several ways; beside the versions above: "
        + ", ".join(f"{name} {number}" for name, number in packages)
    )
    for line in missing:
        printed.add(line)
    printed.add(peers.LEGEND)
    figures = middleware.measure_all(rows, rounds)
    for paragraph in middleware.shown(rows, figures):
        printed.add(paragraph)
    return {"middleware": (rows, figures)}


def _show_statements(printed: _Printed, rounds: int) -> Timed:
    with sql.rows() as (rows, missing):
        packages = sql.versions().items()
        printed.add(
            "A statement, with several observers; beside the versions above: "
            + ", ".join(f"{name} {number}" for name, number in packages)
        )
        for line in missing:
            printed.add(line)
        figures = []
        if rows:
            printed.add(sql.LEGEND)
            figures = sql.measure_all(rows, rounds)
            for paragraph in sql.shown(rows, figures):
                printed.add(paragraph)
            printed.add("Objects that a session has written:")
            printed.add(committed.LEGEND)
            # With a few rounds, as in a test, a few objects.
            objects = min(committed.OBJECTS, rounds * committed.AT_ONCE)
            printed.add(committed.shown(committed.taken(objects), objects))
    return {"sql": (rows, figures)}


def _show_lines(printed: _Printed, rounds: int) -> Timed:
    rows = lines.rows()
    printed.add("An id, and a line of a log with the request on it:")
    printed.add(lines.LEGEND)
    figures = measure(rows, rounds)
    for paragraph in lines.shown(figures):
        printed.add(paragraph)
    return {"lines": (rows, figures)}


def _show_growth(printed: _Printed, pairs: int) -> None:
    grown = memory.growth(libraries.OURS.new_channel, pairs)
    printed.add(
        f"signalpost after {memory.CHUNK * memory.FIRST_CHUNKS:,} connections that"
        " came and went:"
        f" {grown.bytes_before:,} bytes; after {pairs:,}: {grown.bytes_after:,} bytes"
    )
    before, after = grown.process_bytes_before, grown.process_bytes_after
    if before is not None and after is not None:
        printed.add(
            f"the whole process: {before / 2**20:.1f} MiB, and then"
            f" {after / 2**20:.1f} MiB"
        )


def _show_race(
    printed: _Printed, found: Sequence[libraries.Library], seconds: float
) -> None:
    heading = ["switching threads", "sends", "raised", "unraisable", "missed"]
    counted = []
    for interval_seconds, name in (
        (None, "by default"),
        (race.SHORT_INTERVAL_SECONDS, "every 10 µs"),
    ):
        for library in found:
            channel = library.new_channel()
            if library in (libraries.OURS, libraries.BLINKER) and isinstance(
                channel, libraries.SignalChannel
            ):
                outcome = race.race(channel.signal, seconds, interval_seconds)
                counts = (
                    outcome.sends,
                    outcome.raised,
                    outcome.unraisable,
                    outcome.missed,
                )
                counted.append([f"{library.name}, {name}", *map(str, counts)])
    printed.add(f"Five threads at one signal for {seconds:g} s:")
    printed.add(table(heading, counted))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure a send beside other libraries', connections' memory and"
        " the middleware.",
    )
    parser.add_argument(
        "--rounds",
        type=_positive,
        default=ROUNDS,
        metavar="N",
        help=f"batches of a millisecond for each figure (default: {ROUNDS})",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the figures here as well"
    )
    parser.add_argument(
        "--rst",
        type=Path,
        metavar="FILE",
        help="write here what is printed, which is reStructuredText",
    )
    parser.add_argument(
        "--requests",
        action="store_true",
        help="measure only what watching a request adds to it",
    )
    parser.add_argument(
        "--sql",
        action="store_true",
        help="measure only what hearing a statement of SQLAlchemy adds to it",
    )
    parser.add_argument(
        "--lines",
        action="store_true",
        help="measure only an id, and a line of a log with the request on it",
    )
    parser.add_argument(
        "--growth",
        action="store_true",
        help="instead, see whether memory grows with connections that come and go",
    )
    parser.add_argument(
        "--pairs",
        type=_positive,
        default=memory.PAIRS,
        metavar="N",
        help=f"how many connections --growth makes (default: {memory.PAIRS})",
    )
    parser.add_argument(
        "--race",
        action="store_true",
        help="instead, let threads connect, disconnect and send at the same time",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=race.SECONDS,
        metavar="N",
        help=f"how long each --race takes (default: {race.SECONDS:g})",
    )
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


if __name__ == "__main__":
    main()
