"""Measures and prints: ``python -m benchmarks --help`` lists the options."""

from __future__ import annotations

import argparse
import gc
import json
import platform
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from . import memory
from . import middleware
from . import peers
from . import race
from . import report
from . import send
from . import sql
from .libraries import libraries
from .libraries import OURS
from .timing import measure
from .timing import Timings

ROUNDS = 250

Kept = dict[str, Any]  # the content of the JSON file


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmarks, print their tables and write the requested files.

    :param arguments: The arguments of the command line, without the program's name.
    """
    options = _parser().parse_args(arguments)
    kept: Kept = {
        "implementation": platform.python_implementation(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "packages": {},
        "rounds": options.rounds,
    }
    printed = [report.head_line(), *libraries()[1]]
    print("\n\n".join(printed), flush=True)
    for name in options.benchmarks or DEFAULT:
        for paragraph in BENCHMARKS[name](options, kept):
            print(f"\n{paragraph}", flush=True)
            printed.append(paragraph)
    for packages in report.PACKAGES:
        kept["packages"] |= report.versions(packages)
    if options.json is not None:
        options.json.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    if options.rst is not None:
        options.rst.write_text("\n\n".join(printed) + "\n", encoding="utf-8")


def _sends(options: argparse.Namespace, kept: Kept) -> Iterable[str]:
    yield send.LEGEND
    rows = send.rows(libraries()[0])
    timings = measure(rows, options.rounds)
    # The signals are deleted before their receivers: deleting 10,000 receivers of a
    # blinker signal takes seconds.
    receivers = [row.kept for row in rows]
    del rows
    gc.collect()
    del receivers
    kept["send"] = _plain(timings)
    yield from report.compared(timings)


def _requests(options: argparse.Namespace, kept: Kept) -> Iterable[str]:
    rows, missing = middleware.rows()
    yield (
        "A request, instrumented in several ways, also with these packages: "
        + report.versions_text("requests")
    )
    yield from missing
    yield peers.LEGEND
    timings = middleware.measure_all(rows, options.rounds)
    kept["requests"] = _plain(timings)
    yield from report.added(timings)
    yield middleware.aims_table(timings)


def _statements(options: argparse.Namespace, kept: Kept) -> Iterable[str]:
    with sql.rows() as (rows, missing):
        yield (
            "A statement, with several observers, also of these packages: "
            + report.versions_text("sql")
        )
        yield from missing
        if not rows:
            return
        yield sql.LEGEND
        timings = measure(rows, options.rounds)
    kept["sql"] = _plain(timings)
    yield from report.added(timings)
    yield sql.aims_table(timings)
    yield "Objects that a session has written:"
    yield memory.OBJECTS_LEGEND
    # A test uses few rounds, and needs few objects.
    objects = min(memory.OBJECTS, options.rounds * memory.AT_ONCE)
    yield memory.objects_table(memory.bytes_of_objects(objects), objects)


def _connections(options: argparse.Namespace, kept: Kept) -> Iterable[str]:
    count = min(memory.CONNECTIONS, options.rounds * memory.CHUNK)
    taken = kept["memory"] = memory.bytes_a_connection(libraries()[0], count)
    yield f"Memory of {count:,} connections, without receivers:"
    yield memory.bytes_table(taken)


def _growth(options: argparse.Namespace, kept: Kept) -> Iterable[str]:
    grown = memory.growth(OURS, options.pairs)
    yield (
        f"signalpost after {grown.first:,} connections that came and went:"
        f" {grown.bytes_before:,} bytes; after {options.pairs:,}:"
        f" {grown.bytes_after:,} bytes"
    )
    before, after = grown.process_bytes_before, grown.process_bytes_after
    if before is not None and after is not None:
        yield (
            f"the whole process: {before / 2**20:.1f} MiB, and then"
            f" {after / 2**20:.1f} MiB"
        )


def _race(options: argparse.Namespace, kept: Kept) -> Iterable[str]:
    yield f"Five threads at one signal for {options.seconds:g} s:"
    yield race.shown(libraries()[0], options.seconds)


def _relay(options: argparse.Namespace, kept: Kept) -> Iterable[str]:
    try:
        relay = import_module(".relay", __package__)
    except ImportError as error:
        yield f"the relay is left out: {error}"
    else:
        yield "Events for other processes, and a transaction with one:"
        yield from relay.shown(options.rounds)


BENCHMARKS: dict[str, Callable[[argparse.Namespace, Kept], Iterable[str]]] = {
    "send": _sends,
    "requests": _requests,
    "sql": _statements,
    "memory": _connections,
    "growth": _growth,
    "race": _race,
    "relay": _relay,
}
DEFAULT = ("send", "requests", "sql", "memory")


def _plain(timings: Timings) -> dict[str, Any]:
    return {
        row: {name: asdict(timing) for name, timing in by_name.items()}
        for row, by_name in timings.items()
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure what signalpost and similar libraries cost.",
    )
    add = parser.add_argument
    add(
        "benchmarks",
        nargs="*",
        type=_benchmark,
        metavar="BENCHMARK",
        help=f"one of {', '.join(BENCHMARKS)} (default: {' '.join(DEFAULT)})",
    )
    add(
        "--rounds",
        type=_positive,
        default=ROUNDS,
        help=f"batches of a millisecond for each number (default: {ROUNDS})",
    )
    add("--json", type=Path, help="also write the numbers to this file")
    add("--rst", type=Path, help="also write the tables to this file")
    add(
        "--pairs",
        type=_positive,
        default=memory.PAIRS,
        help=f"how many connections growth makes (default: {memory.PAIRS})",
    )
    add(
        "--seconds",
        type=float,
        default=race.SECONDS,
        help=f"how long each race takes (default: {race.SECONDS:g})",
    )
    return parser


def _benchmark(name: str) -> str:
    if name not in BENCHMARKS:
        raise argparse.ArgumentTypeError(
            f"must be one of {', '.join(BENCHMARKS)}, got {name!r}"
        )
    return name


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


if __name__ == "__main__":
    main()
