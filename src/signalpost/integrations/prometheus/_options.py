"""The options of the metrics, checked."""

from __future__ import annotations

import os
import re
import typing as t
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
from functools import partial
from math import isfinite
from pkgutil import resolve_name
from reprlib import repr as short_repr

from ..._options import checked_truth
from ..._options import checked_whole_number
from ..._options import configured
from ..._options import is_number
from ...errors import ConfigurationError
from ...exchange import Exchange
from ...receivers.lines import LONGEST_FIELD
from ...receivers.paths import exclusion_of

if t.TYPE_CHECKING:
    from ._directory import Directory

__all__ = [
    "DIRECTORY_VARIABLE",
    "LabelFunction",
    "blueprint_of",
    "bounds_of",
    "counted_of",
    "directory_of",
    "function_of",
    "functions_of",
    "is_name",
    "number_of",
    "option_error",
    "prefix_of",
    "route_of",
    "truth_of",
]

DIRECTORY_VARIABLE: t.Final = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable with the directory for the metrics of several processes.

.. versionadded:: 0.1
"""

LabelFunction: t.TypeAlias = Callable[[Exchange], t.Any]
"""Returns the value of a label for an exchange."""

_MOST_BUCKETS = 100
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_]*", re.ASCII)
_OURS = frozenset(("method", "route", "status", "outcome", "le", "quantile", "pid"))


def is_name(name: object) -> bool:
    """Return whether Prometheus accepts a value as a name."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def blueprint_of(exchange: Exchange) -> str:
    """Return the innermost blueprint of an exchange, or ``""``; for use as a label.

    .. versionadded:: 0.1
    """
    return exchange.blueprints[0] if exchange.blueprints else ""


def counted_of(exclude: Collection[str]) -> Callable[..., bool] | None:
    """Return a predicate for the signals to count; ``None`` if each is counted."""
    try:
        is_excluded = exclusion_of(exclude)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(str(error), key="exclude") from error
    if is_excluded is None:
        return None

    def is_counted(sender: object, *, exchange: Exchange | None) -> bool:
        return exchange is None or not is_excluded(exchange)

    return is_counted


truth_of = partial(configured, checked_truth)
"""Returns a checked option that is true or false, given its name and value."""

number_of = partial(configured, checked_whole_number)
"""A function that checks a number; it takes the option's name, value and advice."""


def option_error(expected: str, given: object, key: str) -> ConfigurationError:
    """Return the error about an invalid option."""
    return ConfigurationError(f"{expected}, got {short_repr(given)}", key=key)


def prefix_of(prefix: object, name: str = "namespace") -> str:
    """Return the prefix of names.

    :param prefix: The value of an option.
    :param name: Its name, for the error.
    """
    if prefix == "":
        return ""
    if not is_name(prefix):
        raise option_error(
            f"{name} must be letters, digits and underscores", prefix, name
        )
    return f"{prefix}_"


def bounds_of(buckets: Sequence[float], name: str = "buckets") -> tuple[float, ...]:
    """Return the bounds of buckets, without infinity.

    :param buckets: The value of an option.
    :param name: Its name, for the error.
    """
    given: object = buckets
    is_list = isinstance(given, Sequence) and all(map(is_number, given))
    bounds = tuple(map(float, buckets)) if is_list else ()
    if bounds and bounds[-1] == float("inf"):
        bounds = bounds[:-1]
    if (
        not 1 <= len(bounds) <= _MOST_BUCKETS
        or not all(isfinite(one) and one > 0 for one in bounds)
        or list(bounds) != sorted(set(bounds))
    ):
        raise option_error(
            f"{name} must be 1 to {_MOST_BUCKETS} ascending numbers of seconds",
            buckets,
            name,
        )
    return bounds


def function_of(function: t.Any, what: str, key: str) -> t.Any:
    """Return a function; the one at a location, as ``"shop.metrics:page"``."""
    if not isinstance(function, str):
        return function
    try:
        return resolve_name(function)
    except (ImportError, AttributeError, ValueError) as error:
        raise option_error(
            f"the function of {what} is not found ({error})", function, key
        ) from error


def functions_of(labels: object) -> dict[str, LabelFunction]:
    """Return the functions of custom labels, by name."""
    if not isinstance(labels, Mapping):
        raise option_error("labels must be functions by names", labels, "labels")
    found: dict[str, LabelFunction] = {}
    name: object
    function: t.Any
    for name, function in labels.items():
        if not isinstance(name, str) or not is_name(name) or name in _OURS:
            raise option_error(
                "a label's name must be letters, digits and underscores, and none of"
                f" {', '.join(sorted(_OURS))}",
                name,
                "labels",
            )
        function = function_of(function, f"the label {name!r}", "labels")
        if not callable(function):
            raise option_error(
                f"the label {name!r} must have a function of the exchange",
                function,
                "labels",
            )
        found[name] = function
    return found


def directory_of(directory: str | None) -> Directory | None:
    """Return where the files of several processes are; ``None`` for one process."""
    found = os.environ.get(DIRECTORY_VARIABLE) if directory is None else directory
    if not found and directory is None:
        return None
    if not isinstance(found, str) or not os.path.isdir(found):
        raise option_error(
            f"the option or else {DIRECTORY_VARIABLE} must name a directory, which"
            " must be there before the metrics are made",
            found,
            "directory",
        )
    # Imported here, because Windows has no such locks; it has no forking server either.
    from ._directory import directory_at

    try:
        return directory_at(found)
    except OSError as error:
        raise ConfigurationError(f"directory: {error}", key="directory") from error


def route_of(exchange: Exchange) -> str | None:
    """Return the route of an exchange as a label."""
    route: object = exchange.route
    # Nearly every one is a short string, of which nothing needs to be made.
    if route is None or (type(route) is str and len(route) <= LONGEST_FIELD):
        return route
    return str(route)[:LONGEST_FIELD]
