"""A small server that serves metrics or a page on a separate port."""

from __future__ import annotations

import os
import socket
import time
import typing as t
from contextlib import suppress
from socketserver import TCPServer
from socketserver import ThreadingMixIn
from weakref import WeakSet
from wsgiref.simple_server import WSGIRequestHandler
from wsgiref.simple_server import WSGIServer

__all__ = ["BoundedServer"]

_MOST_SECONDS = 30.0
_PAUSE_SECONDS = 0.1


class BoundedServer(ThreadingMixIn, WSGIServer):
    """A server of WSGI with a bounded number of clients, each for 30 seconds at most.

    It serves in threads that do not keep the process alive, and writes no log. A
    process that is forked later does not serve. The application is set by
    ``set_app()``.

    :param host: The address to listen at.
    :param port: The port; 0 for any that is free.
    :param most_clients: How many clients are served at a time; others are disconnected.
    :param reuse_port: Whether other servers of this user may listen there, too.
    :raises OSError: If it cannot listen there.
    """

    address_family: int
    allow_reuse_address: bool = True
    allow_reuse_port: bool
    daemon_threads: bool = True
    server_name: str
    server_port: int

    def __init__(
        self, host: str, port: int, most_clients: int, *, reuse_port: bool = False
    ) -> None:
        if reuse_port and not hasattr(socket, "SO_REUSEPORT"):
            raise OSError("servers cannot share a port on this system")
        self.allow_reuse_port = reuse_port
        self._most_clients = most_clients
        self._clients: dict[socket.socket, float] = {}
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), _Handler)
        _servers.add(self)

    def server_bind(self) -> None:
        """Bind, and ask no name server for the name of this machine."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]  # of sockets of the internet
        self.setup_environ()

    def get_request(self) -> tuple[t.Any, t.Any]:
        """Return a client that has connected."""
        try:
            return super().get_request()
        except OSError:
            # Without descriptors for a while, the loop would use all of a processor.
            time.sleep(_PAUSE_SECONDS)
            raise

    def process_request(self, request: t.Any, client_address: t.Any) -> None:
        """Serve a client in a thread, if there are not too many."""
        if len(self._clients) >= self._most_clients:
            self.shutdown_request(request)
            return
        self._clients[request] = time.monotonic()
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # there is no thread for it now
            self._clients.pop(request)
            self.shutdown_request(request)

    def process_request_thread(self, request: t.Any, client_address: t.Any) -> None:
        """Serve a client, and make room for another."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._clients.pop(request, None)

    def handle_error(self, request: t.Any, client_address: t.Any) -> None:
        """Write nothing to standard error of what a client breaks."""

    def service_actions(self) -> None:
        """Disconnect the clients that take too long; called a few times a second."""
        self._disconnect(_MOST_SECONDS)

    def server_close(self) -> None:
        """Stop listening, and disconnect all clients."""
        super().server_close()
        self._disconnect(0)

    def _disconnect(self, seconds: float) -> None:
        now = time.monotonic()
        for request, since in [*self._clients.items()]:
            if now - since >= seconds:
                with suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)


class _Handler(WSGIRequestHandler):
    timeout = 10

    def log_message(self, format: str, *args: t.Any) -> None:  # noqa: A002  # http.server's name
        """Write nothing to standard error."""

    def address_string(self) -> str:
        """Return the address, without asking a name server for the name."""
        return str(self.client_address[0])


_servers: WeakSet[BoundedServer] = WeakSet()


def _close_all() -> None:
    """Let no process that is forked hold a port."""
    for server in [*_servers]:
        server.socket.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_all)
