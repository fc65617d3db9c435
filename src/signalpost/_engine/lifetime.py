"""Report, at ``connect``, receivers that are freed when it returns."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from types import CodeType
from types import FrameType
from types import FunctionType
from types import MethodType
from typing import Final

from ..errors import ReceiverError
from ..errors import WeakReceiverWarning
from .identity import bound_parts
from .identity import describe

CO_OPTIMIZED: Final = 0x1
"""The flag of code that is a function's."""

# Only CPython has sys.getrefcount; others cannot recognise a lost receiver.
references: Final[Callable[[object], int]] = getattr(
    sys, "getrefcount", lambda _: sys.maxsize
)
"""Returns how many references there are to an object, its argument included."""


def _references_of_a_temporary() -> int:
    """Return the count that a receiver has in `connect` when nothing else holds it."""

    def connect(receiver: object, sender: object = None) -> int:
        return references(receiver)

    return connect(object())


def _references_of_a_variable() -> int:
    def connect(receiver: object, sender: object = None) -> int:
        return references(receiver)

    kept = object()
    return connect(kept)


# Measured, not assumed: an interpreter that borrows its arguments counts otherwise.
REFERENCES_OF_A_TEMPORARY: Final[int] = (
    count
    if (count := _references_of_a_temporary()) < _references_of_a_variable()
    else -1
)
"""How many :data:`references` a parameter has if only the caller's own argument
refers to it; ``-1`` where that is not known."""


def is_lost(receiver: object, caller: FrameType | None) -> bool:
    """Return whether a receiver with so few references dies as ``connect`` returns.

    :param caller: The frame that has called ``connect``.
    """
    # A bound method is made at each access; the references to its instance count.
    if type(receiver) is MethodType:
        if references(receiver.__self__) > REFERENCES_OF_A_TEMPORARY:
            return False
    elif bound_parts(receiver) is not None:
        return False  # how many references its instance has then is unknown
    return is_result_discarded(caller)


def is_result_discarded(caller: FrameType | None) -> bool:
    """Return whether the current call of ``caller`` is a whole statement.

    A decorated function has as few references as an inline lambda. They differ in
    whether the result of the call is kept.
    """
    if caller is None:
        return False
    from opcode import opmap  # only for receivers that may be lost: a faster import

    code = caller.f_code.co_code
    after = caller.f_lasti + 2
    while after < len(code) and code[after] == opmap.get("CACHE", 0):
        after += 2
    return after < len(code) and code[after] == opmap["POP_TOP"]


def warn_of_loss(receiver: object, signal: object) -> None:
    """Warn the caller's caller that a receiver dies as ``connect`` returns."""
    warnings.warn(
        f"receiver {describe(receiver)} is freed as connect() returns: {signal}"
        " holds it"
        " weakly and nothing else holds it; keep it in a variable or connect it with"
        " weak=False",
        WeakReceiverWarning,
        stacklevel=3,
    )


def check_not_in_class_body(receiver: object, frame: FrameType, signal: object) -> None:
    """Check that a function is not connected in the body of the class it belongs to.

    :param frame: The frame that has called ``connect``.
    :raises ReceiverError: If it is: the function is not a method yet.
    """
    # Not f_locals of a function's frame: reading it would keep the values alive.
    if frame.f_code.co_flags & CO_OPTIMIZED or type(receiver) is not FunctionType:
        return
    if frame.f_locals is frame.f_globals:
        return
    owner = receiver.__qualname__.rpartition(".")[0]
    if owner != frame.f_locals.get("__qualname__"):
        return
    raise ReceiverError(
        f"receiver {describe(receiver)} of {signal} is connected in the body of its"
        " class, where it has no instance; mark it with @receiver_method(signal) and"
        " call connect_methods(self) in __init__, or put @staticmethod between"
        " @signal.connect and a function that takes no self",
        receiver,
    )


def location_of(code: CodeType, instruction: int) -> str:
    """Return where an instruction of some code is, as ``file:line``."""
    for start, end, line in code.co_lines():
        if start <= instruction < end:
            return f"{code.co_filename}:{line}"
    return code.co_filename


IS_DEVELOPMENT_MODE: Final[bool] = sys.flags.dev_mode
"""``True`` if Python runs with ``-X dev``."""
