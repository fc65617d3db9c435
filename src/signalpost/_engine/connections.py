"""The tables of a signal: who is connected to whom, and in which order they run.

All that must hold between threads and finalisers is in this file.
"""

from __future__ import annotations

import sys
import threading
import typing as t
import warnings
import weakref
from collections import deque
from collections.abc import Callable
from collections.abc import Hashable
from functools import partial
from itertools import count
from reprlib import repr as short_repr
from typing import Any

from ..errors import ReceiverError
from .delivery import Connection
from .delivery import connection_to
from .delivery import merged
from .delivery import Receiver
from .delivery import Route
from .identity import ANY
from .identity import receiver_key
from .identity import sender_key
from .lifetime import IS_DEVELOPMENT_MODE
from .lifetime import is_plain_function
from .lifetime import place_of_call
from .payload import names_read
from .senders import SenderRecord
from .senders import SenderReference

Change = t.Literal["none", "connected", "held"]
"""What connecting a receiver has changed: it may have been there, or weak."""


class Connections:
    """Connections of receivers to senders, kept so that any thread may change them.

    Whatever changes the tables holds the lock, and takes out of it what it removed:
    the finalisers of receivers and senders are not ours, and must not run in there.

    :param declared: The payload names that receivers are checked against, if any.
    """

    def __init__(self, declared: frozenset[str] | None) -> None:
        self._declared = declared
        # Re-entrant, because a finaliser may connect or disconnect while this very
        # thread is at the tables; _busy tells, and the change waits its turn.
        self._lock = threading.RLock()
        self._busy = False
        self._deferred: deque[Callable[[], object]] = deque()
        self._dead: deque[weakref.ref[Any]] = deque()
        self._bury = Burial(self)
        self._count = count()
        # The connections: to ANY by receiver, to others by sender and by receiver.
        self._any: dict[Hashable, Connection] = {}
        self._by_sender: dict[Hashable, SenderRecord] = {}
        self._by_receiver: dict[Hashable, dict[Hashable, Connection]] = {}
        self._borrowed: dict[Connection, list[Connection]] = {}
        # The routes, made on first use. _plain_any serves every sender while there
        # is nothing to filter, _plain the senders by id; neither is to be trusted
        # for longer than one read.
        self._any_route: Route | None = None
        self._any_version = 0
        self._plain_any: tuple[Connection, ...] | None = ()
        self._plain: dict[int, tuple[Connection, ...]] = {}
        self._open_mutes = 0

    def _prepare(self, receiver: Receiver, sender: Any, *, weak: bool) -> Connection:
        """Return a connection of a receiver and a sender, not in the tables yet."""
        if not callable(receiver):
            raise ReceiverError(
                f"receiver must be callable, got {short_repr(receiver)}; pass the"
                " function itself, not its result",
                receiver,
            )
        connection = connection_to(receiver, weak=weak, callback=self._bury)
        connection.key = receiver_key(receiver)
        connection.sender = ANY if sender is ANY else sender_key(sender)
        if self._declared is not None:
            connection.names = names_read(receiver, self._declared, self)
        if IS_DEVELOPMENT_MODE and weak and is_plain_function(receiver):
            connection.place = place_of_call(sys._getframe())
        return connection

    def _insert(
        self, connection: Connection, sender: Any, *, by_block: bool = False
    ) -> tuple[Connection, Change]:
        """Put a connection into the tables, unless there is one like it.

        :returns: The connection that is in the tables, and what has changed.
        """
        with self._lock:
            if self._busy:
                self._deferred.append(
                    partial(self._insert, connection, sender, by_block=by_block)
                )
                return connection, "connected"
            self._busy = True
            try:
                gone = self._drop_dead()
                change: Change = "none"
                bucket = self._bucket(sender, connection.sender)
                present = bucket.get(connection.key)
                if present is None:
                    change = "connected"
                    connection.order = next(self._count)
                    bucket[connection.key] = connection
                    if sender is not ANY:
                        senders = self._by_receiver.setdefault(connection.key, {})
                        senders[connection.sender] = connection
                    self._route_changed(connection.sender)
                elif (
                    connection.held is not None
                    and present.held is None
                    and not by_block
                ):
                    change = "held"
                    present.held = connection.held
                if by_block or self._borrowed:
                    self._note_borrowed(connection, present, by_block=by_block)
            finally:
                self._busy = False
        del gone
        if self._dead or self._deferred:
            self._settle()
        return present or connection, change

    def _note_borrowed(
        self, connection: Connection, present: Connection | None, *, by_block: bool
    ) -> None:
        """Keep count of the blocks whose end takes a connection out again."""
        if not by_block:
            if present is not None and present in self._borrowed:
                del self._borrowed[present]
                # The block held it; from now on it is what was asked for last.
                present.held = connection.held
        elif present is None:
            self._borrowed[connection] = [connection]
        elif present in self._borrowed:
            self._borrowed[present].append(connection)

    def _return_borrowed(self, borrowed: Connection) -> bool:
        """Take a connection out if this was the last block that wanted it.

        :param borrowed: What the block inserted; it stands for the block.
        :returns: Whether it was taken out.
        """
        gone: list[object] = []
        with self._lock:
            if self._busy:
                self._deferred.append(partial(self._return_borrowed, borrowed))
                return False
            self._busy = True
            try:
                is_taken = False
                connection = self._find(borrowed.key, borrowed.sender)
                blocks = self._borrowed.get(connection, []) if connection else []
                if borrowed in blocks:
                    blocks.remove(borrowed)
                    if not blocks:
                        is_taken = self._take(borrowed.key, borrowed.sender, gone)
            finally:
                self._busy = False
        del gone, connection
        if self._dead or self._deferred:
            self._settle()
        return is_taken

    def _find(self, key: Hashable, sender: Hashable) -> Connection | None:
        if sender is ANY:
            return self._any.get(key)
        record = self._by_sender.get(sender)
        return None if record is None else record.connections.get(key)

    def _bucket(self, sender: Any, key: Hashable) -> dict[Hashable, Connection]:
        if sender is ANY:
            return self._any
        record = self._by_sender.get(key)
        if record is None:
            record = self._by_sender[key] = SenderRecord(sender, key, self._bury)
        return record.connections

    def _remove(self, key: Hashable, sender: Any) -> bool:
        """Take a receiver's connection to a sender out, or all for ANY."""
        with self._lock:
            if self._busy:
                self._deferred.append(partial(self._remove, key, sender))
                return key in self._any or key in self._by_receiver
            self._busy = True
            try:
                gone = self._drop_dead()
                is_removed = False
                for one in self._senders_of(key, sender):
                    is_removed |= self._take(key, one, gone)
            finally:
                self._busy = False
        del gone
        if self._dead or self._deferred:
            self._settle()
        return is_removed

    def _senders_of(self, key: Hashable, sender: Any) -> list[Hashable]:
        if sender is ANY:
            return [ANY, *self._by_receiver.get(key, ())]
        return [sender_key(sender)]

    def _take(self, key: Hashable, sender: Hashable, gone: list[object]) -> bool:
        """Take one connection out of the tables, and what is empty after it.

        :param gone: Gets what was taken out, to be dropped when the lock is free.
        :returns: Whether there was such a connection.
        """
        if sender is ANY:
            connection = self._any.pop(key, None)
        else:
            record = self._by_sender.get(sender)
            if record is None:
                return False
            connection = record.connections.pop(key, None)
            if not record.connections:
                gone.append(self._by_sender.pop(sender, None))
            senders = self._by_receiver.get(key, {})
            senders.pop(sender, None)
            if not senders:
                self._by_receiver.pop(key, None)
        if connection is None:
            return False
        connection.is_alive = False
        gone += (connection, self._borrowed.pop(connection, None))
        self._route_changed(sender)
        return True

    def _drop_dead(self) -> list[object]:
        """Take out what the dead were connected to; return it for later."""
        gone: list[object] = []
        while self._dead:
            reference = self._dead.popleft()
            gone.append(reference)
            if isinstance(reference, Connection):
                if reference.is_alive:
                    self._take(reference.key, reference.sender, gone)
            elif isinstance(reference, SenderReference):
                record = self._by_sender.get(reference.key)
                if record is not None and record.refers_to(reference):
                    for key in [*record.connections]:
                        self._take(key, reference.key, gone)
        return gone

    def _exclusively(self) -> Exclusive:
        return Exclusive(self)

    def _settle(self) -> None:
        """Do what had to wait, unless another thread is about to."""
        while (self._dead or self._deferred) and self._lock.acquire(blocking=False):
            try:
                if self._busy:
                    return
                self._busy = True
                try:
                    gone = self._drop_dead()
                finally:
                    self._busy = False
            finally:
                self._lock.release()
            del gone
            while self._deferred:
                try:
                    change = self._deferred.popleft()
                except IndexError:
                    break
                change()

    def _connections(self) -> list[Connection]:
        found = [*self._any.values()]
        for record in self._by_sender.values():
            found += record.connections.values()
        return found

    def _route_changed(self, sender: Hashable) -> None:
        if sender is ANY:
            self._forget_routes()
            return
        record = self._by_sender.get(sender)
        if record is not None:
            record.route = None
        self._forget_plain_routes()

    def _forget_routes(self) -> None:
        self._any_route = None
        self._any_version += 1
        self._forget_plain_routes()

    def _forget_plain_routes(self) -> None:
        self._plain_any = None
        self._plain = {}

    def _route_for(self, sender: Any) -> Route:
        if self._dead:
            self._settle()
        record = None
        if self._by_sender and sender is not ANY:
            record = self._by_sender.get(sender_key(sender))
            if record is not None and not record.is_for(sender):
                record = None
        if record is None:
            route = self._any_route
            is_promotable = not self._by_sender
        else:
            is_fresh = record.route_version == self._any_version
            route = record.route if is_fresh else None
            is_promotable = record.is_by_id
        if route is None:
            route = self._make_route(record)
        if is_promotable and route.is_plain and not self._open_mutes:
            self._promote(route, sender, record)
        return route

    def _make_route(self, record: SenderRecord | None) -> Route:
        with self._exclusively():
            if record is None:
                groups = [self._any.values()]
            else:
                groups = [self._any.values(), record.connections.values()]
            route = Route(merged(groups), self._declared)
            if record is None:
                self._any_route = route
            else:
                record.route = route
                record.route_version = self._any_version
            return route

    def _promote(self, route: Route, sender: Any, record: SenderRecord | None) -> None:
        """Let sends take a plain route without coming here, while it holds."""
        with self._exclusively():
            if self._open_mutes:
                return
            if record is None:
                if self._any_route is route and not self._by_sender:
                    self._plain_any = route.connections
            elif (
                record.route is route
                and record.route_version == self._any_version
                and self._by_sender.get(record.key) is record
            ):
                self._plain[id(sender)] = route.connections


class Exclusive:
    """A block in which no other thread, and no finaliser, changes the tables."""

    __slots__ = ("_connections", "_was_busy")

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def __enter__(self) -> None:
        self._connections._lock.acquire()
        self._was_busy = self._connections._busy
        self._connections._busy = True

    def __exit__(self, *_: object) -> None:
        connections = self._connections
        connections._busy = self._was_busy
        connections._lock.release()
        if connections._dead or connections._deferred:
            connections._settle()


class Burial:
    """What the death of a receiver or a sender sets off.

    It must neither wait nor fail, and the signal must not be kept alive by its own
    connections: it refers to the signal weakly.
    """

    __slots__ = ("_connections",)

    def __init__(self, connections: Connections) -> None:
        self._connections = weakref.ref(connections)

    def __call__(
        self,
        reference: weakref.ref[Any],
        # A default, as globals may be gone when the interpreter exits.
        is_finalizing: Callable[[], bool] = sys.is_finalizing,
    ) -> None:
        signal = self._connections()
        if signal is None or is_finalizing():
            return
        # The id may be given away as soon as this returns.
        signal._plain_any = None
        signal._plain = {}
        signal._dead.append(reference)
        place = reference.place if isinstance(reference, Connection) else None
        is_alive = place is not None and t.cast("Connection", reference).is_alive
        signal._settle()
        if is_alive:
            warnings.warn(
                f"a function that was connected weakly to {signal!r} at {place} died"
                " while connected; keep it in a variable or connect it with"
                " weak=False",
                ResourceWarning,
                stacklevel=2,
            )
