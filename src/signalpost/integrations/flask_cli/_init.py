"""``flask signalpost init``."""

from __future__ import annotations

import click

from ...config import template
from ...console.layout import wrapped
from ...console.starting import start_configuration
from ._printing import CommandError
from ._printing import print_lines
from ._printing import width

__all__ = ["init"]


@click.command("init", short_help="Write a configuration file to start from.")
@click.argument("file", required=False, type=click.Path(dir_okay=False))
@click.option("--force", "replaces", is_flag=True, help="Replace FILE if it exists.")
def init(file: str | None, *, replaces: bool) -> None:
    """Write a TOML file with every receiver that there is, commented out.

    To FILE, or to standard output. A few receivers are enabled.
    """
    if file is None:
        print_lines(template().splitlines())
        return
    try:
        text = start_configuration(file, replaces=replaces)
    except OSError as error:
        raise CommandError(str(error)) from None
    print_lines(wrapped("", text, width()))
