"""The two ends of a response: how it starts, and its body until the close."""

from __future__ import annotations

import sys
import typing as t
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterable
from wsgiref.headers import Headers

from ..exchange import Exchange
from ..exchange import ResponseStart
from ..exchange import Where

if t.TYPE_CHECKING:
    from _typeshed import OptExcInfo
    from _typeshed.wsgi import StartResponse

__all__ = ["ClosingBody", "Recorder", "SizedBody", "Starter", "closing_body"]


class Recorder(t.Protocol):
    """Who is told what happens to a response."""

    def ready(self, exchange: Exchange, starter: Starter) -> None:
        """Hear that the application has answered, if ``starter`` was called."""

    def failed(
        self, exchange: Exchange, starter: Starter, error: BaseException, where: Where
    ) -> None:
        """Hear that an exception is leaving the application."""

    def closed(self, exchange: Exchange, starter: Starter, *, is_whole: bool) -> None:
        """Hear that the server has closed the response."""

    def lost(self, exchange: Exchange, starter: Starter, *, is_whole: bool) -> None:
        """Hear that the response is garbage and was never closed."""


class Starter:
    """The ``start_response`` that the application gets.

    It passes on what it is called with, and notes status and time. Attributes are
    those of the server's: some WebSocket libraries find the connection through
    ``start_response.__self__``.

    :param start_response: The server's.
    :param exchange: The exchange to note in.
    :param outer: The exchange of the same environment that this one is part of.
    """

    __slots__ = (
        "_exchange",
        "_headers",
        "_start_response",
        "_status",
        "_write",
        "content_length",
        "has_failed",
        "outer",
    )

    outer: Exchange | None
    """The exchange that this one is part of: a mounted application's."""
    content_length: int | None
    """The body's length by its header, if there is one."""
    has_failed: bool
    """Whether an exception has left the application."""

    def __init__(
        self,
        start_response: StartResponse,
        exchange: Exchange,
        outer: Exchange | None = None,
    ) -> None:
        self.outer = outer
        self.content_length = None
        self.has_failed = False
        self._start_response = start_response
        self._exchange: Exchange | None = exchange
        self._status: str | None = None
        self._headers: list[tuple[str, str]] = []
        self._write: Callable[[bytes], object] | None = None

    def __call__(
        self,
        status: str,
        headers: list[tuple[str, str]],
        exc_info: OptExcInfo | None = None,
    ) -> Callable[[bytes], object]:
        """Start the response, and return what writes a body; as :pep:`3333` says."""
        # Servers need not take a third argument that was not given.
        if exc_info is None:
            write = self._start_response(status, headers)
        else:
            write = self._start_response(status, headers, exc_info)
        exchange = self._exchange
        if exchange is not None:
            self._status = status
            self._headers = headers
            exchange.seconds_to_headers = exchange.seconds_since_start()
            exchange.status = status_code_of(status)
            self.content_length = content_length_of(headers)
            if exchange.route is None:
                exchange.read_route()
        self._write = write
        return self._counted_write

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self._start_response, name)

    @property
    def has_started(self) -> bool:
        """Whether the application has called it."""
        return self._status is not None

    def response(self) -> ResponseStart:
        """Return what it was last called with."""
        status = str(self._status)
        return ResponseStart(status, status_code_of(status), Headers([*self._headers]))

    def release(self) -> None:
        """Let go of the exchange: tracebacks may keep this object for long."""
        self._exchange = None
        self.outer = None

    def _counted_write(self, data: bytes) -> object:
        result = t.cast("Callable[[bytes], object]", self._write)(data)
        if self._exchange is not None:
            count_chunk(self._exchange, data)
        return result


class ClosingBody:
    """A response body that tells when it begins, ends, fails and is closed.

    An object with a generator *method*, not a generator: closing a generator that
    never started runs none of its code, and the close must never be missed.

    :param body: What the application returned.
    :param exchange: The exchange to note in.
    :param starter: The ``start_response`` of the exchange.
    :param recorder: Who is told.
    """

    __slots__ = ("_body", "_exchange", "_is_whole", "_recorder", "_starter")

    def __init__(
        self,
        body: Iterable[bytes],
        exchange: Exchange,
        starter: Starter,
        recorder: Recorder,
    ) -> None:
        self._body = body
        self._exchange: Exchange | None = exchange
        self._starter = starter
        self._recorder = recorder
        self._is_whole = False

    def __iter__(self) -> Generator[bytes]:
        exchange = self._exchange
        if exchange is None:  # closed already
            return
        try:
            for chunk in self._body:
                if exchange.seconds_to_first_byte is None:
                    self._recorder.ready(exchange, self._starter)
                    count_chunk(exchange, chunk)
                else:
                    exchange.body_bytes += len(chunk)
                yield chunk
        except GeneratorExit:
            raise
        except BaseException as error:
            self._recorder.failed(exchange, self._starter, error, "iteration")
            # The traceback keeps this frame: it must not keep the exchange.
            del exchange
            raise
        self._recorder.ready(exchange, self._starter)
        self._is_whole = True
        # The close sets it again; should it never come, this is what counts.
        exchange.duration_seconds = exchange.seconds_since_start()

    def close(self) -> None:
        """Close the application's body, once, and the exchange with it."""
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        except BaseException as error:
            self._recorder.failed(exchange, self._starter, error, "close")
            raise
        finally:
            self._body = ()
            self._recorder.closed(exchange, self._starter, is_whole=self._is_whole)
            del exchange

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        exchange = self._exchange
        if exchange is not None and not is_finalizing():
            self._exchange = None
            self._recorder.lost(exchange, self._starter, is_whole=self._is_whole)


class SizedBody(ClosingBody):
    """The same for a list or a tuple.

    Servers derive a Content-Length from a length of 1.
    """

    __slots__ = ()

    def __len__(self) -> int:
        return len(t.cast("list[bytes]", self._body))


def closing_body(
    body: Iterable[bytes], exchange: Exchange, starter: Starter, recorder: Recorder
) -> ClosingBody:
    """Return the body for the server, with a length if the application's has one."""
    kind = SizedBody if isinstance(body, (list, tuple)) else ClosingBody
    return kind(body, exchange, starter, recorder)


def count_chunk(exchange: Exchange, chunk: bytes) -> None:
    """Note a chunk, and when the first byte was handed over."""
    exchange.body_bytes += len(chunk)
    if chunk and exchange.seconds_to_first_byte is None:
        exchange.seconds_to_first_byte = exchange.seconds_since_start()


def status_code_of(status: object) -> int | None:
    """Return the code in a status line; ``None`` if it does not begin with one.

    A reason phrase may be missing, as in ``"200"``; that is between the application
    and the server.
    """
    code = str(status)[:3]
    return int(code) if len(code) == 3 and code.isascii() and code.isdigit() else None


def content_length_of(headers: object) -> int | None:
    """Return the Content-Length among headers, if there is one that can be read."""
    if not isinstance(headers, list):
        return None
    for name, value in headers:
        if str(name).lower() == "content-length":
            text = str(value)
            return int(text) if text.isascii() and text.isdigit() else None
    return None
