"""Measures what signalpost, minimal middleware and other packages add to a request."""

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
from types import CodeType
from typing import Any
from typing import NamedTuple
from typing import TYPE_CHECKING

from signalpost import SignalMiddleware
from signalpost.exchange import Exchange
from signalpost.lifecycle import exchange_closed
from signalpost.receivers.latency import LatencyLogger

from . import floors
from . import peers
from .applications import alone
from .applications import applications
from .applications import FLASK_HELLO
from .applications import FLASK_STREAM
from .applications import RAW_HELLO
from .applications import RAW_STREAM
from .applications import requests
from .applications import rows_of
from .applications import SetUp
from .report import aims_and_measured
from .report import BARE
from .report import installed
from .report import microseconds_added
from .timing import measure
from .timing import Row
from .timing import Setting
from .timing import Timings

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

AGAIN = "bare, another"
NEVER = "no receiver"
ONE = "1 receiver"
LOGGER = "LatencyLogger"
READER = "reads bytes"

MIDDLEWARE = "middleware"
EXTENSION = "extension"
METRICS = "extension: PrometheusMetrics"
NO_OP = "extension: OpenTelemetry, no-op"
SDK = "extension: OpenTelemetry, SDK"

_LAYER = {SignalMiddleware.__call__.__code__: 1}


class Aim(NamedTuple):
    """The time that a set-up may add to a request, in microseconds.

    With the name of a floor's set-up, the limit is a multiple of that floor.
    """

    application: str
    set_up: str
    limit: float
    floor: str | None = None


AIMS = (
    Aim(RAW_HELLO, f"{MIDDLEWARE}: {NEVER}", 0.3),
    Aim(FLASK_HELLO, f"{MIDDLEWARE}: {NEVER}", 0.5),
    Aim(FLASK_HELLO, f"{EXTENSION}: {NEVER}", 0.5),
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
    Aim(FLASK_HELLO, METRICS, 0.5, peers.PROMETHEUS_EXPORTER),
    Aim(FLASK_HELLO, SDK, 1, peers.OPENTELEMETRY_FLASK),
)


def rows() -> tuple[list[Row], list[str]]:
    """Return the rows of this process, and a line for each package that is missing."""
    served, missing = applications()
    set_ups = [SetUp(BARE, alone), SetUp(AGAIN, alone), *floors.set_ups()]
    set_ups += _receiving()
    ours, missing_ours = installed(
        ("the package of signalpost.integrations.prometheus", _prometheus),
        ("the package of signalpost.integrations.opentelemetry", _opentelemetry),
    )
    others, missing_peers = peers.set_ups()
    set_ups += ours + others
    missing += [*missing_ours, *missing_peers, *peers.set_ups_apart()[1]]
    return rows_of(served, set_ups, _RECEIVERS_CODE), missing


def measure_all(found: Sequence[Row], rounds: int) -> Timings:
    """Time the rows here, in turns with the peers that need a separate process."""
    with ExitStack() as stack:
        names, _ = peers.set_ups_apart()
        others = [stack.enter_context(peers.apart(name)) for name in names]
        return measure(found, rounds, others)


def aims_table(timings: Timings) -> str:
    """Return the aims and the measured times as a table.

    :param timings: The result of :func:`measure_all`.
    """
    lines = []
    for aim in AIMS:
        found = timings.get(aim.application, {})
        if found.keys() >= {aim.set_up, aim.floor or BARE}:
            floor = 1 if aim.floor is None else microseconds_added(found, aim.floor)
            lines.append(
                (
                    f"{aim.application}, {aim.set_up}",
                    aim.limit * floor,
                    microseconds_added(found, aim.set_up),
                )
            )
    return aims_and_measured(lines)


def extended(app: Any) -> WSGIApplication:
    """Set the extension up, as its users do, and serve the first requests.

    The first hundred are checked for mistakes, so they are not timed.
    """
    from signalpost.integrations.flask import Signalpost

    Signalpost(app)
    requests(app, "HEAD")(101)
    return alone(app)


def connected(receiver: Any) -> Callable[[Any], AbstractContextManager[None]]:
    """Return a context that connects a receiver to an application, for a batch.

    While an application has receivers, Flask's signals have receivers, too. Their sends
    are then slower in every application of the process, and so in the other variants.
    """

    @contextmanager
    def setting(app: Any) -> Generator[None]:
        receiver.connect(app)
        try:
            yield
        finally:
            receiver.disconnect(app)

    return setting


def receive(sender: object, *, exchange: Exchange) -> None:
    """Do nothing with an exchange."""


def read_bytes(sender: object, *, exchange: Exchange) -> int:
    """Read the size of a body, so that the middleware must count it."""
    return exchange.body_bytes


def _logging() -> AbstractContextManager[object]:
    """Make :class:`LatencyLogger` log to the same logger as the floor."""
    receiver = LatencyLogger(logger=floors.new_logger())
    return exchange_closed.connected_to(receiver)


_RECEIVERS: Sequence[tuple[str, Setting, Sequence[CodeType]]] = (
    (NEVER, nullcontext, ()),
    (ONE, lambda: exchange_closed.connected_to(receive), (receive.__code__,)),
    (LOGGER, _logging, (LatencyLogger.__call__.__code__,)),
    (READER, lambda: exchange_closed.connected_to(read_bytes), (read_bytes.__code__,)),
)
"""Each receiver, with its context and the code that it runs."""

_RECEIVERS_CODE = (*_LAYER, *(code for _, _, codes in _RECEIVERS for code in codes))
"""Code of signalpost that may only run in the set-ups that need it."""


def _receiving() -> Iterable[SetUp]:
    for kind, wrap in ((MIDDLEWARE, _wrapped), (EXTENSION, extended)):
        for name, setting, codes in _RECEIVERS:

            def connected_to(_: object, setting: Setting = setting) -> Any:
                return setting()

            fits_raw = kind == MIDDLEWARE
            calls = _calls(codes)
            yield SetUp(f"{kind}: {name}", wrap, calls, connected_to, fits_raw=fits_raw)


def _wrapped(app: Any) -> WSGIApplication:
    layer = SignalMiddleware(app)
    if not hasattr(app, "wsgi_app"):
        return layer
    app.wsgi_app = layer
    return alone(app)


def _prometheus() -> list[SetUp]:
    metrics = importlib.import_module(
        "signalpost.integrations.prometheus"
    ).PrometheusMetrics()
    return [
        _for_flask(METRICS, _calls([type(metrics).closed.__code__]), connected(metrics))
    ]


def _opentelemetry() -> list[SetUp]:
    new = importlib.import_module("signalpost.integrations.opentelemetry").OpenTelemetry
    sdk = peers.Sdk()
    traced = connected(new(**sdk.providers))

    @contextmanager
    def recording(app: Any) -> Generator[None]:
        with sdk.emptied(app), traced(app):
            yield

    return [
        _for_flask(NO_OP, _LAYER, connected(new(**peers.no_op()))),
        _for_flask(SDK, _LAYER | sdk.calls, recording),
    ]


def _for_flask(name: str, calls: Mapping[CodeType, int], setting: Any) -> SetUp:
    return SetUp(name, extended, calls, setting, fits_raw=False)


def _calls(codes: Sequence[CodeType]) -> Mapping[CodeType, int]:
    return {**_LAYER, **dict.fromkeys(codes, 1)}
