"""Other packages that instrument an application, set up as users do, without a network.

Packages that change only their application are measured in the same process as
signalpost. sentry-sdk changes the whole process, so each of its set-ups has its own.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any
from typing import TYPE_CHECKING

from .applications import alone
from .applications import applications
from .applications import around
from .applications import rows_of
from .applications import SetUp
from .report import installed
from .timing import Samples
from .timing import samples
from .timing import verify

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

LEGEND = """\
"bare, another" is a second application of the same kind; nothing smaller than what it
seems to add can be measured. "floor" is a middleware by hand that does the least:
"times" from the call to the close, "logs" one line of a like content as well, or
"counts bytes" chunk by chunk. Every logger formats its line and writes it to nowhere.
"OTel" is OpenTelemetry: "no-op" its API alone, "SDK" with each span recorded and kept
in memory, and no metrics. sentry drops what it would have sent."""

LONGEST_ANSWER_SECONDS = 120

OPENTELEMETRY_FLASK = "OTel Flask, SDK"
PROMETHEUS_EXPORTER = "prometheus-flask-exporter"


def set_ups() -> tuple[list[SetUp], list[str]]:
    """Return the peers of this process, and a line for each that is missing."""
    return installed(
        ("OpenTelemetry for WSGI", _opentelemetry_wsgi),
        ("OpenTelemetry for Flask", _opentelemetry_flask),
        ("prometheus-flask-exporter", _prometheus),
    )


def set_ups_apart() -> tuple[dict[str, Callable[[], list[SetUp]]], list[str]]:
    """Return the peers of separate processes, and a line for each that is missing.

    :returns: Functions that set them up in their process, by name.
    """
    if find_spec("sentry_sdk") is None:
        return {}, ["sentry-sdk is left out: it is not installed"]
    shares = {"sentry, errors only": None, "sentry, traces": 1.0}
    return {name: partial(_sentry, name, one) for name, one in shares.items()}, []


def _opentelemetry_wsgi() -> list[SetUp]:
    package = importlib.import_module("opentelemetry.instrumentation.wsgi")
    middleware = package.OpenTelemetryMiddleware
    nothing, sdk = no_op(), Sdk()
    calls = {middleware.__call__.__code__: 1}
    return [
        SetUp(
            "OTel WSGI, no-op",
            around(lambda app: middleware(app, **nothing)),
            calls,
        ),
        SetUp(
            "OTel WSGI, SDK",
            around(lambda app: middleware(app, **sdk.providers)),
            calls | sdk.calls,
            sdk.emptied,
        ),
    ]


def _opentelemetry_flask() -> list[SetUp]:
    package = importlib.import_module("opentelemetry.instrumentation.flask")
    instrument = package.FlaskInstrumentor().instrument_app
    tracer = importlib.import_module("opentelemetry.trace").NoOpTracer
    calls = {tracer.start_span.__code__: 1}
    nothing, sdk = no_op(), Sdk()

    def wrap(app: Any, providers: dict[str, Any]) -> WSGIApplication:
        instrument(app, **providers)
        return alone(app)

    return [
        SetUp(
            "OTel Flask, no-op", lambda app: wrap(app, nothing), calls, fits_raw=False
        ),
        SetUp(
            OPENTELEMETRY_FLASK,
            lambda app: wrap(app, sdk.providers),
            sdk.calls,
            sdk.emptied,
            fits_raw=False,
        ),
    ]


def no_op() -> dict[str, Any]:
    """Return OpenTelemetry's no-op providers."""
    trace = importlib.import_module("opentelemetry.trace")
    metrics = importlib.import_module("opentelemetry.metrics")
    return {
        "tracer_provider": trace.NoOpTracerProvider(),
        "meter_provider": metrics.NoOpMeterProvider(),
    }


class Sdk:
    """OpenTelemetry's SDK, with spans kept in memory."""

    def __init__(self) -> None:
        sdk = importlib.import_module("opentelemetry.sdk.trace")
        export = importlib.import_module("opentelemetry.sdk.trace.export")
        memory = importlib.import_module(
            "opentelemetry.sdk.trace.export.in_memory_span_exporter"
        )
        exporter = memory.InMemorySpanExporter()
        provider = sdk.TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(export.SimpleSpanProcessor(exporter))
        self.providers = {**no_op(), "tracer_provider": provider}
        self.calls = {exporter.export.__code__: 1}
        self._clear: Callable[[], None] = exporter.clear

    @contextmanager
    def emptied(self, _: object) -> Generator[None]:
        """Delete the spans of a batch, so that the next batch starts without any."""
        try:
            yield
        finally:
            self._clear()


def _prometheus() -> list[SetUp]:
    exporter = importlib.import_module("prometheus_flask_exporter")
    client = importlib.import_module("prometheus_client")

    def wrap(app: Any) -> WSGIApplication:
        exporter.PrometheusMetrics(app, path=None, registry=client.CollectorRegistry())
        return alone(app)

    calls = {client.Histogram.observe.__code__: 1}
    return [SetUp(PROMETHEUS_EXPORTER, wrap, calls, fits_raw=False)]


def _sentry(name: str, traces: float | None) -> list[SetUp]:
    """Start sentry-sdk in this process; it cannot be stopped.

    :param traces: The share of requests that it traces; ``None`` for no tracing.
    """
    sentry = importlib.import_module("sentry_sdk")
    transport = importlib.import_module("sentry_sdk.transport").Transport
    layer = importlib.import_module("sentry_sdk.integrations.wsgi").SentryWsgiMiddleware
    integrations = []
    if find_spec("flask") is not None:
        package = importlib.import_module("sentry_sdk.integrations.flask")
        integrations.append(package.FlaskIntegration())

    def drop(self: object, envelope: object) -> None:
        pass

    sentry.init(
        dsn="http://key@127.0.0.1/1",
        transport=type("Dropping", (transport,), {"capture_envelope": drop}),
        traces_sample_rate=traces,
        integrations=integrations,
        # Otherwise it searches for many libraries, and runs git to find a release.
        auto_enabling_integrations=False,
        release="benchmarks",
    )
    calls = {layer.__call__.__code__: 1, drop.__code__: int(traces is not None)}
    return [
        SetUp(name, layer, calls, fits_flask=False),
        # Its integration has already wrapped every Flask application.
        SetUp(name, alone, calls, fits_raw=False),
    ]


class NoAnswerError(Exception):
    """A process did not answer: it has ended, or took too long."""


@contextmanager
def apart(name: str) -> Generator[Callable[[int], Samples]]:
    """Set a peer up in a separate process, which is stopped at the end.

    Yield a function that returns the peer's times in a number of rounds. It raises
    :class:`NoAnswerError`.

    :param name: The name of the peer's set-up.
    """
    # A fork would start with the modules that are loaded here.
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(name, there), daemon=True)
    process.start()
    there.close()

    def measured(rounds: int) -> Samples:
        try:
            here.send(rounds)
            if here.poll(LONGEST_ANSWER_SECONDS):
                found: Samples = here.recv()
                return found
        except (EOFError, OSError) as error:
            raise NoAnswerError(
                f"the process of {name} has ended; its error is printed above"
            ) from error
        raise NoAnswerError(
            f"the process of {name} has not answered for {LONGEST_ANSWER_SECONDS}"
            " seconds; look at what it does"
        )

    try:
        yield measured
    finally:
        here.close()
        process.join(10)
        if process.is_alive():
            process.kill()
            process.join()
        process.close()


def _serve(name: str, connection: Connection) -> None:
    """Set a peer up, and measure it at each request of the first process."""
    found, _ = set_ups_apart()
    rows = rows_of(applications()[0], found[name]())
    for row in rows:
        for variant in row.variants:
            verify(variant)
    while True:
        try:
            rounds = connection.recv()
        except EOFError:
            return
        connection.send(samples(rows, rounds))
