"""The client's metrics, with bounded labels and with values of our own."""

from __future__ import annotations

import typing as t
from bisect import bisect_left
from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from prometheus_client import Counter
from prometheus_client import Gauge
from prometheus_client import Histogram
from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import mmap_key
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

from ...receivers.lines import truncated
from ._files import ProcessFiles
from ._files import Value

__all__ = [
    "OTHER",
    "Group",
    "Label",
    "Limits",
    "balance",
    "counter",
    "gauge",
    "histogram",
]

OTHER: t.Final = "<other>"
"""The value of a label that replaces all values above its limit.

.. versionadded:: 0.1
"""


Adder: t.TypeAlias = Callable[..., None]
"""Takes an amount that is added, observed or set."""


# The client chooses the class of values and the folder once, for all of its metrics in
# all registries. So these classes make their values themselves.
class _Filed:
    _kwargs: dict[str, t.Any]

    def __init__(
        self, *given: t.Any, files: ProcessFiles | None, **more: t.Any
    ) -> None:
        self._files = files
        super().__init__(*given, **more)
        self._kwargs["files"] = files  # for the children, one for each set of values

    def _value_of(self: t.Any, suffix: str, *bound: str) -> Value:
        kind = self._type
        if kind == "gauge":
            kind = f"gauge_{self._multiprocess_mode}"
        names = [*self._labelnames, *(["le"] if bound else [])]
        values = [*self._labelvalues, *bound]
        name, text = self._name, self._documentation
        key = mmap_key(name, name + suffix, names, values, text)
        return Value(None if self._files is None else self._files[kind], key)

    def adder(self: t.Any) -> Adder:
        """Return what a receiver calls with an amount, without the client's checks."""
        add: Adder = self._value.inc
        return add

    def _child_samples(self) -> Iterable[Sample]:
        """Return the samples without the time when the metric was made."""
        parent: t.Any = super()
        found: Iterable[Sample] = parent._child_samples()  # noqa: SLF001  # it is this one
        return [one for one in found if one.name != "_created"]


class _Counter(_Filed, Counter):
    def _metric_init(self) -> None:
        self._value = self._value_of("_total")
        self._created = 0.0


class _Gauge(_Filed, Gauge):
    def _metric_init(self) -> None:
        self._value = self._value_of("")


class _Level(_Gauge):
    def adder(self) -> Adder:
        set_value: Adder = self._value.set
        return set_value


class _Histogram(_Filed, Histogram):
    def adder(self) -> Adder:
        return self.observe

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        if exemplar:
            super().observe(amount, exemplar)
            return
        self._sum.inc(amount)
        self._buckets[bisect_left(self._upper_bounds, amount)].inc(1)

    def _metric_init(self) -> None:
        self._created = 0.0
        # The last first: a histogram that is read meanwhile has its total at least.
        bounds = map(floatToGoString, reversed(self._upper_bounds))
        self._buckets = [self._value_of("_bucket", bound) for bound in bounds][::-1]
        self._sum = self._value_of("_sum")


_GAUGE: t.Final[dict[str, t.Any]] = {"registry": None, "multiprocess_mode": "livesum"}

Maker: t.TypeAlias = Callable[..., t.Any]
"""Makes a metric; takes the names of its labels, and ``files``."""


def counter(name: str, help_text: str) -> Maker:
    """Return a function that creates a counter."""
    return partial(_Counter, name, help_text, registry=None)


def gauge(name: str, help_text: str) -> Maker:
    """Return what makes a gauge that is set; of processes, the sum of the living."""
    return partial(_Level, name, help_text, **_GAUGE)


def balance(name: str, help_text: str) -> Maker:
    """Return what makes a gauge that is added to; of processes, as :func:`gauge`."""
    return partial(_Gauge, name, help_text, **_GAUGE)


def histogram(name: str, help_text: str, bounds: Sequence[float]) -> Maker:
    """Return a function that creates a histogram with these upper bounds."""
    return partial(_Histogram, name, help_text, registry=None, buckets=bounds)


@dataclass(frozen=True, slots=True)
class Limits:
    """The most values of each kind; later ones are counted together."""

    values: int
    """The values of each custom label of the exchanges."""
    routes: int
    """Routes."""
    label_sets: int
    """Sets of values of a group's labels."""


class Label:
    """A label that takes a bounded number of values.

    :param name: Its name.
    :param most: How many different ones there may be; those that come first.
    :param text_of: Converts a value to a text.
    :param always: Additional values, which do not count for the limit.
    """

    def __init__(
        self,
        name: str,
        most: int,
        text_of: Callable[[t.Any], str] = str,
        always: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self._most = most + len(always)
        self._text_of = text_of
        self._values = set(always)

    def value(self, raw: t.Any) -> str:
        """Return a value that a scrape can hold, or :data:`OTHER`."""
        # Lone surrogates would make every scrape fail.
        text = truncated(self._text_of(raw)).encode("utf-8", "replace").decode()
        if text not in self._values:
            if len(self._values) >= self._most:
                return OTHER
            self._values.add(text)
        return text


class Group:
    """Metrics that have the same labels, of which the sets of values are bounded.

    :param most: The most sets of values; later ones are counted as one.
    :param labels: The labels.
    :param makers: Functions that make the metrics, as :func:`counter` returns them.
    """

    def __init__(self, most: int, labels: Sequence[Label], *makers: Maker) -> None:
        self._most = most
        self._labels = tuple(labels)
        self._makers = makers
        self.begin(None)

    def begin(self, files: ProcessFiles | None) -> None:
        """Begin without series; the values of the labels stay."""
        names = [label.name for label in self._labels]
        self.metrics = [make(names, files=files) for make in self._makers]
        self._rows: dict[tuple[str, ...], tuple[Adder, ...]] = {}
        # The values as receivers read them, so that none is formatted twice.
        self._known: dict[Hashable, tuple[Adder, ...]] = {}

    def add(self, key: tuple[t.Any, ...], *amounts: float | None) -> None:
        """Add to the metrics, by the values that were read for each label.

        :param amounts: One for each metric, or for the first ones; ``None`` for none.
        """
        for add, amount in zip(self.row(key), amounts, strict=False):
            if amount is not None:
                add(amount)

    def row(self, key: tuple[t.Any, ...]) -> tuple[Adder, ...]:
        """Return what adds to each metric, by the values of the labels.

        For what happens at each request or statement; else use :meth:`add`.
        """
        return self._known.get(key) or self._found(key)

    def _found(self, key: tuple[t.Any, ...]) -> tuple[Adder, ...]:
        pairs = zip(self._labels, key, strict=True)
        values = tuple(label.value(raw) for label, raw in pairs)
        if values not in self._rows:
            if len(self._rows) >= self._most:
                values = (OTHER,) * len(key)
            if values not in self._rows:
                self._rows[values] = tuple(
                    (metric.labels(*values) if values else metric).adder()
                    for metric in self.metrics
                )
        row = self._rows[values]
        if len(self._known) < 2 * self._most:
            self._known[key] = row
        return row

    def described(self) -> Iterable[Metric]:
        """Return the metrics without samples."""
        return [found for metric in self.metrics for found in metric.describe()]

    def collected(self) -> Iterable[Metric]:
        """Return the metrics that have samples."""
        return [
            found
            for metric in self.metrics
            for found in metric.collect()
            if found.samples
        ]
