"""Receivers that die sooner than their author thinks, found out in time."""

from __future__ import annotations

import opcode
import sys
import warnings
from collections.abc import Callable
from types import CodeType
from types import FrameType
from types import FunctionType
from types import MethodType
from typing import Final

from ..errors import WeakReceiverWarning
from .identity import describe

_POP_TOP = opcode.opmap["POP_TOP"]
_CACHE = opcode.opmap.get("CACHE", 0)

# sys.getrefcount is CPython's; elsewhere nothing can be said at connect.
_references: Callable[[object], int] = getattr(
    sys, "getrefcount", lambda _: sys.maxsize
)


def _references_of_a_temporary() -> int:
    """Return the count that a receiver has in `connect` when nobody keeps it."""

    def connect(receiver: object, sender: object = None) -> int:
        return _references(receiver)

    return connect(object())


def _references_of_a_variable() -> int:
    def connect(receiver: object, sender: object = None) -> int:
        return _references(receiver)

    kept = object()
    return connect(kept)


# Measured, not assumed: an interpreter that borrows its arguments counts otherwise.
_TEMPORARY = _references_of_a_temporary()
_TELLS_APART = _references_of_a_variable() > _TEMPORARY


def is_kept_by_nobody(receiver: object) -> bool:
    """Tell whether only the caller's own argument refers to ``receiver``.

    To be called by ``connect`` itself, with its parameter: the count includes that
    parameter and the argument of this call.
    """
    if not _TELLS_APART or _references(receiver) > _TEMPORARY + 1:
        return False
    # A bound method is made at each access; what counts is who keeps its instance.
    return (
        type(receiver) is not MethodType or _references(receiver.__self__) <= _TEMPORARY
    )


def is_result_discarded(caller: FrameType | None) -> bool:
    """Tell whether the call that ``caller`` is in stands alone as a statement.

    ``@signal.connect`` above a function holds it as little as an inline lambda is
    held; what tells them apart is whether the result of the call is kept.
    """
    if caller is None:
        return False
    code = caller.f_code.co_code
    after = caller.f_lasti + 2
    while after < len(code) and code[after] == _CACHE:
        after += 2
    return after < len(code) and code[after] == _POP_TOP


def warn_of_loss(receiver: object, signal: object) -> None:
    """Warn the caller's caller that a receiver dies as ``connect`` returns."""
    warnings.warn(
        f"receiver {describe(receiver)} dies as connect() returns: {signal!r} holds it"
        " weakly and nothing else holds it; keep it in a variable or connect it with"
        " weak=False",
        WeakReceiverWarning,
        stacklevel=3,
    )


def is_plain_function(receiver: object) -> bool:
    """Tell whether ``receiver`` is a function, closures and lambdas included."""
    return type(receiver) is FunctionType


def place_of(code: CodeType, instruction: int) -> str:
    """Return where an instruction of some code is, as ``file:line``."""
    for start, end, line in code.co_lines():
        if start <= instruction < end:
            return f"{code.co_filename}:{line}"
    return code.co_filename


IS_DEVELOPMENT_MODE: Final[bool] = sys.flags.dev_mode
"""Whether Python runs with ``-X dev``."""
