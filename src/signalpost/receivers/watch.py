"""Signals as they are sent, for watchers in other processes of the same user."""

from __future__ import annotations

import json
import logging
import os
import select
import socket
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

from .._engine.serial import Serial
from .._engine.signal import NamedSignal
from .._engine.unseen import checked
from ..exchange import current_exchange
from ..exchange import Exchange
from ..lifecycle import catalogue
from ..lifecycle import exchange_closed
from ..lifecycle import request_arrived
from .lines import single_line
from .lines import truncated
from .own_folder import OwnFolder
from .sql_totals import sql_totals
from .watch_sockets import bind
from .watch_sockets import check_system
from .watch_sockets import checked_folder
from .watch_sockets import fits
from .watch_sockets import is_socket_name
from .watch_sockets import link_to
from .watch_sockets import remove_stale

__all__ = ["MOST_BYTES", "Message", "WatchSender", "Watcher", "watch_folder"]

Message: TypeAlias = dict[str, str | int | float | bool | None]
"""One signal as it is sent to watchers; see :class:`WatchSender`."""

MOST_BYTES = 8192
"""The size of the largest message, in bytes."""

# A character takes up to 6 bytes: two long texts and six others stay below MOST_BYTES.
_LONGEST_PATH = 256
_LONGEST_NAME = 100
_LOOK_SECONDS = 1.0
_MOST_WATCHERS = 16
_LONGEST_WAIT_SECONDS = 0.5
_MOST_PENDING = 10_000

_log = logging.getLogger("signalpost.watch")


class WatchSender:
    """Send each signal of the catalogue to watchers in other processes.

    ::

        WatchSender().connect()

    Use its own methods :meth:`connect` and :meth:`disconnect`, not those of a signal.
    While there is no watcher, it receives no signals, causes no exchange to be
    recorded, and only reads the clock in a request. When it is connected, and at the
    first request of each second, it looks for watchers in the folder; there is no
    thread. So a watcher gets the first request that begins a second after it, and
    everything after that. While there is a watcher, the sender receives every signal,
    also signals that are created later, and sends each as one datagram to the Unix
    socket of each :class:`Watcher`. Nothing waits: if a watcher has no room for a
    message, the message is dropped and counted.

    A message is one JSON object of at most :data:`MOST_BYTES`, with

    - ``signal``, ``sender`` (a name), ``time`` (seconds since the epoch), ``process``
      (its id), and ``dropped``: how many messages it has dropped so far, of all
      watchers;
    - ``method``, ``path``, ``route``, ``status``, ``outcome``, ``duration_seconds`` and
      ``body_bytes``, if it belongs to an :class:`~signalpost.exchange.Exchange`;
    - ``sql_count`` and ``sql_duration_seconds`` of a closed exchange whose statements
      are counted, see :mod:`signalpost.receivers.sql_totals`;
    - ``exception`` (its type) and ``where``, if it carries an exception.

    A message has no headers, query, message of an exception or variables of a template.
    Texts are cut, and otherwise as the client sent them: escape them before you show
    them. Everyone who can enter the folder can read the messages. They are sent only if
    the folder belongs to the user of this process and no other user can enter it;
    otherwise a warning is logged once. On Linux, the opened folder itself is checked,
    even if folders are renamed meanwhile. On other systems the path is used, and the
    folder is refused if others could rename a folder above it.

    :param folder: The folder of the watchers' sockets, the same as for
        :class:`Watcher`. ``None`` for the :func:`watch_folder` of the application given
        to :meth:`connect`.
    :raises OSError: If this system has no Unix sockets.
    :raises TypeError: If ``folder`` is not a path.
    :raises ValueError: If the path of ``folder`` is too long for a socket in it; never
        on Linux.

    .. versionadded:: 0.1
    """

    signals: ClassVar[Mapping[str, str]] = {}
    """No signal by its name; :meth:`connect` connects it."""

    dropped: int
    """How many messages were dropped, as there was no room for them."""

    def __init__(self, *, folder: str | os.PathLike[str] | None = None) -> None:
        check_system()
        self._chosen = None if folder is None else checked_folder(folder)
        self._folder: Path | None = None
        self._links: dict[str, socket.socket] = {}
        self._look_at = float("-inf")
        self._seen_empty: tuple[int, ...] | None = None
        self._is_following = False
        self._following = Serial()
        self._has_warned = False
        self.dropped = 0
        # Reentrant, as the collector may end an exchange, which sends, on any line.
        self._lock = threading.RLock()

    def connect(self, application: object = None) -> None:
        """Look for watchers from now on, and send to them, until :meth:`disconnect`.

        It is kept alive as long as it is connected. Connecting it again changes only
        the folder.

        :param application: Its :func:`watch_folder` is looked at, if no folder was
            chosen. The signals of others in this process are sent, too.
        """
        folder = self._chosen or watch_folder(application)
        with self._lock:
            self._forget_all()
            self._folder = folder
            self._seen_empty = None
            self._look_at = float("-inf")
        request_arrived.connect(self._look_if_due, weak=False)
        # The first request has the reason logged: logging may not be set up yet.
        with suppress(OSError):
            self._look()
            self._look_at = time.perf_counter() + _LOOK_SECONDS
        self._following.run(self._follow_or_not)

    def disconnect(self) -> bool:
        """Receive no more signals, and close every socket.

        :returns: Whether it was connected.
        """
        was_connected = request_arrived.disconnect(self._look_if_due)
        with self._lock:
            self._folder = None
            self._forget_all()
        self._following.run(self._follow_or_not)
        return was_connected

    def __call__(
        self, sender: object, /, *, signal: NamedSignal, **payload: Any
    ) -> None:
        """Send a signal to each watcher."""
        self._look_if_due()
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

    def _look_if_due(self, sender: object = None) -> None:
        now = time.perf_counter()
        if now >= self._look_at:
            # Two threads that do so at once look twice, which does no harm.
            self._look_at = now + _LOOK_SECONDS
            try:
                self._look()
            except OSError as error:
                self._warn_once(error)
            self._following.run(self._follow_or_not)

    def _follow_or_not(self) -> None:
        """Receive the signals of the catalogue while there is a watcher."""
        while self._is_following != bool(self._links):
            self._is_following = not self._is_following
            if self._is_following:
                catalogue.connect(self, weak=False)
            else:
                catalogue.disconnect(self)

    def _look(self) -> None:
        """Find new watchers, and drop those that have left."""
        with self._lock:
            # A signal may be on its way while it is disconnected.
            if self._folder is None:
                return
            try:
                found = os.stat(self._folder, follow_symlinks=False)
                state = (found.st_dev, found.st_ino, found.st_ctime_ns)
                if not self._links and state == self._seen_empty:
                    return
                # Not kept open: the descriptors of a server may be closed when it
                # becomes a daemon, and their numbers given to other files.
                with OwnFolder(self._folder) as folder:
                    self._link_to_each(folder)
            except FileNotFoundError:
                self._forget_all()
                return
            except OSError:
                self._forget_all()
                raise
            # The time of a change is not exact: another one may have the same.
            is_old = time.time() - found.st_ctime > _LOOK_SECONDS
            self._seen_empty = state if is_old and not self._links else None

    def _warn_once(self, error: OSError) -> None:
        if self._has_warned:
            return
        self._has_warned = True
        problem = str(error)
        if error.strerror is not None:
            problem = f"{self._folder} cannot be read: {error.strerror}"
        checked(_log, logging.WARNING).warning(
            "nothing is sent to watchers: %s", single_line(problem)
        )

    def _link_to_each(self, folder: OwnFolder) -> None:
        names = [one for one in folder.names() if is_socket_name(one)]
        for name in [*self._links]:
            if name not in names:
                self._forget(name)
        for name in names:
            if len(self._links) >= _MOST_WATCHERS:
                return
            if name not in self._links:
                link = link_to(folder.address(name))
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

    It makes the folder, which only this user can enter, those above it, which only
    this user can write to, and a socket for the length of the ``with`` block. Senders
    find it at the first request that is more than a second later. Sockets that killed
    watchers have left are removed after a minute.

    :param folder: As for :class:`WatchSender`; ``None`` for the :func:`watch_folder` of
        ``application``.
    :param application: The application whose server is watched.
    :raises OSError: If this system has no Unix sockets.
    :raises TypeError: If ``folder`` is not a path.
    :raises ValueError: If the path of ``folder`` is too long for a socket in it; never
        on Linux.

    .. versionadded:: 0.1
    """

    folder: Path
    """The folder of its socket."""

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        *,
        application: object = None,
    ) -> None:
        check_system()
        self.folder = (
            watch_folder(application) if folder is None else checked_folder(folder)
        )
        self._socket: socket.socket | None = None
        self._own: OwnFolder | None = None
        self._name = ""

    def __enter__(self) -> Self:
        """Begin to watch.

        :raises PermissionError: If the folder belongs to someone else, others can
            enter it, or it is not a folder.
        """
        own = OwnFolder.made(self.folder)
        link = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            remove_stale(own)
            link.settimeout(0)
            self._name = bind(link, own)
            self._socket, self._own = link, own
        except BaseException:
            # For instance at Ctrl-C, directly after the bind.
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
        """Iterate over the messages, in the order of their arrival.

        :param timeout_seconds: End when none has come for so long; ``None`` for never.
        :raises ValueError: If the ``with`` block has ended, or has not begun.
        """
        pending: deque[Message] = deque()
        while True:
            # All at once, as the system keeps few that are not fetched.
            link = self._opened()
            if not pending and not _has_more(link, timeout_seconds):
                if timeout_seconds is None:
                    continue
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


def _has_more(link: socket.socket, timeout_seconds: float | None) -> bool:
    """Return whether a message came within a time; ``None`` for a short one.

    Without a limit, a signal of the system that comes just before the wait begins
    would be seen only when the wait ends.
    """
    limit = _LONGEST_WAIT_SECONDS if timeout_seconds is None else timeout_seconds
    return bool(select.select([link], [], [], limit)[0])


def watch_folder(application: object = None) -> Path:
    """Return the folder for the sockets of an application's watchers.

    :param application: An application. If it has an ``instance_path``, as Flask
        applications have, the folder is below it, unless the path is too long for a
        socket, which does not happen on Linux.

        Otherwise there is one folder for each user in the system's folder for temporary
        files. A service may have its own such folder (``TMPDIR``, or systemd's
        ``PrivateTmp``): then choose a folder.
    :raises OSError: If this system has no Unix sockets.
    :raises ValueError: If the path is too long for a socket in any case.

    .. versionadded:: 0.1
    """
    check_system()
    instance_path = getattr(application, "instance_path", None)
    if isinstance(instance_path, str):
        folder = Path(instance_path).absolute() / "signalpost-watch"
        if fits(folder):
            return folder
    return checked_folder(Path(tempfile.gettempdir()) / f"signalpost-{os.geteuid()}")


def _received(link: socket.socket) -> Iterator[bytes]:
    while True:
        try:
            yield link.recv(MOST_BYTES)
        except BlockingIOError:
            return


def _decoded(data: bytes) -> Message | None:
    """Return a message; ``None`` if the data is not one."""
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) and "signal" in message else None


def _encoded(message: Message) -> bytes:
    # A single surrogate, which UTF-8 cannot encode, is escaped as in JSON.
    text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace")


def _message(
    signal: NamedSignal, sender: object, payload: Mapping[str, Any], dropped: int
) -> Message:
    message: Message = {
        "signal": truncated(signal.name, _LONGEST_NAME),
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
            "path": truncated(exchange.script_name + exchange.path, _LONGEST_PATH),
            "route": None if route is None else truncated(route, _LONGEST_PATH),
            "status": exchange.status,
            "outcome": exchange.outcome,
            "duration_seconds": exchange.duration_seconds,
            "body_bytes": exchange.body_bytes,
        }
        totals = sql_totals(exchange) if signal is exchange_closed else None
        if totals is not None:
            message["sql_count"] = totals.count
            message["sql_duration_seconds"] = totals.duration_seconds
    exception = payload.get("exception", payload.get("exc"))
    if isinstance(exception, BaseException):
        where = payload.get("where")
        message["exception"] = _type_of(exception)
        message["where"] = None if where is None else truncated(where, _LONGEST_NAME)
    return message


def _name_of(sender: object) -> str:
    """Return the name of a sender: that of an application, a function or a type."""
    if isinstance(sender, str):
        return truncated(sender, _LONGEST_NAME)
    for attribute in ("name", "__qualname__"):
        # An application's object may do anything when it is read.
        with suppress(Exception):
            name = getattr(sender, attribute)
            if isinstance(name, str):
                return truncated(name, _LONGEST_NAME)
    return _type_of(sender)


def _type_of(value: object) -> str:
    kind = type(value)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return truncated(f"{module}{kind.__qualname__}", _LONGEST_NAME)
