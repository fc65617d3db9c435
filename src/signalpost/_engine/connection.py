"""Connections of a receiver to a sender."""

from __future__ import annotations

import typing as t
import weakref
from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Mapping
from reprlib import repr as short_repr
from types import CodeType
from types import MethodType
from typing import Any

from ..errors import ReceiverError
from .asyncness import is_async_receiver
from .identity import bound_parts
from .identity import describe
from .identity import receiver_key
from .identity import Symbol
from .payload import Call
from .payload import call_with
from .payload import names_read

Receiver = Callable[..., Any]
Predicate = Callable[..., object]

UID: t.Final = Symbol("dispatch_uid")
"""Marks keys that are made of a ``dispatch_uid``."""

NAMESPACE: t.Final = Symbol("namespace")
"""Marks keys of receivers that are connected to a whole namespace."""

BLOCK: t.Final = Symbol("block")
"""Marks keys of a block whose receiver is also connected for one call."""


def DISCONNECTED(*_: object, **__: object) -> None:  # noqa: N802  # a constant
    """Take the place of the function of a connection that has ended."""


class Condition(t.NamedTuple):
    """A predicate, with the function that calls it with the names that it reads."""

    predicate: Predicate
    call: Call


class Options(t.NamedTuple):
    """The options of a connection, beyond receiver, sender and weakness."""

    priority: float = 0
    """Higher runs first."""
    once: bool = False
    """``True`` if the connection ends before its first call."""
    subclasses: bool = False
    """``True`` if the sender is a class, and the subclasses are senders, too."""
    strict: bool = False
    """``True`` if isolated sends raise the receiver's exceptions."""
    when: tuple[Condition, ...] = ()
    """Conditions, one of which must be true; empty for every send."""
    passes_signal: bool = False
    """``True`` if the receiver gets the signal, as those of a namespace do."""

    def widened(self, other: Options) -> Options:
        """Return the options after connecting again: nothing is taken away."""
        is_always = not self.when or not other.when
        return self._replace(
            once=self.once and other.once,
            subclasses=self.subclasses or other.subclasses,
            strict=self.strict or other.strict,
            when=() if is_always else tuple({*self.when, *other.when}),
        )


DEFAULT_OPTIONS: t.Final = Options()


class Statistics:
    """The counts of a connection's calls."""

    __slots__ = ("calls", "failures")

    calls: int
    """The number of calls of the receiver while it was observed."""
    failures: dict[type[Exception], int]
    """The number of failures by kind, where not each failure is logged."""

    def __init__(self) -> None:
        self.calls = 0
        self.failures = {}


class Connection(weakref.ref[Any]):
    """One receiver connected to one sender, or to any.

    It *is* the weak reference to the receiver (for a bound method, to its
    instance), so that a send follows one pointer to find the receiver.
    """

    __slots__ = (
        "block_count",
        "call",
        "code",
        "function",
        "instruction",
        "is_async",
        "key",
        "options",
        "order",
        "sender",
        "statistics",
        "strong",
        "was_sent",
    )

    key: Hashable
    """The receiver's identity."""
    sender: Hashable
    """The sender's identity, or ``ANY``."""
    order: int
    """The place in connection order."""
    function: Receiver | None
    """``None`` if this refers to the receiver; a bound method's function, if it refers
    to the instance; :func:`DISCONNECTED` once the connection has ended. One attribute
    has all three, as a send reads it for every receiver."""
    strong: Receiver | None
    """The receiver itself while the connection is strong."""
    is_async: bool
    """``True`` if calling the receiver gives something to await."""
    call: Call
    """Calls the receiver with the names of the payload that it takes."""
    options: Options
    """The other options of ``connect``."""
    block_count: int
    """The number of ``with`` blocks that need it; 0 if it is permanent."""
    code: CodeType | None
    """The code that connected it, and with ``instruction`` the place in it."""
    instruction: int
    """The offset of the call, in bytes."""
    statistics: Statistics | None
    """The counts of its calls; ``None`` before the first."""
    was_sent: bool
    """``True`` if the sender has sent the signal since it was connected."""

    # By identity, as any object: a reference would hash and compare its receiver.

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    @property
    def parts(self) -> tuple[Connection, ...]:
        """The connections that make up one call in a route: itself."""
        return (self,)

    @property
    def is_connected(self) -> bool:
        """``True`` if it has not ended, for sends that are on their way."""
        return self.function is not DISCONNECTED

    def receiver(self) -> Receiver | None:
        """Return the receiver, or ``None`` once it is gone or disconnected."""
        found, function = self(), self.function
        if found is None or function is None:
            return found
        return None if function is DISCONNECTED else MethodType(function, found)

    def call_key(self) -> Hashable:
        """Return a key that the connections of one call share."""
        key = self.key
        if type(key) is not tuple or type(key[0]) is not Symbol:
            return key
        if key[0] is UID:
            # Another sender may have another receiver by this uid.
            return key, receiver_key(self.receiver())
        return t.cast("Hashable", key[1])

    def counts(self) -> Statistics:
        """Return the counts, made on first use."""
        if self.statistics is None:
            self.statistics = Statistics()
        return self.statistics


class HeldConnection(Connection):
    """A strong connection to a receiver that cannot be weakly referenced."""

    __slots__ = ()

    def __call__(self) -> Any:
        return self.strong


class MergedConnection(Connection):
    """Several connections of one receiver that make up one call. Only in routes."""

    __slots__ = ("_parts",)

    def __init__(self, _: object, parts: tuple[Connection, ...]) -> None:
        self._parts = parts
        first = parts[0]
        self.key, self.order = first.key, first.order
        self.is_async = first.is_async
        options = [part.options for part in parts]
        passes_signal = any(one.passes_signal for one in options)
        self.options = first.options._replace(
            once=any(one.once for one in options),
            strict=any(one.strict for one in options),
            when=sum((one.when for one in options), ()),
            passes_signal=passes_signal,
        )
        # With the signal, if one of them is connected to a namespace.
        named = [one for one in parts if one.options.passes_signal or not passes_signal]
        self.call = named[0].call

    def __new__(cls, target: object, _: object) -> MergedConnection:
        """Create a reference; a weak reference needs an existing object."""
        return super().__new__(cls, target)

    def __call__(self) -> Any:
        return self._parts[0]()

    @property
    def parts(self) -> tuple[Connection, ...]:
        """The connections, the one that decides the place first."""
        return self._parts

    @property
    def function(self) -> Receiver | None:  # type: ignore[override]  # a slot there
        """The function of the first that has not ended."""
        for part in self._parts:
            if part.is_connected:
                return part.function
        return DISCONNECTED


def fitted(
    receiver: Receiver, options: Options, declared: frozenset[str], signal: object
) -> tuple[Options, Call]:
    """Return the options and the caller of a receiver, for a declared payload.

    :raises PayloadError: If the receiver or a predicate takes another name.
    """
    if options.when:
        conditions = [
            one._replace(call=call_with(names_read(one.predicate, declared, signal)))
            for one in options.when
        ]
        options = options._replace(when=tuple(conditions))
    if options.passes_signal:
        declared |= {"signal"}
    return options, call_with(names_read(receiver, declared, signal))


def merge(parts: list[Connection]) -> Connection:
    """Return one connection for several of the same receiver."""
    if len(parts) == 1:
        return parts[0]
    return MergedConnection(MergedConnection, tuple(sorted(parts, key=by_order)))


def by_order(connection: Connection) -> tuple[float, int]:
    """Return the place of a connection, to sort by."""
    return -connection.options.priority, connection.order


def uid_key(dispatch_uid: Hashable) -> Hashable:
    """Return the key of a receiver that is identified by a uid.

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


def uid_by_name(receiver: Any) -> str | None:
    """Return a uid that stays the same when the function's module is loaded again.

    :returns: ``None`` if the receiver has no name.
    """
    module = getattr(receiver, "__module__", None)
    name = getattr(receiver, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str):
        return None
    if name.endswith("<lambda>"):
        return None
    return f"{module}:{name}"


def check_callable(receiver: object) -> None:
    """Check that a receiver can be called.

    :raises ReceiverError: If it cannot.
    """
    if not callable(receiver):
        raise ReceiverError(
            f"receiver must be callable, got {short_repr(receiver)};"
            f" {_advice_for(receiver)}",
            receiver,
        )


def _advice_for(receiver: object) -> str:
    """Return what to connect instead of an object that cannot be called."""
    kind = type(receiver)
    methods = getattr(kind, "signals", None)
    if isinstance(methods, Mapping) and methods:
        each = " and ".join(f".{name} to {signal}" for signal, name in methods.items())
        return f"connect its methods: {each}"
    connects_itself = hasattr(kind, "connect") and hasattr(kind, "disconnect")
    if connects_itself and not hasattr(kind, "send"):  # which a signal has
        return "it connects itself: call its method connect"
    return "pass the function itself, not its result"


def connection_to_object(
    receiver: Receiver,
    weak: bool,  # noqa: FBT001  # as connect passes it
    callback: Callable[[weakref.ref[Any]], None] | None,
) -> Connection:
    """Return a connection of something else than a plain function.

    With ``key``, ``function`` and ``is_async``; the caller sets the rest.

    :param callback: Called with the connection when its receiver has died, if given.
    :raises ReceiverError: If ``receiver`` cannot be called, is an async generator
        function, or cannot be weakly referenced although ``weak`` is true.
    """
    check_callable(receiver)
    if type(receiver) is staticmethod:
        # It cannot be weakly referenced, and keeps its function.
        receiver = receiver.__func__
    target: Any = receiver
    function: Any = None
    if type(receiver) is MethodType:
        target, function = receiver.__self__, receiver.__func__
    elif (parts := bound_parts(receiver)) is not None:
        target, function = parts
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
    connection.function = function
    connection.is_async = is_async_receiver(receiver)
    return connection
