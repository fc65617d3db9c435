"""Signals as they are sent, for who watches from another process of the same user."""

from __future__ import annotations

import errno
import json
import logging
import os
import select
import socket
import stat
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any
from typing import ClassVar
from typing import Self
from typing import TypeAlias

from .._engine.signal import NamedSignal
from .._engine.unseen import checked
from ..exchange import current_exchange
from ..exchange import Exchange
from ..lifecycle import catalogue
from .lines import capped
from .lines import one_line
from .own_folder import has_short_addresses
from .own_folder import OwnFolder

__all__ = ["MOST_BYTES", "Message", "WatchSender", "Watcher", "watch_folder"]

Message: TypeAlias = dict[str, str | int | float | bool | None]
"""What is told of one signal; see :class:`WatchSender`."""

MOST_BYTES = 8192
"""The size of the largest message, in bytes."""

# A character takes up to 6 bytes: two long texts and six others stay below MOST_BYTES.
_LONGEST_PATH = 256
_LONGEST_NAME = 100
_LOOK_SECONDS = 1.0
_MOST_WATCHERS = 16
_MOST_PENDING = 10_000
_STALE_SECONDS = 60
_SUFFIX = ".sock"
# Of the systems' limits for the path of a socket, the lowest: macOS's.
_LONGEST_SOCKET_PATH = 103
_LONGEST_SOCKET_NAME = "4194304-999" + _SUFFIX

_log = logging.getLogger("signalpost.watch")


class WatchSender:
    """Tell each signal of the catalogue to those who watch, as it is sent.

    ::

        WatchSender().connect()

    It hears every signal, later ones too, so :meth:`connect` and :meth:`disconnect`
    take the place of those of a signal. While it is connected, each exchange is
    recorded. While nobody watches, a signal costs a look at the clock, and the folder
    is looked at once a second; there is no thread. While somebody does, each signal is
    one datagram to the Unix socket of each :class:`Watcher`. Nothing waits: what a
    watcher has no room for is dropped, and counted.

    A message is one JSON object of at most :data:`MOST_BYTES`, with

    - ``signal``, ``sender`` (a name), ``time`` (seconds since the epoch), ``process``
      (its id), and ``dropped``: how many messages it has dropped so far, to whichever
      watcher;
    - ``method``, ``path``, ``route``, ``status``, ``outcome``, ``duration_seconds`` and
      ``body_bytes``, if it belongs to an :class:`~signalpost.exchange.Exchange`;
    - ``exception`` (its type) and ``where``, if it carries an exception.

    No header, query, message of an exception or variable of a template is told. Texts
    are cut, and otherwise as the client sent them: escape them before you show them.

    Who can enter the folder can read all this. Messages are sent only if it belongs to
    the user of this process and nobody else can enter it; if not, a warning is logged,
    once. On Linux that is checked of the folder that is used, whoever renames folders
    meanwhile. On other systems the path is used, and the folder is refused if others
    could rename one above it.

    :param folder: Where watchers have their sockets, the same as for :class:`Watcher`.
        ``None`` for the :func:`watch_folder` of the application given to
        :meth:`connect`.
    :raises OSError: If this system has no Unix sockets.
    :raises TypeError: If ``folder`` is no path.
    :raises ValueError: If the path of ``folder`` is too long for a socket in it; never
        on Linux.

    .. versionadded:: 0.1
    """

    hears: ClassVar[Mapping[str, str]] = {}
    """No signal by its name; :meth:`connect` connects it to all."""

    dropped: int
    """How many messages were dropped, as there was no room for them."""

    def __init__(self, *, folder: str | os.PathLike[str] | None = None) -> None:
        _check_system()
        self._chosen = None if folder is None else _checked(folder)
        self._folder: Path | None = None
        self._links: dict[str, socket.socket] = {}
        self._look_at = float("-inf")
        self._has_warned = False
        self.dropped = 0
        # Reentrant, as the collector may end an exchange, which sends, on any line.
        self._lock = threading.RLock()

    def connect(self, application: object = None) -> None:
        """Hear every signal of the catalogue, until :meth:`disconnect`.

        It is kept alive as long as it is connected. Connecting it again changes only
        the folder.

        :param application: Whose :func:`watch_folder` is looked at, if no folder was
            chosen. What others send in this process is told, too.
        """
        folder = self._chosen or watch_folder(application)
        with self._lock:
            self._forget_all()
            self._folder = folder
            self._look_at = float("-inf")
        catalogue.connect(self, weak=False)

    def disconnect(self) -> bool:
        """Hear no more, and let go of every socket.

        :returns: Whether it was connected.
        """
        was_connected = catalogue.disconnect(self)
        with self._lock:
            self._folder = None
            self._forget_all()
        return was_connected

    def __call__(
        self, sender: object, /, *, signal: NamedSignal, **payload: Any
    ) -> None:
        """Tell a signal to those who watch."""
        now = time.perf_counter()
        if now >= self._look_at:
            # Two threads that do so at once look twice, which does no harm.
            self._look_at = now + _LOOK_SECONDS
            self._look()
        if not self._links:
            return
        data = _encoded(_message(signal, sender, payload, self.dropped))
        with self._lock:
            for name, link in [*self._links.items()]:
                try:
                    link.send(data)
                except ConnectionError:
                    self._forget(name)
                except OSError:
                    self.dropped += 1

    def _look(self) -> None:
        """Look for watchers, and forget those that are gone."""
        with self._lock:
            # A signal may be on its way while it is disconnected.
            if self._folder is None:
                return
            try:
                # Not kept open: the descriptors of a server may be closed when it
                # becomes a daemon, and their numbers given to other files.
                with OwnFolder(self._folder) as folder:
                    self._link_to_each(folder)
            except FileNotFoundError:
                self._forget_all()
            except OSError as error:
                self._forget_all()
                self._warn_once(error)

    def _warn_once(self, error: OSError) -> None:
        if self._has_warned:
            return
        self._has_warned = True
        problem = str(error)
        if error.strerror is not None:
            problem = f"{self._folder} cannot be looked at: {error.strerror}"
        checked(_log, logging.WARNING).warning(
            "nothing is sent to watchers: %s", one_line(problem)
        )

    def _link_to_each(self, folder: OwnFolder) -> None:
        names = [one for one in folder.names() if _is_socket_name(one)]
        for name in [*self._links]:
            if name not in names:
                self._forget(name)
        for name in names:
            if len(self._links) >= _MOST_WATCHERS:
                return
            if name not in self._links:
                link = _link_to(folder.address(name))
                if link is not None:
                    self._links[name] = link

    def _forget(self, name: str) -> None:
        with suppress(KeyError):
            self._links.pop(name).close()

    def _forget_all(self) -> None:
        for name in [*self._links]:
            self._forget(name)


class Watcher:
    """Get the messages that each :class:`WatchSender` of the same folder sends.

    ::

        with Watcher() as watcher:
            for message in watcher:
                print(message["signal"], message.get("path"))

    It makes the folder, which only this user can enter, those above it, which nobody
    else can write to, and a socket for the length of the ``with`` block. Senders find
    it within a second. Sockets that killed watchers have left are removed after a
    minute.

    :param folder: As for :class:`WatchSender`; ``None`` for the :func:`watch_folder` of
        ``application``.
    :param application: The application whose server is watched.
    :raises OSError: If this system has no Unix sockets.
    :raises TypeError: If ``folder`` is no path.
    :raises ValueError: If the path of ``folder`` is too long for a socket in it; never
        on Linux.

    .. versionadded:: 0.1
    """

    folder: Path
    """Where its socket is."""

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        *,
        application: object = None,
    ) -> None:
        _check_system()
        self.folder = watch_folder(application) if folder is None else _checked(folder)
        self._socket: socket.socket | None = None
        self._own: OwnFolder | None = None
        self._name = ""

    def __enter__(self) -> Self:
        """Begin to watch.

        :raises PermissionError: If the folder belongs to someone else, others can
            enter it, or it is none.
        """
        own = OwnFolder.made(self.folder)
        link = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            _remove_stale(own)
            link.settimeout(0)
            self._name = _bind(link, own)
            self._socket, self._own = link, own
        except BaseException:
            # As at Ctrl-C, which may come as soon as it is bound.
            with own, link, suppress(OSError):
                own.remove(os.path.basename(link.getsockname()))
            raise
        return self

    def __exit__(self, *_: object) -> None:
        link, self._socket = self._socket, None
        own, self._own = self._own, None
        if link is not None and own is not None:
            link.close()
            with own, suppress(FileNotFoundError):
                own.remove(self._name)

    def __iter__(self) -> Iterator[Message]:
        return self.messages()

    def messages(self, timeout_seconds: float | None = None) -> Iterator[Message]:
        """Iterate over the messages, in the order in which they come.

        :param timeout_seconds: End when none has come for so long; ``None`` for never.
        :raises ValueError: If the ``with`` block is over, or has not begun.
        """
        pending: deque[Message] = deque()
        while True:
            # All at once, as the system keeps few that are not fetched.
            link = self._opened()
            if not pending and not select.select([link], [], [], timeout_seconds)[0]:
                return
            received = islice(_received(link), _MOST_PENDING - len(pending))
            pending.extend(one for one in map(_decoded, received) if one is not None)
            if pending:
                yield pending.popleft()

    def _opened(self) -> socket.socket:
        if self._socket is None:
            raise ValueError(
                "a watcher gets messages within its with block, which is not open;"
                " write with Watcher() as watcher: …"
            )
        return self._socket


def watch_folder(application: object = None) -> Path:
    """Return the folder in which watcher and sender of an application meet.

    :param application: An application. If it has an ``instance_path``, as Flask's
        have, that is where the folder is, unless the path is too long for a socket,
        which it cannot be on Linux.
        Otherwise it is one for each user in the system's folder for temporary files,
        which is another one for a service that has its own (``TMPDIR``, or systemd's
        ``PrivateTmp``): choose a folder there.
    :raises OSError: If this system has no Unix sockets.
    :raises ValueError: If the path is too long for a socket in any case.

    .. versionadded:: 0.1
    """
    _check_system()
    instance_path = getattr(application, "instance_path", None)
    if isinstance(instance_path, str):
        folder = Path(instance_path).absolute() / "signalpost-watch"
        if _fits(folder):
            return folder
    return _checked(Path(tempfile.gettempdir()) / f"signalpost-{os.geteuid()}")


def _check_system() -> None:
    if not hasattr(socket, "AF_UNIX"):
        raise OSError(
            "watching takes Unix sockets, which Python does not have on this system;"
            " follow the log instead"
        )


def _checked(folder: str | os.PathLike[str]) -> Path:
    try:
        path = Path(folder)
    except TypeError:
        raise TypeError(
            f"folder must be the path of a folder, got {folder!r}; leave it out for"
            " the usual one"
        ) from None
    # The application may change its working directory.
    path = path.absolute()
    if not _fits(path):
        raise ValueError(
            f"the path of a folder for sockets has at most"
            f" {_LONGEST_SOCKET_PATH - len(_LONGEST_SOCKET_NAME) - 1} bytes, got"
            f" {os.fspath(path)!r}; choose a shorter one by folder="
        )
    return path


def _fits(folder: Path) -> bool:
    if has_short_addresses():
        return True
    return len(os.fsencode(folder / _LONGEST_SOCKET_NAME)) <= _LONGEST_SOCKET_PATH


def _is_socket_name(name: str) -> bool:
    return name.endswith(_SUFFIX) and len(name) <= len(_LONGEST_SOCKET_NAME)


def _link_to(address: str) -> socket.socket | None:
    """Return a socket to a watcher, or ``None`` if it is not there any more."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        link.settimeout(0)
        link.connect(address)
    except OSError:
        link.close()
        return None
    return link


def _bind(link: socket.socket, folder: OwnFolder) -> str:
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


def _remove_stale(folder: OwnFolder) -> None:
    """Remove sockets of watchers that were killed."""
    for name in filter(_is_socket_name, folder.names()):
        with suppress(OSError):
            # A new one may not have got its socket yet.
            found = folder.stat(name)
            is_old = time.time() - found.st_mtime > _STALE_SECONDS
            if is_old and stat.S_ISSOCK(found.st_mode):
                link = _link_to(folder.address(name))
                if link is None:
                    folder.remove(name)
                else:
                    link.close()


def _received(link: socket.socket) -> Iterator[bytes]:
    while True:
        try:
            yield link.recv(MOST_BYTES)
        except BlockingIOError:
            return


def _decoded(data: bytes) -> Message | None:
    """Return a message, or ``None`` for what is none."""
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) and "signal" in message else None


def _encoded(message: Message) -> bytes:
    # What UTF-8 cannot take, half a pair of surrogates, is escaped as in JSON.
    text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace")


def _message(
    signal: NamedSignal, sender: object, payload: Mapping[str, Any], dropped: int
) -> Message:
    message: Message = {
        "signal": capped(signal.name, _LONGEST_NAME),
        "sender": _name_of(sender),
        "time": time.time(),
        "process": os.getpid(),
        "dropped": dropped,
    }
    exchange = payload.get("exchange")
    if not isinstance(exchange, Exchange):
        exchange = current_exchange()
    if exchange is not None:
        route = exchange.route
        message |= {
            "method": exchange.method,
            "path": capped(exchange.script_name + exchange.path, _LONGEST_PATH),
            "route": None if route is None else capped(route, _LONGEST_PATH),
            "status": exchange.status,
            "outcome": exchange.outcome,
            "duration_seconds": exchange.duration_seconds,
            "body_bytes": exchange.body_bytes,
        }
    exception = payload.get("exception", payload.get("exc"))
    if isinstance(exception, BaseException):
        where = payload.get("where")
        message["exception"] = _type_of(exception)
        message["where"] = None if where is None else capped(where, _LONGEST_NAME)
    return message


def _name_of(sender: object) -> str:
    """Return what a sender is called: an application's name, a function's, a type's."""
    if isinstance(sender, str):
        return capped(sender, _LONGEST_NAME)
    for attribute in ("name", "__qualname__"):
        # Whatever an application's object does when it is asked.
        with suppress(Exception):
            name = getattr(sender, attribute)
            if isinstance(name, str):
                return capped(name, _LONGEST_NAME)
    return _type_of(sender)


def _type_of(value: object) -> str:
    kind = type(value)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return capped(f"{module}{kind.__qualname__}", _LONGEST_NAME)
