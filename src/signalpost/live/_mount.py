"""The page at a path of an application that is configured by name."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable
from weakref import ref
from weakref import WeakMethod

from ..errors import ConfigurationError

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["Mount"]


class Mount:
    """A WSGI layer that replaces an application's ``wsgi_app`` until it is removed.

    A middleware that is added to the application later is around the page, too.

    :param application: An application with a ``wsgi_app``, as Flask's. The reference
        to it is weak.
    :param path: The path of the page within the application.
    :param page_around: Makes the page around a WSGI application.
    :raises ConfigurationError: If the application has no ``wsgi_app`` to replace, or a
        route of this path.
    """

    def __init__(
        self,
        application: t.Any,
        path: str,
        page_around: t.Callable[[WSGIApplication], WSGIApplication],
    ) -> None:
        before = getattr(application, "wsgi_app", None)
        if not callable(before) or not hasattr(application, "__dict__"):
            raise ConfigurationError(
                "path takes an application with a wsgi_app, as Flask's; leave it out,"
                " and put signalpost.live.LivePage around your WSGI application",
                key="path",
            )
        taken = _route_at(application, path)
        if taken is not None:
            raise ConfigurationError(
                f"path: the application has a route {taken!r} already; choose another"
                " path, or remove that route",
                key="path",
            )
        self._application = ref(application)
        self._replaced = vars(application).get("wsgi_app")
        # The bound method has a strong reference to the application.
        self._before = None if self._replaced else WeakMethod(before)
        self._page: WSGIApplication | None = page_around(self._call_before)
        application.wsgi_app = self

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Return the response of the page or of the application (:pep:`3333`)."""
        page = self._page or self._call_before
        return page(environ, start_response)

    def remove(self) -> None:
        """Stop serving the page; under other layers, pass each request on."""
        self._page = None
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


def _route_at(application: t.Any, path: str) -> str | None:
    """Return a route of the application that the page would hide, if there is one."""
    iter_rules = getattr(getattr(application, "url_map", None), "iter_rules", None)
    rules: Iterable[t.Any] = iter_rules() if callable(iter_rules) else ()
    for rule in rules:
        if f"{rule.rule.rstrip('/')}/".startswith(f"{path}/"):
            return str(rule.rule)
    return None
