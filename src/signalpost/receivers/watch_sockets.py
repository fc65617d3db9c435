"""Unix sockets in a folder, for watchers and what sends to them."""

from __future__ import annotations

import errno
import os
import socket
import stat
import time
from contextlib import suppress
from pathlib import Path

from .own_folder import has_short_addresses
from .own_folder import OwnFolder

__all__ = [
    "bind",
    "check_system",
    "checked_folder",
    "fits",
    "is_socket_name",
    "link_to",
    "remove_stale",
]

_STALE_SECONDS = 60
_SUFFIX = ".sock"
# Of the systems' limits for the path of a socket, the lowest: macOS's.
_LONGEST_SOCKET_PATH = 103
_LONGEST_SOCKET_NAME = "4194304-999" + _SUFFIX


def check_system() -> None:
    """Refuse a system without Unix sockets.

    :raises OSError: If this is one.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise OSError(
            "watching needs Unix sockets, which Python does not have on this system;"
            " follow the log instead"
        )


def checked_folder(folder: str | os.PathLike[str]) -> Path:
    """Return the absolute path of a folder for sockets.

    :raises TypeError: If it is not a path.
    :raises ValueError: If it is too long for a socket in it.
    """
    try:
        path = Path(folder)
    except TypeError:
        raise TypeError(
            f"folder must be the path of a folder, got {folder!r}; leave it out for"
            " the usual one"
        ) from None
    # The application may change its working directory.
    path = path.absolute()
    if not fits(path):
        raise ValueError(
            f"the path of a folder for sockets has at most"
            f" {_LONGEST_SOCKET_PATH - len(_LONGEST_SOCKET_NAME) - 1} bytes, got"
            f" {os.fspath(path)!r}; choose a shorter one by folder="
        )
    return path


def fits(folder: Path) -> bool:
    """Return whether a folder's path is short enough for a socket in it."""
    if has_short_addresses():
        return True
    return len(os.fsencode(folder / _LONGEST_SOCKET_NAME)) <= _LONGEST_SOCKET_PATH


def is_socket_name(name: str) -> bool:
    """Return whether a name is one that :func:`bind` gives."""
    return name.endswith(_SUFFIX) and len(name) <= len(_LONGEST_SOCKET_NAME)


def link_to(address: str) -> socket.socket | None:
    """Return a socket to a watcher, or ``None`` if it is not there any more."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        link.settimeout(0)
        link.connect(address)
    except OSError:
        link.close()
        return None
    return link


def bind(link: socket.socket, folder: OwnFolder) -> str:
    """Give a socket the first name that is free, and return the name."""
    number = 1
    while True:
        extra = "" if number == 1 else f"-{number}"
        name = f"{os.getpid()}{extra}{_SUFFIX}"
        try:
            link.bind(folder.address(name))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            number += 1
        else:
            folder.close_to_others(name)
            return name


def remove_stale(folder: OwnFolder) -> None:
    """Remove sockets of watchers that were killed."""
    for name in filter(is_socket_name, folder.names()):
        with suppress(OSError):
            # A new one may not have got its socket yet.
            found = folder.stat(name)
            is_old = time.time() - found.st_mtime > _STALE_SECONDS
            if is_old and stat.S_ISSOCK(found.st_mode):
                link = link_to(folder.address(name))
                if link is None:
                    folder.remove(name)
                else:
                    link.close()
