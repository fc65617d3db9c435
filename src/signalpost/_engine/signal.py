"""The signal, which users connect to and send."""

from __future__ import annotations

import typing as t
import weakref
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Hashable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sized
from functools import partial
from sys import _getframe
from types import FrameType
from types import FunctionType
from types import MethodType
from typing import Any
from typing import NoReturn

from ..errors import PayloadError
from .blocks import Held
from .blocks import held_block
from .blocks import is_muted
from .blocks import Muted
from .connecting import announce
from .connecting import Arguments
from .connecting import checked_options
from .connecting import ConnectedBlock
from .connecting import decorator
from .connecting import DisconnectedBlock
from .connecting import key_of
from .connecting import NOT_GIVEN
from .connecting import prepare
from .connecting import real_sender
from .connection import DEFAULT_OPTIONS
from .connection import DISCONNECTED
from .connection import Predicate
from .connection import Receiver
from .connection import uid_by_name
from .connection import uid_key
from .declaring import declare
from .delivery import AsyncWrapper
from .delivery import deliver
from .delivery import deliver_async
from .delivery import deliver_isolated
from .delivery import Dispatch
from .delivery import Gather
from .failures import add_note
from .failures import log_failure
from .failures import log_first_failures
from .failures import logging_now
from .fast_table import FastTable
from .identity import ANY
from .identity import PLAIN_TYPES
from .identity import resolved
from .identity import Symbol
from .introspection import connection_infos
from .introspection import ConnectionInfo
from .introspection import ReceiversView
from .kept import is_lost_unless_kept
from .lifetime import references
from .lifetime import REFERENCES_OF_A_TEMPORARY
from .lifetime import warn_of_loss
from .payload import check_doc
from .payload import check_no_receiver
from .payload import check_sent
from .payload import declared_names
from .results import Outcome
from .results import outcomes
from .route import Route

F = t.TypeVar("F", bound=Callable[..., Any])


class Signal:
    """A signal: senders send it, and the receivers that are connected to it are called.

    Every method may be called from any thread, and from finalisers.

    :param doc: The documentation of this one signal, kept as its ``__doc__``.
    :param payload: The names that every send carries, for instance ``("environ",
        "exchange")``. Receivers then take only the names that they read, and
        :meth:`connect` raises an error for a receiver that does not fit. Without it,
        any keywords may be sent, and every receiver is called with all of them.
    :raises PayloadError: If ``payload`` is not a collection of names, or ``doc`` not a
        string.

    .. versionadded:: 0.1
    """

    ANY: t.ClassVar[Symbol] = ANY
    """The same as :data:`signalpost.ANY`."""

    set_class: type[set[t.Any]] = set
    """Accepted because blinker has it, and not used: order is always kept."""

    table: FastTable
    """The connections, for the other modules of this package."""

    def __init__(
        self, doc: str | None = None, *, payload: Iterable[str] | None = None
    ) -> None:
        check_doc(doc)
        if doc:
            self.__doc__ = doc
        self.table = FastTable(weakref.ref(self), declared_names(payload))
        # The same object all the time: a send that looks for it finds it sooner.
        self._routes = self.table.routes

    def __repr__(self) -> str:
        # Without the lock, because another thread may hold it in a debugger.
        count = len(self.table.connections())
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
        return self.table.declared

    @property
    def receiver_connected(self) -> Signal:
        """Sent at the end of each :meth:`connect`.

        *Sender*: this signal. *Payload*: ``receiver``, ``sender``, ``weak``, as
        given to :meth:`connect`. If one of its receivers raises, the connection is
        undone and the exception goes to the caller of :meth:`connect`.
        """
        return self.table.run_now(_signal_of, self.table, "connected")

    @property
    def receiver_disconnected(self) -> Signal:
        """Sent after :meth:`disconnect` has disconnected something.

        *Sender*: this signal. *Payload*: ``receiver``, ``sender``, as given to
        :meth:`disconnect`. Not sent when a receiver or a sender is freed.
        """
        return self.table.run_now(_signal_of, self.table, "disconnected")

    @property
    def receivers(self) -> Mapping[Hashable, Receiver]:
        """The connected receivers, for inspection only.

        Its truth value is whether any receiver is connected to any sender.

        :returns: Receivers by identity: the receiver itself if a connection is
            strong, else a function that returns the receiver or ``None``.
        """
        self.table.run_waiting()
        return ReceiversView(self.table)

    @property
    def connections(self) -> tuple[ConnectionInfo, ...]:
        """The connections of receivers to senders, for inspection.

        :returns: One :class:`ConnectionInfo` for each connection, in the order of
            delivery.
        """
        return connection_infos(self.table)

    @property
    def is_muted(self) -> bool:
        """``True`` if a :meth:`muted` block is open in this context."""
        return self.table.open_blocks > 0 and is_muted(self.table)

    @t.overload
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
        when: Predicate | None = None,
        strict: bool = False,
        replace: bool = False,
    ) -> F: ...

    @t.overload
    def connect(
        self,
        *,
        sender: Any = ANY,
        weak: bool = True,
        once: bool = False,
        priority: int = 0,
        dispatch_uid: Hashable = None,
        subclasses: bool = False,
        when: Predicate | None = None,
        strict: bool = False,
        replace: bool = False,
    ) -> Callable[[F], F]: ...

    def connect(  # noqa: PLR0913  # options, by keyword
        self,
        receiver: Any = NOT_GIVEN,
        sender: Any = ANY,
        weak: bool = True,  # noqa: FBT001, FBT002  # blinker's
        *,
        once: bool = False,
        priority: int = 0,
        dispatch_uid: Hashable = None,
        subclasses: bool = False,
        when: Predicate | None = None,
        strict: bool = False,
        replace: bool = False,
    ) -> Any:
        """Call ``receiver`` whenever ``sender`` sends this signal.

        Receivers run in the order in which they were connected. If you connect a
        receiver again, it keeps its place, and a strong connection stays strong.

        :param receiver: A callable that takes the sender by position and the payload by
            keyword. Without it a decorator is returned, as in
            ``@signal.connect(once=True)``.
        :param sender: A sender, or :data:`ANY` for all of them, or
            :func:`~signalpost.named` for one that may not exist yet. Strings and ints
            match by value, everything else by identity; a proxy such as Flask's
            ``current_app`` is resolved.
        :param weak: Hold the receiver weakly: it is disconnected when it is freed.
            ``False`` keeps it alive as long as it is connected; a lambda needs this.
        :param once: Disconnect the receiver before its first call. If several threads
            send at once, one of them calls it.
        :param priority: Receivers of a higher priority run first.
        :param dispatch_uid: Anything hashable that identifies the receiver. For one
            sender the first receiver with a uid is connected, and others with the same
            one are not; as in Django.
        :param subclasses: The sender is a class, and the receiver is also called for
            its subclasses. Their instances are separate senders.
        :param when: A predicate, called with the receiver's arguments. If it returns a
            false value, the receiver is not called.
        :param strict: :meth:`send_robust` and the middleware raise an exception of the
            receiver, instead of isolating it.
        :param replace: Replace the receiver with the same ``dispatch_uid``, for a
            module that is loaded again. Without a uid, the function's module and
            qualified name are the uid.
        :returns: The receiver, so that ``connect`` can decorate.
        :raises ReceiverError: If ``receiver`` is not callable, is an async generator
            function, or cannot be held weakly although ``weak`` is true; or for options
            that do not fit, such as a ``dispatch_uid`` that cannot be hashed.
        :raises PayloadError: If the signal declares its payload and ``receiver`` takes
            a name that is not declared, or cannot take a sender.

        .. versionadded:: 0.1
        """
        options = DEFAULT_OPTIONS
        if once or priority or subclasses or strict or when is not None:
            options = checked_options(
                receiver,
                sender,
                once=once,
                priority=priority,
                subclasses=subclasses,
                when=when,
                strict=strict,
            )
        if receiver is NOT_GIVEN:
            arguments = Arguments(sender, weak, options, dispatch_uid, replace)
            return decorator((self.table,), arguments)
        frame: FrameType | None = _getframe(1)
        # Here, as the count includes this call's own reference.
        if (
            weak
            and references(receiver) <= REFERENCES_OF_A_TEMPORARY
            and is_lost_unless_kept(receiver, sender, frame)
        ):
            warn_of_loss(receiver, self)
            frame = None  # so that its death is not reported again
        if sender is not ANY:
            sender = real_sender(sender)
        table = self.table
        if replace or dispatch_uid is not None:
            arguments = Arguments(sender, weak, options, dispatch_uid, replace)
            connection = arguments.prepare(table, receiver, frame)
            arguments.connect(table, connection, receiver)
            return receiver
        connection = prepare(table, receiver, sender, weak, options, frame)
        if sender is ANY:
            before = table.insert_any(connection)
        else:
            before = table.run_pair(table.insert, connection, sender)
        if table.connected is not None:
            announce(table, connection, before, receiver, sender, weak)
        return receiver

    def connect_via(  # noqa: PLR0913  # options, by keyword
        self,
        sender: Any,
        weak: bool = False,  # noqa: FBT001, FBT002  # blinker's
        *,
        once: bool = False,
        priority: int = 0,
        dispatch_uid: Hashable = None,
        subclasses: bool = False,
        when: Predicate | None = None,
        strict: bool = False,
        replace: bool = False,
    ) -> Callable[[F], F]:
        """Connect the decorated function to ``sender``.

        :param sender: As for :meth:`connect`, and so are the others.
        :param weak: As for :meth:`connect`; strong unless given.
        :raises PayloadError: If ``sender`` is the function to be decorated, and the
            signal declares its payload.

        .. versionadded:: 0.1
        """
        options = checked_options(
            None,
            sender,
            once=once,
            priority=priority,
            subclasses=subclasses,
            when=when,
            strict=strict,
        )
        check_no_receiver(sender, self.table.declared, self)
        sender = sender if sender is ANY else real_sender(sender)
        arguments = Arguments(sender, weak, options, dispatch_uid, replace)
        return decorator((self.table,), arguments)

    def connected_to(
        self, receiver: Receiver, sender: Any = ANY, *, priority: float = 0
    ) -> ConnectedBlock:
        """Connect ``receiver`` during a ``with`` block.

        At the end of the block, earlier connections of ``receiver``, to this sender or
        to others, are as before. It also decorates functions, async or not: each call
        is a block.

        :param receiver: As for :meth:`connect`; the block holds it.
        :param sender: As for :meth:`connect`.
        :param priority: As for :meth:`connect`.

        .. versionadded:: 0.1
        """
        sender = sender if sender is ANY else real_sender(sender)
        return ConnectedBlock(self.table, receiver, sender, priority)

    def disconnected_from(
        self, receiver: Receiver, sender: Any = ANY
    ) -> DisconnectedBlock:
        """Disconnect ``receiver`` during a ``with`` block.

        At the end of the block its connections are restored, in the same places. It
        affects all threads. It also decorates functions, async or not: each call is a
        block.

        :param receiver: A receiver; one that is not connected is not an error.
        :param sender: As for :meth:`disconnect`.

        .. versionadded:: 0.1
        """
        sender = sender if sender is ANY else resolved(sender)
        return DisconnectedBlock(self.table, receiver, sender)

    def disconnect(
        self,
        receiver: Receiver | None = None,
        sender: Any = ANY,
        *,
        dispatch_uid: Hashable = None,
    ) -> bool:
        """Disconnect ``receiver`` from ``sender``, or from all senders.

        :param receiver: A receiver; one that is not connected is not an error.
        :param sender: The sender given to :meth:`connect`. :data:`ANY` disconnects
            from every sender.
        :param dispatch_uid: The uid given to :meth:`connect`; the receiver need not
            be given then.
        :returns: ``True`` if anything was disconnected.
        :raises ReceiverError: If neither a receiver nor a uid is given.

        .. versionadded:: 0.1
        """
        table = self.table
        is_function = type(receiver) is FunctionType and dispatch_uid is None
        key = id(receiver) if is_function else key_of(receiver, dispatch_uid)
        if sender is not ANY:
            sender = resolved(sender)
        if sender is ANY:
            is_disconnected = table.take_from_any(key)
        else:
            is_disconnected = table.run_pair(table.take_all, key, sender) or False
        if not is_disconnected and is_function:
            # Some functions are made for a method at each access: an id does not do.
            key = key_of(receiver, None)
            is_disconnected = table.run_pair(table.take_all, key, sender) or False
        if table.has_names and dispatch_uid is None:
            uid = uid_key(uid_by_name(receiver))
            is_disconnected |= table.run(table.take_named, uid, key, sender) or False
        if is_disconnected and table.disconnected is not None:
            table.disconnected.send(self, receiver=receiver, sender=sender)
        return is_disconnected

    def disconnect_all(self) -> int:
        """Disconnect every receiver from every sender, for instance in a test.

        ``receiver_disconnected`` is not sent.

        :returns: How many connections there were.

        .. versionadded:: 0.1
        """
        return self.table.run(self.table.clear) or 0

    def muted(self) -> Muted:
        """Call no receiver during a ``with`` block, in this context.

        Other threads and tasks still send. Blocks nest. A thread or task that is
        started in the block, with a copy of its context, is muted until the block ends.
        It also decorates functions, async or not: each call is a block.

        .. versionadded:: 0.1
        """
        return Muted(self.table)

    def held(self) -> Held:
        """Delay the sends of a ``with`` block until its end, in this context.

        When the block ends, they are sent in order. If the block raises, they are
        dropped. A waiting send returns an empty list. Blocks nest: at the end of an
        inner block, its sends wait for the end of the outer one. For :meth:`send_async`
        write ``async with``. It also decorates functions, async or not: each call is a
        block.

        .. versionadded:: 0.1
        """
        return Held(self.table)

    def send(  # noqa: C901, PLR0912  # the loop of nearly every send, without a call
        self,
        sender: Any | None = None,
        /,
        *,
        _async_wrapper: AsyncWrapper | None = None,
        **payload: Any,
    ) -> list[tuple[Receiver, Any]]:
        """Call every receiver that is connected to ``sender`` or to :data:`ANY`.

        Each receiver is called once, in the order of connection, in the thread and
        context of the caller. The receivers are those that are connected when the send
        begins. If a receiver is disconnected or freed before its turn, it is skipped.

        :param sender: The sender, by position.
        :param _async_wrapper: Converts an async receiver into a function, for instance
            :meth:`flask.Flask.ensure_sync`.
        :param payload: The keywords that the receivers get.
        :returns: Each receiver with its return value.
        :raises AsyncReceiverError: If a receiver is async and there is no
            ``_async_wrapper``; no receiver has been called then.
        :raises PayloadError: If the signal declares its payload, a receiver is
            connected, and other names are sent.
        :raises Exception: Any exception of a receiver, with a note that names signal
            and receiver. Receivers after it are not called.

        .. versionadded:: 0.1
        """
        if payload and sender is None and "sender" in payload:
            self._refuse_sender_by_name()
        routes = self._routes
        connections = routes.plain
        if routes.by_id:
            own = routes.by_id.get(id(sender))
            if own is not None:
                connections = own.plain if own.base is routes.rest else None
            elif type(sender) not in PLAIN_TYPES:
                connections = None
        if connections is None:
            if self._is_stopped(
                self.send, sender, payload, _async_wrapper=_async_wrapper
            ):
                return []
            route = self._checked_route(sender, payload)
            return deliver(
                Dispatch(self, self.table, sender, payload, _async_wrapper), route
            )
        if not connections:
            return []
        # The code of deliver() for a plain route is repeated here, twice: one more call
        # would be half of the cost of a send to one receiver, and passing on an empty
        # payload takes a third of it (docs/performance.rst).
        results: list[tuple[Receiver, Any]] = []
        receiver: Any = None
        try:
            if payload:
                for connection in connections:
                    receiver = connection()
                    if receiver is None:
                        continue
                    function = connection.function
                    if function is not None:
                        if function is DISCONNECTED:
                            continue
                        receiver = MethodType(function, receiver)
                    results.append((receiver, receiver(sender, **payload)))
            else:
                for connection in connections:
                    receiver = connection()
                    if receiver is None:
                        continue
                    function = connection.function
                    if function is not None:
                        if function is DISCONNECTED:
                            continue
                        receiver = MethodType(function, receiver)
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
        """Call every receiver as :meth:`send` does, even if some of them raise.

        The logger ``signalpost.signals`` logs each failure with its traceback. Only an
        :exc:`Exception` is caught. ``KeyboardInterrupt``, ``SystemExit`` and similar
        exceptions propagate, and so do exceptions of a receiver that is connected with
        ``strict=True``.

        :param sender: The sender, by position.
        :param _async_wrapper: As for :meth:`send`; without it an async receiver
            counts as failed.
        :param payload: The keywords that the receivers get.
        :returns: An :class:`Outcome` for each receiver.
        :raises PayloadError: As for :meth:`send`.

        .. versionadded:: 0.1
        """
        if self._is_stopped(
            self.send_robust, sender, payload, _async_wrapper=_async_wrapper
        ):
            return []
        route = self._checked_route(sender, payload)
        dispatch = Dispatch(self, self.table, sender, payload, _async_wrapper)
        results, _ = deliver_isolated(
            route, self, sender, payload, dispatch, log_failure
        )
        return outcomes(results)

    def send_isolated(
        self,
        sender: Any,
        payload: dict[str, Any],
        async_wrapper: Callable[[], AsyncWrapper | None] | None = None,
        through: tuple[type[Exception], ...] = (),
    ) -> int:
        """Call every receiver as :meth:`send_robust` does, at less cost.

        For this package, which sends while it serves requests. A receiver that fails
        again and again is logged at its 1st, 10th, 100th … failure of a kind only.

        :param sender: The sender.
        :param payload: The keywords that the receivers get; as declared, if it is.
        :param async_wrapper: Returns what :meth:`send_robust` takes, if it is needed.
        :param through: The exceptions that are not failures of a receiver: they
            propagate, and the receivers after it are not called.
        :returns: How many receivers raised an :exc:`Exception`.
        """
        # As in send(): most senders have a cached route.
        routes = self._routes
        route = routes.rest
        if routes.by_id:
            own = routes.by_id.get(id(sender))
            if own is not None:
                route = own if own.base is route else None
            elif type(sender) not in PLAIN_TYPES:
                route = None
        if route is None or not route.is_direct or logging_now:
            return self._deliver_isolated(
                route, sender, payload, async_wrapper, through
            )
        # The code of deliver_isolated() for a direct route, without the results and
        # without a call: nearly each signal of a request is sent here.
        failures = 0
        for connection in route.connections:
            receiver: Any = connection()
            function = connection.function
            if receiver is None or function is DISCONNECTED:
                continue
            if function is not None:
                receiver = MethodType(function, receiver)
            try:
                connection.call(receiver, sender, payload)
            except Exception as error:
                if issubclass(type(error), through):
                    add_note(error, self, receiver)
                    raise
                log_first_failures(self, connection, receiver, error)
                failures += 1
        return failures

    def _deliver_isolated(
        self,
        route: Route | None,
        sender: Any,
        payload: dict[str, Any],
        async_wrapper: Callable[[], AsyncWrapper | None] | None,
        through: tuple[type[Exception], ...],
    ) -> int:
        if route is None:
            again = partial(self._send_isolated, async_wrapper, through)
            if self._is_stopped(again, sender, payload):
                return 0
            route = self.table.route_for(sender)
        wrapper = None
        if async_wrapper is not None and not route.is_direct:
            wrapper = async_wrapper()
        dispatch = Dispatch(self, self.table, sender, payload, wrapper)
        return deliver_isolated(
            route, self, sender, payload, dispatch, log_first_failures, through
        )[1]

    def _send_isolated(
        self,
        async_wrapper: Callable[[], AsyncWrapper | None] | None,
        through: tuple[type[Exception], ...],
        sender: Any,
        /,
        **payload: Any,
    ) -> int:
        return self.send_isolated(sender, payload, async_wrapper, through)

    async def send_async(
        self,
        sender: Any | None = None,
        /,
        *,
        _sync_wrapper: AsyncWrapper | None = None,
        _gather: Gather | None = None,
        **payload: Any,
    ) -> list[tuple[Receiver, Any]]:
        """Call every receiver in order, and await those results that can be awaited.

        The receivers run one after the other, in the running event loop, or at the same
        time if ``_gather`` is given.

        :param sender: The sender, by position.
        :param _sync_wrapper: Converts a receiver that is not async into an async
            function, for instance one that runs it in a thread.
        :param _gather: An async function that runs the coroutines it is given at
            the same time and returns their results in order, such as
            :func:`asyncio.gather`. The receivers are those of the beginning; they
            start in order.
        :param payload: The keywords that the receivers get.
        :returns: Each receiver with what it returned.
        :raises PayloadError: As for :meth:`send`.
        :raises Exception: As for :meth:`send`, or as ``_gather`` does.

        .. versionadded:: 0.1
        """
        wrappers = {"_sync_wrapper": _sync_wrapper, "_gather": _gather}
        if self._is_stopped(self.send_async, sender, payload, **wrappers):
            return []
        dispatch = Dispatch(self, self.table, sender, payload, _sync_wrapper)
        route = self._checked_route(sender, payload)
        return await deliver_async(dispatch, route, _gather, None)

    async def send_robust_async(
        self,
        sender: Any | None = None,
        /,
        *,
        _sync_wrapper: AsyncWrapper | None = None,
        _gather: Gather | None = None,
        **payload: Any,
    ) -> list[Outcome]:
        """Call every receiver as :meth:`send_async` does, even if some of them raise.

        Failures are logged and returned as by :meth:`send_robust`; a cancellation
        propagates.

        :param sender: As for :meth:`send_async`, and so are the others.
        :returns: An :class:`Outcome` for each receiver.
        :raises PayloadError: As for :meth:`send`.

        .. versionadded:: 0.1
        """
        wrappers = {"_sync_wrapper": _sync_wrapper, "_gather": _gather}
        if self._is_stopped(self.send_robust_async, sender, payload, **wrappers):
            return []
        dispatch = Dispatch(self, self.table, sender, payload, _sync_wrapper)
        route = self._checked_route(sender, payload)
        return outcomes(await deliver_async(dispatch, route, _gather, log_failure))

    def has_receivers_for(self, sender: Any) -> bool:
        """Return whether a receiver would be called for ``sender``.

        :param sender: A sender; for :data:`ANY`, whether a receiver is connected to it.
        """
        return self.table.reaches(sender)

    def receivers_for(self, sender: Any) -> Generator[Receiver]:
        """Yield the receivers that a send by ``sender`` would call, in order.

        :param sender: A sender; for :data:`ANY`, those that are connected to it.
        """
        for _, receiver in self.table.route_for(sender).receivers():
            yield receiver

    # blinker's own tests look at these two.

    @property
    def _by_sender(self) -> Mapping[Hashable, Sized]:
        return self.table.by_sender

    @property
    def _by_receiver(self) -> Mapping[Hashable, Sized]:
        return self.table.by_receiver

    def _clear_state(self) -> None:
        """Disconnect every receiver from every sender. For tests; as in blinker."""
        self.table.run(self.table.clear)

    def _cleanup_bookkeeping(self) -> None:
        """Do nothing that is not done anyway; blinker's users call it."""
        self.table.run_waiting()

    def describe(self, doc: str | None, declared: frozenset[str] | None) -> None:
        """Document the signal and declare its payload, if that was not done before.

        :raises PayloadError: If other names are declared already, or a connected
            receiver takes a name that is not declared.
        """
        check_doc(doc)
        if declared is not None:
            self.table.run_now(declare, self.table, declared)
        # Not by __dict__: to look at it makes every attribute slower from then on.
        if doc and self.__doc__ is type(self).__doc__:
            self.__doc__ = doc

    def _checked_route(self, sender: Any, payload: dict[str, Any]) -> Route:
        """Return the route to send along, for a payload that is as declared."""
        if sender is None and "sender" in payload:
            self._refuse_sender_by_name()
        table = self.table
        route = table.route_for(sender)
        if table.declared is not None and route.connections:
            check_sent(payload, table.declared, self)
        return route

    def _is_stopped(
        self,
        send: Callable[..., Any],
        sender: Any,
        payload: dict[str, Any],
        **options: Any,
    ) -> bool:
        """Return whether a block delays a send, or drops it."""
        table = self.table
        if not table.open_blocks:
            return False
        if is_muted(table):
            return True
        block = held_block(table)
        if block is None:
            return False
        if sender is None and "sender" in payload:
            self._refuse_sender_by_name()
        if table.declared is not None:
            check_sent(payload, table.declared, self)
        is_async = "_gather" in options
        block.add(partial(send, sender, **options, **payload), is_async=is_async)
        return True

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


def _signal_of(
    table: FastTable, event: t.Literal["connected", "disconnected"]
) -> Signal:
    """Return the signal about connecting or disconnecting, made on first use."""
    found = getattr(table, event)
    if found is None:
        found = Signal(f"Sent after a receiver was {event}.")
        setattr(table, event, found)
    return t.cast("Signal", found)
