"""Where visitors come from: one log line for each request of a page."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

from ..exchange import Exchange
from .lines import one_word

__all__ = ["ReferrerLogger", "log_referrer"]

_default_logger = logging.getLogger("signalpost.referrers")


class ReferrerLogger:
    """Log the referrer of each request, to be connected to ``request-started``.

    ::

        request_started.connect(log_referrer)

    The line says method, path and referrer; a dash stands for none::

        GET / https://search.example/results

    Of the referrer only origin and path are logged: user names, passwords, queries
    and fragments may hold secrets. Long values are cut.

    :param paths: The paths to log, below the application's mount point, for instance
        ``("/",)`` for the homepage. ``None`` for all.
    :param logger: Where to; without it the logger ``signalpost.referrers``, at level
        ``INFO``.
    :raises TypeError: If ``paths`` is one string.

    .. versionadded:: 0.1
    """

    def __init__(
        self,
        *,
        paths: Collection[str] | None = None,
        logger: logging.Logger | None = None,
    ) -> None:
        if isinstance(paths, str):
            raise TypeError(
                f"paths must be a collection of paths, got the string {paths!r};"
                f" write paths=({paths!r},)"
            )
        self._paths = None if paths is None else frozenset(paths)
        self._logger = _default_logger if logger is None else logger

    def __call__(self, sender: object, *, exchange: Exchange, **_: Any) -> None:
        """Log where a request came from, if its path is one to log."""
        if self._paths is not None and exchange.path not in self._paths:
            return
        self._logger.info(
            "%s %s %s",
            exchange.method,
            one_word(exchange.script_name + exchange.path),
            one_word(exchange.referrer or "-"),
        )


log_referrer: ReferrerLogger = ReferrerLogger()
"""A :class:`ReferrerLogger` for every path."""
