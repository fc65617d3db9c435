"""Add headers to responses: the id of the request, and durations for the browser."""

from __future__ import annotations

from collections.abc import Mapping
from reprlib import repr as short_repr
from typing import ClassVar
from wsgiref.util import is_hop_by_hop

from .._ids import is_header_name
from ..exchange import Exchange
from .sql_totals import sql_totals

__all__ = ["IdHeader", "ServerTiming"]


class IdHeader:
    """Send the id of each request in its response.

    ::

        exchange_opened.connect(IdHeader(), weak=False)

    The client gets :attr:`.Exchange.id` with every response of the application: pages
    and error pages, streams and files. If the application has set a header of this name
    itself, that header stays, and none is added. Responses of the server itself, as
    after an exception that left the application, have no such header.

    :param name: The name of the header.
    :raises TypeError: If ``name`` is not a string.
    :raises ValueError: If it cannot be the name of a header, or of one that the server
        sets.

    .. versionadded:: 0.1
    """

    signals: ClassVar[Mapping[str, str]] = {"exchange-opened": "__call__"}
    """The method for each signal."""

    def __init__(self, *, name: str = "X-Request-ID") -> None:
        if not isinstance(name, str):
            raise TypeError(
                "name must be the name of a header, got"
                f' {short_repr(name)}; write "X-Request-ID"'
            )
        if not is_header_name(name) or _is_reserved(name):
            raise ValueError(
                "name must be the name of a header, of letters, digits and hyphens, and"
                f' none that servers set, got {short_repr(name)}; write "X-Request-ID"'
            )
        self._name = name

    def __call__(self, sender: object, *, exchange: Exchange) -> None:
        """Add the header to the response of an exchange that was opened."""
        exchange._header_callbacks += (self._header,)

    def _header(
        self, exchange: Exchange, headers: list[tuple[str, str]]
    ) -> tuple[str, str] | None:
        name = self._name.lower()
        if any(key.lower() == name for key, _ in headers):
            return None
        return self._name, exchange.id


class ServerTiming:
    """Send how long a response took in its ``Server-Timing`` header.

    ::

        exchange_opened.connect(ServerTiming(), weak=False)

    Browsers show it with the times that they have measured themselves. The header
    follows W3C's Server Timing, in milliseconds:

    .. code-block:: text

        Server-Timing: total;dur=12.3, sql;dur=2.1;desc="3 statements"

    ``total`` is the time from the server's call to the headers, without the body.
    ``sql`` is added if statements are counted
    (:class:`~signalpost.receivers.sql_totals.SqlTotalsCounter`) and there was one. An
    application's own ``Server-Timing`` stays, too, because a response may have several.

    Every client can read the header. For nested exchanges, only the outermost adds it.

    .. versionadded:: 0.1
    """

    signals: ClassVar[Mapping[str, str]] = {"exchange-opened": "__call__"}
    """The method for each signal."""

    def __call__(self, sender: object, *, exchange: Exchange) -> None:
        """Add the header to the response of an exchange that was opened."""
        if exchange.outer is None:
            exchange._header_callbacks += (_timing,)


def _timing(
    exchange: Exchange, headers: list[tuple[str, str]]
) -> tuple[str, str] | None:
    metrics = [f"total;dur={exchange.seconds_since_start() * 1000:.1f}"]
    totals = sql_totals(exchange)
    if totals is not None and totals.count:
        plural = "" if totals.count == 1 else "s"
        metrics.append(
            f"sql;dur={totals.duration_seconds * 1000:.1f}"
            f';desc="{totals.count} statement{plural}"'
        )
    return "Server-Timing", ", ".join(metrics)


def _is_reserved(name: str) -> bool:
    lower = name.lower()
    return (
        is_hop_by_hop(name)
        or lower.startswith("content-")
        or lower in ("date", "location", "server", "set-cookie", "status", "vary")
    )
