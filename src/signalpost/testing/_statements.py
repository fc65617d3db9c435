"""Limits on the statements that a block executes."""

from __future__ import annotations

import sys
from collections import Counter
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from operator import itemgetter
from typing import Any
from typing import Self
from typing import TypeVar

from .._engine.blocks import Block
from .._engine.identity import ANY
from ..errors import NotInstrumentedError
from ..errors import TooManyStatementsError
from ..exchange import Exchange
from ..lifecycle import sql_executed
from ..receivers.lines import single_line
from ..receivers.lines import truncated
from ..receivers.locations import location_of
from ..receivers.masking import shape_of
from ..receivers.statements import is_further_part
from ._capturing import Captured
from ._capturing import Sent

F = TypeVar("F")

_MOST_LISTED = 100
"""The most statements, or shapes of them, that a message lists."""
_LONGEST_READ = 4096
"""The most characters of a statement that are read for a message."""
_LONGEST_LISTED = 300
"""The most characters of a statement that a message shows."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that was executed; see :func:`max_statements`.

    .. versionadded:: 0.1
    """

    text: str
    """The text that the driver got."""
    place: str
    """The innermost line of code that led to it and is not installed, as
    ``"/srv/shop/orders.py:31:names_of"``; ``"-"`` if there is none."""
    duration_seconds: float
    """The time that the driver took."""
    exchange: Exchange | None
    """The exchange that it was executed in."""
    shape: str
    """The text without values and comments, with ``(…)`` for each list of them:
    statements that differ in these alone have the same shape."""
    is_further_part: bool
    """``True`` if it is one of several calls for a single ``INSERT`` of many rows, but
    not the first: no repetition."""


class StatementLimit(Block):
    """A block with a limit of statements; from :func:`max_statements`.

    It may be opened again, and decorates functions.

    .. versionadded:: 0.1
    """

    limit: int
    """The most statements that it may execute."""
    is_used: bool
    """``True`` if the block was opened, or has decorated a function."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.is_used = False
        self._open: list[_Count] = []

    def __enter__(self) -> list[Statement]:
        """Return the list of statements, which fills during the block."""
        self.is_used = True
        count = _Count()
        self._open.append(count)
        return count.statements

    def __exit__(self, *error: object) -> None:
        """End the block.

        :raises TooManyStatementsError: If more were executed than may be.
        :raises NotInstrumentedError: If none could be counted.
        """
        __tracebackhide__ = True
        count = self._open.pop()
        count.end()
        statements = count.statements
        # The block's own exception is the better report.
        if error and error[0] is not None:
            return
        if not statements and not count.is_instrumented:
            raise NotInstrumentedError(
                f"{_expectation(self.limit)}, and none can be counted, as"
                " no engine is instrumented; call"
                " signalpost.integrations.sqlalchemy.instrument() before the test, and"
                " undo() after it"
            )
        if len(statements) > self.limit:
            raise TooManyStatementsError(
                _message(statements, self.limit), statements, self.limit
            )

    def __call__(self, function: F) -> F:
        """Decorate a function, async or not: each call is a block."""
        self.is_used = True
        decorated: F = super().__call__(function)  # type: ignore[type-var]
        return decorated

    def again(self) -> Self:
        """Return another one, for another call of a decorated function."""
        return type(self)(self.limit)


def max_statements(n: int, /) -> StatementLimit:
    """Fail if a ``with`` block executes more than ``n`` SQL statements.

    ::

        with max_statements(3):
            client.get("/orders")

    Each call of a database driver is a statement, whichever thread makes it and for
    whichever engine, if the engine is instrumented
    (:func:`signalpost.integrations.sqlalchemy.instrument`). The message of the failure
    lists the statements with their places in the code, and those that were repeated.

    As a decorator of a function, async or not, it counts what each call executes.

    :param n: How many statements the block may execute; 0 for none.
    :returns: A block that gives a list of :class:`Statement`, which fills during the
        block. At its end it raises :exc:`~signalpost.errors.TooManyStatementsError`,
        an :exc:`AssertionError`; or :exc:`~signalpost.errors.NotInstrumentedError` if
        no statement was executed and no engine is instrumented.
    :raises TypeError: If ``n`` is not an ``int``.
    :raises ValueError: If ``n`` is negative.

    .. versionadded:: 0.1
    """
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(
            f"max_statements() takes a number of statements, got {n!r}; write"
            " max_statements(3)"
        )
    if n < 0:
        raise ValueError(
            f"max_statements() takes a number from 0 up, got {n!r}; write"
            " max_statements(0) to allow no statement"
        )
    return StatementLimit(n)


def _statement_of(sent: Sent) -> Statement:
    return Statement(
        sent["statement"],
        location_of(sys._getframe(1)),  # noqa: SLF001  # inspect would read files
        sent["duration_seconds"],
        sent["exchange"],
        shape_of(sent["statement"], sent.sender),
        is_further_part.get(),
    )


class _Count:
    """The statements that are executed until its end, and whether they can be."""

    def __init__(self) -> None:
        with ExitStack() as stack:
            self.statements = stack.enter_context(
                Captured((sql_executed,), ANY, _statement_of)
            )
            # A test may instrument an engine, and undo it, within the block.
            self._found = stack.enter_context(
                Captured((_followers.receiver_connected,), ANY, _is_instrumentation_of)
            )
            self._found += map(_is_instrumentation, _following())
            self._stack = stack.pop_all()

    @property
    def is_instrumented(self) -> bool:
        """``True`` if an engine, or all of them, sent what they executed."""
        return any(self._found)

    def end(self) -> None:
        """Record nothing more."""
        self._stack.close()


# An instrumentation follows which receivers the signal has. It is found by the name
# of its module, as no room imports an integration.
_followers = sql_executed.receiver_connected
_INSTRUMENTATION = "signalpost.integrations.sqlalchemy"


def _following() -> list[Any]:
    return [one.receiver for one in _followers.connections]


def _is_instrumentation(receiver: object) -> bool:
    owner = getattr(receiver, "__self__", None)
    is_paused = getattr(owner, "is_paused", False)
    return type(owner).__module__.startswith(_INSTRUMENTATION) and not is_paused


def _is_instrumentation_of(sent: Sent) -> bool:
    return _is_instrumentation(sent["receiver"])


def _message(statements: Sequence[Statement], limit: int) -> str:
    places_by_shape = defaultdict[str, Counter[str]](Counter)
    for one in statements:
        if one.is_further_part:
            continue
        places_by_shape[one.shape][one.place] += 1
    repeated = [
        (places.total(), shape, places)
        for shape, places in places_by_shape.items()
        if places.total() > 1
    ]
    repeated.sort(key=itemgetter(0), reverse=True)
    lines = [f"{_expectation(limit)}, got {len(statements)}"]
    if repeated:
        lines.append("repeated:")
    for times, shape, places in repeated[:_MOST_LISTED]:
        (place, _), *others = places.most_common()
        other = "other place" if len(others) == 1 else "other places"
        also = f" and {len(others)} {other}" if others else ""
        lines.append(
            f"  {times} times: {_shown(shape)}\n    at {single_line(place)}{also}"
        )
    lines += _left_out(repeated)
    lines.append("statements:")
    for number, one in enumerate(statements[:_MOST_LISTED], 1):
        text = " ".join(one.text[:_LONGEST_READ].split())
        lines.append(f"  {number}. {_shown(text)}\n    at {single_line(one.place)}")
    lines += _left_out(statements)
    return "\n".join(lines)


def _expectation(limit: int) -> str:
    return f"expected at most {limit} statement{'' if limit == 1 else 's'}"


def _shown(text: str) -> str:
    return single_line(truncated(text, _LONGEST_LISTED))


def _left_out(listed: Sequence[object]) -> list[str]:
    more = len(listed) - _MOST_LISTED
    return (
        [f"  … {more} more {'is' if more == 1 else 'are'} left out"] if more > 0 else []
    )
