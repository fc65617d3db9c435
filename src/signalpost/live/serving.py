"""A separate server for the live page, which answers while all workers hang."""

from __future__ import annotations

import os
import secrets
import typing as t
from types import TracebackType

from ..wsgi.serving import BoundedServer
from .page import LivePage

__all__ = ["LiveServer"]

_HOST: t.Final = "127.0.0.1"
_MOST_CLIENTS: t.Final = 16


class LiveServer:
    """Serve the live page of a folder on a loopback address.

    ::

        with LiveServer("/srv/shop/instance/signalpost-live") as server:
            print(server.url)
            server.serve_until_stopped()

    Its token is new each time. It is in the fragment of the URL, which a browser does
    not send to a server, so it is in no log. Only requests for the loopback address by
    its own name are answered. So a page of another site cannot reach it through a host
    name of that site.

    :param folder: The folder of a :class:`~signalpost.live.LiveRecorder`.
    :param port: The port; 0 for any that is free.
    :raises OSError: If it cannot listen there, or this system has no locks of files.

    .. versionadded:: 0.1
    """

    def __init__(self, folder: str | os.PathLike[str], port: int = 0) -> None:
        self._token = secrets.token_urlsafe(32)
        self._server = BoundedServer(_HOST, port, _MOST_CLIENTS)
        try:
            self._server.set_app(
                LivePage(
                    None,
                    path="/",
                    folder=folder,
                    token=self._token,
                    only_hosts=[f"{one}:{self.port}" for one in (_HOST, "localhost")],
                )
            )
        except BaseException:
            self._server.server_close()
            raise

    @property
    def port(self) -> int:
        """The port, also where 0 was asked for."""
        return self._server.server_port

    @property
    def url(self) -> str:
        """The URL of the page, with the token."""
        return f"http://{_HOST}:{self.port}/#token={self._token}"

    def serve_until_stopped(self) -> None:
        """Serve, until :meth:`stop` is called from another thread, or Ctrl-C."""
        self._server.serve_forever(poll_interval=0.2)

    def stop(self) -> None:
        """Make :meth:`serve_until_stopped` return, if it is running."""
        self._server.shutdown()

    def __enter__(self) -> LiveServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.server_close()
