"""What an id costs, and what the current request adds to a line of a log."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextlib import contextmanager
from contextlib import nullcontext
from itertools import repeat
from types import CodeType
from typing import Any
from wsgiref.util import setup_testing_defaults

from signalpost._current import context_exchange
from signalpost._ids import new_id
from signalpost.exchange import Exchange
from signalpost.receivers import context
from signalpost.receivers.context import ContextFilter

from . import floors
from .report import table
from .timing import Figure
from .timing import Row
from .timing import Variant

LEGEND = """\
"unread" opens and closes an exchange whose id is not read, "new" reads one that must be
made, "front" one of a header, "again" the same id once more. A line is formatted and
written to nowhere; "filter" puts the request on it, in a request of a known route, and
"span" the ids of OpenTelemetry's current span as well."""

IDS = "an id"
LINES = "a line"
UNREAD, NEW, FRONT, AGAIN = "unread", "new", "front", "again"
BARE, OUTSIDE, WITHIN, SPAN = "bare", "filter, outside", "filter", "filter, span"

AIMS: Mapping[str, float] = {OUTSIDE: 1, WITHIN: 1, SPAN: 1}
"""What the request may add to a line, in microseconds."""

_FILTER = ContextFilter.filter.__code__


def rows() -> list[Row]:
    """Return what is timed: ids, and lines."""
    return [Row(IDS, _ids()), Row(LINES, _lines())]


def shown(figures: Sequence[Mapping[str, Figure]]) -> list[str]:
    """Return the figures as tables.

    :param figures: What :func:`~.timing.measure` returned for :func:`rows`.
    """
    ids, lines = figures
    return [
        table(
            ["µs for an id", *ids],
            [
                [name, *(f"{of(figure) / 1000:.2f}" for figure in ids.values())]
                for name, of in _KINDS
            ],
        ),
        table(
            ["µs added to a line, by minima", "aim", "measured", "reached"],
            [_beside_aim(name, lines) for name in lines if name != BARE],
        ),
    ]


_KINDS: Sequence[tuple[str, Callable[[Figure], float]]] = (
    ("by minima", lambda figure: figure.minimum_ns),
    ("by medians", lambda figure: figure.median_ns),
)


def _beside_aim(name: str, lines: Mapping[str, Figure]) -> list[str]:
    added = (lines[name].minimum_ns - lines[BARE].minimum_ns) / 1000
    aim = AIMS.get(name)
    if aim is None:
        return [name, "", f"{added:.2f}", ""]
    return [name, f"{aim:.1f}", f"{added:.2f}", "yes" if added <= aim else "no"]


def _environ(**headers: str) -> dict[str, Any]:
    environ: dict[str, Any] = {"PATH_INFO": "/", "REQUEST_METHOD": "GET", **headers}
    setup_testing_defaults(environ)
    return environ


def _ids() -> list[Variant]:
    plain, fronted = _environ(), _environ(HTTP_X_REQUEST_ID="f3-09")
    read = Exchange(plain, "shop")

    def unread(jobs: int) -> None:
        for _ in repeat(None, jobs):
            Exchange(plain, "shop")._release()

    def new(jobs: int) -> None:
        for _ in repeat(None, jobs):
            exchange = Exchange(plain, "shop")
            _ = exchange.id
            exchange._release()

    def front(jobs: int) -> None:
        for _ in repeat(None, jobs):
            exchange = Exchange(fronted, "shop")
            _ = exchange.id
            exchange._release()

    def again(jobs: int) -> None:
        for _ in repeat(None, jobs):
            _ = read.id

    made, closed = new_id.__code__, Exchange._release.__code__
    return [
        Variant(UNREAD, unread, {made: 0, closed: 1}),
        Variant(NEW, new, {made: 1, closed: 1}),
        Variant(FRONT, front, {made: 0, closed: 1}),
        Variant(AGAIN, again, {closed: 0}),
    ]


def _lines() -> list[Variant]:
    bare, filtered = floors.new_logger(), floors.new_logger()
    filtered.handlers[0].addFilter(ContextFilter())
    found = [
        _variant(BARE, bare, {_FILTER: 0}, _without_spans(nullcontext)),
        _variant(OUTSIDE, filtered, {_FILTER: 1}, _without_spans(nullcontext)),
        _variant(WITHIN, filtered, {_FILTER: 1}, _without_spans(_in_exchange)),
    ]
    spanned = _in_span()
    if spanned is not None:
        found.append(_variant(SPAN, filtered, {_FILTER: 1}, spanned))
    return found


def _variant(
    name: str,
    logger: logging.Logger,
    calls: Mapping[CodeType, int],
    setting: Callable[[], AbstractContextManager[object]],
) -> Variant:
    def batch(jobs: int) -> None:
        for _ in repeat(None, jobs):
            logger.info("only %d left", 3)

    return Variant(name, batch, calls, setting)


@contextmanager
def _in_exchange() -> Generator[None]:
    exchange = Exchange(_environ(), "shop")
    exchange.route = "/mugs/<int:number>"
    token = context_exchange.set(exchange)
    try:
        yield
    finally:
        context_exchange.reset(token)


def _without_spans(
    setting: Callable[[], AbstractContextManager[object]],
) -> Callable[[], AbstractContextManager[object]]:
    @contextmanager
    def without() -> Generator[None]:
        # Another benchmark may have imported the integration.
        before = context._read_span
        context.read_spans_by(None)
        try:
            with setting():
                yield
        finally:
            context.read_spans_by(before)

    return without


def _in_span() -> Callable[[], AbstractContextManager[object]] | None:
    try:
        importlib.import_module("signalpost.integrations.opentelemetry")
        sdk = importlib.import_module("opentelemetry.sdk.trace")
    except ImportError:
        return None
    tracer = sdk.TracerProvider(shutdown_on_exit=False).get_tracer("benchmarks")

    @contextmanager
    def within() -> Generator[None]:
        with _in_exchange(), tracer.start_as_current_span("a line"):
            yield

    return within
