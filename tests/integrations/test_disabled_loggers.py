"""Loggers of integrations that a logging configuration has disabled."""

from __future__ import annotations

import subprocess
import sys

import pytest

DISABLE = "import logging.config; logging.config.dictConfig({'version': 1})"

BYPASSED = """
import flask
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import exchange_closed
app = flask.Flask("shop")
Signalpost(app)
exchange_closed.connect(print, app)
app.test_client().get("/")
app.wsgi_app = flask.Flask.wsgi_app.__get__(app)
use = app.test_client().get
"""

UNSAFE_FOLDER = """
import os, tempfile
from signalpost.lifecycle import request_arrived
from signalpost.receivers.watch import WatchSender
folder = tempfile.mkdtemp()
os.chmod(folder, 0o777)
sender = WatchSender(folder=folder)
sender.connect()
use = lambda _: request_arrived.send("shop")
"""

FAILING_CHECK = """
from signalpost.integrations.prometheus import PrometheusMetrics
metrics = PrometheusMetrics(allows=lambda environ: 1 / 0)
use = lambda path: metrics.metrics_app({"PATH_INFO": path}, lambda *given: None)
"""

FAILING_PROPAGATOR = """
from opentelemetry.propagators.textmap import TextMapPropagator
from signalpost import SignalMiddleware
from signalpost.integrations.opentelemetry import OpenTelemetry
from wsgiref.util import setup_testing_defaults

class Failing(TextMapPropagator):
    def extract(self, carrier, context=None, getter=None): raise ValueError
    def inject(self, carrier, context=None, setter=None): pass
    fields = set()

def shop(environ, start_response):
    start_response("200 OK", [])
    return [b"mug"]

def use(path):
    environ = {"PATH_INFO": path}
    setup_testing_defaults(environ)
    application(environ, lambda *_: print).close()

application = SignalMiddleware(shop)
telemetry = OpenTelemetry(propagator=Failing())
telemetry.connect(application)
"""


@pytest.mark.parametrize(
    ("package", "code", "name"),
    [
        ("flask", BYPASSED, "signalpost.exchanges"),
        ("signalpost", UNSAFE_FOLDER, "signalpost.watch"),
        ("prometheus_client", FAILING_CHECK, "signalpost.prometheus"),
        ("opentelemetry.sdk", FAILING_PROPAGATOR, "signalpost.opentelemetry"),
    ],
)
def test_what_a_disabled_logger_loses_is_reported(
    package: str, code: str, name: str
) -> None:
    pytest.importorskip(package)
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{DISABLE}\nuse('/')\nuse('/')\n"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("signalpost: the logger")
    assert name in line
    assert "disabled" in line
