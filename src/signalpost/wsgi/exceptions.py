"""Record exceptions that a framework answers by itself."""

from __future__ import annotations

import typing as t

from ..exchange import Exchange
from ..exchange import EXCHANGE_KEY

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["record_exception"]


def record_exception(environ: WSGIEnvironment, exception: BaseException) -> None:
    """Record an exception that a framework has caught, and makes an error page of.

    It becomes :attr:`Exchange.exception <signalpost.exchange.Exchange.exception>`, and
    :data:`~signalpost.lifecycle.got_request_exception` is sent, with ``where="view"``.
    An exception is sent once, even if it leaves the application later. If it means that
    the client has disconnected during its upload, nothing has failed: the exchange is
    ``aborted``, and nothing is sent. If no exchange is open, nothing is done.

    Call it while the exception is handled::

        record_exception(request.environ, error)

    :param environ: The WSGI environment of the framework's request.
    :param exception: The exception.

    .. versionadded:: 0.1
    """
    exchange = environ.get(EXCHANGE_KEY)
    if isinstance(exchange, Exchange) and exchange.is_open:
        exchange._start_response.recorder.record_exception(exchange, exception, "view")
