"""Serve something at a path of an application, by a layer in its ``wsgi_app``."""

from __future__ import annotations

import logging
import typing as t
from collections.abc import Iterable
from weakref import ref
from weakref import WeakMethod

from .._engine.unseen import checked
from ..errors import ConfigurationError
from .passing import AttributePasser
from .routes import record_route

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["Mount"]


class Mount(AttributePasser):
    """A WSGI layer that replaces an application's ``wsgi_app`` until it is removed.

    A middleware that is added to the application later is around the layer, too. A
    route of the application is never hidden: if it has one of this path, also one that
    is added later, that is served. A route with variables, as that of static files, has
    lower precedence than this path, as in Flask.

    :param application: An application with a ``wsgi_app``, as Flask's. The reference
        to it is weak.
    :param path: The whole path within the application.
    :param served: The WSGI application that is served there.
    :param what: Its name, for messages, as ``"the metrics"``.
    :param log: Where it is logged that a route hides it.
    :param advice: What to do instead for an application without a ``wsgi_app``.
    :param with_below: Whether it is served below the path, too.
    :raises ConfigurationError: If the application has no ``wsgi_app`` to replace, or a
        route of this path.
    """

    def __init__(  # noqa: PLR0913  # what is served, where and with which messages
        self,
        application: t.Any,
        path: str,
        served: WSGIApplication,
        *,
        what: str,
        log: logging.Logger,
        advice: str,
        with_below: bool = False,
    ) -> None:
        before = getattr(application, "wsgi_app", None)
        if not callable(before) or not hasattr(application, "__dict__"):
            raise ConfigurationError(
                "path takes an application with a wsgi_app, as Flask's; leave it out,"
                f" and {advice}",
                key="path",
            )
        self._path, self._with_below = path, with_below
        self._route = f"{path}/" if with_below else path
        route = self._route_in(application)
        if route is not None:
            raise ConfigurationError(
                f"path: the application has a route {route!r} already; choose another"
                " path, or remove that route",
                key="path",
            )
        self._what, self._log = what, log
        self._has_logged = False
        self._application = ref(application)
        self._replaced = vars(application).get("wsgi_app")
        # The bound method has a strong reference to the application.
        self._before = None if self._replaced else WeakMethod(before)
        self._served: WSGIApplication | None = served
        self._pass_attributes_of(self._replaced)
        application.wsgi_app = self

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Call what is served at the path, or else the application (:pep:`3333`)."""
        path = environ.get("PATH_INFO", "")
        if path.startswith(self._path) and self._serves(path):
            # Not among the paths that match nothing.
            record_route(environ, self._route)
            return t.cast("WSGIApplication", self._served)(environ, start_response)
        return self._call_before(environ, start_response)

    def remove(self) -> None:
        """Remove the layer; within other middlewares, pass each request on."""
        self._served = None
        application: t.Any = self._application()
        if application is None or vars(application).get("wsgi_app") is not self:
            return
        if self._replaced is None:
            del application.wsgi_app
        else:
            application.wsgi_app = self._replaced

    def _call_before(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        before = self._replaced if self._before is None else self._before()
        if before is None:
            raise RuntimeError(
                "the application is gone, and only its wsgi_app was kept; keep the"
                " application, as by returning it from the factory"
            )
        return t.cast("WSGIApplication", before)(environ, start_response)

    def _serves(self, path: str) -> bool:
        """Return whether no route hides this path; that one does is logged once."""
        is_below = self._with_below and path.startswith(self._route)
        if self._served is None or not (path == self._path or is_below):
            return False
        route = self._route_in(self._application())
        if route is not None and not self._has_logged:
            self._has_logged = True
            checked(self._log, logging.ERROR).error(
                "%s cannot be served, as the application has got a route %s; choose"
                " another path, or remove that route",
                self._what,
                route,
            )
        return route is None

    def _route_in(self, application: object) -> str | None:
        """Return a route that the application has there, by Werkzeug's map."""
        iter_rules = getattr(getattr(application, "url_map", None), "iter_rules", None)
        for rule in iter_rules() if callable(iter_rules) else ():
            route, path = (f"{one.rstrip('/')}/" for one in (rule.rule, self._path))
            if route == path or (self._with_below and route.startswith(path)):
                return str(rule.rule)
        return None
