"""The page at a path of an application that is configured by name."""

from __future__ import annotations

import typing as t

from ..wsgi.mount import Mount
from ..wsgi.mount import route_is_taken
from ..wsgi.mount import rules_of

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

__all__ = ["mounted_page"]


def mounted_page(
    application: t.Any,
    path: str,
    page_around: t.Callable[[WSGIApplication], WSGIApplication],
) -> Mount:
    """Put the page into an application, and return what removes it.

    :param path: The path of the page within the application.
    :param page_around: Makes the page around a WSGI application.
    :raises ConfigurationError: If the application has no ``wsgi_app`` to replace, or a
        route of this path.
    """
    for rule in rules_of(application):
        if f"{rule.rule.rstrip('/')}/".startswith(f"{path}/"):
            raise route_is_taken(rule.rule)
    advice = "put signalpost.live.LivePage around your WSGI application"
    return Mount(application, page_around, advice)
