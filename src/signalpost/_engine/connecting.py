"""Connect and disconnect receivers, for a block or permanently."""

from __future__ import annotations

import math
import typing as t
import warnings
from collections.abc import Callable
from collections.abc import Hashable
from reprlib import repr as short_repr
from sys import _getframe
from types import FrameType
from types import FunctionType
from typing import Any
from typing import Self

from ..errors import ProxySenderWarning
from ..errors import ReceiverError
from .asyncness import CO_ASYNC
from .asyncness import is_async_receiver
from .asyncness import MARK
from .blocks import Block
from .cleanup import ReportingCleanup
from .connection import check_callable
from .connection import Condition
from .connection import Connection
from .connection import connection_to_object
from .connection import DEFAULT_OPTIONS
from .connection import fitted
from .connection import Options
from .connection import Predicate
from .connection import Receiver
from .connection import uid_by_name
from .connection import uid_key
from .identity import ANY
from .identity import describe
from .identity import is_proxy
from .identity import receiver_key
from .identity import resolved
from .identity import sender_key
from .identity import Symbol
from .kept import is_lost_unless_kept
from .lifetime import check_not_in_class_body
from .lifetime import CO_OPTIMIZED
from .lifetime import IS_DEVELOPMENT_MODE
from .lifetime import references
from .lifetime import REFERENCES_OF_A_TEMPORARY
from .lifetime import warn_of_loss
from .payload import call_with_all
from .saved import Saved
from .table import Table

F = t.TypeVar("F", bound=Callable[..., Any])

NOT_GIVEN: t.Final = Symbol("NOT_GIVEN")
"""The default for a receiver that a decorator gets later."""


def prepare(  # noqa: PLR0913, PLR0917  # the arguments of connect, without a detour
    table: Table,
    receiver: Receiver,
    sender: Any,
    weak: bool,  # noqa: FBT001  # private, and on a path that is measured
    options: Options,
    frame: FrameType | None,
) -> Connection:
    """Return a connection that is not in the table yet.

    :param frame: The frame that connects; ``None`` if its place is not recorded.
    :raises ReceiverError: If the receiver cannot be one.
    :raises PayloadError: If it does not fit a declared payload.
    """
    cleanup = table.cleanup
    kind = type(receiver)
    if kind is FunctionType and not hasattr(receiver, "__wrapped__"):
        # Nearly every receiver is such a function.
        if IS_DEVELOPMENT_MODE:
            cleanup = ReportingCleanup(table, receiver)
        connection = Connection(receiver, cleanup)
        connection.key = id(receiver)
        connection.function = None
        connection.is_async = False
        if receiver.__code__.co_flags & CO_ASYNC or hasattr(receiver, MARK):
            connection.is_async = is_async_receiver(receiver)
    else:
        connection = connection_to_object(receiver, weak, cleanup)
    if sender is ANY:
        connection.sender = ANY
    else:
        connection.sender = sender_key(sender)
    if table.connection_check is not None:
        table.connection_check(receiver, sender, options)
    connection.strong = None if weak else receiver
    connection.block_count = 0
    connection.statistics = None
    connection.was_sent = False
    connection.options = options
    connection.call = call_with_all
    connection.code = None
    if frame is not None:
        connection.code = code = frame.f_code
        connection.instruction = frame.f_lasti
        if not code.co_flags & CO_OPTIMIZED:  # not that of a function, as most
            check_not_in_class_body(receiver, frame, table.signal())
    if table.declared is not None:
        connection.options, connection.call = fitted(
            receiver, options, table.declared, table.signal()
        )
    return connection


def connect(
    table: Table,
    connection: Connection,
    receiver: Receiver,
    sender: Any,
    weak: bool,  # noqa: FBT001  # as above
) -> None:
    """Put a connection into the table, and send ``receiver_connected``."""
    before = table.run(table.insert, connection, sender)
    if table.connected is not None:
        announce(table, connection, before, receiver, sender, weak)


def announce(  # noqa: PLR0913, PLR0917  # as above
    table: Table,
    connection: Connection,
    before: Saved | None,
    receiver: Receiver,
    sender: Any,
    weak: bool,  # noqa: FBT001  # as above
) -> None:
    """Send ``receiver_connected``; undo the connection if a receiver of it raises."""
    try:
        if table.connected is not None:
            table.connected.send(
                table.signal(), receiver=receiver, sender=sender, weak=weak
            )
    except BaseException:
        table.run(table.undo, connection, before)
        raise


def disconnect(
    table: Table, key: Hashable, receiver: Receiver | None, sender: Any
) -> bool:
    """Remove a receiver's connections, and send ``receiver_disconnected``.

    :returns: Whether there were any.
    """
    is_disconnected = bool(table.run(table.take_all, key, sender))
    if is_disconnected and table.disconnected is not None:
        table.disconnected.send(table.signal(), receiver=receiver, sender=sender)
    return is_disconnected


def real_sender(sender: Any) -> Any:
    """Return the object behind a sender, which may be a proxy."""
    found = resolved(sender)
    if is_proxy(found):
        warnings.warn(
            f"the sender, a {type(sender).__module__}.{type(sender).__qualname__}, is a"
            " proxy that cannot be resolved now, so what its object sends does not"
            " reach the receiver; connect to the object itself",
            ProxySenderWarning,
            stacklevel=3,
        )
    return found


def checked_options(  # noqa: PLR0913  # the options of connect, by keyword
    receiver: object,
    sender: object,
    *,
    once: bool,
    priority: int,
    subclasses: bool,
    when: Predicate | None,
    strict: bool,
) -> Options:
    """Return the options of a connection, after checking them.

    :raises ReceiverError: If it does not fit.
    """
    check_priority(receiver, priority)
    if subclasses and not isinstance(sender, type):
        raise ReceiverError(
            "subclasses=True takes a class as the sender, got"
            f" {short_repr(sender)}; name a class, or leave it out",
            receiver,
        )
    if when is not None and not callable(when):
        raise ReceiverError(
            f"when must be a predicate such as lambda sender, **payload: …, got"
            f" {short_repr(when)}",
            receiver,
        )
    if when is not None and is_async_receiver(when):
        raise ReceiverError(
            f"when must be a predicate that is not async, got {describe(when)}; a send"
            " cannot await it",
            receiver,
        )
    conditions = () if when is None else (Condition(when, call_with_all),)
    return Options(
        priority=priority,
        once=once,
        subclasses=subclasses,
        strict=strict,
        when=conditions,
    )


def check_priority(receiver: object, priority: object) -> None:
    """Check that a priority is a number.

    :raises ReceiverError: If it is not.
    """
    if not isinstance(priority, int) and priority != math.inf:
        raise ReceiverError(
            f"priority must be an int, got {priority!r}; a higher one runs first",
            receiver,
        )


class ConnectedBlock(Block):
    """A block for which a receiver is connected."""

    def __init__(
        self, table: Table, receiver: Receiver, sender: Any, priority: float
    ) -> None:
        self._table = table
        self._receiver = receiver
        self._sender = sender
        check_priority(receiver, priority)
        self._options = Options(priority=priority) if priority else DEFAULT_OPTIONS
        # One for each time that it is open, with the connection that it needs.
        self._needed: list[list[Connection]] = []
        self._new_connection()  # a receiver that cannot be one is refused here

    def _new_connection(self) -> Connection:
        return prepare(
            self._table,
            self._receiver,
            self._sender,
            False,  # noqa: FBT003  # as connect passes it
            self._options,
            None,
        )

    def __enter__(self) -> None:
        table, receiver, sender = self._table, self._receiver, self._sender
        needed: list[Connection] = []
        table.run(table.insert_for_block, self._new_connection(), sender, needed)
        self._needed.append(needed)
        if table.connected is not None:
            try:
                table.connected.send(
                    table.signal(), receiver=receiver, sender=sender, weak=False
                )
            except BaseException:
                self.__exit__()
                raise

    def __exit__(self, *error: object) -> None:
        table, needed = self._table, self._needed.pop()
        is_disconnected = table.run(table.end_block, needed)
        if is_disconnected and table.disconnected is not None:
            table.disconnected.send(
                table.signal(), receiver=self._receiver, sender=self._sender
            )

    def again(self) -> Self:
        return type(self)(
            self._table, self._receiver, self._sender, self._options.priority
        )


class DisconnectedBlock(Block):
    """A block for which a receiver is disconnected."""

    def __init__(self, table: Table, receiver: Receiver, sender: Any) -> None:
        self._table = table
        self._receiver = receiver
        self._sender = sender
        self._saved: list[list[Saved]] = []
        check_callable(receiver)

    def __enter__(self) -> None:
        table, receiver, sender = self._table, self._receiver, self._sender
        saved: list[Saved] = []
        table.run(table.take_out, receiver_key(receiver), sender, saved)
        self._saved.append(saved)
        if saved and table.disconnected is not None:
            table.disconnected.send(table.signal(), receiver=receiver, sender=sender)

    def __exit__(self, *error: object) -> None:
        table, saved = self._table, self._saved.pop()
        table.run(table.put_all_back, saved)
        if saved and table.connected is not None:
            table.connected.send(
                table.signal(),
                receiver=self._receiver,
                sender=self._sender,
                weak=all(one.strong is None for one in saved),
            )

    def again(self) -> Self:
        return type(self)(self._table, self._receiver, self._sender)


class Arguments(t.NamedTuple):
    """The arguments of ``connect`` other than the receiver."""

    sender: Any
    weak: bool
    options: Options
    dispatch_uid: Hashable = None
    replace: bool = False

    def prepare(
        self, table: Table, receiver: Receiver, frame: FrameType | None
    ) -> Connection:
        """Return a connection that is not in the table yet.

        :raises ReceiverError: If the receiver cannot be one.
        :raises PayloadError: If it does not fit a declared payload.
        """
        connection = prepare(
            table, receiver, self.sender, self.weak, self.options, frame
        )
        dispatch_uid = self.dispatch_uid
        if self.replace and dispatch_uid is None:
            dispatch_uid = uid_by_name(receiver)
            if dispatch_uid is None:
                raise ReceiverError(
                    "replace=True takes a function or a dispatch_uid, got"
                    f" {describe(receiver)}, which has no name; give it a"
                    " dispatch_uid",
                    receiver,
                )
            table.has_names = True
        if dispatch_uid is not None:
            connection.key = uid_key(dispatch_uid)
        return connection

    def connect(self, table: Table, connection: Connection, receiver: Receiver) -> None:
        """Put a prepared connection into the table, and send ``receiver_connected``."""
        change = table.replace if self.replace else table.insert
        before = table.run(change, connection, self.sender)
        if table.connected is not None:
            announce(table, connection, before, receiver, self.sender, self.weak)


def decorator(tables: tuple[Table, ...], arguments: Arguments) -> Callable[[F], F]:
    """Return a decorator that connects a function to one signal or to several.

    :param tables: The signals' tables.
    :param arguments: The arguments of ``connect``.
    """

    def connect_decorated(receiver: F) -> F:
        frame: FrameType | None = _getframe(1)
        # Here, as the count includes this call's own reference.
        if (
            arguments.weak
            and references(receiver) <= REFERENCES_OF_A_TEMPORARY
            and is_lost_unless_kept(receiver, arguments.sender, frame)
        ):
            signals = [table.signal() for table in tables]
            warn_of_loss(receiver, signals[0] if len(signals) == 1 else signals)
            frame = None  # so that its death is not reported again
        prepared = [arguments.prepare(table, receiver, frame) for table in tables]
        for table, connection in zip(tables, prepared, strict=True):
            arguments.connect(table, connection, receiver)
        return receiver

    return connect_decorated


def key_of(receiver: Receiver | None, dispatch_uid: Hashable) -> Hashable:
    """Return the key that a receiver was connected by.

    :raises ReceiverError: If neither a receiver nor a uid is given.
    """
    if dispatch_uid is not None:
        return uid_key(dispatch_uid)
    if receiver is not None:
        return receiver_key(receiver)
    raise ReceiverError(
        "disconnect() takes a receiver or a dispatch_uid, got neither; to"
        " disconnect all receivers use disconnect_all()"
    )
