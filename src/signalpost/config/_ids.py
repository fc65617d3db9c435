"""The headers that may have the id of a request, as a configuration names them."""

from __future__ import annotations

from typing import Any

from .._ids import IdHeaders
from ._location import Location
from ._raw_values import RawValue

__all__ = ["id_headers_in"]


def id_headers_in(value: Any, location: Location) -> IdHeaders:
    """Return the headers that a value names.

    :param value: A list of names; in an INI file, names with spaces between.
    :raises ConfigurationError: If it is something else.
    """
    names = value.split() if isinstance(value, RawValue) else value
    try:
        return IdHeaders(names)
    except (TypeError, ValueError) as error:
        raise location.error(str(error)) from error
