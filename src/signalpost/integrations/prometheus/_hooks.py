"""Server hooks that keep the files of the metrics of several processes.

The functions are hooks of gunicorn, called in the server's own process, and receivers
of the signals that :mod:`signalpost.integrations.gunicorn` sends for these hooks.
"""

from __future__ import annotations

import logging
import typing as t

from ..._engine.unseen import checked
from ...errors import ConfigurationError
from ._log import log
from ._options import directory_of
from ._options import DIRECTORY_VARIABLE

if t.TYPE_CHECKING:
    from ._directory import Directory

__all__ = ["clear_metrics", "merge_worker"]

# The server holds its lock, and so do the workers that it forks.
_held: list[Directory] = []


def clear_metrics(server: t.Any) -> None:
    """Remove the files of an earlier run of the server; use it as ``on_starting``.

    If processes of another run use files, these stay and a warning is logged: then all
    processes are summed, also those of a new arbiter (SIGUSR2). A directory that root
    created is given to the user of the workers.

    :param server: gunicorn's arbiter.
    :raises ConfigurationError: If ``PROMETHEUS_MULTIPROC_DIR`` does not name a safe
        directory.

    .. versionadded:: 0.1
    """
    try:
        directory = _directory()
        settings = getattr(server, "cfg", None)
        if settings is not None:
            directory.give_to(settings.uid, settings.gid)
        if not getattr(server, "master_pid", 0) and not directory.clear():
            checked(log, logging.WARNING).warning(
                "processes of another run use %r, so its metrics are kept; give each"
                " server its own directory",
                directory.path,
            )
    except OSError as error:
        raise ConfigurationError(
            f"{DIRECTORY_VARIABLE}: {error}", key=DIRECTORY_VARIABLE
        ) from error


def merge_worker(server: t.Any, worker: t.Any) -> None:
    """Merge the metrics of an exited worker into one file; use it as ``child_exit``.

    Its gauges are removed. If the merge fails, this is logged, and the worker's files
    are read as before. The client library's files of the process are merged, too, so
    you need not call its ``mark_process_dead()``.

    :param server: gunicorn's arbiter.
    :param worker: The worker, of which ``pid`` is read.

    .. versionadded:: 0.1
    """
    try:
        _directory().merge(str(worker.pid))
    except Exception:  # noqa: BLE001  # it would end the server
        checked(log, logging.ERROR).exception(
            "the metrics of worker %s are not merged", worker.pid
        )


def _directory() -> Directory:
    found = directory_of(None)
    if found is None:
        raise ConfigurationError(
            f"{DIRECTORY_VARIABLE} must name a directory; set it, and make the"
            " directory, before the server starts",
            key=DIRECTORY_VARIABLE,
        )
    _held[:] = [found]
    return found
