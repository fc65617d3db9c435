"""Bottle: the route of each request, read by a plugin."""

from __future__ import annotations

import typing as t
from collections.abc import Callable
from contextlib import suppress

import bottle

from ..wsgi.routes import record_route

__all__ = ["RouteReader"]


class RouteReader:
    """Record the route that Bottle matched, before its callback runs.

    ::

        app = bottle.Bottle()
        app.install(RouteReader())
        application = SignalMiddleware(app)

    :attr:`Exchange.route <signalpost.exchange.Exchange.route>` is the rule, as
    ``"/items/<number:int>"``, with the mount point in front, and the endpoint is the
    name of the route, if it has one. There is no route if no path matches, or if the
    method is not allowed.

    Install it before other plugins: Bottle calls the plugin first that was installed
    first. So a request that another plugin refuses has its route. A mounted application
    needs its own reader, because Bottle applies no plugin to it.

    .. versionadded:: 0.1
    """

    api = 2
    name = "signalpost"

    def apply(
        self, callback: Callable[..., t.Any], route: t.Any
    ) -> Callable[..., t.Any]:
        """Return a callback that records the route first; Bottle calls this.

        :param callback: The callback that answers the request.
        :param route: The :class:`bottle.Route`.
        """

        def callback_with_route(*arguments: t.Any, **named: t.Any) -> t.Any:
            with suppress(Exception):  # our faults must not reach the client
                # Read now, because mounting an application later changes its rules.
                record_route(bottle.request.environ, route.rule, route.name)
            return callback(*arguments, **named)

        return callback_with_route
