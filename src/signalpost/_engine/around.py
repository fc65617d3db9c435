"""A pair of signals around a unit of work."""

from __future__ import annotations

import functools
import inspect
import typing as t
from collections.abc import Callable
from time import perf_counter
from typing import Any

from .identity import describe
from .signal import Signal

F = t.TypeVar("F", bound=Callable[..., Any])


class around:  # noqa: N801  # reads as a statement, as contextlib's do
    """Send a signal before a unit of work, and another one after it.

    As a ``with`` or ``async with`` block, or as a decorator of a function, async or
    not. Receivers are isolated as by :meth:`Signal.send_robust`, so that none can
    harm the work.

    >>> from signalpost import around, Namespace
    >>> jobs = Namespace()
    >>> started = jobs.signal("started", payload=("job",))
    >>> finished = jobs.signal(
    ...     "finished", payload=("job", "duration_seconds", "exception")
    ... )
    >>> @finished.connect
    ... def note(sender, job, exception):
    ...     print(sender, job, exception)
    >>> with around(started, finished, "worker", job=7):
    ...     pass
    worker 7 None

    :param started: Sent before, with ``payload``.
    :param finished: Sent after, whether the work raised or not, with ``payload``,
        ``duration_seconds`` and ``exception``: what it raised, or ``None``.
    :param sender: The sender of both.
    :param payload: What both carry.
    :raises TypeError: If ``payload`` has one of the two names that are added.

    .. versionadded:: 0.1
    """

    def __init__(
        self, started: Signal, finished: Signal, sender: Any = None, /, **payload: Any
    ) -> None:
        taken = payload.keys() & {"duration_seconds", "exception"}
        if taken:
            raise TypeError(
                f"the payload of around() must not have {' and '.join(sorted(taken))};"
                " the finished signal carries it anyway"
            )
        self._started = started
        self._finished = finished
        self._sender = sender
        self._payload = payload
        # A stack, as one object may be entered again within itself.
        self._starts: list[float] = []

    def __enter__(self) -> None:
        self._started.send_robust(self._sender, **self._payload)
        self._starts.append(perf_counter())

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._finished.send_robust(self._sender, **self._result(error))

    async def __aenter__(self) -> None:
        await self._started.send_robust_async(self._sender, **self._payload)
        self._starts.append(perf_counter())

    async def __aexit__(
        self, _: object, error: BaseException | None, __: object
    ) -> None:
        await self._finished.send_robust_async(self._sender, **self._result(error))

    def __call__(self, function: F) -> F:
        """Decorate a function, each call of which is a unit of work.

        :raises TypeError: For a generator function, whose work is done later.
        """
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(
            function
        ):
            raise TypeError(
                f"around() cannot decorate the generator function {describe(function)},"
                " whose work is done after its call; use a with block inside it"
            )
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def call_async(*args: Any, **kwargs: Any) -> Any:
                async with self._again():
                    return await function(*args, **kwargs)

            return t.cast("F", call_async)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with self._again():
                return function(*args, **kwargs)

        return t.cast("F", call)

    def _again(self) -> around:
        """Return one for another unit of work, maybe at the same time."""
        return around(self._started, self._finished, self._sender, **self._payload)

    def _result(self, error: BaseException | None) -> dict[str, Any]:
        duration = perf_counter() - self._starts.pop()
        return {**self._payload, "duration_seconds": duration, "exception": error}
