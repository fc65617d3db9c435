"""Workers whose files are full, for ``live_polls``.

``python -m benchmarks.live_workers FOLDER`` starts eight workers. Once their files are
full, it prints a line of JSON with their sizes. Then it changes all files for each line
of its input.
"""

from __future__ import annotations

import gc
import json
import sys
import tracemalloc
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from typing import TYPE_CHECKING
from wsgiref.util import setup_testing_defaults

from signalpost import SignalMiddleware
from signalpost.exchange import current_exchange
from signalpost.lifecycle import sql_executed
from signalpost.live import LiveRecorder
from signalpost.live._writer import flush
from signalpost.wsgi.routes import record_route

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIEnvironment

WORKERS = 8
REQUESTS = 700
"""Requests of each worker: more than a file has records."""
ROUTES = 95
SHAPES = 195
FAILURES = 50
REFERRERS = 195
IN_FLIGHT = 20
CHANGES = 20
"""Requests of each worker between two polls."""

_CHANGE = "change"
_END = "end"


class Worker:
    """An application with its own recorder."""

    def __init__(self, folder: str) -> None:
        def application(
            environ: WSGIEnvironment, start_response: StartResponse
        ) -> Iterable[bytes]:
            return _answer(environ, start_response)

        self._layer = SignalMiddleware(application)
        self._numbers = count()
        self._open: list[Any] = []
        self._recorder = LiveRecorder(folder=folder)
        self._recorder.connect(application)

    def fill(self) -> None:
        """Serve requests until the file is full; leave some requests open."""
        self.serve(REQUESTS)
        self._open = [self._called(fails=False) for _ in range(IN_FLIGHT)]

    def serve(self, requests: int) -> None:
        """Serve requests; some of them fail."""
        for _ in range(requests):
            # The application raises its failures.
            with suppress(LookupError):
                body = self._called()
                for _chunk in body:
                    pass
                body.close()

    def end(self) -> None:
        """Close the open requests."""
        for body in self._open:
            body.close()
        self._recorder.disconnect()

    def _called(self, *, fails: bool = True) -> Any:
        number = next(self._numbers)
        environ: WSGIEnvironment = {
            "PATH_INFO": f"/mugs/{number}/of/a/colour",
            "HTTP_REFERER": f"https://search.example/{number % REFERRERS}",
            "HTTP_X_REQUEST_ID": f"{number:032x}",
            "benchmarks.number": number,
            "benchmarks.fails": fails and number % 7 == 0,
        }
        setup_testing_defaults(environ)
        return self._layer(environ, _start_response)


class _Engine:
    """A sender of statements, as an engine of SQLAlchemy."""

    class dialect:  # noqa: N801  # SQLAlchemy's name
        name = "sqlite"


_engine = _Engine()


def _answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    number = environ["benchmarks.number"]
    record_route(environ, f"/mugs/<int:mug>/in/shop/{number % ROUTES}")
    for step in range(3):
        _execute(f"SELECT colour_{(3 * number + step) % SHAPES}, 7")
    if environ["benchmarks.fails"]:
        raise _failure(number // 7 % FAILURES)("the mug is not on its shelf")
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


def _execute(statement: str) -> None:
    sql_executed.send(
        _engine,
        statement=statement,
        parameters=None,
        parameters_count=1,
        duration_seconds=0.001,
        row_count=1,
        is_executemany=False,
        exception=None,
        exchange=current_exchange(),
    )


@cache
def _failure(number: int) -> type[LookupError]:
    return type(f"Failure{number}", (LookupError,), {})


def _start_response(
    status: str, headers: list[tuple[str, str]], exc_info: object = None, /
) -> Any:
    return bytes


def _bytes_of_a_worker(folder: str) -> int:
    """Return the bytes of memory of a full worker, without its file."""
    tracemalloc.start()
    worker = Worker(folder)
    # The first request creates objects that the process keeps.
    worker.serve(1)
    gc.collect()
    before, _ = tracemalloc.get_traced_memory()
    worker.fill()
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    worker.end()
    return after - before


def _work(folder: str, pipe: Any) -> None:
    """Fill the file of this process, and change it until the input ends."""
    worker = Worker(folder)
    worker.fill()
    flush()
    pipe.send(None)
    while pipe.recv() == _CHANGE:
        worker.serve(CHANGES)
        flush()
        pipe.send(None)
    worker.end()


def main(folder: str) -> None:
    """Start the workers, and change their files for each line of the input."""
    memory = _bytes_of_a_worker(f"{folder}/one")
    own = f"{folder}/live"
    context = get_context("fork")
    pipes, processes = [], []
    for _ in range(WORKERS):
        pipe, other = context.Pipe()
        processes.append(context.Process(target=_work, args=(own, other)))
        processes[-1].start()
        pipes.append(pipe)
    _wait(pipes)
    files = {
        kind: max(file.stat().st_size for file in Path(own).glob(f"*.{kind}"))
        for kind in ("live", "lists")
    }
    print(json.dumps({"memory": memory, **files}), flush=True)
    for _ in sys.stdin:
        for pipe in pipes:
            pipe.send(_CHANGE)
        _wait(pipes)
        print(flush=True)
    for pipe in pipes:
        pipe.send(_END)
    for process in processes:
        process.join()


def _wait(pipes: Iterable[Any]) -> None:
    for pipe in pipes:
        pipe.recv()


if __name__ == "__main__":
    main(sys.argv[1])
