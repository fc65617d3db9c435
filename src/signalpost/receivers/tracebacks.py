"""The text of exceptions, of bounded length whatever they are linked to."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from traceback import TracebackException
from typing import Any
from typing import cast

__all__ = ["Change", "is_large", "leaves_of", "links_of", "traceback_lines"]

_MOST_FRAMES = 64
"""How many frames of an exception are shown."""
_MOST_EXCEPTIONS = 50
"""How many exceptions are shown of those that one is linked to."""
_DEEPEST = 10
"""How many levels of groups are shown."""
_MOST_FOR_PYTHON = 500
"""How many exceptions Python's own text may have; it shows a member of two groups
twice."""

_BY_CAUSE = "The above exception was the direct cause of the following exception:"
_BY_CONTEXT = "During handling of the above exception, another exception occurred:"


def links_of(exception: BaseException) -> BaseException | None:
    """Return what an exception came from: its cause, or else its context if shown."""
    if exception.__cause__ is not None:
        return exception.__cause__
    return None if exception.__suppress_context__ else exception.__context__


def leaves_of(exception: BaseException) -> list[BaseException]:
    """Return the members of a group that are not groups, each once; or the exception.

    The time is linear in the number of groups and members.
    """
    leaves: dict[int, BaseException] = {}
    seen: set[int] = set()
    waiting = [exception]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, BaseExceptionGroup):
            waiting.extend(reversed(one.exceptions))
        else:
            leaves[id(one)] = one
    return [*leaves.values()]


def is_large(exception: BaseException) -> bool:
    """Return whether Python's own text of an exception is large, or cannot be made.

    It shows members of groups as often as they are referred to, and needs a level of
    the stack for each level of groups. At most some hundred exceptions are looked at.
    """
    count = 0
    waiting = [(exception, 0)]
    while waiting:
        one, depth = waiting.pop()
        count += 1
        if count > _MOST_FOR_PYTHON or depth > _DEEPEST:
            return True
        link = links_of(one)
        if link is not None:
            waiting.append((link, depth))
        if isinstance(one, BaseExceptionGroup):
            if len(one.exceptions) > _MOST_FOR_PYTHON:
                return True
            waiting.extend((member, depth + 1) for member in one.exceptions)
    return False


Change = Callable[[TracebackException, BaseException], object]
"""Changes what is shown of an exception that is shown by itself."""


def traceback_lines(
    exception: BaseException, change: Change | None = None
) -> Iterator[str]:
    """Yield the lines of a traceback, as Python writes it but of bounded size.

    Up to 64 frames of each exception, and up to 50 exceptions: those nearest to this
    one by cause and context, and the members of groups, 10 levels of them. Each is
    shown once. A long message may still have many lines.

    :param exception: The exception.
    :param change: Called with what is shown of each exception, and the exception.
    """
    yield from _Traceback(change).chain(exception, "", 0)


class _Traceback:
    """The lines shown so far of an exception and its linked exceptions."""

    def __init__(self, change: Change | None) -> None:
        self._change = change
        self._shown: set[int] = set()

    def chain(self, exception: BaseException, indent: str, depth: int) -> Iterator[str]:
        """Yield an exception after its causes."""
        chain = [exception]
        self._shown.add(id(exception))
        link = links_of(exception)
        while link is not None and not self._is_left_out(link):
            chain.append(link)
            self._shown.add(id(link))
            link = links_of(link)
        if link is not None:
            yield f"{indent}{self._instead_of(link)}"
            yield indent
            yield f"{indent}{_sentence(chain[-1])}"
            yield indent
        for position in reversed(range(len(chain))):
            yield from self._alone(chain[position], indent, depth)
            if position:
                yield indent
                yield f"{indent}{_sentence(chain[position - 1])}"
                yield indent

    def _alone(self, one: BaseException, indent: str, depth: int) -> Iterator[str]:
        trace = TracebackException(
            type(one),
            cast("Any", _Alone(one)),
            one.__traceback__,
            limit=-_MOST_FRAMES,
            compact=True,
        )
        if self._change is not None:
            self._change(trace, one)
        for part in trace.format(chain=False):
            for line in part.removesuffix("\n").split("\n"):
                yield f"{indent}{line}"
        if isinstance(one, BaseExceptionGroup):
            yield from self._members(one, indent, depth)

    def _members(
        self, group: BaseExceptionGroup[Any], indent: str, depth: int
    ) -> Iterator[str]:
        count = len(group.exceptions)
        for number, member in enumerate(group.exceptions, 1):
            if number > _MOST_EXCEPTIONS or len(self._shown) >= _MOST_EXCEPTIONS:
                yield f"{indent}  <{count - number + 1} more of {count} left out>"
                return
            yield f"{indent}  ---- {number} of {count} ----"
            if depth >= _DEEPEST or id(member) in self._shown:
                yield f"{indent}  {self._instead_of(member)}"
            else:
                yield from self.chain(member, f"{indent}  ", depth + 1)

    def _is_left_out(self, one: BaseException) -> bool:
        return id(one) in self._shown or len(self._shown) >= _MOST_EXCEPTIONS

    def _instead_of(self, one: BaseException) -> str:
        is_shown = id(one) in self._shown
        why = "shown once" if is_shown else "with what it is linked to, left out"
        return f"<{type(one).__qualname__}, {why}>"


class _Alone:
    """An exception without its links, for Python to format."""

    __cause__ = None
    __context__ = None
    __suppress_context__ = True

    def __init__(self, exception: BaseException) -> None:
        self._exception = exception

    # For some classes, Python adds a hint, so the class must stay the same.
    @property  # type: ignore[misc]  # as proxies do
    def __class__(self) -> type[BaseException]:  # type: ignore[override]
        if isinstance(self._exception, BaseExceptionGroup):
            return Exception
        return type(self._exception)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exception, name)

    def __str__(self) -> str:
        return str(self._exception)


def _sentence(later: BaseException) -> str:
    return _BY_CONTEXT if later.__cause__ is None else _BY_CAUSE
