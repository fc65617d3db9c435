"""Measures and prints: ``python -m benchmarks --help`` tells the options."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from . import middleware
from . import send
from .report import as_json
from .report import head_line
from .report import MICROSECONDS
from .report import NANOSECONDS
from .report import table
from .timing import measure

ROUNDS = 500


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is installed, print the tables and write the file asked for.

    :param arguments: Those of the command line, without the program's name.
    """
    options = _parser().parse_args(arguments)
    makers, missing = send.peers()
    send_rows = send.rows(makers)
    request_rows, missing_too = middleware.rows()
    print(head_line(), *missing, *missing_too, sep="\n")

    sends = measure(send_rows, options.rounds)
    print()
    print(table(_SEND_TITLE, send_rows, sends, NANOSECONDS))

    requests = measure(request_rows, options.rounds)
    print()
    print(table(_REQUEST_TITLE, request_rows, requests, MICROSECONDS))

    if options.json is not None:
        tables = {"send": (send_rows, sends), "middleware": (request_rows, requests)}
        found = json.dumps(as_json(options.rounds, tables), indent=2)
        options.json.write_text(found + "\n", encoding="utf-8")


_SEND_TITLE = "send: ns an operation; ratio of minima to the bare loop's, the floor"
_REQUEST_TITLE = "SignalMiddleware: µs a request; what it adds to the bare minimum"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure a send beside blinker's, and the middleware.",
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
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


if __name__ == "__main__":
    main()
