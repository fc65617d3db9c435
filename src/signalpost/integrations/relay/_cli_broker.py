"""The common parts of the commands ``signalpost relay …``."""

from __future__ import annotations

import argparse
import os
import sys
import typing as t
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from ...console.layout import encodable
from ...errors import SignalpostError
from ._configured import URL_VARIABLE
from ._transport import Address
from ._transport import opened
from ._transport import Transport

__all__ = [
    "Parser",
    "Run",
    "add_command",
    "add_live",
    "address_of",
    "opened_for",
    "print_lines",
    "recorded",
]

Run: t.TypeAlias = Callable[[argparse.Namespace], int]

_WRONG = 1


class Parser(argparse.ArgumentParser):
    """A parser that accepts arguments before, between and after the options."""

    is_of_words = False
    """``True`` for the parser of one command; ``False`` if it has subcommands."""

    def parse_known_args(  # type: ignore[override]  # the signature that argparse calls
        self, args: t.Any = None, namespace: t.Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse the arguments of a command."""
        if not self.is_of_words:
            return super().parse_known_args(args, namespace)
        self.is_of_words = False  # the next call, by argparse, is for the options
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self.is_of_words = True


def add_command(
    commands: t.Any, name: str, run: Run, text: str, words: str = ""
) -> argparse.ArgumentParser:
    """Add a command that takes a broker, and return it.

    :param run: Callback for the parsed arguments; returns the exit code.
    :param text: The purpose of the command, for its help.
    :param words: The further words of the command, for its help.
    """
    parser: Parser = commands.add_parser(name, help=text)
    parser.is_of_words = True
    parser.add_argument(
        "words",
        nargs="*",
        metavar=f"[URL] {words}".rstrip(),
        help=f"the broker's URL; else the environment variable {URL_VARIABLE} has it",
    )
    parser.add_argument(
        "--prefix",
        default="signalpost",
        help="the prefix of names of streams and queues (%(default)s)",
    )
    parser.set_defaults(run=partial(_guarded, run))
    return parser


def _guarded(run: Run, chosen: argparse.Namespace) -> int:
    """Run a command; print an error in one line."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # modules of the user are there
    try:
        return run(chosen)
    except (SignalpostError, ImportError, TypeError, ValueError) as error:
        sys.stderr.write(encodable(f"Error: {error}", sys.stderr) + "\n")
        return _WRONG


def address_of(chosen: argparse.Namespace) -> Address:
    """Return the address of the broker, and remove it from the words.

    :raises ValueError: If no address is given.
    """
    url = os.environ.get(URL_VARIABLE, "")
    if chosen.words and "://" in chosen.words[0]:
        url, *chosen.words = chosen.words
    if not url:
        raise ValueError(
            f"no broker is given: write its URL first, or set {URL_VARIABLE}"
        )
    return Address(url, chosen.prefix)


@contextmanager
def opened_for(address: Address) -> Iterator[Transport]:
    """Open a transport for the length of a block."""
    transport = opened(address)
    try:
        yield transport
    finally:
        transport.close()


def add_live(parser: argparse.ArgumentParser) -> None:
    """Add the option that records a command for the live page."""
    parser.add_argument(
        "--live",
        metavar="FOLDER",
        help="record for the live page, in the folder that the server records in",
    )


@contextmanager
def recorded(chosen: argparse.Namespace) -> Iterator[None]:
    """Record a block for the live page, if the option is given.

    :raises ValueError: If this system cannot.
    """
    if chosen.live is None:
        yield
        return
    from ...live import LiveRecorder  # needed only for --live

    try:
        recorder = LiveRecorder(folder=chosen.live)
    except OSError as error:
        raise ValueError(f"--live cannot be used: {error}") from error
    recorder.connect()
    recorder.begin()
    try:
        yield
    finally:
        recorder.disconnect()


def print_lines(lines: Iterable[str]) -> None:
    """Print lines to standard output."""
    for line in lines:
        sys.stdout.write(encodable(line, sys.stdout) + "\n")
