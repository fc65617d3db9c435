"""The signal: who is connected, and what a send does."""

from __future__ import annotations

import sys
import typing as t
import warnings
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Hashable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MethodType
from typing import Any
from typing import NoReturn

from ..errors import PayloadError
from ..errors import WeakReceiverWarning
from .connections import Connections
from .delivery import add_note
from .delivery import AsyncWrapper
from .delivery import deliver
from .delivery import deliver_async
from .delivery import deliver_robustly
from .delivery import NO_ROUTE
from .delivery import Outcome
from .delivery import Receiver
from .delivery import Route
from .identity import ANY
from .identity import describe
from .identity import receiver_key
from .identity import sender_key
from .identity import Symbol
from .lifetime import is_kept_by_nobody
from .lifetime import is_result_discarded
from .payload import check_sent
from .payload import declared_names
from .payload import names_read

F = t.TypeVar("F", bound=Callable[..., Any])


class Signal(Connections):
    """Something that a sender says and receivers hear, in this process.

    Every method may be called from any thread, and from finalisers.

    :param doc: The documentation of this one signal, kept as its ``__doc__``.
    :param payload: The names that every send carries, for instance
        ``("environ", "exchange")``. Receivers then take only the names that they
        read, and what does not fit is an error at :meth:`connect`. Without it any
        keywords may be sent, and every receiver is called with all of them.
    :raises PayloadError: If ``payload`` is not a collection of names.

    .. versionadded:: 0.1
    """

    ANY: t.ClassVar[Symbol] = ANY
    """The same as :data:`signalpost.ANY`."""

    set_class: type[set[t.Any]] = set
    """Accepted for blinker's sake and not used: order is always kept."""

    def __init__(
        self, doc: str | None = None, *, payload: Iterable[str] | None = None
    ) -> None:
        if doc:
            self.__doc__ = doc
        super().__init__(declared_names(payload))
        self._connected: Signal | None = None
        self._disconnected: Signal | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {id(self):#x}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} cannot be copied or pickled: its receivers belong to this"
            " process; import the signal where it is needed"
        )

    @property
    def payload(self) -> frozenset[str] | None:
        """The names that every send carries; ``None`` if none were declared."""
        return self._declared

    @property
    def receiver_connected(self) -> Signal:
        """Sent at the end of each :meth:`connect`.

        *Sender*: this signal. *Payload*: ``receiver``, ``sender``, ``weak``, as
        given to :meth:`connect`. If one of its receivers raises, the connection is
        undone and the exception goes to the caller of :meth:`connect`.
        """
        with self._lock:
            if self._connected is None:
                self._connected = Signal("Sent at the end of each connect.")
            return self._connected

    @property
    def receiver_disconnected(self) -> Signal:
        """Sent after :meth:`disconnect` has disconnected something.

        *Sender*: this signal. *Payload*: ``receiver``, ``sender``, as given to
        :meth:`disconnect`. Not sent when a receiver or a sender dies.
        """
        with self._lock:
            if self._disconnected is None:
                self._disconnected = Signal("Sent after a disconnect.")
            return self._disconnected

    @property
    def receivers(self) -> Mapping[Hashable, Receiver]:
        """The connected receivers, to look at only.

        Its truth value tells whether any receiver is connected to any sender.

        :returns: Receivers by identity: the receiver itself if a connection is
            strong, else something to call that gives the receiver or ``None``.
        """
        if self._dead:
            self._settle()
        return _Receivers(self)

    @property
    def is_muted(self) -> bool:
        """Whether a :meth:`muted` block is open in this context."""
        return self._open_mutes > 0 and any(
            block.signal is self for block in _open_blocks.get()
        )

    def connect(self, receiver: F, sender: Any = ANY, weak: bool = True) -> F:  # noqa: FBT001, FBT002  # blinker's
        """Call ``receiver`` whenever ``sender`` sends this signal.

        Receivers run in the order in which they were connected. Connecting a
        connected receiver again keeps its place, and a strong connection strong.

        :param receiver: A callable that takes the sender by position and the
            payload by keyword.
        :param sender: A sender, or :data:`ANY` for all of them. Strings and ints
            match by value, everything else by identity.
        :param weak: Hold the receiver weakly: it is disconnected when it dies.
            ``False`` keeps it alive as long as it is connected, as a lambda needs.
        :returns: The receiver, so that ``connect`` can decorate.
        :raises ReceiverError: If ``receiver`` is not callable, is an async generator
            function, or is to be held weakly and cannot be.
        :raises PayloadError: If the signal declares its payload and ``receiver``
            asks for something else, or cannot take a sender.

        .. versionadded:: 0.1
        """
        is_lost = (
            weak
            and is_kept_by_nobody(receiver)
            and is_result_discarded(sys._getframe(1))
        )
        prepared = self._prepare(receiver, sender, weak=weak)
        if is_lost:
            prepared.place = None  # reported here and now
            self._warn_of_loss(receiver)
        connection, change = self._insert(prepared, sender)
        if self._connected is not None:
            try:
                self._connected.send(self, receiver=receiver, sender=sender, weak=weak)
            except BaseException:
                if change == "connected":
                    self._remove(connection.key, sender)
                elif change == "held":
                    connection.held = None
                raise
        return receiver

    def connect_via(self, sender: Any, weak: bool = False) -> Callable[[F], F]:  # noqa: FBT001, FBT002  # blinker's
        """Connect the decorated function to ``sender``.

        :param sender: As for :meth:`connect`.
        :param weak: As for :meth:`connect`; strong unless told otherwise.

        .. versionadded:: 0.1
        """

        def connect(receiver: F) -> F:
            return self.connect(receiver, sender, weak)

        return connect

    @contextmanager
    def connected_to(self, receiver: Receiver, sender: Any = ANY) -> Generator[None]:
        """Connect ``receiver`` for the length of a ``with`` block.

        Afterwards the signal is as it was before: a connection that ``receiver``
        had already, to this sender or to others, stays.

        :param receiver: As for :meth:`connect`; the block holds it.
        :param sender: As for :meth:`connect`.

        .. versionadded:: 0.1
        """
        borrowed = self._prepare(receiver, sender, weak=False)
        self._insert(borrowed, sender, by_block=True)
        try:
            if self._connected is not None:
                self._connected.send(self, receiver=receiver, sender=sender, weak=False)
            yield
        finally:
            is_disconnected = self._return_borrowed(borrowed)
            if is_disconnected and self._disconnected is not None:
                self._disconnected.send(self, receiver=receiver, sender=sender)

    def disconnect(self, receiver: Receiver, sender: Any = ANY) -> bool:
        """Disconnect ``receiver`` from ``sender``, or from all senders.

        :param receiver: A receiver; one that is not connected is no error.
        :param sender: The sender given to :meth:`connect`. :data:`ANY` disconnects
            from every sender.
        :returns: Whether anything was disconnected.

        .. versionadded:: 0.1
        """
        is_disconnected = self._remove(receiver_key(receiver), sender)
        if is_disconnected and self._disconnected is not None:
            self._disconnected.send(self, receiver=receiver, sender=sender)
        return is_disconnected

    @contextmanager
    def muted(self) -> Generator[None]:
        """Send to nobody for the length of a ``with`` block, in this context.

        Other threads and tasks still send. Blocks nest. A thread or task started
        within the block, with a copy of its context, is muted until the block ends.

        .. versionadded:: 0.1
        """
        block = _MutedBlock(self)
        with self._exclusively():
            self._open_mutes += 1
            self._forget_plain_routes()
        _open_blocks.set((*_still_open(), block))
        try:
            yield
        finally:
            block.signal = None
            with self._exclusively():
                self._open_mutes -= 1
            _open_blocks.set(_still_open())

    def send(
        self,
        sender: Any | None = None,
        /,
        *,
        _async_wrapper: AsyncWrapper | None = None,
        **payload: Any,
    ) -> list[tuple[Receiver, Any]]:
        """Call every receiver that is connected to ``sender`` or to :data:`ANY`.

        In connection order, each receiver once, in the caller's thread and context.
        The receivers are those connected when the send begins; one that is
        disconnected or dies before its turn is skipped.

        :param sender: The sender, by position.
        :param _async_wrapper: Makes a function to call out of an async receiver,
            for instance :meth:`flask.Flask.ensure_sync`.
        :param payload: What the receivers get as keywords.
        :returns: Each receiver with what it returned.
        :raises AsyncReceiverError: If a receiver is async and there is no
            ``_async_wrapper``; no receiver has been called then.
        :raises PayloadError: If the signal declares its payload, a receiver is
            connected, and other names are sent.
        :raises Exception: Whatever a receiver raises, with a note that names signal
            and receiver. Receivers after it are not called.

        .. versionadded:: 0.1
        """
        if sender is None and "sender" in payload:
            self._refuse_sender_by_name()
        route = self._plain_any
        if route is None:
            route = self._plain.get(id(sender))
            if route is None:
                return deliver(
                    self._checked_route(sender, payload),
                    self,
                    sender,
                    payload,
                    _async_wrapper,
                )
        # What follows is delivery.deliver for a plain route, written out: it is the
        # path of nearly every send, and a call more would be half of its cost. The
        # same loop stands twice, as passing on an empty payload costs as much again.
        results: list[tuple[Receiver, Any]] = []
        receiver: Any = None
        try:
            if payload:
                for connection in route:
                    receiver = connection()
                    if receiver is None or not connection.is_alive:
                        continue
                    if connection.function is not None:
                        receiver = MethodType(connection.function, receiver)
                    results.append((receiver, receiver(sender, **payload)))
            else:
                for connection in route:
                    receiver = connection()
                    if receiver is None or not connection.is_alive:
                        continue
                    if connection.function is not None:
                        receiver = MethodType(connection.function, receiver)
                    results.append((receiver, receiver(sender)))
        except BaseException as error:
            add_note(error, self, receiver)
            raise
        return results

    def send_robust(
        self,
        sender: Any | None = None,
        /,
        *,
        _async_wrapper: AsyncWrapper | None = None,
        **payload: Any,
    ) -> list[Outcome]:
        """Call every receiver as :meth:`send` does, whichever of them raise.

        Each failure is logged with its traceback by the logger
        ``signalpost.signals``. Only an :exc:`Exception` is kept from the caller;
        ``KeyboardInterrupt``, ``SystemExit`` and their like go through.

        :param sender: The sender, by position.
        :param _async_wrapper: As for :meth:`send`; without it an async receiver
            counts as failed.
        :param payload: What the receivers get as keywords.
        :returns: An :class:`Outcome` for each receiver.
        :raises PayloadError: As for :meth:`send`.

        .. versionadded:: 0.1
        """
        if sender is None and "sender" in payload:
            self._refuse_sender_by_name()
        route = self._checked_route(sender, payload)
        return deliver_robustly(route, self, sender, payload, _async_wrapper)

    async def send_async(
        self,
        sender: Any | None = None,
        /,
        *,
        _sync_wrapper: AsyncWrapper | None = None,
        **payload: Any,
    ) -> list[tuple[Receiver, Any]]:
        """Await every async receiver, and call every other one, in order.

        One after the other, under whichever event loop awaits this.

        :param sender: The sender, by position.
        :param _sync_wrapper: Makes an async function out of a receiver that is
            not, for instance one that runs it in a thread.
        :param payload: What the receivers get as keywords.
        :returns: Each receiver with what it returned.
        :raises PayloadError: As for :meth:`send`.
        :raises Exception: As for :meth:`send`.

        .. versionadded:: 0.1
        """
        if sender is None and "sender" in payload:
            self._refuse_sender_by_name()
        route = self._checked_route(sender, payload)
        return await deliver_async(route, self, sender, payload, _sync_wrapper)

    def has_receivers_for(self, sender: Any) -> bool:
        """Tell whether a send by ``sender`` would reach anyone.

        :param sender: A sender; for :data:`ANY`, whether a receiver hears all.
        """
        if self._dead:
            self._settle()
        if self._any:
            return True
        if not self._by_sender or sender is ANY:
            return False
        record = self._by_sender.get(sender_key(sender))
        return record is not None and record.is_for(sender)

    def receivers_for(self, sender: Any) -> Generator[Receiver]:
        """Yield the receivers that a send by ``sender`` would call, in order.

        :param sender: A sender; for :data:`ANY`, those that hear all.
        """
        for _, receiver in self._route_for(sender).turns():
            yield receiver

    def _declare(self, payload: Iterable[str]) -> None:
        """Declare the payload, if that was not done before.

        :raises PayloadError: If other names are declared already, or a connected
            receiver asks for something else.
        """
        declared = t.cast("frozenset[str]", declared_names(payload))
        with self._exclusively():
            if self._declared == declared:
                return
            if self._declared is not None:
                raise PayloadError(
                    f"{self!r} declares {sorted(self._declared)} already, got"
                    f" {sorted(declared)}; declare a payload in one place",
                    self,
                )
            names = [
                (connection, names_read(receiver, declared, self))
                for connection in self._connections()
                if (receiver := connection.receiver()) is not None
            ]
            self._declared = declared
            for connection, read in names:
                connection.names = read
            self._forget_routes()

    def _clear_state(self) -> None:
        """Disconnect every receiver from every sender. For tests."""
        with self._lock:
            if self._busy:
                self._deferred.append(self._clear_state)
                return
        with self._exclusively():
            gone = (self._any, self._by_sender, self._by_receiver, self._borrowed)
            for connection in self._connections():
                connection.is_alive = False
            self._any = {}
            self._by_sender = {}
            self._by_receiver = {}
            self._borrowed = {}
            self._forget_routes()
        del gone

    def _cleanup_bookkeeping(self) -> None:
        """Do nothing that is not done anyway; blinker's users call it."""
        self._settle()

    def _checked_route(self, sender: Any, payload: dict[str, Any]) -> Route:
        """Return the route to send along, for a payload that is as declared."""
        if self._open_mutes and self.is_muted:
            return NO_ROUTE
        route = self._route_for(sender)
        if self._declared is not None and route.connections:
            check_sent(payload, self._declared, self)
        return route

    def _warn_of_loss(self, receiver: Receiver) -> None:
        warnings.warn(
            f"receiver {describe(receiver)} dies as connect() returns: {self!r} holds"
            " it weakly and nothing else holds it; keep it in a variable or connect it"
            " with weak=False",
            WeakReceiverWarning,
            stacklevel=3,
        )

    def _refuse_sender_by_name(self) -> NoReturn:
        raise PayloadError(
            f"{self!r} got its sender by name; send(app), not send(sender=app)", self
        )


class NamedSignal(Signal):
    """A signal with a name, usually one of a :class:`Namespace`.

    :param name: The name, as in the namespace.
    :param doc: As for :class:`Signal`.
    :param payload: As for :class:`Signal`.

    .. versionadded:: 0.1
    """

    name: str
    """The name of this signal."""

    def __init__(
        self,
        name: str,
        doc: str | None = None,
        *,
        payload: Iterable[str] | None = None,
    ) -> None:
        super().__init__(doc, payload=payload)
        self.name = name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


class _MutedBlock:
    """One open ``muted()`` block; its signal is ``None`` when it has ended."""

    __slots__ = ("signal",)

    def __init__(self, signal: Signal) -> None:
        self.signal: Signal | None = signal


# One variable for all signals: a ContextVar made for each would never be freed.
_open_blocks: ContextVar[tuple[_MutedBlock, ...]] = ContextVar(
    "signalpost.muted", default=()
)


def _still_open() -> tuple[_MutedBlock, ...]:
    return tuple(block for block in _open_blocks.get() if block.signal is not None)


class _Receivers(Mapping[Hashable, Receiver]):
    """The receivers of a signal by identity, read when asked."""

    __slots__ = ("_signal",)

    def __init__(self, signal: Signal) -> None:
        self._signal = signal

    def __bool__(self) -> bool:
        return bool(self._signal._any or self._signal._by_receiver)

    def __len__(self) -> int:
        return len(self._snapshot())

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._snapshot())

    def __getitem__(self, key: Hashable) -> Receiver:
        return self._snapshot()[key]

    def __repr__(self) -> str:
        return f"<{len(self)} receivers of {self._signal!r}>"

    def _snapshot(self) -> dict[Hashable, Receiver]:
        with self._signal._exclusively():
            connections = self._signal._connections()
        found: dict[Hashable, Receiver] = {}
        for connection in connections:
            if connection.held is not None:
                found[connection.key] = connection.held
            else:
                found.setdefault(connection.key, connection.receiver)
        return found
