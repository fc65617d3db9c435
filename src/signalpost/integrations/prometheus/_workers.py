"""What a server with several processes does for the figures, in its own process.

The functions are server hooks of gunicorn, and receivers of the signals that
:mod:`signalpost.integrations.gunicorn` makes of these.
"""

from __future__ import annotations

import logging
import os
import typing as t

from ..._engine.unseen import checked
from ...errors import ConfigurationError
from ._folder import Folder
from ._options import DIRECTORY_VARIABLE

__all__ = ["clear_figures", "fold_worker"]

_log = logging.getLogger("signalpost.prometheus")


def clear_figures(server: t.Any) -> None:
    """Remove what an earlier run of the server has left; ``on_starting``.

    Not in an arbiter that takes over from one that goes on (SIGUSR2): the figures are
    theirs together.

    :param server: gunicorn's arbiter.
    :raises ConfigurationError: If ``PROMETHEUS_MULTIPROC_DIR`` names no directory.

    .. versionadded:: 0.1
    """
    folder = _folder()
    if not getattr(server, "master_pid", 0):
        folder.clear()


def fold_worker(server: t.Any, worker: t.Any) -> None:
    """Keep what a worker that is gone has counted, in one file; ``child_exit``.

    Its gauges go. If that fails, it is logged, and its files are read as they are.
    The client library's files of the process are treated alike, so that its
    ``mark_process_dead()`` need not be called.

    :param server: gunicorn's arbiter.
    :param worker: The worker, of which ``pid`` is read.

    .. versionadded:: 0.1
    """
    try:
        _folder().fold(worker.pid)
    except Exception:  # noqa: BLE001  # as it says
        # It would end the server.
        checked(_log, logging.ERROR).exception(
            "the figures of worker %s are not folded", worker.pid
        )


def _folder() -> Folder:
    directory = os.environ.get(DIRECTORY_VARIABLE, "")
    if not os.path.isdir(directory):
        raise ConfigurationError(
            f"{DIRECTORY_VARIABLE} must name a directory, got {directory!r}; set it,"
            " and make the directory, before the server starts",
            key=DIRECTORY_VARIABLE,
        )
    return Folder(directory)
