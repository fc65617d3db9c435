"""The headers that may have the id of a request, as a configuration names them."""

from __future__ import annotations

from typing import Any

from .._ids import IdHeaders
from ._place import Place
from ._text import Text

__all__ = ["id_headers_in"]


def id_headers_in(value: Any, place: Place) -> IdHeaders:
    """Return the headers that a value names.

    :param value: A list of names; in an INI file, names with spaces between.
    :raises ConfigurationError: If it is something else.
    """
    names = value.split() if isinstance(value, Text) else value
    try:
        return IdHeaders(names)
    except (TypeError, ValueError) as error:
        raise place.error(str(error)) from error
