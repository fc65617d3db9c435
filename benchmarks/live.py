"""Measures the cost of the live page for a request, a statement and a poll.

``python -m benchmarks.live`` times, in one run, a Flask application with and without a
:class:`~signalpost.live.LiveRecorder`, and with flask-debugtoolbar and
Flask-MonitoringDashboard if they are installed. Then it times the polls of a page of
eight workers whose files are full. The variants take turns, as in ``timing``.
"""

from __future__ import annotations

import argparse
import importlib
import tempfile
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from contextlib import ExitStack
from contextlib import nullcontext
from dataclasses import replace
from types import CodeType
from typing import Any
from typing import TYPE_CHECKING

from signalpost.exchange import Exchange
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import sql_executed

from . import live_peers
from . import live_polls
from .applications import alone
from .applications import Application
from .applications import requests
from .applications import rows_of
from .applications import SetUp
from .middleware import extended
from .report import BARE
from .report import head_line
from .report import NOTHING
from .report import table
from .report import versions_text
from .timing import Batch
from .timing import measure
from .timing import Row
from .timing import Timing

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication
    from sqlalchemy import Connection
    from sqlalchemy import Engine
    from sqlalchemy import TextClause

ROUNDS = 200
STATEMENTS = 10
"""How many statements the second application executes for a request."""

WARMING = 10
"""How many requests come before each batch."""

AGAIN = "bare, another"
NEVER = "no receiver"
NO_OP = "no-op receivers"
PLAIN = "LiveRecorder, no waterfall"
WATERFALL = "LiveRecorder"

AIMS = ((PLAIN, 15), (WATERFALL, 40))
"""How many microseconds a request may cost, by the name of the set-up."""
STATEMENT_AIM = 3

LEGEND = f"""\
A request gets a page of HTML from a view of Flask's; the second application executes
{STATEMENTS} statements for it, each of a different shape, on SQLite in memory. A
statement's cost is the difference of both by {STATEMENTS}, what is written at the end
of the request included. "bare, another" is a second application of the same kind; what
it seems to add cannot be measured. "no receiver" is set up by the extension, and its
engine is instrumented; "no-op receivers" get exchange-closed and sql-executed,
and do nothing. The peers are set up as their documentation shows."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the tables.

    :param arguments: The arguments of the command line, without the program's name.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live")
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, help="how many batches each variant gets"
    )
    parser.add_argument(
        "--polls", type=int, default=25, help="how many polls of each kind"
    )
    options = parser.parse_args(arguments)
    print(head_line())
    with ExitStack() as stack:
        rows, missing = _rows(stack)
        peers = f"Compared with: {versions_text('live')}"
        for text in (peers, *missing, LEGEND):
            print(f"\n{text}")
        for text in _shown(*measure(rows, options.rounds).values()):
            print(f"\n{text}")
    print(f"\n{live_polls.LEGEND}")
    for text in live_polls.shown(options.polls):
        print(f"\n{text}")


def _rows(stack: ExitStack) -> tuple[list[Row], list[str]]:
    """Return the rows to time, and a line for each package that is missing."""
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="signalpost-"))
    peers, missing = live_peers.set_ups(folder)
    plain = Application("request", lambda: _application(stack, 0), {}, is_flask=True)
    busy = Application(
        f"request with {STATEMENTS} statements",
        lambda: _application(stack, STATEMENTS),
        {_execute.__code__: STATEMENTS},
        is_flask=True,
    )
    ours, others = ([*map(_warmed, some)] for some in (_ours(), peers))
    # The peers only record statements of Flask-SQLAlchemy's engines.
    rows = rows_of([plain], [*ours, *others], _UNUSED) + rows_of([busy], ours, _UNUSED)
    return rows, missing


def _warmed(set_up: SetUp) -> SetUp:
    """Return a set-up that serves some requests before each batch.

    A new recorder writes a file of 1.5 MB, which evicts everything else from the
    processor's caches.
    """

    batches: dict[int, Batch] = {}

    def wrap(app: Any) -> WSGIApplication:
        served = set_up.wrap(app)
        batches[id(app)] = requests(served)
        return served

    @contextmanager
    def setting(app: Any) -> Generator[None]:
        with set_up.setting(app):
            batches[id(app)](WARMING)
            yield

    return replace(set_up, wrap=wrap, setting=setting)


def _ours() -> list[SetUp]:
    live: Any = importlib.import_module("signalpost.live").LiveRecorder
    closed = {live.closed.__code__: 1}
    nothing = {_receive.__code__: 1}
    return [
        SetUp(BARE, alone),
        SetUp(AGAIN, alone),
        SetUp(NEVER, extended, setting=_instrumented),
        SetUp(NO_OP, extended, nothing, _with_receivers),
        SetUp(PLAIN, extended, closed, _recorded(live, waterfall=False)),
        SetUp(WATERFALL, extended, closed, _recorded(live, waterfall=True)),
    ]


def _recorded(kind: Any, *, waterfall: bool) -> Callable[[Any], Any]:
    @contextmanager
    def setting(app: Any) -> Generator[None]:
        with (
            _instrumented(app),
            tempfile.TemporaryDirectory(prefix="signalpost-bench-") as folder,
        ):
            recorder = kind(folder=f"{folder}/live", waterfall=waterfall)
            recorder.connect(app)
            try:
                yield
            finally:
                recorder.disconnect(app)

    return setting


def _receive(sender: object, *, exchange: Exchange) -> None:
    """Do nothing with an exchange."""


def _receive_statement(
    sender: object, *, statement: str, duration_seconds: float
) -> None:
    """Do nothing with a statement."""


_UNUSED: tuple[CodeType, ...] = (_receive.__code__,)


@contextmanager
def _instrumented(app: Any) -> Generator[None]:
    from signalpost.integrations.sqlalchemy import instrument

    engine = app.extensions.get("engine")
    with nullcontext() if engine is None else instrument(engine):
        yield


@contextmanager
def _with_receivers(app: Any) -> Generator[None]:
    with (
        _instrumented(app),
        exchange_closed.connected_to(_receive),
        sql_executed.connected_to(_receive_statement),
    ):
        yield


def _application(stack: ExitStack, statements: int) -> Any:
    """Return a Flask application whose view executes a number of statements."""
    from flask import Flask

    app = Flask("benchmarks", static_folder=None)
    page = "<!doctype html><title>Mugs</title><body><p>Blue, and red.</p></body>"
    if not statements:
        app.add_url_rule("/", "view", lambda: page)
        return app
    engine, connection = _connected(stack)
    app.extensions["engine"] = engine
    texts = _texts(statements)

    def view() -> str:
        for text in texts:
            _execute(connection, text)
        return page

    app.add_url_rule("/", "view", view)
    return app


def _connected(stack: ExitStack) -> tuple[Engine, Connection]:
    from sqlalchemy import create_engine

    engine = create_engine("sqlite://")
    stack.callback(engine.dispose)
    return engine, stack.enter_context(engine.connect())


def _texts(count: int) -> list[TextClause]:
    from sqlalchemy import text

    return [text(f"SELECT {number} AS column_{number}") for number in range(count)]


def _execute(connection: Connection, text: TextClause) -> None:
    connection.execute(text).close()


def _shown(plain: Mapping[str, Timing], busy: Mapping[str, Timing]) -> list[str]:
    by_minima = _Costs(plain, busy, lambda timing: timing.minimum_ns)
    by_medians = _Costs(plain, busy, lambda timing: timing.median_ns)
    return [by_minima.table("minima"), by_medians.table("medians"), by_minima.aims()]


class _Costs:
    """The costs of all set-ups, from either the minima or the medians."""

    def __init__(
        self,
        plain: Mapping[str, Timing],
        busy: Mapping[str, Timing],
        of: Callable[[Timing], float],
    ) -> None:
        self._requests = {name: of(one) / 1000 for name, one in plain.items()}
        self._statements = {
            name: (of(one) / 1000 - self._requests[name]) / STATEMENTS
            for name, one in busy.items()
        }

    def request(self, name: str, base: str) -> float:
        """Return the microseconds that a set-up adds to a request of another one."""
        return self._requests[name] - self._requests[base]

    def statement(self, name: str, base: str) -> float:
        """Return the microseconds that a set-up adds to a statement of another one."""
        return self._statements[name] - self._statements[base]

    def table(self, what: str) -> str:
        """Return the costs as a table."""
        request, statement = self._requests[BARE], self._statements[BARE]
        lines = [
            ["bare, all of it", f"{request:.1f}", NOTHING, f"{statement:.1f}", NOTHING]
        ]
        for name in [*self._requests][1:]:
            cells = [f"{self.request(name, base):+.1f}" for base in _BASES]
            if name in self._statements:
                cells += [f"{self.statement(name, base):+.1f}" for base in _BASES]
            else:
                cells += [NOTHING, NOTHING]
            lines.append([name, *cells])
        names = [
            f"{what} beyond {base}"
            for what in ("request", "statement")
            for base in ("none", "no-op")
        ]
        return table([f"µs, by {what}", *names], lines)

    def aims(self) -> str:
        """Return the aims and the measured costs as a table."""
        found = [
            (f"request, {name}", limit, self.request(name, NO_OP))
            for name, limit in AIMS
        ]
        for name, _ in AIMS:
            taken = self.statement(name, NO_OP)
            found.append((f"statement, {name}", STATEMENT_AIM, taken))
        return table(
            ["µs beyond no-op receivers", "aim", "measured", "reached"],
            [
                [name, f"{limit}", f"{taken:.1f}", "yes" if taken <= limit else "no"]
                for name, limit, taken in found
            ],
        )


_BASES = (NEVER, NO_OP)


if __name__ == "__main__":
    main()
