"""Requests under the names that prometheus-flask-exporter gives them."""

from __future__ import annotations

import typing as t
from collections.abc import Collection
from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client import GCCollector
from prometheus_client import PlatformCollector
from prometheus_client import ProcessCollector
from prometheus_client.metrics_core import Metric

from ..._version import installed_version
from ...exchange import Exchange
from ...receivers.lines import LONGEST_FIELD
from ._exporter_options import ExporterNames
from ._log import warn
from ._requests import DURATION
from ._requests import status_text
from ._store import Store
from ._values import counter
from ._values import histogram
from ._values import Label
from ._values import Limits
from ._values import OTHER

__all__ = ["ExporterMetrics"]

_NONE: t.Final = "None"
"""The label of prometheus-flask-exporter for no endpoint and no rule."""

_FAILED: t.Final = "<failed>"
_MOST_UNMATCHED: t.Final = 100


class ExporterMetrics:
    """Counts requests under the names, labels and buckets of prometheus-flask-exporter.

    :param names: The options.
    :param own: The names of further labels, which functions of the exchange give.
    :param limits: How many values and rows there are.
    :param store: Where the metrics are kept.
    """

    with_new_names: bool
    """``True`` if requests are counted under the names of signalpost, too."""

    def __init__(
        self, names: ExporterNames, own: Collection[str], limits: Limits, store: Store
    ) -> None:
        self._store = store
        self.with_new_names = names.with_new_names
        self._names = names
        self._constants = tuple(names.constant_labels.values())
        self._unmatched: set[str] = set()
        method, status = Label("method", 20), Label("status", 505, status_text)
        most = names.max_groups + _MOST_UNMATCHED
        group = Label(names.group_label, most, always=(_NONE, OTHER))
        more = [
            *(Label(name, limits.values) for name in own),
            *(Label(name, 1) for name in names.constant_labels),
        ]
        start, most = f"{names.prefix}http_request", limits.label_sets
        self._durations = store.group(
            *(most, [method, group, status, *more]),
            histogram(f"{start}_duration_seconds", DURATION, names.bounds),
        )
        text = "Exceptions that left the application."
        labels = [method, status, *more]
        exceptions = counter(f"{start}_exceptions", text)
        self._exceptions = store.group(most, labels, exceptions)
        text = "Requests whose response closed."
        self._totals = store.group(most, labels, counter(f"{start}_total", text))

    def closed(
        self,
        exchange: Exchange,
        own: tuple[str, ...],
        response_seconds: float | None,
    ) -> None:
        """Count an exchange that has closed.

        :param exchange: The exchange.
        :param own: The values of the further labels.
        :param response_seconds: Its response time, or ``None`` if it has none.
        """
        if self._is_excluded(exchange):
            return
        status = exchange.status
        if status is None and exchange.outcome == "error":
            # For an exception of the application, the server sends an error page.
            status = 500
        group = self._group_of(exchange)
        key = (exchange.method, group, status, *own, *self._constants)
        self._store.put(self._note_request, key, response_seconds)

    def failed(self, exchange: Exchange, own: tuple[str, ...]) -> None:
        """Count an exception that left the application, with status 500 always.

        :param exchange: The exchange.
        :param own: The values of the further labels.
        """
        if not self._is_excluded(exchange):
            key = (exchange.method, 500, *own, *self._constants)
            self._store.put(self._exceptions.add, key, 1)

    def register(self, registry: CollectorRegistry, *, is_own: bool) -> None:
        """Add the metrics that are the same at each scrape to a registry.

        :param registry: The registry.
        :param is_own: ``True`` if it has no other metrics, and those of one process.
        :raises ValueError: If it has metrics of these names.
        """
        registry.register(_Information(self._names))
        if is_own and self._names.with_process_metrics:
            for collector in (ProcessCollector, PlatformCollector, GCCollector):
                collector(registry=registry)

    def _is_excluded(self, exchange: Exchange) -> bool:
        excluded = self._names.exclude_endpoints
        return bool(excluded) and exchange.endpoint in excluded

    def _group_of(self, exchange: Exchange) -> str:
        by = self._names.group_by
        try:
            if by == "path":
                return self._path_of(exchange)
            if by == "endpoint":
                found: object = exchange.endpoint
            elif by == "url_rule":
                found = _rule_of(exchange)
            else:
                found = t.cast("t.Callable[[Exchange], t.Any]", by)(exchange)
            return str(found)[:LONGEST_FIELD]
        except Exception as error:  # noqa: BLE001  # the request is counted even so
            warn(self._store.logged, "the function of group_by failed", error)
            return _FAILED

    def _path_of(self, exchange: Exchange) -> str:
        path = f"/{exchange.path.lstrip('/')}"[:LONGEST_FIELD]
        if exchange.route is not None or path in self._unmatched:
            return path
        # Requests of a scanner must not take the room of the paths that there are.
        if len(self._unmatched) >= _MOST_UNMATCHED:
            return OTHER
        self._unmatched.add(path)
        return path

    def _note_request(self, key: tuple[t.Any, ...], seconds: float | None) -> None:
        method, _, *more = key
        self._totals.row((method, *more))[0](1.0)
        if seconds is not None:
            self._durations.row(key)[0](seconds)


class _Information:
    """Gauges that are 1."""

    def __init__(self, names: ExporterNames) -> None:
        version = installed_version()
        self._info = {
            f"{names.prefix}exporter_info": {"version": version},
            **names.info,
        }

    def collect(self) -> Iterable[Metric]:
        """Return the gauges."""
        for name, labels in self._info.items():
            metric = Metric(name, "Information in labels.", "gauge")
            metric.add_sample(name, labels, 1.0)
            yield metric

    describe = collect


def _rule_of(exchange: Exchange) -> str | None:
    """Return the rule as the application has it, without the mount point."""
    route = exchange.route
    return None if route is None else str(route).removeprefix(exchange.script_name)
