"""Send failures other than statements: connections, transactions, fetches."""

from __future__ import annotations

import typing as t
from collections.abc import Callable
from collections.abc import Mapping

from sqlalchemy import Engine
from sqlalchemy.engine import Dialect
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import StatementError

from ...exchange import current_exchange
from ...lifecycle import sql_failed
from ._engines import calling_engine
from ._engines import INSTRUMENTATION
from ._engines import made_from
from ._engines import sender_of
from ._lazy_listeners import EventListener
from ._lazy_listeners import EventSource
from ._suppression import is_suppressed

_OPERATIONS: Mapping[str, str] = {
    "_begin_impl": "begin",
    "_begin_twophase_impl": "begin",
    "_prepare_twophase_impl": "prepare",
    "_commit_impl": "commit",
    "_commit_twophase_impl": "commit",
    "_rollback_impl": "rollback",
    "_rollback_twophase_impl": "rollback",
    "connection": "connect",
}
"""The operation that fails, by the method of SQLAlchemy that got the exception. Only
events that slow down every statement would show it otherwise."""

_FETCHES = frozenset(
    ("_deliver_insertmanyvalues_batches", "_setup_result_proxy", "post_exec")
)
"""The methods that read results of the driver after a statement."""


class Failures:
    """Sends ``sql-failed`` for one engine, or for all.

    :param target: The engine, or the class for all engines.
    :param sender_for: Returns the sender for an engine; ``None`` if it is another
        one's to send for it.
    """

    def __init__(
        self,
        target: Engine | type[Engine],
        sender_for: Callable[[Engine], Engine | None],
    ) -> None:
        self._target = target
        self._sender_for = sender_for

    def sources(self) -> list[EventSource]:
        """Return the moments of SQLAlchemy's that failures are found at."""
        return [
            EventListener(self._target, "handle_error", self._fail),
            EventListener(self._target, "do_connect", self._connect),
        ]

    def _fail(self, error: ExceptionContext) -> None:
        # A ping has no engine. It fails without harm: another connection is made.
        if error.engine is None or not sql_failed.receivers:
            return
        operation = _operation_of(error)
        sender = None if operation is None else self._sender_for(error.engine)
        if operation is None or sender is None:
            return
        exception = error.sqlalchemy_exception or error.original_exception
        _send(sender, operation, exception, _statement_of(error))

    def _connect(
        self, dialect: Dialect, record: object, cargs: t.Any, cparams: t.Any
    ) -> t.Any:
        """Call the driver as SQLAlchemy would, and send errors of other kinds.

        Such as an :exc:`OSError` of asyncpg's. SQLAlchemy passes it on by itself, and
        reports only the driver's.
        """
        if not sql_failed.receivers:
            return None
        driver_error = t.cast("t.Any", dialect.loaded_dbapi).Error
        try:
            return self._call(dialect, record, cargs, cparams)
        except driver_error:
            raise
        except BaseException as error:
            engine = calling_engine()
            sender = None if engine is None else self._sender_for(engine)
            if sender is not None:
                _send(sender, "connect", error)
            raise

    def _call(
        self, dialect: t.Any, record: object, cargs: t.Any, cparams: t.Any
    ) -> t.Any:
        """Call the next function for that moment, or the driver."""
        functions = iter(dialect.dispatch.do_connect)
        for function in functions:
            if getattr(function, "__self__", None) is self:
                break
        for function in functions:
            # Only the first function of signalpost reports: an engine may have two, one
            # of all engines and its own.
            if isinstance(getattr(function, "__self__", None), Failures):
                continue
            connection = function(dialect, record, cargs, cparams)
            if connection is not None:
                return connection
        return dialect.connect(*cargs, **cparams)


def send_pool_timeout(error: BaseException) -> None:
    """Send that a pool had no connection in time, if its engine is instrumented."""
    engine = calling_engine()
    if engine is None or is_suppressed():
        return
    for one in (*made_from(engine), Engine):
        instrumentation = vars(one).get(INSTRUMENTATION)
        if instrumentation is not None and not instrumentation.is_paused:
            _send(sender_of(engine), "pool", error)
            return


def _operation_of(error: ExceptionContext) -> str | None:
    """Return the failed operation; ``None`` for a statement or an unknown one."""
    original = error.original_exception
    if isinstance(original, StatementError):
        # Reported already, as a statement: PREPARE TRANSACTION is one for PostgreSQL.
        return None
    methods = _methods(original)
    if error.execution_context is not None:
        # There is no text any more when the application fetches rows.
        is_executed = error.statement is None or not _FETCHES.isdisjoint(methods)
        return "fetch" if is_executed else None
    driver_error = t.cast("t.Any", error.dialect.loaded_dbapi).Error
    if error.statement is not None:
        # A lost connection has no cursor for the statement. Other errors are mistakes
        # of the application, such as a missing parameter.
        return "other" if isinstance(original, driver_error) else None
    if error.connection is None:
        return "connect"
    operation = _OPERATIONS.get(methods[0])
    if operation in {None, "connect"}:
        # Other errors were sent before, or are mistakes of the application.
        return operation or "other" if isinstance(original, driver_error) else None
    return operation


def _statement_of(error: ExceptionContext) -> str | None:
    """Return the text of the statement that an error belongs to, if any."""
    context: t.Any = error.execution_context
    statement: str | None = getattr(context, "statement", error.statement)
    return statement


def _methods(error: BaseException) -> tuple[str, str]:
    """Return the method that has got an exception, and the one that it has called."""
    trace = error.__traceback__
    names = ["", ""]
    for place in range(2):
        if trace is not None:
            names[place] = trace.tb_frame.f_code.co_name
            trace = trace.tb_next
    return names[0], names[1]


def _send(
    sender: Engine,
    operation: str,
    exception: BaseException,
    statement: str | None = None,
) -> None:
    payload = {
        "operation": operation,
        "statement": statement,
        "exception": exception,
        "exchange": current_exchange(),
    }
    sql_failed.send_isolated(sender, payload, _no_wrapper)


def _no_wrapper() -> None:
    """Run no async receiver: SQLAlchemy waits for a plain function."""
