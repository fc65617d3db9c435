"""``flask signalpost watch``."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
from collections.abc import Generator

import click
import flask
from flask.cli import pass_script_info
from flask.cli import ScriptInfo

from ... import lifecycle
from ...config._location import nearest
from ...console.layout import wrapped
from ...receivers.watch import Watcher
from ._endings import ended_by_signals
from ._loading import application_of
from ._loading import state_of
from ._messages import json_of
from ._messages import line_of
from ._messages import text_of
from ._messages import Wanted
from ._printing import as_json
from ._printing import CommandError
from ._printing import print_error_lines
from ._printing import print_lines
from ._printing import width

__all__ = ["watch"]


@click.command("watch", short_help="Follow the signals of a running server.")
@click.option(
    "--signal", "signals", multiple=True, help="Only this signal; * matches any text."
)
@click.option(
    "--path", "paths", multiple=True, help="Only this path; * matches any text."
)
@click.option(
    "--status", "statuses", multiple=True, help="Only this status, such as 404 or 5xx."
)
@click.option(
    "--folder",
    type=click.Path(),
    help='The folder of the sockets; by default that of the receiver "watch".',
)
@as_json("Print one JSON object a line.")
@pass_script_info
def watch(  # noqa: PLR0913 - each is an option of the command
    info: ScriptInfo,
    signals: tuple[str, ...],
    paths: tuple[str, ...],
    statuses: tuple[str, ...],
    folder: str | None,
    *,
    is_json: bool,
) -> None:
    """Follow the signals of a running server as they are sent, until Ctrl-C.

    The server's configuration must enable the receiver "watch", and both must run as
    the same user. An option that is given several times lets each through.
    """
    for status in statuses:
        if not re.fullmatch("[1-9xX?][0-9xX?]{2}", status):
            raise click.BadParameter(
                f"expected a status such as 404 or 5xx, got {status!r}",
                param_hint="--status",
            )
    application = application_of(info) if folder is None else None
    # Now, as the application may add signals to the catalogue.
    for name in signals:
        _require_known(name)
    chosen = folder if application is None else _folder_of(application)
    if application is not None and "watch" not in state_of(application).enabled:
        _note(
            f'Note: the receiver "watch" is not enabled for {application.name!r}, so'
            " its server may send nothing; add it to its configuration: watch = true"
        )
    wanted = Wanted(signals, paths, statuses)
    with ended_by_signals(), _cli_errors():
        watcher = Watcher(chosen, application=application)
        with watcher:
            _note(f"Watching {watcher.folder} (Ctrl-C ends it)")
            _follow(watcher, wanted, is_json=is_json)


def _require_known(name: str) -> None:
    """Refuse the name or pattern of a signal that the catalogue does not have."""
    if not fnmatch.filter(lifecycle.catalogue, name):
        known = f"; known are {', '.join(lifecycle.catalogue)}"
        raise click.BadParameter(
            f"unknown signal {name!r}{nearest(name, lifecycle.catalogue) or known}",
            param_hint="--signal",
        )


def _note(text: str) -> None:
    print_error_lines(wrapped("", text, width(is_error=True)))


def _follow(watcher: Watcher, wanted: Wanted, *, is_json: bool) -> None:
    """Show what comes, as long as it does."""
    dropped: dict[str, int] = {}
    for message in watcher:
        process, lost = text_of(message.get("process")), message.get("dropped")
        if isinstance(lost, int):
            more = lost - dropped.setdefault(process, lost)
            dropped[process] = lost
            if more > 0:
                _note(f"{more} more dropped by process {process}")
        if wanted.takes(message):
            print_lines([json_of(message) if is_json else line_of(message)])


def _folder_of(app: flask.Flask) -> str | os.PathLike[str] | None:
    """Return the folder that the application's own receiver was given, if any."""
    one = state_of(app).enabled.get("watch")
    return None if one is None else one.options.get("folder")


@contextlib.contextmanager
def _cli_errors() -> Generator[None]:
    """End the command with the reason if a folder cannot be watched."""
    try:
        yield
    except BrokenPipeError:
        raise  # the reader has left, as head does; Click ends without a message
    except OSError as error:
        reason = str(error)
        if error.strerror is not None:
            reason = (
                f"{error.filename or 'the folder'} cannot be used: {error.strerror};"
                ' choose another with --folder, and with the option folder of "watch"'
            )
        raise CommandError(reason) from None
    except ValueError as error:
        raise CommandError(str(error)) from None
