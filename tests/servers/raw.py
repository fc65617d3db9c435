"""Raw requests, and the raw bytes that a server answers with."""

from __future__ import annotations

import re
import socket
import time

SECONDS_TO_WAIT = 20
STILL_OPEN = b"<the server kept the connection open>"

_NOISE = re.compile(rb"(?im)^(date): [^\r\n]*")


def request_for(
    path: str, *headers: str, method: str = "GET", data: bytes = b"", close: bool = True
) -> bytes:
    """Return a request, which asks for the last response by default."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    if close:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + data


def connected(address: tuple[str, int]) -> socket.socket:
    """Return a connection to a server, which may refuse one for a moment.

    granian was seen to do so; a server that has ended refuses for good.
    """
    deadline = time.monotonic() + SECONDS_TO_WAIT
    while True:
        try:
            return socket.create_connection(address, SECONDS_TO_WAIT)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def answer_of(address: tuple[str, int], request: bytes) -> bytes:
    """Send bytes, and return all bytes that come until the server closes."""
    chunks: list[bytes] = []
    with connected(address) as connection:
        try:
            connection.sendall(request)
            while chunk := connection.recv(1 << 20):
                chunks.append(chunk)
        except TimeoutError:
            chunks.append(STILL_OPEN)
        except ConnectionError:
            # A server that leaves a request unread resets instead of closing. What
            # it had sent was read before.
            pass
    return b"".join(chunks)


def without_noise(answer: bytes) -> bytes:
    """Blank what differs from one second to the next."""
    return _NOISE.sub(rb"\1: -", answer)
