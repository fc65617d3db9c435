"""The options for the names of prometheus-flask-exporter, checked."""

from __future__ import annotations

import typing as t
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence

from ..._options import checked_strings
from ..._options import configured
from ...errors import ConfigurationError
from ...exchange import Exchange
from ._options import bounds_of
from ._options import function_of
from ._options import is_name
from ._options import number_of
from ._options import option_error
from ._options import prefix_of
from ._options import truth_of

__all__ = ["ExporterNames", "FlaskExporterOptions", "GroupFunction", "names_of"]

GroupFunction: t.TypeAlias = Callable[[Exchange], t.Any]
"""Returns the value of the label that durations are grouped by."""

_KEY: t.Final = "flask_exporter"
_GROUPS: t.Final = ("path", "endpoint", "url_rule")
_BUCKETS: t.Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0),
)
_RESERVED: t.Final = frozenset(("method", "status", "le", "quantile", "pid"))


class FlaskExporterOptions(t.TypedDict, total=False):
    """Options for the names of prometheus-flask-exporter.

    For ``PrometheusMetrics(flask_exporter={…})``. Each has a default, so that
    ``flask_exporter=True`` does the same as prometheus-flask-exporter.

    .. versionadded:: 0.1
    """

    prefix: str
    """The prefix of the names, before an underscore; ``"flask"``. ``""`` for none."""
    group_by: str | GroupFunction
    """The label of the durations: ``"path"``, ``"endpoint"`` or ``"url_rule"``. Or a
    function that takes the exchange and returns the value; its name is the label's. Or
    the location of such a function, as ``"shop.metrics:page"``."""
    buckets: Sequence[float]
    """The upper bounds of the buckets, in seconds, ascending; those of
    ``prometheus_client.Histogram``."""
    constant_labels: Mapping[str, str]
    """Further labels with their values, as ``{"stage": "test"}``."""
    info: Mapping[str, Mapping[str, str]]
    """Gauges that are 1, by their names, with their labels, as
    ``{"app_info": {"version": "1.0.3"}}``."""
    exclude_endpoints: Collection[str]
    """The endpoints of views that are not counted under these names."""
    max_groups: int
    """The most paths, or other values of ``group_by``, with their own series; 1000. At
    most 100 of them are paths that no route matched."""
    with_new_names: bool
    """``True``, the default, counts requests under the names of signalpost, too."""
    with_process_metrics: bool
    """``True``, the default, adds the ``process_``, ``python_info`` and ``python_gc_``
    metrics of ``prometheus_client`` to a registry that it creates, unless there are
    files for many processes."""


class ExporterNames:
    """The options, checked, with a value for each.

    The parameters are those of :class:`FlaskExporterOptions`.

    :param own: The labels that the metrics have by the option ``labels``.
    :raises ConfigurationError: If an option does not fit.
    """

    def __init__(  # noqa: PLR0913  # an option each, by name only
        self,
        own: Collection[str],
        *,
        prefix: str = "flask",
        group_by: str | GroupFunction = "path",
        buckets: Sequence[float] = _BUCKETS,
        constant_labels: Mapping[str, str] | None = None,
        info: Mapping[str, Mapping[str, str]] | None = None,
        exclude_endpoints: Collection[str] = (),
        max_groups: int = 1000,
        with_new_names: bool = True,
        with_process_metrics: bool = True,
    ) -> None:
        self.prefix = prefix_of(prefix, f"{_KEY}.prefix")
        self.group_label, self.group_by = _group_of(group_by)
        self.bounds = bounds_of(buckets, f"{_KEY}.buckets")
        self.constant_labels = _labels_of(constant_labels or {}, "constant_labels")
        self.info = _info_of(info or {})
        self.exclude_endpoints = frozenset(
            configured(
                checked_strings,
                f"{_KEY}.exclude_endpoints",
                exclude_endpoints,
                "names of endpoints",
                '["healthz"]',
            )
        )
        self.max_groups = number_of(f"{_KEY}.max_groups", max_groups, "write 1000")
        self.with_new_names = truth_of(f"{_KEY}.with_new_names", with_new_names)
        self.with_process_metrics = truth_of(
            f"{_KEY}.with_process_metrics", with_process_metrics
        )
        names = [self.group_label, *own, *self.constant_labels]
        twice = {name for name in names if names.count(name) > 1 or name in _RESERVED}
        if twice:
            raise ConfigurationError(
                f"the metrics of {_KEY} would have the label {min(twice)!r} twice;"
                " choose another name for the label of your own",
                key=_KEY,
            )


def names_of(options: object, own: Collection[str]) -> ExporterNames | None:
    """Return the checked options; ``None`` without the names of the exporter.

    :param options: The value of the option ``flask_exporter``.
    :param own: The labels that the metrics have by the option ``labels``.
    :raises ConfigurationError: If it does not fit.
    """
    if options is False or options is None:
        return None
    if options is True:
        options = {}
    if not isinstance(options, Mapping):
        raise option_error(
            f"{_KEY} must be True, False or a mapping of options", options, _KEY
        )
    known = FlaskExporterOptions.__annotations__
    for name in options:
        if name not in known:
            raise option_error(
                f"{_KEY} takes the options {', '.join(sorted(known))}", name, _KEY
            )
    return ExporterNames(own, **options)


def _group_of(group_by: object) -> tuple[str, str | GroupFunction]:
    """Return the label that durations are grouped by, and by what."""
    if group_by in _GROUPS:
        return str(group_by), str(group_by)
    function: t.Any = group_by
    if isinstance(group_by, str) and ":" in group_by:
        function = function_of(group_by, f"{_KEY}.group_by", _KEY)
    name = getattr(function, "__name__", None)
    if not callable(function) or not is_name(name):
        raise option_error(
            f"{_KEY}.group_by must be one of {', '.join(_GROUPS)}, or a function of"
            " the exchange whose name becomes that of the label",
            group_by,
            _KEY,
        )
    return str(name), function


def _labels_of(labels: object, key: str) -> dict[str, str]:
    if not isinstance(labels, Mapping) or not all(map(is_name, labels)):
        raise option_error(
            f"{_KEY}.{key} must be values by names of letters, digits and underscores",
            labels,
            _KEY,
        )
    return {str(name): str(value) for name, value in labels.items()}


def _info_of(info: object) -> dict[str, dict[str, str]]:
    if not isinstance(info, Mapping) or not all(map(is_name, info)):
        raise option_error(
            f"{_KEY}.info must be labels by names of metrics, as"
            ' {"app_info": {"version": "1.0.3"}}',
            info,
            _KEY,
        )
    return {
        str(name): _labels_of(labels, f"info.{name}") for name, labels in info.items()
    }
