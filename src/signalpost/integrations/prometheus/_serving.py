"""Who may read the figures, and how they are served."""

from __future__ import annotations

import ipaddress
import logging
import os
import re
import socket
import threading
import time
import typing as t
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from contextlib import suppress
from hmac import compare_digest
from socketserver import TCPServer
from types import TracebackType
from weakref import WeakSet
from wsgiref.simple_server import WSGIRequestHandler
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import make_wsgi_app

from ..._engine.unseen import checked
from ...receivers.lines import one_line

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["Access", "MetricsServer", "scrape"]

_log = logging.getLogger("signalpost.prometheus")

_VERSIONS = re.compile(r"version[^;]*")
_VERSION = re.compile(r"version=[0-9]{1,3}(?:\.[0-9]{1,3}){0,2} *", re.ASCII)
_TEXT = ("Content-Type", "text/plain; charset=utf-8")


class Access:
    """Who may read: all that was given must agree.

    :param token: What the client must know, or ``None``.
    :param networks: Where it must be, or ``None``.
    :param allows: What else decides by the environment, or ``None``.
    :raises ValueError: If a token or network is none.
    :raises TypeError: If ``allows`` cannot be called.
    """

    def __init__(
        self,
        token: str | None,
        networks: Iterable[str] | None,
        allows: Callable[[dict[str, t.Any]], bool] | None,
    ) -> None:
        if token is not None and not _is_token(token):
            # Without the value, as it is a secret.
            raise ValueError(
                "token must be a string of printable ASCII without spaces, got"
                " another; make one by secrets.token_urlsafe()"
            )
        if isinstance(networks, str):
            raise TypeError(
                f'networks must be a list, got {networks!r}; write ["{networks}"]'
            )
        if allows is not None and not callable(allows):
            raise TypeError(
                f"allows must be callable, got {allows!r}; pass a function that takes"
                " the WSGI environment and returns whether it may read"
            )
        self._token = token and f"Bearer {token}".encode()
        self._networks = (
            None
            if networks is None
            else [ipaddress.ip_network(one) for one in networks]
        )
        self._allows = allows

    def refusal(self, environ: WSGIEnvironment) -> tuple[str, list[tuple[str, str]]]:
        """Return the status and headers to refuse with; ``""`` if it may read."""
        if self._networks is not None and not self._is_near(environ):
            return "403 Forbidden", []
        if self._token:
            given = environ.get("HTTP_AUTHORIZATION", "")
            scheme, _, token = given.partition(" ")
            # RFC 9110, 11.1: the scheme in any case.
            said = f"{scheme.capitalize()} {token.strip()}".encode("utf-8", "replace")
            if not compare_digest(said, self._token):
                return "401 Unauthorized", [("WWW-Authenticate", "Bearer")]
        try:
            is_allowed = self._allows is None or self._allows(environ) is True
        except Exception:  # noqa: BLE001  # no one may read by mistake
            checked(_log, logging.ERROR).exception(
                "the access check of the metrics failed, so none is given"
            )
            is_allowed = False
        return ("", []) if is_allowed else ("403 Forbidden", [])

    def _is_near(self, environ: WSGIEnvironment) -> bool:
        try:
            address = ipaddress.ip_address(environ.get("REMOTE_ADDR", ""))
        except ValueError:  # as on a Unix socket
            return False
        # What an IPv6 socket says of a client of IPv4.
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self._networks or ())


def _is_token(token: object) -> bool:
    return (
        isinstance(token, str)
        and token != ""
        and token.isascii()
        and token.isprintable()
        and " " not in token
    )


def scrape(
    registry: CollectorRegistry,
    access: Access,
    environ: WSGIEnvironment,
    start_response: StartResponse,
) -> Iterable[bytes]:
    """Answer with the figures of a registry, as a WSGI application does."""
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
    except OSError as error:
        checked(_log, logging.WARNING).warning(
            "a scrape failed: %s", one_line(str(error))
        )
        return _plainly("503 Service Unavailable", [], start_response)
    headers.append(("Content-Length", str(len(body))))
    start_response(status, headers)
    return [] if method == "HEAD" else [body]


def _understood(accept: str) -> str:
    """Return what the library understands of an Accept header.

    It trips over a version that is no number.
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
    """Metrics on a port of their own, until :meth:`stop` or a ``with`` block's end.

    Got from :meth:`PrometheusMetrics.serve`. It serves in threads that do not keep the
    process alive, eight clients at a time and each for 30 seconds at most. A process
    that is forked later does not serve.

    .. versionadded:: 0.1
    """

    def __init__(self, app: WSGIApplication, host: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._server = _Server((host, port), family)
        self._server.set_app(app)
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
        """Serve no more. May be called twice."""
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


class _Server(WSGIServer):
    """A server that a number of clients cannot exceed, nor a client a time."""

    allow_reuse_address = True
    _MOST_CLIENTS = 8
    _MOST_SECONDS = 30.0

    def __init__(self, address: tuple[str, int], family: int) -> None:
        self.address_family = family
        self._clients: dict[socket.socket, float] = {}
        super().__init__(address, _Conversation)

    def server_bind(self) -> None:
        """Bind, and ask no name server who this is."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]  # of sockets of the internet
        self.setup_environ()

    def process_request(self, request: t.Any, client_address: t.Any) -> None:
        """Serve a client in a thread, if there are not too many."""
        if len(self._clients) >= self._MOST_CLIENTS:
            self.shutdown_request(request)
            return
        self._clients[request] = time.monotonic()
        threading.Thread(
            target=self._serve, args=(request, client_address), daemon=True
        ).start()

    def _serve(self, request: t.Any, client_address: t.Any) -> None:
        # What the client breaks is no concern of ours.
        try:
            with suppress(OSError):
                self.finish_request(request, client_address)
        finally:
            self._clients.pop(request, None)
            self.shutdown_request(request)

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


class _Conversation(WSGIRequestHandler):
    timeout = 10

    def log_message(self, format: str, *args: t.Any) -> None:  # noqa: A002  # theirs
        """Write nothing to standard error."""

    def address_string(self) -> str:
        """Return the address, and ask no name server for it."""
        return str(self.client_address[0])


_servers: WeakSet[_Server] = WeakSet()


def _close_all() -> None:
    """Let no process that is forked hold a port."""
    for server in [*_servers]:
        server.socket.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_all)
