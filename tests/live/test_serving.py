from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Generator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from signalpost.live.serving import LiveServer
from tests.live.shop import recorded
from tests.wsgi.serving import Server

PATIENCE_SECONDS = 10


@contextlib.contextmanager
def serving(folder: Path) -> Generator[LiveServer]:
    with LiveServer(folder) as server:
        thread = threading.Thread(target=server.serve_until_stopped)
        thread.start()
        try:
            yield server
        finally:
            server.stop()
            thread.join()


def get(server: LiveServer, path: str, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(
        "127.0.0.1", server.port, timeout=PATIENCE_SECONDS
    )
    with contextlib.closing(connection):
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()


def bearer_of(server: LiveServer) -> dict[str, str]:
    token = urlsplit(server.url).fragment.removeprefix("token=")
    return {"Authorization": f"Bearer {token}"}


def test_its_token_opens_it(folder: Path) -> None:
    with recorded(folder) as app, serving(folder) as server:
        Server().serve(app, PATH_INFO="/items/mug")
        status, body = get(server, "/data.json", **bearer_of(server))
        assert status == 200
        assert json.loads(body)["exchanges"][0]["path"] == "/items/mug"
        assert get(server, "/data.json")[0] == 401


def test_it_listens_on_the_loopback_address_only(folder: Path) -> None:
    with serving(folder) as server:
        assert server.url.startswith(f"http://127.0.0.1:{server.port}/#token=")
        assert server._server.server_address[0] == "127.0.0.1"


def test_another_host_is_refused_whatever_the_token(folder: Path) -> None:
    with serving(folder) as server:
        headers = bearer_of(server) | {"Host": "evil.example"}
        assert get(server, "/data.json", **headers)[0] == 421


def test_what_is_no_http_ends_nothing(folder: Path) -> None:
    with serving(folder) as server:
        for data in (b"\x00\xff\r\n\r\n", b"GET / HTTP/1.1\r\n", b"X" * 100_000):
            link = socket.create_connection(("127.0.0.1", server.port))
            with link, contextlib.suppress(ConnectionError):
                link.sendall(data)
        assert get(server, "/live.js")[0] == 200


def test_a_client_that_waits_keeps_no_other_waiting(folder: Path) -> None:
    with serving(folder) as server, contextlib.ExitStack() as stack:
        for _ in range(10):
            link = socket.create_connection(("127.0.0.1", server.port))
            stack.enter_context(link)
        assert get(server, "/live.js")[0] == 200


def test_a_port_that_is_taken_is_an_error(folder: Path) -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    with taken, pytest.raises(OSError, match="in use"):
        LiveServer(folder, taken.getsockname()[1])
