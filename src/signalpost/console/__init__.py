"""The command ``signalpost``, which needs no application and no other package.

``signalpost receivers`` lists what a configuration can enable, ``signalpost check``
checks a file, and ``signalpost init`` writes a new one. ``python -m signalpost`` is the
same command. Commands that need an application are below ``flask signalpost``. Commands
of integrations are imported when they are used.
"""

from __future__ import annotations

import argparse
import os
import sys
import typing as t
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from importlib import import_module

from ..config import available_receivers
from ..config import checked_file
from ..config import template
from ..config._terminal import shows_colours
from .layout import encodable
from .layout import unstyled
from .layout import width_of
from .layout import wrapped
from .starting import start_configuration
from .texts import check_data
from .texts import document
from .texts import error_lines
from .texts import mistakes_text
from .texts import receiver_data
from .texts import receiver_lines
from .texts import right_text
from .texts import warning_texts

__all__ = ["main"]

_RIGHT, _WRONG = 0, 1

_OF_INTEGRATIONS: t.Final[Mapping[str, tuple[str, str]]] = {
    "relay": (
        "signalpost.integrations.relay._cli",
        "send signals to other processes, and receive them there",
    ),
}
"""The module of each command of an integration, and what it is for."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    :param arguments: The arguments; ``None`` for those of the process.
    :returns: The exit code: 0 if all is right, 1 if a configuration is not or a file
        cannot be written. With 2, by :exc:`SystemExit`, arguments are refused.
    """
    given = sys.argv[1:] if arguments is None else [*arguments]
    chosen = _parser(given).parse_args(given)
    try:
        code = int(chosen.run(chosen))
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has left, as head does. Python would fail again at the exit.
        _drop_output()
        return _WRONG
    except OSError as error:
        # Usually the disk is full, so the rest of the buffer cannot be written either.
        _drop_output()
        _print_error(f"the output cannot be written: {error}")
        return _WRONG
    except KeyboardInterrupt:
        return 130  # as a shell reports it
    return code


def _drop_output() -> None:
    """Discard the buffer of standard output."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser(given: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "signalpost",
        description="List receivers and check configurations of signalpost.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    receivers = commands.add_parser("receivers", help="list what can be enabled")
    receivers.set_defaults(run=_receivers)
    check = commands.add_parser("check", help="check a configuration file")
    check.add_argument("file", metavar="FILE", help="a .toml or .ini file")
    check.set_defaults(run=_check)
    for one in (receivers, check):
        one.add_argument("--json", action="store_true", help="print JSON")
    init = commands.add_parser("init", help="write a configuration file to start from")
    init.add_argument(
        "file", metavar="FILE", nargs="?", help="a .toml file; standard output if none"
    )
    init.add_argument("--force", action="store_true", help="replace FILE if it exists")
    init.set_defaults(run=_init)
    for name, (module, text) in _OF_INTEGRATIONS.items():
        command = commands.add_parser(name, help=text)
        if name in given[:1]:
            import_module(module).add_commands(command)
    return parser


def _receivers(chosen: argparse.Namespace) -> int:
    found = available_receivers()
    if chosen.json:
        data = {"mistakes": [], "receivers": [receiver_data(one) for one in found]}
        _print([document(data)])
        return _RIGHT
    width = width_of(sys.stdout)
    for one in found:
        _print(receiver_lines(one, width))
    return _RIGHT


def _check(chosen: argparse.Namespace) -> int:
    checked = checked_file(chosen.file)
    if chosen.json:
        reasons = checked.warnings + checked.unseen
        data = check_data(chosen.file, checked.receivers, checked.mistakes, reasons)
        _print([document(data)])
    elif checked.mistakes:
        _print_error(mistakes_text(checked.mistakes))
    else:
        _print(wrapped("", right_text(checked.receivers), width_of(sys.stdout)))
    if not chosen.json:
        for text in warning_texts(checked.warnings, checked.unseen):
            _print(wrapped("", text, width_of(sys.stderr)), sys.stderr)
    return _WRONG if checked.mistakes else _RIGHT


def _init(chosen: argparse.Namespace) -> int:
    if chosen.file is None:
        _print(template().splitlines())
        return _RIGHT
    try:
        text = start_configuration(chosen.file, replaces=chosen.force)
    except OSError as error:
        _print_error(str(error))
        return _WRONG
    _print(wrapped("", text, width_of(sys.stdout)))
    return _RIGHT


def _print_error(message: str) -> None:
    _print(error_lines(message, width_of(sys.stderr)), sys.stderr)


def _print(lines: Iterable[str], stream: t.TextIO | None = None) -> None:
    stream = stream or sys.stdout
    for line in lines:
        text = line if shows_colours(stream) else unstyled(line)
        stream.write(encodable(text, stream) + "\n")
