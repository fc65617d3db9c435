"""Make a span current while the application works for an exchange."""

from __future__ import annotations

import typing as t
from collections.abc import Generator
from collections.abc import Iterable
from collections.abc import Iterator

from opentelemetry.context import attach
from opentelemetry.context import Context
from opentelemetry.context import detach
from opentelemetry.context import get_current

from ...exchange import Exchange
from ...wsgi.kinds import has_method

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["Layer"]


class Layer:
    """Wrap an application for one exchange, and attach a context around its work.

    A context is attached and detached within the call, within each step of the body
    and within its close: in one thread and one context each, and never from one of
    them to the next.

    :param context: The context.
    :param exchange: The exchange.
    :param app: The application.
    """

    __slots__ = ("_app", "_context", "_exchange")

    def __init__(
        self, context: Context, exchange: Exchange, app: WSGIApplication
    ) -> None:
        self._app = app
        self._context = context
        self._exchange = exchange

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Call the application; see :pep:`3333`."""
        token = attach(self._context)
        try:
            body = self._app(environ, start_response)
        finally:
            detach(token)
            # A traceback may keep this frame.
            del token
        return _bracketed(body, self._context, self._exchange)


def _bracketed(
    body: Iterable[bytes], context: Context, exchange: Exchange
) -> Iterable[bytes]:
    """Return a body that runs the application's code in a context."""
    kind = type(body)
    # These run no code, and servers check their types.
    if issubclass(kind, (list, tuple, bytes, str)):
        return body
    if any(wrapped is body for wrapped, _ in exchange._sent_files):
        return body
    if not has_method(kind, "__iter__"):
        return body
    if has_method(kind, "__len__"):
        return _SizedBody(body, context)
    return _Body(body, context)


class _Body:
    """A body whose steps and whose close run in a context of OpenTelemetry's.

    :param body: The application's body.
    :param context: The context of the first step.
    """

    __slots__ = ("_body", "_context")

    def __init__(self, body: Iterable[bytes], context: Context) -> None:
        self._body = body
        self._context = context

    def __iter__(self) -> Generator[bytes]:
        steps: Iterator[bytes] | None = None
        while True:
            token = attach(self._context)
            try:
                if steps is None:
                    steps = iter(self._body)
                chunk = next(steps)
            except StopIteration:
                return
            finally:
                # A context that a generator has attached is its own until it detaches
                # it: current again at its next step, but not in between.
                self._context = get_current()
                detach(token)
            yield chunk

    def close(self) -> None:
        """Close the application's body, as :pep:`3333` has it."""
        close = getattr(self._body, "close", None)
        if close is None:
            return
        token = attach(self._context)
        try:
            close()
        finally:
            detach(token)


class _SizedBody(_Body):
    """A body with a length; see :class:`_Body`."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(t.cast("list[bytes]", self._body))
