"""A layer for servers and adapters that do not close what an application returns."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable

from .application import application_and_sender

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["ReadAndClose"]

# What a server gets as it is: there is nothing to wait for in these, and no close().
_AT_HAND = (list, tuple, bytes, str)


class ReadAndClose:
    """Read the body of each response to its end, and close it, within the call.

    Some adapters never call ``close()``, as :pep:`3333` has it. Then an exchange is
    closed when Python frees its response, which may be later and within another
    request. With this layer around the application, it is closed with its request::

        Signalpost(app)
        app.wsgi_app = ReadAndClose(app.wsgi_app)

    It must be outside of the layer that sends the signals, so it comes after it.

    The server gets a list, so the whole response is in memory, a stream or a file as
    well, and nothing is sent before the end of it. No client that leaves is seen.
    Behind a server that closes responses, this layer is not needed.

    :param app: A WSGI application, or an object that has a ``wsgi_app``, such as a
        :class:`flask.Flask`.
    :raises ApplicationError: If ``app`` cannot be called as a WSGI application.

    .. versionadded:: 0.1
    """

    app: WSGIApplication
    """The application that is called."""

    def __init__(self, app: t.Any) -> None:
        self.app, _ = application_and_sender(app, self)

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Call the application, and return its body as a list."""
        body: t.Any = self.app(environ, start_response)
        if type(body) in _AT_HAND:
            return t.cast("Iterable[bytes]", body)
        try:
            # Of the iterator, as a server asks no body for its length before it reads.
            return list(iter(body))
        finally:
            close = getattr(body, "close", None)
            if close is not None:
                close()
