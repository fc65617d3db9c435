"""The folder of the workers' files, and which of their workers are alive."""

from __future__ import annotations

import errno
import os
import re
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from ..receivers.own_files import is_held
from ..receivers.own_files import opened
from ..receivers.own_folder import OwnFolder
from ._layout import HISTORY_SECONDS
from ._layout import LIVE_AT
from ._layout import LIVE_BYTES
from ._layout import live_fields

try:
    import fcntl
except ImportError:  # pragma: no cover  # as on Windows
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "MOST_DEAD",
    "NEW_SUFFIX",
    "check_file",
    "check_system",
    "checked_folder",
    "is_worker",
    "live_folder",
    "reason_of",
    "remove_dead",
]

MOST_DEAD = 8
"""How many dead workers are kept of those that served requests, and of others."""

NEW_SUFFIX = ".new"
"""How the name of a file ends that no process has locked yet."""

_NEW_SECONDS = 10

is_worker = re.compile(r"[0-9]{1,10}-[0-9a-f]{1,16}\.live").fullmatch
"""Matches the name of a worker's file."""

_is_ours = re.compile(
    r"(?P<worker>[0-9]{1,10}-[0-9a-f]{1,16})\.(?:live|lists|new)"
).fullmatch


def check_system() -> None:
    """Refuse a system without locks of files.

    :raises OSError: If this is one.
    """
    if fcntl is None:  # pragma: no cover  # as on Windows
        raise OSError(
            "the live page needs file locks, which Python does not have on this"
            " system; enable the receivers recorder and failures instead"
        )


def live_folder(application: object = None) -> Path:
    """Return the folder in which the workers of an application have their files.

    :param application: An application. If it has an ``instance_path``, as Flask's
        have, the folder is there. Otherwise it is one for each user in the system's
        folder for temporary files.
    :raises OSError: If this system has no locks of files.

    .. versionadded:: 0.1
    """
    check_system()
    instance_path = getattr(application, "instance_path", None)
    if isinstance(instance_path, str):
        return Path(instance_path).absolute() / "signalpost-live"
    return Path(tempfile.gettempdir()) / f"signalpost-live-{os.geteuid()}"


def checked_folder(folder: str | os.PathLike[str]) -> Path:
    """Return the absolute path of a folder.

    :raises TypeError: If it is not a path.
    """
    try:
        # The application may change its working directory.
        return Path(folder).absolute()
    except TypeError:
        raise TypeError(
            f"folder must be the path of a folder, got {folder!r}; leave it out for"
            " the usual one"
        ) from None


def check_file(descriptor: int) -> os.stat_result:
    """Return the status of a file that is to be read.

    :raises ValueError: If it is not a regular file of this user; the message has the
        reason.
    """
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("it is not a file")
    if found.st_uid != os.geteuid():
        raise ValueError(f"it belongs to the user {found.st_uid}")
    return found


def reason_of(error: Exception) -> str:
    """Return why a file was not read."""
    if not isinstance(error, OSError):
        return str(error)
    if error.errno == errno.ELOOP:
        return "it is a link"
    return error.strerror or str(error)


def remove_dead(folder: OwnFolder) -> None:
    """Remove the files of dead workers, but those of the newest that are not old.

    The newest are those of each kind: many short processes of a queue, or commands,
    must not take the place of a server's workers.
    """
    dead: dict[bool, dict[str, float]] = {True: {}, False: {}}
    names = folder.names()
    for name in filter(is_worker, names):
        with suppress(OSError):
            modified_at = folder.stat(name).st_mtime
            served = _has_served(folder, name)
            if served is not None:
                dead[served][name.removesuffix(".live")] = modified_at
    removed = {*_old_of(dead[True]), *_old_of(dead[False])}
    now = time.time()
    kept = {name.removesuffix(".live") for name in names if is_worker(name)} - removed
    for name in names:
        found = _is_ours(name)
        if found is None or found["worker"] in kept:
            continue
        with suppress(OSError):
            # A file without a worker may belong to one that has just started.
            age = now - folder.stat(name).st_mtime
            if found["worker"] in removed or age > _NEW_SECONDS:
                folder.remove(name)


def _old_of(times: dict[str, float]) -> list[str]:
    """Return the dead workers that are old, or not among the newest.

    :param times: When each was last written.
    """
    now = time.time()
    by_age = sorted(times, key=times.__getitem__, reverse=True)
    return [
        one
        for number, one in enumerate(by_age)
        if number >= MOST_DEAD or now - times[one] > HISTORY_SECONDS
    ]


def _has_served(folder: OwnFolder, name: str) -> bool | None:
    """Return whether a dead worker has served a request.

    :returns: ``None`` if the worker holds its file, or may be about to.
    """
    descriptor = opened(folder, name, os.O_RDONLY)
    try:
        if is_held(descriptor):
            return None
        head = os.pread(descriptor, LIVE_AT + LIVE_BYTES, 0)
        # The beginning of the file is written last, when the file is locked.
        is_new = not any(head[:8])
        if is_new and time.time() - os.fstat(descriptor).st_ctime < _NEW_SECONDS:
            return None
        is_whole = len(head) == LIVE_AT + LIVE_BYTES
        return is_whole and live_fields(head).requests > 0
    finally:
        os.close(descriptor)
