"""The two ends of a response: how it starts, and its body until the close."""

from __future__ import annotations

import sys
import time
import typing as t
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterable
from collections.abc import Iterator
from contextvars import Context
from sys import _getframe

from .._current import codes_that_set
from .._current import context_exchange
from .._current import producing
from ..exchange import Exchange
from ..exchange import ExchangeOutcome
from ..exchange import Where
from .kinds import has_method
from .kinds import method_of
from .kinds import ValuesByKind
from .leaving import codes_that_write
from .leaving import record_client_left
from .reading import code_of
from .reading import content_length
from .reading import count_chunk
from .reading import is_answer
from .reading import is_bodiless
from .reading import length_of
from .reading import seconds_since_start
from .reading import status_code_of
from .sendfile import SentFile

if t.TYPE_CHECKING:
    from _typeshed import OptExcInfo
    from _typeshed.wsgi import StartResponse

__all__ = [
    "BODY_FACTORIES",
    "ClosingBody",
    "ListBody",
    "Recorder",
    "RecordingStartResponse",
    "SizedBody",
    "body_for",
    "close_with_file",
]


class Recorder(t.Protocol):
    """Records what happens to a response: the layer, for its bodies."""

    def record_start(self, exchange: Exchange) -> None:
        """Record that the response has started, if it has."""

    def record_failure(
        self, exchange: Exchange, error: BaseException, where: Where
    ) -> None:
        """Record an exception that is leaving the application."""

    def record_exception(
        self, exchange: Exchange, error: BaseException, where: Where
    ) -> None:
        """Record an exception that the application has made its response of."""

    def close_exchange(
        self,
        exchange: Exchange,
        outcome: ExchangeOutcome | None = None,
    ) -> None:
        """Close the exchange, as the server has closed the response."""

    def close_lost_exchange(self, exchange: Exchange) -> None:
        """Close an exchange whose response was freed and never closed."""


class RecordingStartResponse:
    """The ``start_response`` that the application gets.

    It passes on what it is called with, and notes status and time. Attributes are
    those of the server's: some WebSocket libraries find the connection through
    ``start_response.__self__``.

    :param start_response: The server's.
    :param exchange: The exchange to note in.
    :param recorder: Gets the exception that the application gives, if any.
    """

    __slots__ = ("_start_response", "_write", "exchange", "recorder")

    recorder: Recorder
    """The layer whose exchange it is."""
    exchange: Exchange | None
    """The exchange to note in; ``None`` after its close, as tracebacks may keep this
    object for long."""

    def __init__(
        self, start_response: StartResponse, exchange: Exchange, recorder: Recorder
    ) -> None:
        self._start_response = start_response
        self.recorder = recorder
        self.exchange = exchange

    def __call__(
        self,
        status: str,
        headers: list[tuple[str, str]],
        exc_info: OptExcInfo | None = None,
    ) -> Callable[[bytes], object]:
        """Start the response, and return the function ``write`` (:pep:`3333`)."""
        exchange = self.exchange
        if exchange is not None and exchange._header_callbacks:
            headers = _with_added(exchange, headers)
        # Servers need not take a third argument that was not given.
        if exc_info is None:
            write = self._start_response(status, headers)
        else:
            write = self._start_response(status, headers, exc_info)
        if exchange is not None:
            exchange._start_status = status
            exchange._start_headers = headers
            exchange.status = (
                code_of(status) if type(status) is str else status_code_of(status)
            )
            try:
                exchange.seconds_to_headers = time.perf_counter() - exchange.start
                environ: t.Any = exchange._environ
                # Whether there is one or not, it is read now: soon it can be no more.
                # Without Werkzeug a look into the environment is all.
                if (
                    exchange._find_request is not None or "werkzeug.request" in environ
                ) and exchange._read_route():
                    exchange._is_started = True
            # A receiver may have set any value, and the request is the application's.
            except Exception:  # noqa: BLE001, S110
                pass
            if exc_info is not None:
                self._record_error(exchange, exc_info)
        self._write = write
        return self._counted_write

    def _record_error(self, exchange: Exchange, exc_info: object) -> None:
        """Record the exception that a response was made of, if it is a failure."""
        is_given = type(exc_info) is tuple and len(exc_info) > 1
        error: t.Any = t.cast("t.Any", exc_info)[1] if is_given else None
        if not issubclass(type(error), BaseException) or is_answer(error, exchange):
            return
        # It is set during the call and not while a body is produced.
        is_called = context_exchange.get() is exchange
        self.recorder.record_exception(
            exchange, error, "call" if is_called else "iteration"
        )

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self._start_response, name)

    def _counted_write(self, data: bytes) -> object:
        try:
            result = self._write(data)
        except Exception as error:
            # The application may handle it, and end as if all was written. The
            # traceback keeps this frame: it must not keep the exchange.
            if self.exchange is not None:
                record_client_left(error, self.exchange)
            raise
        exchange = self.exchange
        if exchange is not None:
            count_chunk(exchange, data)
            exchange._written_bytes += length_of(data)
        return result


def _with_added(
    exchange: Exchange, headers: list[tuple[str, str]]
) -> list[tuple[str, str]]:
    """Return the headers of a response with those that receivers add to it."""
    if type(headers) is not list:  # servers refuse other types, or use them unchanged
        return headers
    for header_for in exchange._header_callbacks:
        try:
            added = header_for(exchange, headers)
        except Exception:  # noqa: BLE001, S112  # the headers may be no headers
            continue
        if added is not None:
            # The list is the application's, which may use it again.
            headers = [*headers, added]
    return headers


class RecordedBody:
    """Body that records its start, its end, its failure and its close.

    An object with a generator *method*, not a generator: closing a generator that
    never started runs none of its code, and the close must never be missed.
    """

    # No slots here: a list could not have them as well.

    _body: Iterable[bytes]
    """The body that the application returned."""
    _exchange: Exchange | None
    """The exchange to note in; ``None`` once it is closed."""
    _recorder: Recorder
    """The layer that records it."""

    def __iter__(self) -> Generator[bytes]:
        exchange = self._exchange
        if exchange is None:  # closed already
            return
        place = id(_getframe())
        is_first = True
        is_closed = False
        producing[place] = exchange
        try:
            for chunk in self._body:
                if is_first:
                    if not exchange._is_finished:
                        self._recorder.record_start(exchange)
                    # An empty first chunk can make the server send the headers.
                    is_first = not count_chunk(exchange, chunk)
                else:
                    # A call of length_of() or suppress() would double the time.
                    try:  # noqa: SIM105
                        exchange.body_bytes += len(chunk)
                    except Exception:  # noqa: BLE001, S110  # as in count_chunk()
                        pass
                try:
                    yield chunk
                except GeneratorExit:
                    # Raised at the yield, it means that the server has closed this.
                    is_closed = True
                    raise
        except BaseException as error:
            if not is_closed:
                self._recorder.record_failure(exchange, error, "iteration")
            # The traceback keeps this frame: it must not keep the exchange.
            del exchange
            raise
        finally:
            producing.pop(place, None)
        if not exchange._is_finished:
            self._recorder.record_start(exchange)
        exchange._is_complete = True
        # close() sets it again; this value counts if close() is never called.
        exchange.duration_seconds = seconds_since_start(exchange)

    def close(self) -> None:
        """Close the application's body, once, and the exchange with it."""
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        token = context_exchange.set(exchange)
        try:
            body = self._body
            self._body = ()
            # A list has no close(), and a look-up would take time.
            close = None if type(body) is list else getattr(body, "close", None)
            if close is not None:
                close()
        except BaseException as error:
            self._recorder.record_failure(exchange, error, "close")
            raise
        finally:
            try:
                self._recorder.close_exchange(exchange)
            finally:
                context_exchange.reset(token)
                del exchange, token

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        exchange = self._exchange
        if exchange is not None and not is_finalizing():
            self._exchange = None
            # Python may free it within another request, whose context these receivers
            # must not get.
            Context().run(_close_lost, exchange, self._recorder)


def _close_lost(exchange: Exchange, recorder: Recorder) -> None:
    """Close an exchange whose body is freed, in a context that is then dropped."""
    context_exchange.set(exchange)
    recorder.close_lost_exchange(exchange)


class ClosingBody(RecordedBody):
    """The body for any iterable.

    :param body: The application's body.
    :param exchange: The exchange to note in.
    :param recorder: The layer that records it.
    """

    __slots__ = ("_body", "_exchange", "_recorder")

    def __init__(
        self,
        body: Iterable[bytes],
        exchange: Exchange,
        recorder: Recorder,
    ) -> None:
        self._body = body
        self._exchange = exchange
        self._recorder = recorder


class RecountingBody(RecordedBody):
    """Body with a length, which counts the chunks of each of its iterations.

    gevent's server iterates such a body to add up its length, once it has got the
    first chunk of the iteration that it sends.
    """

    __slots__ = ()

    def _chunks(self) -> Iterator[bytes]:
        """Return the chunks to count."""
        return super().__iter__()

    def __iter__(self) -> Generator[bytes]:
        exchange = self._exchange
        if exchange is None:  # closed already
            return
        counted = exchange._written_bytes
        is_whole = False
        try:
            for chunk in self._chunks():
                length = len(chunk) if type(chunk) is bytes else length_of(chunk)
                counted += length
                exchange.body_bytes = counted
                if length and exchange.seconds_to_first_byte is None:
                    try:  # noqa: SIM105  # as above
                        exchange.seconds_to_first_byte = (
                            time.perf_counter() - exchange.start
                        )
                    except Exception:  # noqa: BLE001, S110  # as in count_chunk()
                        pass
                yield chunk
            is_whole = True
        finally:
            if self._exchange is exchange:
                exchange.body_bytes = counted
                exchange._is_complete = is_whole


class SizedBody(RecountingBody, ClosingBody):
    """Body with a length: servers derive a Content-Length from the length 1."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(t.cast("list[bytes]", self._body))


class ListBody(RecountingBody, list[bytes]):
    """Body that is a list: some servers join the chunks of a list, and never close it.

    It is whole as soon as the server has it.
    """

    __slots__ = ("_body", "_exchange", "_recorder")

    def __init__(
        self,
        body: list[bytes],
        exchange: Exchange,
        recorder: Recorder,
    ) -> None:
        self += body
        self._body = body
        self._exchange = exchange
        self._recorder = recorder

    # No code of the application runs here, so none can fail.
    _chunks = list.__iter__

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        exchange = self._exchange
        if exchange is None or is_finalizing():
            return
        if exchange.seconds_to_first_byte is None:
            # It was not iterated, so the server used the file directly.
            for chunk in list.__iter__(self):
                count_chunk(exchange, chunk)
            exchange._is_complete = True
        super().__del__()


class ReadListBody(ListBody):
    """Body for a list with a custom ``__iter__`` that makes the chunks."""

    __slots__ = ()

    def __init__(
        self,
        body: list[bytes],
        exchange: Exchange,
        recorder: Recorder,
    ) -> None:
        # The list's items: its own __iter__ must only run for the server.
        super().__init__(list.copy(body), exchange, recorder)
        self._body = body

    def _chunks(self) -> Iterator[bytes]:
        return RecordedBody.__iter__(self)


BodyFactory: t.TypeAlias = Callable[[t.Any, Exchange, Recorder], Iterable[bytes]]

# To look for what a class does not have takes long, and an application has few kinds
# of bodies: this saves about 0.7 of the 13 µs that are added to a request to Flask.
BODY_FACTORIES: t.Final[ValuesByKind[BodyFactory]] = ValuesByKind()
"""The results of :func:`body_for`, by class."""


def body_for(kind: type) -> BodyFactory | None:
    """Return the class of the body that the server gets, which records its end.

    :param kind: The class of what the application returned.
    :returns: ``None`` if the server must get that very object: bytes and what cannot
        be iterated are mistakes, and each server responds differently to them.
    """
    known = BODY_FACTORIES.get(id(kind))
    if known is not None:
        return known[0]
    if issubclass(kind, list):
        is_read = method_of(kind, "__iter__") is not list.__iter__
        return BODY_FACTORIES.keep(kind, ReadListBody if is_read else ListBody)
    if issubclass(kind, (bytes, str)):
        return None
    if not (has_method(kind, "__iter__") or has_method(kind, "__getitem__")):
        return None
    return BODY_FACTORIES.keep(
        kind, SizedBody if has_method(kind, "__len__") else ClosingBody
    )


def close_with_file(file: SentFile, exchange: Exchange, recorder: Recorder) -> None:
    """Close an exchange when the server closes the file that it sends by itself.

    Nothing is counted then: the length is that of the header, or nothing.
    """
    exchange.body_bytes_exact = False
    if not is_bodiless(exchange):
        exchange.body_bytes = content_length(exchange) or 0

    def close(is_sent: bool | None) -> None:  # noqa: FBT001  # SentFile's
        if is_sent is None:
            recorder.close_lost_exchange(exchange)
        else:
            exchange._is_complete = is_sent
            recorder.close_exchange(exchange)

    file.call_when_closed(exchange, close)


codes_that_set.add(RecordedBody.close.__code__)
codes_that_write.add(RecordingStartResponse._counted_write.__code__)
codes_that_set.add(_close_lost.__code__)
