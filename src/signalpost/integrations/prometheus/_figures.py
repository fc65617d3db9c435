"""Figures by labels: what a scrape reads, and a request adds to."""

from __future__ import annotations

import logging
import typing as t
from bisect import bisect_left
from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from ..._engine.unseen import checked
from ...receivers.lines import capped
from ...receivers.lines import one_line

__all__ = ["OTHER", "Complaints", "Family", "Group", "Label", "Row", "RowMaker"]

OTHER: t.Final = "<other>"
"""Stands for every value of a label that came when there was no room for more."""

Kind: t.TypeAlias = t.Literal["counter", "histogram", "gauge"]

_log = logging.getLogger("signalpost.prometheus")


class Complaints:
    """Tells of each thing that goes wrong once, however often it does."""

    _MOST = 100

    def __init__(self) -> None:
        self._told: set[str] = set()

    def tell(self, what: str, error: object) -> None:
        """Log a warning, if it is the first of its kind."""
        if what not in self._told and len(self._told) < self._MOST:
            self._told.add(what)
            checked(_log, logging.WARNING).warning(
                "%s: %s; said once", one_line(what), one_line(str(error))
            )


@dataclass(frozen=True)  # without slots, for the cached property
class Family:
    """A metric: its name, what it means, and the slots that it takes in a row."""

    name: str
    """Without the suffixes that samples have, as ``"http_server_requests"``."""
    kind: Kind
    """Prometheus' type."""
    help_text: str
    """One sentence for who reads the scrape."""
    bounds: tuple[float, ...] = ()
    """The upper bounds of a histogram's buckets, in its unit, without infinity."""

    @cached_property
    def slots(self) -> list[tuple[str, dict[str, str]]]:
        """The name and the labels of the sample in each slot.

        As in the client library's files, a bucket does not hold those below it.
        """
        if self.kind == "counter":
            return [(f"{self.name}_total", {})]
        if self.kind == "gauge":
            return [(self.name, {})]
        bounds = map(floatToGoString, (*self.bounds, float("inf")))
        buckets = [(f"{self.name}_bucket", {"le": bound}) for bound in bounds]
        return [(f"{self.name}_sum", {}), *buckets]

    def metric(self) -> Metric:
        """Return the library's object for it, without samples."""
        return Metric(self.name, self.help_text, self.kind)

    def add_samples(
        self, metric: Metric, labels: dict[str, str], row: Row, start: int
    ) -> None:
        """Add the samples of a row, whose slots of this family begin at ``start``."""
        if self.kind != "histogram":
            metric.add_sample(self.slots[0][0], labels, row.values[start])
            return
        exemplars = row.exemplars or {}
        count = 0.0
        for slot, (name, more) in enumerate(self.slots[1:], start + 1):
            count += row.values[slot]
            metric.add_sample(
                name, {**labels, **more}, count, exemplar=exemplars.get(slot)
            )
        metric.add_sample(f"{self.name}_count", labels, count)
        metric.add_sample(self.slots[0][0], labels, row.values[start])


class Label:
    """A label that takes a bounded number of values.

    :param name: Its name.
    :param most_values: How many different ones there may be; those that come first.
    :param text_of: Makes a text of what a receiver has read.
    :param always: Values that there is room for beside those.
    """

    def __init__(
        self,
        name: str,
        most_values: int,
        text_of: Callable[[t.Any], str] = str,
        always: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self._most_values = most_values + len(always)
        self._text_of = text_of
        self._values = set(always)

    def value(self, raw: t.Any) -> str:
        """Return a value that a scrape can hold, or :data:`OTHER`."""
        # Lone surrogates would make every scrape fail.
        text = capped(self._text_of(raw)).encode("utf-8", "replace").decode()
        if text not in self._values:
            if len(self._values) >= self._most_values:
                return OTHER
            self._values.add(text)
        return text


class Row:
    """The figures of one set of label values.

    :param size: How many slots it has.
    """

    __slots__ = ("exemplars", "values")

    def __init__(self, size: int) -> None:
        self.values = [0.0] * size
        self.exemplars: dict[int, Exemplar] | None = None

    def add(self, slot: int, amount: float) -> None:
        """Add to a slot."""
        self.values[slot] += amount

    def set(self, slot: int, value: float) -> None:
        """Set a slot."""
        self.values[slot] = value

    def observe(
        self,
        slot: int,
        bounds: tuple[float, ...],
        value: float,
        exemplar: Exemplar | None = None,
    ) -> None:
        """Add a value to the histogram whose sum is in a slot."""
        # As add() does, of which the calls would cost as much as all the rest.
        values = self.values
        values[slot] += value
        bucket = slot + 1 + bisect_left(bounds, value)
        values[bucket] += 1
        if exemplar is not None:
            if self.exemplars is None:
                self.exemplars = {}
            self.exemplars[bucket] = exemplar


RowMaker: t.TypeAlias = Callable[["Group", tuple[str, ...]], Row]
"""Makes the row for the values of a group's labels."""


class Group:
    """Metrics that have the same labels, in rows.

    :param labels: The labels.
    :param families: The metrics; a row holds their slots one after another.
    :param most_rows: How many rows there may be; what comes when there are as many
        has a row together.
    """

    def __init__(
        self, labels: Sequence[Label], families: Sequence[Family], most_rows: int
    ) -> None:
        self.names = tuple(label.name for label in labels)
        self.families = tuple(families)
        self.slots = [slot for family in families for slot in family.slots]
        self._labels = tuple(labels)
        self._most_rows = most_rows
        self._rows: dict[tuple[str, ...], Row] = {}
        # What receivers read, as they read it, so that nothing is formatted twice.
        self._known: dict[Hashable, Row] = {}

    def row(self, key: tuple[t.Any, ...], make: RowMaker) -> Row:
        """Return the row for what was read for each label."""
        row = self._known.get(key)
        return self._find(key, make) if row is None else row

    def _find(self, key: tuple[t.Any, ...], make: RowMaker) -> Row:
        pairs = zip(self._labels, key, strict=True)
        values = tuple(label.value(raw) for label, raw in pairs)
        row = self._rows.get(values)
        if row is None and len(self._rows) >= self._most_rows:
            values = (OTHER,) * len(key)
            row = self._rows.get(values)
        if row is None:
            row = self._rows[values] = make(self, values)
        if len(self._known) < 2 * self._most_rows:
            self._known[key] = row
        return row

    def clear(self) -> None:
        """Forget the rows; the values of the labels stay."""
        self._rows.clear()
        self._known.clear()

    def metrics(self) -> Iterable[Metric]:
        """Return the metrics with their samples; none while there is no row.

        A scrape of files has none then, either.
        """
        if not self._rows:
            return
        start = 0
        for family in self.families:
            metric = family.metric()
            for values, row in self._rows.items():
                labels = dict(zip(self.names, values, strict=True))
                family.add_samples(metric, labels, row, start)
            start += len(family.slots)
            yield metric
