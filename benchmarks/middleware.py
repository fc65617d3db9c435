"""What watching a request adds to it: ours, the least that it takes, and peers."""

from __future__ import annotations

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
from statistics import median
from types import CodeType
from typing import Any
from typing import TYPE_CHECKING

from signalpost import SignalMiddleware
from signalpost.exchange import Exchange
from signalpost.lifecycle import exchange_closed
from signalpost.receivers.latency import LatencyLogger

from . import apart
from . import floors
from . import integrated
from . import peers
from .applications import alone
from .applications import Application
from .applications import applications
from .applications import FLASK_HELLO
from .applications import FLASK_STREAM
from .applications import RAW_HELLO
from .applications import RAW_STREAM
from .applications import SetUp
from .applications import variant
from .report import NOTHING
from .report import table
from .timing import Figure
from .timing import measure
from .timing import Row

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

BARE = "bare"
AGAIN = "bare, another"
NOBODY = "no receiver"
ONE = "1 receiver"
LOGGER = "LatencyLogger"
READER = "reads bytes"

MIDDLEWARE = "middleware"
EXTENSION = "extension"

ROUNDS_AT_A_TIME = 10
"""How many rounds one process measures before the next takes its turn."""

_LAYER = SignalMiddleware.__call__.__code__
_LOG_LATENCY = LatencyLogger.__call__.__code__

Figures = dict[str, dict[str, Figure]]
"""Figures by the name of the application, then by that of the set-up."""


@dataclass(frozen=True, slots=True)
class Aim:
    """What one way to watch an application may add."""

    application: str
    """The name of the application."""
    set_up: str
    """The name of the set-up."""
    limit: float
    """How many microseconds; or how many times the floor, if there is one."""
    floor: str | None = None
    """The name of the floor's set-up."""


AIMS = (
    Aim(RAW_HELLO, f"{MIDDLEWARE}: {NOBODY}", 0.3),
    Aim(FLASK_HELLO, f"{MIDDLEWARE}: {NOBODY}", 0.5),
    Aim(FLASK_HELLO, f"{EXTENSION}: {NOBODY}", 0.5),
    Aim(RAW_HELLO, f"{MIDDLEWARE}: {ONE}", 3),
    Aim(FLASK_HELLO, f"{MIDDLEWARE}: {ONE}", 5),
    Aim(FLASK_HELLO, f"{EXTENSION}: {ONE}", 5),
    Aim(RAW_HELLO, f"{MIDDLEWARE}: {LOGGER}", 1.5, floors.LOGS),
    Aim(FLASK_HELLO, f"{MIDDLEWARE}: {LOGGER}", 1.5, floors.LOGS),
    Aim(FLASK_HELLO, f"{EXTENSION}: {LOGGER}", 1.5, floors.LOGS),
    Aim(RAW_STREAM, f"{MIDDLEWARE}: {ONE}", 3),
    Aim(FLASK_STREAM, f"{MIDDLEWARE}: {ONE}", 3),
    Aim(FLASK_STREAM, f"{EXTENSION}: {ONE}", 3),
    Aim(RAW_STREAM, f"{MIDDLEWARE}: {READER}", 50),
    Aim(FLASK_STREAM, f"{MIDDLEWARE}: {READER}", 50),
    Aim(FLASK_STREAM, f"{EXTENSION}: {READER}", 50),
    Aim(FLASK_HELLO, integrated.METRICS, 0.5, peers.PROMETHEUS_EXPORTER),
    Aim(FLASK_HELLO, integrated.SDK, 1, peers.OPENTELEMETRY_FLASK),
)


def rows() -> tuple[list[Row], list[str]]:
    """Return what this process times, and a line for each thing that is missing."""
    served, missing = applications()
    beside, missing_peers = peers.set_ups()
    set_ups = [
        SetUp(BARE, alone),
        SetUp(AGAIN, alone),
        *floors.set_ups(),
        *_middlewares(),
    ]
    # Without Flask there is no extension to import.
    if any(application.is_flask for application in served):
        set_ups += _extensions()
    ours, missing_ours = integrated.set_ups()
    set_ups += ours + beside
    return [_row(application, set_ups) for application in served], [
        *missing,
        *missing_ours,
        *missing_peers,
        *peers.set_ups_apart()[1],
    ]


def measure_all(found: Sequence[Row], rounds: int) -> list[dict[str, Figure]]:
    """Time the rows here, and what needs a process of its own in turns with them.

    A median is then the middle one of those of the turns.

    :param rounds: How many batches each variant gets; at least 1.
    :returns: For each row, in order, its figures by the names of the set-ups.
    """
    turns: list[Figures] = []
    others, _ = peers.set_ups_apart()
    names = [row.name for row in found]
    with ExitStack() as stack:
        processes = [stack.enter_context(apart.started(name)) for name in others]
        for done in range(0, rounds, ROUNDS_AT_A_TIME):
            count = min(ROUNDS_AT_A_TIME, rounds - done)
            turn = dict(zip(names, measure(found, count), strict=True))
            for process in processes:
                apart_figures = process.measure(count)
                for name in turn.keys() & apart_figures.keys():
                    turn[name] = turn[name] | apart_figures[name]
            turns.append(turn)
    return [
        {
            set_up: Figure(
                min(turn[name][set_up].minimum_ns for turn in turns),
                median(turn[name][set_up].median_ns for turn in turns),
            )
            for set_up in turns[0][name]
        }
        for name in names
    ]


def shown(found: Sequence[Row], figures: Sequence[dict[str, Figure]]) -> list[str]:
    """Return the figures as tables: added by minima, by medians, and beside the aims.

    :param figures: What :func:`measure_all` returned for ``found``.
    """
    by_name = dict(zip((row.name for row in found), figures, strict=True))
    return [
        _added("by minima", by_name, lambda figure: figure.minimum_ns),
        _added("by medians", by_name, lambda figure: figure.median_ns),
        _beside_aims(by_name),
    ]


def receive(sender: object, *, exchange: Exchange) -> None:
    """Do nothing with an exchange."""


def read_bytes(sender: object, *, exchange: Exchange) -> int:
    """Read the size of a body, which somebody must have counted for it."""
    return exchange.body_bytes


def reading_bytes() -> AbstractContextManager[object]:
    """Have the bytes of bodies counted, and a receiver that reads how many."""
    return exchange_closed.connected_to(read_bytes)


@contextmanager
def logging_latency() -> Generator[None]:
    """Let :class:`LatencyLogger` log to where the floor logs."""
    receiver = LatencyLogger(logger=floors.new_logger())
    with exchange_closed.connected_to(receiver):
        yield


_RECEIVERS: Sequence[
    tuple[str, Callable[[], AbstractContextManager[object]], CodeType | None]
] = (
    (NOBODY, nullcontext, None),
    (ONE, lambda: exchange_closed.connected_to(receive), receive.__code__),
    (LOGGER, logging_latency, _LOG_LATENCY),
    (READER, reading_bytes, read_bytes.__code__),
)
"""Each way to hear exchanges, with what must be in place and what is run."""

_OURS = (_LAYER, *(code for _, _, code in _RECEIVERS if code is not None))


def _row(application: Application, set_ups: Iterable[SetUp]) -> Row:
    return Row(
        application.name,
        [variant(application, one, _OURS) for one in set_ups if one.fits(application)],
    )


def _middlewares() -> Iterable[SetUp]:
    for name, hearing, code in _RECEIVERS:

        def setting(
            _: object,
            hearing: Callable[[], AbstractContextManager[object]] = hearing,
        ) -> AbstractContextManager[object]:
            return hearing()

        yield SetUp(f"{MIDDLEWARE}: {name}", _in_a_layer, _calls(code), setting)


def _extensions() -> Iterable[SetUp]:
    for name, hearing, code in _RECEIVERS:

        @contextmanager
        def setting(
            app: Any,
            hearing: Callable[[], AbstractContextManager[object]] = hearing,
        ) -> Generator[None]:
            with integrated.extended(app), hearing():
                yield

        yield SetUp(
            f"{EXTENSION}: {name}", alone, _calls(code), setting, fits_raw=False
        )


def _calls(receiver: CodeType | None) -> Mapping[CodeType, int]:
    return {_LAYER: 1} if receiver is None else {_LAYER: 1, receiver: 1}


def _in_a_layer(app: Any) -> WSGIApplication:
    layer = SignalMiddleware(app)
    if not hasattr(app, "wsgi_app"):
        return layer
    app.wsgi_app = layer
    served: WSGIApplication = app
    return served


def _added(
    what: str, found: Mapping[str, Mapping[str, Figure]], of: Callable[[Figure], float]
) -> str:
    # Those that watch Flask alone have their place among the others.
    widest_first = reversed(list(found.values()))
    names = dict.fromkeys(name for figures in widest_first for name in figures)

    def cell(name: str, figures: Mapping[str, Figure]) -> str:
        if name == BARE:
            return f"{of(figures[BARE]) / 1000:.1f}"
        if name not in figures:
            return NOTHING
        return f"{(of(figures[name]) - of(figures[BARE])) / 1000:+.1f}"

    return table(
        [f"µs added, {what}", *found],
        [
            ["bare, all of it" if name == BARE else name]
            + [cell(name, figures) for figures in found.values()]
            for name in names
        ],
    )


def _beside_aims(found: Mapping[str, Mapping[str, Figure]]) -> str:
    """Return what is aimed at, in microseconds, and what was reached."""
    lines = []
    for aim in AIMS:
        figures = found.get(aim.application)
        needed = (aim.set_up, BARE if aim.floor is None else aim.floor)
        if figures is None or not figures.keys() >= {*needed}:
            continue
        limit = aim.limit
        if aim.floor is not None:
            limit *= _microseconds_added(figures, aim.floor)
        added = _microseconds_added(figures, aim.set_up)
        label = f"{aim.application}, {aim.set_up}"
        reached = "yes" if added <= limit else "no"
        lines.append([label, f"{limit:.1f}", f"{added:.1f}", reached])
    return table(["µs added, by minima", "aim", "measured", "reached"], lines)


def _microseconds_added(figures: Mapping[str, Figure], name: str) -> float:
    return (figures[name].minimum_ns - figures[BARE].minimum_ns) / 1000
