"""Connections, routes, and the ways in which a payload travels along a route.

A *route* is the immutable, ordered tuple of the connections that one sender's
payload goes to. A send reads it once; whatever is connected meanwhile builds a new
one.
"""

from __future__ import annotations

import functools
import inspect
import logging
import weakref
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Hashable
from collections.abc import Iterable
from dataclasses import dataclass
from inspect import CO_COROUTINE
from types import FunctionType
from types import MethodType
from typing import Any

from ..errors import AsyncReceiverError
from ..errors import ReceiverError
from .identity import describe

Receiver = Callable[..., Any]
AsyncWrapper = Callable[[Receiver], Receiver]

_log = logging.getLogger("signalpost.signals")


class Connection(weakref.ref[Any]):
    """One receiver connected to one sender, or to any.

    It *is* the weak reference to the receiver (for a bound method, to its
    instance), so that a send follows one pointer to find out who is still there.
    """

    __slots__ = (
        "function",
        "held",
        "is_alive",
        "is_async",
        "key",
        "names",
        "order",
        "place",
        "sender",
    )

    key: Hashable
    """The receiver's identity."""
    sender: Hashable
    """The sender's identity, or ``ANY``."""
    order: int
    """The place in connection order."""
    function: Receiver | None
    """The function of a bound method, whose instance is referred to."""
    held: Receiver | None
    """The receiver itself while the connection is strong."""
    is_alive: bool
    """False as soon as it is disconnected, for sends that are on their way."""
    is_async: bool
    """Whether calling the receiver gives something to await."""
    names: tuple[str, ...] | None
    """The payload names that the receiver takes; ``None`` for all of them."""
    place: str | None
    """Where it was connected, in development mode."""

    # Identity, as for any object: a reference would hash and compare its receiver.
    __hash__ = object.__hash__
    __eq__ = object.__eq__

    def receiver(self) -> Receiver | None:
        """Return the receiver, or ``None`` once it is gone."""
        found = self()
        if found is None or self.function is None:
            return found
        return MethodType(self.function, found)


class HeldConnection(Connection):
    """A strong connection to a receiver that cannot be weakly referenced."""

    __slots__ = ()

    def __call__(self) -> Any:
        return self.held


class Overlap(Connection):
    """The connections to ANY and to a sender of one receiver, run as one.

    Only in routes. It is alive as long as one of them is.
    """

    __slots__ = ("others",)

    others: tuple[Connection, ...]
    """The connections, the one that decides the place first."""

    def __call__(self) -> Any:
        return self.others[0]()

    @property
    def is_alive(self) -> bool:  # type: ignore[override]  # a slot there
        return any(connection.is_alive for connection in self.others)


def connection_to(
    receiver: Receiver, *, weak: bool, callback: Callable[[weakref.ref[Any]], None]
) -> Connection:
    """Return a connection that is not in any table yet.

    :param callback: Called with the connection when its receiver has died.
    :raises ReceiverError: If ``weak`` and the receiver cannot be weakly referenced.
    """
    target: Any = receiver
    function = None
    if type(receiver) is MethodType:
        target = receiver.__self__
        function = receiver.__func__
    try:
        connection = Connection(target, callback)
    except TypeError:
        if weak:
            raise ReceiverError(
                f"receiver {describe(receiver)} cannot be weakly referenced; connect"
                " it with weak=False and disconnect it when it has done its work",
                receiver,
            ) from None
        connection = HeldConnection(HeldConnection)
        function = None
    connection.function = function
    connection.held = None if weak else receiver
    connection.is_alive = True
    connection.is_async = is_async_receiver(receiver)
    connection.names = None
    connection.place = None
    return connection


def is_async_receiver(receiver: Receiver) -> bool:
    """Tell whether calling ``receiver`` gives something to await.

    Sees through bound methods, partials, ``functools.wraps`` and async
    ``__call__`` methods.

    :raises ReceiverError: For an async generator function, whose body would never
        run.
    """
    function: Any = receiver.__func__ if type(receiver) is MethodType else receiver
    if (
        type(function) is FunctionType
        and not function.__code__.co_flags & _ASYNC
        and not hasattr(function, "__wrapped__")
    ):
        # inspect.iscoroutinefunction takes longer than all else in connect; the
        # mark is what inspect.markcoroutinefunction leaves.
        return hasattr(function, "_is_coroutine_marker")
    function = _innermost(function)
    if inspect.isasyncgenfunction(function):
        raise ReceiverError(
            f"receiver {describe(receiver)} is an async generator function, whose"
            " body would never run; connect a coroutine function without yield",
            receiver,
        )
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        receiver
    )


_ASYNC = CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


def _innermost(function: Any) -> Any:
    """Return the function that a call ends in, as far as it can be told."""
    for _ in range(100):  # no wrapper is deeper; a cycle of __wrapped__ is
        if isinstance(function, type):
            return function
        if isinstance(function, functools.partial):
            function = function.func
        elif type(function) is MethodType:
            function = function.__func__
        elif inspect.iscoroutinefunction(type(function).__call__):
            return type(function).__call__
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif type(type(function).__call__) is FunctionType:
            function = type(function).__call__
        else:
            return function
    return function


def merged(groups: Iterable[Iterable[Connection]]) -> tuple[Connection, ...]:
    """Return the connections of several groups in order, each receiver once."""
    by_key: dict[Hashable, list[Connection]] = {}
    for group in groups:
        for connection in group:
            by_key.setdefault(connection.key, []).append(connection)
    once = [same[0] if len(same) == 1 else _overlap(same) for same in by_key.values()]
    return tuple(sorted(once, key=_by_order))


def _by_order(connection: Connection) -> int:
    return connection.order


def _overlap(same: list[Connection]) -> Connection:
    same.sort(key=_by_order)
    overlap = Overlap(Overlap)
    overlap.others = tuple(same)
    overlap.key = same[0].key
    overlap.order = same[0].order
    overlap.function = same[0].function
    overlap.is_async = same[0].is_async
    overlap.names = same[0].names
    return overlap


class Route:
    """The connections that one sender's payload goes to, and what they need."""

    __slots__ = ("connections", "has_async", "is_plain")

    def __init__(
        self, connections: tuple[Connection, ...], declared: frozenset[str] | None
    ) -> None:
        self.connections = connections
        self.has_async = any(connection.is_async for connection in connections)
        # Plain: each receiver is called with the whole payload, nothing to check.
        self.is_plain = not connections or (declared is None and not self.has_async)

    def turns(self) -> Generator[tuple[Connection, Receiver]]:
        """Yield each connection whose receiver is there when its turn comes."""
        for connection in self.connections:
            receiver = connection.receiver()
            if receiver is not None and connection.is_alive:
                yield connection, receiver


NO_ROUTE = Route((), None)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one receiver in :meth:`Signal.send_robust`.

    An exception that the receiver *returned* is its ``value``.
    """

    receiver: Receiver
    """The receiver that was called."""
    value: Any = None
    """What it returned; ``None`` if it raised."""
    exception: Exception | None = None
    """What it raised, or ``None``."""

    @property
    def failed(self) -> bool:
        """Whether the receiver raised."""
        return self.exception is not None


def deliver(
    route: Route,
    signal: object,
    sender: Any,
    payload: dict[str, Any],
    async_wrapper: AsyncWrapper | None,
) -> list[tuple[Receiver, Any]]:
    """Call the receivers in order and let the first exception through."""
    if route.has_async and async_wrapper is None:
        refuse_async(route, signal)
    results = []
    for connection, receiver in route.turns():
        call = async_wrapper(receiver) if connection.is_async else receiver  # type: ignore[misc]  # refused above
        try:
            value = call(sender, **_read(connection, payload))
        except BaseException as error:
            add_note(error, signal, receiver)
            raise
        results.append((receiver, value))
    return results


def deliver_robustly(
    route: Route,
    signal: object,
    sender: Any,
    payload: dict[str, Any],
    async_wrapper: AsyncWrapper | None,
) -> list[Outcome]:
    """Call every receiver; log those that raise an :exc:`Exception`, and go on."""
    outcomes = []
    for connection, receiver in route.turns():
        try:
            wrapper = async_wrapper or _refusing(signal)
            call = wrapper(receiver) if connection.is_async else receiver
            value = call(sender, **_read(connection, payload))
        except Exception as error:  # noqa: BLE001  # what this function is for
            _log.exception("%r: receiver %s failed", signal, describe(receiver))
            outcomes.append(Outcome(receiver, None, error))
        else:
            outcomes.append(Outcome(receiver, value))
    return outcomes


async def deliver_async(
    route: Route,
    signal: object,
    sender: Any,
    payload: dict[str, Any],
    sync_wrapper: AsyncWrapper | None,
) -> list[tuple[Receiver, Any]]:
    """Await the async receivers and call the others, in order, one at a time."""
    results = []
    for connection, receiver in route.turns():
        is_wrapped = not connection.is_async and sync_wrapper is not None
        call = sync_wrapper(receiver) if is_wrapped else receiver  # type: ignore[misc]  # not None, as said above
        try:
            value = call(sender, **_read(connection, payload))
            # A wrapper of a coroutine function may have run it already.
            if is_wrapped or (connection.is_async and inspect.isawaitable(value)):
                value = await value
        except BaseException as error:
            add_note(error, signal, receiver)
            raise
        results.append((receiver, value))
    return results


def refuse_async(route: Route, signal: object) -> None:
    """Raise if a receiver that is still there is async."""
    for connection, receiver in route.turns():
        if connection.is_async:
            raise _refusal(signal, receiver)


def add_note(error: BaseException, signal: object, receiver: Receiver) -> None:
    """Say in a traceback which signal and receiver an exception came through."""
    note = f"raised by receiver {describe(receiver)} of {signal!r}"
    # An exception object may be raised again and again, as a constant.
    if note not in getattr(error, "__notes__", ()):
        error.add_note(note)


def _read(connection: Connection, payload: dict[str, Any]) -> dict[str, Any]:
    if connection.names is None:
        return payload
    return {name: payload[name] for name in connection.names}


def _refusing(signal: object) -> AsyncWrapper:
    def refuse(receiver: Receiver) -> Receiver:
        raise _refusal(signal, receiver)

    return refuse


def _refusal(signal: object, receiver: Receiver) -> AsyncReceiverError:
    return AsyncReceiverError(
        f"receiver {describe(receiver)} of {signal!r} is async; send with"
        " send_async(), or pass send() an _async_wrapper that runs it",
        signal,
        receiver,
    )
