"""What our integrations add to a request, beside the peers that do the same."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Generator
from contextlib import AbstractContextManager
from contextlib import contextmanager
from typing import Any
from typing import Protocol

from signalpost import SignalMiddleware

from .applications import alone
from .applications import SetUp
from .peers import installed
from .peers import no_op
from .peers import Sdk

METRICS = "extension: PrometheusMetrics"
NO_OP = "extension: OpenTelemetry, no-op"
SDK = "extension: OpenTelemetry, SDK"

LIVE = "extension: LiveRecorder"
LIVE_PLAIN = "extension: LiveRecorder, no waterfall"

_LAYER = {SignalMiddleware.__call__.__code__: 1}


class Connectable(Protocol):
    """What hears an application from one moment to another."""

    def connect(self, application: Any) -> object:
        """Begin to hear it."""

    def disconnect(self, application: Any) -> object:
        """Hear it no more."""


def set_ups() -> tuple[list[SetUp], list[str]]:
    """Return what is measured, and a line for each package that is missing."""
    return installed(
        ("the locks of files that signalpost.live takes", _live),
        ("the package of signalpost.integrations.prometheus", _prometheus),
        ("the package of signalpost.integrations.opentelemetry", _opentelemetry),
    )


@contextmanager
def extended(app: Any) -> Generator[None]:
    """Set the extension up, and take it away again.

    While anyone hears us, it hears Flask's signals, whose sends then cost more in
    every application of the process: the other variants would pay for that.
    """
    from signalpost.integrations.flask import Signalpost

    extensions, wsgi_app = dict(app.extensions), app.wsgi_app
    preprocessors = [*app.url_value_preprocessors[None]]
    Signalpost(app)
    # As after its first requests, in which it looks for mistakes of the set-up.
    app.url_value_preprocessors[None] = preprocessors
    try:
        yield
    finally:
        app.extensions, app.wsgi_app = extensions, wsgi_app


def _prometheus() -> list[SetUp]:
    metrics = importlib.import_module(
        "signalpost.integrations.prometheus"
    ).PrometheusMetrics()
    calls = _LAYER | {type(metrics).closed.__code__: 1}
    return [SetUp(METRICS, alone, calls, _heard_by(metrics), fits_raw=False)]


def _live() -> list[SetUp]:
    importlib.import_module("fcntl")
    live = importlib.import_module("signalpost.live")
    return [
        SetUp(
            name,
            alone,
            _LAYER | {live.LiveRecorder.closed.__code__: 1},
            recorded(live.LiveRecorder, waterfall=waterfall),
            fits_raw=False,
        )
        for name, waterfall in ((LIVE, True), (LIVE_PLAIN, False))
    ]


def recorded(kind: Any, *, waterfall: bool) -> Any:
    """Return what records an application for the live page, from set-up to the end."""

    @contextmanager
    def recording(app: Any) -> Generator[None]:
        with (
            extended(app),
            tempfile.TemporaryDirectory(prefix="signalpost-bench-") as folder,
        ):
            recorder = kind(folder=f"{folder}/live", waterfall=waterfall)
            recorder.connect(app)
            # It is made once for each worker, and not for each batch of requests.
            recorder._writer._usable_file()
            try:
                yield
            finally:
                recorder.disconnect(app)

    return recording


def _opentelemetry() -> list[SetUp]:
    new = importlib.import_module("signalpost.integrations.opentelemetry").OpenTelemetry
    sdk = Sdk()
    hearing = _heard_by(new(**sdk.providers))

    @contextmanager
    def recording(app: Any) -> Generator[None]:
        with sdk.emptied(app), hearing(app):
            yield

    return [
        SetUp(
            NO_OP,
            alone,
            _LAYER,
            _heard_by(new(**no_op())),
            fits_raw=False,
        ),
        SetUp(SDK, alone, _LAYER | sdk.calls, recording, fits_raw=False),
    ]


def _heard_by(receiver: Connectable) -> Any:
    def hearing(app: Any) -> AbstractContextManager[None]:
        return _heard(app, receiver)

    return hearing


@contextmanager
def _heard(app: Any, receiver: Connectable) -> Generator[None]:
    with extended(app):
        receiver.connect(app)
        try:
            yield
        finally:
            receiver.disconnect(app)
