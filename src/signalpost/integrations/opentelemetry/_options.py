"""The options of the integration, checked."""

from __future__ import annotations

from collections.abc import Collection
from reprlib import repr as short_repr

from ..._options import checked_strings
from ..._options import checked_truth

__all__ = ["check_objects", "check_truths", "checked_keys"]


def checked_keys(keys: Collection[str] | None) -> frozenset[str] | None:
    """Return the keys of query strings whose values are recorded."""
    if keys is None:
        return None
    return frozenset(checked_strings("query_keys", keys, "keys", '["page"]'))


def check_truths(**options: object) -> None:
    """Refuse options that are neither ``True`` nor ``False``: ``"no"`` would be true.

    :raises TypeError: If one is not.
    """
    for name, value in options.items():
        checked_truth(name, value)


def check_objects(
    tracer_provider: object, meter_provider: object, propagator: object
) -> None:
    """Refuse what is not an object of OpenTelemetry, as each value of a file.

    :raises TypeError: If one is neither ``None`` nor of the right type.
    """
    for name, value, method in (
        ("tracer_provider", tracer_provider, "get_tracer"),
        ("meter_provider", meter_provider, "get_meter"),
        ("propagator", propagator, "extract"),
    ):
        if value is not None and not callable(getattr(value, method, None)):
            raise TypeError(
                f"{name} must have the method {method}, got {short_repr(value)}; leave"
                " it out for the global one"
            )
