"""The metrics that there are: names, help texts and labels."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable

from ._figures import Family
from ._figures import Group
from ._figures import Label

__all__ = ["NO_EXCHANGE", "UNMATCHED_ROUTE", "Groups"]

UNMATCHED_ROUTE: t.Final = "<unmatched>"
"""Stands for the requests of which no route is known."""

NO_EXCHANGE: t.Final = "<none>"
"""Stands for the route of a statement that no request has executed."""

_MOST_RECEIVERS = 100


class Groups:
    """The metrics of one :class:`PrometheusMetrics`, by the labels that they have.

    :param prefix: What each name begins with.
    :param bounds: The upper bounds of the histograms' buckets, in seconds.
    :param own: The names of further labels of the exchanges.
    :param max_values: How many values each of those has.
    :param max_routes: How many routes there are.
    :param max_rows: How many sets of values a group has.
    """

    exchanges: Group
    """By method, route, status, outcome and what else was asked for: requests, bytes,
    durations and times to headers, in this order."""
    flights: Group
    """Without labels: requests in flight."""
    failures: Group
    """By route and where: exceptions."""
    statements: Group
    """By route, operation and outcome: statements and their seconds."""
    deliveries: Group
    """By signal and receiver: calls, failures and seconds."""
    duration_slot: int
    """Where durations begin in a row of the exchanges."""
    headers_slot: int
    """Where times to headers begin in it."""

    def __init__(
        self,
        prefix: str,
        bounds: tuple[float, ...],
        own: Iterable[str],
        max_values: int,
        max_routes: int,
        max_rows: int,
    ) -> None:
        always = (UNMATCHED_ROUTE, NO_EXCHANGE)
        route = Label("route", max_routes, _route_text, always)
        http = f"{prefix}http_server_"
        duration = Family(
            f"{http}request_duration_seconds",
            "histogram",
            "Time from the server's call to the close of the response.",
            bounds,
        )
        headers = Family(
            f"{http}time_to_headers_seconds",
            "histogram",
            "Time from the server's call to the start of the response.",
            bounds,
        )
        self.duration_slot = 2
        self.headers_slot = self.duration_slot + len(duration.slots())
        self.exchanges = Group(
            [
                Label("method", 20),
                route,
                Label("status", 505, _status_text),
                Label("outcome", 10),
                *(Label(name, max_values) for name in own),
            ],
            [
                Family(
                    f"{http}requests", "counter", "Requests whose response is closed."
                ),
                Family(
                    f"{http}response_body_bytes",
                    "counter",
                    "Bytes of response bodies handed to the server.",
                ),
                duration,
                headers,
            ],
            max_rows,
        )
        in_flight = Family(
            f"{http}requests_in_flight",
            "gauge",
            "Requests whose response is not closed yet.",
        )
        self.flights = Group([], [in_flight], 1)
        failures = Family(
            f"{http}failures",
            "counter",
            "Exceptions that left the application, by where they did.",
        )
        self.failures = Group([route, Label("where", 10)], [failures], max_rows)
        self.statements = Group(
            [route, Label("operation", 10), Label("outcome", 2)],
            [
                Family(
                    f"{prefix}sql_statements",
                    "counter",
                    "Statements that the database executed or failed to.",
                ),
                Family(
                    f"{prefix}sql_statement_seconds",
                    "counter",
                    "Time that the database driver took for statements.",
                ),
            ],
            max_rows,
        )
        ours = f"{prefix}signalpost_receiver_"
        self.deliveries = Group(
            [Label("signal", _MOST_RECEIVERS), Label("receiver", _MOST_RECEIVERS)],
            [
                Family(f"{ours}calls", "counter", "Calls of receivers."),
                Family(f"{ours}failures", "counter", "Calls of receivers that raised."),
                Family(f"{ours}seconds", "counter", "Time that receivers took."),
            ],
            max_rows,
        )


def _route_text(route: str | None) -> str:
    return UNMATCHED_ROUTE if route is None else route


def _status_text(status: int | None) -> str:
    if status is None:
        return "none"
    return str(status) if 100 <= status <= 599 else "other"
