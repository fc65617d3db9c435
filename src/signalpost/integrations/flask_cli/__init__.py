"""``flask signalpost``: commands that list and follow an application's signals.

Flask finds these commands if signalpost is installed.
"""

from __future__ import annotations

import os

import click

from ._check import check
from ._init import init
from ._list import list_signals
from ._live import live
from ._receivers import list_receivers
from ._watch import watch

__all__ = ["signalpost"]


@click.group("signalpost")
@click.pass_context
def signalpost(context: click.Context) -> None:
    """Look at the application's signals and their receivers."""
    if os.environ.get("NO_COLOR"):  # no-color.org: present, and not empty
        context.color = False


for _command in (list_signals, list_receivers, check, watch, live, init):
    signalpost.add_command(_command)
