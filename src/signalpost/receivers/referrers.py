"""Log referrers, one line for each request of a page."""

from __future__ import annotations

import logging
from collections.abc import Collection
from collections.abc import Mapping
from typing import ClassVar

from .._engine.unseen import Visibility
from ..exchange import Exchange
from .formats import Line
from .lines import chosen_logger
from .lines import logfmt_value
from .lines import truncated
from .paths import checked_paths

__all__ = ["ReferrerLogger", "log_referrer"]


class ReferrerLogger:
    """Log the referrer of each request; connect it to ``request-started``.

    ::

        request_started.connect(log_referrer)

    The line has method, path and referrer; a dash means no referrer:

    .. code-block:: text

        GET / https://search.example/results

    Of the referrer only origin and path are logged, as :attr:`Exchange.referrer
    <signalpost.exchange.Exchange.referrer>` has them: user names, passwords, queries
    and fragments may contain secrets. Long values are cut.

    The message of the record is a :class:`~signalpost.receivers.formats.Line` named
    ``referrer``, with the fields ``method``, ``path`` and ``referrer``.

    :param paths: The paths to log, below the application's mount point, for instance
        ``("/",)`` for the homepage. ``None`` for all.
    :param logger: The logger or its name; ``signalpost.referrers`` by default. The
        level is ``INFO``.
    :raises TypeError: If an option has the wrong type; also for one string of paths.
    :raises ValueError: If a path does not begin with a slash.

    .. versionadded:: 0.1
    """

    signals: ClassVar[Mapping[str, str]] = {"request-started": "__call__"}
    """Methods by the names of the signals that they receive."""

    def __init__(
        self,
        *,
        paths: Collection[str] | None = None,
        logger: logging.Logger | str | None = None,
    ) -> None:
        self._paths = checked_paths(paths)
        self._logger = chosen_logger(logger, "signalpost.referrers")
        self._visibility = Visibility(self._logger, logging.INFO)

    def __call__(self, sender: object, *, exchange: Exchange) -> None:
        """Log the referrer of a request, if its path is to be logged."""
        if self._paths is not None and exchange.path not in self._paths:
            return
        if not self._visibility.takes(logging.INFO):
            return
        method = exchange.method
        path = truncated(exchange.script_name + exchange.path)
        referrer = exchange.referrer
        if referrer is not None:
            referrer = truncated(referrer)
        self._logger.info(
            Line(
                "referrer",
                {"method": method, "path": path, "referrer": referrer},
                lambda: (
                    f"{method} {logfmt_value(path)} {logfmt_value(referrer or '-')}"
                ),
            )
        )


log_referrer: ReferrerLogger = ReferrerLogger()
"""A :class:`ReferrerLogger` for every path."""
