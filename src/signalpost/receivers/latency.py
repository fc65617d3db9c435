"""How long each request took: one log line when it is over."""

from __future__ import annotations

import logging
from typing import Any

from ..exchange import Exchange
from .lines import one_word

__all__ = ["LatencyLogger", "log_latency"]

_default_logger = logging.getLogger("signalpost.latency")


class LatencyLogger:
    """Log one line for each exchange, to be connected to ``exchange-closed``.

    ::

        exchange_closed.connect(log_latency)

    The line says method, route, status, outcome, duration and size::

        GET /products/<slug> 200 complete 12.3 ms 4096 bytes

    The duration lasts until the server closed the response, so that of a streamed
    body is the whole of it. Where no route matched, or none is known, the path takes
    its place, escaped. A dash stands for a status that there never was.

    :param slow_seconds: Log exchanges that took at least so long as warnings.
        ``None`` for none.
    :param logger: Where to; without it the logger ``signalpost.latency``, at level
        ``INFO``.
    :raises ValueError: If ``slow_seconds`` is negative.

    .. versionadded:: 0.1
    """

    def __init__(
        self,
        *,
        slow_seconds: float | None = None,
        logger: logging.Logger | None = None,
    ) -> None:
        if slow_seconds is not None and not slow_seconds >= 0:
            raise ValueError(
                f"slow_seconds must be a number of seconds from 0 up, got"
                f" {slow_seconds!r}; leave it out to call nothing slow"
            )
        self._slow_seconds = slow_seconds
        self._logger = _default_logger if logger is None else logger

    def __call__(self, sender: object, *, exchange: Exchange, **_: Any) -> None:
        """Log an exchange that has closed."""
        seconds = exchange.duration_seconds or 0.0
        is_slow = self._slow_seconds is not None and seconds >= self._slow_seconds
        level = logging.WARNING if is_slow else logging.INFO
        if not self._logger.isEnabledFor(level):
            return
        self._logger.log(
            level,
            "%s %s %s %s %.1f ms %s%d bytes",
            exchange.method,
            one_word(exchange.route or exchange.script_name + exchange.path),
            "-" if exchange.status is None else exchange.status,
            exchange.outcome or "open",
            seconds * 1000,
            "" if exchange.body_bytes_exact else "~",
            exchange.body_bytes,
        )


log_latency: LatencyLogger = LatencyLogger()
"""A :class:`LatencyLogger` with nothing set."""
