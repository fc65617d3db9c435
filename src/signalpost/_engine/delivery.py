"""Deliveries to the receivers of a route; the plain one is in signal.py."""

from __future__ import annotations

from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Iterable
from time import perf_counter
from types import CoroutineType
from typing import Any

from ..errors import AsyncReceiverError
from .asyncness import is_awaitable
from .connection import Connection
from .connection import DEFAULT_OPTIONS
from .connection import Receiver
from .failures import add_note
from .failures import is_being_logged
from .failures import logging_now
from .failures import Report
from .identity import describe
from .results import Outcome
from .route import Route
from .table import Table

AsyncWrapper = Callable[[Receiver], Receiver]
Gather = Callable[..., Awaitable[Iterable[Any]]]


class Dispatch:
    """A send that does more than call each receiver.

    :param signal: The signal.
    :param table: Its table.
    :param sender: The sender.
    :param payload: The payload.
    :param wrapper: Makes a callable from a receiver that cannot be called directly:
        from an async one in a send, from any other in an async send.
    """

    __slots__ = ("payload", "sender", "signal", "table", "wrapper")

    def __init__(
        self,
        signal: object,
        table: Table,
        sender: Any,
        payload: dict[str, Any],
        wrapper: AsyncWrapper | None,
    ) -> None:
        self.signal = signal
        self.table = table
        self.sender = sender
        self.payload = payload
        self.wrapper = wrapper

    def is_due(self, connection: Connection) -> bool:
        """Return whether this send calls the receiver."""
        if connection.options is DEFAULT_OPTIONS:
            return connection.is_connected
        due = [one for one in connection.parts if self._is_wanted(one)]
        return bool(due) and self.table.claim(due)

    def is_due_isolated(self, connection: Connection, receiver: Receiver) -> bool:
        """Return whether this send calls the receiver, which must not need a wrapper.

        :raises AsyncReceiverError: If it is async, and there is no wrapper.
        """
        if connection.is_async and self.wrapper is None:
            # Before the claim, so that a once=True connection is not used up.
            raise _refusal(self.signal, receiver)
        return self.is_due(connection)

    def _is_wanted(self, connection: Connection) -> bool:
        conditions = connection.options.when
        return connection.is_connected and (
            not conditions
            or any(
                one.call(one.predicate, self.sender, self.payload) for one in conditions
            )
        )

    def call(self, connection: Connection, receiver: Receiver) -> Any:
        """Call a receiver from code that is not async, and call the observers."""
        called = receiver
        if connection.is_async and self.wrapper is not None:
            called = self.wrapper(receiver)
        if not self.table.observers:
            return self._call(connection, called)
        start = perf_counter()
        try:
            value = self._call(connection, called)
        except BaseException as error:
            self._observe(connection, receiver, start, error)
            raise
        self._observe(connection, receiver, start, None)
        return value

    async def call_async(self, connection: Connection, receiver: Receiver) -> Any:
        """Call a receiver, await its result, and call the observers."""
        called = receiver
        if not connection.is_async and self.wrapper is not None:
            called = self.wrapper(receiver)
        start = perf_counter()
        try:
            value = self._call(connection, called)
            if is_awaitable(value):
                value = await value
        except BaseException as error:
            self._observe(connection, receiver, start, error)
            raise
        self._observe(connection, receiver, start, None)
        return value

    def _call(self, connection: Connection, called: Receiver) -> Any:
        payload = self.payload
        if connection.options.passes_signal:
            payload = {**payload, "signal": self.signal}
        return connection.call(called, self.sender, payload)

    def _observe(
        self,
        connection: Connection,
        receiver: Receiver,
        start: float,
        error: BaseException | None,
    ) -> None:
        """Call the observers after a call; their exceptions do not reach the sender."""
        observers = self.table.observers
        if not observers:
            return
        for part in connection.parts:
            part.counts().calls += 1
        duration_seconds = perf_counter() - start
        for one in observers:
            one.record(self.signal, self.sender, receiver, duration_seconds, error)


def deliver(dispatch: Dispatch, route: Route) -> list[tuple[Receiver, Any]]:
    """Call the receivers in order; the first exception is raised.

    :raises AsyncReceiverError: If one is async and there is no wrapper; no receiver
        has been called then.
    """
    if route.has_async and dispatch.wrapper is None:
        refuse_async(dispatch.signal, route)
    results = []
    for connection in route.connections:
        receiver = connection.receiver()
        if receiver is None:
            continue
        try:
            if not dispatch.is_due(connection):
                continue
            value = dispatch.call(connection, receiver)
        except BaseException as error:
            add_note(error, dispatch.signal, receiver)
            raise
        results.append((receiver, value))
    return results


def deliver_isolated(  # noqa: PLR0913, PLR0917  # where requests are served
    route: Route,
    signal: object,
    sender: Any,
    payload: dict[str, Any],
    dispatch: Dispatch,
    report: Report,
    through: tuple[type[Exception], ...] = (),
    /,
) -> tuple[list[tuple[Receiver, Any]], int]:
    """Call every receiver; report those that raise an :exc:`Exception`.

    An exception of a strict receiver propagates, and later receivers are not called.

    :param dispatch: The send.
    :param through: The exceptions that go through, whichever receiver raises them.
    :returns: Each receiver with what it returned, or its :class:`Outcome` if it raised;
        and how many raised.
    """
    results: list[tuple[Receiver, Any]] = []
    failures = 0
    if logging_now and is_being_logged(signal):
        return results, failures
    for connection in route.connections:
        receiver = connection.receiver()
        if receiver is None:
            continue
        try:
            if not dispatch.is_due_isolated(connection, receiver):
                continue
            value = dispatch.call(connection, receiver)
        except Exception as error:
            # Not isinstance(), which also reads __class__ of an exception.
            if connection.options.strict or issubclass(type(error), through):
                add_note(error, signal, receiver)
                raise
            report(signal, connection, receiver, error)
            results.append(Outcome(receiver, exception=error))
            failures += 1
        else:
            results.append((receiver, value))
    return results, failures


async def deliver_async(
    dispatch: Dispatch, route: Route, gather: Gather | None, report: Report | None
) -> list[tuple[Receiver, Any]]:
    """Call the receivers, and await their results in order or with ``gather``.

    :param report: Reports an :exc:`Exception` of a receiver; without it, the first
        one is raised.
    """
    if report is not None and logging_now and is_being_logged(dispatch.signal):
        return []
    turns = route.receivers()
    if gather is None:
        return await _deliver_in_order(dispatch, route, turns, report)
    results = await gather(
        *(_deliver_in_order(dispatch, route, (turn,), report) for turn in turns)
    )
    return [one for found in results for one in found]


async def _deliver_in_order(
    dispatch: Dispatch,
    route: Route,
    turns: Iterable[tuple[Connection, Receiver]],
    report: Report | None,
) -> list[tuple[Receiver, Any]]:
    results: list[tuple[Receiver, Any]] = []
    is_simple = route.is_simple and dispatch.wrapper is None
    for connection, receiver in turns:
        try:
            if is_simple:
                value = connection.call(receiver, dispatch.sender, dispatch.payload)
                if type(value) is CoroutineType or is_awaitable(value):
                    value = await value
            elif dispatch.is_due(connection):
                value = await dispatch.call_async(connection, receiver)
            else:
                continue
        except Exception as error:
            if report is None or connection.options.strict:
                add_note(error, dispatch.signal, receiver)
                raise
            report(dispatch.signal, connection, receiver, error)
            results.append(Outcome(receiver, exception=error))
        except BaseException as error:
            add_note(error, dispatch.signal, receiver)
            raise
        else:
            results.append((receiver, value))
    return results


def refuse_async(signal: object, route: Route) -> None:
    """Raise if a receiver that is still there is async.

    :raises AsyncReceiverError: If there is one.
    """
    for connection, receiver in route.receivers():
        if connection.is_async:
            raise _refusal(signal, receiver)


def _refusal(signal: object, receiver: Receiver) -> AsyncReceiverError:
    return AsyncReceiverError(
        f"receiver {describe(receiver)} of {signal} is async; send with"
        " send_async(), or pass send() an _async_wrapper that runs it",
        signal,
        receiver,
    )
