"""Receivers and observers of a whole namespace."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Iterable
from types import FrameType
from typing import Any

from .connecting import check_priority
from .connecting import connect
from .connecting import disconnect
from .connecting import prepare
from .connection import connection_to_object
from .connection import NAMESPACE
from .connection import Options
from .connection import Receiver
from .identity import ANY
from .identity import receiver_key
from .identity import sender_key
from .lifetime import check_not_in_class_body
from .payload import check_takes_signal
from .results import ActiveObserver
from .senders import SenderRecord
from .serial import Serial
from .signal import NamedSignal


class NamespaceConnection:
    """A receiver that is connected to all signals of a namespace, later ones too."""

    def __init__(
        self,
        receiver: Receiver,
        sender: Any,
        weak: bool,  # noqa: FBT001  # private
        priority: int,
        frame: FrameType,
    ) -> None:
        check_not_in_class_body(receiver, frame, "a namespace")
        check_priority(receiver, priority)
        check_takes_signal(receiver)
        self.key: Hashable = receiver_key(receiver)
        self._connection = connection_to_object(receiver, weak, None)
        self._connection.strong = None if weak else receiver
        self._sender = None if sender is ANY else _sender_record(sender)
        self._weak = weak
        self._options = Options(priority=priority, passes_signal=True)
        self._place = frame.f_code, frame.f_lasti

    def is_alive(self) -> bool:
        """Return whether receiver and sender both still exist."""
        is_sender_there = self._sender is None or self._sender.is_there()
        return is_sender_there and self._connection.receiver() is not None

    def is_for(self, sender: Any) -> bool:
        """Return whether it was connected to this sender."""
        if self._sender is None or sender is ANY:
            return self._sender is None and sender is ANY
        is_same = sender_key(sender) == self._sender.key
        return is_same and self._sender.is_for(sender)

    def is_like(self, other: NamespaceConnection) -> bool:
        """Return whether another one has the same receiver and sender."""
        return self.key == other.key and self.is_for(other.sender())

    def sender(self) -> Any:
        """Return the sender, or ``ANY``."""
        return ANY if self._sender is None else self._sender.sender()

    def hold(self, other: NamespaceConnection) -> None:
        """Keep the receiver alive from now on, if another one does."""
        if not other._weak:  # of this class
            self._weak = False
            self._connection.strong = self._connection.receiver()

    def connect_to(self, signal: NamedSignal) -> None:
        """Connect the receiver to one signal, if it still exists."""
        receiver = self._connection.receiver()
        if receiver is None or not self.is_alive():
            return
        sender = self.sender()
        connection = prepare(
            signal.table, receiver, sender, self._weak, self._options, None
        )
        connection.key = (NAMESPACE, connection.key)
        connection.code, connection.instruction = self._place
        connect(signal.table, connection, receiver, sender, self._weak)

    def disconnect_from(self, signal: NamedSignal) -> None:
        """Disconnect the receiver from one signal."""
        receiver = self._connection.receiver()
        disconnect(signal.table, (NAMESPACE, self.key), receiver, self.sender())


class NamespaceTable(Serial):
    """The receivers and observers of a whole namespace."""

    __slots__ = ("connections", "observers")

    connections: list[NamespaceConnection]
    """The connections, in order."""
    observers: tuple[ActiveObserver, ...]
    """The observers of each of its signals."""

    def __init__(self) -> None:
        super().__init__()
        self.connections = []
        self.observers = ()

    def add(self, signal: NamedSignal) -> None:
        """Connect and observe a signal that is now one of the namespace."""
        for observer in self.observers:
            signal.table.run_now(signal.table.add_observer, observer)
        for connection in [*self.connections]:
            connection.connect_to(signal)

    def connect(
        self,
        connection: NamespaceConnection,
        signals: Callable[[], Iterable[NamedSignal]],
    ) -> None:
        """Connect a receiver to each signal.

        :raises PayloadError: If it does not fit one of them. It is connected to none
            then, and not to later ones.
        """
        known = self.run_now(self._known, connection)
        # No lock is held here: users' receivers of receiver_connected may run.
        try:
            for signal in [*signals()]:
                known.connect_to(signal)
        except BaseException:
            if known is connection:
                self.run_now(self._drop, [connection])
                for signal in [*signals()]:
                    connection.disconnect_from(signal)
            raise

    def disconnect(
        self,
        key: Hashable,
        sender: Any,
        signals: Callable[[], Iterable[NamedSignal]],
    ) -> bool:
        """Disconnect a receiver from each signal, and from later ones.

        :returns: Whether it was connected.
        """
        found = self.run_now(self._find, key, sender)
        self.run_now(self._drop, found)
        for connection in found:
            for signal in [*signals()]:
                connection.disconnect_from(signal)
        return bool(found)

    def add_observer(
        self, observer: ActiveObserver, signals: Iterable[NamedSignal]
    ) -> None:
        """Observe each signal, and later ones."""
        self.run_now(self._add_observer, observer)
        for signal in [*signals]:
            signal.table.run_now(signal.table.add_observer, observer)

    def remove_observer(
        self, observer: ActiveObserver, signals: Iterable[NamedSignal]
    ) -> None:
        """Stop observing them."""
        self.run_now(self._remove_observer, observer)
        for signal in [*signals]:
            signal.table.run_now(signal.table.remove_observer, observer)

    def restore(self, connections: list[NamespaceConnection]) -> None:
        """Keep only these connections, for signals that are created later."""
        self.connections = [*connections]

    def _known(self, connection: NamespaceConnection) -> NamespaceConnection:
        """Return a connection that is like it; add it if there is none."""
        for one in self.connections:
            if one.is_alive() and one.is_like(connection):
                one.hold(connection)
                return one
        self.connections.append(connection)
        return connection

    def _find(self, key: Hashable, sender: Any) -> list[NamespaceConnection]:
        return [
            one
            for one in self.connections
            if one.is_alive()
            and one.key == key
            and (sender is ANY or one.is_for(sender))
        ]

    def _drop(self, gone: list[NamespaceConnection]) -> None:
        self.connections = [
            one for one in self.connections if one.is_alive() and one not in gone
        ]

    def _add_observer(self, observer: ActiveObserver) -> None:
        self.observers = (*self.observers, observer)

    def _remove_observer(self, observer: ActiveObserver) -> None:
        self.observers = tuple(one for one in self.observers if one is not observer)


def _sender_record(sender: Any) -> SenderRecord:
    # Only to recognise the sender, so no callback is needed.
    return SenderRecord(sender, sender_key(sender), lambda _: None)
