"""The slowest requests and statements of a run, shown at its end."""

from __future__ import annotations

import heapq
import os
import sys
import threading
import typing as t
from collections.abc import Callable
from collections.abc import Iterable

import pytest

from ...exchange import Exchange
from ...lifecycle import exchange_closed
from ...lifecycle import sql_executed
from ...receivers.lines import single_line
from ...receivers.lines import truncated
from ...receivers.locations import location_of
from ...receivers.paths import route_or_path
from ...receivers.response_times import response_times

# Seconds, and what took them: text and numbers only, as a worker of pytest-xdist
# sends it to the process that prints.
Entry: t.TypeAlias = tuple[float, str]

_OUTPUT = "signalpost_slowest"
"""The key of the data that a worker of pytest-xdist sends."""


class Slowest:
    """A plugin for runs with ``--signalpost-slowest``.

    :param config: The run's configuration.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        number: int = config.getoption("signalpost_slowest")
        self._requests = Largest(number)
        self._statements = Largest(number)
        exchange_closed.connect(self._record_request)
        sql_executed.connect(self._record_statement)

    def pytest_unconfigure(self) -> None:
        """Disconnect."""
        exchange_closed.disconnect(self._record_request)
        sql_executed.disconnect(self._record_statement)

    def pytest_sessionfinish(self) -> None:
        """Pass the records to pytest-xdist, if this is one of its workers."""
        output = getattr(self._config, "workeroutput", None)
        if output is not None:
            output[_OUTPUT] = [self._requests.entries(), self._statements.entries()]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object) -> None:
        """Receive the records of a worker of pytest-xdist."""
        # A worker that crashed has none.
        output = getattr(node, "workeroutput", {})
        requests, statements = output.get(_OUTPUT, ((), ()))
        self._requests.add_all(requests)
        self._statements.add_all(statements)

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter
    ) -> None:
        """Print the slowest of all."""
        for entries, title, missing in (
            (self._requests.entries(), "slowest requests", _NO_REQUEST),
            (self._statements.entries(), "slowest statements", _NO_STATEMENT),
        ):
            terminalreporter.section(f"signalpost: {title}")
            for seconds, text in entries:
                terminalreporter.write_line(f"{seconds * 1000:.1f} ms {text}")
            if not entries:
                terminalreporter.write_line(missing)

    def _record_request(self, sender: object, *, exchange: Exchange) -> None:
        seconds, _ = response_times(exchange)
        if seconds is not None:
            self._requests.add(seconds, lambda: _text_of_request(exchange))

    def _record_statement(
        self, sender: object, *, statement: str, duration_seconds: float
    ) -> None:
        frame = sys._getframe(1)  # noqa: SLF001  # inspect would read files

        def text() -> str:
            shown = single_line(truncated(" ".join(statement.split())))
            return f"{shown}\n    at {single_line(location_of(frame))}{_in_test()}"

        self._statements.add(duration_seconds, text)


class Largest:
    """The largest of many numbers, each with a text that is made only if it is one.

    :param number: How many are kept.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._heap: list[Entry] = []
        # Re-entrant: a finaliser that runs within may close an exchange.
        self._lock = threading.RLock()

    def add(self, seconds: float, text: Callable[[], str]) -> None:
        """Keep an entry if it is one of the largest."""
        with self._lock:
            if len(self._heap) < self._number:
                heapq.heappush(self._heap, (seconds, text()))
            elif seconds > self._heap[0][0]:
                heapq.heapreplace(self._heap, (seconds, text()))

    def add_all(self, entries: Iterable[Entry]) -> None:
        """Keep those of another process that are among the largest."""
        for seconds, text in entries:
            self.add(seconds, text.__str__)

    def entries(self) -> list[Entry]:
        """Return the kept entries, the largest first."""
        with self._lock:
            return sorted(self._heap, reverse=True)


def _text_of_request(exchange: Exchange) -> str:
    _, place = route_or_path(exchange)
    status = "-" if exchange.status is None else exchange.status
    return f"{exchange.method} {single_line(truncated(place))} {status}{_in_test()}"


def _in_test() -> str:
    # pytest sets it, as "tests/test_shop.py::test_cart (call)".
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    return f"\n    in {single_line(test)}" if test else ""


_NO_REQUEST = (
    "no request was recorded; wrap the application, with Signalpost(app) or"
    " SignalMiddleware(app), and close its responses"
)
_NO_STATEMENT = (
    "no statement was recorded; instrument the engine, with"
    " signalpost.integrations.sqlalchemy.instrument()"
)
