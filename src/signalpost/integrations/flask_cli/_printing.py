"""Print the lines of commands, and declare the option for JSON."""

from __future__ import annotations

import sys
import typing as t
from collections.abc import Iterable

import click

from ...console.layout import encodable
from ...console.layout import width_of
from ...console.texts import error_lines

__all__ = ["CommandError", "as_json", "print_error_lines", "print_lines", "width"]

F = t.TypeVar("F", bound=t.Callable[..., t.Any])


class CommandError(click.ClickException):
    """Error that ends a command, and is printed in lines that fit the terminal."""

    def show(self, file: t.IO[t.Any] | None = None) -> None:
        """Print the message to standard error."""
        columns = width(is_error=True)
        print_error_lines(error_lines(self.message, columns))


def as_json(text: str) -> t.Callable[[F], F]:
    """Return the option ``--json`` of a command.

    :param text: What it does.
    """
    return click.option("--json", "is_json", is_flag=True, help=text)


def print_lines(lines: Iterable[str]) -> None:
    """Print lines; in colour on a terminal."""
    for line in lines:
        click.echo(encodable(line, sys.stdout))


def print_error_lines(lines: Iterable[str]) -> None:
    """Print lines to standard error."""
    for line in lines:
        click.echo(encodable(line, sys.stderr), err=True)


def width(*, is_error: bool = False) -> int | None:
    """Return the columns of the terminal; ``None`` for a pipe or a file."""
    return width_of(sys.stderr if is_error else sys.stdout)
