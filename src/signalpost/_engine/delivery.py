"""The ways in which a payload travels along a route."""

from __future__ import annotations

import inspect
import logging
import typing as t
from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Coroutine
from collections.abc import Iterable
from time import perf_counter
from types import CoroutineType
from types import MethodType
from typing import Any

from ..errors import AsyncReceiverError
from .connection import Connection
from .connection import disconnected
from .connection import Receiver
from .connection import Route
from .identity import describe

if t.TYPE_CHECKING:
    from .signal import Signal

AsyncWrapper = Callable[[Receiver], Receiver]
Gather = Callable[..., Awaitable[Iterable[Any]]]
T = t.TypeVar("T")

_log = logging.getLogger("signalpost.signals")

_MOST_KINDS = 16
"""How many kinds of exceptions of one receiver are told apart."""


class Outcome(t.NamedTuple):
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


class Delivery(t.NamedTuple):
    """One call of one receiver, as an observer sees it.

    .. versionadded:: 0.1
    """

    signal: Signal
    """The signal that was sent."""
    sender: Any
    """Who sent it."""
    receiver: Receiver
    """The receiver that was called."""
    duration_seconds: float
    """How long the call took; with an async receiver, until it was done."""
    exception: BaseException | None
    """What the receiver raised, or ``None``."""


Observer = Callable[[Delivery], object]


class Watching(t.Protocol):
    """An observer at work."""

    @property
    def observer(self) -> Observer: ...


def deliver(
    route: Route,
    signal: Signal,
    sender: Any,
    payload: dict[str, Any],
    async_wrapper: AsyncWrapper | None,
) -> list[tuple[Receiver, Any]]:
    """Call the receivers in order and let the first exception through."""
    if route.has_async and async_wrapper is None:
        refuse_async(route, signal)
    results = []
    # A loop like that of Route.turns, without the cost of a generator.
    for connection in route.connections:
        receiver = connection.receiver()
        if receiver is None:
            continue
        if route.has_once and not signal._claim(connection):
            continue
        try:
            call = _callable(connection, receiver, signal, async_wrapper)
            value = call(sender, **_arguments(connection, payload, signal))
        except BaseException as error:
            add_note(error, signal, receiver)
            raise
        results.append((receiver, value))
    return results


def deliver_robustly(
    route: Route,
    signal: Signal,
    sender: Any,
    payload: dict[str, Any],
    async_wrapper: AsyncWrapper | None,
) -> list[Outcome]:
    """Call every receiver; log those that raise an :exc:`Exception`, and go on."""
    outcomes = []
    for connection in route.connections:
        receiver = connection.receiver()
        if receiver is None:
            continue
        if connection.is_async and async_wrapper is None:
            # Before it is claimed: what cannot be called is not used up.
            outcomes.append(_failure(_refusal(signal, receiver), signal, receiver))
            continue
        if route.has_once and not signal._claim(connection):
            continue
        try:
            call = _callable(connection, receiver, signal, async_wrapper)
            value = call(sender, **_arguments(connection, payload, signal))
        except Exception as error:  # noqa: BLE001  # what this function is for
            outcomes.append(_failure(error, signal, receiver))
        else:
            outcomes.append(Outcome(receiver, value))
    return outcomes


def send_isolated(
    signal: Signal,
    sender: Any,
    payload: dict[str, Any],
    async_wrapper: Callable[[], AsyncWrapper | None],
) -> int:
    """Call every receiver for a sender that nothing of theirs may harm.

    Leaner than :meth:`Signal.send_robust`, for those of this package who send while
    they serve a request: a method of signals, without a call between. A receiver that
    fails again and again is logged at its 1st, 10th, 100th … failure of a kind, and
    not each time.

    :param sender: The sender.
    :param payload: What the receivers get as keywords; as declared, if it is.
    :param async_wrapper: Returns what :meth:`Signal.send_robust` takes, if it is
        needed.
    :returns: How many receivers raised an :exc:`Exception`.
    """
    calls = signal._calls_any
    if calls is None:
        if signal._open_mutes and signal.is_muted:
            return 0
        calls = signal._calls_for(sender)
        if calls is None:
            return _send_with_care(signal, sender, payload, async_wrapper)
    failures = 0
    for connection, call in calls:
        receiver = connection()
        if receiver is None:
            continue
        via = connection.via
        if via is not None:
            if via is disconnected:
                continue
            receiver = MethodType(via, receiver)
        try:
            call(receiver, sender, payload)
        except Exception as error:  # noqa: BLE001  # what this function is for
            failures += 1
            _note_failure(connection, error, signal, receiver)
    return failures


def _send_with_care(
    signal: Signal,
    sender: Any,
    payload: dict[str, Any],
    async_wrapper: Callable[[], AsyncWrapper | None],
) -> int:
    """Do the same, with whatever was asked for when a receiver was connected."""
    route = signal._route_for(sender)
    failures = 0
    for connection in route.connections:
        receiver = connection.receiver()
        if receiver is None:
            continue
        try:
            wrapper = async_wrapper() if connection.is_async else None
            # Refused before it is claimed: what cannot be called is not used up.
            call = _callable(connection, receiver, signal, wrapper)
            if not route.has_once or signal._claim(connection):
                call(sender, **_arguments(connection, payload, signal))
        except Exception as error:  # noqa: BLE001  # as above
            failures += 1
            _note_failure(connection, error, signal, receiver)
    return failures


async def deliver_async(
    route: Route,
    signal: Signal,
    sender: Any,
    payload: dict[str, Any],
    sync_wrapper: AsyncWrapper | None,
    gather: Gather | None,
) -> list[tuple[Receiver, Any]]:
    """Await the async receivers and call the others, and let an exception through."""
    if (
        gather is None
        and sync_wrapper is None
        and route.is_simple
        and not signal._observers
    ):
        return await _deliver_simply(route, signal, sender, payload)

    async def result(
        connection: Connection, receiver: Receiver
    ) -> tuple[Receiver, Any]:
        arguments = _arguments(connection, payload, signal)
        try:
            return receiver, await _awaited(
                connection, receiver, signal, sender, arguments, sync_wrapper
            )
        except BaseException as error:
            add_note(error, signal, receiver)
            raise

    return await _all((result(*turn) for turn in route.turns(signal)), gather)


async def _deliver_simply(
    route: Route, signal: Signal, sender: Any, payload: dict[str, Any]
) -> list[tuple[Receiver, Any]]:
    """Do the same for a route on which there is nothing else to see to."""
    results = []
    for connection in route.connections:
        receiver = connection.receiver()
        if receiver is None:
            continue
        try:
            value = receiver(sender, **payload)
            if connection.is_async and (
                type(value) is CoroutineType or inspect.isawaitable(value)
            ):
                value = await value
        except BaseException as error:
            add_note(error, signal, receiver)
            raise
        results.append((receiver, value))
    return results


async def deliver_async_robustly(
    route: Route,
    signal: Signal,
    sender: Any,
    payload: dict[str, Any],
    sync_wrapper: AsyncWrapper | None,
    gather: Gather | None,
) -> list[Outcome]:
    """Do the same, and log those that raise an :exc:`Exception` instead."""

    async def outcome(connection: Connection, receiver: Receiver) -> Outcome:
        arguments = _arguments(connection, payload, signal)
        try:
            value = await _awaited(
                connection, receiver, signal, sender, arguments, sync_wrapper
            )
        except Exception as error:  # noqa: BLE001  # what this function is for
            return _failure(error, signal, receiver)
        return Outcome(receiver, value)

    return await _all((outcome(*turn) for turn in route.turns(signal)), gather)


async def _all(
    coroutines: Iterable[Coroutine[Any, Any, T]], gather: Gather | None
) -> list[T]:
    """Await coroutines one after the other, each made when its turn has come."""
    if gather is not None:
        return [*await gather(*coroutines)]
    return [await coroutine for coroutine in coroutines]


def refuse_async(route: Route, signal: Signal) -> None:
    """Raise if a receiver that is still there is async."""
    for connection, receiver in route.receivers():
        if connection.is_async:
            raise _refusal(signal, receiver)


def add_note(error: BaseException, signal: Signal, receiver: Receiver) -> None:
    """Say in a traceback which signal and receiver an exception came through."""
    note = f"raised by receiver {describe(receiver)} of {signal}"
    # An exception object may be raised again and again, as a constant.
    if note not in getattr(error, "__notes__", ()):
        error.add_note(note)


def _callable(
    connection: Connection,
    receiver: Receiver,
    signal: Signal,
    async_wrapper: AsyncWrapper | None,
) -> Receiver:
    """Return what to call for a receiver, from code that is not async."""
    call = receiver
    if connection.is_async:
        if async_wrapper is None:
            raise _refusal(signal, receiver)
        call = async_wrapper(receiver)
    watching = signal._observers
    if not watching:
        return call

    def observed(sender: Any, /, **payload: Any) -> Any:
        start = perf_counter()
        try:
            value = call(sender, **payload)
        except BaseException as error:
            _tell(watching, connection, receiver, signal, sender, start, error)
            raise
        _tell(watching, connection, receiver, signal, sender, start, None)
        return value

    return observed


async def _awaited(
    connection: Connection,
    receiver: Receiver,
    signal: Signal,
    sender: Any,
    arguments: dict[str, Any],
    sync_wrapper: AsyncWrapper | None,
) -> Any:
    """Call one receiver from async code, and await what it gives if it is async."""
    watching = signal._observers
    start = perf_counter() if watching else 0.0
    is_wrapped = not connection.is_async and sync_wrapper is not None
    try:
        call = sync_wrapper(receiver) if is_wrapped else receiver  # type: ignore[misc]  # not None, as said above
        value = call(sender, **arguments)
        # A wrapper of a coroutine function may have run it already.
        if is_wrapped or (connection.is_async and inspect.isawaitable(value)):
            value = await value
    except BaseException as error:
        if watching:
            _tell(watching, connection, receiver, signal, sender, start, error)
        raise
    if watching:
        _tell(watching, connection, receiver, signal, sender, start, None)
    return value


def _tell(
    watching: tuple[Watching, ...],
    connection: Connection,
    receiver: Receiver,
    signal: Signal,
    sender: Any,
    start: float,
    error: BaseException | None,
) -> None:
    """Tell the observers of a call; theirs is not to harm it."""
    for one in getattr(connection, "others", (connection,)):
        one.calls = getattr(one, "calls", 0) + 1
    delivery = Delivery(signal, sender, receiver, perf_counter() - start, error)
    for one in watching:
        if one not in signal._observers:  # stopped in the meantime
            continue
        try:
            one.observer(delivery)
        except Exception:  # noqa: BLE001  # an observer must not harm a delivery
            _log.exception("%s: observer %s failed", signal, describe(one.observer))


def _arguments(
    connection: Connection, payload: dict[str, Any], signal: Signal
) -> dict[str, Any]:
    """Return what a receiver gets by name."""
    if connection.names is not None:
        payload = {name: payload[name] for name in connection.names if name in payload}
    options = connection.options
    if options is not None and options.passes_signal:
        payload = {**payload, "signal": signal}
    return payload


def _failure(error: Exception, signal: Signal, receiver: Receiver) -> Outcome:
    _log.error("%s: receiver %s failed", signal, describe(receiver), exc_info=error)
    return Outcome(receiver, None, error)


def _note_failure(
    connection: Connection, error: Exception, signal: Signal, receiver: Receiver
) -> None:
    """Log a failure unless the receiver has raised the like of it too often."""
    # What stands in routes for several connections goes with the routes.
    kept = getattr(connection, "others", (connection,))[0]
    counts: dict[type[Exception], int] = getattr(kept, "failures", {})
    # The kinds are few, unless a receiver makes them up.
    kind = type(error)
    if kind not in counts and len(counts) >= _MOST_KINDS:
        kind = Exception
    count = counts.get(kind, 0) + 1
    kept.failures = {**counts, kind: count}
    if count == 1:
        _failure(error, signal, receiver)
    elif str(count).strip("0") == "1":  # 10, 100, 1000 …
        _log.error(
            "%s: receiver %s failed for the %dth time with %s",
            signal,
            describe(receiver),
            count,
            type(error).__qualname__,
            exc_info=error,
        )


def _refusal(signal: Signal, receiver: Receiver) -> AsyncReceiverError:
    return AsyncReceiverError(
        f"receiver {describe(receiver)} of {signal} is async; send with"
        " send_async(), or pass send() an _async_wrapper that runs it",
        signal,
        receiver,
    )
