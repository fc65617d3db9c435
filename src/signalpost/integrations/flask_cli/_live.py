"""``flask signalpost live``."""

from __future__ import annotations

import errno
import os

import click
import flask
from flask.cli import pass_script_info
from flask.cli import ScriptInfo

from ...console.layout import wrapped
from ...live import live_folder
from ...live.serving import LiveServer
from ._endings import ended_by_signals
from ._loading import application_of
from ._loading import state_of
from ._printing import CommandError
from ._printing import print_error_lines
from ._printing import print_lines
from ._printing import width

__all__ = ["live"]

_OF_PORTS = (errno.EADDRINUSE, errno.EACCES, errno.EPERM, errno.EADDRNOTAVAIL)


@click.command("live", short_help="Serve the live page of a running server.")
@click.option(
    "--folder",
    type=click.Path(),
    help='The folder of the records; by default that of the receiver "live".',
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    help="The port; by default any free one.",
)
@pass_script_info
def live(info: ScriptInfo, folder: str | None, port: int) -> None:
    """Serve the live page in a separate process, until Ctrl-C.

    The URL that it prints has a token that is new each time. The page is served on
    127.0.0.1 only, and answers also while each worker of the server is busy. The
    server's configuration must enable the receiver "live", and both must run as the
    same user on the same machine.
    """
    chosen = folder or _folder_of(application_of(info))
    with ended_by_signals():
        try:
            server = LiveServer(chosen, port)
        except OSError as error:
            raise CommandError(_problem_of(error, port)) from None
        with server:
            _note(f"The live page of {os.fspath(chosen)} (Ctrl-C ends it):")
            print_lines([server.url])
            server.serve_until_stopped()


def _problem_of(error: OSError, port: int) -> str:
    """Return why nothing can be served; the port is the reason of a few errors only."""
    reason = error.strerror or str(error)
    if error.errno in _OF_PORTS:
        return (
            f"the port {port} of 127.0.0.1 cannot be used: {reason}; choose another"
            " with --port"
        )
    return f"the live page cannot be served: {reason}"


def _folder_of(app: flask.Flask) -> str | os.PathLike[str]:
    """Return the folder in which the application's own receiver records."""
    one = state_of(app).enabled.get("live")
    if one is None:
        _note(
            f'Note: the receiver "live" is not enabled for {app.name!r}, so its server'
            " may record nothing; add it to its configuration: live = true"
        )
        return live_folder(app)
    chosen: str | os.PathLike[str] | None = one.options.get("folder")
    return live_folder(app) if chosen is None else chosen


def _note(text: str) -> None:
    print_error_lines(wrapped("", text, width(is_error=True)))
