"""The methods that are recorded by their names, as a configuration names them."""

from __future__ import annotations

from typing import Any

from .._methods import checked_methods
from ._location import Location
from ._raw_values import RawValue

__all__ = ["methods_in"]


def methods_in(value: Any, location: Location) -> frozenset[str]:
    """Return the methods that a value names.

    :param value: A list of names; in an INI file, names with spaces between.
    :raises ConfigurationError: If it is something else.
    """
    names = value.split() if isinstance(value, RawValue) else value
    try:
        return checked_methods(names)
    except (TypeError, ValueError) as error:
        raise location.error(str(error)) from error
