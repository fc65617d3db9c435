"""Receivers that die sooner than their author thinks, found out in time."""

from __future__ import annotations

import opcode
import sys
import warnings
from collections.abc import Callable
from types import CodeType
from types import FrameType
from types import MethodType
from typing import Final

from ..errors import WeakReceiverWarning
from .identity import describe

_POP_TOP = opcode.opmap["POP_TOP"]
_CACHE = opcode.opmap.get("CACHE", 0)

# sys.getrefcount is CPython's; elsewhere nothing can be said at connect.
references: Final[Callable[[object], int]] = getattr(
    sys, "getrefcount", lambda _: sys.maxsize
)
"""Returns how many references there are to an object, its argument included."""


def _references_of_a_temporary() -> int:
    """Return the count that a receiver has in `connect` when nobody keeps it."""

    def connect(receiver: object, sender: object = None) -> int:
        return references(receiver)

    return connect(object())


def _references_of_a_variable() -> int:
    def connect(receiver: object, sender: object = None) -> int:
        return references(receiver)

    kept = object()
    return connect(kept)


# Measured, not assumed: an interpreter that borrows its arguments counts otherwise.
OF_A_TEMPORARY: Final[int] = (
    count
    if (count := _references_of_a_temporary()) < _references_of_a_variable()
    else -1
)
"""How many :data:`references` a parameter has if only the caller's own argument
refers to it; ``-1`` where that cannot be told."""


def is_lost(receiver: object, caller: FrameType | None) -> bool:
    """Tell whether a receiver with so few references dies as ``connect`` returns.

    :param caller: The frame that has called ``connect``.
    """
    # A bound method is made at each access; what counts is who keeps its instance.
    if type(receiver) is MethodType and references(receiver.__self__) > OF_A_TEMPORARY:
        return False
    return is_result_discarded(caller)


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
        f"receiver {describe(receiver)} dies as connect() returns: {signal} holds it"
        " weakly and nothing else holds it; keep it in a variable or connect it with"
        " weak=False",
        WeakReceiverWarning,
        stacklevel=3,
    )


def place_of(code: CodeType, instruction: int) -> str:
    """Return where an instruction of some code is, as ``file:line``."""
    for start, end, line in code.co_lines():
        if start <= instruction < end:
            return f"{code.co_filename}:{line}"
    return code.co_filename


IS_DEVELOPMENT_MODE: Final[bool] = sys.flags.dev_mode
"""Whether Python runs with ``-X dev``."""
