"""The tables of a signal: who is connected to whom, and in which order they run.

All that must hold between threads and finalisers is in this file and in burial.py.
"""

from __future__ import annotations

import threading
import typing as t
import weakref
from collections import deque
from collections.abc import Callable
from collections.abc import Hashable
from functools import partial
from itertools import count
from reprlib import repr as short_repr
from types import FunctionType
from typing import Any

from ..errors import ReceiverError
from .burial import Burial
from .burial import LoudBurial
from .connection import Call
from .connection import Connection
from .connection import connection_to
from .connection import disconnected
from .connection import merged
from .connection import Options
from .connection import Receiver
from .connection import Route
from .delivery import Watching
from .identity import ANY
from .identity import sender_key
from .identity import Symbol
from .lifetime import IS_DEVELOPMENT_MODE
from .names import names_of
from .names import SenderName
from .payload import names_read
from .senders import SenderRecord
from .senders import SenderReference

if t.TYPE_CHECKING:
    from .changes import Changes

UID: t.Final = Symbol("dispatch_uid")
"""Sets keys that are made of a ``dispatch_uid`` apart from identities."""

NAMESPACE: t.Final = Symbol("namespace")
"""Sets keys of a namespace's receivers apart from those of the signal's own."""

BLOCK: t.Final = Symbol("block")
"""Sets keys of a block apart, where the receiver is connected for one call."""


def uid_key(dispatch_uid: Hashable) -> Hashable:
    """Return the key of a receiver that a uid stands for.

    :raises ReceiverError: If the uid cannot be hashed.
    """
    try:
        hash(dispatch_uid)
    except TypeError:
        raise ReceiverError(
            f"dispatch_uid must be hashable, got {short_repr(dispatch_uid)}; a string"
            " that names the receiver will do",
            dispatch_uid,
        ) from None
    return UID, dispatch_uid


class Before(t.NamedTuple):
    """What a connection was before it was connected again."""

    held: Receiver | None
    options: Options | None


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
        self._bury_function = LoudBurial(self) if IS_DEVELOPMENT_MODE else self._bury
        self._count = count()
        # The connections: to ANY by receiver, to others by sender and by receiver.
        self._any: dict[Hashable, Connection] = {}
        self._by_sender: dict[Hashable, SenderRecord] = {}
        self._by_receiver: dict[Hashable, dict[Hashable, Connection]] = {}
        self._borrowed: dict[Connection, list[Connection]] = {}
        # Whether routes, or who follows the changes, go by what a change makes wrong.
        self._is_remembered = True
        # The routes, made on first use. _plain_any serves every sender while there
        # is nothing to filter, _plain the senders by id; neither is to be trusted
        # for longer than one read.
        self._any_route: Route | None = None
        self._any_version = 0
        self._plain_any: tuple[Connection, ...] | None = ()
        self._plain: dict[int, tuple[Connection, ...]] = {}
        # _plain_else serves senders whose id is none of _ids, while no other kind of
        # sender is known.
        self._plain_else: tuple[Connection, ...] | None = None
        # The same for a send that is isolated, while it need not look at more.
        self._calls_any: tuple[tuple[Connection, Call], ...] | None = None
        self._ids: set[int] = set()
        self._senders_not_by_id = 0
        # Connections that more than one sender hears, by a name or a base class; and
        # records of who does, to find them again.
        self._shared = 0
        self._matched: dict[Hashable, SenderRecord] = {}
        self._open_mutes = 0
        self._observers: tuple[Watching, ...] = ()
        self._changes: tuple[Changes, ...] = ()

    def _prepare(
        self,
        receiver: Receiver,
        sender: Any,
        weak: bool,  # noqa: FBT001  # private, and on a path that is measured
        options: Options | None = None,
        dispatch_uid: Hashable = None,
    ) -> Connection:
        """Return a connection of a receiver and a sender, not in the tables yet."""
        is_function = type(receiver) is FunctionType
        bury = self._bury_function if is_function else self._bury
        connection = connection_to(receiver, weak, bury)
        if dispatch_uid is not None:
            connection.key = uid_key(dispatch_uid)
        connection.sender = ANY if sender is ANY else sender_key(sender)
        if options is not None:
            connection.options = options
        if self._declared is not None:
            connection.names = self._names_read(connection, receiver, self._declared)
        return connection

    def _names_read(
        self, connection: Connection, receiver: Receiver, declared: frozenset[str]
    ) -> tuple[str, ...] | None:
        """Return what a receiver reads of a declared payload."""
        options = connection.options
        if options is not None and options.passes_signal:
            declared |= {"signal"}
        return names_read(receiver, declared, self)

    def _insert(
        self, connection: Connection, sender: Any, *, by_block: bool = False
    ) -> tuple[Connection, Before] | None:
        """Put a connection into the tables, unless there is one like it.

        :returns: ``None`` if the connection is new, or will be when it is its turn;
            else the one that stands for it, and what that was before.
        """
        with self._lock:
            if self._busy:
                self._deferred.append(
                    partial(self._insert, connection, sender, by_block=by_block)
                )
                return None
            self._busy = True
            try:
                gone = self._drop_dead() if self._dead else []
                found = self._insert_beside(connection, sender, gone, by_block)
            finally:
                self._busy = False
        del gone
        if self._dead or self._deferred:
            self._settle()
        return found

    def _insert_beside(
        self,
        connection: Connection,
        sender: Any,
        gone: list[object],
        by_block: bool,  # noqa: FBT001  # private
    ) -> tuple[Connection, Before] | None:
        """Put a connection into the tables, whatever is there already."""
        bucket = self._bucket(sender, connection.sender)
        present = bucket.get(connection.key)
        if present is not None:
            present = self._present(present, connection, bucket, gone, by_block)
        before = None
        if present is None:
            connection.order = next(self._count)
            if sender is ANY:
                bucket[connection.key] = connection
                self._forget_routes()
            else:
                # Again, as it went if it has just become empty.
                bucket = self._bucket(sender, connection.sender)
                bucket[connection.key] = connection
                senders = self._by_receiver.setdefault(connection.key, {})
                senders[connection.sender] = connection
                self._shared += self._is_shared(connection)
                self._route_changed(connection)
        else:
            before = Before(present.held, present.options)
            if not by_block:
                self._add_to(present, connection)
        if by_block or self._borrowed:
            self._note_borrowed(connection, present, by_block=by_block)
        return None if present is None or before is None else (present, before)

    def _present(
        self,
        present: Connection,
        connection: Connection,
        bucket: dict[Hashable, Connection],
        gone: list[object],
        by_block: bool,  # noqa: FBT001  # private
    ) -> Connection | None:
        """Return the connection that stands for a new one, if one does."""
        if not present.is_alive:
            # Its one call is under way, and it is about to be taken out.
            self._take(present.key, present.sender, gone)
            return None
        if by_block and present.is_once:
            # A block lasts, so it gets a connection of its own.
            connection.key = (BLOCK, connection.key)
            return bucket.get(connection.key)
        return present

    def _add_to(self, present: Connection, connection: Connection) -> None:
        """Let a connection have what a later one asks for: only ever more."""
        if present.names_other_receiver(connection):
            return
        if present.held is None:
            present.held = connection.held
        old, new = present.options, connection.options
        subclasses = new is not None and new.subclasses
        if old is None and not subclasses:
            return
        old = old or Options()
        self._set_options(
            present,
            Options(
                priority=old.priority,
                once=present.is_once and connection.is_once,
                subclasses=old.subclasses or subclasses,
                passes_signal=old.passes_signal,
            ),
        )

    def _set_options(self, connection: Connection, options: Options | None) -> None:
        self._shared -= self._is_shared(connection)
        connection.options = options
        self._shared += self._is_shared(connection)
        self._forget_routes()

    def _undo(
        self, inserted: Connection, found: tuple[Connection, Before] | None
    ) -> None:
        """Take back what inserting a connection has changed."""
        if found is None:
            self._remove_connection(inserted)
            return
        connection, before = found
        with self._exclusively():
            connection.held = before.held
            if connection.options is not before.options and connection.is_alive:
                self._set_options(connection, before.options)

    def _note_borrowed(
        self, connection: Connection, present: Connection | None, *, by_block: bool
    ) -> None:
        """Keep count of the blocks whose end takes a connection out again."""
        if not by_block:
            if present is not None and present in self._borrowed:
                del self._borrowed[present]
                # The block held it; from now on it is what was asked for last.
                present.held = connection.held
                self._set_options(present, connection.options)
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
            if record.is_by_id:
                self._ids.add(id(sender))
            else:
                self._senders_not_by_id += 1
            if isinstance(sender, SenderName):
                sender.follow(self)
        return record.connections

    def _is_shared(self, connection: Connection) -> bool:
        record = self._by_sender.get(connection.sender)
        options = connection.options
        return (record is not None and record.is_name) or (
            options is not None and options.subclasses
        )

    def _remove(self, key: Hashable, sender: Any) -> bool:
        """Take a receiver's connection to a sender out, or all for ANY."""
        with self._lock:
            if self._busy:
                self._deferred.append(partial(self._remove, key, sender))
                return key in self._any or key in self._by_receiver
            self._busy = True
            try:
                gone = self._drop_dead() if self._dead else []
                is_removed = self._take_from(key, sender, gone)
                if self._borrowed:
                    is_removed |= self._take_from((BLOCK, key), sender, gone)
            finally:
                self._busy = False
        del gone
        if self._dead or self._deferred:
            self._settle()
        return is_removed

    def _claim(self, connection: Connection) -> bool:
        """Tell whether a connection that may be for one call is the caller's to use.

        One that is, is taken out in the same step: who connects the receiver again
        comes before that or after.
        """
        if not connection.is_once:
            return True
        gone: list[object] = []
        with self._lock:
            was_busy = self._busy
            self._busy = True
            try:
                if not connection.claim():
                    return False
                ones: tuple[Connection, ...]
                ones = getattr(connection, "others", (connection,))
                for one in ones:
                    if not one.is_once:
                        continue
                    is_there = self._find(one.key, one.sender) is one
                    if was_busy:
                        one.via = disconnected
                        self._deferred.append(partial(self._remove_connection, one))
                    elif is_there:
                        self._take(one.key, one.sender, gone)
            finally:
                self._busy = was_busy
        del gone
        if self._dead or self._deferred:
            self._settle()
        return True

    def _remove_connection(self, connection: Connection) -> None:
        gone: list[object] = []
        with self._lock:
            if self._busy:
                self._deferred.append(partial(self._remove_connection, connection))
                return
            self._busy = True
            try:
                if self._find(connection.key, connection.sender) is connection:
                    self._take(connection.key, connection.sender, gone)
            finally:
                self._busy = False
        del gone
        if self._dead or self._deferred:
            self._settle()

    def _take_from(self, key: Hashable, sender: Any, gone: list[object]) -> bool:
        """Take out a receiver's connection to a sender, or to all for ANY."""
        is_removed = sender is ANY and self._take(key, ANY, gone)
        if sender is not ANY or key in self._by_receiver:
            for one in self._senders_of(key, sender):
                is_removed |= self._take(key, one, gone)
        return is_removed

    def _senders_of(self, key: Hashable, sender: Any) -> list[Hashable]:
        """Return the senders that a receiver is to be disconnected from, by key."""
        if sender is ANY:
            return [*self._by_receiver.get(key, ())]
        return [sender_key(sender), *map(sender_key, names_of(sender))]

    def _take(self, key: Hashable, sender: Hashable, gone: list[object]) -> bool:
        """Take one connection out of the tables, and what is empty after it.

        :param gone: Gets what was taken out, to be dropped when the lock is free.
        :returns: Whether there was such a connection.
        """
        if sender is ANY:
            connection = self._any.pop(key, None)
            if connection is None:
                return False
            self._forget_routes()
        else:
            record = self._by_sender.get(sender)
            if record is None or key not in record.connections:
                return False
            connection = record.connections[key]
            self._shared -= self._is_shared(connection)
            del record.connections[key]
            self._route_changed(connection)
            if not record.connections:
                gone.append(self._by_sender.pop(sender, None))
                if record.is_by_id:
                    self._ids.discard(t.cast("tuple[int]", sender)[0])
                else:
                    self._senders_not_by_id -= 1
            senders = self._by_receiver.get(key, {})
            senders.pop(sender, None)
            if not senders:
                self._by_receiver.pop(key, None)
            for changes in self._changes:  # again, now that it is complete
                changes.latest = object()
        connection.via = disconnected
        gone += (connection, connection.held)
        # A route that nobody has looked for since may still have the connection.
        connection.held = None
        if self._borrowed:
            gone.append(self._borrowed.pop(connection, None))
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
                matched = self._matched.get(reference.key)
                if matched is not None and matched.refers_to(reference):
                    gone.append(self._matched.pop(reference.key, None))
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

    def _route_changed(self, connection: Connection) -> None:
        """Forget the routes that go through a connection to some sender."""
        if self._is_shared(connection):
            self._forget_routes()
            return
        record = self._by_sender.get(connection.sender)
        if record is not None:
            record.route = None
        self._matched.pop(connection.sender, None)
        self._forget_plain_routes()

    # The first does what the second does, too, without calling it: every connect and
    # disconnect comes by here.

    def _forget_routes(self) -> None:
        self._is_remembered = False
        self._any_route = None
        self._any_version += 1
        self._plain_any = None
        self._plain_else = None
        self._calls_any = None
        if self._plain:
            self._plain = {}
        if self._matched:
            self._matched = {}
        for changes in self._changes:
            changes.latest = object()

    def _forget_plain_routes(self) -> None:
        self._plain_any = None
        self._plain_else = None
        self._calls_any = None
        if self._plain:
            self._plain = {}
        for changes in self._changes:
            changes.latest = object()

    def _names_changed(self) -> None:
        """Hear that a name which receivers are connected to has another sender."""
        with self._exclusively():
            self._forget_routes()

    def _route_for(self, sender: Any) -> Route:
        if self._dead:
            self._settle()
        record = self._record_for(sender) if self._by_sender else None
        if record is None:
            route = self._any_route
            is_promotable = not (
                self._by_sender and (self._shared or self._senders_not_by_id)
            )
        else:
            is_fresh = record.route_version == self._any_version
            route = record.route if is_fresh else None
            is_promotable = record.is_by_id
        if route is None:
            route = self._make_route(record)
        if is_promotable and route.is_plain and not self._observers:
            self._promote(route, sender, record)
        return route

    def _record_for(self, sender: Any) -> SenderRecord | None:
        """Return the record of a sender that receivers are connected to."""
        if sender is ANY:
            return None
        key = sender_key(sender)
        record = self._by_sender.get(key)
        if record is not None and not record.is_for(sender):
            record = None
        if self._shared and (isinstance(sender, type) or names_of(sender)):
            return self._matched_record(sender, key, record)
        return record

    def _matched_record(
        self, sender: Any, key: Hashable, own: SenderRecord | None
    ) -> SenderRecord | None:
        """Return a record that tells what a sender hears by its names and bases."""
        matched = self._matched.get(key)
        if matched is not None and matched.is_for(sender):
            return matched
        with self._exclusively():
            further = [
                tuple(record.connections.values())
                for name in names_of(sender)
                if (record := self._by_sender.get(sender_key(name))) is not None
            ]
            if isinstance(sender, type):
                further += [
                    tuple(
                        connection
                        for connection in record.connections.values()
                        if connection.options and connection.options.subclasses
                    )
                    for base in sender.__mro__[1:]
                    if (record := self._by_sender.get(sender_key(base))) is not None
                    and record.is_for(base)
                ]
            if not any(further):
                return own
            matched = SenderRecord(sender, key, self._bury)
            matched.further = tuple(further)
            if own is not None:
                matched.connections = own.connections
            self._is_remembered = True
            self._matched[key] = matched
            return matched

    def _make_route(self, record: SenderRecord | None) -> Route:
        with self._exclusively():
            self._is_remembered = True
            if record is None:
                route = Route(merged([self._any.values()]), self._declared)
                self._any_route = route
            else:
                own = record.connections.values()
                groups = [self._any.values(), own, *record.further]
                route = Route(merged(groups), self._declared)
                record.route = route
                record.route_version = self._any_version
            return route

    def _calls_for(self, sender: Any) -> tuple[tuple[Connection, Call], ...] | None:
        """Return what an isolated send calls; ``None`` if it must look at more.

        Connections that are once, async or otherwise special; or observers.
        """
        route = self._route_for(sender)
        if route.has_options or route.has_async or self._observers:
            return None
        calls = route.calls or route.make_calls()
        if self._is_for_all(route):
            with self._exclusively():
                if self._is_for_all(route):  # still, now that nobody changes it
                    self._calls_any = calls
        return calls

    def _is_for_all(self, route: Route) -> bool:
        return self._any_route is route and not (
            self._by_sender or self._open_mutes or self._observers
        )

    def _promote(self, route: Route, sender: Any, record: SenderRecord | None) -> None:
        """Let sends take a plain route without coming here, while it holds."""
        with self._exclusively():
            if self._open_mutes or self._observers:
                return
            self._is_remembered = True
            if record is not None:
                key = record.key
                if (
                    record.route is route
                    and record.route_version == self._any_version
                    and record in (self._by_sender.get(key), self._matched.get(key))
                ):
                    self._plain[id(sender)] = route.connections
            elif self._any_route is not route:
                return
            elif not self._by_sender:
                self._plain_any = route.connections
            elif not self._shared and not self._senders_not_by_id:
                self._plain_else = route.connections


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
