"""Signals by name."""

from __future__ import annotations

import sys
import threading
import typing as t
from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Iterable
from types import FrameType
from typing import Any
from typing import Protocol
from typing import Self

from .connection import connection_to
from .delivery import Watching
from .identity import ANY
from .identity import receiver_key
from .identity import sender_key
from .lifetime import is_lost
from .lifetime import OF_A_TEMPORARY
from .lifetime import references
from .lifetime import warn_of_loss
from .payload import check_takes_signal
from .senders import SenderRecord
from .signal import NamedSignal

F = t.TypeVar("F", bound=Callable[..., Any])


class Namespace(dict[str, NamedSignal]):
    """Signals by name: a dict whose :meth:`signal` makes what is not there yet.

    >>> shop = Namespace()
    >>> order_placed = shop.signal("order-placed", payload=("order",))
    >>> shop.signal("order-placed") is order_placed
    True

    Names are flat: a dot in one means nothing. What belongs together goes into a
    namespace of its own, and :meth:`connect` and :func:`~signalpost.observe` take the
    whole of it.

    .. versionadded:: 0.1
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lock = threading.RLock()
        self._standing: list[Standing] = []
        self._observers: tuple[Watching, ...] = ()

    def __setitem__(self, name: str, signal: NamedSignal) -> None:
        with self._lock:
            super().__setitem__(name, signal)
            for watching in self._observers:
                signal._watch(watching)
            for standing in [*self._standing]:
                standing.connect_to(signal)

    # A dict's own ways of adding do not go by __setitem__.

    def setdefault(self, name: str, default: NamedSignal) -> NamedSignal:
        """Return the signal of this name, after putting ``default`` in if none is."""
        with self._lock:
            if name not in self:
                self[name] = default
            return self[name]

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Put signals in, as a dict's ``update`` does."""
        for name, signal in dict(*args, **kwargs).items():
            self[name] = signal

    def __ior__(self, other: Any) -> Self:  # type: ignore[override,misc]  # as dict's
        self.update(other)
        return self

    def connect(
        self,
        receiver: F,
        sender: Any = ANY,
        weak: bool = True,  # noqa: FBT001, FBT002  # as Signal.connect has it
        *,
        priority: int = 0,
    ) -> F:
        """Connect ``receiver`` to every signal of this namespace, later ones too.

        It is told which signal it hears by the keyword ``signal``, beside the payload.
        In the order of each signal it has the place of its connection.

        >>> shop = Namespace()
        >>> @shop.connect
        ... def audit(sender, signal, **payload):
        ...     return f"{signal.name} by {sender}"
        >>> [value for _, value in shop.signal("order-placed").send("shop", order=7)]
        ['order-placed by shop']

        :param receiver: As for :meth:`Signal.connect`; it takes ``signal`` by name.
        :param sender: As for :meth:`Signal.connect`.
        :param weak: As for :meth:`Signal.connect`.
        :param priority: As for :meth:`Signal.connect`.
        :raises ReceiverError: As for :meth:`Signal.connect`.
        :raises PayloadError: If ``receiver`` does not take ``signal``, or a signal
            declares a payload that it does not fit. It is connected to none then.
        """
        frame = sys._getframe(1)
        if weak and references(receiver) <= OF_A_TEMPORARY and is_lost(receiver, frame):
            warn_of_loss(receiver, type(self))
        standing = Standing(receiver, sender, weak, priority, frame)
        with self._lock:
            present = self._present(standing.key, sender)
            if present is not None:
                if not weak:
                    present.hold(receiver)
                    for signal in self.values():
                        present.connect_to(signal)
                return receiver
            try:
                for signal in self.values():
                    standing.connect_to(signal)
            except BaseException:
                self._disconnect(standing)
                raise
            self._standing.append(standing)
        return receiver

    def disconnect(self, receiver: Callable[..., Any], sender: Any = ANY) -> bool:
        """Take back a :meth:`connect` of this namespace.

        Connections to a single signal stay.

        :param receiver: The receiver; one that is not connected is no error.
        :param sender: The sender given to :meth:`connect`; :data:`ANY` disconnects
            from every sender.
        :returns: Whether anything was disconnected.
        """
        key = receiver_key(receiver)
        with self._lock:
            self._standing = [one for one in self._standing if one.is_alive()]
            gone = [
                one
                for one in self._standing
                if one.key == key and (sender is ANY or one.is_for(sender))
            ]
            for one in gone:
                self._standing.remove(one)
                self._disconnect(one)
        return bool(gone)

    def _present(self, key: Hashable, sender: Any) -> Standing | None:
        for one in self._standing:
            if one.key == key and one.is_alive() and one.is_for(sender):
                return one
        return None

    def _disconnect(self, standing: Standing) -> None:
        for signal in self.values():
            standing.disconnect_from(signal)

    def _watch(self, watching: Watching) -> None:
        with self._lock:
            if watching not in self._observers:
                self._observers = (*self._observers, watching)
            for signal in self.values():
                signal._watch(watching)

    def _unwatch(self, watching: Watching) -> None:
        with self._lock:
            self._observers = tuple(
                one for one in self._observers if one is not watching
            )
            for signal in self.values():
                signal._unwatch(watching)

    def signal(
        self,
        name: str,
        doc: str | None = None,
        *,
        payload: Iterable[str] | None = None,
    ) -> NamedSignal:
        """Return the signal of this name; make it if there is none.

        Whoever asks first makes it, so a receiver's module may name a signal before
        the module that sends it has been imported. ``doc`` and ``payload`` may be
        given by whichever call knows them.

        :param name: The name.
        :param doc: The signal's documentation.
        :param payload: The names that every send carries; see
            :class:`~signalpost.Signal`.
        :raises PayloadError: If the signal declares other names already, or a
            connected receiver asks for something else.
        """
        found = self.get(name)
        if found is None:
            with self._lock:
                found = self.get(name)
                if found is None:
                    self[name] = found = NamedSignal(name)
        if payload is not None:
            found._declare(payload)
        if doc and "__doc__" not in found.__dict__:
            found.__doc__ = doc
        return found


class Standing:
    """A receiver of a whole namespace, for the signals that are still to come."""

    def __init__(
        self,
        receiver: Callable[..., Any],
        sender: Any,
        weak: bool,  # noqa: FBT001  # private
        priority: int,
        frame: FrameType,
    ) -> None:
        check_takes_signal(receiver)
        self.key = receiver_key(receiver)
        self._connection = connection_to(receiver, weak, None)
        self._sender = None if sender is ANY else _sender_record(sender)
        self._weak = weak
        self._priority = priority
        self._frame = (frame.f_code, frame.f_lasti)

    def is_alive(self) -> bool:
        """Tell whether receiver and sender are both still there."""
        is_sender_there = self._sender is None or self._sender.is_there()
        return is_sender_there and self._connection.receiver() is not None

    def is_for(self, sender: Any) -> bool:
        """Tell whether it was connected to this sender."""
        if self._sender is None or sender is ANY:
            return self._sender is None and sender is ANY
        is_same = sender_key(sender) == self._sender.key
        return is_same and self._sender.is_for(sender)

    def hold(self, receiver: Callable[..., Any]) -> None:
        """Keep the receiver alive from now on."""
        self._weak = False
        self._connection.held = receiver

    def connect_to(self, signal: NamedSignal) -> None:
        """Connect the receiver to one signal, if it is still there."""
        receiver = self._connection.receiver()
        if receiver is None or not self.is_alive():
            return
        sender = ANY if self._sender is None else self._sender.sender()
        signal._connect_standing(
            receiver, sender, self._weak, self._priority, *self._frame
        )

    def disconnect_from(self, signal: NamedSignal) -> None:
        """Disconnect the receiver from one signal."""
        sender = ANY if self._sender is None else self._sender.sender()
        signal._disconnect_standing(self.key, self._connection.receiver(), sender)


def _sender_record(sender: Any) -> SenderRecord:
    # Only to remember the sender; nothing is to be done when it dies.
    return SenderRecord(sender, sender_key(sender), lambda _: None)


class _SignalOfNamespace(Protocol):
    def __call__(
        self,
        name: str,
        doc: str | None = None,
        *,
        payload: Iterable[str] | None = None,
    ) -> NamedSignal: ...


default_namespace: Namespace = Namespace()
"""The namespace that :func:`signal` uses. For an application's own signals; a
library makes a :class:`Namespace` of its own."""

signal: _SignalOfNamespace = default_namespace.signal
"""Return the signal of a name in :data:`default_namespace`; make it if there is
none. See :meth:`Namespace.signal`."""
