"""What hearing a statement adds to it: ours, and peers."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextlib import contextmanager
from contextlib import ExitStack
from contextlib import nullcontext
from dataclasses import dataclass
from dataclasses import field
from functools import partial
from itertools import repeat
from statistics import median
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
from .report import table
from .timing import Batch
from .timing import Figure
from .timing import measure
from .timing import Row
from .timing import Variant

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment
    from sqlalchemy import Connection
    from sqlalchemy import Engine

PACKAGES = (
    "sqlalchemy",
    "opentelemetry-sdk",
    "opentelemetry-instrumentation-sqlalchemy",
    "flask-sqlalchemy",
)

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

OUTSIDE = "outside"
WITHIN = "within"

BARE = "bare"
AGAIN = "bare, another"
FLOOR = "floor: times"
EMPTY = "events: empty"
TIMES = "events: time"
NEVER = "no receiver"
ONCE = "had one"
ONE = "1 receiver"
LOGGER = "SqlLogger"
EACH = "SqlLogger, logs each"
COUNTER = "count_sql"
NO_OP = "OTel SQLAlchemy, no-op"
SDK = "OTel SQLAlchemy, SDK"
RECORD = "record_queries"

ROUNDS_AT_A_TIME = 10
"""How many rounds a turn has."""

UNTOLD_MICROSECONDS = 0.2
"""What cannot be told from nothing, beside what two bare engines differ by."""

AIMS: Mapping[str, float | None] = {NEVER: None, ONCE: None, ONE: 3}
"""What each of ours may add, in microseconds; ``None`` for nothing measurable."""

Setting = Callable[["Engine"], AbstractContextManager[object]]


@dataclass(frozen=True, slots=True)
class SetUp:
    """One way to hear the statements of an engine."""

    name: str
    """The label of its line."""
    setting: Setting = nullcontext
    """What must be in place around a batch, for the engine."""
    calls: Mapping[CodeType, int] = field(default_factory=dict)
    """How often each piece of its code must run for one statement."""
    new_engine: Callable[[], Engine] = field(default=lambda: _new_engine())
    """Returns the engine, of which each variant gets one of its own."""


@contextmanager
def rows() -> Generator[tuple[list[Row], list[str]]]:
    """Give what is timed, and a line for each thing that is missing.

    Each variant has an engine and a connection of its own, which are closed at the end.
    """
    try:
        importlib.import_module("sqlalchemy")
    except ImportError:
        yield [], ["the statements are left out: sqlalchemy is not installed"]
        return
    beside, missing = _peers()
    set_ups = [SetUp(BARE), SetUp(AGAIN), *_by_hand(), *_ours(), *beside]
    with ExitStack() as stack:
        yield (
            [
                Row(
                    name,
                    [_variant(one, stack, is_within=is_within) for one in set_ups],
                )
                for name, is_within in ((OUTSIDE, False), (WITHIN, True))
            ],
            missing,
        )


def measure_all(found: Sequence[Row], rounds: int) -> list[dict[str, Figure]]:
    """Time the rows in several turns, and take them together.

    How many statements make a batch is found anew in each turn: found in a moment of
    noise, it would be too small, and its first ones, which cost more, too many. A
    median is the middle one of those of the turns.

    :param rounds: How many batches each variant gets; at least 1.
    :returns: For each row, in order, its figures by the names of the set-ups.
    """
    turns = [
        measure(found, min(ROUNDS_AT_A_TIME, rounds - done))
        for done in range(0, rounds, ROUNDS_AT_A_TIME)
    ]
    return [
        {
            name: Figure(
                min(one[name].minimum_ns for one in of_turns),
                median(one[name].median_ns for one in of_turns),
            )
            for name in of_turns[0]
        }
        for of_turns in zip(*turns, strict=True)
    ]


def versions() -> dict[str, str]:
    """Return the versions of what is measured here, by name."""
    return peers.versions_of(PACKAGES)


def shown(found: Sequence[Row], figures: Sequence[Mapping[str, Figure]]) -> list[str]:
    """Return the figures as tables: added by minima, by medians, and beside the aims.

    :param figures: What :func:`measure_all` returned for ``found``.
    """
    names = [row.name for row in found]
    return [
        _added("by minima", names, figures, lambda figure: figure.minimum_ns),
        _added("by medians", names, figures, lambda figure: figure.median_ns),
        _beside_aims(names, figures),
    ]


def receive(sender: object, *, statement: str, duration_seconds: float) -> None:
    """Do nothing with a statement."""


def _by_hand() -> Iterable[SetUp]:
    """Return the least that a way to hear SQLAlchemy can do."""

    def execute(cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
        start = perf_counter()
        cursor.execute(statement, parameters)
        context.duration_seconds = perf_counter() - start
        return True

    def pass_on(*told: Any) -> tuple[Any, Any]:
        return told[2], told[3]

    def end(*told: Any) -> None:
        pass

    def begin_timing(*told: Any) -> tuple[Any, Any]:
        told[4].begun = perf_counter()
        return told[2], told[3]

    def end_timing(*told: Any) -> None:
        told[4].duration_seconds = perf_counter() - told[4].begun

    yield _heard_by_hand(FLOOR, ("do_execute", execute, {}))
    for name, before, after in (
        (EMPTY, pass_on, end),
        (TIMES, begin_timing, end_timing),
    ):
        yield _heard_by_hand(
            name,
            # SQLAlchemy puts one more call around what returns nothing.
            ("before_cursor_execute", before, {"retval": True}),
            ("after_cursor_execute", after, {}),
        )


def _heard_by_hand(
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

    def heard_by(receiver: Callable[..., object]) -> Setting:
        @contextmanager
        def setting(engine: Engine) -> Generator[None]:
            with instrument(engine), sql_executed.connected_to(receiver):
                yield

        return setting

    each = SqlLogger(slow_seconds=0, logger=floors.new_logger())
    yield SetUp(NEVER, instrument)
    yield SetUp(ONCE, had_one)
    yield SetUp(ONE, heard_by(receive), {receive.__code__: 1})
    yield SetUp(LOGGER, heard_by(SqlLogger()), {SqlLogger.__call__.__code__: 1})
    yield SetUp(EACH, heard_by(each), {SqlLogger.__call__.__code__: 1})
    yield SetUp(COUNTER, heard_by(count_sql), {type(count_sql).__call__.__code__: 1})


def _peers() -> tuple[list[SetUp], list[str]]:
    """Return those that are measured beside us, and a line for each that is missing."""
    return peers.installed(
        ("OpenTelemetry for SQLAlchemy", _opentelemetry),
        ("Flask-SQLAlchemy", _flask_sqlalchemy),
    )


def _opentelemetry() -> list[SetUp]:
    package = importlib.import_module("opentelemetry.instrumentation.sqlalchemy")
    tracer = importlib.import_module("opentelemetry.trace").NoOpTracer
    sdk = peers.Sdk()

    @contextmanager
    def instrumented(engine: Engine, providers: Mapping[str, Any]) -> Generator[None]:
        instrumentor = package.SQLAlchemyInstrumentor()
        # It was imported, so what it depends on is there.
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
            NO_OP,
            lambda engine: instrumented(engine, peers.no_op()),
            {tracer.start_span.__code__: 1},
        ),
        SetUp(SDK, recorded, sdk.calls),
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
        # What it records belongs to this context, and goes with it.
        context: AbstractContextManager[object] = apps[engine].app_context()
        return context

    calls = {records._QueryInfo.__init__.__code__: 1}
    return [SetUp(RECORD, in_context, calls, new_engine)]


def _new_engine() -> Engine:
    from sqlalchemy import create_engine

    return create_engine("sqlite://")


def _variant(set_up: SetUp, stack: ExitStack, *, is_within: bool) -> Variant:
    from sqlalchemy import Connection

    engine = set_up.new_engine()
    stack.callback(engine.dispose)
    batch = _statements(stack.enter_context(engine.connect()))
    unheard = dict.fromkeys(_RECEIVERS, 0)
    calls = {Connection.execute.__code__: 1, **unheard, **set_up.calls}
    if not is_within:
        return Variant(set_up.name, batch, calls, partial(set_up.setting, engine))

    @contextmanager
    def setting() -> Generator[None]:
        with set_up.setting(engine), _exchange():
            yield

    return Variant(set_up.name, batch, calls, setting)


def _statements(connection: Connection) -> Batch:
    from sqlalchemy import text

    statement = text("SELECT 1")

    def batch(jobs: int) -> None:
        for _ in repeat(None, jobs):
            connection.execute(statement).close()

    return batch


@contextmanager
def _exchange() -> Generator[None]:
    """Let there be a current exchange, as the middleware does for a call.

    A call of it in the batch would be a part of what is timed.
    """
    environ: WSGIEnvironment = {}
    setup_testing_defaults(environ)
    exchange = Exchange(environ, None)
    token = context_exchange.set(exchange)
    try:
        yield
    finally:
        context_exchange.reset(token)
        exchange._release()


_RECEIVERS = (
    receive.__code__,
    SqlLogger.__call__.__code__,
    type(count_sql).__call__.__code__,
)
"""The code of ours, which must not run unless a set-up says that it must."""


def _added(
    what: str,
    names: Sequence[str],
    found: Sequence[Mapping[str, Figure]],
    of: Callable[[Figure], float],
) -> str:
    def cell(name: str, figures: Mapping[str, Figure]) -> str:
        if name == BARE:
            return f"{of(figures[BARE]) / 1000:.1f}"
        return f"{(of(figures[name]) - of(figures[BARE])) / 1000:+.1f}"

    return table(
        [f"µs added, {what}", *names],
        [
            ["bare, all of it" if name == BARE else name]
            + [cell(name, figures) for figures in found]
            for name in found[0]
        ],
    )


def _beside_aims(names: Sequence[str], found: Sequence[Mapping[str, Figure]]) -> str:
    """Return what is aimed at, in microseconds, and what was reached."""
    lines = []
    for row, figures in zip(names, found, strict=True):
        untold = UNTOLD_MICROSECONDS + abs(_microseconds_added(figures, AGAIN))
        for name, aim in AIMS.items():
            limit = untold if aim is None else aim
            added = _microseconds_added(figures, name)
            reached = "yes" if added <= limit else "no"
            lines.append([f"{row}, {name}", f"{limit:.1f}", f"{added:.1f}", reached])
    return table(["µs added, by minima", "aim", "measured", "reached"], lines)


def _microseconds_added(figures: Mapping[str, Figure], name: str) -> float:
    return (figures[name].minimum_ns - figures[BARE].minimum_ns) / 1000
