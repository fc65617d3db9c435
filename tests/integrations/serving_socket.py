"""Real servers on separate ports, and a client that may disconnect."""

from __future__ import annotations

import contextlib
import http.client
import socket
import struct
import threading
import time
import typing as t
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Mapping

from waitress import wasyncore
from waitress.server import TcpWSGIServer
from werkzeug.serving import make_server

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

PATIENCE_SECONDS = 10.0
_POLL_SECONDS = 0.02


def until(is_so: Callable[[], bool], shown: object) -> None:
    """Wait for a condition that nothing else reports.

    :param shown: What it is about, to be shown if it does not come true.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, f"it has not come true in time: {shown}"
        time.sleep(0.005)


class Client:
    """Asks a server on this machine; each time by a new connection."""

    def __init__(self, port: int) -> None:
        self.origin = f"http://127.0.0.1:{port}"
        self._address = "127.0.0.1", port

    @contextlib.contextmanager
    def asking(
        self, path: str, headers: Mapping[str, str | bytes] | None = None
    ) -> Generator[http.client.HTTPResponse]:
        """Send a request, and give the response, of which nothing is read yet."""
        connection = http.client.HTTPConnection(
            *self._address, timeout=PATIENCE_SECONDS
        )
        with contextlib.closing(connection):
            connection.request("GET", path, headers=dict(headers or {}))
            with connection.getresponse() as response:
                yield response

    def get(self, path: str, headers: Mapping[str, str | bytes] | None = None) -> bytes:
        """Return the whole body of a response, whatever its status."""
        with self.asking(path, headers) as response:
            return response.read()

    def leave(self, path: str) -> None:
        """Read some of a body, and reset the connection."""
        with socket.create_connection(self._address, PATIENCE_SECONDS) as connection:
            connection.sendall(
                f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
            )
            received = b""
            while not received.partition(b"\r\n\r\n")[2]:
                data = connection.recv(1024)
                assert data, "the server has closed before the body"
                received += data
            # With nothing to linger for, a close is a reset.
            connection.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )


@contextlib.contextmanager
def served_by_werkzeug(app: WSGIApplication) -> Generator[Client]:
    """Serve an application with Flask's server, a thread each request."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(_POLL_SECONDS,))
    thread.start()
    try:
        yield Client(server.server_port)
    finally:
        server.shutdown()
        thread.join(PATIENCE_SECONDS)
        server.server_close()


@contextlib.contextmanager
def served_by_waitress(app: WSGIApplication) -> Generator[Client]:
    """Serve an application with waitress."""
    sockets: dict[int, t.Any] = {}
    is_over = threading.Event()
    server = TcpWSGIServer(app, map=sockets, host="127.0.0.1", port=0, threads=2)

    def serve() -> None:
        # Not by run(): its sockets can only be closed safely by who waits for them.
        while not is_over.is_set():
            wasyncore.loop(timeout=_POLL_SECONDS, map=sockets, count=1)
        server.task_dispatcher.shutdown(timeout=int(PATIENCE_SECONDS))
        wasyncore.close_all(sockets)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield Client(int(server.getsockname()[1]))
    finally:
        is_over.set()
        thread.join(2 * PATIENCE_SECONDS)
