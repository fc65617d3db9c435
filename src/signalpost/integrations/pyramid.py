"""Pyramid: the route of each request, read by a subscriber.

::

    config.include("signalpost.integrations.pyramid")
    application = SignalMiddleware(config.make_wsgi_app())

or, in an INI file, ``pyramid.includes = signalpost.integrations.pyramid``.

:attr:`Exchange.route <signalpost.exchange.Exchange.route>` is the pattern, as
``"/items/{number}"``, with the mount point in front, and the endpoint is the name of
the route. It is recorded before the root factory runs, so a request that fails after
the matching has its route. Traversal has no patterns: a request with traversal has the
route that leads to it, such as ``"/files/*traverse"``, or none.
"""

from __future__ import annotations

import typing as t
from contextlib import suppress

from pyramid.events import BeforeTraversal

from ..wsgi.routes import record_route

__all__ = ["includeme", "read_route"]


def includeme(config: t.Any) -> None:
    """Subscribe :func:`read_route`; for ``config.include()``.

    :param config: The :class:`pyramid.config.Configurator`.

    .. versionadded:: 0.1
    """
    config.add_subscriber(read_route, BeforeTraversal)


def read_route(event: t.Any) -> None:
    """Record the route that Pyramid matched, if one did.

    :param event: The :class:`pyramid.events.BeforeTraversal`.

    .. versionadded:: 0.1
    """
    with suppress(Exception):  # our faults must not reach the client
        request = event.request
        route = request.matched_route
        if route is not None:
            record_route(request.environ, route.pattern, route.name)
