"""The metrics at a path of an application that is configured by name."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable
from weakref import ref

from ...wsgi.mount import Mount
from ...wsgi.mount import route_is_taken
from ...wsgi.mount import rules_of
from ...wsgi.routes import record_route
from ._log import log

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["mounted_metrics"]


def mounted_metrics(
    application: t.Any, path: str, metrics_app: WSGIApplication
) -> Mount:
    """Put the metrics into an application, and return what removes them.

    A route of the application is never hidden: if it has one of this path, also one
    that is added later, that is served.

    :param path: The whole path within the application.
    :param metrics_app: The application that answers a scrape.
    :raises ConfigurationError: If the application has no ``wsgi_app`` to replace, or a
        route of this path.
    """
    if _is_taken(application, path):
        raise route_is_taken(path)
    return Mount(
        application,
        lambda before: _Scrapes(application, path, metrics_app, before),
        "mount metrics_app where your framework mounts WSGI applications",
    )


class _Scrapes:
    """Answers scrapes, and calls the application for all other requests."""

    def __init__(
        self,
        application: t.Any,
        path: str,
        metrics_app: WSGIApplication,
        before: WSGIApplication,
    ) -> None:
        self._application = ref(application)
        self._path = path
        self._metrics_app = metrics_app
        self._before = before
        self._has_logged = False

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        if environ.get("PATH_INFO") != self._path or self._is_hidden():
            return self._before(environ, start_response)
        # Not among the paths that match nothing.
        record_route(environ, self._path)
        return self._metrics_app(environ, start_response)

    def _is_hidden(self) -> bool:
        """Return whether the application has got a route, and log it once."""
        if not _is_taken(self._application(), self._path):
            return False
        if not self._has_logged:
            self._has_logged = True
            log.error(
                "the metrics are not served, as the application has got a route %s;"
                " choose another path, or remove that route",
                self._path,
            )
        return True


def _is_taken(application: object, path: str) -> bool:
    """Return whether a route of the application is exactly this path.

    A route with variables, as that of static files, does not count: this path takes
    precedence over it, as Flask's other routes do.
    """
    return any(
        not rule.arguments and rule.rule.rstrip("/") == path.rstrip("/")
        for rule in rules_of(application)
    )
