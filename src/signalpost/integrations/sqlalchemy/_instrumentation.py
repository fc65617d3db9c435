"""Send signals for SQLAlchemy's events."""

from __future__ import annotations

import time
import typing as t
from functools import partial

from sqlalchemy import Connection
from sqlalchemy import Engine
from sqlalchemy import event
from sqlalchemy import pool
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.engine import ExecutionContext
from sqlalchemy.engine.interfaces import ExecuteStyle
from sqlalchemy.pool import ConnectionPoolEntry

from ..._engine.signal import NamedSignal
from ..._options import checked_truth
from ...exchange import current_exchange
from ...lifecycle import sql_executed
from ...lifecycle import sql_failed
from ...receivers.statements import is_further_part
from ...wsgi.unsent import instrumentations
from . import _catalogue as signals
from ._engines import INSTRUMENTATION
from ._engines import sender_of
from ._failing import Failures
from ._lazy_listeners import EventListener
from ._lazy_listeners import EventSource
from ._lazy_listeners import LazyListeners
from ._pool import give_back
from ._pool import take
from ._pool import waited_seconds
from ._pool import watch_calling_pool
from ._pool import watch_pool
from ._row_count import row_count_of
from ._suppression import is_suppressed

if t.TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

_FAILED = "_signalpost_failed"
"""The attribute of a statement's context that holds what the driver got when it raised,
until SQLAlchemy reports what the application gets."""

_PARTS = "_signalpost_parts"
"""The attribute of the context of an INSERT of many rows that holds how many statements
of it were sent."""


def instrument(
    target: Engine | AsyncEngine | type[Engine] = Engine,
    *,
    with_parameters: bool = False,
    pool_name: str | None = None,
) -> Instrumentation:
    """Make one engine, or all of them, send signals.

    The signals are :data:`~signalpost.lifecycle.sql_executed`,
    :data:`~signalpost.lifecycle.sql_failed`,
    :data:`~signalpost.lifecycle.sql_pool_changed`, and the signals of transactions and
    connections of this module. Then :func:`~signalpost.receivers.sql_pools.pool_states`
    reads the pools of the engines, too.

    ::

        instrument()                     # every engine, those made later too
        instrument(engine)               # this one

    Signals are sent only while they have receivers. You can connect and disconnect
    receivers at any time. Before the first receiver, a statement costs nothing more.
    After the last receiver was disconnected, SQLAlchemy still calls one function that
    returns at once. When a signal of transactions or connections of this module has had
    a receiver, SQLAlchemy also loops over its lists for each statement, which takes
    some microseconds.

    The pool of an engine is counted from now on; with ``instrument()``, from the first
    connection that the pool opens after that. For this, the class of the pool is
    replaced by a subclass with the same name, and stays replaced.

    If an engine is instrumented twice, or alone and with all others, nothing is sent
    twice. The last call decides whether parameters are sent; a call for all engines
    decides for all.

    Call it, and connect permanent receivers, where engines are created, before threads
    use them. SQLAlchemy's lists of functions must not change while one of these
    functions is being called for a statement. The first receiver of each signal adds to
    the lists, and :meth:`Instrumentation.undo` removes from them.

    This module calls the driver instead of SQLAlchemy, at the events ``do_execute``,
    ``do_executemany``, ``do_execute_no_params`` and ``do_connect``. Your own functions
    for these events are still called, in the order of the lists. But if an earlier
    function calls the driver itself, the statement is not sent. If an earlier function
    for ``handle_error`` raises, instead of returning the exception, the failure is not
    sent.

    Within OpenTelemetry's ``suppress_instrumentation()``, nothing is sent. So an
    exporter that writes to a database does not report its own statements.

    A receiver runs between the statement and the application. So if it raises, the
    exception is logged by ``signalpost.signals`` and does not propagate; an async
    receiver is refused in the same way. If a receiver executes statements, it should do
    so within ``sql_executed.muted()``; otherwise it is called for them, too.

    :param target: An engine, sync or async, or the class for all engines.
    :param with_parameters: Send the values, which may be secrets of your users.
    :param pool_name: The name of the engine's pool, as ``"orders"``. If not given, it
        is the engine's ``pool_logging_name`` or ``logging_name``, or else server and
        database, as ``"db.example:5432/shop"``. Pools with one name are added up.
    :returns: An object that undoes it; you need not keep it.
    :raises TypeError: If ``target`` is something else, ``with_parameters`` is neither
        ``True`` nor ``False``, or ``pool_name`` is given for all engines or is not a
        string.

    .. versionadded:: 0.1
    """
    found = getattr(target, "sync_engine", target)
    if found is not Engine and not isinstance(found, Engine):
        raise TypeError(
            f"target must be an engine, or the class Engine for all, got {target!r};"
            " pass what create_engine() or create_async_engine() returned"
        )
    checked_truth("with_parameters", with_parameters)
    _check_pool_name(pool_name, found)
    instrumentation: Instrumentation | None = vars(found).get(INSTRUMENTATION)
    if instrumentation is None:
        instrumentation = Instrumentation(found, with_parameters=with_parameters)
    instrumentation.has_parameters = with_parameters
    instrumentation.pool_name = pool_name
    instrumentation.is_paused = False
    return instrumentation


def _check_pool_name(name: object, target: object) -> None:
    if name is None:
        return
    if not isinstance(name, str) or not name:
        raise TypeError(f"pool_name must be a string that is not empty, got {name!r}")
    if target is Engine:
        raise TypeError(
            f"pool_name={name!r} is for one engine, and all were given; pass the engine"
        )


class Instrumentation:
    """Make engines send signals; from :func:`instrument`.

    As a context manager it undoes itself at the end of the ``with`` block.

    .. versionadded:: 0.1
    """

    def __init__(self, target: Engine | type[Engine], *, with_parameters: bool) -> None:
        self.has_parameters = with_parameters
        self.pool_name = None
        self._target = target
        self._sender = sender_of(target) if isinstance(target, Engine) else None
        self._listeners = LazyListeners(_SIGNALS, self._sources_of)
        setattr(target, INSTRUMENTATION, self)
        instrumentations.add(self)
        self._listeners.begin()
        if isinstance(target, Engine):
            watch_pool(target)
        else:
            event.listen(pool.Pool, "connect", watch_calling_pool)

    has_parameters: bool
    """``True`` if the values are sent."""

    pool_name: str | None
    """The name of the engine's pool, if one was given."""

    @property
    def is_paused(self) -> bool:
        """``True`` if nothing is sent for now; may be set while engines are used."""
        return self._listeners.is_paused

    @is_paused.setter
    def is_paused(self, is_paused: bool) -> None:
        is_resumed = self._listeners.is_paused and not is_paused
        self._listeners.is_paused = is_paused
        if is_resumed:
            # A test may have restored earlier connections.
            self._listeners.begin()

    def undo(self) -> None:
        """Stop sending. A second call has no effect.

        Not while threads use the engines: see :func:`instrument`, and
        :attr:`is_paused`.
        """
        instrumentations.discard(self)
        if vars(self._target).get(INSTRUMENTATION) is self:
            delattr(self._target, INSTRUMENTATION)
            if self._target is Engine:
                event.remove(pool.Pool, "connect", watch_calling_pool)
        self._listeners.end()

    def __enter__(self) -> Instrumentation:
        return self

    def __exit__(self, *_: object) -> None:
        self.undo()

    def _sources_of(self, signal: NamedSignal) -> list[EventSource]:
        if signal is sql_executed:
            return [
                EventListener(self._target, "do_execute", self._execute),
                EventListener(self._target, "do_executemany", self._execute_many),
                EventListener(
                    self._target, "do_execute_no_params", self._execute_plain
                ),
                EventListener(self._target, "handle_error", self._fail),
            ]
        if signal is sql_failed:
            return Failures(self._target, self._sender_to_send).sources()
        if signal is signals.connection_checked_out:
            return [EventListener(self._target, "engine_connect", self._check_out)]
        if signal is signals.connection_checked_in:
            return [
                EventListener(self._target, "engine_connect", self._take),
                EventListener(self._target, "checkin", self._check_in),
            ]
        forward = self._forward_name if "name" in _names(signal) else self._forward
        return [
            EventListener(self._target, name, partial(forward, signal))
            for name in _EVENTS[signal]
        ]

    def _execute(
        self,
        cursor: t.Any,
        statement: str,
        parameters: t.Any,
        context: ExecutionContext | None,
        moment: str = "do_execute",
    ) -> bool:
        """Call the driver as SQLAlchemy would, and send the signal.

        Not by the moments before and after a statement: to have anything to call at
        them costs SQLAlchemy more than all of this.

        :returns: Whether it is done, so that SQLAlchemy has nothing more to do.
        """
        # A dialect may execute its own statements without a context.
        if context is None:
            return False
        # Not context.engine, which the context of each statement computes again.
        engine = context.root_connection.engine
        sender = self._sender if engine is self._target else self._sender_of(engine)
        if sender is None or not sql_executed.has_receivers_for(sender):
            return False
        if self.is_paused or is_suppressed():
            return False
        dialect = context.dialect
        begun = time.perf_counter()
        try:
            if moment == "do_execute" and len(dialect.dispatch.do_execute) == 1:
                dialect.do_execute(cursor, statement, parameters, context)
            else:
                self._call(cursor, statement, parameters, context, moment)
        except BaseException:
            seconds = time.perf_counter() - begun
            vars(context)[_FAILED] = moment, statement, parameters, seconds
            raise
        seconds = time.perf_counter() - begun
        payload = self._payload(context, moment, statement, parameters, seconds)
        payload["row_count"] = row_count_of(cursor, dialect)
        if context.execute_style is ExecuteStyle.INSERTMANYVALUES:
            _send_part(sender, payload, context)
        else:
            sql_executed.send_isolated(sender, payload, _no_wrapper)
        return True

    def _execute_many(
        self,
        cursor: t.Any,
        statement: str,
        parameters: t.Any,
        context: ExecutionContext | None,
    ) -> bool:
        return self._execute(cursor, statement, parameters, context, "do_executemany")

    def _execute_plain(
        self, cursor: t.Any, statement: str, context: ExecutionContext | None
    ) -> bool:
        return self._execute(cursor, statement, None, context, "do_execute_no_params")

    def _call(
        self,
        cursor: t.Any,
        statement: str,
        parameters: t.Any,
        context: ExecutionContext,
        moment: str,
    ) -> None:
        """Call the next function of SQLAlchemy's event, or the driver."""
        if moment == "do_execute_no_params":
            arguments: tuple[t.Any, ...] = (cursor, statement, context)
        else:
            arguments = (cursor, statement, parameters, context)
        functions = iter(getattr(context.dialect.dispatch, moment))
        for function in functions:
            if getattr(function, "__self__", None) is self:
                break
        for function in functions:
            # Only the first instrumentation reports: an engine may have two, its own
            # and that of all engines.
            is_ours = isinstance(getattr(function, "__self__", None), Instrumentation)
            if not is_ours and function(*arguments):
                return
        getattr(context.dialect, moment)(*arguments)

    def _fail(self, error: ExceptionContext) -> None:
        context = error.execution_context
        # There is nothing if the driver was not called, or has not failed: as when the
        # parameters do not fit, or rows cannot be fetched.
        if context is None or error.engine is None:
            return
        failed = vars(context).pop(_FAILED, None)
        if failed is None:
            return
        payload = self._payload(context, *failed)
        payload["exception"] = error.sqlalchemy_exception or error.original_exception
        sql_executed.send_isolated(sender_of(error.engine), payload, _no_wrapper)

    def _payload(
        self,
        context: ExecutionContext,
        moment: str,
        statement: str,
        parameters: t.Any,
        seconds: float,
    ) -> dict[str, t.Any]:
        """Return the payload of ``sql-executed``, without row count and exception."""
        exchange = current_exchange()
        # SQLAlchemy's own queries at the first connection are not statements of the
        # request that happens to be the first one.
        if exchange is not None and isinstance(
            context.root_connection.connection, _FIRST_CONNECTION
        ):
            exchange = None
        return {
            "statement": statement,
            "parameters": parameters if self.has_parameters else None,
            "parameters_count": len(parameters) if parameters else 0,
            "duration_seconds": seconds,
            "row_count": None,
            "is_executemany": moment == "do_executemany",
            "exception": None,
            "exchange": exchange,
        }

    def _sender_of(self, engine: Engine) -> Engine | None:
        """Return the sender for an engine; ``None`` if it is not instrumented by us.

        SQLAlchemy calls us by the dialect, which an engine with its own options shares
        with the one that it was made from.
        """
        made_from: t.Any = engine
        while self._target is not Engine and made_from is not self._target:
            if (made_from := getattr(made_from, "_proxied", None)) is None:
                return None
        return sender_of(engine)

    def _forward(
        self, signal: NamedSignal, connection: Connection, *_: object, **named: t.Any
    ) -> None:
        sender = sender_of(connection.engine)
        if not signal.has_receivers_for(sender):
            return
        if self._is_to_send():
            payload = {**named, "exchange": current_exchange()}
            signal.send_isolated(sender, payload, _no_wrapper)

    def _is_to_send(self) -> bool:
        """Return whether this one sends, of those of an engine and of all engines."""
        if self.is_paused or is_suppressed():
            return False
        of_all: Instrumentation = vars(Engine).get(INSTRUMENTATION, self)
        return of_all is self or of_all.is_paused

    def _sender_to_send(self, engine: Engine) -> Engine | None:
        """Return the sender for an engine, if it is this one that sends for it."""
        return self._sender_of(engine) if self._is_to_send() else None

    def _check_out(self, connection: Connection) -> None:
        if not self._is_to_send():
            return
        waited = waited_seconds(connection)
        self._forward(signals.connection_checked_out, connection, waited_seconds=waited)

    def _take(self, connection: Connection) -> None:
        sender = sender_of(connection.engine)
        is_sent = signals.connection_checked_in.has_receivers_for(sender) and not (
            self.is_paused or is_suppressed()
        )
        take(connection, sender if is_sent else None)

    def _check_in(self, connection: object, record: ConnectionPoolEntry) -> None:
        given_back = give_back(record)
        if given_back is not None:
            sender, held_seconds = given_back
            payload = {"held_seconds": held_seconds, "exchange": current_exchange()}
            signals.connection_checked_in.send_isolated(sender, payload, _no_wrapper)

    def _forward_name(
        self, signal: NamedSignal, connection: Connection, name: str, *_: object
    ) -> None:
        self._forward(signal, connection, name=name)


class EveryEngine:
    """Instrument every engine from a configuration, under the name ``sqlalchemy``.

    ::

        [signalpost.receivers]
        sqlalchemy = true

    It is :func:`instrument` without a target. Engines are those of the process, not of
    one application: if several applications enable it, the last one decides for
    all whether parameters are sent, and the last one that disables it pauses it.

    :param with_parameters: Send the values, which may be secrets of your users.

    .. versionadded:: 0.1
    """

    _connected: t.ClassVar[set[EveryEngine]] = set()

    def __init__(self, *, with_parameters: bool = False) -> None:
        self._with_parameters = checked_truth("with_parameters", with_parameters)

    def connect(self) -> None:
        """Make every engine send signals."""
        self._connected.add(self)
        instrument(with_parameters=self._with_parameters)

    def disconnect(self) -> None:
        """Stop sending, unless another object is connected."""
        self._connected.discard(self)
        instrumentation: Instrumentation | None = vars(Engine).get(INSTRUMENTATION)
        if instrumentation is not None and not self._connected:
            # Threads may be using the engines.
            instrumentation.is_paused = True


def _send_part(
    sender: Engine, payload: dict[str, t.Any], context: ExecutionContext
) -> None:
    """Send one of the statements that SQLAlchemy splits an INSERT of many rows into."""
    is_further = vars(context).setdefault(_PARTS, 0) > 0
    vars(context)[_PARTS] += 1
    token = is_further_part.set(is_further)
    try:
        sql_executed.send_isolated(sender, payload, _no_wrapper)
    finally:
        is_further_part.reset(token)


def _no_wrapper() -> None:
    """Run no async receiver: SQLAlchemy waits for a plain function."""


def _names(signal: NamedSignal) -> frozenset[str]:
    return signal.payload or frozenset()


# The kind of connection that SQLAlchemy lets a dialect ask the database by, when an
# engine connects for the first time. It has no public name.
_FIRST_CONNECTION: t.Any = getattr(pool, "_AdhocProxiedConnection", ())

_SIGNALS = (sql_executed, sql_failed, *signals.catalogue.values())

_EVENTS = {
    signals.transaction_beginning: ("begin", "begin_twophase"),
    signals.transaction_committing: ("commit", "commit_twophase"),
    signals.transaction_rolling_back: ("rollback", "rollback_twophase"),
    signals.savepoint_setting: ("savepoint",),
    signals.savepoint_releasing: ("release_savepoint",),
    signals.savepoint_rolling_back: ("rollback_savepoint",),
}
"""SQLAlchemy's events by the signal that is sent at them."""
