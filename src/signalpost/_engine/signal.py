"""The signal: who is connected, and what a send does."""

from __future__ import annotations

import typing as t
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Hashable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from reprlib import repr as short_repr
from sys import _getframe
from types import CodeType
from types import FrameType
from types import FunctionType
from types import MethodType
from typing import Any
from typing import NoReturn

from ..errors import PayloadError
from ..errors import ReceiverError
from .connection import by_order
from .connection import Connection
from .connection import disconnected
from .connection import is_async_receiver
from .connection import may_be_async
from .connection import NO_ROUTE
from .connection import Options
from .connection import Receiver
from .connection import Route
from .connections import Before
from .connections import Connections
from .connections import NAMESPACE
from .connections import UID
from .connections import uid_key
from .delivery import add_note
from .delivery import AsyncWrapper
from .delivery import deliver
from .delivery import deliver_async
from .delivery import deliver_async_robustly
from .delivery import deliver_robustly
from .delivery import Gather
from .delivery import Outcome
from .delivery import send_isolated
from .delivery import Watching
from .identity import ANY
from .identity import describe
from .identity import receiver_key
from .identity import Symbol
from .lifetime import is_lost
from .lifetime import OF_A_TEMPORARY
from .lifetime import place_of
from .lifetime import references
from .lifetime import warn_of_loss
from .payload import check_sent
from .payload import declared_names

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
        # Without the lock: a debugger may ask while another thread holds it.
        records = [*self._by_sender.values()]
        count = len(self._any) + sum(map(len, records))
        what = "1 connection" if count == 1 else f"{count} connections"
        return f"{str(self)[:-1]}, {what}>"

    def __str__(self) -> str:
        return f"<{type(self).__name__} at {id(self):#x}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self} cannot be copied or pickled: its receivers belong to this"
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

    def connect(
        self,
        receiver: F,
        sender: Any = ANY,
        weak: bool = True,  # noqa: FBT001, FBT002  # blinker's
        *,
        once: bool = False,
        priority: int = 0,
        dispatch_uid: Hashable = None,
        subclasses: bool = False,
    ) -> F:
        """Call ``receiver`` whenever ``sender`` sends this signal.

        Receivers run in the order in which they were connected. Connecting a
        connected receiver again keeps its place, and a strong connection strong.

        :param receiver: A callable that takes the sender by position and the
            payload by keyword.
        :param sender: A sender, or :data:`ANY` for all of them, or
            :func:`~signalpost.named` for one that may not exist yet. Strings and
            ints match by value, everything else by identity.
        :param weak: Hold the receiver weakly: it is disconnected when it dies.
            ``False`` keeps it alive as long as it is connected, as a lambda needs.
        :param once: Disconnect the receiver before its first call. Of several
            threads that send at once, one calls it.
        :param priority: Receivers of a higher priority run first.
        :param dispatch_uid: Anything hashable that stands for the receiver. For one
            sender the first receiver with a uid is connected, and others with the
            same one are not; as in Django.
        :param subclasses: The sender is a class, and what its subclasses send is
            heard, too. Their instances are senders of their own.
        :returns: The receiver, so that ``connect`` can decorate.
        :raises ReceiverError: If ``receiver`` is not callable, is an async generator
            function, or is to be held weakly and cannot be; or for options that do
            not fit, such as a ``dispatch_uid`` that cannot be hashed.
        :raises PayloadError: If the signal declares its payload and ``receiver``
            asks for something else, or cannot take a sender.

        .. versionadded:: 0.1
        """
        options = None
        if once or priority or subclasses:
            options = _options(once, priority, subclasses, receiver, sender)
        frame: FrameType | None = _getframe(1)
        # Here, as the count includes this call's own reference.
        if weak and references(receiver) <= OF_A_TEMPORARY and is_lost(receiver, frame):
            warn_of_loss(receiver, self)
            frame = None  # it is not to be reported again when it dies
        if (
            sender is not ANY
            or type(receiver) is not FunctionType
            or options is not None
            or dispatch_uid is not None
            or self._declared is not None
        ):
            return self._connect(receiver, sender, weak, options, dispatch_uid, frame)
        # What follows is _connect for a function and any sender, written out: calls
        # would be half of its cost.
        connection = Connection(receiver, self._bury_function)
        connection.key = key = id(receiver)
        connection.sender = ANY
        connection.via = None
        connection.held = None if weak else receiver
        connection.is_async = may_be_async(receiver) and is_async_receiver(receiver)
        connection.names = None
        connection.options = None
        if frame is None:
            connection.code = None
        else:
            connection.code = frame.f_code
            connection.instruction = frame.f_lasti
        found = None
        self._lock.acquire()
        was_busy = self._busy
        self._busy = True
        try:
            if was_busy or self._dead or self._borrowed:
                present = None
            else:
                connection.order = next(self._count)
                present = self._any.setdefault(key, connection)
                # Last: a finaliser may send, and so make a route, on any line here.
                if self._is_remembered:
                    self._forget_routes()
        finally:
            self._busy = was_busy
            self._lock.release()
        if present is not connection:
            found = self._insert(connection, sender)
        elif self._dead or self._deferred:
            self._settle()
        if self._connected is not None:
            self._tell_connected(receiver, sender, weak, connection, found)
        return receiver

    def connect_via(
        self,
        sender: Any,
        weak: bool = False,  # noqa: FBT001, FBT002  # blinker's
        *,
        once: bool = False,
        priority: int = 0,
        dispatch_uid: Hashable = None,
        subclasses: bool = False,
    ) -> Callable[[F], F]:
        """Connect the decorated function to ``sender``.

        :param sender: As for :meth:`connect`.
        :param weak: As for :meth:`connect`; strong unless told otherwise.
        :param once: As for :meth:`connect`.
        :param priority: As for :meth:`connect`.
        :param dispatch_uid: As for :meth:`connect`.
        :param subclasses: As for :meth:`connect`.

        .. versionadded:: 0.1
        """

        def connect(receiver: F) -> F:
            options = None
            if once or priority or subclasses:
                options = _options(once, priority, subclasses, receiver, sender)
            frame: FrameType | None = _getframe(1)
            if (
                weak
                and references(receiver) <= OF_A_TEMPORARY
                and is_lost(receiver, frame)
            ):
                warn_of_loss(receiver, self)
                frame = None
            return self._connect(receiver, sender, weak, options, dispatch_uid, frame)

        return connect

    def _connect(
        self,
        receiver: F,
        sender: Any,
        weak: bool,  # noqa: FBT001  # private, and on a path that is measured
        options: Options | None,
        dispatch_uid: Hashable,
        frame: FrameType | None,
    ) -> F:
        connection = self._prepare(receiver, sender, weak, options, dispatch_uid)
        if frame is not None:
            connection.code = frame.f_code
            connection.instruction = frame.f_lasti
        found = self._insert(connection, sender)
        if self._connected is not None:
            self._tell_connected(receiver, sender, weak, connection, found)
        return receiver

    def _tell_connected(
        self,
        receiver: Receiver,
        sender: Any,
        weak: bool,  # noqa: FBT001  # private
        connection: Connection,
        found: tuple[Connection, Before] | None,
    ) -> None:
        """Send that a receiver was connected; who raises undoes it."""
        try:
            self.receiver_connected.send(
                self, receiver=receiver, sender=sender, weak=weak
            )
        except BaseException:
            self._undo(connection, found)
            raise

    @contextmanager
    def connected_to(self, receiver: Receiver, sender: Any = ANY) -> Generator[None]:
        """Connect ``receiver`` for the length of a ``with`` block.

        Afterwards the signal is as it was before: a connection that ``receiver``
        had already, to this sender or to others, stays.

        :param receiver: As for :meth:`connect`; the block holds it.
        :param sender: As for :meth:`connect`.

        .. versionadded:: 0.1
        """
        borrowed = self._prepare(receiver, sender, False)  # noqa: FBT003
        self._insert(borrowed, sender, by_block=True)
        try:
            if self._connected is not None:
                self._connected.send(self, receiver=receiver, sender=sender, weak=False)
            yield
        finally:
            is_disconnected = self._return_borrowed(borrowed)
            if is_disconnected and self._disconnected is not None:
                self._disconnected.send(self, receiver=receiver, sender=sender)

    def disconnect(
        self,
        receiver: Receiver | None = None,
        sender: Any = ANY,
        *,
        dispatch_uid: Hashable = None,
    ) -> bool:
        """Disconnect ``receiver`` from ``sender``, or from all senders.

        :param receiver: A receiver; one that is not connected is no error.
        :param sender: The sender given to :meth:`connect`. :data:`ANY` disconnects
            from every sender.
        :param dispatch_uid: The uid given to :meth:`connect`; it stands for the
            receiver, which need not be given then.
        :returns: Whether anything was disconnected.
        :raises ReceiverError: If neither a receiver nor a uid is given.

        .. versionadded:: 0.1
        """
        if dispatch_uid is not None:
            key = uid_key(dispatch_uid)
        elif type(receiver) is FunctionType:
            key = id(receiver)
        elif receiver is not None:
            key = receiver_key(receiver)
        else:
            raise ReceiverError(
                "disconnect() takes a receiver or a dispatch_uid, got neither; to"
                " disconnect all receivers use disconnect_all()"
            )
        held = None
        self._lock.acquire()
        was_busy = self._busy
        self._busy = True
        try:
            # As in connect: the way of nearly every call, written out.
            is_simple = not (
                sender is not ANY
                or was_busy
                or key in self._by_receiver
                or self._dead
                or self._borrowed
            )
            connection = self._any.pop(key, None) if is_simple else None
            if connection is not None:
                if self._is_remembered:
                    self._forget_routes()
                connection.via = disconnected
                held = connection.held
                connection.held = None
        finally:
            self._busy = was_busy
            self._lock.release()
        if not is_simple:
            is_disconnected = self._remove(key, sender)
        else:
            is_disconnected = connection is not None
            if self._dead or self._deferred:
                del held, connection
                self._settle()
        if is_disconnected and self._disconnected is not None:
            self._disconnected.send(self, receiver=receiver, sender=sender)
        return is_disconnected

    def disconnect_all(self) -> int:
        """Disconnect every receiver from every sender, as a reload or a test needs.

        ``receiver_disconnected`` is not sent.

        :returns: How many connections there were.

        .. versionadded:: 0.1
        """
        count = len(self.connections)
        self._clear_state()
        return count

    @property
    def connections(self) -> tuple[ConnectionInfo, ...]:
        """Who is connected to what, in the order of delivery; to look at.

        :returns: One :class:`ConnectionInfo` for each connection.
        """
        with self._exclusively():
            found = [
                (connection, self._sender_of(connection))
                for connection in self._connections()
            ]
        return tuple(
            info
            for connection, sender in sorted(found, key=lambda pair: by_order(pair[0]))
            if (info := _info(connection, sender)) is not None
        )

    def _sender_of(self, connection: Connection) -> Any:
        record = self._by_sender.get(connection.sender)
        return ANY if record is None else record.sender()

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
        if payload and sender is None and "sender" in payload:
            self._refuse_sender_by_name()
        route = self._plain_any
        if route is None:
            key = id(sender)
            route = self._plain.get(key)
            if route is None and key not in self._ids:
                route = self._plain_else
            if route is None:
                found = self._checked_route(sender, payload)
                if not found.connections:
                    return []
                return deliver(found, self, sender, payload, _async_wrapper)
        if not route:
            return []
        # What follows is delivery.deliver for a plain route, written out: it is the
        # path of nearly every send, and a call more would be half of its cost. The
        # same loop stands twice, as passing on an empty payload costs as much again.
        results: list[tuple[Receiver, Any]] = []
        receiver: Any = None
        try:
            if payload:
                for connection in route:
                    receiver = connection()
                    if receiver is None:
                        continue
                    via = connection.via
                    if via is not None:
                        if via is disconnected:
                            continue
                        receiver = MethodType(via, receiver)
                    results.append((receiver, receiver(sender, **payload)))
            else:
                for connection in route:
                    receiver = connection()
                    if receiver is None:
                        continue
                    via = connection.via
                    if via is not None:
                        if via is disconnected:
                            continue
                        receiver = MethodType(via, receiver)
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

    send_isolated = send_isolated

    async def send_async(
        self,
        sender: Any | None = None,
        /,
        *,
        _sync_wrapper: AsyncWrapper | None = None,
        _gather: Gather | None = None,
        **payload: Any,
    ) -> list[tuple[Receiver, Any]]:
        """Await every async receiver, and call every other one, in order.

        One after the other, under whichever event loop awaits this; or together, if
        something is given that awaits together.

        :param sender: The sender, by position.
        :param _sync_wrapper: Makes an async function out of a receiver that is
            not, for instance one that runs it in a thread.
        :param _gather: An async function that runs the coroutines it is given at
            the same time and returns their results in order, such as
            :func:`asyncio.gather`. The receivers are those of the beginning; they
            start in order.
        :param payload: What the receivers get as keywords.
        :returns: Each receiver with what it returned.
        :raises PayloadError: As for :meth:`send`.
        :raises Exception: As for :meth:`send`, or as ``_gather`` does.

        .. versionadded:: 0.1
        """
        if sender is None and "sender" in payload:
            self._refuse_sender_by_name()
        route = self._checked_route(sender, payload)
        return await deliver_async(route, self, sender, payload, _sync_wrapper, _gather)

    async def send_robust_async(
        self,
        sender: Any | None = None,
        /,
        *,
        _sync_wrapper: AsyncWrapper | None = None,
        _gather: Gather | None = None,
        **payload: Any,
    ) -> list[Outcome]:
        """Await every receiver as :meth:`send_async` does, whichever of them raise.

        Failures are logged and kept as by :meth:`send_robust`; a cancellation goes
        through.

        :param sender: The sender, by position.
        :param _sync_wrapper: As for :meth:`send_async`.
        :param _gather: As for :meth:`send_async`.
        :param payload: What the receivers get as keywords.
        :returns: An :class:`Outcome` for each receiver.
        :raises PayloadError: As for :meth:`send`.

        .. versionadded:: 0.1
        """
        if sender is None and "sender" in payload:
            self._refuse_sender_by_name()
        route = self._checked_route(sender, payload)
        return await deliver_async_robustly(
            route, self, sender, payload, _sync_wrapper, _gather
        )

    def has_receivers_for(self, sender: Any) -> bool:
        """Tell whether a send by ``sender`` would reach anyone.

        :param sender: A sender; for :data:`ANY`, whether a receiver hears all.
        """
        if self._dead:
            self._settle()
        if self._any:
            return True
        return bool(self._by_sender) and self._record_for(sender) is not None

    def receivers_for(self, sender: Any) -> Generator[Receiver]:
        """Yield the receivers that a send by ``sender`` would call, in order.

        :param sender: A sender; for :data:`ANY`, those that hear all.
        """
        for _, receiver in self._route_for(sender).receivers():
            yield receiver

    def _connect_standing(
        self,
        receiver: Receiver,
        sender: Any,
        weak: bool,  # noqa: FBT001  # private
        priority: int,
        code: CodeType,
        instruction: int,
    ) -> None:
        """Connect a receiver of the whole namespace."""
        options = Options(priority=priority, passes_signal=True)
        prepared = self._prepare(receiver, sender, weak, options)
        prepared.key = (NAMESPACE, prepared.key)
        prepared.code = code
        prepared.instruction = instruction
        found = self._insert(prepared, sender)
        if self._connected is not None:
            self._tell_connected(receiver, sender, weak, prepared, found)

    def _disconnect_standing(self, key: Hashable, receiver: Any, sender: Any) -> None:
        is_disconnected = self._remove((NAMESPACE, key), sender)
        if is_disconnected and self._disconnected is not None:
            self._disconnected.send(self, receiver=receiver, sender=sender)

    def _watch(self, watching: Watching) -> None:
        """Tell an observer of every delivery from now on."""
        with self._exclusively():
            if watching not in self._observers:
                self._observers = (*self._observers, watching)
            self._forget_plain_routes()

    def _unwatch(self, watching: Watching) -> None:
        """Tell an observer no more."""
        with self._exclusively():
            self._observers = tuple(
                one for one in self._observers if one is not watching
            )

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
                    f"{self} declares {sorted(self._declared)} already, got"
                    f" {sorted(declared)}; declare a payload in one place",
                    self,
                )
            names = [
                (connection, self._names_read(connection, receiver, declared))
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
            gone: list[object] = [self._any, self._by_sender, self._borrowed]
            for connection in self._connections():
                connection.via = disconnected
                gone.append(connection.held)
                connection.held = None
            self._any = {}
            self._ids = set()
            self._senders_not_by_id = 0
            self._shared = 0
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

    def _refuse_sender_by_name(self) -> NoReturn:
        raise PayloadError(
            f"{self} got its sender by name; send(app), not send(sender=app)", self
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

    def __str__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


def heard_of(
    signals: tuple[Signal, ...], sender: Any, of_others: tuple[Signal, ...] = ()
) -> tuple[Signal, ...]:
    """Return those of several signals with which ``sender`` would reach anyone.

    And those of others that anyone hears, whoever sends them. Quicker than to ask each,
    for who asks before all else in every request. Among them may be one whose receiver
    is dying just now.
    """
    heard: tuple[Signal, ...] = ()
    for signal in signals:
        if signal._any or (signal._by_sender and signal.has_receivers_for(sender)):
            heard += (signal,)
    for signal in of_others:
        if signal._any or signal._by_receiver:
            heard += (signal,)
    return heard


class ConnectionInfo(t.NamedTuple):
    """One connection, to look at.

    .. versionadded:: 0.1
    """

    receiver: Receiver
    """The receiver."""
    sender: Any
    """The sender, or :data:`ANY`, or what :func:`~signalpost.named` gave."""
    name: str
    """The receiver's name, for people."""
    connected_at: str | None
    """Where it was connected, as ``file:line``; ``None`` for a ``with`` block."""
    weak: bool
    """Whether the receiver is held weakly."""
    once: bool
    """Whether it is to be called once."""
    priority: int
    """Its priority; 0 unless given."""
    dispatch_uid: Hashable
    """The uid that stands for it, or ``None``."""
    subclasses: bool
    """Whether the sender's subclasses are heard, too."""
    calls: int
    """How often it was called while observed."""


def _info(connection: Connection, sender: Any) -> ConnectionInfo | None:
    receiver = connection.receiver()
    if receiver is None:
        return None
    options = connection.options or Options()
    key = connection.key
    has_uid = isinstance(key, tuple) and key[0] is UID
    return ConnectionInfo(
        receiver,
        sender,
        describe(receiver),
        connection.code and place_of(connection.code, connection.instruction),
        connection.held is None,
        connection.is_once,
        options.priority,
        key[1] if has_uid else None,  # type: ignore[index]  # a tuple, as said above
        options.subclasses,
        getattr(connection, "calls", 0),
    )


def _options(
    once: bool,  # noqa: FBT001  # private, as connect has them
    priority: int,
    subclasses: bool,  # noqa: FBT001
    receiver: object,
    sender: object,
) -> Options:
    """Return options that are checked.

    :raises ReceiverError: If they do not fit.
    """
    if not isinstance(priority, int):
        raise ReceiverError(
            f"priority must be an int, got {priority!r}; a higher one runs first",
            receiver,
        )
    if subclasses and not isinstance(sender, type):
        raise ReceiverError(
            "subclasses=True takes a class as the sender, got"
            f" {short_repr(sender)}; name a class, or leave it out",
            receiver,
        )
    return Options(priority=priority, once=once, subclasses=subclasses)


def receiver(
    signals: Signal | Iterable[Signal],
    sender: Any = ANY,
    weak: bool = True,  # noqa: FBT001, FBT002  # as connect has it
    *,
    once: bool = False,
    priority: int = 0,
    dispatch_uid: Hashable = None,
    subclasses: bool = False,
) -> Callable[[F], F]:
    """Connect the decorated function to one signal or to several.

    >>> from signalpost import receiver, Signal
    >>> opened, closed = Signal(), Signal()
    >>> @receiver([opened, closed], sender="shop")
    ... def note(sender):
    ...     return f"noted {sender}"
    >>> [value for _, value in closed.send("shop")]
    ['noted shop']

    :param signals: A signal, or several.
    :param sender: As for :meth:`Signal.connect`, and so are the others.
    :raises TypeError: If something else than signals is given.

    .. versionadded:: 0.1
    """
    found = tuple(signals) if isinstance(signals, Iterable) else (signals,)
    for signal in found:
        if not isinstance(signal, Signal):
            raise TypeError(
                f"receiver() takes a signal or several, got {short_repr(signal)}"
            )

    def connect(function: F) -> F:
        frame: FrameType | None = _getframe(1)
        if weak and references(function) <= OF_A_TEMPORARY and is_lost(function, frame):
            warn_of_loss(function, found)
            frame = None
        for signal in found:  # all or none
            signal._prepare(function, sender, weak)
        for signal in found:
            options = None
            if once or priority or subclasses:
                options = _options(once, priority, subclasses, function, sender)
            signal._connect(function, sender, weak, options, dispatch_uid, frame)
        return function

    return connect


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
        return f"<{len(self)} receivers of {self._signal}>"

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
