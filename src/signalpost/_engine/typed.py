"""Signals that a typed function declares."""

from __future__ import annotations

import typing as t
from collections.abc import Callable
from reprlib import repr as short_repr
from types import FunctionType
from typing import Any

from ..errors import PayloadError
from .asyncness import is_async_receiver
from .asyncness import is_generator_function
from .connection import Receiver
from .results import Outcome
from .signal import NamedSignal

S = t.TypeVar("S")
P = t.ParamSpec("P")


class TypedSignal(NamedSignal, t.Generic[S, P]):
    """A signal whose sends are checked by type checkers.

    Returned by :meth:`Namespace.declare`.

    .. versionadded:: 0.1
    """

    if t.TYPE_CHECKING:

        def send(  # type: ignore[override]  # narrower on purpose
            self, sender: S, /, *args: P.args, **payload: P.kwargs
        ) -> list[tuple[Receiver, Any]]: ...

        def send_robust(  # type: ignore[override]  # as above
            self, sender: S, /, *args: P.args, **payload: P.kwargs
        ) -> list[Outcome]: ...

        async def send_async(  # type: ignore[override]  # as above
            self, sender: S, /, *args: P.args, **payload: P.kwargs
        ) -> list[tuple[Receiver, Any]]: ...

        async def send_robust_async(  # type: ignore[override]  # as above
            self, sender: S, /, *args: P.args, **payload: P.kwargs
        ) -> list[Outcome]: ...


def payload_of(function: Callable[..., object]) -> tuple[str, ...]:
    """Return the payload that a function declares.

    :raises PayloadError: If it is not a plain function that takes a sender by position
        and all else by keyword only.
    """
    form = "def order_placed(sender: Shop, *, order: Order) -> None"
    if type(function) is not FunctionType:
        raise PayloadError(
            f"declare() takes a function, got {short_repr(function)}; write {form}"
        )
    if is_generator_function(function) or is_async_receiver(function):
        raise PayloadError(
            f"declare() takes a plain function, got {function.__qualname__}, which is"
            f" async or a generator; write {form}"
        )
    code = function.__code__
    has_rest = bool(code.co_flags & (0x4 | 0x8))  # *args, **kwargs
    if code.co_argcount != 1 or has_rest or code.co_varnames[0] != "sender":
        raise PayloadError(
            f"{function.__qualname__} must take the sender, and the payload by keyword"
            f" only; write {form}"
        )
    if function.__defaults__ or function.__kwdefaults__:
        raise PayloadError(
            f"{function.__qualname__} must not have defaults, as every send carries all"
            " of its payload; leave them out"
        )
    return code.co_varnames[1 : 1 + code.co_kwonlyargcount]
