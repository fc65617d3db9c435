"""Other pages that show what a Flask application does, set up as their users do."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterable
from functools import partial
from typing import Any
from typing import TYPE_CHECKING

from .applications import SetUp
from .peers import installed
from .peers import versions_of

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

PACKAGES = ("sqlalchemy", "flask-debugtoolbar", "Flask-MonitoringDashboard")

TOOLBAR = "flask-debugtoolbar"
DASHBOARD = "Flask-MonitoringDashboard"

_SECRET = "benchmarks"  # noqa: S105  # of this run only


def versions() -> dict[str, str]:
    """Return the versions of what is measured here, by name."""
    return versions_of(PACKAGES)


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
        served: WSGIApplication = app
        return served

    calls = {extension.process_response.__code__: 1}
    return [SetUp(TOOLBAR, wrap, calls, fits_raw=False)]


def _dashboard(folder: str) -> list[SetUp]:
    dashboard = importlib.import_module("flask_monitoringdashboard")
    profiler = importlib.import_module(
        "flask_monitoringdashboard.core.profiler.performance_profiler"
    ).PerformanceProfiler
    dashboard.config.database_name = f"sqlite:///{folder}/dashboard.db"

    def wrap(app: Any) -> WSGIApplication:
        app.secret_key = _SECRET
        dashboard.bind(app, schedule=False)

        def served(
            environ: WSGIEnvironment, start_response: StartResponse
        ) -> Iterable[bytes]:
            environ["REMOTE_ADDR"] = "127.0.0.1"  # as every server has it
            body: Iterable[bytes] = app(environ, start_response)
            # What a request makes it write is a part of what the request costs.
            for thread in threading.enumerate():
                if isinstance(thread, profiler):
                    thread.join()
            return body

        return served

    return [SetUp(DASHBOARD, wrap, {profiler.__init__.__code__: 1}, fits_raw=False)]
