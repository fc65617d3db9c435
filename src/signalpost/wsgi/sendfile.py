"""Files that the server sends by itself, seen to their close and left to it."""

from __future__ import annotations

import sys
import typing as t
from collections.abc import Callable
from collections.abc import Iterable
from contextlib import ExitStack
from contextvars import Context
from functools import lru_cache

from .._current import codes_that_set
from .._current import context_exchange
from ..exchange import Exchange

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["FILE_WRAPPER", "SentFile", "body_or_file", "wrap_file_wrapper"]

FILE_WRAPPER: t.Final = "wsgi.file_wrapper"
"""The key of the server's own wrapper in the environment (:pep:`3333`)."""


def body_or_file(
    app: WSGIApplication, environ: WSGIEnvironment, start: StartResponse
) -> Iterable[bytes]:
    """Call the application, and record the file that it gives the server to send."""
    wrap = environ[FILE_WRAPPER]
    ours = environ[FILE_WRAPPER] = wrap_file_wrapper(wrap)
    try:
        return app(environ, start)
    finally:
        # Servers compare a body with their own to know that it is a file.
        if environ.get(FILE_WRAPPER) is ours:
            environ[FILE_WRAPPER] = wrap


def wrap_file_wrapper(wrap: Callable[..., t.Any]) -> Callable[..., t.Any]:
    """Return a proxy of the server's file wrapper, for the call of the application.

    It passes a file that reports its close to the server's wrapper, and records the
    result with the current exchange. The result is the server's own object: the server
    recognises it, and sends the file as it would have (:pep:`3333`, "Optional
    Platform-Specific File Handling").

    :param wrap: The server's, a function or a class.
    :returns: A function or a class, as ``wrap`` is.
    """
    if (
        isinstance(wrap, _FileWrapperProxy)
        or getattr(wrap, "__code__", None) is _WRAPPER_CODE
    ):
        return wrap  # an outer layer's, which serves both
    if isinstance(wrap, type):
        return _class_for(wrap)
    return _function_for(wrap)


def _function_for(wrap: Callable[..., t.Any]) -> Callable[..., t.Any]:
    def wrapper(file: t.Any, *size: t.Any, **named: t.Any) -> t.Any:
        return _wrapped(wrap, file, size, named)

    return wrapper


_WRAPPER_CODE = t.cast("t.Any", _function_for(len)).__code__


class _FileWrapperProxy(type):
    """Metaclass of the proxies of a server's class."""

    wrap: type

    def __call__(cls, file: t.Any, *size: t.Any, **named: t.Any) -> t.Any:
        return _wrapped(cls.wrap, file, size, named)

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, cls.wrap)

    def __getattr__(cls, name: str) -> t.Any:
        return getattr(cls.wrap, name)


# A process has the classes of one server, and a test a few.
@lru_cache(maxsize=16)
def _class_for(wrap: type) -> _FileWrapperProxy:
    return _FileWrapperProxy(wrap.__name__, (), {"wrap": wrap, "__doc__": wrap.__doc__})


def _wrapped(
    wrap: Callable[..., t.Any],
    file: t.Any,
    size: tuple[t.Any, ...],
    named: dict[str, t.Any],
) -> t.Any:
    exchange = context_exchange.get()
    if exchange is None or exchange._environ is None:
        return wrap(file, *size, **named)
    sent = SentFile(file)
    wrapped = wrap(sent, *size, **named)
    # Any of the mounted layers may get the file back.
    # A receiver may have set any object as the outer exchange.
    layer: t.Any = exchange
    while issubclass(type(layer), Exchange):
        layer._sent_files += ((wrapped, sent),)
        layer = layer.outer
    return wrapped


class SentFile:
    """A file that calls functions, once, when the server has closed it.

    :param file: The file; whatever else it can do goes to it.
    """

    __slots__ = ("_callbacks", "_file", "_handled")

    def __init__(self, file: t.Any) -> None:
        self._file = file
        self._callbacks: list[tuple[Exchange, Callable[[bool | None], None]]] = []
        # Exceptions that the application handles itself; the close ignores them.
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

    def call_when_closed(
        self, exchange: Exchange, callback: Callable[[bool | None], None]
    ) -> None:
        """Call ``callback`` at the close.

        :param exchange: The one that is closed with it, and is current then.
        :param callback: Called once: with ``True`` when the server closes the file;
            with ``False`` if it does so because of an exception, as when a
            client has left; with ``None`` if it never does.
        """
        self._callbacks.append((exchange, callback))

    def close(self) -> None:
        """Close the file, and call the callbacks."""
        error = sys.exception()
        is_sent = error is None or error is self._handled
        self._handled = None
        callbacks, self._callbacks = self._callbacks, []
        current = callbacks[0][0] if callbacks else context_exchange.get()
        token = context_exchange.set(current)
        try:
            close = getattr(self._file, "close", None)
            if close is not None:
                close()
        finally:
            try:
                _close_all(callbacks, is_sent)
            finally:
                context_exchange.reset(token)

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        callbacks, self._callbacks = self._callbacks, []
        if callbacks and not is_finalizing():
            # As for a freed body: outside of the request in progress.
            Context().run(_close_all, callbacks, None)


def _close_all(
    callbacks: list[tuple[Exchange, Callable[[bool | None], None]]],
    is_sent: bool | None,  # noqa: FBT001  # what is passed on
) -> None:
    """Report a close, the innermost layer first."""
    with ExitStack() as stack:
        for exchange, callback in reversed(callbacks):
            stack.callback(_close_one, exchange, callback, is_sent)


def _close_one(
    exchange: Exchange,
    callback: Callable[[bool | None], None],
    is_sent: bool | None,  # noqa: FBT001  # as above
) -> None:
    token = context_exchange.set(exchange)
    try:
        callback(is_sent)
    finally:
        context_exchange.reset(token)


codes_that_set.add(SentFile.close.__code__)
codes_that_set.add(_close_one.__code__)
