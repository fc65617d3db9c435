"""The application under load, and gunicorn's hooks: answers of every kind."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import flask

from signalpost.integrations.flask import Signalpost
from signalpost.integrations.prometheus import clear_metrics
from signalpost.integrations.prometheus import merge_worker
from signalpost.integrations.prometheus import PrometheusMetrics

# The names of gunicorn's hooks: the metrics of a worker that is replaced are kept.
on_starting = clear_metrics
child_exit = merge_worker

CHUNK = b"x" * 16_384


def create_app() -> flask.Flask:
    """Return an application with metrics and a log line for each request."""
    app = flask.Flask(__name__)
    live = {"folder": os.environ["LIVE_FOLDER"], "exclude": ["/metrics"]}
    app.config["SIGNALPOST_RECEIVERS"] = {"latency": True, "live": live}
    app.config["SIGNALPOST_FORMAT"] = "json"
    # Its own log of an exception is not what is compared.
    app.logger.disabled = True
    Signalpost(app)
    # The directory is that of PROMETHEUS_MULTIPROC_DIR; a scrape is no load.
    metrics = PrometheusMetrics(with_scrapes=False)
    metrics.connect(app)
    app.add_url_rule("/metrics", view_func=metrics.metrics_view)

    @app.get("/hello/<name>")
    def hello(name: str) -> str:
        return f"hello, {name}"

    @app.get("/stream/<int:chunks>")
    def stream(chunks: int) -> flask.Response:
        return flask.Response(_chunks(chunks), mimetype="application/octet-stream")

    @app.get("/file")
    def file() -> flask.Response:
        return flask.send_file(__file__)

    @app.get("/fail")
    def fail() -> str:
        raise LookupError("as it was asked to")

    @app.get("/fail/<int:chunks>")
    def fail_late(chunks: int) -> flask.Response:
        return flask.Response(_failing(chunks), mimetype="application/octet-stream")

    @app.get("/worker")
    def worker() -> str:
        return str(os.getpid())

    return app


def _chunks(number: int) -> Iterator[bytes]:
    for _ in range(number):
        yield CHUNK
        # A client that leaves is noticed when the next chunk is sent to it.
        time.sleep(0.0005)


def _failing(number: int) -> Iterator[bytes]:
    yield from _chunks(number)
    raise LookupError("as it was asked to")
