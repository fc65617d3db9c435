"""A folder that only one user can enter, held by its descriptor."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["OwnFolder", "has_short_addresses"]

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_PARENT_MODE = 0o755


def has_short_addresses() -> bool:
    """Return whether sockets have the path of a descriptor, however long the folder's.

    If not, the path of a folder and a socket's name must be short enough for the
    system.
    """
    return os.path.isdir("/proc/self/fd")


class OwnFolder:
    """A folder of this user that no other user can enter.

    It is opened once. Owner and mode are those of what was opened, and all that is
    done in the folder is done by its descriptor, so that it does not matter if another
    user renames the folder, or puts another in its place, meanwhile.

    A Unix socket is bound and connected by a path in each system. On Linux that is the
    path of the descriptor, ``/proc/self/fd/N/name``, which leads into this folder
    alone. Where ``/proc`` is not mounted, and on other systems, it is the path of the
    folder. There, and only there, a folder is refused if someone else could rename one
    of the folders above it: those must belong to root or to this user, and not be
    writable for others, or have the sticky bit, as ``/tmp`` has.

    :param path: The folder's absolute path.
    :param owner: The user that it must belong to; without it, the one that runs this.
    :param closed: The permission bits that it must not have; without them, all of
        those of group and others.
    :raises FileNotFoundError: If the folder does not exist.
    :raises PermissionError: If it belongs to someone else, others can enter it, or it
        is not a folder; the message has the reason.
    :raises OSError: If it cannot be opened for another reason.
    """

    def __init__(
        self, path: Path, *, owner: int | None = None, closed: int = _OTHERS
    ) -> None:
        self.path = path
        self._rule = os.geteuid() if owner is None else owner, closed
        self.descriptor: int = _opened(path, *self._rule)
        self._address = f"/proc/self/fd/{self.descriptor}"
        try:
            self._check()
        except BaseException:
            self.close()
            raise

    @classmethod
    def made(cls, path: Path) -> Self:
        """Open a folder, and make it and those above it if they do not exist.

        Those above can be written by their owner only, whatever the umask.
        """
        for parent in [*reversed(path.parents)]:
            if not parent.exists():
                _make(parent, _PARENT_MODE)
        _make(path, stat.S_IRWXU)
        return cls(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the descriptor; again is not an error."""
        descriptor = self.descriptor
        self.descriptor = -1
        if descriptor >= 0:
            os.close(descriptor)

    def names(self) -> list[str]:
        """Return the names of what is in it."""
        # Threads and forked processes share the position of a descriptor.
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        descriptor = os.open(".", flags, dir_fd=self.descriptor)
        try:
            return sorted(os.listdir(descriptor))
        finally:
            os.close(descriptor)

    def address(self, name: str) -> str:
        """Return the path by which a socket in it is bound or connected."""
        return f"{self._address}/{name}"

    def stat(self, name: str) -> os.stat_result:
        """Return the state of what is in it; of a link itself."""
        return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)

    def close_to_others(self, name: str) -> None:
        """Let only the owner use a socket in it."""
        os.chmod(name, stat.S_IRUSR | stat.S_IWUSR, dir_fd=self.descriptor)

    def remove(self, name: str) -> None:
        """Remove what is in it."""
        os.unlink(name, dir_fd=self.descriptor)

    def _check(self) -> None:
        problem = _problem_of(self.path, os.fstat(self.descriptor), *self._rule)
        if problem is None and not self._is_address_right():
            self._address = os.fspath(self.path)
            problem = _problem_above(self.path)
        if problem is not None:
            raise PermissionError(problem)

    def _is_address_right(self) -> bool:
        try:
            found = os.stat(self._address)
        except OSError:
            return False
        return os.path.samestat(found, os.fstat(self.descriptor))


def _make(path: Path, mode: int) -> None:
    # One that another process has made meanwhile is checked when it is opened.
    with suppress(FileExistsError):
        os.mkdir(path, mode)  # the umask can only take from it


def _opened(path: Path, owner: int, closed: int) -> int:
    # Not the target of a link: another user may have created the link.
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        raise
    except OSError:
        problem = _problem_of(path, path.lstat(), owner, closed)
        if problem is None:
            raise
        raise PermissionError(problem) from None


def _problem_of(
    path: Path, found: os.stat_result, owner: int, closed: int
) -> str | None:
    """Return why a folder is not safe, or ``None``."""
    if not stat.S_ISDIR(found.st_mode):
        return f"{path} must be a folder, and is not one; remove it or choose another"
    if found.st_uid != owner:
        return (
            f"{path} must belong to the user {owner}, and"
            f" belongs to {found.st_uid}; run all processes as the same user, or"
            " choose another folder"
        )
    if stat.S_IMODE(found.st_mode) & closed:
        least = stat.S_IMODE(found.st_mode) & ~closed
        return (
            f"{path} must be closed to other users, and has the mode"
            f" {stat.S_IMODE(found.st_mode):o}; run chmod {least:o} on it, or choose"
            " another"
        )
    return None


def _problem_above(path: Path) -> str | None:
    """Return which folder above others can rename something in, or ``None``."""
    for parent in Path(os.path.realpath(path)).parents:
        found = parent.stat()
        is_sticky = found.st_mode & stat.S_ISVTX
        is_open = found.st_mode & _OTHERS_WRITE and not is_sticky
        if is_open or found.st_uid not in (0, os.geteuid()):
            return (
                f"{path} must be where no other user can rename it, and {parent} is"
                f" writable for others or belongs to {found.st_uid}; choose another"
                " folder"
            )
    return None
