"""The least that a middleware can do: what ours is compared with."""

from __future__ import annotations

import io
import logging
from collections.abc import Generator
from collections.abc import Iterable
from collections.abc import Iterator
from time import perf_counter
from typing import Any
from typing import TYPE_CHECKING

from .applications import around
from .applications import SetUp

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

TIMES = "floor: times"
LOGS = "floor: times, logs"
COUNTS = "floor: times, counts bytes"


def set_ups() -> list[SetUp]:
    """Return the floors: one that times, one that logs too, one that counts too."""
    logger = new_logger()
    return [
        SetUp(TIMES, around(_Timing), {_TimedBody.close.__code__: 1}),
        SetUp(
            LOGS,
            around(lambda app: _Logging(app, logger)),
            {_LoggedBody.close.__code__: 1, _Nowhere.write.__code__: 1},
        ),
        SetUp(COUNTS, around(_Counting), {_CountedBody.close.__code__: 1}),
    ]


def new_logger() -> logging.Logger:
    """Return a logger that writes formatted lines to where nobody reads them."""
    # Not from getLogger: no logger of the process is changed by this.
    logger = logging.Logger("benchmarks", logging.INFO)
    output = logging.StreamHandler(_Nowhere())
    output.setFormatter(logging.Formatter(logging.BASIC_FORMAT))
    logger.addHandler(output)
    return logger


class _Nowhere(io.TextIOBase):
    """A stream without a system call, which would be most of what is timed."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass


class _Timing:
    """Times a request from the call to the close, and does nothing else."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        start = perf_counter()
        return _TimedBody(self._app(environ, start_response), start)


class _TimedBody:
    __slots__ = ("_body", "_start", "duration_seconds")

    def __init__(self, body: Iterable[bytes], start: float) -> None:
        self._body = body
        self._start = start
        self.duration_seconds = 0.0

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            close()
        self.duration_seconds = perf_counter() - self._start


class _Counting:
    """Times a request, and counts the bytes of its body."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        start = perf_counter()
        return _CountedBody(self._app(environ, start_response), start)


class _CountedBody:
    __slots__ = ("_body", "_start", "body_bytes", "duration_seconds")

    def __init__(self, body: Iterable[bytes], start: float) -> None:
        self._body = body
        self._start = start
        self.body_bytes = 0
        self.duration_seconds = 0.0

    def __iter__(self) -> Generator[bytes]:
        for chunk in self._body:
            self.body_bytes += len(chunk)
            yield chunk

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            close()
        self.duration_seconds = perf_counter() - self._start


class _Logging:
    """Times a request and logs one line; bytes are those of its Content-Length."""

    def __init__(self, app: WSGIApplication, logger: logging.Logger) -> None:
        self._app = app
        self._logger = logger

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        start = perf_counter()
        code = length = "-"

        def noting_start(
            status: str, headers: list[tuple[str, str]], exc_info: Any = None
        ) -> Any:
            nonlocal code, length
            code = status[:3]
            for name, value in headers:
                if name.lower() == "content-length":
                    length = value
            return start_response(status, headers, exc_info)

        body = self._app(environ, noting_start)
        return _LoggedBody(body, start, environ, (code, length), self._logger)


class _LoggedBody:
    __slots__ = ("_body", "_environ", "_logger", "_noted", "_start")

    def __init__(
        self,
        body: Iterable[bytes],
        start: float,
        environ: WSGIEnvironment,
        noted: tuple[str, str],
        logger: logging.Logger,
    ) -> None:
        self._body = body
        self._start = start
        self._environ = environ
        self._noted = noted
        self._logger = logger

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            close()
        duration_seconds = perf_counter() - self._start
        code, length = self._noted
        self._logger.info(
            "%s %s %s %.1f ms %s bytes",
            self._environ["REQUEST_METHOD"],
            self._environ["PATH_INFO"],
            code,
            duration_seconds * 1000,
            length,
        )
