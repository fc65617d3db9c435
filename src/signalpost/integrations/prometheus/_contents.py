"""The contents of the files of processes, damaged ones included, and their sum."""

from __future__ import annotations

import json
import os
import typing as t
from collections.abc import Iterable
from math import isfinite
from math import isnan
from struct import error as struct_error
from struct import pack
from struct import unpack_from

from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.samples import Sample

from ._values import warn

__all__ = ["Contents", "Found", "Identity", "Values", "add_values", "file_of"]

_SUFFIXES = ("", "_total", "_sum", "_count", "_bucket")
_HEADER_BYTES = 8
_MOST_BYTES = 1 << 28
_MOST_KEYS = 500_000

Values: t.TypeAlias = dict[bytes, tuple[float, float]]
"""Values and times by their keys."""
Found: t.TypeAlias = dict[tuple[str, str, str], Values]
"""Values by kind and, of gauges, mode and process."""
Identity: t.TypeAlias = tuple[str, int, int]
"""The name of a file, its number, and when it was last changed."""


class _Entry(t.NamedTuple):
    """The parts of the key of a value."""

    metric: str
    sample: str
    labels: tuple[tuple[str, str], ...]
    help_text: str


class Contents:
    """Reads files of the client's format as far as they can be read.

    The client's reader raises on a damaged file, or never ends.

    :param logged: The warnings that were logged already.
    """

    def __init__(self, logged: set[str]) -> None:
        self._logged = logged
        self._entries: dict[bytes, _Entry | None] = {}

    def read(self, name: str, descriptor: int) -> tuple[Values, bool]:
        """Return the values in a file by their keys, and whether some are missing."""
        data = _data_of(descriptor)
        values: Values = {}
        if len(data) < _HEADER_BYTES:
            return values, True
        used, is_behind = unpack_from("ii", data)
        position = _HEADER_BYTES
        try:
            while position < used:
                (length,) = unpack_from("i", data, position)
                key = data[position + 4 : position + 4 + length]
                if length <= 0 or len(key) != length:
                    raise struct_error(f"no key at {position}")  # noqa: TRY301  # as below
                # Padded to a multiple of 8, by 1 at least.
                position += 4 + length + 8 - (length + 4) % 8
                values[key] = unpack_from("dd", data, position)
                position += 16
        except struct_error as error:
            what = f"{name} is damaged, and what is before the damage is counted"
            warn(self._logged, what, error)
        is_summed = not name.startswith("gauge")
        for key, (value, _) in [*values.items()]:
            if self._entry(key) is None or (is_summed and not isfinite(value)):
                warn(self._logged, f"{name} is damaged", "a value is omitted")
                del values[key]
        return values, bool(is_behind)

    def read_merged(self, descriptor: int) -> tuple[Values, set[Identity]]:
        """Return the values in a merged file, and the files that they are of."""
        values, _ = self.read("the merged file", descriptor)
        data = _data_of(descriptor)
        try:
            (used,) = unpack_from("i", data)
            return values, {
                (str(a), int(b), int(c)) for a, b, c in json.loads(data[used:])
            }
        except (struct_error, ValueError, TypeError) as error:
            warn(self._logged, "the merged file is damaged", error)
        return values, set()

    def summed(self, found: Found) -> Iterable[Metric]:
        """Return the metrics, by the rules of the client for each kind and mode."""
        metrics: dict[str, t.Any] = {}
        for (kind, mode, pid), values in found.items():
            for key, (value, timestamp) in values.items():
                entry = t.cast("_Entry", self._entry(key))
                if entry.metric not in metrics:
                    metric: t.Any = Metric(entry.metric, entry.help_text, kind)
                    metric._multiprocess_mode = mode  # noqa: SLF001  # as its reader
                    metrics[entry.metric] = metric
                metric = metrics[entry.metric]
                if metric.type != kind:
                    what = f"values of {entry.metric} are omitted"
                    warn(self._logged, what, f"it is a {metric.type} and a {kind}")
                    continue
                labels = entry.labels + ((("pid", pid),) if mode else ())
                metric.add_sample(entry.sample, labels, value, timestamp)
        summed: t.Any = MultiProcessCollector
        # It is private, but what is public takes paths of files alone.
        merge = summed._accumulate_metrics  # noqa: SLF001
        result: list[Metric] = [*merge(metrics, accumulate=True)]
        for one in result:
            # OpenMetrics requires samples with the same labels together; not all
            # versions of the client do that.
            one.samples.sort(key=_set_of)
        return result

    def _entry(self, key: bytes) -> _Entry | None:
        """Return the parts of a key, or ``None`` if it is no valid key."""
        try:
            return self._entries[key]
        except KeyError:
            if len(self._entries) >= _MOST_KEYS:
                self._entries.clear()
            found = self._entries[key] = _entry_of(key)
            return found


def _set_of(sample: Sample) -> list[str]:
    return [value for name, value in sample.labels.items() if name != "le"]


def _data_of(descriptor: int) -> bytes:
    size = min(os.fstat(descriptor).st_size, _MOST_BYTES)
    return os.pread(descriptor, size, 0)


def add_values(sums: Values, values: Values) -> None:
    for key, (value, timestamp) in values.items():
        sums[key] = sums[key][0] + value if key in sums else value, timestamp


def file_of(values: Values) -> bytes:
    """Return what a file of the client's with these values consists of."""
    block = bytearray()
    for key, pair in values.items():
        block += pack("i", len(key)) + key + b" " * (8 - (len(key) + 4) % 8)
        block += pack("dd", *pair)
    return pack("ii", _HEADER_BYTES + len(block), 0) + block


def _entry_of(key: bytes) -> _Entry | None:
    try:
        metric, sample, labels, help_text = json.loads(key)
        texts = (metric, sample, help_text, *labels, *labels.values())
        "".join(texts).encode()
        Metric(metric, help_text, "gauge")
        if isnan(float(labels.get("le", 0))):
            return None
    except (ValueError, TypeError, AttributeError):
        return None
    if sample.removeprefix(metric) not in _SUFFIXES:
        return None
    return _Entry(metric, sample, tuple(sorted(labels.items())), help_text)
