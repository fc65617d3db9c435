"""The metrics that there are: names, help texts and labels."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass

from ...receivers.paths import UNMATCHED_ROUTE
from ...receivers.sql_pools import MOST_NAMES
from ...receivers.statements import OPERATIONS
from ._values import counter
from ._values import gauge
from ._values import Group
from ._values import histogram
from ._values import Label

__all__ = ["NO_EXCHANGE", "Groups", "Limits", "status_text"]

NO_EXCHANGE: t.Final = "<none>"
"""The label ``route`` of a statement that no request has executed."""

_MOST_RECEIVERS = 100
_MOST_POOLS = MOST_NAMES + 1
# The operations of statements, other failed operations, and one for all others.
_MOST_OPERATIONS = len(OPERATIONS) + 10
# The bounds that OpenTelemetry's conventions advise for a database.
_SQL_BOUNDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
_WORK_BOUNDS = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600)


@dataclass(frozen=True, slots=True)
class Limits:
    """The most values of each kind; later ones are counted together."""

    values: int
    """Values of each further label of the exchanges."""
    routes: int
    """Routes."""
    label_sets: int
    """Sets of values of a group's labels."""


class Groups:
    """The metrics of one :class:`PrometheusMetrics`, by the labels that they have.

    :param prefix: The prefix of each name.
    :param bounds: The upper bounds of the buckets of times, in seconds.
    :param stream_bounds: The same for the durations of streams.
    :param own: The names of further labels of the exchanges.
    :param limits: How many values there are of each.
    """

    def __init__(
        self,
        prefix: str,
        bounds: Sequence[float],
        stream_bounds: Sequence[float],
        own: Iterable[str],
        limits: Limits,
    ) -> None:
        most, http = limits.label_sets, f"{prefix}http_server_"
        route = Label(
            "route", limits.routes, _route_text, (UNMATCHED_ROUTE, NO_EXCHANGE)
        )
        labels = [
            *(Label("method", 20), route),
            *(Label("status", 505, status_text), Label("outcome", 10)),
            *(Label(name, limits.values) for name in own),
        ]
        text = "Time from the server's call to the start of the response."
        self.exchanges = Group(
            *(most, labels),
            counter(f"{http}requests", "Requests whose response is closed."),
            counter(f"{http}response_body_bytes", "Bytes of bodies for the server."),
            histogram(f"{http}request_duration_seconds", DURATION, bounds),
            histogram(f"{http}time_to_headers_seconds", text, bounds),
        )
        # A group of its own, so that only routes that stream have its series.
        text = "Time from the server's call to the close of a streamed response."
        streams = histogram(f"{http}stream_duration_seconds", text, stream_bounds)
        self.streams = Group(most, labels, streams)
        text = "Requests whose response is not closed yet."
        self.flights = Group(1, [], gauge(f"{http}requests_in_flight", text))
        text = "Exceptions that left the application, by where they did."
        failures = counter(f"{http}failures", text)
        self.failures = Group(most, [route, Label("where", 10)], failures)
        self.statements = _statements(f"{prefix}sql_statement", most, route)
        self.statement_durations = _statement_durations(f"{prefix}sql_statement")
        self.pools = _pools(f"{prefix}sql_pool_")
        self.pool_levels = _pool_levels(f"{prefix}sql_pool_")
        self.pool_connections = _pool_connections(f"{prefix}sql_pool_")
        name = Label("name", limits.routes)
        self.work = _work(f"{prefix}work_", most, name)
        self.work_flights = _work_flights(f"{prefix}work_", most, name)
        self.deliveries = _deliveries(f"{prefix}signalpost_receiver_", most)


def _statements(start: str, most: int, route: Label) -> Group:
    return Group(
        *(most, [route, Label("operation", _MOST_OPERATIONS), Label("outcome", 2)]),
        counter(f"{start}s", "Statements that the database executed or failed to."),
        counter(f"{start}_seconds", "Time that the database driver took."),
    )


def _statement_durations(start: str) -> Group:
    labels = [Label("operation", _MOST_OPERATIONS), Label("outcome", 2)]
    text = "Time that the database driver took for a statement."
    most = 2 * _MOST_OPERATIONS
    return Group(
        most, labels, histogram(f"{start}_duration_seconds", text, _SQL_BOUNDS)
    )


def _pools(start: str) -> Group:
    text = "Time until a caller had a connection of the pool."
    waits = histogram(f"{start}wait_seconds", text, _SQL_BOUNDS)
    text = "Time that a connection of the pool was in use."
    uses = histogram(f"{start}use_seconds", text, _SQL_BOUNDS)
    text = "Callers that no connection of the pool was free for in time."
    timeouts = counter(f"{start}timeouts", text)
    return Group(_MOST_POOLS, [Label("pool", _MOST_POOLS)], waits, uses, timeouts)


def _pool_levels(start: str) -> Group:
    text = "Callers that wait for a connection of the pool."
    waiting = gauge(f"{start}waiting", text)
    text = "Open connections beyond the size of the pool."
    overflow = gauge(f"{start}overflow_connections", text)
    text = "How many connections the pool keeps."
    kept = gauge(f"{start}max_idle_connections", text)
    text = "How many connections the pool may open."
    most = gauge(f"{start}max_connections", text)
    labels = [Label("pool", _MOST_POOLS)]
    return Group(_MOST_POOLS, labels, waiting, overflow, kept, most)


def _pool_connections(start: str) -> Group:
    labels = [Label("pool", _MOST_POOLS), Label("state", 2)]
    text = "Open connections of the pool."
    return Group(2 * _MOST_POOLS, labels, gauge(f"{start}connections", text))


def _work(start: str, most: int, name: Label) -> Group:
    text = "Time from the start to the end of a unit of work."
    return Group(
        *(most, [name, Label("outcome", 10)]),
        counter(f"{start}units", "Units of work that are over."),
        histogram(f"{start}duration_seconds", text, _WORK_BOUNDS),
    )


def _work_flights(start: str, most: int, name: Label) -> Group:
    return Group(most, [name], gauge(f"{start}in_flight", "Units of work under way."))


def _deliveries(start: str, most: int) -> Group:
    return Group(
        *(most, [Label(name, _MOST_RECEIVERS) for name in ("signal", "receiver")]),
        counter(f"{start}calls", "Calls of receivers."),
        counter(f"{start}failures", "Calls of receivers that raised."),
        counter(f"{start}seconds", "Time that receivers took."),
    )


DURATION: t.Final = (
    "Time from the server's call to the close of the response, or to the headers of a"
    " streamed one."
)


def _route_text(route: str | None) -> str:
    return UNMATCHED_ROUTE if route is None else route


def status_text(status: int | None) -> str:
    """Return the value of the label ``status``."""
    if status is None:
        return "none"
    return str(status) if 100 <= status <= 599 else "other"
