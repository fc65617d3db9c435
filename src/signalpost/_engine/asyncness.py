"""Async receivers, which are recognised when they are connected."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import CoroutineType
from types import FunctionType
from types import MethodType
from typing import Any

from ..errors import ReceiverError
from .identity import describe

# As in inspect, which takes much longer to import than all of this package.
CO_GENERATOR = 0x20
CO_COROUTINE = 0x80
CO_ITERABLE_COROUTINE = 0x100
CO_ASYNC_GENERATOR = 0x200

CO_ASYNC = CO_COROUTINE | CO_ASYNC_GENERATOR
# The marks of inspect.markcoroutinefunction() and of asgiref's substitute for it.
MARK = "_is_coroutine_marker" if sys.version_info >= (3, 12) else "_is_coroutine"


def is_async_receiver(receiver: Callable[..., Any]) -> bool:
    """Return whether calling ``receiver`` gives something to await.

    Follows bound methods, partials, ``functools.wraps`` and async
    ``__call__`` methods, and reads marks such as :func:`inspect.markcoroutinefunction`
    and asgiref's.

    :raises ReceiverError: For an async generator function, whose body would never
        run.
    """
    function = receiver
    for _ in range(100):  # no wrapper is deeper; a cycle of __wrapped__ is
        if _flags(function) & CO_ASYNC_GENERATOR:
            raise ReceiverError(
                f"receiver {describe(receiver)} is an async generator function, whose"
                " body would never run; connect a coroutine function without yield",
                receiver,
            )
        if is_coroutine_function(function):
            return True
        inner = _inner(function)
        if inner is None:
            break
        function = inner
    return False


def is_coroutine_function(function: Any) -> bool:
    """Return whether this very object is a coroutine function, or marked as one."""
    return bool(_flags(function) & CO_COROUTINE) or _is_marked(function)


def is_generator_function(function: Any) -> bool:
    """Return whether the body of a function runs only after its call, step by step."""
    for _ in range(100):  # as above
        if _flags(function) & (CO_GENERATOR | CO_ASYNC_GENERATOR):
            return True
        inner = _inner(function)
        if inner is None:
            break
        function = inner
    return False


def is_awaitable(value: Any) -> bool:
    """Return whether a value can be awaited, as :func:`inspect.isawaitable` does."""
    if type(value) is CoroutineType:
        return True
    if value is None or isinstance(value, type):
        return False
    if hasattr(type(value), "__await__"):
        return True
    code = getattr(value, "gi_code", None)
    flags = getattr(code, "co_flags", 0)
    return type(flags) is int and bool(flags & CO_ITERABLE_COROUTINE)


def _inner(function: Any) -> Any:
    """Return the object that a callable calls; ``None`` if that is not known."""
    kind = type(function)
    if isinstance(function, type):
        return None
    if isinstance(function, functools.partial):
        return function.func
    if kind is MethodType:
        return function.__func__
    if kind is FunctionType or hasattr(function, "__wrapped__"):
        return getattr(function, "__wrapped__", None)
    call = kind.__call__
    return call if type(call) is FunctionType else None


def _flags(function: Any) -> int:
    # A mock has a code with flags that are mocks, too; an AsyncMock has real ones.
    flags = getattr(getattr(function, "__code__", None), "co_flags", 0)
    return flags if type(flags) is int else 0


def _is_marked(function: Any) -> bool:
    mark = getattr(function, "_is_coroutine_marker", None)
    if mark is not None and mark is _constant("inspect", "_is_coroutine_mark"):
        return True
    mark = getattr(function, "_is_coroutine", None)
    return mark is not None and mark is _constant("asyncio.coroutines", "_is_coroutine")


def _constant(module: str, name: str) -> object:
    # Only that module can mark a function with it, so the module is imported then.
    return getattr(sys.modules.get(module), name, module)
