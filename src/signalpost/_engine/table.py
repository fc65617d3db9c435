"""The tables of a signal: which receivers are connected to which senders."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Iterable
from itertools import count
from typing import Any

from .cleanup import Cleanup
from .connection import BLOCK
from .connection import Connection
from .connection import DEFAULT_OPTIONS
from .connection import DISCONNECTED
from .connection import Options
from .identity import ANY
from .identity import PLAIN_TYPES
from .identity import receiver_key
from .identity import resolved
from .identity import sender_key
from .kept import keep
from .results import ActiveObserver
from .results import Sends
from .route import Route
from .routes import Routes
from .saved import have_one_receiver
from .saved import merge_into
from .saved import Saved
from .senders import SenderRecord
from .senders import SenderReference
from .serial import Serial
from .store import Store


class Table(Serial):
    """Connections by sender and by receiver, and the routes that sends take.

    Changes run one at a time; see :class:`Serial`. A send takes no lock: it reads
    :attr:`routes`, which are immutable.

    :param signal: Returns the signal, for messages; ``None`` once it is gone.
    :param declared: The payload names that receivers are checked against, if any.
    """

    __slots__ = (
        "_count",
        "any",
        "by_receiver",
        "by_sender",
        "cleanup",
        "connected",
        "connection_check",
        "declared",
        "disconnected",
        "has_names",
        "observers",
        "open_blocks",
        "routes",
        "signal",
        "store",
    )

    signal: Callable[[], object]
    """Returns the signal, or ``None``."""
    declared: frozenset[str] | None
    """The payload names that are declared."""
    store: Store
    """The connections; the next three attributes are the store's own tables."""
    any: dict[Hashable, Connection]
    by_sender: dict[Hashable, SenderRecord]
    by_receiver: dict[Hashable, dict[Hashable, Connection]]
    routes: Routes
    """The routes that sends take."""
    open_blocks: int
    """The number of open blocks, in any context, that stop sends."""
    observers: tuple[ActiveObserver, ...]
    """The observers, called after each call of a receiver."""
    cleanup: Cleanup
    """The callback of weak references."""
    has_names: bool
    """``True`` if a receiver was connected by its name."""
    connected: Sends | None
    """The signal that is sent after a receiver was connected, made on first use."""
    disconnected: Sends | None
    """The one that is sent after a receiver was disconnected."""
    connection_check: Callable[[object, object, Options], None] | None
    """Called with a receiver, its sender or :data:`ANY`, and the options, before they
    are connected."""

    def __init__(
        self, signal: Callable[[], object], declared: frozenset[str] | None
    ) -> None:
        super().__init__()
        self.signal = signal
        self.declared = declared
        self.cleanup = Cleanup(self)
        self.store = store = Store()
        self.any = store.any
        self.by_sender = store.by_sender
        self.by_receiver = store.by_receiver
        self.routes = Routes()
        self.open_blocks = 0
        self.observers = ()
        self.has_names = False
        self.connected = self.disconnected = self.connection_check = None
        self._count = count()

    # Changes, to be run one at a time: table.run(table.insert, …).

    def insert(self, connection: Connection, sender: Any) -> Saved | None:
        """Put a connection in, or add its options to the present one.

        :returns: The one that was there, as it was; ``None`` if there was none.
        """
        key = connection.key
        if sender is ANY:
            present = self.any.get(key)
        else:
            present = self.store.find(key, connection.sender)
        if present is None:
            connection.order = next(self._count)
            if sender is ANY:
                self.any[key] = connection
                routes = self.routes
                if routes.any_route is not None or routes.generations:
                    routes.changed(None)
            else:
                self._add(connection, sender)
            return None
        if present.receiver() is None:  # dead, or its only call is running
            self.take(present)
            return self.insert(connection, sender)
        before = self.store.saved(present)
        self._connect_again(present, connection)
        return before

    def replace(self, connection: Connection, sender: Any) -> Saved | None:
        """Put a connection in the place of the one with the same key.

        :returns: That one as it was; ``None`` if there was none.
        """
        present = self.store.find(connection.key, connection.sender)
        if present is None or have_one_receiver(present, connection):
            return self.insert(connection, sender)
        before = self.store.saved(present)
        self.take(present)
        connection.order = present.order
        self._add(connection, sender)
        return before

    def undo(self, connection: Connection, before: Saved | None) -> None:
        """Undo the insertion or the replacement of a connection."""
        was_in = self.take(connection)
        # The others may have been disconnected meanwhile.
        if before is not None and (was_in or before.connection.is_connected):
            self.put_back(before)

    def insert_for_block(
        self, connection: Connection, sender: Any, needed: list[Connection]
    ) -> None:
        """Put a connection in for the length of a block.

        :param needed: Gets the connection that the block's end may take out.
        """
        present = self.store.find(connection.key, connection.sender)
        if present is not None and present.options.once:
            # A block gets its own connection, because it lasts longer than a call.
            connection.key = (BLOCK, connection.key)
            present = self.store.find(connection.key, connection.sender)
        if present is None or present.receiver() is None:
            connection.block_count = 1
            self.insert(connection, sender)
            needed.append(connection)
        elif present.block_count:
            present.block_count += 1
            needed.append(present)

    def end_block(self, needed: list[Connection]) -> bool:
        """Take a connection out if no other block needs it.

        :returns: Whether it was taken out.
        """
        if not needed or not needed[0].block_count:
            return False  # it is permanent: connected before the block or in it
        connection = needed.pop()
        connection.block_count -= 1
        return not connection.block_count and self.take(connection)

    def take(self, connection: Connection) -> bool:
        """Take a connection out, and what is empty after it.

        :returns: Whether it was in.
        """
        key = connection.key
        if connection.sender is ANY:
            if self.any.get(key) is not connection:
                return False
            del self.any[key]
            self._end(connection, None)
            return True
        record = self.by_sender.get(connection.sender)
        if record is None or record.connections.get(key) is not connection:
            return False
        self._end(connection, self._take_from(record, connection))
        return True

    def take_all(self, key: Hashable, sender: Any) -> bool:
        """Take a receiver's connections to a sender out, or all of them for ANY.

        :returns: Whether there were any.
        """
        if sender is ANY and key not in self.by_receiver:  # as nearly always
            connection = self.any.pop(key, None)
            if connection is None:
                return False
            self._end(connection, None)
            return True
        return sum(map(self.take, self.store.connections_of(key, sender))) > 0

    def take_named(self, uid: Hashable, key: Hashable, sender: Any) -> bool:
        """Take out a receiver's connections that have its name as their key.

        :returns: Whether there were any.
        """
        found = self.store.connections_of(uid, sender)
        own = [one for one in found if receiver_key(one.receiver()) == key]
        return sum(map(self.take, own)) > 0

    def take_out(self, key: Hashable, sender: Any, out: list[Saved]) -> None:
        """Take a receiver's connections out, whichever keys they have.

        :param key: The receiver's identity.
        :param out: Gets the connections as they were.
        """
        out += [
            self.store.saved(one)
            for one in self.store.connections()
            if receiver_key(one.receiver()) == key
            and (sender is ANY or one.sender == sender_key(sender))
        ]
        for one in out:
            self.take(one.connection)

    def put_all_back(self, before: Iterable[Saved]) -> None:
        """Put the removed connections back."""
        for one in before:
            self.put_back(one)

    def put_back(self, before: Saved) -> None:
        """Restore a connection, if its receiver and its sender still exist."""
        connection, record = before.connection, before.record
        if not before.can_be_put_back:
            return
        present = self.store.find(connection.key, connection.sender)
        if present is connection:
            self.store.shared_count -= self.store.is_shared(connection)
            before.restore()
            keep(connection)
            self.store.shared_count += self.store.is_shared(connection)
            if not self.store.shared_count:
                self.routes.forget_inherited()
            self.routes.changed(None)
            return
        before.restore()
        if present is not None:
            if not have_one_receiver(present, connection):
                connection.function = DISCONNECTED
                return  # another receiver has the uid now
            merge_into(connection, present)
            self.take(present)
        self._add(connection, ANY if record is None else record.sender())

    def restore(self, before: Iterable[Saved]) -> None:
        """Restore all connections as they were."""
        kept = {one.connection for one in before}
        for connection in self.store.connections():
            if connection not in kept:
                self.take(connection)
        self.put_all_back(before)

    def clear(self) -> int:
        """Take everything out.

        :returns: How many connections there were.
        """
        return sum([self.take(connection) for connection in self.store.connections()])

    def forget_sender(self, reference: SenderReference) -> None:
        """Remove the connections of a freed sender."""
        record = self.by_sender.get(reference.key)
        if record is not None and record.refers_to(reference):
            for connection in [*record.connections.values()]:
                self.take(connection)

    def open_block(self) -> None:
        """Make each send check whether a block stops it."""
        self.open_blocks += 1
        self.routes.withdraw()

    def close_block(self) -> None:
        """End that check, if this was the last block."""
        self.open_blocks -= 1
        self._publish()

    def add_observer(self, observer: ActiveObserver) -> None:
        """Call an observer after each call of a receiver, from now on."""
        if observer not in self.observers:
            self.observers = (*self.observers, observer)
            self.routes.changed(None)

    def remove_observer(self, observer: ActiveObserver) -> None:
        """Stop calling it."""
        self.observers = tuple(one for one in self.observers if one is not observer)
        self.routes.changed(None)

    def route_for(self, sender: Any) -> Route:
        """Return the route of a sender."""
        if self.waiting:
            self.run_waiting()
        any_route = self.routes.any_route
        if any_route is not None:
            if not self.by_sender:
                return any_route
            route = self._route_at_hand(sender)
            if route is None and self.store.by_value_count:
                record = self.store.record_of(sender)
                route = None if record is None else record.route
            if route is any_route or (route is not None and route.base is any_route):
                return route
        return self.run_now(self._make_route, sender)

    def reaches(self, sender: Any) -> bool:
        """Return whether a receiver is connected for a sender."""
        if self.waiting:
            self.run_waiting()
        if self.any or not self.by_sender:
            return bool(self.any)
        any_route = self.routes.any_route
        if any_route is not None:
            # As in route_for(): a sender that sends often has a cached route.
            route = self._route_at_hand(sender)
            if route is not None and (route is any_route or route.base is any_route):
                return bool(route.connections)
        sender = resolved(sender)
        if not self.store.shared_count:
            return self.store.record_of(sender) is not None
        return any(True for _ in self.store.groups(sender))

    def claim(self, parts: list[Connection]) -> bool:
        """Return whether a call that is for several connections is the caller's.

        Those for a single call are taken out in the same step: a ``connect`` of their
        receiver comes before that or after.
        """
        if not any(one.options.once for one in parts):
            return any(one.is_connected for one in parts)
        return self.run_now(self._claim, parts)

    def connections(self) -> list[Connection]:
        """Return every connection."""
        return self.store.connections()

    # For weak references, and after a fork.

    def has_sender(self, connection: Connection) -> bool:
        """Return whether the sender of a connection still exists."""
        return self.store.has_sender(connection)

    def receiver_died(self, connection: Connection) -> None:
        """Take a connection out soon."""
        self.run_later(self.take, connection)

    def sender_died(self, reference: SenderReference) -> None:
        """Remove a sender now, and its connections soon."""
        key = reference.key
        if type(key) is tuple and len(key) == 1:
            self.routes.forget_id(key[0])
        self.run_later(self.forget_sender, reference)

    def names_changed(self, sender: object) -> None:
        """Make routes invalid, as a name has another sender."""
        self.store.was_named(sender)
        self.run(self.routes.changed, None)

    def recover(self) -> None:
        """Rebuild everything that is derived from the connections."""
        self._removed = []
        self.routes.forget_all()
        for record in self.store.recover():
            self.routes.add(record)
        self.routes.changed(None)

    # What these are made of.

    def _add(self, connection: Connection, sender: Any) -> None:
        if sender is ANY:
            self.any[connection.key] = connection
            self.routes.changed(None)
            return
        store, is_new = self.store, connection.sender not in self.by_sender
        record = store.add(connection, sender, self.cleanup, self)
        if is_new:
            self.routes.add(record)
        self.routes.changed(None if store.shared_count else record)

    def _end(self, connection: Connection, record: SenderRecord | None) -> None:
        """End a connection that was taken out.

        :param record: The sender whose routes become invalid; ``None`` for all.
        """
        function, strong = connection.function, connection.strong
        connection.function = DISCONNECTED
        # A route that is not renewed yet may keep the connection alive.
        connection.strong = None
        holds = function is not None or strong is not None
        if holds or connection.options is not DEFAULT_OPTIONS:
            self._removed += (connection, function, strong)
        routes = self.routes
        if record is not None or routes.any_route is not None or routes.generations:
            routes.changed(record)

    def _take_from(
        self, record: SenderRecord, connection: Connection
    ) -> SenderRecord | None:
        """Take a connection to a sender out.

        :returns: The record whose routes become invalid; ``None`` for all.
        """
        was_shared = self.store.shared_count > 0
        kept = self.store.remove(record, connection)
        if kept is not None:
            self.drop_later(kept)
        if not record.connections:
            self.drop_later(record)
            self.routes.forget(record)
        if was_shared and not self.store.shared_count:
            self.routes.forget_inherited()
        self._publish()
        return None if was_shared else record

    def _publish(self) -> None:
        """Let sends take the route of ``ANY``, if no sender needs another one."""
        store = self.store
        if not (store.by_value_count or store.shared_count or self.open_blocks):
            self.routes.publish(self.routes.any_route)

    def _connect_again(self, present: Connection, connection: Connection) -> None:
        """Add the options of a later connection to a connection."""
        if not have_one_receiver(present, connection):
            return  # the first receiver of a dispatch_uid is the one
        self.store.shared_count -= self.store.is_shared(present)
        self.drop_later(present.strong)
        merge_into(present, connection)
        keep(present)
        self.store.shared_count += self.store.is_shared(present)
        self.routes.changed(None)

    def _route_at_hand(self, sender: Any) -> Route | None:
        """Return a route that was made before, to be checked; ``None`` for none.

        Most senders do not have their own receivers, and take one route.
        """
        routes = self.routes
        route = routes.by_id.get(id(sender))
        if route is None and type(sender) in PLAIN_TYPES:
            return routes.rest
        return route

    def _make_route(self, sender: Any) -> Route:
        routes = self.routes
        any_route = routes.any_route
        if any_route is None:
            any_route = routes.any_route = self._route(None, [])
        self._publish()
        sender = resolved(sender)
        groups = [] if sender is ANY else [*self.store.groups(sender)]
        if not groups:
            return any_route
        route = self._route(any_route, groups)
        routes.keep(sender, self.store.record_of(sender), route, self.cleanup)
        return route

    def _route(self, base: Route | None, groups: list[Iterable[Connection]]) -> Route:
        return Route(
            [self.any.values(), *groups],
            base,
            is_declared=self.declared is not None,
            is_observed=bool(self.observers),
        )

    def _claim(self, parts: list[Connection]) -> bool:
        connected = [one for one in parts if one.is_connected]
        for one in connected:
            if one.options.once:
                # No other send will call it now; it is taken out of the tables next.
                one.function = DISCONNECTED
                self.run_later(self.take, one)
        return bool(connected)
