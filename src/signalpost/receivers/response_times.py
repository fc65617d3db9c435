"""Return how long a response took, the same for log lines, percentiles and metrics."""

from __future__ import annotations

from typing import Final

from ..exchange import Exchange

__all__ = ["STREAMED_SECONDS", "is_websocket", "response_times", "seconds_of"]

STREAMED_SECONDS: Final = 0.01
"""How long after its headers a response is closed if it counts as streamed.

It makes no difference whether the application or the client took that time.
"""

# Their durations are those of a connection, or of a leak.
_UNTIMED: Final = frozenset(("hijacked", "lost"))


def response_times(exchange: Exchange) -> tuple[float | None, float | None]:
    """Return how long the client waited for a response, and how long a stream lasted.

    A response that takes long to send is not slow. If it was closed
    :data:`STREAMED_SECONDS` or more after its headers, it counts as streamed: its
    response time ends with its headers. That of any other response is its whole
    duration, and so is that of an exchange without headers, such as one that a worker's
    timeout has ended.

    Headers cannot be sent before the application's call has returned or written a body
    (:pep:`3333`, "The start_response() Callable"). So if an application calls
    ``start_response`` first and works afterwards, the response time includes the work.

    There is no response time if the connection was taken over (``"hijacked"``), if the
    server never closed the response (``"lost"``), or if the request asked for a
    WebSocket (:func:`is_websocket`).

    :param exchange: A closed exchange, while ``exchange-closed`` is sent.
    :returns: Both in seconds since the server's call: the response time, ``None`` if it
        has none; and the whole duration if the response was streamed, else ``None``.
        The function never raises, whatever a receiver has set on the exchange.

    .. versionadded:: 0.1
    """
    try:
        whole, started = exchange.duration_seconds, exchange.seconds_to_headers
        environ = exchange._environ
        if (
            type(whole) is float
            and started is not None
            and whole - started < STREAMED_SECONDS
            and exchange.outcome == "complete"
            and exchange.status != 101
            and environ is not None
            and "HTTP_UPGRADE" not in environ
        ):
            # Nearly every response is whole and closed at once.
            return whole, None
        return _other_times(exchange, whole, started)
    except Exception:  # noqa: BLE001  # a receiver may have set any value
        return None, None


def is_websocket(exchange: Exchange) -> bool:
    """Return whether an exchange is a WebSocket's, or the request asked for one.

    That is a status of 101 or a request with ``Upgrade: websocket`` (:rfc:`6455`, 4.1).
    Not every WebSocket has the outcome ``"hijacked"``: some servers, and a WebSocket
    that fails, end it with an ordinary response.

    :param exchange: An open exchange; of a closed one only the status is known.

    .. versionadded:: 0.1
    """
    try:
        if exchange.status == 101:
            return True
        environ = exchange._environ
        upgrade = None if environ is None else environ.get("HTTP_UPGRADE")
        return isinstance(upgrade, str) and "websocket" in upgrade.lower()
    except Exception:  # noqa: BLE001  # a receiver may have set any value
        return False


def seconds_of(value: object) -> float | None:
    """Return a time of an exchange; ``None`` if it is not a number.

    .. versionadded:: 0.1
    """
    if type(value) is float or type(value) is int:
        return value
    return None


def _other_times(
    exchange: Exchange, duration: object, to_headers: object
) -> tuple[float | None, float | None]:
    whole = seconds_of(duration)
    if whole is None or exchange.outcome in _UNTIMED or is_websocket(exchange):
        return None, None
    started = seconds_of(to_headers)
    if started is None or whole - started < STREAMED_SECONDS:
        return whole, None
    headers = _seconds_to_sendable_headers(exchange, started)
    if whole - headers >= STREAMED_SECONDS:
        return headers, whole
    return whole, None


def _seconds_to_sendable_headers(exchange: Exchange, started: float) -> float:
    """Return when the server could send the headers.

    :param started: When the application called ``start_response``.
    """
    returned = seconds_of(exchange.seconds_to_return)
    if returned is None or returned <= started:
        return started
    written = seconds_of(exchange.seconds_to_first_byte)
    return returned if written is None or written > returned else written
