"""The parts of an unhandled exception that the page shows."""

from __future__ import annotations

from traceback import TracebackException
from typing import Any

from ..exchange import Exchange
from ..receivers.failure_texts import fingerprint_of
from ..receivers.failure_texts import innermost
from ..receivers.failure_texts import kind_of
from ..receivers.failure_texts import Location
from ..receivers.failure_texts import locations_of
from ..receivers.failure_texts import message_of
from ..receivers.failure_texts import traceback_of
from ..receivers.messages import hide_values
from ._text import fit
from ._text import fit_or_none
from ._text import LONGEST_ROUTE
from ._tops import Failure

__all__ = ["failed_response", "failure_of", "traceback_text"]

_LONGEST_KIND = 120
_LONGEST_MESSAGE = 500
_LONGEST_PLACE = 300


def failure_of(
    exception: BaseException, where: str, exchange: Exchange, *, with_message: bool
) -> Failure:
    """Return the failure that the page shows for an exception.

    :param with_message: Whether it has the message. Values of a database are always
        left out.
    """
    kind, locations = kind_of(exception), locations_of(exception)
    message = None
    if with_message:
        message = fit(message_of(exception, with_values=False), _LONGEST_MESSAGE)
    return Failure(
        fingerprint_of(kind, locations),
        fit(kind, _LONGEST_KIND),
        message,
        fit(str(innermost(locations)), _LONGEST_PLACE),
        fit(where, 20),
        fit(exchange.method, 20),
        fit_or_none(exchange.route, LONGEST_ROUTE),
    )


def failed_response(status: int, exchange: Exchange) -> Failure:
    """Return the failure for a response from 500 up without an exception."""
    kind = f"status {status}"
    route = fit_or_none(exchange.route, LONGEST_ROUTE)
    return Failure(
        fingerprint_of(kind, (Location(route or "-", 0, ""),)),
        kind,
        None,
        route or "-",
        "response",
        fit(exchange.method, 20),
        route,
    )


def traceback_text(exception: BaseException, *, with_message: bool) -> str:
    """Return the traceback of an exception, without values of a database.

    :param with_message: Whether it has the messages of exceptions.
    """
    return traceback_of(exception, hide_values if with_message else _hide_message)


def _hide_message(trace: TracebackException, exception: BaseException) -> None:
    # TracebackException has no public way to replace the message.
    private: Any = trace
    private._str = "…"  # noqa: SLF001  # no public setter
    private.__notes__ = None
    if isinstance(exception, SyntaxError):
        private.msg, private.text = "…", None
