"""The files of the page that never change while a process runs."""

from __future__ import annotations

import gzip
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Final
from typing import NamedTuple

__all__ = ["StaticFile", "login_page", "main_page", "static_file"]

_FOLDER: Final = Path(__file__).with_name("static")

_HTML: Final = "text/html; charset=utf-8"

_TYPES: Final = {
    "live.js": "text/javascript; charset=utf-8",
    "login.js": "text/javascript; charset=utf-8",
    "live.css": "text/css; charset=utf-8",
    "uplot.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
"""The files that are served, and no others."""


class StaticFile(NamedTuple):
    """A file, ready to serve."""

    content_type: str
    data: bytes
    compressed: bytes
    etag: str


def static_file(name: str) -> StaticFile | None:
    """Return a file by its name; ``None`` for all others."""
    return _read(name) if name in _TYPES else None


def main_page() -> StaticFile:
    """Return the page itself, for clients that are logged in."""
    return _read("index.html")


def login_page() -> str:
    """Return the page with the form for the token."""
    return _read("login.html").data.decode()


@lru_cache(maxsize=len(_TYPES) + 2)
def _read(name: str) -> StaticFile:
    data = (_FOLDER / name).read_bytes()
    etag = f'"{sha256(data).hexdigest()[:32]}"'
    kind = _TYPES.get(name, _HTML)
    return StaticFile(kind, data, gzip.compress(data, 9, mtime=0), etag)
