"""Minimal middleware, for comparison: a floor for the cost of signalpost's."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
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
    """Return floors: one times, one also logs, and one also counts bytes."""
    logger = new_logger()
    return [
        SetUp(TIMES, around(_layer(_TimedBody)), {_TimedBody.close.__code__: 1}),
        SetUp(
            LOGS,
            around(lambda app: _logging(app, logger)),
            {_LoggedBody.close.__code__: 1, _Nowhere.write.__code__: 1},
        ),
        SetUp(COUNTS, around(_layer(_CountedBody)), {_TimedBody.close.__code__: 1}),
    ]


def new_logger() -> logging.Logger:
    """Return a logger that formats its lines and discards them."""
    # getLogger would add it to the loggers of the process.
    logger = logging.Logger("benchmarks", logging.INFO)
    output = logging.StreamHandler(_Nowhere())
    output.setFormatter(logging.Formatter(logging.BASIC_FORMAT))
    logger.addHandler(output)
    return logger


class _Nowhere(io.TextIOBase):
    """A stream that discards text; a system call would be most of the time."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass


def _layer(
    kind: type[_TimedBody],
) -> Callable[[WSGIApplication], WSGIApplication]:
    """Return a middleware that only wraps the body."""

    def wrap(app: WSGIApplication) -> WSGIApplication:
        def layer(
            environ: WSGIEnvironment, start_response: StartResponse
        ) -> Iterable[bytes]:
            start = perf_counter()
            return kind(app(environ, start_response), start)

        return layer

    return wrap


def _logging(app: WSGIApplication, logger: logging.Logger) -> WSGIApplication:
    """Time a request and log one line; bytes are those of its Content-Length."""

    def layer(
        environ: WSGIEnvironment, start_response: StartResponse
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

        body = _LoggedBody(app(environ, noting_start), start)
        body.noted = environ, code, length, logger
        return body

    return layer


class _TimedBody:
    __slots__ = ("body", "duration_seconds", "start")

    def __init__(self, body: Iterable[bytes], start: float) -> None:
        self.body = body
        self.start = start
        self.duration_seconds = 0.0

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.body)

    def close(self) -> None:
        close = getattr(self.body, "close", None)
        if close is not None:
            close()
        self.duration_seconds = perf_counter() - self.start


class _CountedBody(_TimedBody):
    __slots__ = ("body_bytes",)

    def __iter__(self) -> Generator[bytes]:
        self.body_bytes = 0
        for chunk in self.body:
            self.body_bytes += len(chunk)
            yield chunk


class _LoggedBody(_TimedBody):
    __slots__ = ("noted",)
    noted: tuple[WSGIEnvironment, str, str, logging.Logger]

    def close(self) -> None:
        _TimedBody.close(self)
        environ, code, length, logger = self.noted
        logger.info(
            "%s %s %s %.1f ms %s bytes",
            environ["REQUEST_METHOD"],
            environ["PATH_INFO"],
            code,
            self.duration_seconds * 1000,
            length,
        )
