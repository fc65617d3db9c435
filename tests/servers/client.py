"""Clients, among them such as leave without a word."""

from __future__ import annotations

import http.client
import socket
import struct
import typing as t
from collections.abc import Callable
from collections.abc import Iterable
from pathlib import Path

from tests.servers.launch import Address

PATIENCE_SECONDS = 20.0
UPLOAD_BYTES = 100_000
"""The length of an upload of which a tenth is sent."""


class Answer(t.NamedTuple):
    """The response that a client got; empty if the server closed instead."""

    status: int | None
    body_bytes: int
    is_whole: bool


NOTHING = Answer(None, 0, False)


def request_line(target: str, method: str, connection: str) -> bytes:
    return (
        f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: {connection}"
        "\r\n\r\n"
    ).encode()


def connect(address: Address) -> socket.socket:
    return socket.create_connection(address, timeout=PATIENCE_SECONDS)


def read_all(address: Address, target: str, method: str = "GET") -> Answer:
    """Ask, and read to the end."""
    with connect(address) as connection:
        connection.sendall(request_line(target, method, "close"))
        return _answer(connection, method)[0]


def read_in_turn(address: Address, targets: Iterable[str]) -> list[Answer]:
    """Ask one after the other, on one connection for as long as the server lets us."""
    answers: list[Answer] = []
    connection = connect(address)
    try:
        for target in targets:
            connection.sendall(request_line(target, "GET", "keep-alive"))
            answer, is_closing = _answer(connection, "GET")
            if answer == NOTHING:
                # Some close the connection after an answer without that header.
                connection.close()
                connection = connect(address)
                connection.sendall(request_line(target, "GET", "keep-alive"))
                answer, is_closing = _answer(connection, "GET")
            answers.append(answer)
            if is_closing:
                connection.close()
                connection = connect(address)
    finally:
        connection.close()
    return answers


def leave_in_the_middle(address: Address, target: str) -> None:
    """Ask, read the beginning of the body and reset the connection."""
    with connect(address) as connection:
        connection.sendall(request_line(target, "GET", "close"))
        seen = b""
        while len(seen) < 1000:
            received = connection.recv(1000)
            if not received:
                raise ConnectionError(f"closed after {len(seen)} bytes")
            seen += received
        _reset_on_close(connection)


def leave_before_the_answer(
    address: Address, target: str, gate: Path, wait_for_call: Callable[[], None]
) -> None:
    """Ask, reset once the application is called, and only then let it answer."""
    with connect(address) as connection:
        connection.sendall(request_line(f"{target}&gate={gate}", "GET", "close"))
        wait_for_call()
        _reset_on_close(connection)
    gate.touch()


def leave_while_uploading(
    address: Address, target: str, manner: str, wait_for_call: Callable[[], None]
) -> None:
    """Upload a part of what was announced, and leave once the application is called.

    :param manner: ``"reset upload"`` resets the connection, as a client that crashes;
        ``"close upload"`` closes it in order, and ``"close chunk"`` does so within a
        chunk.
    """
    framing, begin = f"Content-Length: {UPLOAD_BYTES}", b""
    if manner == "close chunk":
        framing, begin = "Transfer-Encoding: chunked", b"%x\r\n" % UPLOAD_BYTES
    with connect(address) as connection:
        connection.sendall(
            f"POST {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            f"{framing}\r\n\r\n".encode()
            + begin
            + bytes(UPLOAD_BYTES // 10)
        )
        wait_for_call()
        if manner == "reset upload":
            _reset_on_close(connection)


def _reset_on_close(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _answer(connection: socket.socket, method: str) -> tuple[Answer, bool]:
    """Return what came, and whether the server closes the connection after it."""
    with http.client.HTTPResponse(connection, method=method) as response:
        try:
            response.begin()
        except (http.client.HTTPException, ConnectionError):
            return NOTHING, True
        try:
            body = response.read()
        except http.client.IncompleteRead as error:
            return Answer(response.status, len(error.partial), False), True
        except ConnectionError:
            return Answer(response.status, 0, False), True
        return Answer(response.status, len(body), True), bool(response.will_close)
