"""How the metrics are served: in an application, and on a port of their own."""

from __future__ import annotations

import logging
import os
import re
import socket
import threading
import time
import typing as t
from collections.abc import Iterable
from collections.abc import Mapping
from contextlib import suppress
from socketserver import TCPServer
from types import TracebackType
from weakref import WeakSet
from wsgiref.simple_server import make_server
from wsgiref.simple_server import WSGIRequestHandler

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from ..._engine.unseen import checked
from ...receivers.lines import single_line
from ._access import Access
from ._log import log

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["MetricsServer", "scrape"]


_VERSIONS = re.compile(r"version[^;]*")
_VERSION = re.compile(r"version=[0-9]{1,3}(?:\.[0-9]{1,3}){0,2} *", re.ASCII)
_TEXT = ("Content-Type", "text/plain; charset=utf-8")


def scrape(
    registry: CollectorRegistry,
    access: Access,
    environ: WSGIEnvironment,
    start_response: StartResponse,
) -> Iterable[bytes]:
    """Answer with the metrics of a registry, as a WSGI application does."""
    status, headers = access.refusal(environ)
    if status:
        return _plainly(status, headers, start_response)
    method = environ.get("REQUEST_METHOD")
    if method not in ("GET", "HEAD"):
        return _plainly(
            "405 Method Not Allowed", [("Allow", "GET, HEAD")], start_response
        )
    asked: Mapping[str, t.Any] = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/metrics",
        "QUERY_STRING": environ.get("QUERY_STRING", ""),
        "HTTP_ACCEPT": _understood(environ.get("HTTP_ACCEPT", "")),
        "HTTP_ACCEPT_ENCODING": environ.get("HTTP_ACCEPT_ENCODING", ""),
    }
    try:
        status, headers, body = _scraped(registry, asked)
    except Exception as error:  # noqa: BLE001  # no client of the application sees it
        checked(log, logging.WARNING).warning(
            "a scrape failed: %s", single_line(str(error) or repr(error))
        )
        return _plainly("503 Service Unavailable", [], start_response)
    headers.append(("Vary", "Accept, Accept-Encoding"))
    headers.append(("Content-Length", str(len(body))))
    start_response(status, headers)
    return [] if method == "HEAD" else [body]


def _understood(accept: str) -> str:
    """Return what the library understands of an Accept header.

    It trips over a version that is not a number.
    """
    return ",".join(
        one
        for one in accept.split(",")
        if all(map(_VERSION.fullmatch, _VERSIONS.findall(one)))
    )


def _scraped(
    registry: CollectorRegistry, environ: Mapping[str, t.Any]
) -> tuple[str, list[tuple[str, str]], bytes]:
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start(status: str, headers: list[tuple[str, str]]) -> None:
        started.append((status, headers))

    body = b"".join(make_wsgi_app(registry)(dict(environ), start))
    status, headers = started[0]
    return status, list(headers), body


def _plainly(
    status: str, headers: list[tuple[str, str]], start_response: StartResponse
) -> Iterable[bytes]:
    body = f"{status}\n".encode()
    headers = [*headers, _TEXT, ("Content-Length", str(len(body)))]
    start_response(status, headers)
    return [body]


class MetricsServer:
    """Serves metrics on a separate port, until :meth:`stop` or the end of a block.

    Returned by :meth:`PrometheusMetrics.serve`. It serves in threads that do not keep
    the process alive, eight clients at a time and each for 30 seconds at most. A
    process that is forked later does not serve.

    .. versionadded:: 0.1
    """

    def __init__(self, app: WSGIApplication, host: str, port: int) -> None:
        kind = _Server6 if ":" in host else _Server
        self._server = make_server(host, port, app, kind, handler_class=_Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.2},
            name="signalpost-metrics",
            daemon=True,
        )
        self._thread.start()
        _servers.add(self._server)

    @property
    def port(self) -> int:
        """The port, also where 0 was asked for."""
        return self._server.server_port

    def stop(self) -> None:
        """Stop serving. May be called twice."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
        self._server.end_clients(0)

    def __enter__(self) -> MetricsServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


class _Server(ThreadingWSGIServer):
    """The client's server, which a number of clients cannot exceed, nor one a time."""

    allow_reuse_address = True
    _MOST_CLIENTS = 8
    _MOST_SECONDS = 30.0

    def __init__(self, *given: t.Any) -> None:
        self._clients: dict[socket.socket, float] = {}
        super().__init__(*given)

    def server_bind(self) -> None:
        """Bind, and ask no name server for the name of this machine."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]  # of sockets of the internet
        self.setup_environ()

    def process_request(self, request: t.Any, client_address: t.Any) -> None:
        """Serve a client in a thread, if there are not too many."""
        if len(self._clients) >= self._MOST_CLIENTS:
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
        """End what takes too long; called a few times a second."""
        self.end_clients(self._MOST_SECONDS)

    def end_clients(self, seconds: float) -> None:
        """End the connections that are older."""
        now = time.monotonic()
        for request, since in [*self._clients.items()]:
            if now - since > seconds:
                with suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = 10

    def log_message(self, format: str, *args: t.Any) -> None:  # noqa: A002  # http.server's name
        """Write nothing to standard error."""


_servers: WeakSet[_Server] = WeakSet()


def _close_all() -> None:
    """Let no process that is forked hold a port."""
    for server in [*_servers]:
        server.socket.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_all)
