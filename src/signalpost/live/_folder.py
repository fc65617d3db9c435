"""The folder of the workers' files, and which of their workers are alive."""

from __future__ import annotations

import os
import re
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from ..receivers.own_folder import OwnFolder
from ._layout import HISTORY_SECONDS

try:
    import fcntl
except ImportError:  # pragma: no cover  # as on Windows
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "check_system",
    "checked_folder",
    "hold",
    "is_held",
    "is_worker",
    "live_folder",
    "opened",
    "remove_dead",
]

_MOST_DEAD = 8
_NEW_SECONDS = 10

is_worker = re.compile(r"[0-9]{1,10}-[0-9a-f]{1,16}\.live").fullmatch
"""Matches the name of a worker's file."""

_is_ours = re.compile(
    r"(?P<worker>[0-9]{1,10}-[0-9a-f]{1,16})\.(?:live|lists)"
).fullmatch


def check_system() -> None:
    """Refuse a system without locks of files.

    :raises OSError: If this is one.
    """
    if fcntl is None:  # pragma: no cover  # as on Windows
        raise OSError(
            "the live page takes locks of files, which Python does not have on this"
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

    :raises TypeError: If it is no path.
    """
    try:
        # The application may change its working directory.
        return Path(folder).absolute()
    except TypeError:
        raise TypeError(
            f"folder must be the path of a folder, got {folder!r}; leave it out for"
            " the usual one"
        ) from None


def opened(folder: OwnFolder, name: str, flags: int) -> int:
    """Open a file in a folder, never one that a link points to.

    :returns: The descriptor.
    """
    flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    return os.open(name, flags, stat.S_IRUSR | stat.S_IWUSR, dir_fd=folder.descriptor)


def hold(descriptor: int) -> None:
    """Hold a file as long as its descriptor, or one made of it by a fork, is open."""
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_held(descriptor: int) -> bool:
    """Return whether the worker of a file is alive.

    :param descriptor: One that was opened for this question, not the worker's own.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def remove_dead(folder: OwnFolder) -> None:
    """Remove the files of dead workers, but those of the newest that are not old."""
    dead: dict[str, float] = {}
    names = folder.names()
    for name in filter(is_worker, names):
        with suppress(OSError):
            modified_at = folder.stat(name).st_mtime
            if not _is_alive(folder, name):
                dead[name.removesuffix(".live")] = modified_at
    now = time.time()
    by_age = sorted(dead, key=dead.__getitem__, reverse=True)
    removed = {
        one
        for number, one in enumerate(by_age)
        if number >= _MOST_DEAD or now - dead[one] > HISTORY_SECONDS
    }
    kept = {name.removesuffix(".live") for name in names if is_worker(name)} - removed
    for name in names:
        found = _is_ours(name)
        if found is None or found["worker"] in kept:
            continue
        with suppress(OSError):
            # What belongs to no worker may be of one that has just begun.
            age = now - folder.stat(name).st_mtime
            if found["worker"] in removed or age > _NEW_SECONDS:
                folder.remove(name)


def _is_alive(folder: OwnFolder, name: str) -> bool:
    """Return whether a worker holds its file, or may be about to."""
    descriptor = opened(folder, name, os.O_RDONLY)
    try:
        if is_held(descriptor):
            return True
        # What it begins with is written last, when it is held.
        is_new = not any(os.pread(descriptor, 8, 0))
        return is_new and time.time() - os.fstat(descriptor).st_ctime < _NEW_SECONDS
    finally:
        os.close(descriptor)
