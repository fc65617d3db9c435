"""Lists of names, such as headers and methods, as a configuration has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from typing import TypeVar

from ._location import Location
from ._raw_values import RawValue

__all__ = ["names_in"]

Checked = TypeVar("Checked")


def names_in(
    value: Any, location: Location, checked: Callable[[Any], Checked]
) -> Checked:
    """Return what a check makes of the names in a value.

    :param value: A list of names; in an INI file, names with spaces between.
    :param checked: It raises TypeError or ValueError for what is no such list.
    :raises ConfigurationError: If it does.
    """
    names = value.split() if isinstance(value, RawValue) else value
    try:
        return checked(names)
    except (TypeError, ValueError) as error:
        raise location.error(str(error)) from error
