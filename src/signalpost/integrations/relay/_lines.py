"""One log line for each event, as the latency line is for requests."""

from __future__ import annotations

import logging

from ..._engine.unseen import Visibility
from ..._options import checked_seconds_or_none
from ...receivers.formats import Field
from ...receivers.formats import Line
from ...receivers.lines import chosen_logger
from ...receivers.lines import logfmt_value
from ._event import Event

__all__ = ["EventLogger", "log_event"]


class EventLogger:
    """Log one line for each event; connect it to ``relay-received``.

    ::

        relay_received.connect(log_event)

    The line has the signal, the source, the outcome of its receivers, their duration,
    the age of the event when they began, and the number of the try:

    .. code-block:: text

        order-placed from shop complete 12.3 ms, after 0.2 s, try 1

    The message of the record is a :class:`~signalpost.receivers.formats.Line` named
    ``event``, with the fields ``signal``, ``source``, ``outcome`` (``"complete"`` or
    ``"error"``), ``duration_seconds``, ``age_seconds``, ``tries``, ``event_id`` and, if
    it was sent in a request, ``request_id``. The level is ``INFO``; ``ERROR`` if a
    receiver has failed, and ``WARNING`` if it was slow.

    :param slow_seconds: Receivers that took at least so long were slow; ``None`` for
        never.
    :param logger: Where to: a logger or its name; without it ``signalpost.events``.
    :raises TypeError: If an option has the wrong type.

    .. versionadded:: 0.1
    """

    def __init__(
        self,
        *,
        slow_seconds: float | None = None,
        logger: logging.Logger | str | None = None,
    ) -> None:
        self._slow_seconds = checked_seconds_or_none(
            "slow_seconds", slow_seconds, "write None to call no event slow"
        )
        self._logger = chosen_logger(logger, "signalpost.events")
        self._visibility = Visibility(self._logger, logging.INFO)

    def __call__(
        self,
        sender: object,
        *,
        event: Event,
        duration_seconds: float,
        exception: Exception | None,
    ) -> None:
        """Log an event."""
        level = logging.INFO
        if self._slow_seconds is not None and duration_seconds >= self._slow_seconds:
            level = logging.WARNING
        if exception is not None:
            level = logging.ERROR
        if not self._visibility.takes(level):
            return
        fields: dict[str, Field] = {
            "signal": event.name,
            "source": event.source,
            "outcome": "complete" if exception is None else "error",
            "duration_seconds": duration_seconds,
            "age_seconds": _age_seconds(event, duration_seconds),
            "tries": event.tries,
            "event_id": event.id,
        }
        if event.request_id is not None:
            fields["request_id"] = event.request_id
        self._logger.log(level, Line("event", fields, lambda: _text_of(fields)))


def _age_seconds(event: Event, duration_seconds: float) -> float | None:
    """Return how old an event was when its receivers began; ``None`` if not known."""
    age = event.age_seconds()
    return None if age is None else max(age - duration_seconds, 0.0)


def _text_of(fields: dict[str, Field]) -> str:
    milliseconds = float(fields["duration_seconds"] or 0) * 1000
    age = fields["age_seconds"]
    after = "" if age is None else f", after {float(age):.1f} s"
    text = (
        f"{logfmt_value(str(fields['signal']))}"
        f" from {logfmt_value(str(fields['source']))}"
        f" {fields['outcome']} {milliseconds:.1f} ms{after}, try {fields['tries']}"
    )
    if "request_id" in fields:
        text += f" id={logfmt_value(str(fields['request_id']))}"
    return text


log_event: EventLogger = EventLogger()
"""An :class:`EventLogger` with the default options.

.. versionadded:: 0.1
"""
