"""The contents of the files of processes, damaged ones included, and their sum."""

from __future__ import annotations

import json
import os
import typing as t
from collections.abc import Iterable
from functools import lru_cache
from math import isfinite
from math import isnan
from struct import error as struct_error
from struct import pack
from struct import unpack_from

from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.samples import Sample

from ._log import warn

__all__ = [
    *("HEADER_BYTES", "VALUE_BYTES", "Content", "Found", "Values"),
    *("add_values", "content_of", "entry_of", "file_of", "summed"),
]

HEADER_BYTES: t.Final = 8
VALUE_BYTES: t.Final = 16

_SUFFIXES = ("", "_total", "_sum", "_count", "_bucket")
_MOST_BYTES = 1 << 28
_MOST_KEYS = 500_000

Values: t.TypeAlias = dict[bytes, tuple[float, float]]
"""Values and times by their keys."""
Found: t.TypeAlias = dict[tuple[str, str, str], Values]
"""Values by kind and, of gauges, mode and process."""


class Content(t.NamedTuple):
    """The contents of a file."""

    values: Values
    is_behind: bool
    """``True`` if it is marked as incomplete."""
    end: int
    """The position after the values."""


class _Key(t.NamedTuple):
    """The parts of the key of a value."""

    metric: str
    sample: str
    labels: tuple[tuple[str, str], ...]
    help_text: str


def content_of(name: str, descriptor: int, logged: set[str]) -> Content:
    """Read a file of the client's format as far as it can be read.

    The client's reader raises on a damaged file, or never ends.

    :param logged: The warnings that were logged already.
    """
    header = os.pread(descriptor, HEADER_BYTES, 0)
    if len(header) < HEADER_BYTES:
        return Content({}, is_behind=True, end=0)
    used, mark = unpack_from("ii", header)
    if used < 0:
        warn(logged, f"{name} is damaged, and is left out", "its header is wrong")
    # Not the whole file: the rest of it may have any size.
    data = os.pread(descriptor, min(max(used, 0), _MOST_BYTES), 0)
    values: Values = {}
    position = HEADER_BYTES
    try:
        while position < used:
            (length,) = unpack_from("i", data, position)
            key = data[position + 4 : position + 4 + length]
            if length <= 0 or len(key) != length:
                raise struct_error(f"no key at {position}")  # noqa: TRY301  # as below
            position += 4 + length + _padding(length)
            values[key] = unpack_from("dd", data, position)
            position += VALUE_BYTES
    except struct_error as error:
        warn(logged, f"{name} is damaged; values before the damage are counted", error)
    is_summed = not name.startswith("gauge")
    for key, (value, _) in [*values.items()]:
        if _key_of(key) is None or (is_summed and not isfinite(value)):
            warn(logged, f"{name} is damaged", "a value is omitted")
            del values[key]
    is_behind = mark == 1 or 0 <= used < HEADER_BYTES
    return Content(values, is_behind, len(data))


def _padding(length: int) -> int:
    """Return how much is after a key: up to a multiple of 8, and 1 at least."""
    return 8 - (length + 4) % 8


def entry_of(key: bytes, pair: tuple[float, float]) -> bytes:
    """Return a value and its key as a file has them; the value at a multiple of 8."""
    return pack("i", len(key)) + key + b" " * _padding(len(key)) + pack("dd", *pair)


def file_of(values: Values) -> bytes:
    """Return the content of a file of the client library with these values."""
    block = b"".join(entry_of(key, pair) for key, pair in values.items())
    return pack("ii", HEADER_BYTES + len(block), 0) + block


def add_values(sums: Values, values: Values) -> None:
    """Add values to others of the same keys."""
    for key, (value, timestamp) in values.items():
        sums[key] = sums[key][0] + value if key in sums else value, timestamp


def summed(found: Found, logged: set[str]) -> list[Metric]:
    """Return the metrics, by the rules of the client for each kind and mode."""
    metrics: dict[str, t.Any] = {}
    for (kind, mode, pid), values in found.items():
        for key, (value, timestamp) in values.items():
            name, sample, labels, help_text = t.cast("_Key", _key_of(key))
            if name not in metrics:
                metrics[name] = Metric(name, help_text, kind)
                metrics[name]._multiprocess_mode = mode  # noqa: SLF001  # as its reader
            metric = metrics[name]
            if metric.type == kind:
                labels += (("pid", pid),) if mode else ()
                metric.add_sample(sample, labels, value, timestamp)
            else:
                why = f"it is a {metric.type} and a {kind}"
                warn(logged, f"values of {name} are omitted", why)
    collector: t.Any = MultiProcessCollector
    # It is private, but what is public takes paths of files alone.
    merge = collector._accumulate_metrics  # noqa: SLF001
    result: Iterable[Metric] = merge(metrics, accumulate=True)
    for one in result:
        # OpenMetrics requires samples with the same labels together; not all versions
        # of the client do that.
        one.samples.sort(key=_set_of)
    return [*result]


def _set_of(sample: Sample) -> list[str]:
    return [value for name, value in sample.labels.items() if name != "le"]


@lru_cache(maxsize=_MOST_KEYS)
def _key_of(key: bytes) -> _Key | None:
    """Return the parts of a key, or ``None`` if it is not a valid key."""
    try:
        metric, sample, labels, help_text = json.loads(key)
        "".join((metric, sample, help_text, *labels, *labels.values())).encode()
        Metric(metric, help_text, "gauge")
        if isnan(float(labels.get("le", 0))):
            return None
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
    if sample.removeprefix(metric) not in _SUFFIXES:
        return None
    return _Key(metric, sample, tuple(sorted(labels.items())), help_text)
