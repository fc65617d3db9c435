"""Hear SQLAlchemy's events, and send ours."""

from __future__ import annotations

import threading
import time
import typing as t
from collections.abc import Callable
from functools import partial

from sqlalchemy import Connection
from sqlalchemy import Engine
from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.engine import ExecutionContext
from sqlalchemy.engine.interfaces import ExecuteStyle

from ..._engine.signal import NamedSignal
from ...exchange import current_exchange
from ...lifecycle import sql_executed
from . import _catalogue as signals

if t.TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

_NAME = "_signalpost"
"""The attribute of an engine, or of the class, that holds its instrumentation: so one
that is not used any more goes with it."""

_BEGUN = "_signalpost_begun"
"""The attribute of a statement's context that holds when the driver was called, and
with what."""


def instrument(
    target: Engine | AsyncEngine | type[Engine] = Engine,
    *,
    with_parameters: bool = False,
) -> Instrumentation:
    """Let one engine, or all of them, send what they do.

    That is :data:`~signalpost.lifecycle.sql_executed`, and the signals of transactions
    and connections of this module.

    ::

        instrument()                     # every engine, those made later too
        instrument(engine)               # this one

    Signals are sent only while somebody hears them; connect and disconnect at any time.
    Until somebody has, a statement costs nothing more; after the last receiver has
    gone, what SQLAlchemy needs to call two functions that return at once. To instrument
    an engine again, or alone and with all others, sends nothing twice: what the last
    call said of parameters holds, for all if they are.

    Do it, and connect what is to stay, where engines are made, before threads use them.
    SQLAlchemy's lists of functions to call, to which the first receiver of each signal
    adds and from which :meth:`Instrumentation.undo` takes, must not change while
    another function on them is being called for a statement. They are called in the
    order of the lists: one of yours for ``handle_error`` that was there before, and
    raises rather than to return what shall be raised, hides the failure from us.

    A receiver runs between the statement and the application, so what it raises is
    logged by ``signalpost.signals`` and goes no further, and an async one is refused
    like that. One that executes statements itself should do so within
    ``sql_executed.muted()``, as it would hear them.

    :param target: An engine, sync or async, or the class for all engines.
    :param with_parameters: Send the values, which may be secrets of your users.
    :returns: What undoes it; it may be dropped.
    :raises TypeError: If ``target`` is something else.

    .. versionadded:: 0.1
    """
    found = getattr(target, "sync_engine", target)
    if found is not Engine and not isinstance(found, Engine):
        raise TypeError(
            f"target must be an engine, or the class Engine for all, got {target!r};"
            " pass what create_engine() or create_async_engine() returned"
        )
    instrumentation: Instrumentation | None = vars(found).get(_NAME)
    if instrumentation is None:
        return Instrumentation(found, with_parameters=with_parameters)
    instrumentation.has_parameters = with_parameters
    return instrumentation


class Instrumentation:
    """What makes engines send; from :func:`instrument`.

    As a context manager it undoes itself at the end of the ``with`` block.

    .. versionadded:: 0.1
    """

    def __init__(self, target: Engine | type[Engine], *, with_parameters: bool) -> None:
        self.has_parameters = with_parameters
        self._target = target
        self._listening: dict[NamedSignal, list[tuple[str, Callable[..., t.Any]]]] = {}
        # Re-entrant: a finaliser that runs within may connect a receiver.
        self._lock = threading.RLock()
        for signal in _SIGNALS:
            # Weakly: all that belongs to an engine goes with it.
            signal.receiver_connected.connect(self._follow, signal)
        setattr(target, _NAME, self)
        for signal in _SIGNALS:
            self._follow(signal)

    has_parameters: bool
    """Whether the values are sent."""

    def undo(self) -> None:
        """Let the engines send no more. Done once, it does nothing again."""
        with self._lock:
            for signal in _SIGNALS:
                signal.receiver_connected.disconnect(self._follow, signal)
            if vars(self._target).get(_NAME) is self:
                delattr(self._target, _NAME)
            while self._listening:
                _, listening = self._listening.popitem()
                for name, function in listening:
                    event.remove(self._target, name, function)

    def __enter__(self) -> Instrumentation:
        return self

    def __exit__(self, *_: object) -> None:
        self.undo()

    def _follow(self, signal: NamedSignal, **_: object) -> None:
        """Hear what a signal is made of, from when it is first heard itself.

        Not before, as SQLAlchemy takes its time over each statement as soon as there
        is anything to call. For good, as the threads that are calling must not find
        their list changed.
        """
        with self._lock:
            if signal in self._listening or not signal.receivers:
                return
            listening = self._listening[signal] = self._functions_for(signal)
            for name, function in listening:
                is_first = name == "before_cursor_execute"
                how = {"retval": True} if is_first else {}
                event.listen(self._target, name, function, **how)

    def _functions_for(
        self, signal: NamedSignal
    ) -> list[tuple[str, Callable[..., t.Any]]]:
        if signal is sql_executed:
            return [
                ("before_cursor_execute", self._begin),
                ("after_cursor_execute", self._succeed),
                ("handle_error", self._fail),
            ]
        forward = self._forward_name if "name" in _names(signal) else self._forward
        return [(name, partial(forward, signal)) for name in _MOMENTS[signal]]

    def _begin(
        self,
        connection: Connection,
        cursor: object,
        statement: str,
        parameters: t.Any,
        context: ExecutionContext | None,
        is_executemany: bool,  # noqa: FBT001  # SQLAlchemy's
    ) -> tuple[str, t.Any]:
        if sql_executed.has_receivers_for(_sender(connection.engine)):
            begun = time.perf_counter(), statement, parameters
            vars(context or connection)[_BEGUN] = begun
        return statement, parameters

    def _succeed(
        self,
        connection: Connection,
        cursor: t.Any,
        statement: str,
        parameters: t.Any,
        context: ExecutionContext | None,
        is_executemany: bool,  # noqa: FBT001  # SQLAlchemy's
    ) -> None:
        begun = vars(context or connection).pop(_BEGUN, None)
        if begun is None:
            return
        seconds = time.perf_counter() - begun[0]
        if is_executemany and not _is_executemany(context):
            # SQLAlchemy 2.0 tells of all rows here, after each batch of them.
            _, statement, parameters = begun
        row_count = cursor.rowcount
        self._send(
            connection.engine,
            statement,
            parameters,
            seconds,
            # -1 is how a driver says that it does not know (PEP 249).
            row_count if row_count >= 0 else None,
            is_executemany and _is_executemany(context),
            None,
        )

    def _fail(self, error: ExceptionContext) -> None:
        context = error.execution_context
        holder = context or error.connection
        # Nothing was begun if the connection could not be made or the parameters do
        # not fit; nothing is left if the statement succeeded, and what failed is the
        # fetching of rows or the handling of another error (SQLAlchemy's #10116).
        begun = vars(holder).pop(_BEGUN, None) if holder is not None else None
        if begun is None or error.statement is None:
            return
        self._send(
            t.cast("Engine", error.engine),
            error.statement,
            error.parameters,
            time.perf_counter() - begun[0],
            None,
            _is_executemany(context),
            error.sqlalchemy_exception or error.original_exception,
        )

    def _send(
        self,
        engine: Engine,
        statement: str,
        parameters: t.Any,
        seconds: float,
        row_count: int | None,
        is_executemany: bool,  # noqa: FBT001  # passed on
        exception: BaseException | None,
    ) -> None:
        payload = {
            "statement": statement,
            "parameters": parameters if self.has_parameters else None,
            "parameters_count": len(parameters) if parameters else 0,
            "duration_seconds": seconds,
            "row_count": row_count,
            "is_executemany": is_executemany,
            "exception": exception,
            "exchange": current_exchange(),
        }
        sql_executed.send_isolated(_sender(engine), payload, _no_wrapper)

    def _forward(
        self, signal: NamedSignal, connection: Connection, *_: object, **named: str
    ) -> None:
        sender = _sender(connection.engine)
        if not signal.has_receivers_for(sender):
            return
        if vars(Engine).get(_NAME, self) is self:
            payload = {**named, "exchange": current_exchange()}
            signal.send_isolated(sender, payload, _no_wrapper)

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
    one application: if several applications enable it, what the last one said of
    parameters holds for all, and the last one that disables it ends it.

    :param with_parameters: Send the values, which may be secrets of your users.

    .. versionadded:: 0.1
    """

    _connected: t.ClassVar[set[EveryEngine]] = set()

    def __init__(self, *, with_parameters: bool = False) -> None:
        self._with_parameters = with_parameters

    def connect(self) -> None:
        """Let every engine send."""
        self._connected.add(self)
        instrument(with_parameters=self._with_parameters)

    def disconnect(self) -> None:
        """Let them send no more, unless another one is connected."""
        self._connected.discard(self)
        instrumentation: Instrumentation | None = vars(Engine).get(_NAME)
        if instrumentation is not None and not self._connected:
            instrumentation.undo()


def _sender(engine: Engine) -> Engine:
    """Return the engine that one with options of its own was made from."""
    while (made_from := getattr(engine, "_proxied", None)) is not None:
        engine = made_from
    return engine


def _is_executemany(context: ExecutionContext | None) -> bool:
    """Return whether the driver's ``executemany`` is called.

    SQLAlchemy says so too of an ``INSERT`` that has many rows in one statement.
    """
    style = None if context is None else context.execute_style
    return style is ExecuteStyle.EXECUTEMANY


def _no_wrapper() -> None:
    """Run no async receiver: SQLAlchemy waits for a plain function."""


def _names(signal: NamedSignal) -> frozenset[str]:
    return signal.payload or frozenset()


_SIGNALS = (sql_executed, *signals.catalogue.values())

_MOMENTS = {
    signals.transaction_beginning: ("begin", "begin_twophase"),
    signals.transaction_committing: ("commit", "commit_twophase"),
    signals.transaction_rolling_back: ("rollback", "rollback_twophase"),
    signals.savepoint_setting: ("savepoint",),
    signals.savepoint_releasing: ("release_savepoint",),
    signals.savepoint_rolling_back: ("rollback_savepoint",),
}
"""By signal, SQLAlchemy's names of the moments that it is sent at."""
