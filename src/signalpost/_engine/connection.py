"""Connections of a receiver to a sender, and the routes that they make up.

A *route* is the immutable, ordered tuple of the connections that one sender's
payload goes to. A send reads it once; whatever is connected meanwhile builds a new
one.
"""

from __future__ import annotations

import functools
import inspect
import sys
import typing as t
import weakref
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Hashable
from collections.abc import Iterable
from inspect import CO_COROUTINE
from reprlib import repr as short_repr
from types import CodeType
from types import FunctionType
from types import MethodType
from typing import Any
from typing import Protocol

from ..errors import ReceiverError
from .identity import describe
from .identity import receiver_key
from .identity import Symbol
from .payload import passing

Receiver = Callable[..., Any]

Call = Callable[[Receiver, Any, dict[str, Any]], Any]
"""Calls a receiver with a sender, and what it reads of a payload."""

_ASYNC = CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_HAS_MARKS = sys.version_info >= (3, 12)  # inspect.markcoroutinefunction


def disconnected(*_: object, **__: object) -> None:
    """Stand for the function of a connection that is no longer one."""


class Options:
    """What was asked for beyond receiver, sender and weakness. Few connections have it.

    :param priority: Higher runs first.
    :param once: Whether to disconnect before the first call.
    :param subclasses: Whether the sender, a class, stands for its subclasses too.
    :param passes_signal: Whether the receiver is told which signal it hears.
    """

    __slots__ = ("claims", "passes_signal", "priority", "subclasses")

    def __init__(
        self,
        *,
        priority: int = 0,
        once: bool = False,
        subclasses: bool = False,
        passes_signal: bool = False,
    ) -> None:
        self.priority = priority
        # Popping is one step: of two threads that send, one gets the only claim.
        self.claims: list[None] | None = [None] if once else None
        self.subclasses = subclasses
        self.passes_signal = passes_signal


class Connection(weakref.ref[Any]):
    """One receiver connected to one sender, or to any.

    It *is* the weak reference to the receiver (for a bound method, to its
    instance), so that a send follows one pointer to find out who is still there.
    """

    __slots__ = (
        "calls",
        "code",
        "failures",
        "held",
        "instruction",
        "is_async",
        "key",
        "names",
        "options",
        "order",
        "sender",
        "via",
    )

    key: Hashable
    """The receiver's identity."""
    sender: Hashable
    """The sender's identity, or ``ANY``."""
    order: int
    """The place in connection order."""
    via: Receiver | None
    """``None`` if the receiver is what is referred to; the function of a bound method
    whose instance that is; :func:`disconnected` as soon as it is. One attribute tells
    all three, as a send looks at it for every receiver."""
    held: Receiver | None
    """The receiver itself while the connection is strong."""
    is_async: bool
    """Whether calling the receiver gives something to await."""
    names: tuple[str, ...] | None
    """The payload names that the receiver takes; ``None`` for all of them."""
    options: Options | None
    """What was asked for beyond that; ``None`` for nothing."""
    code: CodeType | None
    """The code that connected it, and with ``instruction`` the place in it."""
    instruction: int
    """The offset of the call, in bytes."""
    calls: int
    """How often the receiver was called while observed; not set before."""
    failures: dict[type[Exception], int]
    """How often it raised what, where not each failure is logged; not set before."""

    # Identity, as for any object: a reference would hash and compare its receiver.
    __hash__ = object.__hash__
    __eq__ = object.__eq__

    @property
    def is_alive(self) -> bool:
        """Whether it is connected still, for sends that are on their way."""
        return self.via is not disconnected

    def receiver(self) -> Receiver | None:
        """Return the receiver, or ``None`` once it is gone or disconnected."""
        found, via = self(), self.via
        if found is None or via is None:
            return found
        return None if via is disconnected else MethodType(via, found)

    def receiver_and_key(self) -> Hashable:
        """Return what is the same for connections that make up one call."""
        key = self.key
        if type(key) is not tuple or type(key[0]) is not Symbol:
            return key
        if key[0].name == "block":
            return t.cast("Hashable", key[1])
        # A dispatch_uid may stand for another receiver with another sender.
        return key, receiver_key(self.receiver())

    def names_other_receiver(self, other: Connection) -> bool:
        """Tell whether the same ``dispatch_uid`` stands for another receiver here."""
        return receiver_key(self.receiver()) != receiver_key(other.receiver())

    @property
    def is_once(self) -> bool:
        """Whether it is to be called only once."""
        options = self.options  # once, as a finaliser may replace it
        return options is not None and options.claims is not None

    def claim(self) -> bool:
        """Tell whether the receiver is the caller's to call, once or at all."""
        options = self.options  # once, as a finaliser may replace it
        if options is None or options.claims is None:
            return True
        try:
            options.claims.pop()
        except IndexError:
            return False
        return True


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
    def via(self) -> Receiver | None:  # type: ignore[override]  # a slot there
        for connection in self.others:
            if connection.via is not disconnected:
                return connection.via
        return disconnected

    @property
    def is_once(self) -> bool:
        """Whether one of them is to be called only once."""
        return any(connection.is_once for connection in self.others)

    def claim(self) -> bool:
        """Claim each that is alive: the one call is for all of them."""
        claimed = [one.claim() for one in self.others if one.is_alive]
        return any(claimed)


def connection_to(
    receiver: Receiver,
    weak: bool,  # noqa: FBT001  # private, and on a path that is measured
    callback: Callable[[weakref.ref[Any]], None] | None,
) -> Connection:
    """Return a connection that is not in any table yet.

    :param callback: Called with the connection when its receiver has died, if given.
    :raises ReceiverError: If ``receiver`` cannot be called, is an async generator
        function, or cannot be weakly referenced and ``weak`` is asked for.
    """
    if type(receiver) is FunctionType:
        # Nearly every receiver is a function, so this is written out.
        connection = Connection(receiver, callback)
        connection.key = id(receiver)
        connection.via = None
        connection.is_async = may_be_async(receiver) and is_async_receiver(receiver)
    else:
        connection = _connection_to_object(receiver, weak, callback)
    connection.held = None if weak else receiver
    connection.names = None
    connection.options = None
    connection.code = None
    return connection


def may_be_async(function: Any) -> bool:
    """Tell whether a function is worth a closer look, which takes its time."""
    return bool(
        function.__code__.co_flags & _ASYNC
        or hasattr(function, "__wrapped__")
        or (_HAS_MARKS and hasattr(function, "_is_coroutine_marker"))
    )


def _connection_to_object(
    receiver: Receiver,
    weak: bool,  # noqa: FBT001  # as above
    callback: Callable[[weakref.ref[Any]], None] | None,
) -> Connection:
    if not callable(receiver):
        raise ReceiverError(
            f"receiver must be callable, got {short_repr(receiver)}; pass the function"
            " itself, not its result",
            receiver,
        )
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
    connection.key = receiver_key(receiver)
    connection.via = function
    connection.is_async = (
        type(function) is not FunctionType or may_be_async(function)
    ) and is_async_receiver(receiver)
    return connection


def is_async_receiver(receiver: Receiver) -> bool:
    """Tell whether calling ``receiver`` gives something to await.

    Sees through bound methods, partials, ``functools.wraps`` and async
    ``__call__`` methods.

    :raises ReceiverError: For an async generator function, whose body would never
        run.
    """
    function = _innermost(receiver)
    if inspect.isasyncgenfunction(function):
        raise ReceiverError(
            f"receiver {describe(receiver)} is an async generator function, whose"
            " body would never run; connect a coroutine function without yield",
            receiver,
        )
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        receiver
    )


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
            by_key.setdefault(connection.receiver_and_key(), []).append(connection)
    once = [same[0] if len(same) == 1 else _overlap(same) for same in by_key.values()]
    return tuple(sorted(once, key=by_order))


def by_order(connection: Connection) -> tuple[int, int]:
    """Return the place of a connection, to sort by."""
    options = connection.options
    return (0 if options is None else -options.priority, connection.order)


def _overlap(same: list[Connection]) -> Connection:
    same.sort(key=by_order)
    overlap = Overlap(Overlap)
    overlap.others = tuple(same)
    overlap.key = same[0].key
    overlap.order = same[0].order
    overlap.is_async = same[0].is_async
    overlap.names = same[0].names
    overlap.options = same[0].options
    return overlap


class Claims(Protocol):
    """Who settles whether a connection that is for one call is still to be had."""

    def _claim(self, connection: Connection) -> bool: ...


class Route:
    """The connections that one sender's payload goes to, and what they need."""

    __slots__ = (
        "calls",
        "connections",
        "has_async",
        "has_once",
        "has_options",
        "is_plain",
        "is_simple",
    )

    def __init__(
        self, connections: tuple[Connection, ...], declared: frozenset[str] | None
    ) -> None:
        self.connections = connections
        self.calls: tuple[tuple[Connection, Call], ...] = ()
        self.has_async = any(connection.is_async for connection in connections)
        self.has_once = any(connection.is_once for connection in connections)
        self.has_options = any(
            connection.is_once or connection.options is not None
            for connection in connections
        )
        passes_signal = any(
            connection.options is not None and connection.options.passes_signal
            for connection in connections
        )
        # Simple: each receiver gets the payload as it is. Plain: and none is async.
        self.is_simple = not connections or (
            declared is None and not self.has_once and not passes_signal
        )
        self.is_plain = self.is_simple and not self.has_async

    def make_calls(self) -> tuple[tuple[Connection, Call], ...]:
        """Return each connection with what calls its receiver; make it, and keep it."""
        self.calls = tuple((one, passing(one.names)) for one in self.connections)
        return self.calls

    def turns(self, claims: Claims) -> Generator[tuple[Connection, Receiver]]:
        """Yield each connection whose receiver is there when its turn comes."""
        for connection in self.connections:
            receiver = connection.receiver()
            if receiver is None:
                continue
            if not self.has_once or claims._claim(connection):
                yield connection, receiver

    def receivers(self) -> Generator[tuple[Connection, Receiver]]:
        """Yield each connection whose receiver is there, and claim none."""
        for connection in self.connections:
            receiver = connection.receiver()
            if receiver is not None:
                yield connection, receiver


NO_ROUTE = Route((), None)
