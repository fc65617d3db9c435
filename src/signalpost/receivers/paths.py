"""Name a request by its route or path, and match paths that are left out."""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Collection
from operator import methodcaller
from reprlib import repr as short_repr
from typing import Final
from typing import Literal

from .._options import checked_strings
from ..exchange import Exchange

__all__ = [
    "OTHER_ROUTES",
    "UNMATCHED_ROUTE",
    "checked_paths",
    "exclusion_of",
    "path_matcher_of",
    "route_or_path",
]

UNMATCHED_ROUTE: Final = "<unmatched>"
"""The name of requests whose route is not known."""

OTHER_ROUTES: Final = "<other>"
"""The name of routes beyond a receiver's ``max_routes``."""

# What regular expressions, routes and queries are written with has no place in a
# pattern: it would match nothing, and that would not be noticed.
_is_pattern = re.compile(r"(?:/|\*\*)(?!.*\.\*)[^^$?\\|()\[\]{}<>+#]*").fullmatch


def route_or_path(exchange: Exchange) -> tuple[Literal["route", "path"], str]:
    """Return the route of a request, or its path, and which of the two it is.

    The route, or the whole path from the root where no route is known.
    """
    route = exchange.route
    if route is None:
        return "path", exchange.script_name + exchange.path
    return "route", route


def checked_paths(paths: object) -> frozenset[str] | None:
    """Check the option ``paths`` of a receiver, and return it.

    :param paths: Paths below the mount point; ``None`` for all.
    :raises TypeError: If it is not a collection of strings.
    :raises ValueError: If one does not begin with a slash.
    """
    if paths is None:
        return None
    # Some servers hand an empty path on for the root of a mount point.
    found = checked_strings("paths", paths, "paths", '["/"]', may_be_empty=True)
    for path in found:
        if path and not path.startswith("/"):
            raise ValueError(
                f"a path must begin with a slash, got {short_repr(path)}; write it"
                " without host and query"
            )
    return frozenset(found)


def exclusion_of(patterns: Collection[str]) -> Callable[[Exchange], bool] | None:
    """Return the check whether a receiver leaves an exchange out.

    Each pattern is compared with the whole path from the root, mount point included,
    without host and query: ``*`` is any characters within a segment, once a segment;
    ``**``, a segment by itself, any characters, slashes too, once a pattern. Wildcards
    are few, so that a path made to be slow cannot be: the time is linear in its length.

    >>> is_excluded = exclusion_of(("/healthz", "/items/*/image", "/static/**"))
    >>> is_excluded(Exchange({"PATH_INFO": "/static/css/shop.css"}, None))
    True

    :param patterns: The patterns; ``None`` is returned if there are none.
    :raises TypeError: If it is not a collection of strings.
    :raises ValueError: If one has no meaning.

    .. versionadded:: 0.1
    """
    matches = path_matcher_of(patterns)
    if matches is None:
        return None

    def is_excluded(exchange: Exchange) -> bool:
        return bool(matches(exchange.script_name + exchange.path))

    return is_excluded


def path_matcher_of(patterns: Collection[str]) -> Callable[[str], object] | None:
    """Return what :func:`exclusion_of` compares paths with.

    :returns: A function that takes a whole path; what it returns is true if the path
        matches.
    """
    found = checked_strings("exclude", patterns, "patterns", '["/healthz"]')
    if not found:
        return None
    expressions = [*map(_expression, found)]  # which checks them
    if all(one.endswith("/**") and one.count("*") == 2 for one in found):
        # Faster than a regular expression.
        prefixes = tuple(one.removesuffix("**") for one in found)
        return methodcaller("startswith", prefixes)
    return re.compile("|".join(expressions), re.DOTALL).fullmatch


def _expression(pattern: str) -> str:
    if not _is_pattern(pattern):
        raise ValueError(
            f"a pattern of exclude must be a path that begins with / or **, without"
            f" host, query, route variables and regular expressions, got"
            f' {short_repr(pattern)}; write "/healthz", "/items/*" or "/static/**"'
        )
    segments = pattern.split("/")
    if segments.count("**") > 1 or any(
        segment.count("*") > 1 for segment in segments if segment != "**"
    ):
        raise ValueError(
            f"a pattern of exclude takes ** once, as a whole segment, and * once a"
            f" segment, got {short_repr(pattern)}; write several patterns"
        )
    return "/".join(
        ".*" if segment == "**" else re.escape(segment).replace(r"\*", "[^/]*")
        for segment in segments
    )
