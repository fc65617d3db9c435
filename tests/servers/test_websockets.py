"""A WebSocket gives the same frames with us, and its exchange closes once."""

from __future__ import annotations

import json
import socket
import typing as t
from collections.abc import Generator
from importlib.util import find_spec

import pytest

from tests.servers.launch import Address
from tests.servers.launch import missing
from tests.servers.launch import serving
from tests.servers.raw import answer_of
from tests.servers.raw import request_for
from tests.servers.raw import SECONDS_TO_WAIT
from tests.servers.raw import without_noise
from tests.servers.sockets import PATHS

SERVERS = ("werkzeug", "gunicorn-gthread")
# The key is RFC 6455's example (1.3), so the answer to it is known.
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPTED = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
TEXT, BINARY, CLOSE, PING, PONG = 0x81, 0x82, 0x88, 0x89, 0x8A
NORMAL_CLOSURE = b"\x03\xe8"


class Site(t.NamedTuple):
    """A server that runs twice, and where."""

    server: str
    bare: Address
    recorded: Address

    def outcome_of(self, path: str) -> str:
        """Return what the exchange of a WebSocket ends with here."""
        # Werkzeug ends no request without a response, so Flask-Sock gives
        # one once the connection is done with: a whole one, as any other.
        if (self.server, path) == ("werkzeug", "/of-flask-sock"):
            return "complete"
        return "hijacked"


def frame_of_client(kind: int, data: bytes) -> bytes:
    """Return a frame as a client sends it (RFC 6455, 5.2), with a mask of zeros."""
    return bytes((kind, 0x80 | len(data))) + bytes(4) + data


def frame_of_server(kind: int, data: bytes) -> bytes:
    return bytes((kind, len(data))) + data


def talk(address: tuple[str, int], path: str) -> bytes:
    """Send a message and close; return every byte that comes."""
    with socket.create_connection(address, SECONDS_TO_WAIT) as connection:
        connection.sendall(
            request_for(
                path,
                "Connection: Upgrade",
                "Upgrade: websocket",
                "Sec-WebSocket-Version: 13",
                f"Sec-WebSocket-Key: {KEY}",
                close=False,
            )
        )
        came = _until(connection, b"\r\n\r\n")
        for kind, data, answer in (
            (TEXT, b"hello", frame_of_server(TEXT, b"hello")),
            (BINARY, b"\x00\xff", frame_of_server(BINARY, b"\x00\xff")),
            (PING, b"there?", frame_of_server(PONG, b"there?")),
            (CLOSE, NORMAL_CLOSURE, frame_of_server(CLOSE, NORMAL_CLOSURE)),
        ):
            connection.sendall(frame_of_client(kind, data))
            came += _until(connection, answer)
        return came + _until(connection, None)


def _until(connection: socket.socket, ending: bytes | None) -> bytes:
    """Read until bytes have come, or until the server closes the connection."""
    came = b""
    while ending is None or ending not in came:
        try:
            chunk = connection.recv(1 << 16)
        except ConnectionResetError:
            chunk = b""
        if not chunk:
            return came
        came += chunk
    return came


@pytest.fixture(scope="module", params=SERVERS)
def site(request: pytest.FixtureRequest) -> Generator[Site]:
    reason = missing(request.param)
    if find_spec("flask_sock") is None:
        reason = "flask-sock is not installed"
    if reason is not None:
        pytest.skip(reason)
    with (
        serving(request.param, "tests.servers.sockets:bare") as bare,
        serving(
            request.param, "tests.servers.sockets:recorded", SOCKETS_ARE_RECORDED="1"
        ) as recorded,
    ):
        yield Site(request.param, bare, recorded)


def records_before(address: tuple[str, int], path: str) -> t.Any:
    """Return what was sent for a path, once all of its exchanges are closed."""
    opened = [one for one in records_of(address, path, 0) if one[0] == "opened"]
    return records_of(address, path, len(opened))


def records_of(address: tuple[str, int], path: str, closed: int) -> t.Any:
    """Return what was sent for a path, once so many of its exchanges are closed."""
    answer = answer_of(address, request_for(f"/records/{closed}{path}"))
    return json.loads(answer.partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize("path", PATHS)
def test_a_websocket_gives_the_same_bytes(site: Site, path: str) -> None:
    bare = without_noise(talk(site.bare, path))
    ours = without_noise(talk(site.recorded, path))
    assert ours == bare
    assert ACCEPTED in bare
    assert frame_of_server(TEXT, b"hello") in bare


@pytest.mark.parametrize("path", PATHS)
def test_a_websocket_is_one_exchange(site: Site, path: str) -> None:
    before = records_before(site.recorded, path)
    closed = sum(one[0] == "closed" for one in before)
    talk(site.recorded, path)
    records = records_of(site.recorded, path, closed + 1)[len(before) :]
    assert [one[:2] for one in records] == [["opened", path], ["closed", path]]
    assert records[-1][2] == site.outcome_of(path)


@pytest.mark.parametrize("path", PATHS)
def test_a_websocket_has_no_response_time(site: Site, path: str) -> None:
    before = records_before(site.recorded, path)
    closed = sum(one[0] == "closed" for one in before)
    talk(site.recorded, path)
    records = records_of(site.recorded, path, closed + 1)
    assert records[-1][3] == [None, None]
