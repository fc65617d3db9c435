"""The metrics that there are: names, help texts and labels."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable
from dataclasses import dataclass

from ...receivers.statements import OPERATIONS
from ._figures import Family
from ._figures import Group
from ._figures import Label

__all__ = ["NO_EXCHANGE", "UNMATCHED_ROUTE", "Groups", "Limits", "status_text"]

UNMATCHED_ROUTE: t.Final = "<unmatched>"
"""Stands for the requests of which no route is known."""

NO_EXCHANGE: t.Final = "<none>"
"""Stands for the route of a statement that no request has executed."""

_MOST_RECEIVERS = 100
# Beside those of statements: what else fails, and all others.
_MOST_OPERATIONS = len(OPERATIONS) + 10


@dataclass(frozen=True, slots=True)
class Limits:
    """How many of each there may be; what comes later is counted together."""

    values: int
    """Values of each further label of the exchanges."""
    routes: int
    """Routes."""
    label_sets: int
    """Sets of values of a group's labels."""


class Groups:
    """The metrics of one :class:`PrometheusMetrics`, by the labels that they have.

    :param prefix: What each name begins with.
    :param bounds: The upper bounds of the buckets of times, in seconds.
    :param stream_bounds: Those of the buckets of how long streams last.
    :param own: The names of further labels of the exchanges.
    :param limits: How many values there are of each.
    """

    exchanges: Group
    """By method, route, status, outcome and the further labels: requests, bytes,
    durations and times to headers, in this order."""
    streams: Group
    """By the same: how long streamed responses lasted. A group of its own, so that only
    routes that stream have its series."""
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
        stream_bounds: tuple[float, ...],
        own: Iterable[str],
        limits: Limits,
    ) -> None:
        most = limits.label_sets
        always = (UNMATCHED_ROUTE, NO_EXCHANGE)
        route = Label("route", limits.routes, _route_text, always)
        families = _exchange_families(f"{prefix}http_server_", bounds)
        self.duration_slot = sum(len(family.slots) for family in families[:2])
        self.headers_slot = self.duration_slot + len(families[2].slots)
        labels = [
            Label("method", 20),
            route,
            Label("status", 505, status_text),
            Label("outcome", 10),
            *(Label(name, limits.values) for name in own),
        ]
        self.exchanges = Group(labels, families, most)
        self.streams = Group(labels, [_streams(prefix, stream_bounds)], most)
        self.flights = Group([], [_in_flight(prefix)], 1)
        self.failures = Group([route, Label("where", 10)], [_failures(prefix)], most)
        labels = [route, Label("operation", _MOST_OPERATIONS), Label("outcome", 2)]
        self.statements = Group(labels, _statement_families(prefix), most)
        labels = [Label("signal", _MOST_RECEIVERS), Label("receiver", _MOST_RECEIVERS)]
        self.deliveries = Group(labels, _receiver_families(prefix), most)


def _exchange_families(prefix: str, bounds: tuple[float, ...]) -> list[Family]:
    return [
        Family(f"{prefix}requests", "counter", "Requests whose response is closed."),
        Family(
            f"{prefix}response_body_bytes",
            "counter",
            "Bytes of response bodies handed to the server.",
        ),
        Family(
            f"{prefix}request_duration_seconds",
            "histogram",
            "Time from the server's call to the close of the response, or to the"
            " headers of a streamed one.",
            bounds,
        ),
        Family(
            f"{prefix}time_to_headers_seconds",
            "histogram",
            "Time from the server's call to the start of the response.",
            bounds,
        ),
    ]


def _streams(prefix: str, bounds: tuple[float, ...]) -> Family:
    return Family(
        f"{prefix}http_server_stream_duration_seconds",
        "histogram",
        "Time from the server's call to the close of a streamed response.",
        bounds,
    )


def _in_flight(prefix: str) -> Family:
    return Family(
        f"{prefix}http_server_requests_in_flight",
        "gauge",
        "Requests whose response is not closed yet.",
    )


def _failures(prefix: str) -> Family:
    return Family(
        f"{prefix}http_server_failures",
        "counter",
        "Exceptions that left the application, by where they did.",
    )


def _statement_families(prefix: str) -> list[Family]:
    return [
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
    ]


def _receiver_families(prefix: str) -> list[Family]:
    ours = f"{prefix}signalpost_receiver_"
    return [
        Family(f"{ours}calls", "counter", "Calls of receivers."),
        Family(f"{ours}failures", "counter", "Calls of receivers that raised."),
        Family(f"{ours}seconds", "counter", "Time that receivers took."),
    ]


def _route_text(route: str | None) -> str:
    return UNMATCHED_ROUTE if route is None else route


def status_text(status: int | None) -> str:
    """Return the value of the label ``status``."""
    if status is None:
        return "none"
    return str(status) if 100 <= status <= 599 else "other"
