"""Another application at a path of an application, as for its metrics."""

from __future__ import annotations

import logging
import typing as t
from collections.abc import Iterable
from weakref import ref
from weakref import WeakMethod

from ..errors import ConfigurationError
from .routes import record_route

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["Mount"]

_log = logging.getLogger("signalpost.prometheus")


class Mount:
    """Serves the metrics at a path, and is the application at all others.

    It takes the place of the application's ``wsgi_app``, so that middlewares put around
    it later are around the metrics, too. A route of the application is never hidden:
    if it has one of this path, also one that is added later, that is served.

    :param application: An application with a ``wsgi_app``, as Flask's. Held weakly.
    :param path: The whole path within the application.
    :param metrics_app: The application that answers a scrape.
    :raises ConfigurationError: If the application has no ``wsgi_app`` to replace, or a
        route of this path.
    """

    def __init__(
        self, application: t.Any, path: str, metrics_app: WSGIApplication
    ) -> None:
        before = getattr(application, "wsgi_app", None)
        if not callable(before) or not hasattr(application, "__dict__"):
            raise ConfigurationError(
                "path takes an application with a wsgi_app, as Flask's; leave it out,"
                " and mount metrics_app where your framework mounts WSGI applications",
                key="path",
            )
        self._application = ref(application)
        self._path = path
        self._metrics_app: WSGIApplication | None = metrics_app
        self._has_logged = False
        if self._is_taken():
            raise ConfigurationError(
                f"path: the application has a route {path!r} already; choose another"
                " path, or remove that route",
                key="path",
            )
        self._replaced = vars(application).get("wsgi_app")
        # Its own method would keep the application alive.
        self._before = None if self._replaced else WeakMethod(before)
        application.wsgi_app = self

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Answer a scrape, or call the application (:pep:`3333`)."""
        metrics_app = self._metrics_app
        is_scrape = environ.get("PATH_INFO") == self._path and metrics_app is not None
        if metrics_app is not None and is_scrape and not self._is_hidden():
            # Not among the paths that match nothing.
            record_route(environ, self._path)
            return metrics_app(environ, start_response)
        before = self._replaced if self._before is None else self._before()
        if before is None:
            raise RuntimeError(
                "the application is gone, and only its wsgi_app was kept; keep the"
                " application, as by returning it from the factory"
            )
        return t.cast("WSGIApplication", before)(environ, start_response)

    def remove(self) -> None:
        """Serve the metrics no more. If others are around it, it lets all pass."""
        self._metrics_app = None
        application: t.Any = self._application()
        if application is None or vars(application).get("wsgi_app") is not self:
            return
        if self._replaced is None:
            del application.wsgi_app
        else:
            application.wsgi_app = self._replaced

    def _is_hidden(self) -> bool:
        """Return whether the application has got a route, and log it once."""
        if not self._is_taken():
            return False
        if not self._has_logged:
            self._has_logged = True
            _log.error(
                "the metrics are not served, as the application has got a route %s;"
                " choose another path, or remove that route",
                self._path,
            )
        return True

    def _is_taken(self) -> bool:
        """Return whether a route of the application is exactly this path.

        A route with variables, as that of static files, does not count: this path
        takes precedence over it, as Flask's other routes do.
        """
        url_map = getattr(self._application(), "url_map", None)
        iter_rules = getattr(url_map, "iter_rules", None)
        rules: Iterable[t.Any] = iter_rules() if callable(iter_rules) else ()
        return any(
            not rule.arguments and rule.rule.rstrip("/") == self._path.rstrip("/")
            for rule in rules
        )
