"""Other packages with a page about a Flask application, set up as users do."""

from __future__ import annotations

import atexit
import importlib
import threading
from collections.abc import Iterable
from functools import partial
from typing import Any
from typing import TYPE_CHECKING

from .applications import alone
from .applications import SetUp
from .report import installed

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

TOOLBAR = "flask-debugtoolbar"
DASHBOARD = "Flask-MonitoringDashboard"

_SECRET = "benchmarks"  # noqa: S105  # of this run only


def set_ups(folder: str) -> tuple[list[SetUp], list[str]]:
    """Return the peers, and a line for each that is missing.

    :param folder: An empty folder for a database.
    """
    return installed(
        (TOOLBAR, _toolbar),
        (DASHBOARD, partial(_dashboard, folder)),
    )


def _toolbar() -> list[SetUp]:
    package = importlib.import_module("flask_debugtoolbar")
    extension = package.DebugToolbarExtension

    def wrap(app: Any) -> WSGIApplication:
        app.debug = True
        app.secret_key = _SECRET
        extension(app)
        return alone(app)

    calls = {extension.process_response.__code__: 1}
    return [SetUp(TOOLBAR, wrap, calls, fits_raw=False)]


def _dashboard(folder: str) -> list[SetUp]:
    dashboard = importlib.import_module("flask_monitoringdashboard")
    # Before the import, which otherwise creates a database in the working folder.
    dashboard.config.database_name = f"sqlite:///{folder}/dashboard.db"
    profiler = importlib.import_module(
        "flask_monitoringdashboard.core.profiler.performance_profiler"
    ).PerformanceProfiler

    def wrap(app: Any) -> WSGIApplication:
        app.secret_key = _SECRET
        dashboard.bind(app, schedule=False)
        # The database is deleted before the exit of the process.
        cache = importlib.import_module("flask_monitoringdashboard.core.cache")
        atexit.unregister(cache.flush_cache)

        def served(
            environ: WSGIEnvironment, start_response: StartResponse
        ) -> Iterable[bytes]:
            environ["REMOTE_ADDR"] = "127.0.0.1"  # every server sets it
            body: Iterable[bytes] = app(environ, start_response)
            # Its writes are a part of the cost of a request.
            for thread in threading.enumerate():
                if isinstance(thread, profiler):
                    thread.join()
            return body

        return served

    return [SetUp(DASHBOARD, wrap, {profiler.__init__.__code__: 1}, fits_raw=False)]
