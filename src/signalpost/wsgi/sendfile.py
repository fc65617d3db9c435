"""Files that the server sends by itself, seen to their close and left to it."""

from __future__ import annotations

import sys
import typing as t
from collections.abc import Callable
from functools import lru_cache

from ..exchange import context_exchange

__all__ = ["FILE_WRAPPER", "SentFile", "stand_in_for"]

FILE_WRAPPER: t.Final = "wsgi.file_wrapper"
"""The key of the server's own wrapper in the environment (:pep:`3333`)."""


def stand_in_for(wrap: Callable[..., t.Any]) -> Callable[..., t.Any]:
    """Return what stands for the server's wrapper while the application is called.

    It gives the server's own a file that tells when it is closed, and notes what came
    out with the current exchange. That is the server's own object: the server knows
    it again, and sends the file as it would have (:pep:`3333`, "Optional
    Platform-Specific File Handling").

    :param wrap: The server's, a function or a class.
    :returns: The like.
    """
    if isinstance(wrap, type):
        return _class_for(wrap)

    def wrapper(file: t.Any, *size: t.Any, **named: t.Any) -> t.Any:
        return _wrapped(wrap, file, size, named)

    return wrapper


class _StandIn(type):
    """The kind of classes that stand for a server's class."""

    wrap: type

    def __call__(cls, file: t.Any, *size: t.Any, **named: t.Any) -> t.Any:
        return _wrapped(cls.wrap, file, size, named)

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, cls.wrap)

    def __getattr__(cls, name: str) -> t.Any:
        return getattr(cls.wrap, name)


# A process has the classes of one server, and a test a few.
@lru_cache(maxsize=16)
def _class_for(wrap: type) -> _StandIn:
    return _StandIn(wrap.__name__, (), {"wrap": wrap, "__doc__": wrap.__doc__})


def _wrapped(
    wrap: Callable[..., t.Any],
    file: t.Any,
    size: tuple[t.Any, ...],
    named: dict[str, t.Any],
) -> t.Any:
    exchange = context_exchange.get()
    if exchange is None or not exchange.is_open:
        return wrap(file, *size, **named)
    sent = SentFile(file)
    wrapped = wrap(sent, *size, **named)
    exchange.sent_file = (wrapped, sent)
    return wrapped


class SentFile:
    """A file that tells, once, when the server has closed it.

    :param file: The file; whatever else it can do goes to it.
    """

    __slots__ = ("_file", "_handled", "_tell")

    def __init__(self, file: t.Any) -> None:
        self._file = file
        self._tell: Callable[[bool | None], None] | None = None
        # What the application handles itself, which the close has nothing to do with.
        self._handled = sys.exception()

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self._file, name)

    def __iter__(self) -> t.Any:
        return iter(self._file)

    def __next__(self) -> t.Any:
        return next(self._file)

    def __enter__(self) -> t.Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def tell_close(self, tell: Callable[[bool | None], None]) -> None:
        """Tell ``tell`` of the close.

        :param tell: Called once: with ``True`` when the server closes the file; with
            ``False`` if it does so because an exception came in its way, as when a
            client has left; with ``None`` if it never does.
        """
        self._tell = tell

    def close(self) -> None:
        """Close the file, and tell of it."""
        tell, self._tell = self._tell, None
        is_sent = sys.exception() is self._handled
        self._handled = None
        try:
            close = getattr(self._file, "close", None)
            if close is not None:
                close()
        finally:
            if tell is not None:
                tell(is_sent)

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        tell, self._tell = self._tell, None
        if tell is not None and not is_finalizing():
            tell(None)
