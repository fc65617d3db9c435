"""Requests, streams and failures, counted."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable
from collections.abc import Sequence

from ...receivers.paths import UNMATCHED_ROUTE
from ._store import Store
from ._values import counter
from ._values import gauge
from ._values import Group
from ._values import histogram
from ._values import Label
from ._values import Limits

__all__ = ["DURATION", "NO_EXCHANGE", "RequestMetrics", "route_label", "status_text"]

NO_EXCHANGE: t.Final = "<none>"
"""The label ``route`` of a statement that was executed outside of a request.

.. versionadded:: 0.1
"""

DURATION: t.Final = (
    "Time from the server's call to the close of the response, or to the headers of a"
    " streamed one."
)


class RequestMetrics:
    """Metrics of requests, streams and failures.

    :param prefix: The prefix of each name.
    :param bounds: The upper bounds of the buckets of times, in seconds.
    :param stream_bounds: The same for the durations of streams.
    :param own: The names of further labels.
    :param limits: How many values there are of each.
    :param route: The label.
    :param store: Where the metrics are kept.
    """

    streams: Group
    """The durations of streams, by the labels of requests."""
    failures: Group
    """The exceptions, by route and where."""

    def __init__(  # noqa: PLR0913  # each comes from another option
        self,
        prefix: str,
        bounds: Sequence[float],
        stream_bounds: Sequence[float],
        own: Iterable[str],
        limits: Limits,
        *,
        route: Label,
        store: Store,
    ) -> None:
        most, start = limits.label_sets, f"{prefix}http_server_"
        labels = [
            *(Label("method", 20), route),
            *(Label("status", 505, status_text), Label("outcome", 10)),
            *(Label(name, limits.values) for name in own),
        ]
        text = "Time from the server's call to the start of the response."
        self._exchanges = store.group(
            *(most, labels),
            counter(f"{start}requests", "Requests whose response is closed."),
            counter(f"{start}response_body_bytes", "Bytes of bodies for the server."),
            histogram(f"{start}request_duration_seconds", DURATION, bounds),
            histogram(f"{start}time_to_headers_seconds", text, bounds),
        )
        # A separate group, so that only routes that stream have its series.
        text = "Time from the server's call to the close of a streamed response."
        streams = histogram(f"{start}stream_duration_seconds", text, stream_bounds)
        self.streams = store.group(most, labels, streams)
        text = "Exceptions that left the application, by where they did."
        failures = counter(f"{start}failures", text)
        labels = [route, Label("where", 10)]
        self.failures = store.group(most, labels, failures)
        text = "Requests whose response is not closed yet."
        store.flights = store.group(1, [], gauge(f"{start}requests_in_flight", text))

    def note(
        self,
        key: tuple[t.Any, ...],
        body_bytes: int,
        response_seconds: float | None,
        seconds_to_headers: float | None,
        exemplar: dict[str, str] | None,
    ) -> None:
        """Count a request, by its labels."""
        requests, sizes, durations, headers = self._exchanges.row(key)
        requests(1.0)
        if body_bytes:
            sizes(body_bytes)
        if response_seconds is not None:
            durations(response_seconds, exemplar)
        if seconds_to_headers is not None:
            headers(seconds_to_headers)


def route_label(most: int) -> Label:
    """Return the label ``route``.

    :param most: The number of routes with their own value.
    """
    return Label("route", most, _route_text, (UNMATCHED_ROUTE, NO_EXCHANGE))


def _route_text(route: str | None) -> str:
    return UNMATCHED_ROUTE if route is None else route


def status_text(status: int | None) -> str:
    """Return the value of the label ``status``."""
    if status is None:
        return "none"
    return str(status) if 100 <= status <= 599 else "other"
