"""Record routes of frameworks that do not use Werkzeug."""

from __future__ import annotations

import typing as t

from ..exchange import Exchange
from ..exchange import EXCHANGE_KEY

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["record_route"]


def record_route(
    environ: WSGIEnvironment, template: str, endpoint: str | None = None
) -> None:
    """Record the route that a framework has matched.

    The mount point, which is the environment's ``SCRIPT_NAME``, is added in front. The
    first route stays, unless a later one belongs to an application that is mounted
    below it, at a path without placeholders. If the application assigns
    :attr:`Exchange.route <signalpost.exchange.Exchange.route>`, that route has
    precedence. If no exchange is open, nothing is done.

    ::

        record_route(environ, "/items/{number}")

    :param environ: The WSGI environment of the framework's request.
    :param template: The route's template, never a path: each value is a label of
        metrics.
    :param endpoint: The name of the route. The parts before its last dot become the
        :attr:`Exchange.blueprints <signalpost.exchange.Exchange.blueprints>`.

    .. versionadded:: 0.1
    """
    exchange = environ.get(EXCHANGE_KEY)
    if isinstance(exchange, Exchange) and exchange.is_open:
        exchange._take_route(environ, template, endpoint)
