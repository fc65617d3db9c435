"""Serve the metrics: in an application, or on a separate port."""

from __future__ import annotations

import logging
import re
import threading
import typing as t
from collections.abc import Iterable
from collections.abc import Mapping
from types import TracebackType

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import make_wsgi_app

from ..._engine.unseen import checked
from ...receivers.lines import single_line
from ...wsgi.access import Access
from ...wsgi.access import bearer_token
from ...wsgi.access import is_same
from ...wsgi.access import TokenError
from ...wsgi.serving import BoundedServer
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
    status, headers = _refusal(access, environ)
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
    except Exception as error:  # noqa: BLE001  # it must not reach the client
        checked(log, logging.WARNING).warning(
            "a scrape failed: %s", single_line(str(error) or repr(error))
        )
        return _plainly("503 Service Unavailable", [], start_response)
    headers.append(("Vary", "Accept, Accept-Encoding"))
    headers.append(("Content-Length", str(len(body))))
    start_response(status, headers)
    return [] if method == "HEAD" else [body]


def _refusal(
    access: Access, environ: WSGIEnvironment
) -> tuple[str, list[tuple[str, str]]]:
    """Return the status and headers to refuse with; ``""`` if the client may read."""
    if not access.is_near(environ):
        return "403 Forbidden", []
    if access.has_token:
        try:
            expected = access.token()
        except TokenError:
            return "503 Service Unavailable", []
        given = bearer_token(environ)
        if given is None or not is_same(given, expected):
            return "401 Unauthorized", [("WWW-Authenticate", "Bearer")]
    return ("", []) if access.allows(environ) else ("403 Forbidden", [])


def _understood(accept: str) -> str:
    """Return the part of an Accept header that the client library understands.

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

    def __init__(
        self, app: WSGIApplication, host: str, port: int, *, reuse_port: bool
    ) -> None:
        self._server = BoundedServer(host, port, 8, reuse_port=reuse_port)
        self._server.set_app(app)
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.2},
            name="signalpost-metrics",
            daemon=True,
        )
        self._thread.start()

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

    def __enter__(self) -> MetricsServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
