"""Measures what signalpost and other packages add to a statement."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterable
from collections.abc import Mapping
from contextlib import AbstractContextManager
from contextlib import contextmanager
from contextlib import ExitStack
from contextlib import nullcontext
from dataclasses import dataclass
from dataclasses import field
from functools import partial
from time import perf_counter
from types import CodeType
from typing import Any
from typing import TYPE_CHECKING
from wsgiref.util import setup_testing_defaults

from signalpost._current import context_exchange
from signalpost.exchange import Exchange
from signalpost.lifecycle import sql_executed
from signalpost.receivers.sql import SqlLogger
from signalpost.receivers.sql_totals import count_sql

from . import floors
from . import peers
from .report import aims_and_measured
from .report import BARE
from .report import installed
from .report import microseconds_added
from .timing import batch_of
from .timing import Row
from .timing import Timings
from .timing import Variant

if TYPE_CHECKING:
    from sqlalchemy import Engine

LEGEND = """\
A statement is SELECT 1 on SQLite in memory, by a connection that stays open, from a
text object that is made once; its result is closed at once. "outside" is without an
exchange, "within" in one. "bare, another" is a second engine with no receiver; nothing
smaller than what it seems to add, and 0.2 µs, can be measured. Three are made by hand,
for comparison: "floor" calls the driver in SQLAlchemy's stead, and times it; "events"
are SQLAlchemy's before and after a statement, with two functions that are "empty",
or that time it. "no receiver" is instrumented; "had one" had a receiver, which is
gone. "SqlLogger" finds no statement slow enough; "logs each" formats a line for each
and writes it to nowhere. "OTel" is OpenTelemetry: "no-op" its API alone, "SDK" with
each span recorded and kept in memory, and no metrics. "record_queries" is
Flask-SQLAlchemy's, in a context of its application."""


AGAIN = "bare, another"
NEVER = "no receiver"
ONCE = "had one"
ONE = "1 receiver"

UNMEASURABLE_MICROSECONDS = 0.2
"""The smallest measurable time, in addition to the difference of two bare engines."""

AIMS: Mapping[str, float | None] = {NEVER: None, ONCE: None, ONE: 3}
"""The microseconds that each set-up may add; ``None`` for nothing measurable."""

_LOGGER = SqlLogger.__call__.__code__
_COUNTER = type(count_sql).__call__.__code__

Setting = Callable[["Engine"], AbstractContextManager[object]]


@dataclass(frozen=True, slots=True)
class SetUp:
    """A way to observe the statements of an engine."""

    name: str
    """The label of its line."""
    setting: Setting = nullcontext
    """Return the context that a batch with the engine needs."""
    calls: Mapping[CodeType, int] = field(default_factory=dict)
    """How often each piece of its code must run for one statement."""
    new_engine: Callable[[], Engine] | None = None
    """Return the engine of a variant; ``None`` for a plain engine."""


@contextmanager
def rows() -> Generator[tuple[list[Row], list[str]]]:
    """Yield the rows to time, and a line for each package that is missing.

    Each variant has its own engine and connection, which are closed at the end.
    """
    try:
        importlib.import_module("sqlalchemy")
    except ImportError:
        yield [], ["the statements are left out: sqlalchemy is not installed"]
        return
    others, missing = installed(
        ("OpenTelemetry for SQLAlchemy", _opentelemetry),
        ("Flask-SQLAlchemy", _flask_sqlalchemy),
    )
    set_ups = [SetUp(BARE), SetUp(AGAIN), *_by_hand(), *_ours(), *others]
    with ExitStack() as stack:
        yield (
            [
                Row(
                    name,
                    [_variant(one, stack, is_within=is_within) for one in set_ups],
                )
                for name, is_within in (("outside", False), ("within", True))
            ],
            missing,
        )


def aims_table(timings: Timings) -> str:
    """Return the aims and the measured times as a table."""
    lines = []
    for row, found in timings.items():
        nothing = UNMEASURABLE_MICROSECONDS + abs(microseconds_added(found, AGAIN))
        for name, aim in AIMS.items():
            limit = nothing if aim is None else aim
            lines.append((f"{row}, {name}", limit, microseconds_added(found, name)))
    return aims_and_measured(lines)


def receive(sender: object, *, statement: str, duration_seconds: float) -> None:
    """Do nothing with a statement."""


def _by_hand() -> Iterable[SetUp]:
    """Return minimal observers of SQLAlchemy."""

    def execute(cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
        start = perf_counter()
        cursor.execute(statement, parameters)
        context.duration_seconds = perf_counter() - start
        return True

    def pass_on(*given: Any) -> tuple[Any, Any]:
        return given[2], given[3]

    def end(*given: Any) -> None:
        pass

    def begin_timing(*given: Any) -> tuple[Any, Any]:
        given[4].begun = perf_counter()
        return given[2], given[3]

    def end_timing(*given: Any) -> None:
        given[4].duration_seconds = perf_counter() - given[4].begun

    yield _listening("floor: times", ("do_execute", execute, {}))
    for name, before, after in (
        ("events: empty", pass_on, end),
        ("events: time", begin_timing, end_timing),
    ):
        yield _listening(
            name,
            # SQLAlchemy wraps an observer that returns nothing in one more call.
            ("before_cursor_execute", before, {"retval": True}),
            ("after_cursor_execute", after, {}),
        )


def _listening(
    name: str, *listening: tuple[str, Callable[..., Any], dict[str, bool]]
) -> SetUp:
    from sqlalchemy import event

    @contextmanager
    def setting(engine: Engine) -> Generator[None]:
        for moment, function, how in listening:
            event.listen(engine, moment, function, **how)
        try:
            yield
        finally:
            for moment, function, _ in listening:
                event.remove(engine, moment, function)

    calls = {function.__code__: 1 for _, function, _ in listening}
    return SetUp(name, setting, calls)


def _ours() -> Iterable[SetUp]:
    from signalpost.integrations.sqlalchemy import instrument

    @contextmanager
    def had_one(engine: Engine) -> Generator[None]:
        with instrument(engine):
            with sql_executed.connected_to(receive):
                pass
            yield

    def connected(receiver: Callable[..., object]) -> Setting:
        @contextmanager
        def setting(engine: Engine) -> Generator[None]:
            with instrument(engine), sql_executed.connected_to(receiver):
                yield

        return setting

    each = SqlLogger(slow_seconds=0, logger=floors.new_logger())
    yield SetUp(NEVER, instrument)
    yield SetUp(ONCE, had_one)
    yield SetUp(ONE, connected(receive), {receive.__code__: 1})
    yield SetUp("SqlLogger", connected(SqlLogger()), {_LOGGER: 1})
    yield SetUp("SqlLogger, logs each", connected(each), {_LOGGER: 1})
    yield SetUp("count_sql", connected(count_sql), {_COUNTER: 1})


def _opentelemetry() -> list[SetUp]:
    package = importlib.import_module("opentelemetry.instrumentation.sqlalchemy")
    tracer = importlib.import_module("opentelemetry.trace").NoOpTracer
    sdk = peers.Sdk()

    @contextmanager
    def instrumented(engine: Engine, providers: Mapping[str, Any]) -> Generator[None]:
        instrumentor = package.SQLAlchemyInstrumentor()
        # It was imported, so its dependencies are installed.
        instrumentor.instrument(engine=engine, skip_dep_check=True, **providers)
        try:
            yield
        finally:
            instrumentor.uninstrument()

    @contextmanager
    def recorded(engine: Engine) -> Generator[None]:
        with instrumented(engine, sdk.providers), sdk.emptied(engine):
            yield

    return [
        SetUp(
            "OTel SQLAlchemy, no-op",
            lambda engine: instrumented(engine, peers.no_op()),
            {tracer.start_span.__code__: 1},
        ),
        SetUp("OTel SQLAlchemy, SDK", recorded, sdk.calls),
    ]


def _flask_sqlalchemy() -> list[SetUp]:
    package = importlib.import_module("flask_sqlalchemy")
    records = importlib.import_module("flask_sqlalchemy.record_queries")
    flask = importlib.import_module("flask")
    apps: dict[Engine, Any] = {}

    def new_engine() -> Engine:
        app = flask.Flask("benchmarks", static_folder=None)
        app.config["SQLALCHEMY_RECORD_QUERIES"] = True
        app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
        database = package.SQLAlchemy(app)
        with app.app_context():
            engine: Engine = database.engine
        apps[engine] = app
        return engine

    def in_context(engine: Engine) -> AbstractContextManager[object]:
        # Its records are stored in this context, and deleted with it.
        context: AbstractContextManager[object] = apps[engine].app_context()
        return context

    calls = {records._QueryInfo.__init__.__code__: 1}
    return [SetUp("record_queries", in_context, calls, new_engine)]


def _variant(set_up: SetUp, stack: ExitStack, *, is_within: bool) -> Variant:
    import sqlalchemy as sa

    new = set_up.new_engine or partial(sa.create_engine, "sqlite://")
    engine = new()
    stack.callback(engine.dispose)

    @contextmanager
    def setting() -> Generator[None]:
        with set_up.setting(engine), _exchange() if is_within else nullcontext():
            yield

    batch = batch_of(
        "connection.execute(statement).close()",
        connection=stack.enter_context(engine.connect()),
        statement=sa.text("SELECT 1"),
    )
    # Code of signalpost that must not run, except in a set-up that requires it.
    unused = dict.fromkeys((receive.__code__, _LOGGER, _COUNTER), 0)
    calls = {sa.Connection.execute.__code__: 1, **unused, **set_up.calls}
    return Variant(set_up.name, batch, calls, setting)


@contextmanager
def _exchange() -> Generator[None]:
    """Set a current exchange for a block, as the middleware does for a call.

    A call of the middleware in the batch would be timed, too.
    """
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    exchange = Exchange(environ, None)
    token = context_exchange.set(exchange)
    try:
        yield
    finally:
        context_exchange.reset(token)
        exchange._release()
