"""Falcon: the route of each request, read by a middleware."""

from __future__ import annotations

import typing as t
from contextlib import suppress

from ..wsgi.routes import record_route

if t.TYPE_CHECKING:
    import falcon

__all__ = ["RouteReader"]


class RouteReader:
    """Record the route that Falcon matched, before its resource is called.

    ::

        app = falcon.App(middleware=[RouteReader()])
        application = SignalMiddleware(app)

    :attr:`Exchange.route <signalpost.exchange.Exchange.route>` is the template, as
    ``"/items/{number:int}"``, with the mount point in front. Falcon's routes have no
    names, so there is no endpoint. There is no route if no path matches, and none for a
    sink or a static file. If the resource does not have the method, the route is
    recorded.

    Put it before other middlewares, so that a request that another one refuses in
    ``process_resource`` has its route.

    .. versionadded:: 0.1
    """

    def process_resource(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        resource: object,
        params: dict[str, t.Any],
    ) -> None:
        """Record the route of a request; Falcon calls it when a route matched.

        :param req: The request.
        :param resp: Not changed.
        :param resource: Not changed.
        :param params: Not changed.
        """
        template = req.uri_template
        if template is not None:
            with suppress(Exception):  # our faults must not reach the client
                record_route(req.env, template)
