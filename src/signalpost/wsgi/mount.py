"""A layer in an application's ``wsgi_app``, for what is served at a path of it."""

from __future__ import annotations

import typing as t
from collections.abc import Callable
from collections.abc import Iterable
from weakref import ref
from weakref import WeakMethod

from ..errors import ConfigurationError

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["Mount", "route_is_taken", "rules_of"]


class Mount:
    """A WSGI layer that replaces an application's ``wsgi_app`` until it is removed.

    A middleware that is added to the application later is around the layer, too.

    :param application: An application with a ``wsgi_app``, as Flask's. The reference
        to it is weak.
    :param layer_around: Makes the layer around a WSGI application.
    :param advice: What to do instead for an application without a ``wsgi_app``.
    :raises ConfigurationError: If the application has no ``wsgi_app`` to replace.
    """

    def __init__(
        self,
        application: t.Any,
        layer_around: Callable[[WSGIApplication], WSGIApplication],
        advice: str,
    ) -> None:
        before = getattr(application, "wsgi_app", None)
        if not callable(before) or not hasattr(application, "__dict__"):
            raise ConfigurationError(
                "path takes an application with a wsgi_app, as Flask's; leave it out,"
                f" and {advice}",
                key="path",
            )
        self._application = ref(application)
        self._replaced = vars(application).get("wsgi_app")
        # The bound method has a strong reference to the application.
        self._before = None if self._replaced else WeakMethod(before)
        self._layer: WSGIApplication | None = layer_around(self._call_before)
        application.wsgi_app = self

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Call the layer, or the application after a removal (:pep:`3333`)."""
        called = self._layer or self._call_before
        return called(environ, start_response)

    def remove(self) -> None:
        """Remove the layer; within other middlewares, pass each request on."""
        self._layer = None
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


def rules_of(application: object) -> Iterable[t.Any]:
    """Return the rules of an application's routes; none without Werkzeug's map."""
    iter_rules = getattr(getattr(application, "url_map", None), "iter_rules", None)
    return iter_rules() if callable(iter_rules) else ()


def route_is_taken(route: str) -> ConfigurationError:
    """Return the error for a path at which the application has a route."""
    return ConfigurationError(
        f"path: the application has a route {route!r} already; choose another"
        " path, or remove that route",
        key="path",
    )
