"""The exchanges that close during a block, and the exceptions of the application."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .._engine.identity import ANY
from ..exchange import Exchange
from ..exchange import Where
from ..lifecycle import exchange_closed
from ..lifecycle import got_request_exception
from ._capturing import Captured
from ._capturing import Sent


def finished_exchanges(*, sender: Any = ANY) -> Captured[Exchange]:
    """Record each exchange that closes during a ``with`` block, in order.

    ::

        with finished_exchanges() as exchanges:
            client.get("/items/7")
        assert exchanges[0].route == "/items/<int:id>"

    An exchange closes when its response is closed. Flask's test client leaves that to
    the test, so use :class:`signalpost.integrations.flask_testing.ClosingClient`, or
    write ``client.get("/", buffered=True)``. WebTest and httpx close each response.

    :param sender: Only the exchanges of this application; without it, of all.
    :returns: A block that gives a list of :class:`~signalpost.exchange.Exchange`,
        which fills during the block.

    .. versionadded:: 0.1
    """
    return Captured((exchange_closed,), sender, _exchange_of)


@dataclass(frozen=True, slots=True)
class RequestFailure:
    """An exception of the application; see :func:`request_failures`.

    .. versionadded:: 0.1
    """

    exception: BaseException
    """The exception."""
    where: Where
    """The place where it left the application: ``"view"``, ``"call"``,
    ``"iteration"`` or ``"close"``."""
    exchange: Exchange
    """The exchange that failed."""


def request_failures(*, sender: Any = ANY) -> Captured[RequestFailure]:
    """Record each exception of the application during a ``with`` block, in order.

    That is what :data:`~signalpost.lifecycle.got_request_exception` sends: exceptions
    that no error handler took, also those of a streamed body.

    ::

        with request_failures() as failures:
            client.get("/checkout")
        assert failures == []

    :param sender: Only the exceptions of this application; without it, of all.
    :returns: A block that gives a list of :class:`RequestFailure`, which fills during
        the block. It keeps the exceptions and their tracebacks alive.

    .. versionadded:: 0.1
    """
    return Captured((got_request_exception,), sender, _failure_of)


def _exchange_of(sent: Sent) -> Exchange:
    exchange: Exchange = sent["exchange"]
    return exchange


def _failure_of(sent: Sent) -> RequestFailure:
    return RequestFailure(sent["exception"], sent["where"], sent["exchange"])
