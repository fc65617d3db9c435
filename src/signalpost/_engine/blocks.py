"""Blocks that stop the sends of a signal, and decorators made of blocks."""

from __future__ import annotations

import functools
import typing as t
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import AbstractContextManager
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from typing import Self

from ..errors import AsyncReceiverError
from .asyncness import is_async_receiver
from .asyncness import is_awaitable
from .asyncness import is_generator_function
from .identity import describe
from .table import Table

F = t.TypeVar("F", bound=Callable[..., Any])


def decorated(
    function: F,
    new_block: Callable[[], AbstractContextManager[object]],
    new_async_block: Callable[[], t.AsyncContextManager[object]] | None = None,
) -> F:
    """Return a function whose calls each run in a new block.

    :param new_block: Makes the block.
    :param new_async_block: Makes the one of a coroutine function, if it is another.
    :raises TypeError: For a generator function, whose body runs after its call.
    """
    if is_generator_function(function):
        raise TypeError(
            f"cannot decorate the generator function {describe(function)}, whose body"
            " runs after its call; use a with block inside it"
        )
    call: Any
    if not is_async_receiver(function):

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with new_block():
                return function(*args, **kwargs)

    elif new_async_block is None:

        @functools.wraps(function)
        async def call(*args: Any, **kwargs: Any) -> Any:
            with new_block():
                return await function(*args, **kwargs)

    else:

        @functools.wraps(function)
        async def call(*args: Any, **kwargs: Any) -> Any:
            async with new_async_block():
                return await function(*args, **kwargs)

    return t.cast("F", call)


class Block:
    """A ``with`` block, which may be opened again, and decorates functions."""

    def __enter__(self) -> Any:
        raise NotImplementedError

    def __exit__(self, *error: object) -> None:
        raise NotImplementedError

    def again(self) -> Self:
        """Return another one, for another call of a decorated function."""
        raise NotImplementedError

    def __call__(self, function: F) -> F:
        """Decorate a function, async or not: each call is a block.

        :raises TypeError: For a generator function, whose body runs after its call.
        """
        return decorated(function, self.again)


class WaitingSend(t.NamedTuple):
    """A send that waits for the end of a block."""

    send: Callable[[], Any]
    is_async: bool
    table: Table


class OpenBlock:
    """One block that is open in one context, with the sends that wait in it.

    Its table is ``None`` when it has ended: a thread or task that was started within it
    may still have it in its context.
    """

    __slots__ = ("block", "is_async", "table", "waiting")

    def __init__(
        self, block: _Stop, waiting: list[WaitingSend], *, is_async: bool
    ) -> None:
        self.block = block
        self.table: Table | None = block.table
        self.is_async = is_async
        self.waiting = waiting

    def add(self, send: Callable[[], Any], *, is_async: bool) -> None:
        """Delay a send.

        :raises AsyncReceiverError: If it is async, and the block cannot await it.
        """
        table = self.block.table
        if is_async and not self.is_async:
            signal = table.signal()
            raise AsyncReceiverError(
                f"an async send of {signal} cannot wait in {self.block.limit}", signal
            )
        self.waiting.append(WaitingSend(send, is_async, table))


# One variable for all signals: a ContextVar made for each would never be freed.
_open_blocks: ContextVar[tuple[OpenBlock, ...]] = ContextVar(
    "signalpost.blocks", default=()
)


class _Stop(Block):
    """A block in which a signal does not send as usual, in this context."""

    limit: t.ClassVar[str] = "a with block of held(); write async with"
    """The end of a message: where async sends cannot wait, and what to write."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self._opened: list[OpenBlock] = []

    def __exit__(self, *error: object) -> None:
        self._close()

    def again(self) -> Self:
        return type(self)(self.table)

    def _open(
        self, *, is_async: bool, waiting: list[WaitingSend] | None = None
    ) -> OpenBlock:
        waiting = [] if waiting is None else waiting
        found = OpenBlock(self, waiting, is_async=is_async)
        self.table.run_now(self.table.open_block)
        self._opened.append(found)
        _open_blocks.set((*_still_open(), found))
        return found

    def _close(self) -> OpenBlock:
        # The block of this context: other threads may have opened it, too.
        mine = [one for one in _still_open() if one.block is self]
        found = mine[-1] if mine else self._opened[-1]
        self._opened.remove(found)
        found.table = None
        self.table.run_now(self.table.close_block)
        _open_blocks.set(_still_open())
        return found


class Muted(_Stop):
    """A block in which a signal calls no receiver, in this context."""

    def __enter__(self) -> None:
        self._open(is_async=False)


class Held(_Stop):
    """A block in which the sends of a signal wait, in this context.

    Returned by :meth:`Signal.held`.

    .. versionadded:: 0.1
    """

    def drop(self) -> None:
        """Drop the sends that wait; later sends wait as before."""
        for one in _still_open():
            if one.block is self:
                one.waiting.clear()

    def __exit__(self, *error: object) -> None:
        for send in self._end(has_failed=error[0] is not None):
            send()

    def __enter__(self) -> Self:
        self._open(is_async=False)
        return self

    async def __aenter__(self) -> Self:
        self._open(is_async=True)
        return self

    async def __aexit__(self, *error: object) -> None:
        for send in self._end(has_failed=error[0] is not None):
            result = send()
            if is_awaitable(result):
                await result

    def __call__(self, function: F) -> F:
        return decorated(function, self.again, self.again)

    def _end(self, *, has_failed: bool) -> list[Callable[[], Any]]:
        """End the block, and return the sends that are due now."""
        waiting = self._close().waiting
        outer = held_block(self.table)
        if has_failed:
            return []
        if outer is None:
            return [one.send for one in waiting]
        for one in waiting:
            outer.add(one.send, is_async=one.is_async)
        return []


def _still_open() -> tuple[OpenBlock, ...]:
    return tuple(one for one in _open_blocks.get() if one.table is not None)


def is_muted(table: Table) -> bool:
    """Return whether a signal is muted in this context."""
    return any(
        one.table is table and isinstance(one.block, Muted)
        for one in _open_blocks.get()
    )


def held_block(table: Table) -> OpenBlock | None:
    """Return the innermost block of this context that a signal's sends wait in."""
    for one in reversed(_open_blocks.get()):
        if one.table is table and isinstance(one.block, Held):
            return one
    return None


@contextmanager
def passing(is_passed: Callable[[OpenBlock], bool]) -> Iterator[None]:
    """Make sends ignore some of the open blocks of this context."""
    others = tuple(one for one in _still_open() if not is_passed(one))
    token = _open_blocks.set(others)
    try:
        yield
    finally:
        _open_blocks.reset(token)
