"""A middleware for servers and adapters that do not close responses."""

from __future__ import annotations

import logging
import typing as t
from collections.abc import Iterable
from reprlib import repr as short_repr

from ..exchange import Exchange
from ..exchange import EXCHANGE_KEY
from .application import application_and_sender

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["ReadAndClose"]

_log = logging.getLogger("signalpost.exchanges")

# The server gets these unchanged: they are complete, and have no close().
_AT_HAND = (list, tuple, bytes, str)


class ReadAndClose:
    """Read the body of each response to its end, and close it, within the call.

    Some adapters never call ``close()``, which :pep:`3333` requires. Then an exchange
    is closed when Python frees its response, which may be later, during another
    request. With this middleware around the application, it is closed during its own
    request::

        Signalpost(app)
        app.wsgi_app = ReadAndClose(app.wsgi_app)

    It must be outside of the middleware that sends the signals, so add it later. If it
    is inside, the logger ``signalpost.exchanges`` logs this once.

    The server gets a list. So the whole response is in memory, also a stream or a file,
    and nothing is sent before its end. A client that disconnects is not detected. With
    a server that closes responses, this middleware is not needed.

    :param app: A WSGI application, or an object that has a ``wsgi_app``, such as a
        :class:`flask.Flask`.
    :raises ApplicationError: If ``app`` cannot be called as a WSGI application.

    .. versionadded:: 0.1
    """

    app: WSGIApplication
    """The application that is called."""

    def __init__(self, app: t.Any) -> None:
        self.app, _, _ = application_and_sender(app, self)
        self._is_logged = False

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Call the application, and return its body as a list."""
        outer = environ.get(EXCHANGE_KEY)
        if outer is not None and not self._is_logged:
            self._log_if_inside(outer, environ)
        body: t.Any = self.app(environ, start_response)
        if any(type(body) is one for one in _AT_HAND):  # not compared: it may refuse
            return t.cast("Iterable[bytes]", body)
        try:
            # Of the iterator, as a server does not read the length before the chunks.
            return list(iter(body))
        finally:
            close = getattr(body, "close", None)
            if close is not None:
                close()

    def _log_if_inside(self, outer: t.Any, environ: WSGIEnvironment) -> None:
        # An application may call itself with a copy of its environment.
        if issubclass(type(outer), Exchange) and outer._environ is environ:
            self._is_logged = True
            _log.warning(
                "ReadAndClose is inside the layer of %s, and cannot close its"
                " exchanges; put it around that layer: after Signalpost(app), or as"
                " ReadAndClose(SignalMiddleware(app))",
                short_repr(outer.sender),
            )
