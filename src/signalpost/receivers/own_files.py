"""Files in a folder of one user, which a process holds as long as it lives."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from .own_folder import OwnFolder

try:
    import fcntl
except ImportError:  # pragma: no cover  # as on Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["hold", "is_held", "opened", "reserve"]

_BLOCK_BYTES = 1 << 16


def opened(folder: OwnFolder, name: str, flags: int) -> int:
    """Open a file in a folder, never one that a link points to.

    :returns: The descriptor.
    """
    flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    return os.open(name, flags, stat.S_IRUSR | stat.S_IWUSR, dir_fd=folder.descriptor)


def hold(descriptor: int) -> None:
    """Hold a file as long as its descriptor, or one made of it by a fork, is open.

    :raises BlockingIOError: If another holds it.
    """
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_held(descriptor: int) -> bool:
    """Return whether the process of a file is alive.

    :param descriptor: One that was opened for this question, not the process's own.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def reserve(descriptor: int, size: int) -> None:
    """Set the size of a file, and reserve room on the disk for it.

    In a sparse file, a write to a page without room on the disk ends the process.
    """
    fallocate: Callable[[int, int, int], None] | None
    fallocate = getattr(os, "posix_fallocate", None)
    try:
        if fallocate is not None:
            fallocate(descriptor, 0, size)
            return
    except OSError as error:
        # Some file systems cannot reserve room.
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
    block = bytes(_BLOCK_BYTES)
    done = os.fstat(descriptor).st_size
    while done < size:
        done += os.pwrite(descriptor, block[: size - done], done)
