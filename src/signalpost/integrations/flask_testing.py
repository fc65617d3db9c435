"""A test client for Flask whose responses are closed when the call returns.

::

    from signalpost.integrations.flask_testing import ClosingClient

    app.test_client_class = ClosingClient
"""

from __future__ import annotations

import typing as t

from flask.testing import FlaskClient

if t.TYPE_CHECKING:
    from werkzeug.test import TestResponse

__all__ = ["ClosingClient"]


class ClosingClient(FlaskClient):
    """A test client that reads and closes each response before its call returns.

    A server closes each response, but Flask's own client does not. So the exchange of a
    response in a variable stays open: receivers of ``exchange-closed`` have not been
    called yet, and a counter is one short. ::

        app.test_client_class = ClosingClient

        client = app.test_client()
        response = client.get("/")     # the exchange is closed now

    The whole body is kept in the response, so it reads as before. Pass
    ``buffered=False`` for a body that never ends, or to read a stream piece by piece;
    close that response in the test.

    A client class of your own derives from this one, or from both:
    ``class Client(ClosingClient, OtherClient)``.

    .. versionadded:: 0.1
    """

    def open(
        self, *args: t.Any, buffered: bool = True, **kwargs: t.Any
    ) -> TestResponse:
        """Send a request as :meth:`flask.testing.FlaskClient.open` does.

        :param args: As for Flask's client.
        :param buffered: Whether to read and close the response before returning it.
        :param kwargs: As for Flask's client.
        """
        return super().open(*args, buffered=buffered, **kwargs)
